//! Rolls that go well: nobody notices, every server is restarted once, the journal is whole.

use std::fs;

use crate::{
    harness::{Lab, Options},
    process::{Ended, seconds},
    watched::Witness,
};

/// Rolls a lab under load and asserts all that a clean roll promises.
fn rolls_cleanly(options: Options, args: &[&str]) {
    let Some(lab) = Lab::up(options) else { return };
    let before = lab.server_ids();
    let witness = Witness::of(&lab);
    let inventory = lab.inventory();
    let playbook = lab.file("quick.yaml");
    let mut line: Vec<&str> = args.iter().map(|arg| if *arg == "QUICK" { &playbook } else { *arg }).collect();
    line.extend(["-i", &inventory, "--yes"]);
    let ended = lab.rollgate(&line);
    let report = witness.report();
    ended.exits(0).journal_is_whole();
    ended.terminal("finished");
    report.nobody_was_harmed().restarts(&vec![1; options.hosts]);
    every_server_is_new(&lab, &before, &ended);
    for host in lab.hosts() {
        assert_eq!(lab.stops_and_starts(&host), (1, 2), "{host}: {ended}");
        let announced = ended.of("step-started").into_iter().find(|e| e["host"] == *host && e["step"] == "stop");
        let announced: f64 = seconds(announced.expect("the stop is in the journal"));
        assert!(announced <= lab.stop_times(&host)[0], "{host} was stopped before the journal said so: {ended}");
    }
    ended.says(&[&format!("done: {} servers in ", options.hosts)]);
}

fn every_server_is_new(lab: &Lab, before: &[Option<String>], ended: &Ended) {
    let after = lab.server_ids();
    for (host, (old, new)) in lab.hosts().iter().zip(before.iter().zip(&after)) {
        assert!(old.is_some() && new.is_some() && old != new, "{host}: {old:?}, then {new:?}\n{ended}");
    }
    let mut rolled = ended.rolled();
    rolled.sort_unstable();
    assert_eq!(rolled, lab.hosts(), "{ended}");
}

#[test]
fn three_servers_by_the_embedded_playbook() {
    rolls_cleanly(Options::default(), &["restart"]);
}

#[test]
fn five_servers() {
    rolls_cleanly(Options { hosts: 5, ..Options::default() }, &["run", "QUICK"]);
}

#[test]
fn nats_2_10() {
    rolls_cleanly(Options { nats: "2.10.26", ..Options::default() }, &["run", "QUICK"]);
}

#[test]
fn nats_2_11() {
    rolls_cleanly(Options { nats: "2.11.11", ..Options::default() }, &["run", "QUICK"]);
}

#[test]
fn nats_2_12() {
    rolls_cleanly(Options { nats: "2.12.8", ..Options::default() }, &["run", "QUICK"]);
}

#[test]
fn nats_2_14() {
    rolls_cleanly(Options { nats: "2.14.6", ..Options::default() }, &["run", "QUICK"]);
}

/// The meta leader goes last, even where it is not the last of the inventory, and `--stop-after` ends a roll in time.
#[test]
fn the_first_of_three_and_its_memory() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let (before, order, inventory) = (lab.server_ids(), lab.plan(&lab.inventory()), lab.inventory());
    let playbook = lab.file("quick.yaml");
    let ended = lab.rollgate(&["run", &playbook, "-i", &inventory, "--yes", "--stop-after", "1"]);
    ended.exits(0).journal_is_whole();
    let finished = ended.terminal("finished");
    assert_eq!(finished["done"], serde_json::json!([order[0]]), "{ended}");
    assert_eq!(finished["untouched"], serde_json::json!(order[1..]), "{ended}");
    let after = lab.server_ids();
    for (place, host) in lab.hosts().iter().enumerate() {
        assert_eq!(before[place] != after[place], *host == order[0], "{host}: {ended}");
    }

    // The whole roll, watched for its memory.
    let mut roll = lab.spawn(&["run", &playbook, "-i", &inventory, "--yes"]);
    let status = format!("/proc/{}/status", roll.pid());
    let mut peak = 0;
    while !roll.events().iter().any(|event| event["event"] == "finished") {
        let text = fs::read_to_string(&status).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:")) {
            let kilobytes = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
            peak = peak.max(kilobytes.unwrap_or(0));
        } else {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    roll.wait(crate::harness::WIDE).exits(0);
    assert!((1_000..40_000).contains(&peak), "peak memory: {peak} kB");
}
