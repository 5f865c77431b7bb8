//! The raw inventory made into the resolved one: hosts, and what is unique among them.

use std::collections::HashMap;

use super::destination;
use super::layers::{Layers, explain_destination};
use super::nats;
use super::raw::{Level, RawCluster, RawHost, RawInventory};
use super::types::{Cluster, Host, Nats, Ssh};
use super::vars;
use crate::config::check::Checker;
use crate::config::error::Mistake;
use crate::config::yaml::{Span, Spanned, TextOr, shorten};

/// A host, and where what must be unique about it stands.
struct Placed {
    host: Host,
    name_span: Span,
    server_name_span: Span,
    ssh_span: Span,
}

/// The clusters of `raw`; what is wrong goes to `checker`, and is missing from the result.
pub(super) fn resolve(raw: &Spanned<RawInventory>, checker: &mut Checker) -> Vec<Cluster> {
    const HELP: &str = "write `clusters:`, below it the name of a cluster, below that its `hosts:`";
    let defaults = raw.value.defaults.as_ref().map(|defaults| defaults.value.level());
    if let Some(defaults) = &defaults {
        Layers::check_shared(defaults, checker);
    }
    let shared = raw.value.defaults.as_ref().and_then(|defaults| defaults.value.nats.as_ref());
    let shared = shared.and_then(|nats| nats::resolve("nats", nats, checker));
    let Some(clusters) = &raw.value.clusters else {
        if !raw.lost("clusters") {
            checker.note(Mistake::anywhere("the inventory has no clusters").help(HELP));
        }
        return Vec::new();
    };
    if clusters.value.0.is_empty() && clusters.lost.is_empty() {
        checker.note(Mistake::at(clusters.span, "the inventory has no clusters").help(HELP));
    }
    let mut names = HashMap::new();
    let clusters = clusters.value.0.iter();
    clusters
        .map(|(name, cluster)| resolve_cluster(name, cluster, (defaults, shared.as_ref()), &mut names, checker))
        .collect()
}

fn resolve_cluster(
    name: &Spanned<String>,
    cluster: &Spanned<RawCluster>,
    (defaults, shared): (Option<Level<'_>>, Option<&Nats>),
    names: &mut HashMap<String, Span>,
    checker: &mut Checker,
) -> Cluster {
    checker.name("cluster", &name.value, name.span);
    let level = cluster.value.level();
    Layers::check_shared(&level, checker);
    let written = cluster.value.hosts.as_ref();
    let is_explained = written.map_or(cluster.lost("hosts"), |hosts| !hosts.lost.is_empty());
    if written.is_none_or(|hosts| hosts.value.is_empty()) && !is_explained {
        let span = written.map_or(name.span, |hosts| hosts.span);
        let message = format!("cluster `{}` has no hosts", shorten(&name.value));
        checker.note(Mistake::at(span, message).help("list them: `hosts: [n1, n2, n3]`"));
    }
    let mut hosts: Vec<Placed> = Vec::new();
    for raw in written.iter().flat_map(|hosts| &hosts.value) {
        let resolved = match &raw.value {
            TextOr::Text(alias) => {
                long_form(alias, raw.span, checker).and_then(|host| resolve_host(&host, raw, level, defaults, checker))
            }
            TextOr::Long(host) => resolve_host(host, raw, level, defaults, checker),
        };
        hosts.extend(resolved);
    }
    check_unique(&hosts, names, checker);
    let nats = match &cluster.value.nats {
        Some(own) => nats::resolve("nats", own, checker),
        None => shared.cloned(),
    };
    Cluster { name: name.value.clone(), hosts: hosts.into_iter().map(|placed| placed.host).collect(), nats }
}

/// A host of which only the destination is written: the machine's name is the host's.
fn long_form(alias: &str, span: Span, checker: &mut Checker) -> Option<RawHost> {
    let spanned = |value: String| Spanned { value, span, lost: Vec::new() };
    let name = match destination::parse(alias) {
        Ok(destination) => destination.host,
        Err(error) => {
            checker.note(explain_destination(&error, span));
            return None;
        }
    };
    if name.contains(':') {
        let help = format!("give it a name: `- {{name: n1, ssh: \"{}\"}}`", shorten(alias));
        checker.note(Mistake::at(span, "an IPv6 address can't be the name of a host").help(help));
        return None;
    }
    let ssh = Spanned { value: TextOr::Text(alias.to_owned()), span, lost: Vec::new() };
    Some(RawHost { name: Some(spanned(name)), ssh: Some(ssh), ..RawHost::default() })
}

fn resolve_host(
    host: &RawHost,
    place: &Spanned<TextOr<RawHost>>,
    cluster: Level<'_>,
    defaults: Option<Level<'_>>,
    checker: &mut Checker,
) -> Option<Placed> {
    let layers = Layers::new(host.level(), cluster, defaults);
    let service = layers.service(checker);
    let monitoring = layers.monitoring(checker);
    let client = layers.client(checker);
    let zone =
        host.zone.as_ref().and_then(|zone| checker.name("zone", &zone.value, zone.span).then(|| zone.value.clone()));
    let Some(name) = &host.name else {
        if !place.lost("name") {
            let mistake = Mistake::at(place.span, "a host without a `name`");
            checker.note(mistake.help("begin it with `- name: n1`"));
        }
        return None;
    };
    let ssh_span = host.ssh.as_ref().map_or(name.span, |ssh| ssh.span);
    let ssh = if checker.name("host", &name.value, name.span) { layers.ssh(name, checker) } else { None };
    let (server_name, server_name_span) = match &host.server_name {
        Some(text) => (checker.word("a server name", text)?, text.span),
        None => (name.value.clone(), name.span),
    };
    let host = Host {
        name: name.value.clone(),
        server_name,
        zone,
        // A destination that could not be read stays empty, and is reported.
        ssh: ssh.unwrap_or_default(),
        become_: layers.become_(),
        service,
        monitoring,
        client,
        vars: vars::resolve(&layers, checker),
    };
    Some(Placed { host, name_span: name.span, server_name_span, ssh_span })
}

/// Host names are unique in the file; server names and machines in their cluster.
fn check_unique(hosts: &[Placed], names: &mut HashMap<String, Span>, checker: &mut Checker) {
    let mut server_names = HashMap::new();
    let mut machines = HashMap::new();
    for placed in hosts {
        let host = &placed.host;
        let is_new = unique(
            "host name",
            &host.name,
            placed.name_span,
            names,
            checker,
            "names of hosts are unique over all clusters, so that `--host` is clear",
        );
        if !is_new {
            // Its server name and destination follow from the name, or will change with it.
            continue;
        }
        let (name, span) = (&host.server_name, placed.server_name_span);
        unique(
            "server name",
            name,
            span,
            &mut server_names,
            checker,
            "in one NATS cluster each server has a name of its own",
        );
        if !host.ssh.destination.is_empty() {
            let (machine, span) = (machine(&host.ssh), placed.ssh_span);
            unique(
                "ssh destination",
                &machine,
                span,
                &mut machines,
                checker,
                "two entries for one machine would be rolled as if they were two",
            );
        }
    }
}

/// What makes two destinations one machine: whatever the user; port 22 is the default.
fn machine(ssh: &Ssh) -> String {
    Ssh { destination: ssh.destination.to_lowercase(), port: ssh.port.filter(|port| *port != 22), ..Ssh::default() }
        .to_string()
}

/// Remembers `value`; notes a mistake if it was there before.
fn unique(
    what: &str,
    value: &str,
    span: Span,
    seen: &mut HashMap<String, Span>,
    checker: &mut Checker,
    help: &str,
) -> bool {
    if let Some(first) = seen.get(value) {
        checker.note(
            Mistake::at(span, format!("duplicate {what} `{}`", shorten(value)))
                .label("again here")
                .related(*first, "first here")
                .help(help),
        );
        return false;
    }
    seen.insert(value.to_owned(), span);
    true
}
