//! Values for unit tests.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    assets::{Assets, Group, Kind, Leader, Member, Standing, Storage},
    own_step,
    playbook::Step,
    safety::Candidate,
    view::*,
};

/// 2026-11-22 12:00:00 UTC plus some seconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_348_800 + seconds).expect("a valid time")
}

/// A healthy cluster, fully meshed, whose last host leads the meta group.
pub(crate) fn cluster(hosts: &[&str]) -> View {
    let servers = hosts.iter().map(|host| server(host, hosts)).collect();
    let assets = Assets {
        asked: hosts.iter().map(|host| ((*host).to_owned(), Some(at(0)))).collect(),
        groups: vec![group(Kind::Meta, "", hosts, hosts.len() - 1)],
        gaps: vec![],
        account_names: BTreeMap::new(),
    };
    View {
        cluster: "test".into(),
        at: at(0),
        servers,
        system_account: None,
        assets: Some(assets),
        preflight: vec![],
        differences: vec![],
    }
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
        gateways: Some(0),
        config_load_time: None,
        config_digest: None,
        remotes: all.len() as u64 - 1,
        jetstream: true,
        meta: Some(Meta { leader: all.last().map(|name| (*name).into()), size: all.len() as u32, members: Vec::new() }),
        route_pool: Some(3),
        api_level: Some(5),
        feature_flags: BTreeMap::new(),
        listeners: vec![],
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
        stop_signals: vec![StopSignal::LameDuck, StopSignal::Term],
        next: NextStart { version: Some("2.15.1".into()), lame_duck_ms: None, config_at: Some(at(-7200)) },
        by_hand: "ssh n1 sudo systemctl start nats-server".into(),
    }
}

pub(crate) fn healthz_error(code: u16, error: &str) -> Health {
    let error =
        HealthError { kind: "JETSTREAM".into(), error: error.into(), account: None, stream: None, consumer: None };
    Health { code, errors: vec![error] }
}

/// A restart without a drain.
pub(crate) fn candidate(host: &str, expect_unready: bool) -> Candidate<'_> {
    Candidate {
        host,
        expect_unready,
        evicts: false,
        stays_up: false,
        stop_limit: Some(Duration::from_secs(180)),
        next: None,
        boot_starts: false,
    }
}

/// A stream of account APP with one replica on each of `members`, all current, led by the first.
pub(crate) fn stream(name: &str, members: &[&str]) -> Group {
    group(Kind::Stream, name, members, 0)
}

fn group(kind: Kind, stream: &str, members: &[&str], leader: usize) -> Group {
    let standing = Standing { current: true, offline: false, active: Duration::ZERO, lag: 0, joining: false };
    Group {
        kind,
        account: if kind == Kind::Meta { String::new() } else { "APP".into() },
        stream: stream.into(),
        consumer: String::new(),
        raft: None,
        wanted: members.len() as u32,
        storage: Storage::File,
        leader: Leader { server: Some(members[leader].into()), at: Some(at(0)), ..Leader::default() },
        members: members.iter().map(|m| Member { server: (*m).into(), standing: Some(standing) }).collect(),
        subjects: vec![],
        consumers: 0,
        last_active: None,
        durable: true,
        level: 0,
        pending: vec![],
        copies: vec![],
    }
}

/// A command of the operator's, on the host.
pub fn own_command(name: &str) -> Step {
    Step::Run(own_step::Run {
        name: name.to_owned(),
        command: vec![own_step::Template::new("true")],
        on: own_step::Place::Host,
        privileged: false,
        environment: BTreeMap::new(),
        timeout: Duration::from_secs(1),
        on_failure: own_step::OnFailure::Halt,
    })
}
