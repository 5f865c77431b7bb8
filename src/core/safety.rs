//! May this server be restarted now? Each reason against it is typed, named and carries its evidence.
//!
//! The same function answers at planning and again on fresh facts before each turn (house rule 2 of the design: as in
//! omicron's `planner/zone_safety.rs`). What could not be observed is itself a reason.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::view::{Failure, FailureKind, Phase, ServerView, View};

/// An observation older than this says nothing of now. A server's `active` heartbeat is 1 s and a quorum counts as
/// lost after 10 s (nats-server `raft.go`), so an older look can miss a whole election.
pub const MAX_AGE: Duration = Duration::from_secs(10);

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

/// Every reason why `candidate` may not be restarted now; empty means that it may.
///
/// `expect_unready` says that the plan already knew the candidate as not healthy: an unhealthy server may be
/// restarted, or a roll that starts with one could never mend it. A candidate that was healthy when the plan was made
/// and is not any more is an objection, since our own roll may be why.
pub fn unsafe_to_restart(view: &View, candidate: &str, expect_unready: bool, now: Timestamp) -> Vec<Objection> {
    let mut found = Vec::new();
    for server in &view.servers {
        let is_candidate = server.host == candidate;
        let age = now.duration_since(server.at).unsigned_abs();
        if age > MAX_AGE {
            found.push(Objection::Stale { host: server.host.clone(), age_ms: super::millis::of(age) });
        }
        if !(is_candidate && expect_unready) {
            health(server, &mut found);
        }
        identity(server, &mut found);
        if is_candidate {
            host(server, &mut found);
            if !expect_unready {
                client_port(server, &mut found);
            }
        }
    }
    duplicates(view, &mut found);
    clusters(view, &mut found);
    routes(view, candidate, &mut found);
    meta(view, candidate, &mut found);
    found
}

fn health(server: &ServerView, found: &mut Vec<Objection>) {
    let host = server.host.clone();
    match (&server.varz, &server.health) {
        (Err(failure), _) | (Ok(_), Err(failure)) => {
            found.push(Objection::ServerUnreachable { host, failure: failure.clone() });
        }
        (Ok(_), Ok(health)) if !health.ok() => {
            found.push(Objection::ServerNotHealthy { host, health: health.summary() });
        }
        _ => {}
    }
}

fn identity(server: &ServerView, found: &mut Vec<Objection>) {
    if let Ok(varz) = &server.varz
        && varz.named()
        && varz.server_name != server.server_name
    {
        found.push(Objection::WrongServer {
            host: server.host.clone(),
            expected: server.server_name.clone(),
            found: varz.server_name.clone(),
        });
    }
}

fn host(server: &ServerView, found: &mut Vec<Objection>) {
    let host = server.host.clone();
    match &server.service {
        Err(failure) => found.push(Objection::HostUnusable { host, failure: failure.clone() }),
        Ok(service) => match service.phase {
            Phase::Missing => found.push(Objection::ServiceMissing { host, words: service.words.clone() }),
            Phase::Starting | Phase::Stopping => {
                found.push(Objection::ServiceBusy { host, words: service.words.clone() });
            }
            Phase::Running | Phase::AutoRestart | Phase::Stopped | Phase::Failed => {}
        },
    }
}

/// What fails while the server is healthy would fail at the gate too, after the server was restarted for nothing: a
/// certificate that we do not trust, a sshd that forbids forwarding.
fn client_port(server: &ServerView, found: &mut Vec<Objection>) {
    if let (true, Err(failure)) = (server.healthy(), &server.client) {
        found.push(Objection::ClientPort { host: server.host.clone(), failure: failure.clone() });
    }
}

fn duplicates(view: &View, found: &mut Vec<Objection>) {
    let mut hosts_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for server in &view.servers {
        if let Ok(varz) = &server.varz {
            hosts_of.entry(&varz.server_name).or_default().push(server.host.clone());
        }
    }
    for (name, hosts) in hosts_of {
        if hosts.len() > 1 {
            found.push(Objection::DuplicateServer { hosts, name: name.into() });
        }
    }
}

fn clusters(view: &View, found: &mut Vec<Objection>) {
    let mut clusters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for server in &view.servers {
        if let Ok(varz) = &server.varz {
            let name = varz.cluster.clone().unwrap_or_else(|| "(none)".into());
            clusters.entry(name).or_default().push(server.host.clone());
        }
    }
    if clusters.len() > 1 {
        found.push(Objection::DifferentClusters { clusters });
    }
}

/// Every two other servers must have a route to each other: without the candidate they are all there is.
fn routes(view: &View, candidate: &str, found: &mut Vec<Objection>) {
    let seen = |host: &str| view.server(host).and_then(|server| server.varz.as_ref().ok());
    for from in view.servers.iter().filter(|server| server.host != candidate) {
        let Ok(peers) = &from.routes else { continue };
        for to in view.servers.iter().filter(|to| to.host != from.host && to.host != candidate) {
            let Some(varz) = seen(&to.host) else { continue };
            if !peers.iter().any(|peer| peer.server_id == varz.server_id) {
                found.push(Objection::MissingRoute { from: from.host.clone(), to: to.host.clone() });
            }
        }
    }
    // Routes that could not be read are unknown, and unknown is not good.
    for server in view.servers.iter().filter(|server| server.host != candidate && server.varz.is_ok()) {
        if let Err(failure) = &server.routes {
            found.push(Objection::ServerUnreachable { host: server.host.clone(), failure: failure.clone() });
        }
    }
    let mut strangers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for from in &view.servers {
        for peer in from.routes.iter().flatten() {
            let known = view.servers.iter().any(|server| {
                server.varz.as_ref().is_ok_and(|varz| varz.server_id == peer.server_id)
                    || peer.server_name.as_deref() == Some(server.server_name.as_str())
            });
            if !known {
                let name = peer.server_name.clone().unwrap_or_else(|| peer.server_id.clone());
                strangers.entry(name).or_default().push(from.host.clone());
            }
        }
    }
    found.extend(strangers.into_iter().map(|(server, seen_by)| Objection::NotInInventory { server, seen_by }));
}

/// The other servers must name one meta leader. One that has JetStream but sees no meta group is not clustered.
fn meta(view: &View, candidate: &str, found: &mut Vec<Objection>) {
    let mut leaders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for server in view.servers.iter().filter(|server| server.host != candidate) {
        let Some(meta) = server.varz.as_ref().ok().and_then(|varz| varz.meta.as_ref()) else { continue };
        match &meta.leader {
            Some(leader) => leaders.entry(leader.clone()).or_default().push(server.host.clone()),
            None => without.push(server.host.clone()),
        }
    }
    if !without.is_empty() {
        found.push(Objection::NoMetaLeader { hosts: without });
    }
    if leaders.len() > 1 {
        found.push(Objection::MetaLeaderDisputed { leaders });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{cluster, healthz_error};

    fn check(view: &View, candidate: &str, expect_unready: bool, expected: &[&str]) {
        let names: Vec<_> =
            unsafe_to_restart(view, candidate, expect_unready, view.at).iter().map(Objection::name).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_healthy_cluster_has_no_objection() {
        check(&cluster(&["n1", "n2", "n3"]), "n1", false, &[]);
    }

    #[test]
    fn another_server_that_is_not_healthy_objects() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[2].health = Ok(healthz_error(503, "JetStream is not current with the meta leader"));
        check(&view, "n1", false, &["server-not-healthy"]);
        // The server that is down may itself be restarted, if the plan knew.
        check(&view, "n3", true, &[]);
        check(&view, "n3", false, &["server-not-healthy"]);
    }

    #[test]
    fn what_is_unknown_objects() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[1].varz = Err(Failure::new(FailureKind::Refused, "connection refused"));
        check(&view, "n1", false, &["server-unreachable"]);

        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[1].routes = Err(Failure::new(FailureKind::Timeout, "no answer"));
        check(&view, "n1", false, &["server-unreachable"]);

        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[0].service = Err(Failure::new(FailureKind::Sudo, "a password is required"));
        check(&view, "n1", false, &["host-unusable"]);
        check(&view, "n2", false, &[]);
    }

    #[test]
    fn a_gate_that_could_not_open_objects() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[0].client = Err(Failure::new(FailureKind::Tls, "UnknownIssuer"));
        check(&view, "n1", false, &["client-port"]);
        check(&view, "n2", false, &[]);
    }

    #[test]
    fn facts_that_are_old_object() {
        let view = cluster(&["n1", "n2"]);
        let later = view.at + jiff::SignedDuration::from_secs(11);
        let found = unsafe_to_restart(&view, "n1", false, later);
        assert_eq!(found.iter().map(Objection::name).collect::<Vec<_>>(), ["stale", "stale"]);
    }

    #[test]
    fn identity_is_checked() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        let other = view.servers[1].varz.clone();
        view.servers[2].varz = other;
        let found = unsafe_to_restart(&view, "n1", false, view.at);
        let names: Vec<_> = found.iter().map(Objection::name).collect();
        assert_eq!(names[..2], ["wrong-server", "duplicate-server"]);

        let mut view = cluster(&["n1", "n2"]);
        if let Ok(varz) = &mut view.servers[1].varz {
            varz.cluster = Some("other".into());
        }
        check(&view, "n1", false, &["different-clusters"]);
    }

    #[test]
    fn the_others_must_see_each_other() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[1].routes = Ok(vec![]);
        check(&view, "n1", false, &["missing-route"]);
        // The candidate's own routes matter to nobody once it is down.
        check(&view, "n2", false, &[]);
    }

    #[test]
    fn a_server_outside_the_inventory_objects() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers.remove(2);
        check(&view, "n1", false, &["not-in-inventory"]);
    }

    #[test]
    fn the_meta_leader_must_be_one() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        let set = |view: &mut View, host: usize, leader: Option<&str>| {
            if let Ok(varz) = &mut view.servers[host].varz
                && let Some(meta) = &mut varz.meta
            {
                meta.leader = leader.map(Into::into);
            }
        };
        set(&mut view, 1, None);
        check(&view, "n1", false, &["no-meta-leader"]);
        set(&mut view, 1, Some("n2"));
        check(&view, "n1", false, &["meta-leader-disputed"]);
    }
}
