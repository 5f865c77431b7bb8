//! `make bench`: simulated rolls a second, and a plan and roll of many clusters in one process. Fails beyond the limits.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use rollgate::{
    config::Playbook,
    core::plan::{self, Plan},
    fleet::{
        Fleet,
        sim::{AssetSpec, Sim, Topology, World},
    },
    run::{OBSERVE_TIMEOUT, rehearse},
};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Megabytes that a plan and roll of a thousand clusters of five may take.
const MEMORY_LIMIT: f64 = 200.0;
/// How much more than in proportion to their number the clusters may take.
const LINEAR_LIMIT: f64 = 1.5;

fn cluster(number: usize, servers: usize) -> Topology {
    let mut topology = Topology { cluster: format!("c{number}"), ..Topology::of(servers) };
    let hosts = topology.hosts();
    for server in &mut topology.servers {
        server.clients = 4;
    }
    for stream in 0..3 {
        let on: Vec<String> = hosts.iter().cycle().skip(stream).take(3).cloned().collect();
        topology.assets.push(AssetSpec { in_use: true, ..AssetSpec::stream(&format!("S{stream}"), &on) });
    }
    topology
}

async fn plan(topology: &Topology, seed: u64) -> Plan {
    let world = std::sync::Arc::new(std::sync::Mutex::new(World::new(topology, seed)));
    let view = Sim::new(&world, 0).observe_assets(&topology.hosts(), OBSERVE_TIMEOUT).await;
    let Playbook { name, policy, turn, .. } = Playbook::restart();
    plan::plan(&view, &topology.hosts(), &name, policy, turn)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

/// Plans and rolls so many clusters of five, one after the other, and keeps all plans and events; the seconds that it took.
fn fleet(clusters: usize) -> f64 {
    let began = Instant::now();
    let rolls: Vec<(Plan, rehearse::Rehearsed)> = (0..clusters)
        .map(|number| {
            let topology = cluster(number, 5);
            let plan = runtime().block_on(plan(&topology, number as u64));
            let rolled = rehearse::rehearse(&plan, &topology, &[], number as u64).expect("a roll");
            (plan, rolled)
        })
        .collect();
    if let Some((_, rolled)) = rolls.iter().find(|(_, rolled)| rolled.end != "finished") {
        panic!("not every roll ended well: {:#?}", rolled.events.last());
    }
    began.elapsed().as_secs_f64()
}

/// So many threads play the plan, each in a world of its own at a time.
fn rolls_a_second(plan: &Plan, topology: &Topology, threads: usize) -> f64 {
    const ROLLS: u64 = 2_000;
    let (began, next) = (Instant::now(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let seed @ ..ROLLS = next.fetch_add(1, Ordering::Relaxed) {
                    assert_eq!(rehearse::rehearse(plan, topology, &[], seed).expect("a roll").end, "finished");
                }
            });
        }
    });
    ROLLS as f64 / began.elapsed().as_secs_f64()
}

fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}

fn main() {
    let topology = cluster(0, 3);
    let first = runtime().block_on(plan(&topology, 0));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, processors] {
        let each = rolls_a_second(&first, &topology, threads);
        println!("simulated rolls of three servers   {each:>8.0} a second on {threads} of {processors} processors");
    }
    fleet(50);
    let mut per_cluster = Vec::new();
    for clusters in [250, 500, 1_000] {
        let seconds = fleet(clusters);
        per_cluster.push(seconds / clusters as f64);
        println!("{clusters:>5} clusters of 5, planned and rolled {seconds:>6.2} s, peak memory {:>6.1} MB", peak_mb());
    }
    let growth = per_cluster[2] / per_cluster[0];
    println!("time a cluster, 1,000 against 250     {growth:>6.2}    (limit {LINEAR_LIMIT})");
    println!("peak memory                           {:>6.1} MB (limit {MEMORY_LIMIT} MB)", peak_mb());
    assert!(growth <= LINEAR_LIMIT && peak_mb() <= MEMORY_LIMIT, "beyond the limits");
}
