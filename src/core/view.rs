//! What was observed, by whom, and when.
//!
//! A view holds no conclusions. Whatever could not be observed is recorded as a [`Failure`], never left out: the rules
//! in [`safety`](super::safety) and [`gate`](super::gate) treat what is unknown as not good.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use super::health::{Health, HealthError};
use super::{assets::Assets, diagnosis::Diagnosis, difference::Difference, listeners::Listener, version::Version};

/// An observation, or why there is none.
pub type Seen<T> = Result<T, Failure>;

/// Why something could not be observed or done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// The kind that rules and exit codes look at.
    pub kind: FailureKind,
    /// The cause in words, with the address or command it concerns.
    pub detail: String,
}

impl Failure {
    /// A failure of `kind` with its cause in words.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// The kinds of [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Nothing listens there.
    Refused,
    /// No answer in time.
    Timeout,
    /// No way to the host: name not found, no route, connection lost.
    Unreachable,
    /// The host's key is unknown or has changed.
    HostKey,
    /// The host or the server did not accept our credentials.
    Denied,
    /// `sudo -n` was refused.
    Sudo,
    /// A TLS handshake failed.
    Tls,
    /// The answer made no sense.
    Protocol,
    /// A command on the host failed.
    Command,
    /// It was not asked for, because something it needs is missing.
    NotAsked,
    /// The host refused: the cluster's lock is not with this run, or was not confirmed in time.
    Fenced,
}

impl FailureKind {
    /// Whether the host itself (not a server on it) is out of reach.
    pub fn is_unreachable(self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable | Self::HostKey | Self::Denied | Self::Refused)
    }
}

/// One cluster, as seen at about one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The cluster's name in the inventory.
    pub cluster: String,
    /// When the last of the observations came in.
    pub at: Timestamp,
    /// One entry a host, in inventory order.
    pub servers: Vec<ServerView>,
    /// Whether the system account can be used; none where the inventory names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_account: Option<Seen<()>>,
    /// JetStream's assets and their raft groups; none where they were not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assets: Option<Assets>,
    /// Whether servers could start again as they are, by host; empty where it was not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preflight: Vec<(String, Diagnosis)>,
    /// How servers differ from what is on their hosts' disks, by host; empty where it was not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<(String, Vec<Difference>)>,
}

impl View {
    /// The entry of one host.
    pub fn server(&self, host: &str) -> Option<&ServerView> {
        self.servers.iter().find(|server| server.host == host)
    }

    /// The meta leader that most servers name, if any does.
    pub fn meta_leader(&self) -> Option<&str> {
        let mut votes: Vec<(&str, usize)> = Vec::new();
        for leader in self.servers.iter().filter_map(ServerView::meta_leader) {
            match votes.iter_mut().find(|(name, _)| *name == leader) {
                Some((_, count)) => *count += 1,
                None => votes.push((leader, 1)),
            }
        }
        // The first of several with the same count wins: the answer must not depend on a hash order.
        votes.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(name, _)| name)
    }
}

/// One server, as seen over its monitoring port and, where asked, on its host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerView {
    /// The host's name in the inventory.
    pub host: String,
    /// The server name that the inventory expects.
    pub server_name: String,
    /// The host's zone.
    pub zone: Option<String>,
    /// When this server was observed.
    pub at: Timestamp,
    /// `/varz`.
    pub varz: Seen<Varz>,
    /// `/healthz?details=true`.
    pub health: Seen<Health>,
    /// `/routez`: the peers that this server has a route to.
    pub routes: Seen<Vec<Peer>>,
    /// What the client port says; [`FailureKind::NotAsked`] where only monitoring was observed.
    pub client: Seen<ClientPort>,
    /// The state of the service on the host; [`FailureKind::NotAsked`] where only monitoring was observed.
    pub service: Seen<ServiceState>,
}

impl ServerView {
    /// Whether the server answered and healthz finds nothing wrong with the server itself. What it finds wrong with single
    /// streams and consumers counts for those: see [`Health::serves`].
    pub fn healthy(&self) -> bool {
        self.varz.is_ok() && self.health.as_ref().is_ok_and(Health::serves)
    }

    /// The meta leader's server name, as this server tells it.
    pub fn meta_leader(&self) -> Option<&str> {
        self.varz.as_ref().ok()?.meta.as_ref()?.leader.as_deref()
    }

    /// Whether this server says that it is the meta leader.
    pub fn leads_meta(&self) -> bool {
        self.varz.as_ref().is_ok_and(|varz| self.meta_leader() == Some(varz.server_name.as_str()))
    }
}

/// What `/varz` says, as far as a roll needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Varz {
    /// New at every start of the process.
    pub server_id: String,
    /// The configured name; the server id where none is configured (`server/server.go`, `NewServer`).
    pub server_name: String,
    /// The server's version.
    pub version: String,
    /// When the process started, by the host's clock.
    pub start: Timestamp,
    /// The host's clock when it answered.
    pub now: Timestamp,
    /// The NATS cluster's name.
    pub cluster: Option<String>,
    /// The address that the client listener is bound to.
    pub client_host: String,
    /// The client listener's port.
    pub client_port: u16,
    /// Clients must use TLS.
    pub tls_required: bool,
    /// Clients must authenticate.
    pub auth_required: bool,
    /// Clients connected now.
    pub connections: u64,
    /// Leafnodes connected now.
    pub leafnodes: u64,
    /// Connections to and from other clusters; none where they could not be counted.
    #[serde(default)]
    pub gateways: Option<u64>,
    /// Distinct servers that it has routes to.
    pub remotes: u64,
    /// When it read its configuration, by the host's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_load_time: Option<Timestamp>,
    /// The digest of its configuration's text, from 2.11 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_digest: Option<String>,
    /// JetStream is on.
    pub jetstream: bool,
    /// The meta group as this server sees it; absent without clustered JetStream.
    pub meta: Option<Meta>,
    /// Connections of each route (`cluster.pool_size`): below 1 they are not pooled; none without a cluster, and before 2.10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_pool: Option<i64>,
    /// The JetStream API level that it has (`jetstream.stats.api.level`); none before 2.11, and without JetStream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_level: Option<u32>,
    /// The feature flags that it knows, and whether each is on; none before 2.14.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_flags: BTreeMap<String, bool>,
    /// Its TLS listeners, but for the one for routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<Listener>,
}

impl Varz {
    /// Whether the server has a configured name: without one it takes its id, which changes at every start.
    pub fn named(&self) -> bool {
        self.server_name != self.server_id
    }

    /// Whether the route to a server with this pool could be made: until 2.11.2 both ends had to agree on its size
    /// (nats-server `route.go`, "Mismatch route pool size").
    pub fn routes_to(&self, other: &Self) -> bool {
        match (self.route_pool, other.route_pool) {
            (Some(a), Some(b)) if a > 0 && b > 0 && a != b => {
                [self, other].into_iter().all(|end| Version::of(&end.version).is_some_and(|v| v >= Version(2, 11, 2)))
            }
            _ => true,
        }
    }
}

/// The JetStream meta group as one server sees it (`/varz`, `jetstream.meta`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The leader's server name; none while there is no leader.
    pub leader: Option<String>,
    /// Servers in the group, present or not.
    pub size: u32,
    /// The names of its members, as its leader lists them; empty where another server answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

/// A server at the other end of a route. Routes are pooled from 2.10, so several routes can lead to one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The peer's server id: it names one process, so a route to the old process can't pass for a new one.
    pub server_id: String,
    /// The peer's name, where the server tells it.
    pub server_name: Option<String>,
}

/// How the client port answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientPort {
    /// INFO, and PONG to our PING; over TLS if the server demands it.
    Pong,
    /// INFO, and the server asked for credentials that we don't have: it serves, but we may not go further.
    AsksCredentials,
}

/// The service as its manager on the host sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceState {
    /// The state, in words common to all managers.
    pub phase: Phase,
    /// The state in the manager's own words, such as `activating (auto-restart)`.
    pub words: String,
    /// systemd's `Result` or its like; empty or `success` when nothing is wrong.
    pub result: String,
    /// How the main process last ended.
    pub exit: Option<Exit>,
    /// Restarts by the manager itself; it growing means a crash loop.
    pub restarts: Option<u32>,
    /// The main process.
    pub pid: Option<u32>,
    /// The host's boot, which tells a reboot from a restart.
    pub boot_id: Option<String>,
    /// How long the manager gives the process to stop before it kills it; none when unknown or unlimited.
    pub stop_timeout_ms: Option<u64>,
    /// Whether the manager starts the service at boot, in its own words.
    pub enabled: Option<String>,
    /// The signals that a stop sends to the process, in their order; empty where that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_signals: Vec<StopSignal>,
    /// What the next start would find on the host.
    #[serde(default)]
    pub next: NextStart,
    /// The command that starts the service by hand, for messages.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by_hand: String,
}

/// A signal in the course of a stop, by what nats-server does at it (`signal.go`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopSignal {
    /// SIGUSR2: lame duck.
    LameDuck,
    /// SIGTERM: an orderly stop; ignored once lame duck has begun.
    Term,
    /// SIGINT: an orderly stop, of a lame duck too.
    Interrupt,
    /// SIGKILL: the process is gone, and what it had not written with it.
    Kill,
    /// A command that is not understood, in its own words.
    Other(String),
}

/// What a start would find on the host, as far as it could be read without privileges.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NextStart {
    /// The version of the program on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `lame_duck_duration` in the configuration file; none where the file does not set it, or could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lame_duck_ms: Option<u64>,
    /// When the configuration file was last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_at: Option<Timestamp>,
}

impl ServiceState {
    /// Whether the manager reports a failure of the last run.
    pub fn failed(&self) -> bool {
        self.phase == Phase::Failed || !matches!(self.result.as_str(), "" | "success")
    }

    /// Whether the last process was ended by SIGKILL: nothing that it had in memory was written. systemd says `timeout` where
    /// the unit's own limit did it; containers and shells say 137, which is 128 and the signal.
    pub fn was_killed(&self) -> bool {
        self.result == "timeout" || matches!(self.exit, Some(Exit::Signal(9) | Exit::Code(137)))
    }

    /// The state in one line.
    pub fn summary(&self) -> String {
        let mut text = self.words.clone();
        if self.failed() && !self.result.is_empty() {
            text.push_str(&format!(", result {}", self.result));
        }
        if let Some(exit) = &self.exit {
            text.push_str(&format!(", {exit}"));
        }
        if let Some(restarts) = self.restarts.filter(|n| *n > 0) {
            text.push_str(&format!(", restarted {restarts} times by its manager"));
        }
        text
    }
}

/// The state of a service, common to all managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The process runs.
    Running,
    /// The manager is starting it for the first time.
    Starting,
    /// It died and the manager will start it again by itself.
    AutoRestart,
    /// It is being stopped; lame duck is this.
    Stopping,
    /// It does not run, and nothing failed.
    Stopped,
    /// It does not run because it failed.
    Failed,
    /// The manager knows no such service.
    Missing,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(9) => f.write_str("killed by SIGKILL"),
            Self::Signal(11) => f.write_str("crashed with SIGSEGV"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
        }
    }
}
