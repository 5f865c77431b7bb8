//! Reasons against a restart in words, and what to do about each.

use std::collections::BTreeMap;

use super::Objection;
use crate::core::{count_of, view::FailureKind};

impl Objection {
    /// What the operator can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::ColdStart { majority, start, .. } if start.is_empty() => format!(
                "start {} of the servers at the same time, without waiting for the first: alone it can't become ready; then roll",
                majority
            ),
            Self::ColdStart { start, .. } => format!(
                "start a majority, without waiting for the first, which is not ready alone: `{}`; then the rest by `rollgate restart`",
                start.join("`, `")
            ),
            Self::LameDuck { host } => format!("wait until {host} has ended and is back"),
            Self::VersionJump { .. } => "install a version between the two first, on every server".into(),
            Self::ApiLevel { .. } => "install a version that has the level, or delete what needs it".into(),
            Self::FeatureFlag { flag, .. } => format!(
                "set `feature_flags: {{{flag}: false}}` until every server knows it, or bring the others to a version that does"
            ),
            Self::RoutePool { .. } => {
                "give every server the same `cluster.pool_size`, by a reload of all of them".into()
            }
            Self::LameDuckCut { host, lame_duck_ms, .. } => {
                let seconds = lame_duck_ms / 1000 + 30;
                format!("allow {host} a stop of {seconds} s: `TimeoutStopSec` of its unit, `deadline` of the stop step")
            }
            Self::UnitKills { host } => {
                format!(
                    "write `ExecStop=/bin/kill -s SIGUSR2 $MAINPID` into the unit of {host}, in place of what kills it"
                )
            }
            Self::NotEnabled { host, .. } => format!(
                "enable it on {host} (`systemctl enable`), or put `start` after `reboot` in a playbook of your own"
            ),
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
            Self::Preflight { host, finding } => {
                let commands: Vec<&str> = finding.remedy.commands.iter().map(String::as_str).collect();
                format!("on {host}: {}: {}", finding.remedy.text, commands.join("; "))
            }
            Self::PreflightUnknown { host, .. } => format!("see `rollgate diagnose {host}`"),
            Self::Stale { .. } => "look again".into(),
        }
    }
}

impl std::fmt::Display for Objection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ColdStart { down, majority, .. } => {
                write!(f, "a cold start: {} not running, and none becomes ready before {majority} run", are(down))
            }
            Self::LameDuck { host } => write!(f, "{host} is in lame duck: it is about to be gone"),
            Self::VersionJump { host, from, to, why } => write!(f, "{host} would go from {from} to {to}: {why}"),
            Self::ApiLevel { host, level, count, groups } => write!(
                f,
                "{} on {host} offline after its restart, its program has JetStream API level {level}: {}",
                count_of(*count, "asset"),
                list(*count, groups)
            ),
            Self::FeatureFlag { host, flag, unknown_to } => write!(
                f,
                "{host} would come back with {flag} on, which crashes servers that don't know it: {}",
                unknown_to.join(", ")
            ),
            Self::RoutePool { host, pool, others } => write!(
                f,
                "{host} would come back without routes: its pool_size is {pool}, elsewhere it is {}",
                others.join(", ")
            ),
            Self::LameDuckCut { host, lame_duck_ms, given_ms, by } => write!(
                f,
                "{host} would be cut off in mid lame duck: it takes up to {} s, {by} gives it {} s",
                lame_duck_ms / 1000,
                given_ms / 1000
            ),
            Self::NotEnabled { host, enabled: Some(word) } => {
                write!(f, "the boot of {host} would not start its server: the service is {word}")
            }
            Self::NotEnabled { host, enabled: None } => {
                write!(
                    f,
                    "whether the boot of {host} starts its server is not known: the service's manager does not say"
                )
            }
            Self::UnitKills { host } => write!(f, "a stop of {host} is a SIGKILL, by its unit"),
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
                    count_of(*count, "group"),
                    list(*count, groups)
                )
            }
            Self::GroupWithoutLeader { count, groups } => {
                write!(f, "{} without an agreed leader: {}", count_of(*count, "group"), list(*count, groups))
            }
            Self::R1Offline { host, count, groups } => write!(
                f,
                "{} in use with the only copy on {host}, offline while it restarts: {}",
                count_of(*count, "asset"),
                list(*count, groups)
            ),
            Self::MemoryLastCopy { host, count, groups } => write!(
                f,
                "{} in memory with the last current copy on {host}, lost by a restart: {}",
                count_of(*count, "asset"),
                list(*count, groups)
            ),
            Self::PendingChange { count, groups } => {
                write!(f, "{} changing: {}", count_of(*count, "asset"), list(*count, groups))
            }
            Self::SystemAccount { failure } => write!(f, "the system account can't be used: {failure}"),
            Self::AssetsUnknown { gaps } => write!(f, "assets are not known: {}", gaps.join("; ")),
            Self::HostUnusable { host, failure } => write!(f, "{host} can't be used: {failure}"),
            Self::ClientPort { host, failure } => write!(f, "{host} can't pass the gate: {failure}"),
            Self::ServiceMissing { host, words } => write!(f, "{host} has no such service: {words}"),
            Self::ServiceBusy { host, words } => write!(f, "the service on {host} is changing already: {words}"),
            Self::Preflight { host, finding } => {
                write!(f, "{host} could not start again: {} [{}]", finding.title, finding.code)
            }
            Self::PreflightUnknown { host, why } => {
                write!(f, "whether {host} could start again is not known: {why}")
            }
            Self::Stale { host, age_ms } => write!(f, "what is known of {host} is {} s old", age_ms / 1000),
        }
    }
}

fn groups(groups: &BTreeMap<String, Vec<String>>) -> String {
    groups.iter().map(|(name, hosts)| format!("{name} ({})", hosts.join(", "))).collect::<Vec<_>>().join("; ")
}

fn are(hosts: &[String]) -> String {
    format!("{} {}", hosts.join(", "), if hosts.len() == 1 { "is" } else { "are" })
}

/// The first of `count` things, and how many more there are.
pub(super) fn list(count: usize, first: &[String]) -> String {
    let more = count.saturating_sub(first.len());
    if more == 0 { first.join(", ") } else { format!("{} and {more} more", first.join(", ")) }
}
