//! May this server be restarted now? Each reason against it is typed, named and carries its evidence.
//!
//! The same function answers at planning and again on fresh facts before each turn (house rule 2 of the design: as in
//! omicron's `planner/zone_safety.rs`). What could not be observed is itself a reason.

mod assets;
mod cold;
mod objection;
mod unit;
mod versions;
mod warning;
mod words;

use std::{collections::BTreeMap, time::Duration};

pub use assets::{Offline, name, offline};
use jiff::Timestamp;
pub use objection::Objection;
pub use unit::read_includes;
pub use warning::{Warning, warnings};

use super::{
    assets::Gap,
    install::next_version,
    plan::Turn,
    playbook::{Step, boot_starts},
    view::{Failure, FailureKind, Phase, ServerView, View},
};

/// An observation older than this says nothing of now. A server's `active` heartbeat is 1 s and a quorum counts as
/// lost after 10 s (nats-server `raft.go`), so an older look can miss a whole election.
pub const MAX_AGE: Duration = Duration::from_secs(10);
/// What a server said of its assets may be older, since thousands of them come page by page; it is taken when the first page
/// is asked for.
pub const ASSETS_MAX_AGE: Duration = Duration::from_secs(30);
/// A server that is not ready for clients so long after its start, and has JetStream off, is not starting: that goes off only
/// at the end of a server's life (seen on 2.10.26 and 2.15.1; JetStream is on within milliseconds of a start).
const STARTING: Duration = Duration::from_secs(5);

/// What is to be restarted, and how.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its host.
    pub host: &'a str,
    /// The plan already knew it as not healthy. An unhealthy server may be restarted, or a roll that starts with one could
    /// never mend it. One that was healthy when the plan was made and is not any more is an objection, since our own roll
    /// may be why.
    pub expect_unready: bool,
    /// Its clients are moved before it is stopped, so that a lame duck has nobody to wait for.
    pub evicts: bool,
    /// It stays up: it only reloads.
    pub stays_up: bool,
    /// How long its stop may take.
    pub stop_limit: Option<Duration>,
    /// The version that it comes back with, where the steps bring another program.
    pub next: Option<&'a str>,
    /// The boot of its host has to start it.
    pub boot_starts: bool,
}

impl<'a> Candidate<'a> {
    /// The server of a turn that takes these steps.
    pub fn of(turn: &'a Turn, steps: &'a [Step], view: &View) -> Self {
        Self::on(&turn.host, turn.unready, steps, view)
    }

    /// The server of a host.
    pub fn on(host: &'a str, expect_unready: bool, steps: &'a [Step], view: &View) -> Self {
        let system_account = view.system_account.as_ref().is_some_and(Result::is_ok);
        let stop = steps.iter().find_map(|step| match step {
            Step::Stop(stop) => Some(stop.deadline),
            _ => None,
        });
        Self {
            host,
            expect_unready,
            evicts: system_account && steps.iter().any(|step| matches!(step, Step::Drain(drain) if drain.evict)),
            stays_up: steps.iter().any(|step| matches!(step, Step::Reload(_))) && !steps.iter().any(Step::may_stop),
            stop_limit: stop,
            next: next_version(steps, host),
            boot_starts: boot_starts(steps),
        }
    }
}

/// Every reason why the candidate may not be restarted now; empty means that it may.
pub fn unsafe_to_restart(view: &View, candidate: &Candidate<'_>, now: Timestamp) -> Vec<Objection> {
    let mut found = Vec::new();
    let cold = cold::judge(view);
    for server in &view.servers {
        let is_candidate = server.host == candidate.host;
        let age = now.duration_since(server.at).unsigned_abs();
        if age > MAX_AGE {
            found.push(Objection::Stale { host: server.host.clone(), age_ms: super::millis::of(age) });
        }
        if cold.is_none() && !(is_candidate && candidate.expect_unready) {
            health(view, server, &mut found);
        }
        identity(server, &mut found);
        if is_candidate {
            host(server, &mut found);
            if !candidate.expect_unready {
                client_port(server, &mut found);
            }
        }
    }
    if view.server(candidate.host).is_none() {
        let failure = Failure::new(FailureKind::NotAsked, "it was not observed");
        found.push(Objection::HostUnusable { host: candidate.host.into(), failure });
    }
    duplicates(view, &mut found);
    clusters(view, candidate, &mut found);
    if let Some(cold) = cold {
        // What follows from it would only hide it.
        found.push(cold);
        return found;
    }
    routes(view, candidate.host, &mut found);
    meta(view, candidate.host, &mut found);
    if !candidate.stays_up {
        versions::judge(view, candidate, &mut found);
        unit::judge(view, candidate, &mut found);
    }
    if let Some(Err(failure)) = &view.system_account {
        found.push(Objection::SystemAccount { failure: failure.clone() });
    }
    assets::judge(view, candidate, now, &mut found);
    if candidate.stays_up {
        // A reload can still end a server (a log file that it can't open), so that majorities count; but it is not meant to.
        found.retain(|objection| !matches!(objection.name(), "r1-offline" | "memory-last-copy"));
    }
    preflight(view, candidate.host, &mut found);
    found
}

/// A restart that is bound to fail. A host or a unit that can't be used at all objects under its own name.
fn preflight(view: &View, candidate: &str, found: &mut Vec<Objection>) {
    const ELSEWHERE: [&str; 3] = ["host-unreachable", "sudo-lost", "unit-missing"];
    let host = || candidate.to_owned();
    for (_, diagnosis) in view.preflight.iter().filter(|(host, _)| host == candidate) {
        let blocking = diagnosis.blocking().filter(|finding| !ELSEWHERE.contains(&finding.code.as_str()));
        found.extend(blocking.map(|finding| Objection::Preflight { host: host(), finding: Box::new(finding.clone()) }));
        let is_told =
            |one: &Objection| matches!(one, Objection::HostUnusable { .. } | Objection::ServiceMissing { .. });
        let elsewhere = diagnosis.blocking().find(|finding| ELSEWHERE.contains(&finding.code.as_str()));
        // The service may have answered where gathering all the rest did not end in time (found by the simulator).
        let untold = elsewhere.filter(|_| !found.iter().any(is_told)).map(|finding| finding.title.clone());
        if let Some(why) = diagnosis.unknown.clone().or(untold) {
            found.push(Objection::PreflightUnknown { host: host(), why });
        }
    }
}

/// Divides objections into those that stand and those that the operator consents to by name.
pub fn consent(objections: Vec<Objection>, allow: &[String]) -> (Vec<Objection>, Vec<Objection>) {
    let allowed = |objection: &Objection| {
        let name = objection.consent();
        Objection::consents().any(|one| one == name) && allow.iter().any(|allowed| allowed == name)
    };
    objections.into_iter().partition(|objection| !allowed(objection))
}

fn health(view: &View, server: &ServerView, found: &mut Vec<Objection>) {
    let host = server.host.clone();
    match (&server.varz, &server.health) {
        _ if in_lame_duck(view, server) => found.push(Objection::LameDuck { host }),
        (Err(failure), _) | (Ok(_), Err(failure)) => {
            found.push(Objection::ServerUnreachable { host, failure: failure.clone() });
        }
        (Ok(_), Ok(health)) if !health.serves() => {
            found.push(Objection::ServerNotHealthy { host, health: health.summary() });
        }
        _ => {}
    }
}

/// Whether a server is in lame duck, as far as it can be seen from outside: it takes no clients, and JetStream, which lame duck
/// ends first, is off (2.15 says so in varz, 2.10 in jsz only).
fn in_lame_duck(view: &View, server: &ServerView) -> bool {
    let (Ok(varz), Ok(health)) = (&server.varz, &server.health) else { return false };
    let no_clients = health.errors.iter().any(|error| error.error.starts_with("failed to be ready for connections"));
    let disabled = |gap: &Gap| matches!(gap, Gap::Disabled { server } if *server == varz.server_name);
    let off = !varz.jetstream || view.assets.as_ref().is_some_and(|assets| assets.gaps.iter().any(disabled));
    no_clients && off && varz.now.duration_since(varz.start).unsigned_abs() >= STARTING
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
    // The system account hears of a second server of one name even where no host of the inventory has it.
    for gap in view.assets.iter().flat_map(|assets| &assets.gaps) {
        if let Gap::SameName { server, ids } = gap
            && let hosts = hosts_of.entry(server).or_default()
            && hosts.len() < 2
        {
            *hosts = ids.clone();
        }
    }
    for (name, hosts) in hosts_of {
        if hosts.len() > 1 {
            found.push(Objection::DuplicateServer { hosts, name: name.into() });
        }
    }
}

/// An unhealthy candidate may be in the wrong cluster by its configuration: its restart is how that is mended.
fn clusters(view: &View, candidate: &Candidate<'_>, found: &mut Vec<Objection>) {
    let mut clusters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for server in view.servers.iter().filter(|s| !(candidate.expect_unready && s.host == candidate.host)) {
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
pub(crate) mod tests;
