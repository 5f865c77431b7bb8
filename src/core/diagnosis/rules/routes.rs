//! Routes and the meta group: who the server is to its peers, and whether it reaches them.

use super::super::{
    case::Case,
    catalogue::pages,
    evidence::{Reach, ReachRole},
    finding::Finding,
    settings::ListenerKind,
};
use crate::core::view::{FailureKind, Meta};

pages! {
    CLUSTER_NAME = "cluster-name-mismatch" Blocking Route "the server's cluster has another name than its peers'"
        why "Every route is refused, and the server waits for ever: healthz says `still recovering meta layer`, and \
             js-enabled-only and js-server-only say 200."
        proof "The line `Rejecting connection, cluster name …`, here and on the peers."
        remedy "set the peers' name in `cluster { name }`, then restart the server";
    DUPLICATE_NAME = "duplicate-server-name" Blocking Route "two servers have one name"
        why "healthz is 200 on both. The impostor takes the other's place in the meta group, and can even become its leader."
        proof "The line `Remote server has a duplicate name`, here and on the peers."
        remedy "give this server a name of its own, then restart it";
    ROUTE_AUTH = "route-authorization" Blocking Route "peers refuse the server's routes: wrong credentials"
        why "The server waits for ever: routes need the same user and password in `cluster { authorization }` and in the \
             routes of the peers."
        proof "The line `Route Error 'Authorization Violation'` here, `authentication error - User` on the peers."
        remedy "use the same route credentials on all servers, then reload or restart the server";
    ROUTE_TLS = "route-tls" Blocking Route "routes fail in their TLS handshake"
        why "Routes verify both sides, so each side's certificate has to be valid and signed by the other's CA. The server \
             waits for ever."
        proof "The line `TLS route handshake error`, here or on the peers."
        remedy "put a certificate there that the peers' CA signed"
        follows ["tls-expired", "tls-not-yet-valid", "tls-chain-incomplete", "tls-ca-wrong"];
    ROUTE_PLAIN = "route-tls-one-sided" Blocking Route "routes use TLS on one side only"
        why "Every route fails and the server waits for ever: `tls` in `cluster` is for all servers or for none."
        proof "The words `first record does not look like a TLS handshake`."
        remedy "configure `tls` in `cluster` on all servers, or on none";
    ROUTE_SELF = "route-to-self" Notice Route "the server's routes lead to itself"
        why "The server drops such a route. It is harmless where the same list of routes is on every server."
        proof "The line `Detected route to self`, or a route to its own address."
        remedy "nothing, where other routes lead to its peers";
    ROUTES_UNREACHABLE = "routes-unreachable" Blocking Route "no configured route leads to a peer"
        why "Without a route there is no meta leader. The server neither exits nor gives up, whatever `connect_retries` says \
             (documentation has it otherwise); where peers dial in themselves, it becomes ready all the same."
        proof "Attempts to connect to each route from the host; the line `Error trying to connect to route`."
        remedy "open the way to the peers' route ports, or correct `routes`";
    ROUTE_PARTLY = "route-unreachable" Warning Route "a configured route leads nowhere"
        why "The server has other routes, or its peers dial in. With one more failure it may be alone."
        proof "Attempts to connect to each route from the host; the line `Error trying to connect to route`."
        remedy "correct `routes`, or bring the peer back" follows ["routes-unreachable", "isolated-one-way"];
    ONE_WAY = "isolated-one-way" Blocking Route "the way to the peers is open in one direction only"
        why "A firewall drops one direction. Routes are made from both sides, so one open direction can be enough to connect, \
             and a broken one enough to keep the server out."
        proof "Attempts to connect from this host, and what the peers see."
        remedy "open the route port in both directions";
    REMOVED = "peer-removed" Blocking Meta "the server was removed from the cluster's meta group"
        why "A peer-remove is for good: the server is no member any more, and what it stores is not asked for."
        proof "The line `server was removed from the cluster`, or its absence from the meta leader's list."
        remedy "if it was meant, stop the server; if not, start it with an empty store so that it joins as a new peer";
    ALONE = "server-alone" Blocking Meta "the server has no route to any peer"
        why "It waits for its peers for ever; healthz says `still recovering meta layer` (2.14 on) or `not established contact \
             with a meta leader`."
        proof "The line `Waiting for routing to be established`; no routes in /routez."
        remedy "bring the peers up, and open the way between them"
        follows ["cluster-name-mismatch", "route-authorization", "route-tls", "route-tls-one-sided", "routes-unreachable",
                 "isolated-one-way", "tls-expired", "tls-not-yet-valid", "tls-chain-incomplete", "tls-ca-wrong",
                 "host-unreachable", "duplicate-server-name", "system-account-differs", "clock-skew"];
    NO_META_LEADER = "no-meta-leader" Blocking Meta "the meta group has no leader"
        why "Less than a majority of the cluster's servers see each other. A survivor may say healthz 200 for 19 s more while \
             every publish fails."
        proof "What the servers say of their meta leader; the line `has NO quorum, stalled`."
        remedy "bring back a majority of the servers"
        follows ["server-alone", "cluster-name-mismatch", "route-authorization", "route-tls", "route-tls-one-sided",
                 "routes-unreachable", "isolated-one-way", "system-account-differs", "peer-removed", "duplicate-server-name"];
    RENAMED = "server-renamed" Warning Route "the meta group has a member that no server is"
        why "A server that comes back under a new name is a new peer: the group grows, the old name stays offline for ever, and \
             what was assigned to it stays there."
        proof "The meta leader's list of peers, and the servers' names."
        remedy "give the server its old name back, or remove the old peer once its streams have moved";
}

/// All that concerns routes and the meta group.
pub(super) fn rules(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if !case.preflight() && case.alive() {
        found.extend(identity(case));
        found.extend(refused(case));
    }
    found.extend(foreseen(case));
    found.extend(reached(case));
    if !case.preflight() && case.alive() {
        found.extend(removed(case));
        found.extend(alone(case));
        found.extend(leader(case));
        found.extend(renamed(case));
    }
    found
}

/// A name that the peers do not accept.
fn identity(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let main = main(case);
    if let Some(line) = case.keeps_saying(&["cluster name \"", "cluster name from remote server conflicts"])
        && !case.ready()
    {
        let own = case.settings().and_then(|settings| settings.cluster_name.as_deref());
        let theirs =
            case.peers().filter_map(|peer| peer.varz.as_ref().ok()?.cluster.as_deref()).find(|name| Some(*name) != own);
        let title = match (own, theirs) {
            (Some(own), Some(theirs)) => format!("this server's cluster is called {own}, its peers' {theirs}"),
            _ => "this server's cluster has another name than its peers'".to_owned(),
        };
        let finding = Finding::of(&CLUSTER_NAME, title).line(&line);
        let finding = match theirs {
            Some(theirs) => {
                finding.remedy(format!("set `name: {theirs}` in `cluster` of {main}, then restart the server"))
            }
            None => finding,
        };
        found.push(finding.run(format!("sudoedit {main}")));
    }
    if let Some(line) = case.keeps_saying(&["duplicate name"]) {
        let name = line.text().split('"').nth(1).unwrap_or("the same").to_owned();
        let other = case
            .peers()
            .find(|peer| peer.varz.as_ref().is_ok_and(|varz| varz.server_name == name) || peer.server_name == name)
            .map(|peer| format!(", and so is {}", peer.host))
            .unwrap_or_default();
        let title = format!("this server is called {name}{other}");
        let finding = Finding::of(&DUPLICATE_NAME, title).line(&line);
        let finding = match &case.archive.server_name {
            Some(expected) if *expected != name => {
                finding.remedy(format!("set `server_name: {expected}` in {main}, then restart the server"))
            }
            _ => finding,
        };
        found.push(finding.run(format!("sudo grep -n server_name {main}")));
    }
    found
}

/// The cluster's name in the file is not that of the peers: the next start will be refused by them.
fn foreseen(case: &Case<'_>) -> Option<Finding> {
    let own = case.settings()?.cluster_name.as_deref().filter(|_| case.preflight())?;
    let peer = case.peers().find_map(|peer| Some((&peer.host, peer.varz.as_ref().ok()?.cluster.as_deref()?)));
    let (host, theirs) = peer.filter(|(_, theirs)| *theirs != own)?;
    let main = main(case);
    Some(
        Finding::of(&CLUSTER_NAME, format!("this server's cluster will be called {own}, and its peers' is {theirs}"))
            .quote(main, format!("cluster.name: {own}"))
            .quote(format!("/varz of {host}"), format!("cluster: {theirs}"))
            .remedy(format!("set `name: {theirs}` in `cluster` of {main}"))
            .run(format!("sudoedit {main}")),
    )
}

/// Routes that come up and are refused.
fn refused(case: &Case<'_>) -> Vec<Finding> {
    if case.ready() {
        return Vec::new();
    }
    let main = main(case);
    let mut found = Vec::new();
    // A TLS greeting that was read as a route's first words begins with the bytes 16 03.
    let plain = case.keeps_saying(&["first record does not look like a TLS handshake", r#"proto='"\x16\x03"#]);
    // A handshake that ends with EOF or a timeout says nothing of certificates: whoever connects and goes leaves it, the
    // collector's own look at the route among them.
    let error = "TLS route handshake error: ";
    let kinds = ["tls:", "remote error:", "x509:"].map(|kind| format!("{error}{kind}"));
    let tls = case.keeps_saying(&kinds.each_ref().map(String::as_str));
    if let Some(line) = plain {
        found.push(
            Finding::of(&ROUTE_PLAIN, "routes use TLS on one side only")
                .line(&line)
                .run(format!("sudo grep -n -A8 cluster {main}")),
        );
    } else if let Some(line) = tls {
        let text = line.text();
        let why = if text.contains("expired or is not yet valid") {
            "a certificate has expired, or is not valid yet"
        } else if text.contains("unknown authority") {
            "the peer's certificate is signed by a CA that is not configured here"
        } else if text.contains("bad certificate") {
            "the peer refuses this server's certificate"
        } else if text.contains("not valid for")
            || text.contains("doesn't contain any IP SANs")
            || text.contains("certificate is valid for")
        {
            "the certificate does not name the address of the route"
        } else {
            "the handshake fails"
        };
        let blocks = case.archive.tls_blocks.iter().flatten().find(|block| block.block.starts_with("cluster"));
        let finding =
            Finding::of(&ROUTE_TLS, format!("routes fail in their TLS handshake: {why}")).line(&line).reload();
        found.push(match blocks.and_then(|block| block.cert.as_deref()) {
            Some(cert) => finding.run(format!("openssl x509 -in {cert} -noout -subject -issuer -dates")),
            None => finding.run(format!("sudo grep -n -A8 cluster {main}")),
        });
    }
    let authorization = case
        .keeps_saying(&["Route Error 'Authorization Violation'", "authentication error - User"])
        .or_else(|| case.keeps_saying(&["authentication error"]).filter(|line| line.text().contains("rid:")));
    if let Some(line) = authorization
        && found.is_empty()
    {
        found.push(
            Finding::of(&ROUTE_AUTH, "peers and this server refuse each other's routes: wrong credentials")
                .line(&line)
                .run(format!("sudo grep -n -A8 cluster {main}")),
        );
    }
    found
}

/// The configured routes, tried from the host.
fn reached(case: &Case<'_>) -> Vec<Finding> {
    let all: Vec<_> = case.archive.reach.iter().flatten().filter(|reach| reach.role == ReachRole::Route).collect();
    let failed: Vec<_> = all.iter().filter(|reach| reach.result.is_err()).collect();
    if failed.is_empty() {
        return Vec::new();
    }
    let name = |reach: &&&Reach| format!("{}:{}", reach.target, reach.port);
    let names: Vec<String> = failed.iter().map(name).collect();
    // A server that does not run does not listen to its own route, which is in its own list.
    let own = |reach: &Reach| {
        case.listeners().iter().any(|one| one.port == reach.port && one.kind == ListenerKind::Route)
            && (reach.target == case.archive.host || reach.target == "127.0.0.1" || reach.target == "localhost")
    };
    let others: Vec<_> = failed.iter().filter(|reach| !own(reach)).collect();
    let reached_any = all.iter().any(|reach| reach.result.is_ok() && !own(reach));
    // Nor does it answer at its own address, by which its own list names it.
    let silent = |reach: &Reach| matches!(&reach.result, Err(failure) if failure.kind == FailureKind::Refused);
    let itself = !case.alive() && others.len() == 1 && reached_any && silent(others[0]);
    if others.is_empty() || itself {
        return Vec::new();
    }
    let inbound = case.peers().any(|peer| {
        peer.routes.as_ref().is_ok_and(|routes| routes.iter().any(|route| self_is(case, route.server_name.as_deref())))
    });
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
    let tried = format!("nc -vz -w 3 {} {}", first.target, first.port);
    let standing = case.ready() || case.preflight() || inbound;
    if !every || standing {
        if case.ready() && !every {
            // A peer that is down for its own reasons is told where that peer is judged.
            return Vec::new();
        }
        let title = format!("no answer from the route {}", names.join(", "));
        return vec![quotes(Finding::of(&ROUTE_PARTLY, title)).heals_itself().run(tried)];
    }
    if timeouts && healthy_peers > 0 {
        let title = format!(
            "packets from this host to {} get no answer, and the peers are up: is a firewall between?",
            names.join(", ")
        );
        return vec![
            quotes(Finding::of(&ONE_WAY, title))
                .likely()
                .heals_itself()
                .run(tried)
                .run("sudo nft list ruleset; sudo iptables -S"),
        ];
    }
    vec![
        quotes(Finding::of(&ROUTES_UNREACHABLE, format!("no configured route leads to a peer: {}", names.join(", "))))
            .heals_itself()
            .run(tried),
    ]
}

fn self_is(case: &Case<'_>, name: Option<&str>) -> bool {
    let own = case.server().and_then(|server| Some(server.varz.as_ref().ok()?.server_name.as_str()));
    name.is_some() && (name == case.archive.server_name.as_deref() || name == own)
}

fn removed(case: &Case<'_>) -> Option<Finding> {
    let line = case.said(&["was removed from the cluster"])?;
    let store = case.archive.store.as_ref().ok().and_then(Option::as_ref);
    let path = store.map_or("its store", |store| store.path.as_str());
    Some(
        Finding::of(&REMOVED, "the server was removed from the cluster's meta group")
            .line(&line)
            .run(format!("sudo systemctl stop {}", case.unit_name()))
            .run(format!("sudo mv {path} {path}.removed")),
    )
}

fn alone(case: &Case<'_>) -> Option<Finding> {
    if case.ready() {
        return None;
    }
    let line = case.keeps_saying(&["Waiting for routing to be established"]);
    let none = case.server().and_then(|server| server.routes.as_ref().ok()).is_some_and(Vec::is_empty);
    let meta = case.health_errors().iter().find(|error| {
        ["still recovering meta layer", "not established contact with a meta leader"]
            .iter()
            .any(|mark| error.error.contains(mark))
    });
    if line.is_none() && !(none && meta.is_some()) {
        return None;
    }
    let peers = case.peers().count();
    let up = case.peers().filter(|peer| peer.healthy()).count();
    let title = match peers {
        0 => "the server has no route to any peer".to_owned(),
        _ => format!("the server has no route to any of its {peers} peers, {up} of which are healthy"),
    };
    let finding = Finding::of(&ALONE, title).heals_itself();
    let finding = match meta {
        Some(error) => finding.quote("healthz", error.error.as_str()),
        None => finding,
    };
    let finding = match line {
        Some(line) => finding.line(&line),
        None => finding.quote("/routez", "no routes"),
    };
    let ports = case.listeners().iter().find(|one| one.kind == ListenerKind::Route).map_or(6222, |one| one.port);
    Some(finding.run(format!("sudo ss -Htnp state established '( sport = :{ports} or dport = :{ports} )'")))
}

/// Every server that answers says that there is no meta leader.
fn leader(case: &Case<'_>) -> Option<Finding> {
    let view = case.archive.view.as_ref()?;
    let metas: Vec<(&str, &Meta)> = view
        .servers
        .iter()
        .filter_map(|server| Some((server.host.as_str(), server.varz.as_ref().ok()?.meta.as_ref()?)))
        .collect();
    // One server alone that knows none may be cut off: that is another finding.
    if metas.is_empty()
        || metas.iter().any(|(_, meta)| meta.leader.is_some())
        || metas.len() < 2 && view.servers.len() > 1 && case.peers().any(|peer| peer.varz.is_ok())
    {
        return None;
    }
    let size = metas.iter().map(|(_, meta)| meta.size).max().unwrap_or(0);
    let answering = metas.len();
    let title = format!("the meta group of {size} has no leader: {answering} of its servers answer");
    let finding = Finding::of(&NO_META_LEADER, title).heals_itself();
    let finding = metas.iter().take(5).fold(finding, |finding, (host, meta)| {
        finding.quote(format!("/varz of {host}"), format!("meta leader: none, cluster_size: {}", meta.size))
    });
    let finding = match case.keeps_saying(&["has NO quorum"]) {
        Some(line) => finding.line(&line),
        None => finding,
    };
    let down = view
        .servers
        .iter()
        .find(|server| server.varz.is_err())
        .map_or(case.archive.host.as_str(), |server| &server.host);
    Some(finding.run(format!("rollgate diagnose {down}")))
}

/// A peer in the meta group that no server answers for.
fn renamed(case: &Case<'_>) -> Option<Finding> {
    let view = case.archive.view.as_ref()?;
    let expected = case.archive.server_name.as_deref()?;
    let found = case.server()?.varz.as_ref().ok()?;
    if !found.named() || found.server_name == expected {
        return None;
    }
    let size = view.servers.iter().filter_map(|server| Some(server.varz.as_ref().ok()?.meta.as_ref()?.size)).max();
    let finding =
        Finding::of(&RENAMED, format!("the server is called {}, the inventory says {expected}", found.server_name))
            .quote("/varz", format!("server_name: {}", found.server_name));
    let finding = match size {
        Some(size) => finding
            .quote("/varz", format!("meta cluster_size: {size}, servers in the inventory: {}", view.servers.len())),
        None => finding,
    };
    Some(finding.run(format!("sudo grep -n server_name {}", main(case))))
}

fn main<'a>(case: &Case<'a>) -> &'a str {
    case.archive.config.as_ref().map_or("/etc/nats/nats-server.conf", |config| config.main.as_str())
}
