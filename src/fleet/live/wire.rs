//! The JSON that nats-server sends, as far as it is needed, and how it becomes a view.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::core::{
    listeners::{Listener, ListenerKind},
    version::Version,
    view::{Failure, FailureKind, Health, HealthError, Meta, Peer, Varz},
};

#[derive(Deserialize)]
struct WireVarz {
    server_id: String,
    #[serde(default)]
    server_name: String,
    version: String,
    start: Timestamp,
    now: Timestamp,
    #[serde(default)]
    host: String,
    port: u16,
    #[serde(default)]
    auth_required: bool,
    #[serde(default)]
    tls_required: bool,
    #[serde(default)]
    connections: u64,
    #[serde(default)]
    leafnodes: u64,
    #[serde(default)]
    remotes: u64,
    #[serde(default)]
    config_load_time: Option<Timestamp>,
    #[serde(default)]
    config_digest: Option<String>,
    #[serde(default)]
    http_host: String,
    #[serde(default)]
    https_port: u16,
    #[serde(default)]
    gateway: WirePort,
    #[serde(default)]
    leaf: WirePort,
    #[serde(default)]
    websocket: WirePort,
    #[serde(default)]
    mqtt: WirePort,
    #[serde(default)]
    cluster: WireCluster,
    #[serde(default)]
    jetstream: WireJetStream,
    #[serde(default)]
    feature_flags: BTreeMap<String, bool>,
}

/// A listener besides that of clients. Ports are 0 where it is off.
#[derive(Deserialize, Default)]
struct WirePort {
    #[serde(default)]
    name: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    tls_required: bool,
    #[serde(default)]
    no_tls: bool,
    #[serde(default)]
    tls_cert_not_after: Option<serde::de::IgnoredAny>,
}

/// The listeners that speak TLS. Websocket has it unless it may go without (`no_tls`). MQTT says so by its certificate's end,
/// from 2.12 on; before, nothing tells (measured, 2.10.26 to 2.15.1).
fn listeners(wire: &WireVarz) -> Vec<Listener> {
    let one = |kind, host: &str, port, tls| {
        (port != 0 && tls).then(|| Listener { kind, host: host.to_owned(), port, perhaps: false })
    };
    let other = |kind, of: &WirePort, tls| one(kind, &of.host, of.port, tls);
    let mute = Version::of(&wire.version).is_none_or(|version| version < Version(2, 12, 0));
    let all = [
        one(ListenerKind::Client, &wire.host, wire.port, wire.tls_required),
        one(ListenerKind::Monitoring, &wire.http_host, wire.https_port, true),
        other(ListenerKind::Leafnode, &wire.leaf, wire.leaf.tls_required),
        other(ListenerKind::Gateway, &wire.gateway, wire.gateway.tls_required),
        other(ListenerKind::Websocket, &wire.websocket, !wire.websocket.no_tls),
        other(ListenerKind::Mqtt, &wire.mqtt, mute || wire.mqtt.tls_cert_not_after.is_some())
            .map(|listener| Listener { perhaps: mute, ..listener }),
    ];
    all.into_iter().flatten().collect()
}

#[derive(Deserialize, Default)]
struct WireGatewayz {
    #[serde(default)]
    outbound_gateways: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(default)]
    inbound_gateways: BTreeMap<String, Vec<serde::de::IgnoredAny>>,
}

/// Reads `/gatewayz`: connections to and from other clusters.
///
/// # Errors
/// The text is not an answer of gatewayz.
pub fn gateways(body: &str) -> Result<u64, Failure> {
    let wire: WireGatewayz = json("/gatewayz", body)?;
    let inbound: usize = wire.inbound_gateways.values().map(Vec::len).sum();
    Ok((wire.outbound_gateways.len() + inbound) as u64)
}

#[derive(Deserialize, Default)]
struct WireCluster {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    pool_size: Option<i64>,
}

#[derive(Deserialize, Default)]
struct WireJetStream {
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    stats: WireJetStreamStats,
    #[serde(default)]
    meta: Option<WireMeta>,
}

#[derive(Deserialize, Default)]
struct WireJetStreamStats {
    #[serde(default)]
    api: WireApi,
}

#[derive(Deserialize, Default)]
struct WireApi {
    #[serde(default)]
    level: Option<u32>,
}

#[derive(Deserialize)]
struct WireMeta {
    #[serde(default)]
    leader: String,
    #[serde(default)]
    cluster_size: u32,
    /// Its members but the one that answers.
    #[serde(default)]
    replicas: Option<Vec<WirePeer>>,
}

#[derive(Deserialize)]
struct WirePeer {
    #[serde(default)]
    name: String,
}

impl WireMeta {
    fn read(self, own: &str) -> Meta {
        let replicas = self.replicas.unwrap_or_default();
        let mut members: Vec<String> =
            replicas.into_iter().map(|peer| peer.name).filter(|name| !name.is_empty()).collect();
        // What another server lists is older than what the leader does.
        if members.is_empty() || self.leader != own {
            members.clear();
        } else {
            members.push(own.to_owned());
        }
        Meta { leader: Some(self.leader).filter(|leader| !leader.is_empty()), size: self.cluster_size, members }
    }
}

/// Reads `/varz`.
///
/// # Errors
/// The text is not the answer of a nats-server.
pub fn varz(body: &str) -> Result<Varz, Failure> {
    let mut wire: WireVarz = json("/varz", body)?;
    let meta = wire.jetstream.meta.take().map(|meta| meta.read(&wire.server_name));
    let listeners = listeners(&wire);
    Ok(Varz {
        server_name: if wire.server_name.is_empty() { wire.server_id.clone() } else { wire.server_name },
        server_id: wire.server_id,
        version: wire.version,
        start: wire.start,
        now: wire.now,
        cluster: wire.cluster.name.filter(|name| !name.is_empty()),
        client_host: wire.host,
        client_port: wire.port,
        tls_required: wire.tls_required,
        auth_required: wire.auth_required,
        connections: wire.connections,
        leafnodes: wire.leafnodes,
        // Where there are any, they have an endpoint of their own.
        gateways: wire.gateway.name.is_empty().then_some(0),
        config_load_time: wire.config_load_time,
        config_digest: wire.config_digest.filter(|digest| !digest.is_empty()),
        remotes: wire.remotes,
        jetstream: wire.jetstream.config.is_some(),
        meta,
        route_pool: wire.cluster.pool_size,
        api_level: wire.jetstream.stats.api.level,
        feature_flags: wire.feature_flags,
        listeners,
    })
}

#[derive(Deserialize)]
struct WireHealth {
    #[serde(default)]
    status: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    errors: Vec<HealthError>,
}

/// Reads `/healthz?details=true`. With `details` errors could come under HTTP 200 before 2.10.24, and 2.9 does not
/// know the parameter and gives one text: the body decides, not the status.
///
/// # Errors
/// The text is not an answer of healthz.
pub fn health(code: u16, body: &str) -> Result<Health, Failure> {
    let wire: WireHealth = json("/healthz", body)?;
    let mut errors = wire.errors;
    let plain = |error: String| HealthError { kind: String::new(), error, account: None, stream: None, consumer: None };
    if errors.is_empty() {
        errors.extend(wire.error.filter(|error| !error.is_empty()).map(plain));
    }
    if errors.is_empty() && wire.status != "ok" {
        errors.push(plain(format!("status {:?}", wire.status)));
    }
    Ok(Health { code, errors })
}

#[derive(Deserialize)]
struct WireRoutes {
    #[serde(default)]
    routes: Vec<WireRoute>,
}

#[derive(Deserialize)]
struct WireRoute {
    #[serde(default)]
    remote_id: String,
    #[serde(default)]
    remote_name: Option<String>,
}

/// Reads `/routez`: one entry a peer, however many routes of the pool lead to it.
///
/// # Errors
/// The text is not an answer of routez.
pub fn routes(body: &str) -> Result<Vec<Peer>, Failure> {
    let wire: WireRoutes = json("/routez", body)?;
    let mut peers: Vec<Peer> = Vec::new();
    for route in wire.routes.into_iter().filter(|route| !route.remote_id.is_empty()) {
        if !peers.iter().any(|peer| peer.server_id == route.remote_id) {
            peers.push(Peer { server_id: route.remote_id, server_name: route.remote_name });
        }
    }
    Ok(peers)
}

fn json<T: for<'de> Deserialize<'de>>(path: &str, body: &str) -> Result<T, Failure> {
    serde_json::from_str(body).map_err(|error| {
        let start: String = body.chars().take(60).collect();
        let text = format!("{path}: this is not a nats-server's answer ({error}): {start:?}");
        Failure::new(FailureKind::Protocol, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varz_of_a_clustered_server_is_read() {
        let body = r#"{"server_id":"NA","server_name":"n1","version":"2.15.1","host":"10.0.0.1","port":4222,
            "auth_required":true,"start":"2026-11-22T12:00:00.5Z","now":"2026-11-22T12:00:10Z","connections":3,
            "remotes":2,"cluster":{"name":"lab","pool_size":3},"feature_flags":{"js_ack_fc_v2":false},
            "jetstream":{"config":{"max_memory":1},"stats":{"api":{"level":5,"total":0}},
            "meta":{"name":"lab","leader":"n1","peer":"x","cluster_size":3,"replicas":[{"name":"n2","lag":0}]}}}"#;
        let varz = varz(body).unwrap();
        assert_eq!((varz.server_name.as_str(), varz.client_port, varz.jetstream), ("n1", 4222, true));
        assert_eq!(
            varz.meta,
            Some(Meta { leader: Some("n1".into()), size: 3, members: vec!["n2".into(), "n1".into()] })
        );
        assert!(varz.auth_required && !varz.tls_required);
        assert_eq!((varz.route_pool, varz.api_level), (Some(3), Some(5)));
        assert_eq!(varz.feature_flags.get("js_ack_fc_v2"), Some(&false));
    }

    #[test]
    fn tls_listeners_are_found() {
        let check = |version: &str, mqtt: &str, expected: &[(ListenerKind, u16, bool)]| {
            let body = format!(
                r#"{{"server_id":"NA","version":"{version}","host":"0.0.0.0","port":4222,"tls_required":true,
                "start":"2026-11-22T12:00:00Z","now":"2026-11-22T12:00:10Z","http_host":"0.0.0.0","https_port":0,
                "leaf":{{"host":"0.0.0.0","port":7422}},"websocket":{{"host":"0.0.0.0","port":8443}},
                "gateway":{{"name":"lab","host":"0.0.0.0","port":7222,"tls_required":true}},
                "mqtt":{{"host":"0.0.0.0","port":8883,"tls_timeout":2{mqtt}}}}}"#
            );
            let varz = varz(&body).unwrap();
            let found: Vec<_> = varz.listeners.iter().map(|one| (one.kind, one.port, one.perhaps)).collect();
            assert_eq!((found.as_slice(), varz.gateways), (expected, None));
        };
        use ListenerKind::{Client, Gateway, Mqtt, Websocket};
        let all = [(Client, 4222, false), (Gateway, 7222, false), (Websocket, 8443, false), (Mqtt, 8883, false)];
        check("2.12.8", "", &all[..3]);
        check("2.12.8", r#","tls_cert_not_after":"2026-11-25T01:08:47Z""#, &all);
        check("2.11.11", "", &[all[0], all[1], all[2], (Mqtt, 8883, true)]);
    }

    #[test]
    fn gateways_are_counted_both_ways() {
        let body = r#"{"server_id":"NA","outbound_gateways":{"edge":{"configured":true}},
            "inbound_gateways":{"edge":[{"configured":false},{"configured":false}]}}"#;
        assert_eq!(gateways(body), Ok(3));
        assert_eq!(gateways(r#"{"outbound_gateways":{},"inbound_gateways":{}}"#), Ok(0));
    }

    #[test]
    fn a_lone_server_has_neither_cluster_nor_meta() {
        let body = r#"{"server_id":"NA","version":"2.10.26","host":"0.0.0.0","port":4222,"cluster":{},"jetstream":{},
            "start":"2026-11-22T12:00:00Z","now":"2026-11-22T12:00:10Z"}"#;
        let varz = varz(body).unwrap();
        assert_eq!((varz.cluster.as_deref(), varz.jetstream, varz.meta.clone()), (None, false, None));
        assert!(!varz.named());
    }

    fn check(code: u16, body: &str, ok: bool, summary: &str) {
        let health = health(code, body).unwrap();
        assert_eq!((health.ok(), health.summary().as_str()), (ok, summary));
    }

    #[test]
    fn health_is_read_in_every_form() {
        check(200, r#"{"status":"ok"}"#, true, "ok");
        check(503, r#"{"status":"unavailable","error":"JetStream not enabled"}"#, false, "503: JetStream not enabled");
        let typed = r#"{"status":"error","errors":[{"type":"STREAM","account":"A","stream":"S","error":"S is not current"},
            {"type":"CONSUMER","error":"c"}]}"#;
        check(503, typed, false, "503: S is not current (and 1 more)");
        check(200, typed, false, "200: S is not current (and 1 more)");
        check(200, r#"{"status":"na"}"#, false, r#"200: status "na""#);
    }

    #[test]
    fn pooled_routes_are_one_peer() {
        let body = r#"{"routes":[{"remote_id":"A","remote_name":"n1"},{"remote_id":"A","remote_name":"n1"},{"remote_id":"B"}]}"#;
        assert_eq!(routes(body).unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_nats_is_said_so() {
        let failure = varz("<html>it works</html>").unwrap_err();
        assert_eq!(failure.kind, FailureKind::Protocol);
        assert!(failure.detail.contains("<html>"), "{failure}");
    }
}
