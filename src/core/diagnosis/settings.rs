//! What the rules need of a server's configuration.

use super::evidence::{Archive, ConfigText};
use crate::core::{
    conf::{
        Files, Mistake, parse,
        value::{Data, Map, Value, get},
    },
    view::Failure,
};

/// The files of a `tls` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Where it stands: `tls`, `cluster.tls`, `leafnodes.remotes.tls` …
    pub block: String,
    /// `cert_file`.
    pub cert: Option<String>,
    /// `key_file`.
    pub key: Option<String>,
    /// `ca_file`.
    pub ca: Option<String>,
    /// Whoever connects must show a certificate.
    pub verify: bool,
}

/// A configured listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What it is for.
    pub kind: ListenerKind,
    /// The address; empty for any.
    pub host: String,
    /// The port; 0 lets the kernel choose.
    pub port: u16,
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ListenerKind {
    Client,
    Monitoring,
    Route,
    Gateway,
    Leafnode,
    Websocket,
    Mqtt,
    Profiling,
}

impl ListenerKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Monitoring => "monitoring",
            Self::Route => "route",
            Self::Gateway => "gateway",
            Self::Leafnode => "leafnode",
            Self::Websocket => "websocket",
            Self::Mqtt => "MQTT",
            Self::Profiling => "profiling",
        }
    }
}

/// The configuration, as far as the rules need it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The listeners that the server is to open.
    pub listeners: Vec<Endpoint>,
    /// `server_name`.
    pub server_name: Option<String>,
    /// `cluster.name`.
    pub cluster_name: Option<String>,
    /// There is a `cluster` block with a listener.
    pub clustered: bool,
    /// JetStream is enabled.
    pub jetstream: bool,
    /// `jetstream.store_dir`, where it is set.
    pub store_dir: Option<String>,
    /// `jetstream.max_file_store` in bytes, where it is set.
    pub max_file: Option<u64>,
    /// `cluster.routes`, without user and password.
    pub routes: Vec<String>,
    /// It connects to other servers as a leafnode, which clustered JetStream takes in place of routes.
    pub solicits_leafnodes: bool,
    /// `system_account`: its name, or in operator mode its id.
    pub system_account: Option<String>,
    /// The names of the accounts that the file itself has.
    pub accounts: Vec<String>,
    /// Accounts are those of an operator, by JWT.
    pub operator: bool,
    /// `resolver`: `MEMORY`, `URL(…)`, or the type of its block, such as `full`.
    pub resolver: Option<String>,
    /// `lame_duck_duration` in seconds.
    pub lame_duck_s: Option<u64>,
    /// Names and addresses by which others are told to reach the server.
    pub advertised: Vec<String>,
    /// Every `tls` block that names files.
    pub tls: Vec<TlsSettings>,
}

impl Settings {
    /// The settings in an archive's configuration; none where it could not be read.
    pub fn of(archive: &Archive) -> Option<Self> {
        let map = read(archive.config.as_ref().ok()?).ok()?;
        let mut settings = Self::from_map(&map);
        if let Ok(unit) = &archive.unit {
            settings.override_with(&unit.argv);
        }
        Some(settings)
    }

    /// The settings in a configuration alone.
    pub fn from_map(map: &Map) -> Self {
        let text = |names: &[&str]| get(map, names).and_then(Value::text);
        let cluster = get(map, &["cluster"]);
        let jetstream = get(map, &["jetstream"]);
        let leafnodes = get(map, &["leafnodes", "leaf"]);
        let listeners = listeners(map);
        Self {
            server_name: text(&["server_name"]),
            cluster_name: cluster.and_then(|cluster| cluster.get(&["name"])?.text()),
            clustered: listeners.iter().any(|endpoint| endpoint.kind == ListenerKind::Route),
            jetstream: jetstream.is_some_and(is_enabled),
            store_dir: jetstream
                .and_then(|block| block.get(&["store_dir", "storedir"])?.text())
                .or_else(|| text(&["store_dir", "storedir"])),
            max_file: jetstream.and_then(|block| size(block.get(&["max_file_store", "max_file"])?)),
            routes: cluster.and_then(|block| block.get(&["routes"])).map_or_else(Vec::new, urls),
            solicits_leafnodes: leafnodes
                .and_then(|block| block.get(&["remotes"]))
                .is_some_and(|remotes| !remotes.elements().is_empty()),
            system_account: text(&["system_account", "system"]),
            accounts: get(map, &["accounts"]).map_or_else(Vec::new, |accounts| {
                let named = accounts.entries().map(|(name, _)| name.clone());
                named.chain(accounts.elements().iter().filter_map(Value::text)).collect()
            }),
            operator: get(map, &["operator", "operators", "roots", "root", "root_operator", "root_operators"])
                .is_some(),
            resolver: get(map, &["resolver", "account_resolver", "accounts_resolver"])
                .and_then(|value| value.text().or_else(|| value.get(&["type"])?.text())),
            lame_duck_s: get(map, &["lame_duck_duration"]).and_then(duration_s),
            advertised: [
                text(&["client_advertise"]),
                cluster.and_then(|block| block.get(&["advertise", "cluster_advertise"])?.text()),
            ]
            .into_iter()
            .flatten()
            .collect(),
            tls: tls_blocks(map),
            listeners,
        }
    }

    /// Flags of the command line win over the file (nats-server's `MergeOptions`).
    fn override_with(&mut self, argv: &[String]) {
        let mut flags = Vec::new();
        for (at, word) in argv.iter().enumerate().filter(|(_, word)| word.starts_with('-')) {
            match word.split_once('=') {
                Some((flag, value)) => flags.push((flag, value)),
                None => flags.push((word.as_str(), argv.get(at + 1).map_or("", String::as_str))),
            }
        }
        for (flag, value) in flags {
            match (flag.trim_start_matches('-'), value.parse::<u16>()) {
                ("p" | "port", Ok(port)) => self.listen(ListenerKind::Client, port),
                ("m" | "http_port" | "ms" | "https_port", Ok(port)) => self.listen(ListenerKind::Monitoring, port),
                ("a" | "addr" | "net", _) if !value.is_empty() => {
                    for endpoint in self.listeners.iter_mut().filter(|one| one.kind == ListenerKind::Client) {
                        endpoint.host = any_host(value);
                    }
                }
                ("n" | "name" | "server_name", _) if !value.is_empty() => self.server_name = Some(value.to_owned()),
                ("js" | "jetstream", _) => self.jetstream = true,
                _ => {}
            }
        }
    }

    fn listen(&mut self, kind: ListenerKind, port: u16) {
        match self.listeners.iter_mut().find(|endpoint| endpoint.kind == kind) {
            Some(endpoint) => endpoint.port = port,
            None => self.listeners.push(Endpoint { kind, host: String::new(), port }),
        }
    }
}

/// Reads a configuration as the collector sent it.
///
/// # Errors
/// The first mistake in it.
pub fn read(config: &ConfigText) -> Result<Map, Mistake> {
    let text = |path: &str| match config.files.iter().find(|file| file.path == path) {
        Some(file) => file.text.clone().map_err(|failure: Failure| failure.to_string()),
        None => Err(format!("open {path}: it was not gathered")),
    };
    let variable = |name: &str| {
        let known = config.environment.iter().find(|variable| variable.name == name && variable.set)?;
        // A value that was kept back is some text.
        Some(known.value.clone().unwrap_or_else(|| "\"[redacted]\"".into()))
    };
    parse(&config.main, &Files { text: &text, variable: &variable })
}

/// The listeners of a configuration, with nats-server's defaults (`setBaselineOptions`).
fn listeners(map: &Map) -> Vec<Endpoint> {
    let mut found = Vec::new();
    let own = |names: &[&str]| get(map, names);
    let address = own(&["host", "net"]).and_then(Value::text);
    let listen = own(&["listen"]).and_then(listen);
    let client_host = listen.as_ref().map(|(host, _)| host.clone()).or(address).unwrap_or_default();
    let client_port = listen.map(|(_, port)| port).or_else(|| own(&["port"])?.integer()).unwrap_or(0);
    let mut add = |kind, host: &str, port: i64| {
        // -1 has the kernel choose.
        let port = if port < 0 { Some(0) } else { u16::try_from(port).ok() };
        found.extend(port.map(|port| Endpoint { kind, host: any_host(host), port }));
    };
    add(ListenerKind::Client, &client_host, if client_port == 0 { 4222 } else { client_port });
    let monitoring = own(&["http", "https"]).and_then(self::listen);
    let bare = own(&["http_port", "monitor_port", "https_port"]).and_then(Value::integer);
    if let Some((host, port)) = monitoring.or(bare.map(|port| (String::new(), port))).filter(|(_, port)| *port != 0) {
        let host = if host.is_empty() { &client_host } else { &host };
        add(ListenerKind::Monitoring, host, port);
    }
    if let Some(port) = own(&["prof_port"]).and_then(Value::integer).filter(|port| *port != 0) {
        add(ListenerKind::Profiling, &client_host, port);
    }
    for (kind, names) in [
        (ListenerKind::Route, &["cluster"][..]),
        (ListenerKind::Gateway, &["gateway"]),
        (ListenerKind::Leafnode, &["leafnodes", "leaf"]),
        (ListenerKind::Websocket, &["websocket", "ws"]),
        (ListenerKind::Mqtt, &["mqtt"]),
    ] {
        let Some(block) = own(names) else { continue };
        let listen = block.get(&["listen"]).and_then(self::listen);
        let host = block.get(&["host", "net"]).and_then(Value::text).unwrap_or_default();
        let port = block.get(&["port"]).and_then(Value::integer);
        if let Some((host, port)) = listen.or(port.map(|port| (host, port))).filter(|(_, port)| *port != 0) {
            add(kind, &host, port);
        }
    }
    found
}

/// `PORT`, `HOST:PORT`, `[HOST]:PORT`, `:PORT`.
fn listen(value: &Value) -> Option<(String, i64)> {
    if let Some(port) = value.integer() {
        return Some((String::new(), port));
    }
    let text = value.text()?;
    let (host, port) = text.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

/// Empty for every address.
fn any_host(host: &str) -> String {
    if matches!(host, "0.0.0.0" | "::") { String::new() } else { host.to_owned() }
}

/// `jetstream: enabled`, `true`, or a block that does not say otherwise (`parseJetStream`).
fn is_enabled(value: &Value) -> bool {
    match &value.data {
        Data::Bool(is) => *is,
        Data::Text(text) => text.to_ascii_lowercase().starts_with("enable"),
        Data::Map(_) => value.get(&["enabled", "enable"]).and_then(Value::truth).unwrap_or(true),
        _ => false,
    }
}

fn size(value: &Value) -> Option<u64> {
    match &value.data {
        Data::Integer(number) => u64::try_from(*number).ok(),
        // Sizes in quotes have suffixes of the same kind (`getStorageSize`).
        Data::Text(text) => {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let power = match text[end..].to_ascii_uppercase().as_str() {
                "" => 0,
                "K" => 1,
                "M" => 2,
                "G" => 3,
                "T" => 4,
                _ => return None,
            };
            text[..end].parse::<u64>().ok()?.checked_mul(1024_u64.pow(power))
        }
        _ => None,
    }
}

/// Seconds of a duration as Go writes it (`1m30s`), or a bare number.
fn duration_s(value: &Value) -> Option<u64> {
    if let Some(number) = value.integer() {
        return u64::try_from(number).ok();
    }
    let text = value.text()?;
    let mut rest = text.as_str();
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                "us" | "µs" | "ns" => 0.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    // As a cast it can't fail: what is too large becomes the largest.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some(total as u64)
}

fn urls(value: &Value) -> Vec<String> {
    value.elements().iter().filter_map(Value::text).map(|url| without_user(&url)).collect()
}

fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        (None, Some((_, rest))) => rest.to_owned(),
        (_, None) => url.to_owned(),
    }
}

/// Every `tls` block, wherever it stands.
fn tls_blocks(map: &Map) -> Vec<TlsSettings> {
    let mut found = Vec::new();
    for (key, value) in map {
        walk(&key.to_ascii_lowercase(), value, &mut found);
    }
    found
}

fn walk(at: &str, value: &Value, found: &mut Vec<TlsSettings>) {
    if at.ends_with("tls") && matches!(value.data, Data::Map(_)) {
        let text = |names: &[&str]| value.get(names).and_then(Value::text);
        let is_set = |names: &[&str]| value.get(names).and_then(Value::truth).unwrap_or(false);
        let block = TlsSettings {
            block: at.to_owned(),
            cert: text(&["cert_file"]),
            key: text(&["key_file"]),
            ca: text(&["ca_file"]),
            verify: is_set(&["verify"]) || is_set(&["verify_and_map"]) || is_set(&["verify_cert_and_check_known_urls"]),
        };
        if block.cert.is_some() || block.key.is_some() || block.ca.is_some() {
            found.push(block);
        }
        return;
    }
    // A map nests at most as deep as the parser allows.
    for (key, inner) in value.entries() {
        walk(&format!("{at}.{}", key.to_ascii_lowercase()), inner, found);
    }
    if let Data::Array(all) = &value.data {
        for inner in all {
            walk(at, inner, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Settings {
        let text = |_: &str| Ok(text.to_owned());
        let map = parse("/etc/nats.conf", &Files { text: &text, variable: &|_| None }).unwrap();
        Settings::from_map(&map)
    }

    fn check(text: &str, expected: &[&str]) {
        let listeners = of(text).listeners;
        let shown: Vec<_> =
            listeners.iter().map(|one| format!("{} {}:{}", one.kind.name(), one.host, one.port)).collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn listeners_have_the_servers_defaults() {
        check("", &["client :4222"]);
        check("listen: 10.0.0.1:4333\nhttp: 8222", &["client 10.0.0.1:4333", "monitoring 10.0.0.1:8222"]);
        check("host: localhost, port: -1\nhttps: \"[::1]:8443\"", &["client localhost:0", "monitoring ::1:8443"]);
        check(
            "cluster { listen: \"0.0.0.0:6222\" }\ngateway { port: 7222, host: g }\nleafnodes { port: 7422 }\nwebsocket { port: 443 }\nmqtt { listen: ':1883' }",
            &["client :4222", "route :6222", "gateway g:7222", "leafnode :7422", "websocket :443", "MQTT :1883"],
        );
        check("cluster { name: c }", &["client :4222"]);
        check("host: h, prof_port: 6060", &["client h:4222", "profiling h:6060"]);
    }

    #[test]
    fn what_rules_need_is_found() {
        let settings = of("server_name: n1
cluster { name: c, port: 6222, routes: [nats://redacted@h2:6222, \"nats://h3:6222\"], advertise: a:1, tls { cert_file: c.pem, key_file: k.pem, verify: true } }
jetstream { max_file_store: 2GB, store_dir: /x }
lame_duck_duration: \"1m30s\"
leafnodes { remotes: [ { url: x, tls: { ca_file: ca.pem } } ] }
");
        assert_eq!((settings.server_name.as_deref(), settings.cluster_name.as_deref()), (Some("n1"), Some("c")));
        assert_eq!(settings.routes, ["nats://h2:6222", "nats://h3:6222"]);
        assert_eq!((settings.jetstream, settings.max_file), (true, Some(2 << 30)));
        assert_eq!((settings.lame_duck_s, settings.solicits_leafnodes, settings.clustered), (Some(90), true, true));
        let blocks: Vec<_> = settings.tls.iter().map(|tls| (tls.block.as_str(), tls.verify)).collect();
        assert_eq!(blocks, [("cluster.tls", true), ("leafnodes.remotes.tls", false)]);
        assert_eq!(settings.advertised, ["a:1"]);
        assert_eq!(settings.store_dir.as_deref(), Some("/x"));
    }

    #[test]
    fn accounts_have_their_source() {
        let settings = of("system_account: SYS, accounts { SYS { users: [] }, APP { jetstream: enabled } }");
        assert_eq!((settings.system_account.as_deref(), settings.operator), (Some("SYS"), false));
        assert_eq!(settings.accounts, ["APP", "SYS"]);
        let settings = of("operator: /etc/nats/op.jwt\nresolver { type: full, dir: /jwt }");
        assert_eq!((settings.operator, settings.resolver.as_deref()), (true, Some("full")));
        assert_eq!(of("resolver: URL(http://r/jwt/)").resolver.as_deref(), Some("URL(http://r/jwt/)"));
    }

    #[test]
    fn flags_win_over_the_file() {
        let mut settings = of("port: 1");
        let argv = ["nats-server", "-c", "/x", "-p", "4333", "--http_port=8222", "-js", "-n", "n9"];
        settings.override_with(&argv.map(str::to_owned));
        assert_eq!(settings.listeners.iter().map(|one| one.port).collect::<Vec<_>>(), [4333, 8222]);
        assert_eq!((settings.jetstream, settings.server_name.as_deref()), (true, Some("n9")));
    }
}
