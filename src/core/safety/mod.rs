//! May this server be restarted now? Each reason against it is typed, named and carries its evidence.
//!
//! The same function answers at planning and again on fresh facts before each turn (house rule 2 of the design: as in
//! omicron's `planner/zone_safety.rs`). What could not be observed is itself a reason.

mod assets;
mod objection;

use std::{collections::BTreeMap, time::Duration};

pub use assets::name;
use jiff::Timestamp;
pub use objection::Objection;

use super::view::{Phase, ServerView, View};

/// An observation older than this says nothing of now. A server's `active` heartbeat is 1 s and a quorum counts as
/// lost after 10 s (nats-server `raft.go`), so an older look can miss a whole election.
pub const MAX_AGE: Duration = Duration::from_secs(10);

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
    if let Some(Err(failure)) = &view.system_account {
        found.push(Objection::SystemAccount { failure: failure.clone() });
    }
    assets::judge(view, candidate, &mut found);
    found
}

/// Divides objections into those that stand and those that the operator consents to by name.
pub fn consent(objections: Vec<Objection>, allow: &[String]) -> (Vec<Objection>, Vec<Objection>) {
    let allowed = |objection: &Objection| {
        Objection::OVERRIDABLE.contains(&objection.name()) && allow.iter().any(|name| name == objection.name())
    };
    objections.into_iter().partition(|objection| !allowed(objection))
}

fn health(server: &ServerView, found: &mut Vec<Objection>) {
    let host = server.host.clone();
    match (&server.varz, &server.health) {
        (Err(failure), _) | (Ok(_), Err(failure)) => {
            found.push(Objection::ServerUnreachable { host, failure: failure.clone() });
        }
        (Ok(_), Ok(health)) if !health.serves() => {
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
    use crate::core::{
        testing::{cluster, healthz_error},
        view::{Failure, FailureKind},
    };

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
    fn a_broken_consumer_elsewhere_is_for_its_own_group_to_judge() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        let mut health = healthz_error(503, "JetStream consumer 'APP > S > ghost' is not current");
        health.errors[0].kind = "CONSUMER".into();
        let names = ["APP", "S", "ghost"].map(|name| Some(name.to_owned()));
        [health.errors[0].account, health.errors[0].stream, health.errors[0].consumer] = names;
        for server in &mut view.servers {
            server.health = Ok(health.clone());
        }
        check(&view, "n1", false, &[]);
    }

    #[test]
    fn consent_is_by_name() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[1].routes = Ok(vec![]);
        view.servers[0].service = Err(Failure::new(FailureKind::Sudo, "a password is required"));
        let found = unsafe_to_restart(&view, "n1", false, view.at);
        let allow = ["missing-route", "host-unusable"].map(String::from);
        let (stand, consented) = consent(found, &allow);
        assert_eq!(stand.iter().map(Objection::name).collect::<Vec<_>>(), ["host-unusable"]);
        assert_eq!(consented.iter().map(Objection::name).collect::<Vec<_>>(), ["missing-route"]);
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
        let view = cluster(&["n1", "n2", "n3"]);
        let later = view.at + jiff::SignedDuration::from_secs(11);
        let found = unsafe_to_restart(&view, "n1", false, later);
        assert_eq!(found.iter().map(Objection::name).collect::<Vec<_>>(), ["stale", "stale", "stale"]);
    }

    #[test]
    fn identity_is_checked() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        let other = view.servers[1].varz.clone();
        view.servers[2].varz = other;
        let found = unsafe_to_restart(&view, "n1", false, view.at);
        let names: Vec<_> = found.iter().map(Objection::name).collect();
        assert_eq!(names[..2], ["wrong-server", "duplicate-server"]);

        let mut view = cluster(&["n1", "n2", "n3"]);
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
