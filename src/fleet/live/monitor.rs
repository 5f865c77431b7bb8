//! The way to a server's monitoring port: directly, through a forward of the ssh connection to a local socket, or by
//! curl on the host where sshd forbids forwarding.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use openssh::{ForwardType, Session, Socket};
use reqwest::{Client, Url};
use rustls::ClientConfig;

use super::{commands, ssh::Connection};
use crate::{
    config::inventory::Via,
    core::view::{Failure, FailureKind},
};

/// A direct connection within a site takes milliseconds. Packets that a firewall drops must not cost a whole look
/// before ssh is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// healthz lists every stream and consumer that is not current: thousands of assets are some hundred kilobytes.
const BODY_MAX: usize = 8 << 20;

/// One way to the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// From this machine.
    Direct(Url),
    /// Through a forward of the ssh connection.
    Forward(Url),
    /// By curl on the host.
    Curl(Url),
}

/// A server's monitoring port.
pub struct Monitor {
    ways: Vec<Way>,
    chosen: Mutex<Option<usize>>,
    direct: Client,
    tls: Arc<ClientConfig>,
    forwarder: Forwarder,
}

impl Monitor {
    /// Ways to try are those of [`ways`]; the first that answers is kept.
    ///
    /// # Errors
    /// The HTTP client could not be made.
    pub fn new(
        ways: Vec<Way>,
        connection: Arc<Connection>,
        tls: Arc<ClientConfig>,
        sockets: Sockets,
    ) -> Result<Self, Failure> {
        let direct = client(&tls).build().map_err(|error| classify(&error, "http client"))?;
        let forwarder = Forwarder { connection, sockets: Arc::new(sockets) };
        Ok(Self { ways, chosen: Mutex::new(None), direct, tls, forwarder })
    }

    /// The way that works, once one has answered; before that the first that would be tried.
    pub fn way(&self) -> Option<&Way> {
        self.ways.get(self.chosen().unwrap_or(0))
    }

    /// GETs a path such as `/varz`; the status and the body.
    ///
    /// # Errors
    /// No way led to an answer. The failure is ssh's where it can't connect, else that of the first way, which is the
    /// one that the operator would expect to work.
    pub async fn get(&self, path: &str, timeout: Duration) -> Result<(u16, String), Failure> {
        self.get_up_to(BODY_MAX, path, timeout).await
    }

    /// The same, for answers that may have up to `most` bytes.
    ///
    /// # Errors
    /// As [`Monitor::get`].
    pub async fn get_up_to(&self, most: usize, path: &str, timeout: Duration) -> Result<(u16, String), Failure> {
        let answer = tokio::time::timeout(timeout, self.get_any(path, timeout, most)).await;
        answer.unwrap_or_else(|_| {
            let text = format!("{path}: no answer within {} ms", timeout.as_millis());
            Err(Failure::new(FailureKind::Timeout, text))
        })
    }

    /// Whether the way in use, or the only one there can be, goes over ssh.
    pub fn needs_ssh(&self) -> bool {
        let over_ssh = |way: &Way| !matches!(way, Way::Direct(_));
        match self.chosen() {
            Some(index) => self.ways.get(index).is_some_and(over_ssh),
            None => self.ways.iter().all(over_ssh),
        }
    }

    async fn get_any(&self, path: &str, timeout: Duration, most: usize) -> Result<(u16, String), Failure> {
        if let Some(way) = self.chosen().and_then(|index| self.ways.get(index)) {
            return self.get_by(way, path, timeout, most).await;
        }
        let mut failures: Vec<Failure> = Vec::new();
        for (index, way) in self.ways.iter().enumerate() {
            if !matches!(way, Way::Direct(_)) {
                // A host that can't be reached over ssh explains the rest, and need not be asked again.
                self.forwarder.connection.session().await?;
            }
            match self.get_by(way, path, timeout, most).await {
                Ok(answer) => {
                    if let Ok(mut chosen) = self.chosen.lock() {
                        *chosen = Some(index);
                    }
                    return Ok(answer);
                }
                Err(failure) => failures.push(failure),
            }
        }
        let first = if failures.is_empty() { None } else { Some(failures.swap_remove(0)) };
        Err(first.unwrap_or_else(|| Failure::new(FailureKind::NotAsked, "no usable monitoring url")))
    }

    fn chosen(&self) -> Option<usize> {
        self.chosen.lock().ok().and_then(|chosen| *chosen)
    }

    async fn get_by(&self, way: &Way, path: &str, timeout: Duration, most: usize) -> Result<(u16, String), Failure> {
        match way {
            Way::Direct(url) => http(&self.direct, url, path, timeout, most).await,
            Way::Forward(url) => {
                let socket = self.forwarder.forward(host_of(url), port_of(url)).await?;
                let client = client(&self.tls).unix_socket(socket).pool_max_idle_per_host(0).build();
                let client = client.map_err(|error| classify(&error, "http client"))?;
                http(&client, url, path, timeout, most).await.map_err(|failure| through_ssh(failure, url))
            }
            Way::Curl(url) => self.curl(url, path, timeout).await,
        }
    }

    /// What makes local sockets that lead to ports as the host sees them.
    pub fn forwarder(&self) -> &Forwarder {
        &self.forwarder
    }

    async fn curl(&self, url: &Url, path: &str, timeout: Duration) -> Result<(u16, String), Failure> {
        self.get_on_host(&join(url, path), timeout).await
    }

    /// GETs any URL by the host's own curl; the status and the body.
    ///
    /// # Errors
    /// The host can't be reached over ssh, has no curl, or got no answer.
    pub async fn get_on_host(&self, full: &Url, timeout: Duration) -> Result<(u16, String), Failure> {
        let output =
            self.forwarder.connection.run(&commands::curl(full.as_str(), timeout), timeout + CONNECT_TIMEOUT).await?;
        let said = output.stderr.lines().next().unwrap_or_default().to_owned();
        match output.status {
            Some(0) => {}
            // curl's exit codes: 7 could not connect, 28 timed out.
            Some(7) => return Err(Failure::new(FailureKind::Refused, format!("{full} on the host: {said}"))),
            Some(28) => return Err(Failure::new(FailureKind::Timeout, format!("{full} on the host: {said}"))),
            Some(127) => {
                let text = format!("{full}: closed through ssh, and the host has no curl to tell why");
                return Err(Failure::new(FailureKind::Refused, text));
            }
            _ => return Err(Failure::new(FailureKind::Protocol, format!("{full} on the host: {said}"))),
        }
        let answer = output.stdout.rsplit_once('\n').and_then(|(body, code)| Some((code.trim().parse().ok()?, body)));
        let (code, body) = answer.ok_or_else(|| Failure::new(FailureKind::Protocol, format!("{full}: no status")))?;
        Ok((code, body.to_owned()))
    }
}

/// The ways to try, in order. Where the operator gave no URL, 8222 is tried at the host's address and, through ssh,
/// at its localhost: binding it there is what nats-server's documentation recommends.
pub fn ways(via: Via, url: Option<Url>, address: &str) -> Vec<Way> {
    let bracketed = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let default = |host: &str| Url::parse(&format!("http://{host}:8222")).ok();
    let direct = url.clone().or_else(|| default(&bracketed));
    let inside: Vec<Url> = match url {
        Some(url) => vec![url],
        None => ["127.0.0.1", bracketed.as_str()].into_iter().filter_map(default).collect(),
    };
    let mut ways = Vec::new();
    if via != Via::Ssh {
        ways.extend(direct.map(Way::Direct));
    }
    if via != Via::Direct {
        ways.extend(inside.iter().cloned().map(Way::Forward));
        ways.extend(inside.into_iter().map(Way::Curl));
    }
    ways
}

/// Where forwards put their sockets, and which there are. A forward lives as long as its ssh session.
pub struct Sockets {
    directory: PathBuf,
    prefix: String,
    next: AtomicU32,
    open: tokio::sync::Mutex<Vec<Forward>>,
}

/// Forwards over one host's ssh connection.
#[derive(Clone)]
pub struct Forwarder {
    connection: Arc<Connection>,
    sockets: Arc<Sockets>,
}

impl Forwarder {
    /// A local socket that leads to a port as the host sees it.
    ///
    /// # Errors
    /// The host can't be reached over ssh, or the forward was refused.
    pub async fn forward(&self, host: &str, port: u16) -> Result<PathBuf, Failure> {
        let session = self.connection.session().await?;
        self.sockets.forward(&session, host, port).await
    }
}

struct Forward {
    session: std::sync::Weak<Session>,
    host: String,
    port: u16,
    socket: PathBuf,
}

impl Sockets {
    /// Sockets in `directory`, whose names begin with `prefix`.
    pub fn new(directory: PathBuf, prefix: String) -> Self {
        Self { directory, prefix, next: AtomicU32::new(0), open: tokio::sync::Mutex::new(Vec::new()) }
    }

    async fn forward(&self, session: &Arc<Session>, host: &str, port: u16) -> Result<PathBuf, Failure> {
        let mut open = self.open.lock().await;
        open.retain(|forward| forward.session.strong_count() > 0);
        let same = |forward: &&Forward| {
            forward.host == host
                && forward.port == port
                && forward.session.upgrade().is_some_and(|current| Arc::ptr_eq(&current, session))
        };
        if let Some(forward) = open.iter().find(same) {
            return Ok(forward.socket.clone());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let socket = self.directory.join(format!("{}{number}", self.prefix));
        let listen = Socket::UnixSocket { path: socket.clone().into() };
        session.request_port_forward(ForwardType::Local, listen, Socket::new(host, port)).await.map_err(|error| {
            Failure::new(FailureKind::Unreachable, format!("ssh would not forward to {host}:{port}: {error}"))
        })?;
        let session = Arc::downgrade(session);
        open.push(Forward { session, host: host.into(), port, socket: socket.clone() });
        Ok(socket)
    }
}

fn client(tls: &Arc<ClientConfig>) -> reqwest::ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured((**tls).clone())
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        // A restarted server must be met on a new connection, and a half-closed one must not look like a failure.
        .pool_idle_timeout(Duration::from_secs(5))
        .user_agent(concat!("rollgate/", env!("CARGO_PKG_VERSION")))
}

/// GETs any URL from here; the status and the body.
///
/// # Errors
/// There was no answer.
pub async fn get_url(tls: &Arc<ClientConfig>, url: &Url, timeout: Duration) -> Result<(u16, String), Failure> {
    let client = client(tls).build().map_err(|error| classify(&error, "http client"))?;
    read(client.get(url.clone()), url, timeout, BODY_MAX).await
}

async fn http(
    client: &Client,
    url: &Url,
    path: &str,
    timeout: Duration,
    most: usize,
) -> Result<(u16, String), Failure> {
    let full = join(url, path);
    read(client.get(full.clone()), &full, timeout, most).await
}

async fn read(
    request: reqwest::RequestBuilder,
    url: &Url,
    timeout: Duration,
    most: usize,
) -> Result<(u16, String), Failure> {
    let name = url.as_str();
    let mut response = request.timeout(timeout).send().await.map_err(|error| classify(&error, name))?;
    let code = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error, name))? {
        body.extend_from_slice(&chunk);
        if body.len() > most {
            return Err(Failure::new(FailureKind::Protocol, format!("{name}: the answer is over {most} bytes")));
        }
    }
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}

fn join(url: &Url, path: &str) -> Url {
    let base = url.as_str().trim_end_matches('/');
    Url::parse(&format!("{base}{path}")).unwrap_or_else(|_| url.clone())
}

/// The host of a URL as a socket address wants it, without the brackets of IPv6.
fn host_of(url: &Url) -> &str {
    url.host_str().unwrap_or("127.0.0.1").trim_start_matches('[').trim_end_matches(']')
}

fn port_of(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or(8222)
}

fn classify(error: &reqwest::Error, what: &str) -> Failure {
    let mut texts = Vec::new();
    let mut kind = if error.is_timeout() { FailureKind::Timeout } else { FailureKind::Protocol };
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            kind = match io.kind() {
                std::io::ErrorKind::ConnectionRefused => FailureKind::Refused,
                std::io::ErrorKind::TimedOut => FailureKind::Timeout,
                std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
                    FailureKind::Unreachable
                }
                _ => kind,
            };
        }
        if cause.downcast_ref::<rustls::Error>().is_some() {
            kind = FailureKind::Tls;
        }
        texts.push(cause.to_string());
        source = cause.source();
    }
    let words = match kind {
        FailureKind::Refused => "connection refused".to_owned(),
        FailureKind::Timeout => "no answer in time".to_owned(),
        // The innermost cause says what happened; the outer ones only that something did.
        _ => texts.pop().unwrap_or_else(|| "failed".to_owned()),
    };
    Failure::new(kind, format!("{what}: {words}"))
}

/// ssh closes a forwarded connection without a word when nothing listens behind it.
fn through_ssh(failure: Failure, url: &Url) -> Failure {
    if failure.kind == FailureKind::Protocol {
        return Failure::new(FailureKind::Refused, format!("{url} through ssh: closed, so nothing listens there"));
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(via: Via, url: Option<&str>, address: &str, expected: &[&str]) {
        let found: Vec<_> = ways(via, url.map(|url| Url::parse(url).unwrap()), address)
            .iter()
            .map(|way| match way {
                Way::Direct(url) => format!("direct {url}"),
                Way::Forward(url) => format!("ssh {url}"),
                Way::Curl(url) => format!("curl {url}"),
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn ways_follow_the_inventory() {
        check(Via::Direct, None, "10.0.0.1", &["direct http://10.0.0.1:8222/"]);
        check(Via::Direct, None, "fd00::1", &["direct http://[fd00::1]:8222/"]);
        check(
            Via::Ssh,
            Some("http://127.0.0.1:8333"),
            "10.0.0.1",
            &["ssh http://127.0.0.1:8333/", "curl http://127.0.0.1:8333/"],
        );
        check(
            Via::Auto,
            None,
            "h",
            &[
                "direct http://h:8222/",
                "ssh http://127.0.0.1:8222/",
                "ssh http://h:8222/",
                "curl http://127.0.0.1:8222/",
                "curl http://h:8222/",
            ],
        );
    }

    #[test]
    fn paths_join_a_base_url() {
        let base = Url::parse("http://h:8222/nats/").unwrap();
        assert_eq!(join(&base, "/varz").as_str(), "http://h:8222/nats/varz");
    }
}
