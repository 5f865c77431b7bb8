//! The connection to the system account, and requests over it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Request, RequestErrorKind, ServerError};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    login::{Access, Secret},
    wire::{Envelope, Server},
};
use crate::{
    core::{
        assets::{Assets, ServerAssets, assemble},
        view::{Failure, FailureKind, Seen},
    },
    fleet::live::{
        jsz::{self, Jsz},
        tls,
    },
};

/// After the last expected answer a second server of the same name can still answer. Chosen, not measured: a request
/// within a site is answered in a few milliseconds.
const LINGER: Duration = Duration::from_millis(50);
/// Servers asked at once for all their assets: each answer can have some megabytes.
const AT_ONCE: usize = 3;
/// At most this long between two attempts to connect again: the server that we sit on is restarted during a roll.
const RECONNECT_MAX: Duration = Duration::from_millis(500);

/// A server that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its id, new at every start of the process.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its cluster.
    pub cluster: String,
}

/// Answers to one request, by server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Who answered, in the order of their names; a name can be there twice.
    pub peers: Vec<Peer>,
    /// Names that were expected and did not answer in time.
    pub silent: Vec<String>,
}

impl Answers {
    /// The one server of this name.
    ///
    /// # Errors
    /// None answered, or several.
    pub fn one(&self, name: &str) -> Seen<&Peer> {
        let mut found = self.peers.iter().filter(|peer| peer.name == name);
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => {
                Err(Failure::new(FailureKind::Protocol, format!("several servers answer by the name {name}")))
            }
            _ => {
                let text = format!("{name} did not answer over the system account");
                Err(Failure::new(FailureKind::Timeout, text))
            }
        }
    }
}

/// A connection as a user of the system account.
pub struct SystemAccount {
    client: Client,
    /// The last permissions violation that a server told of. It does not answer the request that it refuses.
    violation: watch::Receiver<String>,
}

impl SystemAccount {
    /// Connects. Once connected it reconnects by itself, to servers that it learned of too, as long as it lives.
    ///
    /// # Errors
    /// No server could be reached within `limit`, or none took us, or what took us is not the system account; no secret
    /// is repeated.
    pub async fn connect(access: &Access, servers: &[String], limit: Duration) -> Seen<Self> {
        let tls = tls::client(&access.tls.clone().unwrap_or_default())?;
        Self::open(access, servers, &format!("nats {}", servers.join(", ")), tls, limit, |options| options).await
    }

    /// Connects to the one server that a port of our loopback leads to. `name` is what its certificate must cover, `what` is
    /// what failures call it. Servers that it tells of are out of reach, or the relay would not be needed.
    ///
    /// # Errors
    /// As [`SystemAccount::connect`].
    pub async fn connect_through(access: &Access, url: String, name: &str, what: &str, limit: Duration) -> Seen<Self> {
        let tls = tls::client_of(&access.tls.clone().unwrap_or_default(), name)?;
        Self::open(access, &[url], what, tls, limit, ConnectOptions::ignore_discovered_servers).await
    }

    async fn open(
        access: &Access,
        servers: &[String],
        what: &str,
        tls: Arc<rustls::ClientConfig>,
        limit: Duration,
        more: impl FnOnce(ConnectOptions) -> ConnectOptions,
    ) -> Seen<Self> {
        let (violations, violation) = watch::channel(String::new());
        let violations = Arc::new(violations);
        let told = move |options: ConnectOptions| {
            more(options).event_callback(move |event| {
                let violations = Arc::clone(&violations);
                async move {
                    if let Event::ServerError(ServerError::Other(text)) = event {
                        violations.send_replace(text);
                    }
                }
            })
        };
        let client = dial(access, servers, what, tls, limit, told).await?;
        let account = Self { client, violation };
        account.prove(what, limit).await?;
        Ok(account)
    }

    /// Whether the connection is there at this moment.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// A user of another account connects all the same, and only then is nobody there to answer.
    async fn prove(&self, what: &str, limit: Duration) -> Seen<()> {
        let (id, _) = self.own();
        self.ask::<Value>(&id, "STATSZ", &json!({}), limit).await.map(drop).map_err(|failure| match failure.kind {
            FailureKind::Unreachable | FailureKind::Timeout => Failure::new(
                FailureKind::Denied,
                format!("{what}: connected, but this is no user of the system account"),
            ),
            _ => failure,
        })
    }

    /// The server that the connection leads to, by id, and its number for us: not to be evicted like the others.
    pub fn own(&self) -> (String, u64) {
        let info = self.client.server_info();
        (info.server_id, info.client_id)
    }

    /// Asks one server (`$SYS.REQ.SERVER.<id>.<what>`).
    ///
    /// # Errors
    /// It is not there, does not answer in time, or refuses.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        id: &str,
        what: &str,
        body: &Value,
        limit: Duration,
    ) -> Seen<Envelope<T>> {
        let payload =
            self.request(&format!("$SYS.REQ.SERVER.{id}.{what}"), what, body, HeaderMap::new(), limit).await?;
        Envelope::read(what, &payload)
    }

    /// One request and its answer.
    pub(super) async fn request(
        &self,
        subject: &str,
        what: &str,
        body: &Value,
        headers: HeaderMap,
        limit: Duration,
    ) -> Seen<Vec<u8>> {
        let mut request = Request::new().payload(body.to_string().into()).timeout(Some(limit));
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        let mut violation = self.violation.clone();
        violation.mark_unchanged();
        let forbidden = async {
            // Servers quote the subject: `Permissions Violation for Publish to "$JS.API…"`.
            let quoted = format!("\"{subject}\"").to_lowercase();
            let is_ours = |text: &String| text.to_lowercase().contains(&quoted);
            while violation.changed().await.is_ok() {
                if is_ours(&violation.borrow_and_update()) {
                    return;
                }
            }
            // The connection is gone, and the request will say so.
            std::future::pending::<()>().await;
        };
        let answer = tokio::select! {
            answer = self.client.send_request(subject.to_owned(), request) => answer,
            () = forbidden => {
                let text = format!("{what}: our user has no permission to publish to {subject}");
                return Err(Failure::new(FailureKind::Denied, text));
            }
        };
        let answer = answer.map_err(|error| {
            let (kind, words) = match error.kind() {
                RequestErrorKind::TimedOut => {
                    (FailureKind::Timeout, format!("no answer within {} ms", limit.as_millis()))
                }
                RequestErrorKind::NoResponders => (FailureKind::Unreachable, "nobody is there to answer".to_owned()),
                RequestErrorKind::InvalidSubject => (FailureKind::NotAsked, "a name that is no subject".to_owned()),
                _ => (FailureKind::Unreachable, error.to_string()),
            };
            Failure::new(kind, format!("{what}: {words}"))
        })?;
        Ok(answer.payload.to_vec())
    }

    /// Asks all servers who they are, until every name in `expected` has answered, or the time is over.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn servers(&self, expected: &[String], limit: Duration) -> Seen<Answers> {
        let gone =
            |error: &dyn std::fmt::Display| Failure::new(FailureKind::Unreachable, format!("system account: {error}"));
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|error| gone(&error))?;
        let sent = self.client.publish_with_reply("$SYS.REQ.SERVER.PING", inbox, "".into()).await;
        sent.map_err(|error| gone(&error))?;
        let mut found: BTreeMap<(String, String), Peer> = BTreeMap::new();
        let mut deadline = Instant::now() + limit;
        while let Ok(Some(message)) = tokio::time::timeout_at(deadline.into(), answers.next()).await {
            // A status such as "no responders" has no envelope; neither has the answer of anything but a server.
            let Ok(envelope) = Envelope::<serde::de::IgnoredAny>::read("PING", &message.payload) else { continue };
            let Server { name, id, ver: version, cluster } = envelope.server;
            found.insert((name.clone(), id.clone()), Peer { name, id, version, cluster });
            if expected.iter().all(|name| found.keys().any(|(found, _)| found == name)) {
                deadline = deadline.min(Instant::now() + LINGER);
            }
        }
        let peers: Vec<Peer> = found.into_values().collect();
        let silent = expected.iter().filter(|name| peers.iter().all(|peer| peer.name != **name)).cloned().collect();
        Ok(Answers { peers, silent })
    }

    /// All that one server has.
    ///
    /// # Errors
    /// As [`jsz::gather`].
    pub async fn server_assets(&self, server: &Peer, limit: Duration) -> Seen<ServerAssets> {
        let source = Asked { account: self, id: &server.id, limit };
        jsz::gather(&source, &server.name, Timestamp::now()).await
    }

    /// All that the servers of these names have. `limit` is for each request.
    pub async fn assets(&self, names: &[String], limit: Duration) -> Assets {
        let answers = match self.servers(names, limit).await {
            Ok(answers) => answers,
            Err(failure) => return assemble(names.iter().map(|name| (name.clone(), Err(failure.clone()))).collect()),
        };
        // Made before they are awaited: a closure in the stream could not be sent between threads.
        let asked: Vec<_> = names
            .iter()
            .map(|name| async {
                let seen = match answers.one(name) {
                    Ok(peer) => self.server_assets(peer, limit).await,
                    Err(failure) => Err(failure),
                };
                (name.clone(), seen)
            })
            .collect();
        assemble(stream::iter(asked).buffered(AT_ONCE).collect().await)
    }
}

/// Connects as any user, to any account. Once connected it reconnects by itself, to servers that it learned of too.
///
/// # Errors
/// No server could be reached within `limit`, or none took us; no secret is repeated.
pub async fn connect(access: &Access, limit: Duration) -> Seen<Client> {
    let tls = tls::client(&access.tls.clone().unwrap_or_default())?;
    let what = format!("nats {}", access.servers.join(", "));
    dial(access, &access.servers, &what, tls, limit, |options| options).await
}

async fn dial(
    access: &Access,
    servers: &[String],
    what: &str,
    tls: Arc<rustls::ClientConfig>,
    limit: Duration,
    more: impl FnOnce(ConnectOptions) -> ConnectOptions,
) -> Seen<Client> {
    let mut options = ConnectOptions::new()
        .name("rollgate")
        .connection_timeout(limit)
        .request_timeout(Some(limit))
        .reconnect_delay_callback(|attempt| {
            let step = u32::try_from(attempt.min(10)).unwrap_or(10);
            (Duration::from_millis(20) * step.saturating_sub(1)).min(RECONNECT_MAX)
        });
    // Where the files are ours the roots are too; a server that asks for TLS gets it in either case.
    options = options.tls_client_config((*tls).clone());
    if access.tls_first {
        options = options.tls_first();
    }
    let options = match &access.login {
        Secret::Creds(text) => options
            .credentials(text)
            .map_err(|_| Failure::new(FailureKind::NotAsked, "the credentials file can't be used"))?,
        Secret::Nkey(seed) => options.nkey(seed.clone()),
        Secret::User(user, password) => options.user_and_password(user.clone(), password.clone()),
        Secret::Token(token) => options.token(token.clone()),
        Secret::None => options,
    };
    let parsed: Vec<async_nats::ServerAddr> = servers.iter().filter_map(|url| url.parse().ok()).collect();
    if parsed.is_empty() || parsed.len() < servers.len() {
        return Err(Failure::new(FailureKind::NotAsked, format!("{what}: no usable client URL")));
    }
    let connected = tokio::time::timeout(limit, more(options).connect(parsed)).await;
    match connected {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(refused(&error, what)),
        Err(_) => Err(Failure::new(FailureKind::Timeout, format!("{what}: no answer in time"))),
    }
}

/// One server over the system account.
struct Asked<'a> {
    account: &'a SystemAccount,
    id: &'a str,
    limit: Duration,
}

impl jsz::Source for Asked<'_> {
    async fn ask(&self, query: &jsz::Query) -> Seen<Jsz> {
        let envelope = self.account.ask::<Jsz>(self.id, "JSZ", &query.body(), self.limit).await?;
        envelope.data.ok_or_else(|| Failure::new(FailureKind::Protocol, "JSZ: an answer without data"))
    }
}

/// Why no connection came about. The library's own words are only used where they can't have a secret in them.
fn refused(error: &async_nats::ConnectError, what: &str) -> Failure {
    let (kind, words) = match error.kind() {
        ConnectErrorKind::AuthorizationViolation => {
            (FailureKind::Denied, "the server did not take the login".to_owned())
        }
        ConnectErrorKind::Authentication => (FailureKind::Denied, "the key can't sign: is the seed whole?".to_owned()),
        ConnectErrorKind::TimedOut => (FailureKind::Timeout, "no answer in time".to_owned()),
        ConnectErrorKind::Dns => (FailureKind::Unreachable, "the host's name can't be resolved".to_owned()),
        ConnectErrorKind::Tls => (FailureKind::Tls, innermost(error)),
        ConnectErrorKind::ServerParse => (FailureKind::NotAsked, "a URL that can't be read".to_owned()),
        ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => io(error),
    };
    Failure::new(kind, format!("{what}: {words}"))
}

fn io(error: &async_nats::ConnectError) -> (FailureKind, String) {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = source {
        if cause.downcast_ref::<rustls::Error>().is_some() {
            return (FailureKind::Tls, cause.to_string());
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => return (FailureKind::Refused, "connection refused".into()),
                std::io::ErrorKind::TimedOut => return (FailureKind::Timeout, "no answer in time".into()),
                _ => {}
            }
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return (FailureKind::Tls, tls.to_string());
            }
        }
        source = cause.source();
    }
    (FailureKind::Unreachable, innermost(error))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
