//! Values for unit tests.

use jiff::Timestamp;

use super::view::*;

/// 2026-11-22 12:00:00 UTC plus some seconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_348_800 + seconds).expect("a valid time")
}

/// A healthy cluster, fully meshed, whose last host leads the meta group.
pub(crate) fn cluster(hosts: &[&str]) -> View {
    let servers = hosts.iter().map(|host| server(host, hosts)).collect();
    View { cluster: "test".into(), at: at(0), servers }
}

pub(crate) fn server(host: &str, all: &[&str]) -> ServerView {
    let peers = all.iter().filter(|peer| **peer != host);
    ServerView {
        host: host.into(),
        server_name: host.into(),
        zone: None,
        at: at(0),
        varz: Ok(varz(host, &format!("ID-{host}-1"), all)),
        health: Ok(Health { code: 200, errors: vec![] }),
        routes: Ok(peers
            .map(|peer| Peer { server_id: format!("ID-{peer}-1"), server_name: Some((*peer).into()) })
            .collect()),
        client: Ok(ClientPort::Pong),
        service: Ok(running()),
    }
}

pub(crate) fn varz(name: &str, id: &str, all: &[&str]) -> Varz {
    Varz {
        server_id: id.into(),
        server_name: name.into(),
        version: "2.15.1".into(),
        start: at(-3600),
        now: at(0),
        cluster: Some("lab".into()),
        client_host: "0.0.0.0".into(),
        client_port: 4222,
        tls_required: false,
        auth_required: false,
        connections: 5,
        leafnodes: 0,
        remotes: all.len() as u64 - 1,
        jetstream: true,
        meta: Some(Meta { leader: all.last().map(|name| (*name).into()), size: all.len() as u32 }),
    }
}

pub(crate) fn running() -> ServiceState {
    ServiceState {
        phase: Phase::Running,
        words: "active (running)".into(),
        result: "success".into(),
        exit: None,
        restarts: Some(0),
        pid: Some(100),
        boot_id: Some("boot-1".into()),
        stop_timeout_ms: Some(150_000),
        enabled: Some("enabled".into()),
    }
}

pub(crate) fn healthz_error(code: u16, error: &str) -> Health {
    let error =
        HealthError { kind: "JETSTREAM".into(), error: error.into(), account: None, stream: None, consumer: None };
    Health { code, errors: vec![error] }
}
