//! One host: its ssh connection, its service, and its server's two ports.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use jiff::Timestamp;
use reqwest::Url;
use rustls::ClientConfig;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{
    change, client_port, commands, handshake, jsz,
    lock::{self, Fence},
    monitor::{self, Forwarder, Monitor, Sockets, Way},
    service,
    ssh::{Connection, Output},
    tls, wire,
};
use crate::{
    config::inventory,
    core::{
        assets::ServerAssets,
        diagnosis::files::Certificate,
        gate::{Measure, Moves},
        listeners::Listener,
        view::{ClientPort, Failure, FailureKind, Health, Peer, Seen, ServerView, ServiceState, Varz},
    },
    fleet::{Change, Changed},
};

/// A command that changes something may need this much longer than the wait that it was given: sudo, a slow fork.
const CHANGE_MARGIN: Duration = Duration::from_secs(10);

/// Where clients connect unless somebody says otherwise (nats-server `const.go`, `DEFAULT_PORT`).
const CLIENT_PORT: u16 = 4222;

/// A client port as its host sees it.
pub struct ClientInside {
    /// The address to connect to on the host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What its certificate must cover: the name by which others know it.
    pub name: String,
    /// Whether the operator wants TLS, asked for or not.
    pub tls: bool,
}

/// A server's `/jsz`.
struct Monitored<'a> {
    host: &'a Host,
    limit: Duration,
}

impl jsz::Source for Monitored<'_> {
    async fn ask(&self, query: &jsz::Query) -> Seen<jsz::Jsz> {
        let (code, body) = self.host.monitor.get_up_to(jsz::ANSWER_MAX, &query.path(), self.limit).await?;
        self.host.answered(code, "/jsz", &body)?;
        jsz::parse(body.as_bytes())
    }
}

/// A host of the inventory, ready to be used.
pub struct Host {
    inventory: inventory::Host,
    address: String,
    connection: Arc<Connection>,
    monitor: Monitor,
    client_tls: Arc<ClientConfig>,
    client_tls_first: AtomicBool,
}

impl Host {
    /// Prepares a host; connects to nothing. `address` is what its ssh destination leads to, `directory` is for
    /// sockets, `number` tells hosts apart in it.
    ///
    /// # Errors
    /// A URL or TLS file of the inventory can't be used.
    pub fn new(
        host: inventory::Host,
        address: String,
        directory: &Path,
        number: usize,
        tls: &mut tls::Cache,
    ) -> Result<Self, Failure> {
        let connection = Arc::new(Connection::new(host.ssh.clone(), directory.to_owned()));
        let url = match &host.monitoring.url {
            Some(template) => {
                let text = template.render(&host.name, &address, &host.server_name);
                let url = Url::parse(&text)
                    .map_err(|error| Failure::new(FailureKind::NotAsked, format!("monitoring url {text}: {error}")))?;
                Some(url)
            }
            None => None,
        };
        let secure = url.as_ref().is_some_and(|url| url.scheme() == "https");
        let monitor_tls = if secure { tls.get(&host.monitoring.tls)? } else { tls.plain()? };
        let ways = monitor::ways(host.monitoring.via, url, &address);
        let sockets = Sockets::new(directory.to_owned(), format!("f{number}-"));
        let monitor = Monitor::new(ways, Arc::clone(&connection), monitor_tls, sockets)?;
        let client_tls = tls.get(&host.client.tls)?;
        let client_tls_first = AtomicBool::new(false);
        Ok(Self { inventory: host, address, connection, monitor, client_tls, client_tls_first })
    }

    /// Its name in the inventory.
    pub fn name(&self) -> &str {
        &self.inventory.name
    }

    /// What the inventory says of it.
    pub fn inventory(&self) -> &inventory::Host {
        &self.inventory
    }

    /// How its monitoring port is reached, in words.
    pub fn monitored_by(&self) -> String {
        match self.monitor.way() {
            Some(Way::Direct(url)) => format!("{url} direct"),
            Some(Way::Forward(url)) => format!("{url} via ssh"),
            Some(Way::Curl(url)) => format!("{url} via curl on the host"),
            None => "no url".into(),
        }
    }

    /// The base of its monitoring URLs, without a slash at its end.
    pub fn monitoring_url(&self) -> String {
        let Some(Way::Direct(url) | Way::Forward(url) | Way::Curl(url)) = self.monitor.way() else {
            return String::new();
        };
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// GETs a URL by the host's own curl.
    ///
    /// # Errors
    /// No URL, no curl, no answer.
    pub async fn get(&self, url: &str, timeout: Duration) -> Seen<(u16, String)> {
        let parsed = Url::parse(url).map_err(|error| Failure::new(FailureKind::NotAsked, format!("{url}: {error}")))?;
        self.monitor.get_on_host(&parsed, timeout).await
    }

    /// Opens the ssh connection.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub async fn connect(&self) -> Result<(), Failure> {
        self.connection.session().await.map(drop)
    }

    /// Whether its server can only be observed over ssh.
    pub fn needs_ssh(&self) -> bool {
        self.monitor.needs_ssh()
    }

    /// Whether a change would have the privileges that it needs.
    ///
    /// # Errors
    /// What sudo said.
    pub async fn sudo(&self, limit: Duration) -> Result<(), Failure> {
        if self.inventory.become_ == inventory::Become::None {
            return Ok(());
        }
        let output = self.connection.run(&commands::sudo(), limit).await?;
        if output.status == Some(0) { Ok(()) } else { Err(change::refused(&output)) }
    }

    /// What its service manager says.
    ///
    /// # Errors
    /// The host or its service manager can't be asked.
    pub async fn service(&self, limit: Duration) -> Seen<ServiceState> {
        self.service_and(false, limit).await
    }

    async fn service_and(&self, next: bool, limit: Duration) -> Seen<ServiceState> {
        let remote = commands::service_state(&self.inventory.service, self.inventory.become_, next);
        let output = self.connection.run(&remote, limit).await?;
        let inventory::Host { ssh, service, become_, .. } = &self.inventory;
        let by_hand = commands::start_by_hand(&ssh.destination, service, *become_);
        Ok(ServiceState { by_hand, ..service::parse(service, &output)? })
    }

    /// The same with what its next start would find, and a failure where a change would not have the privileges that it
    /// needs.
    ///
    /// # Errors
    /// As [`Host::service`] and [`Host::sudo`].
    pub async fn service_as_root(&self, limit: Duration) -> Seen<ServiceState> {
        let (sudo, service) = tokio::join!(self.sudo(limit), self.service_and(true, limit));
        sudo.and(service)
    }

    /// Begins or attaches to a change; see [`Fleet::change`](crate::fleet::Fleet::change).
    ///
    /// # Errors
    /// The host can't be reached or would not run it.
    pub async fn change(&self, change: &Change, fence: &Fence, wait: Duration) -> Result<Changed, Failure> {
        let remote = commands::change(&self.inventory.service, self.inventory.become_, change, fence, wait);
        let output = self.connection.run(&remote, wait + CHANGE_MARGIN).await?;
        change::parse(&output)
    }

    /// See [`Fleet::record`](crate::fleet::Fleet::record).
    ///
    /// # Errors
    /// The host can't be reached or would not tell.
    pub async fn record(&self, id: &str, limit: Duration) -> Seen<Option<Changed>> {
        let output = self.connection.run(&commands::record(id, self.inventory.become_), limit).await?;
        change::parse_record(&output)
    }

    /// Removes the records of a run's changes.
    ///
    /// # Errors
    /// The host can't be reached or would not do it.
    pub async fn clear(&self, run: &str, limit: Duration) -> Seen<()> {
        let output = self.connection.run(&commands::clear(run, self.inventory.become_), limit).await?;
        if output.stdout.trim() == "cleared" { Ok(()) } else { Err(change::refused(&output)) }
    }

    /// One round of the cluster's lock.
    ///
    /// # Errors
    /// The host can't be reached or would not do it.
    pub async fn lock(&self, verb: commands::Verb<'_>, limit: Duration) -> Seen<lock::Answer> {
        let remote = commands::lock(&self.inventory.service, self.inventory.become_, verb);
        lock::parse(&self.connection.run(&remote, limit).await?)
    }

    /// What its server says over the monitoring port; the service is not asked.
    pub async fn server(&self, limit: Duration) -> ServerView {
        let (varz, health, routes) =
            tokio::join!(self.varz_and_gateways(limit), self.health(limit), self.routes(limit));
        self.view(varz, health, routes)
    }

    /// The same for a look at the gate: with its client port, without the routes that its peers are asked for.
    pub async fn server_for_gate(&self, limit: Duration) -> ServerView {
        let (varz, health) = tokio::join!(self.varz(limit), self.health(limit));
        let routes = Err(Failure::new(FailureKind::NotAsked, "its own routes were not asked for"));
        let server = self.view(varz, health, routes);
        let client = self.client_port(&server, limit).await;
        ServerView { client, ..server }
    }

    fn view(&self, varz: Seen<Varz>, health: Seen<Health>, routes: Seen<Vec<Peer>>) -> ServerView {
        ServerView {
            host: self.inventory.name.clone(),
            server_name: self.inventory.server_name.clone(),
            zone: self.inventory.zone.clone(),
            at: Timestamp::now(),
            varz,
            health,
            routes,
            client: Err(Failure::new(FailureKind::NotAsked, "the client port was not looked at")),
            service: Err(Failure::new(FailureKind::NotAsked, "the service was not looked at")),
        }
    }

    async fn varz(&self, limit: Duration) -> Seen<Varz> {
        let (code, body) = self.monitor.get("/varz", limit).await?;
        self.answered(code, "/varz", &body)?;
        wire::varz(&body)
    }

    /// The same with its connections to other clusters, which have an endpoint of their own.
    async fn varz_and_gateways(&self, limit: Duration) -> Seen<Varz> {
        let varz = self.varz(limit).await?;
        if varz.gateways.is_some() {
            return Ok(varz);
        }
        let counted = self.monitor.get("/gatewayz", limit).await;
        let gateways = counted.ok().filter(|(code, _)| *code == 200).and_then(|(_, body)| wire::gateways(&body).ok());
        Ok(Varz { gateways, ..varz })
    }

    async fn health(&self, limit: Duration) -> Seen<Health> {
        let (code, body) = self.monitor.get("/healthz?details=true", limit).await?;
        wire::health(code, &body)
    }

    /// Whom its server has routes to.
    ///
    /// # Errors
    /// The monitoring port does not answer.
    pub async fn routes(&self, limit: Duration) -> Seen<Vec<Peer>> {
        let (code, body) = self.monitor.get("/routez", limit).await?;
        self.answered(code, "/routez", &body)?;
        wire::routes(&body)
    }

    /// All streams and consumers on its server, through the monitoring port.
    ///
    /// # Errors
    /// The port does not answer, or another server does.
    pub async fn assets(&self, limit: Duration) -> Seen<ServerAssets> {
        let at = Timestamp::now();
        let varz = self.varz(limit).await?;
        jsz::gather(&Monitored { host: self, limit }, &varz.server_name, at).await
    }

    /// How far its server's recovery is; empty where nothing of it can be seen.
    pub async fn recovery(&self, limit: Duration) -> Vec<Measure> {
        let restored = async {
            let (_, body) = self.monitor.get("/jsz", limit).await.ok()?;
            jsz::parse(body.as_bytes()).ok()
        };
        let read = async {
            let remote = commands::bytes_read(&self.inventory.service, self.inventory.become_)?;
            self.connection.run(&remote, limit).await.ok()?.stdout.trim().parse::<u64>().ok()
        };
        let (restored, read) = tokio::join!(restored, read);
        let measure = |what, value| Measure { what, value, of: None };
        let restored = restored
            .into_iter()
            .flat_map(|jsz| [measure(Moves::Streams, jsz.streams), measure(Moves::Messages, jsz.messages)]);
        restored.chain(read.map(|bytes| measure(Moves::BytesRead, bytes))).collect()
    }

    /// Where clients connect, as a URL, by the inventory: its client URL, or 4222 at the host's address.
    pub fn client_url(&self) -> String {
        match &self.inventory.client.url {
            Some(template) => template.render(&self.inventory.name, &self.address, &self.inventory.server_name),
            None if self.address.contains(':') => format!("nats://[{}]:{CLIENT_PORT}", self.address),
            None => format!("nats://{}:{CLIENT_PORT}", self.address),
        }
    }

    /// Whether anything takes a connection where clients connect.
    pub async fn dials(&self, limit: Duration) -> bool {
        let Ok(url) = Url::parse(&self.client_url()) else { return false };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        matches!(timeout(limit, tcp(&host, url.port().unwrap_or(CLIENT_PORT))).await, Ok(Ok(_)))
    }

    /// The client port as the host itself sees it: by the inventory, or else as the server says.
    ///
    /// # Errors
    /// The server does not answer, so where it listens is not known.
    pub async fn client_inside(&self, limit: Duration) -> Seen<ClientInside> {
        if self.inventory.client.url.is_some()
            && let Ok(url) = Url::parse(&self.client_url())
        {
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let (port, tls) = (url.port().unwrap_or(CLIENT_PORT), url.scheme() == "tls");
            return Ok(ClientInside { name: host.clone(), host, port, tls });
        }
        let varz = self.varz(limit).await?;
        Ok(ClientInside { host: inside(&varz), port: varz.client_port, name: self.address.clone(), tls: false })
    }

    /// Forwards over its ssh connection.
    pub fn forwarder(&self) -> Forwarder {
        self.monitor.forwarder().clone()
    }

    /// Another status than 200, with what came with it: an HTTPS port says there that it got plain HTTP.
    fn answered(&self, code: u16, path: &str, body: &str) -> Result<(), Failure> {
        if code == 200 {
            return Ok(());
        }
        let said: String = body.lines().next().unwrap_or_default().chars().take(100).collect();
        let text = format!("{path} of {}: HTTP {code}: {said}", self.monitored_by());
        Err(Failure::new(FailureKind::Protocol, text))
    }

    /// How the client port answers. `server` says which process should, and where it listens.
    ///
    /// # Errors
    /// What is wrong with it, or that the server is not known well enough to ask.
    pub async fn client_port(&self, server: &ServerView, limit: Duration) -> Seen<ClientPort> {
        let Ok(varz) = &server.varz else {
            return Err(Failure::new(FailureKind::NotAsked, "not asked: the server does not answer yet"));
        };
        match timeout(limit, self.talk(varz)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(FailureKind::Timeout, "client port: no answer in time")),
        }
    }

    async fn talk(&self, varz: &Varz) -> Seen<ClientPort> {
        let expected = |always_tls, name| client_port::Expected {
            always_tls,
            tls_required: varz.tls_required,
            tls_first: &self.client_tls_first,
            name,
            server_id: Some(&varz.server_id),
        };
        if let Some(template) = &self.inventory.client.url {
            let text = template.render(&self.inventory.name, &self.address, &self.inventory.server_name);
            let url = Url::parse(&text)
                .map_err(|error| Failure::new(FailureKind::NotAsked, format!("client url {text}: {error}")))?;
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
            let stream = tcp(host, url.port().unwrap_or(varz.client_port)).await?;
            return client_port::check(stream, &self.client_tls, &expected(url.scheme() == "tls", host)).await;
        }
        match self.monitor.way() {
            Some(Way::Direct(_)) | None => {
                let stream = tcp(&self.address, varz.client_port).await?;
                client_port::check(stream, &self.client_tls, &expected(false, &self.address)).await
            }
            Some(Way::Forward(_) | Way::Curl(_)) => {
                let inside = inside(varz);
                let socket = self.monitor.forwarder().forward(&inside, varz.client_port).await?;
                let stream = UnixStream::connect(&socket).await.map_err(|error| {
                    Failure::new(FailureKind::Unreachable, format!("client port through ssh: {error}"))
                })?;
                let checked = client_port::check(stream, &self.client_tls, &expected(false, &self.address)).await;
                checked.map_err(|failure| {
                    // ssh accepts on our side first, and closes without a word when it can't go on.
                    let why = "through ssh: nothing listens there, or sshd forbids forwarding (AllowTcpForwarding)";
                    let detail = failure.detail.replace(client_port::CLOSED, &format!("closed {why}"));
                    Failure::new(failure.kind, detail)
                })
            }
        }
    }

    /// The certificate that one of its TLS listeners shows.
    ///
    /// # Errors
    /// No handshake came about.
    pub async fn shown(&self, listener: &Listener, limit: Duration) -> Seen<Certificate> {
        let port = format!("{} {}", listener.kind.port(), listener.port);
        match timeout(limit, self.shake_hands(listener)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(FailureKind::Timeout, format!("{port}: no handshake in time"))),
        }
    }

    async fn shake_hands(&self, listener: &Listener) -> Seen<Certificate> {
        if let Some(Way::Direct(_)) = self.monitor.way()
            && let Ok(stream) = tcp(&self.address, listener.port).await
        {
            return handshake::shown(stream, listener.kind, &self.address).await;
        }
        let socket = self.monitor.forwarder().forward(&bound_inside(&listener.host), listener.port).await?;
        let stream = UnixStream::connect(&socket).await.map_err(|error| {
            Failure::new(FailureKind::Unreachable, format!("{} through ssh: {error}", listener.kind.port()))
        })?;
        handshake::shown(stream, listener.kind, &self.address).await
    }

    /// Runs a command on the host.
    ///
    /// # Errors
    /// The host can't be reached, or does not answer in time.
    pub(super) async fn run(&self, remote: &commands::Remote, limit: Duration) -> Result<Output, Failure> {
        self.connection.run(remote, limit).await
    }
}

/// Where the client port is for somebody on the host.
fn inside(varz: &Varz) -> String {
    bound_inside(&varz.client_host)
}

fn bound_inside(host: &str) -> String {
    if matches!(host, "" | "0.0.0.0" | "::" | "localhost") { "127.0.0.1".to_owned() } else { host.to_owned() }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Failure> {
    TcpStream::connect((host, port)).await.map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => FailureKind::Refused,
            std::io::ErrorKind::TimedOut => FailureKind::Timeout,
            _ => FailureKind::Unreachable,
        };
        Failure::new(kind, format!("client port {host}:{port}: {error}"))
    })
}
