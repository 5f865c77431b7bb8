//! The simulator keeps the contract of every fleet (`tests/contract`), as real servers do (`tests/lab/contract.rs`).

use std::sync::{Arc, Mutex};

use rollgate::fleet::{
    Content,
    sim::{Sim, Topology, World, program},
};

#[path = "../contract/mod.rs"]
mod fleets;

#[test]
fn the_simulator_keeps_the_contract() {
    for seed in 0..50 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let topology = Topology { jetstream: seed % 2 == 0, ..Topology::of(3) };
            let world = Arc::new(Mutex::new(World::new(&topology, seed)));
            let sim = Sim::new(&world, 0);
            fleets::holds(&sim, &topology.hosts(), "c1").await;
            fleets::refuses_strangers(&sim).await;
            assert_eq!(sim.world().effects().len(), 2, "one stop and one start");
            let digest = program("2.14.6");
            let content = Content::File("nats-server".into());
            fleets::places_files(&sim, &topology.hosts()[0], "c2", (content, &digest, "2.14.6")).await;
            fleets::changes_without_a_restart(&sim, &topology.hosts(), "c4").await;
            fleets::reboots(&sim, &topology.hosts(), "c5").await;
        });
    }
}
