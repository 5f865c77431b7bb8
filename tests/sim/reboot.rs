//! The playbook `reboot`, with controllers that die and hosts that do not do as they are told.

use std::time::Duration;

use rollgate::{
    config::Playbook,
    fleet::{Action, sim::Topology},
};

use crate::{
    harness::{Death, Played, Setup},
    properties::{for_every_nth_seed, kept},
};

fn setup(seed: u64, topology: Topology) -> Setup {
    Setup { playbook: Playbook::embedded("reboot").expect("it is built in"), ..Setup::new(seed, topology) }
}

fn with(faults: &[&str]) -> Played {
    let faults = faults.iter().map(|text| text.parse().expect("a fault")).collect();
    let played = Setup { faults, ..setup(1, Topology::of(3)) }.play();
    kept(&played).expect("no promise broken");
    played
}

fn reboots(played: &Played) -> Vec<String> {
    let world = played.world();
    let reboots = world.effects().iter().filter(|effect| matches!(effect.what, Action::Reboot { .. }));
    reboots.map(|effect| effect.host.clone()).collect()
}

#[test]
fn each_host_is_rebooted_once_and_its_boot_starts_the_server() {
    let played = with(&[]);
    assert_eq!(played.end(), "finished");
    assert_eq!(reboots(&played), ["n1", "n2", "n3"]);
    assert!(!played.world().effects().iter().any(|effect| effect.what == Action::Start));
    assert!(played.world().unready().is_empty());
}

#[test]
fn what_can_go_wrong_with_a_reboot_is_told_apart() {
    for (fault, end) in [
        ("stays-off@n1", "halted n1 reboot host-not-back"),
        ("stays-up@n1", "halted n1 reboot not-rebooted"),
        ("not-enabled@n1", "halted n1 reboot not-started-at-boot"),
        // Somebody else reboots it first: once is enough.
        ("reboot@n1", "finished"),
        ("power-cut@n1", "halted n1 stop host-lost"),
    ] {
        let played = with(&[fault]);
        assert_eq!(played.end(), end, "{fault}");
        let ours = reboots(&played);
        assert_eq!(
            ours.iter().filter(|host| *host == "n1").count(),
            usize::from(fault != "reboot@n1" && fault != "power-cut@n1"),
            "{fault}"
        );
    }
}

/// Whatever goes wrong, and wherever its controller dies: no host is rebooted twice, and nobody goes on before one is back.
#[test]
fn a_reboot_may_be_left_at_any_instant() {
    let playbook = Playbook::embedded("reboot").expect("it is built in");
    for_every_nth_seed(4, "a_reboot_may_be_left_at_any_instant", |seed| {
        let random = Setup::random(seed);
        let mut rng = fastrand::Rng::with_seed(seed ^ 0xb007);
        let death = match rng.u8(..3) {
            0 => Death::Before(rng.u64(..40)),
            1 => Death::After(rng.u64(..40)),
            _ => Death::At(Duration::from_millis(rng.u64(..180_000))),
        };
        let alone = Setup { playbook: playbook.clone(), signals: Vec::new(), ..random };
        let setup = Setup { death: Some(death), ..alone.clone() };
        let more: Vec<Death> = (0..seed % 3).map(|n| Death::At(Duration::from_millis(2_000 + n * 9_000))).collect();
        let played = setup.play_and_resume(&more);
        let told = |text: String| {
            let events =
                played.events.iter().map(|e| format!("{} {:?}\n", e.at, e.event).chars().take(300).collect::<String>());
            format!(
                "{text}\n{death:?} {:?}\n{}{:?}",
                setup.faults,
                events.collect::<String>(),
                played.world().effects()
            )
        };
        kept(&played).map_err(told)?;
        if played.events.is_empty() {
            return Ok("died before it began".into());
        }
        if played.terminal().is_none() {
            return Err(told(format!("no end after all: {}", played.end())));
        }
        // Of two hosts one that boots leaves no majority for the lock: `rollgate resume` would not begin.
        let lockable = setup.topology.hosts().len() > 2;
        let well = lockable && setup.faults.is_empty() && setup.clocks.iter().all(|off| *off == 0);
        if well && played.end() != "finished" {
            let undisturbed = alone.play().end();
            if undisturbed == "finished" {
                return Err(told(format!("it would have finished, and {}", played.end())));
            }
        }
        Ok(played.end().split(' ').next().unwrap_or_default().to_owned())
    });
}
