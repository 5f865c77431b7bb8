//! Routes and the meta group: who the server is to its peers, and whether it reaches them.

use super::super::{case::Case, catalogue::pages, evidence::ReachRole, finding::Finding, settings::ListenerKind};
use super::ways;
use crate::core::view::Meta;

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
    ROUTE_SELF = "route-to-self" Warning Route "the server's routes lead to itself only"
        why "The server drops such routes. One among others is harmless, as where all servers have the same list; where there is no \
             other, the server is in the cluster only while its peers dial in."
        proof "The configured routes, and the host's addresses."
        remedy "put the peers' routes into `routes`";
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
    found.extend(ways::reached(case));
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
    let rejects = case.keeps_saying(&["cluster name \""]);
    if let Some(line) = rejects.or_else(|| case.keeps_saying(&["cluster name from remote server conflicts"]))
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
    // What this server has against its peers says more than that they refuse it.
    let [own, remote, names] = kinds.each_ref().map(String::as_str);
    let tls = case.keeps_saying(&[own, names]).or_else(|| case.keeps_saying(&[remote]));
    let one_sided = one_sided(case);
    if let Some(finding) = one_sided {
        found.push(finding);
    } else if let Some(line) = plain {
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
        let finding = match blocks.and_then(|block| block.ca.as_deref()) {
            Some(ca) if text.contains("unknown authority") => finding.remedy(format!(
                "have {ca} hold the CA that signed the peers' certificates, and the certificate signed by a CA that they have \
                 (`tls` in `cluster` of {main})"
            )),
            _ => finding,
        };
        found.push(match blocks.and_then(|block| block.cert.as_deref()) {
            Some(cert) => finding.run(format!("openssl x509 -in {cert} -noout -subject -issuer -dates")),
            None => finding.run(format!("sudo grep -n -A8 cluster {main}")),
        });
    }
    let refuses = case.keeps_saying(&["Route Error 'Authorization Violation'"]);
    let refused = case
        .keeps_saying(&["authentication error - User"])
        .or_else(|| case.keeps_saying(&["authentication error"]).filter(|line| line.text().contains("rid:")));
    if (refuses.is_some() || refused.is_some()) && found.is_empty() {
        let finding = Finding::of(&ROUTE_AUTH, "peers and this server refuse each other's routes: wrong credentials");
        let finding = refuses.iter().chain(&refused).fold(finding, |finding, line| finding.line(line));
        found.push(finding.run(format!("sudo grep -n -A8 cluster {main}")));
    }
    found
}

/// The peers' route ports speak without TLS, and this server's has it; or the other way round. Both sides say no more than
/// `authentication error` to that (2.15).
fn one_sided(case: &Case<'_>) -> Option<Finding> {
    let tls = case.settings()?.tls.iter().any(|block| block.block == "cluster.tls");
    let main = main(case);
    let peers = case
        .archive
        .reach
        .iter()
        .flatten()
        .filter(|reach| reach.role == ReachRole::Route && !ways::is_own(case, reach));
    let mut differs = peers.filter(|reach| reach.result.is_ok() && reach.plain == Some(tls));
    let first = differs.next()?;
    let (mine, theirs) = if tls { ("have TLS", "have none") } else { ("have no TLS", "have it") };
    let said = if tls { "it speaks first, as a port without TLS" } else { "it waits for a TLS handshake" };
    let finding = Finding::of(&ROUTE_PLAIN, format!("the routes of this server {mine}, those of its peers {theirs}"))
        .quote(format!("connecting to {}:{}", first.target, first.port), said)
        .likely();
    let finding = match case.keeps_saying(&["first record does not look like", "authentication error", "proto='"]) {
        Some(line) => finding.line(&line),
        None => finding,
    };
    let remedy = if tls {
        format!("take `tls` out of `cluster` in {main}, or configure it on all servers, then restart the server")
    } else {
        format!("configure `tls` in `cluster` of {main} as on its peers, then restart the server")
    };
    Some(finding.remedy(remedy).run(format!("sudo grep -n -A8 cluster {main}")))
}

fn removed(case: &Case<'_>) -> Option<Finding> {
    let line = case.said(&["was removed from the cluster"]);
    let listed = unlisted(case);
    if line.is_none() && listed.is_none() {
        return None;
    }
    let store = case.archive.store.as_ref().ok().and_then(Option::as_ref);
    let path = store.map_or("its store", |store| store.path.as_str());
    let name = case.server().and_then(|server| Some(server.varz.as_ref().ok()?.server_name.as_str()));
    let name = name.or(case.archive.server_name.as_deref()).unwrap_or("the server");
    let finding = Finding::of(&REMOVED, format!("{name} was removed from the cluster's meta group"));
    let finding = match listed {
        Some((leader, members)) => {
            finding.quote(format!("/varz of the meta leader, on {leader}"), format!("members: {}", members.join(", ")))
        }
        None => finding,
    };
    let finding = match line {
        Some(line) => finding.line(&line),
        None => finding.likely(),
    };
    Some(
        finding
            .remedy(format!(
                "if it was meant, stop {name}; if not, start it with an empty store so that it joins as a new peer"
            ))
            .run(format!("sudo systemctl stop {}", case.unit_name()))
            .run(format!("sudo mv {path} {path}.removed")),
    )
}

/// The host of the meta leader, and its list of members, where this server has JetStream, a route to the leader, and no place
/// in the list.
fn unlisted<'a>(case: &Case<'a>) -> Option<(&'a str, &'a [String])> {
    let server = case.server()?;
    let own = server.varz.as_ref().ok().filter(|varz| varz.jetstream && varz.named())?;
    let (host, leader) = members(case)?;
    let routed = server.routes.as_ref().is_ok_and(|routes| !routes.is_empty());
    (routed && !leader.contains(&own.server_name)).then_some((host, leader))
}

/// The meta leader's host and its members, as it lists them itself.
pub(super) fn members<'a>(case: &Case<'a>) -> Option<(&'a str, &'a [String])> {
    case.peers().filter(|peer| peer.leads_meta()).find_map(|peer| {
        let members = &peer.varz.as_ref().ok()?.meta.as_ref()?.members;
        (!members.is_empty()).then_some((peer.host.as_str(), members.as_slice()))
    })
}

fn alone(case: &Case<'_>) -> Option<Finding> {
    // Where no peer is up, there is none to have a route to: the meta group without its majority is the finding.
    let down = case.peers().count() > 0 && case.peers().all(|peer| peer.varz.is_err());
    if case.ready() || down {
        return None;
    }
    let line = case.keeps_saying(&["Waiting for routing to be established"]);
    let none = case.server().and_then(|server| server.routes.as_ref().ok()).is_some_and(Vec::is_empty);
    let meta = case.health_errors().find(|error| {
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
    let finding = case
        .archive
        .reach
        .iter()
        .flatten()
        .filter(|reach| reach.role == ReachRole::Route && !ways::is_own(case, reach))
        .filter_map(|reach| Some((reach, reach.result.as_ref().err()?)))
        .take(4)
        .fold(finding, |finding, (reach, failure)| {
            finding.quote(format!("connecting to {}:{}", reach.target, reach.port), failure.detail.as_str())
        });
    let down: Vec<&str> =
        view.servers.iter().filter(|server| server.varz.is_err()).map(|server| server.host.as_str()).collect();
    if down.is_empty() {
        return Some(finding.run(format!("rollgate diagnose {}", case.archive.host)));
    }
    let finding = finding.remedy(format!("bring back a majority of the servers: {} do not answer", down.join(", ")));
    Some(finding.run(format!("rollgate diagnose {}", down.join(" "))))
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

pub(super) fn main<'a>(case: &Case<'a>) -> &'a str {
    case.archive.config.as_ref().map_or("/etc/nats/nats-server.conf", |config| config.main.as_str())
}
