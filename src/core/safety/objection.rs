//! Reasons against a restart: their names, their words, and what to do about each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::view::{Failure, FailureKind};

/// A reason why a restart of one server may not begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Objection {
    /// Another server of the cluster does not answer its monitoring port.
    ServerUnreachable {
        /// The host concerned.
        host: String,
        /// Why it was not seen.
        failure: Failure,
    },
    /// A server is not healthy: another one, or the candidate itself where the plan had seen it healthy.
    ServerNotHealthy {
        /// The host concerned.
        host: String,
        /// What healthz said.
        health: String,
    },
    /// The server behind a host's monitoring address is not the one in the inventory.
    WrongServer {
        /// The host concerned.
        host: String,
        /// The name in the inventory.
        expected: String,
        /// The name that answered.
        found: String,
    },
    /// Two hosts' monitoring addresses lead to one server, or two servers have one name.
    DuplicateServer {
        /// The hosts concerned.
        hosts: Vec<String>,
        /// The name or id that they share.
        name: String,
    },
    /// A healthy server has no route to another healthy one.
    MissingRoute {
        /// Where the route is missing.
        from: String,
        /// Whom it should lead to.
        to: String,
    },
    /// Peers have a route to a server that is not in the inventory, so its state is unknown.
    NotInInventory {
        /// The server's name, or its id where it tells no name.
        server: String,
        /// The hosts that have a route to it.
        seen_by: Vec<String>,
    },
    /// The servers are of different NATS clusters.
    DifferentClusters {
        /// Each cluster's name and its hosts.
        clusters: BTreeMap<String, Vec<String>>,
    },
    /// JetStream is clustered and a server knows no meta leader.
    NoMetaLeader {
        /// The hosts that know none.
        hosts: Vec<String>,
    },
    /// Servers name different meta leaders.
    MetaLeaderDisputed {
        /// Each leader named, and by which hosts.
        leaders: BTreeMap<String, Vec<String>>,
    },
    /// Groups with a member on the candidate would be left without a majority of current members, as their leaders count
    /// them.
    GroupMajority {
        /// The candidate's host.
        host: String,
        /// How many groups.
        count: usize,
        /// The first of them, with their counts.
        groups: Vec<String>,
    },
    /// Groups have no leader, or servers disagree about who it is, so nobody can vouch for their members.
    GroupWithoutLeader {
        /// How many groups.
        count: usize,
        /// The first of them.
        groups: Vec<String>,
    },
    /// Streams whose only copy is on the candidate, and that are in use: they are offline while it restarts.
    R1Offline {
        /// The candidate's host.
        host: String,
        /// How many streams.
        count: usize,
        /// The first of them, with their subjects.
        groups: Vec<String>,
    },
    /// Assets kept in memory whose last current copy is on the candidate: a restart loses what is in them.
    MemoryLastCopy {
        /// The candidate's host.
        host: String,
        /// How many assets.
        count: usize,
        /// The first of them.
        groups: Vec<String>,
    },
    /// Assets on the candidate are being scaled, moved, or joined by a peer.
    PendingChange {
        /// How many assets.
        count: usize,
        /// The first of them, with what is pending.
        groups: Vec<String>,
    },
    /// The inventory names a system account that can't be used.
    SystemAccount {
        /// What failed.
        failure: Failure,
    },
    /// What is on a server is not known, or not wholly.
    AssetsUnknown {
        /// What is missing, by server.
        gaps: Vec<String>,
    },
    /// The candidate's host can't be reached or used.
    HostUnusable {
        /// The host concerned.
        host: String,
        /// What failed.
        failure: Failure,
    },
    /// The candidate's client port does not answer as the gate will want it to: the gate could never open.
    ClientPort {
        /// The host concerned.
        host: String,
        /// What failed.
        failure: Failure,
    },
    /// The candidate's service manager knows no such service.
    ServiceMissing {
        /// The host concerned.
        host: String,
        /// The manager's own words.
        words: String,
    },
    /// The candidate's service is being started or stopped by someone else.
    ServiceBusy {
        /// The host concerned.
        host: String,
        /// The manager's own words.
        words: String,
    },
    /// The facts are too old to act on.
    Stale {
        /// The host concerned.
        host: String,
        /// Their age.
        age_ms: u64,
    },
}

impl Objection {
    /// The names that an operator may consent to. The rest is no matter of consent: without a host, a service or fresh
    /// facts there is nothing to restart, and with the wrong server there is no knowing what.
    pub const OVERRIDABLE: [&'static str; 14] = [
        "server-unreachable",
        "server-not-healthy",
        "missing-route",
        "not-in-inventory",
        "no-meta-leader",
        "meta-leader-disputed",
        "group-majority",
        "group-without-leader",
        "r1-offline",
        "memory-last-copy",
        "pending-change",
        "system-account",
        "assets-unknown",
        "client-port",
    ];

    /// The stable name, as used in output and in overrides.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ServerUnreachable { .. } => "server-unreachable",
            Self::ServerNotHealthy { .. } => "server-not-healthy",
            Self::WrongServer { .. } => "wrong-server",
            Self::DuplicateServer { .. } => "duplicate-server",
            Self::MissingRoute { .. } => "missing-route",
            Self::NotInInventory { .. } => "not-in-inventory",
            Self::DifferentClusters { .. } => "different-clusters",
            Self::NoMetaLeader { .. } => "no-meta-leader",
            Self::MetaLeaderDisputed { .. } => "meta-leader-disputed",
            Self::GroupMajority { .. } => "group-majority",
            Self::GroupWithoutLeader { .. } => "group-without-leader",
            Self::R1Offline { .. } => "r1-offline",
            Self::MemoryLastCopy { .. } => "memory-last-copy",
            Self::PendingChange { .. } => "pending-change",
            Self::SystemAccount { .. } => "system-account",
            Self::AssetsUnknown { .. } => "assets-unknown",
            Self::HostUnusable { .. } => "host-unusable",
            Self::ClientPort { .. } => "client-port",
            Self::ServiceMissing { .. } => "service-missing",
            Self::ServiceBusy { .. } => "service-busy",
            Self::Stale { .. } => "stale",
        }
    }

    /// Whether the reason is that something can't be reached (exit code 6, not 3).
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::ServerUnreachable { failure, .. } | Self::HostUnusable { failure, .. } => {
                failure.kind.is_unreachable()
            }
            _ => false,
        }
    }

    /// What the operator can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::ServerUnreachable { host, failure } if failure.kind == FailureKind::Refused => {
                format!("start the server on {host}, or correct its monitoring url in the inventory")
            }
            Self::ServerUnreachable { host, .. } => {
                format!("see `rollgate check --host {host}`; where 8222 is bound to localhost, set `via: ssh`")
            }
            Self::ServerNotHealthy { host, .. } => {
                format!("mend {host} first; a server that is already down may be rolled alone with `--host {host}`")
            }
            Self::WrongServer { host, found, .. } => {
                format!("set `server_name: {found}` for {host} in the inventory, if that is the server you mean")
            }
            Self::DuplicateServer { .. } => "give every server its own name and every host its own address".into(),
            Self::MissingRoute { from, to } => {
                format!("look at the routes between {from} and {to}: firewall, cluster name, credentials")
            }
            Self::NotInInventory { server, .. } => format!("add the host of {server} to the cluster in the inventory"),
            Self::DifferentClusters { .. } => "put each NATS cluster under its own name in the inventory".into(),
            Self::NoMetaLeader { .. } | Self::MetaLeaderDisputed { .. } => {
                "wait for the election to end; if it does not, look at routes and clocks".into()
            }
            Self::GroupMajority { .. } => {
                "wait until the other replicas are current, or mend the one that is not".into()
            }
            Self::GroupWithoutLeader { .. } => {
                "wait for the election to end; a group that stays without a leader has lost its majority".into()
            }
            Self::R1Offline { .. } => {
                "raise the replicas of these streams, or consent to their being offline: `--allow r1-offline`".into()
            }
            Self::MemoryLastCopy { .. } => {
                "raise the replicas of these assets, or consent to the loss: `--allow memory-last-copy`".into()
            }
            Self::PendingChange { .. } => "wait until it is through".into(),
            Self::SystemAccount { .. } => {
                "correct `nats:` in the inventory, or leave it out: then lame duck moves the clients".into()
            }
            Self::AssetsUnknown { .. } => "see that every server answers /jsz".into(),
            Self::HostUnusable { host, failure } => match failure.kind {
                FailureKind::Sudo => {
                    format!("allow passwordless sudo for the ssh user on {host}, or set `become: none`")
                }
                FailureKind::HostKey => format!(
                    "compare {host}'s key with a trusted source, then update known_hosts; never accept it blindly"
                ),
                FailureKind::Denied => {
                    format!("see that your key for {host} is in the ssh agent (`ssh-add -l`) or named by `identity:`")
                }
                _ => format!("try that ssh command by hand; {host} must be on, and reachable from here"),
            },
            Self::ClientPort { host, failure } if failure.kind == FailureKind::Tls => {
                format!(
                    "name the CA of {host}'s certificate, and a client certificate where it wants one: `client: {{ca: FILE}}`"
                )
            }
            Self::ClientPort { .. } => {
                "give the port's address as rollgate can reach it: `client: {url: \"nats://{address}:4222\"}`".into()
            }
            Self::ServiceMissing { host, .. } => format!("correct the service's name for {host} in the inventory"),
            Self::ServiceBusy { host, .. } => format!("wait until the other change on {host} has ended"),
            Self::Stale { .. } => "look again".into(),
        }
    }
}

impl std::fmt::Display for Objection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ServerUnreachable { host, failure } => write!(f, "{host} does not answer: {failure}"),
            Self::ServerNotHealthy { host, health } => write!(f, "{host} is not healthy: {health}"),
            Self::WrongServer { host, expected, found } => {
                write!(f, "{host} answers as server {found}, the inventory says {expected}")
            }
            Self::DuplicateServer { hosts, name } => write!(f, "{} are all server {name}", hosts.join(" and ")),
            Self::MissingRoute { from, to } => write!(f, "{from} has no route to {to}"),
            Self::NotInInventory { server, seen_by } => {
                write!(f, "{server} belongs to the cluster (seen by {}) but not to the inventory", seen_by.join(", "))
            }
            Self::DifferentClusters { clusters } => {
                write!(f, "the hosts are of several clusters: {}", groups(clusters))
            }
            Self::NoMetaLeader { hosts } => write!(f, "no meta leader, says {}", hosts.join(", ")),
            Self::MetaLeaderDisputed { leaders } => write!(f, "the meta leader is disputed: {}", groups(leaders)),
            Self::GroupMajority { host, count, groups } => {
                write!(
                    f,
                    "{} would lose the majority without {host}: {}",
                    several(*count, "group"),
                    list(*count, groups)
                )
            }
            Self::GroupWithoutLeader { count, groups } => {
                write!(f, "{} without an agreed leader: {}", several(*count, "group"), list(*count, groups))
            }
            Self::R1Offline { host, count, groups } => write!(
                f,
                "{} in use with the only copy on {host}, offline while it restarts: {}",
                several(*count, "stream"),
                list(*count, groups)
            ),
            Self::MemoryLastCopy { host, count, groups } => write!(
                f,
                "{} in memory with the last current copy on {host}, lost by a restart: {}",
                several(*count, "asset"),
                list(*count, groups)
            ),
            Self::PendingChange { count, groups } => {
                write!(f, "{} changing: {}", several(*count, "asset"), list(*count, groups))
            }
            Self::SystemAccount { failure } => write!(f, "the system account can't be used: {failure}"),
            Self::AssetsUnknown { gaps } => write!(f, "assets are not known: {}", gaps.join("; ")),
            Self::HostUnusable { host, failure } => write!(f, "{host} can't be used: {failure}"),
            Self::ClientPort { host, failure } => write!(f, "{host} can't pass the gate: {failure}"),
            Self::ServiceMissing { host, words } => write!(f, "{host} has no such service: {words}"),
            Self::ServiceBusy { host, words } => write!(f, "the service on {host} is changing already: {words}"),
            Self::Stale { host, age_ms } => write!(f, "what is known of {host} is {} s old", age_ms / 1000),
        }
    }
}

fn groups(groups: &BTreeMap<String, Vec<String>>) -> String {
    groups.iter().map(|(name, hosts)| format!("{name} ({})", hosts.join(", "))).collect::<Vec<_>>().join("; ")
}

fn several(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The first of `count` things, and how many more there are.
fn list(count: usize, first: &[String]) -> String {
    let more = count.saturating_sub(first.len());
    if more == 0 { first.join(", ") } else { format!("{} and {more} more", first.join(", ")) }
}
