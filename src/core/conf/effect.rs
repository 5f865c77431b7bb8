//! What a change of the configuration needs: a reload, or a restart.
//!
//! The settings that a reload takes were tried one by one on 2.10.26 and 2.15.1 (`docs/reloadable.md` has what the servers
//! said), but for ping_interval, trace_verbose, logtime_utc and remote_syslog, which were read (`reload.go`, `diffOptions`).
//! Whatever is not known to be among them needs a restart.

use super::value::{Data, Map, Value};
use crate::core::version::Version;

/// What a server needs in order to take a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// A reload.
    Reload,
    /// A restart.
    Restart,
}

/// A setting that differs, as far down as the reload of the server tells settings apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changed {
    /// `cluster.routes`, in the first of its names.
    pub setting: String,
    /// What it needs.
    pub effect: Effect,
}

/// Settings at the top that a reload takes.
const TOP: &[&str] = &[
    "accounts",
    "authorization",
    "client_advertise",
    "connect_error_reports",
    "debug",
    "log_file",
    "logfile",
    "logtime",
    "logtime_utc",
    "mappings",
    "maps",
    "max_conn",
    "max_connections",
    "max_control_line",
    "max_payload",
    "max_traced_msg_len",
    "no_fast_producer_stall",
    "pid_file",
    "pidfile",
    "ping_interval",
    "ping_max",
    "ports_file_dir",
    "prof_block_rate",
    "reconnect_error_reports",
    "remote_syslog",
    "server_tags",
    "syslog",
    "trace",
    "trace_verbose",
    "write_deadline",
];

/// The same in blocks. `tls` is that of the block.
const IN_BLOCKS: &[(&str, &[&str])] = &[
    ("tls", &["ca_file", "cert_file", "handshake_first", "key_file", "min_version", "timeout", "verify"]),
    (
        "cluster",
        &[
            "accounts",
            "advertise",
            "authorization",
            "compression",
            "connect_retries",
            "no_advertise",
            "permissions",
            "ping_interval",
            "pool_size",
            "routes",
            "tls",
        ],
    ),
    ("gateway", &["tls"]),
    ("leaf", &["compression", "tls"]),
    ("leafnodes", &["compression", "tls"]),
    ("mqtt", &["ack_wait", "max_ack_pending", "tls"]),
    ("websocket", &["tls"]),
    ("ws", &["tls"]),
];

/// Limits of JetStream that a reload may raise.
const RAISED: [&str; 4] = ["max_file", "max_file_store", "max_mem", "max_memory_store"];

/// The first version that was seen to raise them, as 2.14.6 and 2.15.1 were; 2.11.11 was seen to refuse. What lies between was not
/// tried.
const RAISES_FROM: Version = Version(2, 12, 8);

/// Every setting in which two configurations differ, sorted. Secrets have to be in both, or in neither: one that was
/// redacted is the same as any other.
pub fn changed(old: &Map, new: &Map, version: Option<Version>) -> Vec<Changed> {
    let mut found = Vec::new();
    for (key, before, after) in differing(old, new) {
        match IN_BLOCKS.iter().find(|(block, _)| *block == key) {
            // TLS may go and come where clients connect.
            _ if key == "tls" && (before.is_none() || after.is_none()) => found.push(reload(key, true)),
            Some((_, known)) => in_block(&key, before, after, known, &mut found),
            None if key == "jetstream" => jetstream(before, after, version, &mut found),
            None => found.push(reload(key.clone(), TOP.contains(&key.as_str()))),
        }
    }
    found.sort();
    found
}

/// What all of the changes need; none where there is none.
pub fn needed(changed: &[Changed]) -> Option<Effect> {
    changed.iter().map(|one| one.effect).max()
}

fn reload(setting: String, takes: bool) -> Changed {
    Changed { setting, effect: if takes { Effect::Reload } else { Effect::Restart } }
}

fn in_block(block: &str, before: Option<&Value>, after: Option<&Value>, known: &[&str], found: &mut Vec<Changed>) {
    let (Some(Data::Map(before)), Some(Data::Map(after))) = (before.map(|v| &v.data), after.map(|v| &v.data)) else {
        // A listener that comes or goes.
        return found.push(reload(block.to_owned(), false));
    };
    for (key, old, new) in differing(before, after) {
        let setting = format!("{block}.{key}");
        // Within TLS no more is known than at the top; that it comes or goes is a listener of another kind.
        match IN_BLOCKS.iter().find(|(name, _)| key == "tls" && *name == "tls") {
            Some((_, tls)) if block != "tls" => in_block(&setting, old, new, tls, found),
            _ => found.push(reload(setting, known.contains(&key.as_str()))),
        }
    }
}

fn jetstream(before: Option<&Value>, after: Option<&Value>, version: Option<Version>, found: &mut Vec<Changed>) {
    let (Some(Data::Map(before)), Some(Data::Map(after))) = (before.map(|v| &v.data), after.map(|v| &v.data)) else {
        return found.push(reload("jetstream".into(), false));
    };
    let raises = version.is_some_and(|version| version >= RAISES_FROM);
    for (key, old, new) in differing(before, after) {
        let sizes = old.and_then(Value::integer).zip(new.and_then(Value::integer));
        let raised = RAISED.contains(&key.as_str()) && sizes.is_some_and(|(old, new)| new > old);
        found.push(reload(format!("jetstream.{key}"), raises && raised));
    }
}

/// The keys, in small letters, whose values differ.
fn differing<'a>(old: &'a Map, new: &'a Map) -> Vec<(String, Option<&'a Value>, Option<&'a Value>)> {
    let mut keys: Vec<String> = old.keys().chain(new.keys()).map(|key| key.to_ascii_lowercase()).collect();
    keys.sort();
    keys.dedup();
    let of = |map: &'a Map, key: &str| super::value::get(map, &[key]);
    let both = keys.into_iter().map(|key| (of(old, &key), of(new, &key), key));
    both.filter(|(old, new, _)| !same(*old, *new)).map(|(old, new, key)| (key, old, new)).collect()
}

/// Whether two values are the same, wherever they stand.
fn same(one: Option<&Value>, other: Option<&Value>) -> bool {
    let (one, other) = match (one, other) {
        (None, None) => return true,
        (Some(one), Some(other)) => (&one.data, &other.data),
        _ => return false,
    };
    match (one, other) {
        (Data::Array(one), Data::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(Some(one), Some(other)))
        }
        (Data::Map(one), Data::Map(other)) => differing(one, other).is_empty(),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::conf::{Files, parse};

    const BASE: &str = "server_name: m\nlisten: 0.0.0.0:4222\nmax_payload: 1MB\ntls { cert_file: a, key_file: k }
jetstream { store_dir: /js, max_file_store: 200MB }\ncluster { name: c, port: 6222, tls { cert_file: a } }
leafnodes { port: 7422, tls { cert_file: a } }\nwebsocket { port: 8443, tls { cert_file: a } }
accounts { A { users: [ {user: a, password: b} ] } }\nno_auth_user: a\n";

    fn read(text: &str) -> Map {
        let text = |_: &str| Ok(text.to_owned());
        parse("/c.conf", &Files { text: &text, variable: &|_| None }).unwrap()
    }

    /// After the replacement of `from` by `to`, on a server of 2.15.1.
    fn check(from: &str, to: &str, expected: &[(&str, Effect)]) {
        check_on("2.15.1", from, to, expected);
    }

    fn check_on(version: &str, from: &str, to: &str, expected: &[(&str, Effect)]) {
        assert!(BASE.contains(from), "{from}");
        let found = changed(&read(BASE), &read(&BASE.replacen(from, to, 1)), Version::of(version));
        let found: Vec<_> = found.iter().map(|one| (one.setting.as_str(), one.effect)).collect();
        assert_eq!(found, expected, "{from} -> {to}");
    }

    #[test]
    fn what_a_reload_takes() {
        use Effect::Reload;
        check("server_name: m\n", "# a comment\n\nSERVER_NAME = m\n", &[]);
        check("max_payload: 1MB", "max_payload: 2MB\ndebug: true", &[("debug", Reload), ("max_payload", Reload)]);
        check("cert_file: a, key_file", "cert_file: b, key_file", &[("tls.cert_file", Reload)]);
        check("tls { cert_file: a, key_file: k }", "", &[("tls", Reload)]);
        check("6222, tls { cert_file: a }", "6222, tls { cert_file: b }", &[("cluster.tls.cert_file", Reload)]);
        check("6222,", "6222, routes: [nats://h:6222],", &[("cluster.routes", Reload)]);
        check("8443, tls { cert_file: a }", "8443, tls { cert_file: b }", &[("websocket.tls.cert_file", Reload)]);
        check("password: b", "password: c", &[("accounts", Reload)]);
        check("200MB", "300MB", &[("jetstream.max_file_store", Reload)]);
        check_on("2.12.8", "200MB", "300MB", &[("jetstream.max_file_store", Reload)]);
    }

    #[test]
    fn what_a_restart_takes() {
        use Effect::Restart;
        check("server_name: m", "server_name: n", &[("server_name", Restart)]);
        check("4222", "4333", &[("listen", Restart)]);
        check("max_payload", "lame_duck_duration: 45s\nmax_payload", &[("lame_duck_duration", Restart)]);
        check("key_file: k", "key_file: k, verify_and_map: true", &[("tls.verify_and_map", Restart)]);
        check("200MB", "100MB", &[("jetstream.max_file_store", Restart)]);
        check_on("2.11.11", "200MB", "300MB", &[("jetstream.max_file_store", Restart)]);
        check("/js", "/js2", &[("jetstream.store_dir", Restart)]);
        check("jetstream { store_dir: /js, max_file_store: 200MB }", "", &[("jetstream", Restart)]);
        check("name: c,", "name: cc,", &[("cluster.name", Restart)]);
        check("7422", "7423", &[("leafnodes.port", Restart)]);
        check("websocket { port: 8443, tls { cert_file: a } }", "", &[("websocket", Restart)]);
        check("no_auth_user: a\n", "", &[("no_auth_user", Restart)]);
        // One that nobody has heard of.
        check("max_payload", "unheard_of: 1\nmax_payload", &[("unheard_of", Restart)]);
    }

    #[test]
    fn one_restart_is_enough_for_all() {
        let changed = changed(&read(BASE), &read(&BASE.replace("1MB", "2MB").replace("4222", "4333")), None);
        assert_eq!(needed(&changed), Some(Effect::Restart));
        assert_eq!(needed(&changed[..0]), None);
    }
}
