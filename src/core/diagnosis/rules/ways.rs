//! The ways to the peers: whether the configured routes lead to them, and what is between.

use super::{
    super::{
        case::Case,
        evidence::{Reach, ReachRole},
        finding::{Finding, Severity},
        settings::ListenerKind,
    },
    routes::{ONE_WAY, ROUTE_PARTLY, ROUTE_SELF, ROUTES_UNREACHABLE},
};
use crate::core::view::FailureKind;

/// Whether a configured route leads to this server itself: the same list is often on all.
pub(super) fn is_own(case: &Case<'_>, reach: &Reach) -> bool {
    let machine = case.archive.machine.as_ref().ok();
    let own = |name: &str| {
        name == case.archive.host
            || matches!(name, "127.0.0.1" | "localhost" | "::1")
            || machine
                .is_some_and(|machine| machine.hostname == name || machine.addresses.iter().any(|one| one == name))
    };
    case.listeners().iter().any(|one| one.port == reach.port && one.kind == ListenerKind::Route) && own(&reach.target)
}

/// The configured routes, tried from the host.
pub(super) fn reached(case: &Case<'_>) -> Vec<Finding> {
    let all: Vec<_> = case.archive.reach.iter().flatten().filter(|reach| reach.role == ReachRole::Route).collect();
    let own = |reach: &Reach| is_own(case, reach);
    if !all.is_empty() && all.iter().all(|reach| own(reach)) {
        return vec![to_itself(case, &all)];
    }
    let failed: Vec<_> = all.iter().filter(|reach| reach.result.is_err()).collect();
    if failed.is_empty() {
        return Vec::new();
    }
    let name = |reach: &&Reach| format!("{}:{}", reach.target, reach.port);
    // A server that does not run does not listen to its own route, which is in its own list.
    let others: Vec<_> = failed.iter().copied().filter(|reach| !own(reach)).collect();
    let names: Vec<String> = others.iter().map(|reach| name(reach)).collect();
    let reached_any = all.iter().any(|reach| reach.result.is_ok() && !own(reach));
    // One that runs answers at its own address: if not, it is this host that keeps packets from the port.
    let here = case.alive() && failed.len() == all.len() && all.iter().any(|reach| own(reach));
    // Nor does it answer at its own address, by which its own list names it.
    let silent = |reach: &Reach| matches!(&reach.result, Err(failure) if failure.kind == FailureKind::Refused);
    let itself = !case.alive() && others.len() == 1 && reached_any && silent(others[0]);
    if others.is_empty() || itself {
        return Vec::new();
    }
    // By the id, which is of this process: a peer keeps its route to the process before for a while.
    let id = case.server().and_then(|server| Some(server.varz.as_ref().ok()?.server_id.as_str()));
    let inbound = case.server().is_some_and(|server| server.routes.as_ref().is_ok_and(|routes| !routes.is_empty()))
        || case.peers().any(|peer| {
            peer.routes.as_ref().is_ok_and(|routes| routes.iter().any(|route| Some(route.server_id.as_str()) == id))
        });
    let up = case.peers().filter(|peer| peer.varz.is_ok()).count();
    let healthy_peers = case.peers().filter(|peer| peer.healthy()).count();
    let every = !reached_any;
    let timeouts =
        others.iter().all(|reach| matches!(&reach.result, Err(failure) if failure.kind == FailureKind::Timeout));
    let quotes = |mut finding: Finding| {
        for reach in others.iter().take(4) {
            if let Err(failure) = &reach.result {
                let source = format!("connecting to {}:{} from {}", reach.target, reach.port, case.archive.host);
                finding = finding.quote(source, failure.detail.as_str());
            }
        }
        match case.keeps_saying(&["Error trying to connect to route"]) {
            Some(line) => finding.line(&line),
            None => finding,
        }
    };
    let first = &others[0];
    let refused = others.iter().all(|reach| silent(reach));
    if refused && up == 0 && case.peers().count() > 0 {
        // The way is open, and the peers are down: that is told where the meta group is.
        return Vec::new();
    }
    let tried = others.iter().take(3).map(|reach| format!("nc -vz -w 3 {} {}", reach.target, reach.port));
    let tried = tried.collect::<Vec<_>>().join("; ");
    let standing = case.ready() || case.preflight() || inbound;
    if !every || standing {
        if case.ready() && !every {
            // A peer that is down for its own reasons is told where that peer is judged.
            return Vec::new();
        }
        let title = format!("no answer from the route {}", names.join(", "));
        return vec![quotes(Finding::of(&ROUTE_PARTLY, title)).heals_itself().run(tried)];
    }
    let rules = "sudo nft list ruleset; sudo iptables -S";
    let half_open = case.archive.half_open.iter().find(|port| **port == first.port);
    if let (true, false, Some(port)) = (timeouts, here, half_open) {
        let title = format!(
            "packets of the peers reach the route port {port}, and what this host sends to {} is lost: a firewall drops one way",
            names.join(", ")
        );
        let half = format!("connections to port {port} that stay half open (SYN_RECV)");
        let finding = quotes(Finding::of(&ONE_WAY, title)).quote("/proc/net/tcp", half);
        return vec![finding.heals_itself().run(tried).run(rules)];
    }
    let title = format!("no configured route leads to a peer: {}", names.join(", "));
    let title = match (timeouts, here) {
        (true, true) => {
            format!("{title}; not even the own route port answers: a firewall of this host drops the packets")
        }
        (true, false) if healthy_peers > 0 => {
            format!("{title}; packets are lost, and {healthy_peers} peers are up: is a firewall between?")
        }
        _ => title,
    };
    let finding = quotes(Finding::of(&ROUTES_UNREACHABLE, title)).heals_itself().run(tried);
    vec![if timeouts { finding.run(rules) } else { finding }]
}

/// All routes are of this server itself: it waits for peers to dial in.
fn to_itself(case: &Case<'_>, all: &[&Reach]) -> Finding {
    let names: Vec<String> = all.iter().map(|reach| format!("{}:{}", reach.target, reach.port)).collect();
    let main = super::routes::main(case);
    let severity = if case.ready() || case.preflight() { Severity::Warning } else { Severity::Blocking };
    let peers: Vec<&str> = case.peers().map(|peer| peer.host.as_str()).collect();
    let finding = Finding::of(&ROUTE_SELF, format!("all routes lead to the server itself: {}", names.join(", ")))
        .severity(severity)
        .quote(format!("`routes` in {main}"), names.join(", "));
    let twice = case
        .archive
        .config_test
        .as_ref()
        .ok()
        .and_then(|test| test.output.iter().find(|line| line.contains("Duplicate route entry detected")));
    let finding = match twice {
        Some(line) => finding.quote(case.config_test_source(), line.as_str()),
        None => finding,
    };
    let finding = if peers.is_empty() {
        finding
    } else {
        finding.remedy(format!("put the routes of {} into `routes` of {main}, then reload", peers.join(", ")))
    };
    finding.reload().run(format!("sudo grep -n -A8 routes {main}"))
}
