//! Two controllers: one stands still, and another takes over.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rollgate::{
    config::Playbook,
    core::plan,
    fleet::{
        Fleet,
        sim::{Promise, Sim, Topology, World},
    },
    run::{self, OBSERVE_TIMEOUT, Recorder, shutdown},
};

use crate::{
    harness::{Memory, claim, restart, run_of},
    properties::for_every_nth_seed,
};

const TIMEOUT: Duration = Duration::from_secs(5);

/// One controller stands still at some moment, for longer than its lock lasts. The other waits for the lock, and rolls.
fn two_controllers(seed: u64, fenced: bool) -> bool {
    fastrand::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let mut rng = fastrand::Rng::with_seed(seed);
        let topology = Topology::of(3);
        let world = Arc::new(Mutex::new(World::new(&topology, seed)));
        if !fenced {
            world.lock().expect("one thread").ignore_tokens();
        }
        let (first, second) = (Sim::new(&world, 0), Sim::new(&world, 0));
        let roll = async |sim: &Sim, name: &str| {
            while sim.lock(&claim(name, name), TIMEOUT).await.is_err() {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            let hosts = topology.hosts();
            let view = sim.observe_assets(&hosts, OBSERVE_TIMEOUT).await;
            let Playbook { name: playbook, policy, turn, .. } = restart();
            let plan = plan::plan(&view, &hosts, &playbook, policy, turn);
            let mut recorder = Recorder::new(name.into(), Box::new(Memory::default()), vec![]);
            run::roll(sim, run_of(plan, None), &mut recorder, shutdown::never()).await.expect("a journal");
        };
        let still = async {
            tokio::time::sleep(Duration::from_millis(rng.u64(500..14_000))).await;
            first.stand_still(Duration::from_secs(rng.u64(35..60)));
        };
        let other = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            roll(&second, "r2").await;
        };
        tokio::join!(roll(&first, "r1"), still, other);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let world = first.world();
        world.breaches().iter().any(|breach| matches!(breach.promise, Promise::Stale | Promise::TwoDown))
    })
}

#[test]
fn a_stale_controller_never_acts() {
    // One cluster, no faults: a moment and a span are all that a seed decides.
    for_every_nth_seed(10, "a_stale_controller_never_acts", |seed| {
        if two_controllers(seed, true) { Err("a controller without the lock acted".into()) } else { Ok("kept".into()) }
    });
}

#[test]
fn the_fence_is_needed() {
    assert!((0..400).any(|seed| two_controllers(seed, false)), "nothing is broken without the fence");
}
