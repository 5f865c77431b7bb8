//! How long planning takes, and how much memory: a cluster of five servers with 5,000 streams of three replicas and 20,000
//! consumers, put together from what its servers would say, judged for every server, and printed. `make bench` runs it.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rollgate::core::{
    assets::{
        AssetSeen, Claim, ConsumerState, Kind, MetaSeen, PeerSeen, ServerAssets, Standing, State, Storage, StreamState,
        assemble,
    },
    plan::{Plan, plan},
    playbook::{Policy, Step, Stop},
    view::{ClientPort, Failure, FailureKind, Health, Meta, Peer, ServerView, Varz, View},
};

const SERVERS: usize = 5;
const STREAMS: usize = 5_000;
const CONSUMERS: usize = 4;
/// The figures that issue 3 asks for.
const TIME: Duration = Duration::from_secs(1);
const MEMORY_MB: u64 = 200;

fn name(server: usize) -> String {
    format!("server-{server}")
}

fn claim(server: usize, leader: usize, members: impl Iterator<Item = usize>) -> Claim {
    let standing = Standing { current: true, offline: false, active: Duration::ZERO, lag: 0, joining: false };
    let peers = members.filter(|member| *member != server);
    let peers = peers.map(|member| PeerSeen { server: name(member), standing }).collect();
    Claim { leader: Some(name(leader)), peers, moving: false }
}

/// What one server would say: three of every five streams are on it, and one in a hundred has no other copy.
fn assets(server: usize, at: Timestamp) -> ServerAssets {
    let mut all = Vec::new();
    for number in 0..STREAMS {
        let replicas = if number % 100 == 0 { 1 } else { 3 };
        let members = || (0..replicas).map(move |place| (number + place) % SERVERS);
        if !members().any(|member| member == server) {
            continue;
        }
        let stream = format!("ORDERS-{number}");
        let seen = |kind, consumer: String, state| AssetSeen {
            kind,
            account: format!("ACCOUNT-{}", number % 50),
            stream: stream.clone(),
            raft: Some(format!("S-R3F-{number}-{consumer}")),
            consumer,
            wanted: u32::try_from(replicas).unwrap_or(u32::MAX),
            storage: Storage::File,
            node: true,
            claim: claim(server, number % SERVERS, members()),
            subjects: vec![format!("orders.{number}.>")],
            last_active: None,
            durable: true,
            level: 0,
            state,
        };
        all.push(seen(Kind::Stream, String::new(), State::Stream(StreamState::default())));
        let consumers = (0..CONSUMERS).map(|n| format!("worker-{n}"));
        all.extend(consumers.map(|name| seen(Kind::Consumer, name, State::Consumer(ConsumerState::default()))));
    }
    ServerAssets {
        server: name(server),
        server_id: format!("ID-{server}"),
        at,
        jetstream: true,
        meta: Some(MetaSeen { claim: claim(server, SERVERS - 1, 0..SERVERS), size: 5, requests: 0 }),
        assets: all,
        account_names: vec![],
        gaps: vec![],
    }
}

fn server(number: usize, at: Timestamp) -> ServerView {
    let peers = (0..SERVERS).filter(|peer| *peer != number);
    ServerView {
        host: name(number),
        server_name: name(number),
        zone: None,
        at,
        varz: Ok(Varz {
            server_id: format!("ID-{number}"),
            server_name: name(number),
            version: "2.15.1".into(),
            start: at,
            now: at,
            cluster: Some("big".into()),
            client_host: "0.0.0.0".into(),
            client_port: 4222,
            tls_required: false,
            auth_required: false,
            connections: 1000,
            leafnodes: 0,
            gateways: Some(0),
            remotes: 4,
            config_load_time: None,
            config_digest: None,
            jetstream: true,
            meta: Some(Meta { leader: Some(name(SERVERS - 1)), size: 5, members: vec![] }),
            route_pool: Some(3),
            api_level: Some(5),
            feature_flags: Default::default(),
            listeners: Vec::new(),
        }),
        health: Ok(Health { code: 200, errors: vec![] }),
        routes: Ok(peers.map(|peer| Peer { server_id: format!("ID-{peer}"), server_name: Some(name(peer)) }).collect()),
        client: Ok(ClientPort::Pong),
        service: Err(Failure::new(FailureKind::NotAsked, "synthetic: there is no host")),
    }
}

fn main() -> ExitCode {
    let at = Timestamp::now();
    let answers: Vec<_> = (0..SERVERS).map(|server| (name(server), Ok(assets(server, at)))).collect();
    let servers: Vec<ServerView> = (0..SERVERS).map(|number| server(number, at)).collect();
    let hosts: Vec<String> = (0..SERVERS).map(name).collect();

    let began = Instant::now();
    let assets = assemble(answers);
    let groups = assets.groups.len();
    let view = View {
        cluster: "big".into(),
        at,
        servers,
        system_account: Some(Ok(())),
        assets: Some(assets),
        preflight: Vec::new(),
        differences: Vec::new(),
    };
    let steps = vec![Step::Stop(Stop { deadline: Duration::from_secs(180) })];
    let plan: Plan = plan(&view, &hosts, "restart", Policy::default(), steps);
    let json = serde_json::to_string(&plan).unwrap_or_default();
    let took = began.elapsed();

    let dark: usize = plan.turns.iter().filter_map(|turn| Some(turn.effect.as_ref()?.offline_streams.count)).sum();
    assert_eq!((groups, dark), (1 + STREAMS * (1 + CONSUMERS), STREAMS / 100), "the plan is of the whole cluster");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    let peak_mb: u64 = peak.unwrap_or(u64::MAX) / 1024;
    println!("planning {STREAMS} streams and {} consumers on {SERVERS} servers", STREAMS * CONSUMERS);
    println!("time        {:8.3} s   (limit {} s)", took.as_secs_f64(), TIME.as_secs());
    println!("peak memory {peak_mb:8} MB  (limit {MEMORY_MB} MB; with what the servers said)");
    println!("plan        {:8} kB  in the journal", json.len() / 1024);
    if took <= TIME && peak_mb <= MEMORY_MB { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
