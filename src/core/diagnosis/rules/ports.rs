//! Listeners: who holds a port that the server needs, and what else keeps it from listening.

use super::super::{
    case::Case,
    catalogue::pages,
    evidence::Listener,
    finding::Finding,
    settings::{Endpoint, ListenerKind},
    unit::Manager,
};

pages! {
    OLD_SERVER = "old-server-alive" Blocking Port "another nats-server holds the port"
        why "A nats-server that this unit does not know of holds the port. Most often it is the old process, started by \
             hand or left behind by a stop that did not reach it; two of them must never write to one store."
        proof "The listener's process is a nats-server and is not the unit's main process."
        remedy "end the other nats-server with SIGTERM, then start the unit";
    PORT_TAKEN = "port-taken" Blocking Port "a port that the server needs is taken"
        why "A server that can't open one of its ports exits at once with status 1; it does not stay up \"not ready\" as \
             some documentation has it. With a store to recover first, it exits only after the recovery."
        proof "The fatal line that names the port, and the process that listens there now."
        remedy "end the process that holds the port, or give one of the two another port";
    ADDRESS_NOT_LOCAL = "address-not-local" Blocking Port "the listen address is not an address of this host"
        why "The server exits where it can't bind to the address that its configuration names."
        proof "The fatal line `cannot assign requested address`."
        remedy "set `listen` to an address of this host, or bring the address up";
    PORT_PRIVILEGED = "port-privileged" Blocking Port "the service's user may not open a port below 1024"
        why "Ports below 1024 need CAP_NET_BIND_SERVICE, and the service's user does not have it."
        proof "The fatal line `bind: permission denied`."
        remedy "use a port above 1023, or give the unit AmbientCapabilities=CAP_NET_BIND_SERVICE";
    LISTEN_NAME = "listen-name-unresolved" Blocking Port "the name to listen on does not resolve"
        why "The server exits where the host part of `listen` is a name that nothing resolves."
        proof "The fatal line `no such host`."
        remedy "write an address in place of the name, or mend the resolution of names";
    LISTENER_CLOSED = "listener-closed" Blocking Port "the server runs, and a configured port is closed"
        why "The process lives and does not listen where its configuration says. It is recovering its store, in lame \
             duck, or it runs with another configuration than the file has now."
        proof "The list of listening sockets has no entry of the server's process for the port."
        remedy "read the server's log, and compare its configuration with the file" follows ["*"];
    ACCEPT_FAILS = "accept-fails" Blocking Port "the server can't accept connections"
        why "Every connection takes a file descriptor, and there is none left. The server stays up and healthz may be 200."
        proof "`accept4: too many open files` in the log."
        remedy "raise LimitNOFILE of the unit" follows ["too-few-files"];
}

/// How the server names each listener as it dies, and the listener.
const FATAL: &[(&str, &str)] = &[
    ("Error listening on port:", "client"),
    ("can't listen to the monitor port", "monitoring"),
    ("Error listening on router port", "route"),
    ("Error listening on gateway port", "gateway"),
    ("Error listening on leafnode port", "leafnode"),
    ("Unable to listen for websocket connections", "websocket"),
    ("Unable to listen for MQTT connections", "MQTT"),
];

/// All that concerns ports.
pub(super) fn rules(case: &Case<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = died(case).into_iter().collect();
    let told = |found: &[Finding], port: u16| found.iter().any(|f| f.title.contains(&format!("port {port} ")));
    for endpoint in case.listeners() {
        if let Some(finding) = taken(case, endpoint)
            && !told(&found, endpoint.port)
        {
            found.push(finding);
        }
    }
    found.extend(closed(case));
    if case.alive()
        && let Some(line) = case.keeps_saying(&["too many open files"])
    {
        found.push(Finding::of(&ACCEPT_FAILS, "the server can't accept connections: too many open files").line(&line));
    }
    found
}

/// The port that the process died of.
fn died(case: &Case<'_>) -> Option<Finding> {
    let (line, kind) = FATAL.iter().find_map(|(mark, kind)| case.died_with(mark).map(|line| (line, *kind)))?;
    let text = line.text();
    let address = listen_address(text);
    let port = address.and_then(|address| address.rsplit_once(':')?.1.parse::<u16>().ok());
    let finding = if text.contains("address already in use") {
        let port = port?;
        match case.archive.listening_on(port).find(|listener| !case.own(listener.pid)) {
            Some(holder) => held(case, kind, port, holder),
            None => {
                let title =
                    format!("the {kind} port {port} was taken when the server started; nobody listens on it now");
                Finding::of(&PORT_TAKEN, title)
                    .remedy("find out who opens it at times, before you start the server again")
                    .run(format!("sudo ss -Htanp 'sport = :{port}'"))
            }
        }
    } else if text.contains("cannot assign requested address") {
        let address = address.unwrap_or("its address");
        Finding::of(&ADDRESS_NOT_LOCAL, format!("the {kind} listener's address {address} is not on this host"))
            .run("ip -brief address")
    } else if text.contains("bind: permission denied") {
        let title = format!("{} may not open the {kind} port {}", case.user(), port?);
        Finding::of(&PORT_PRIVILEGED, title).run(format!("sudo systemctl edit {}", case.unit_name()))
    } else if text.contains("no such host") || text.contains("lookup ") {
        let name = text.split("lookup ").nth(1).and_then(|rest| rest.split([' ', ':']).next()).unwrap_or("its name");
        Finding::of(&LISTEN_NAME, format!("the {kind} listener's name {name} does not resolve on this host"))
            .run(format!("getent ahosts {name}"))
    } else if text.contains("too many open files") {
        return None;
    } else {
        Finding::of(&PORT_TAKEN, format!("the {kind} listener could not be opened")).likely()
    };
    Some(finding.died(&line))
}

/// `ADDRESS` in `listen tcp ADDRESS: bind: …`.
fn listen_address(text: &str) -> Option<&str> {
    text.split("listen tcp ").nth(1)?.split(": ").next()
}

/// The port is held by another process now: the next start will die of it.
fn taken(case: &Case<'_>, endpoint: &Endpoint) -> Option<Finding> {
    if endpoint.port == 0 {
        return None;
    }
    let holder = case
        .archive
        .listening_on(endpoint.port)
        .find(|listener| !ours(case, listener) && overlap(&endpoint.host, &listener.address))?;
    let foreign = holder.pid.is_some() || !case.alive();
    foreign.then(|| held(case, endpoint.kind.name(), endpoint.port, holder))
}

/// A listener of the unit is ours: a container's proxy and a supervisor's child have other ids than the main process.
fn ours(case: &Case<'_>, listener: &Listener) -> bool {
    case.own(listener.pid)
        || case.alive() && listener.unit.is_some() && listener.unit.as_deref() == Some(case.unit_name())
        || case.alive()
            && case.unit().is_none_or(|unit| unit.manager != Manager::Systemd)
            && listener
                .program
                .as_deref()
                .is_some_and(|program| program.contains("docker") || program.contains("conmon"))
}

fn held(case: &Case<'_>, kind: &str, port: u16, holder: &Listener) -> Finding {
    let program = holder.program.as_deref().unwrap_or("a process that can't be seen");
    let mut who = program.to_owned();
    let details: Vec<String> = [
        holder.pid.map(|pid| format!("pid {pid}")),
        holder.user.as_ref().map(|user| format!("user {user}")),
        holder.unit.clone(),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !details.is_empty() {
        who.push_str(&format!(" ({})", details.join(", ")));
    }
    let old = program.starts_with("nats-server");
    let page = if old { &OLD_SERVER } else { &PORT_TAKEN };
    let unit = holder.unit.as_deref().filter(|unit| unit.ends_with(".service"));
    let finding = Finding::of(page, format!("the {kind} port {port} is held by {who}"))
        .quote("listening sockets of the host", format!("{}:{port} {who}", holder.address));
    let stoppable = |unit: &&str| *unit != case.unit_name() && !unit.starts_with("user@");
    match (unit.filter(stoppable), holder.pid) {
        (Some(unit), _) => finding.run(format!("sudo systemctl stop {unit}")),
        (None, Some(pid)) => finding.run(format!("sudo kill {pid}")),
        (None, None) => finding.run(format!("sudo ss -Hltnp 'sport = :{port}'")),
    }
}

/// Whether a socket on `taken` keeps one from listening on `wanted`.
fn overlap(wanted: &str, taken: &str) -> bool {
    let any = |address: &str| matches!(address, "" | "0.0.0.0" | "::" | "*" | "[::]");
    any(wanted)
        || any(taken)
        || wanted == taken
        || wanted == "localhost" && (taken.starts_with("127.") || taken == "::1")
}

/// The process lives, and a port of its configuration is closed.
fn closed(case: &Case<'_>) -> Vec<Finding> {
    // While a store is recovered, only monitoring is open; what says so is found in the store's rules.
    if !case.alive() || case.preflight() || case.archive.listeners.is_err() || case.process().is_none() {
        return Vec::new();
    }
    let shut = |endpoint: &&Endpoint| endpoint.port != 0 && case.archive.listening_on(endpoint.port).next().is_none();
    let finding = |endpoint: &Endpoint| {
        let title = format!("the server runs, and its {} port {} is closed", endpoint.kind.name(), endpoint.port);
        let finding = Finding::of(&LISTENER_CLOSED, title)
            .quote("listening sockets of the host", format!("no process listens on port {}", endpoint.port))
            .run(format!("sudo ss -Hltnp 'sport = :{}'", endpoint.port));
        if case.ready() && endpoint.kind != ListenerKind::Client {
            // It answers and is ready: the file has changed since it was read.
            return finding
                .likely()
                .explain("The server is ready, so it does not know of this listener: its file has changed.");
        }
        finding.likely()
    };
    case.listeners().iter().filter(shut).map(finding).collect()
}
