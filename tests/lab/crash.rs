//! A controller that dies, at any instant: what another finds, settles, and goes on with.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    harness::{Lab, Options, WIDE},
    process::{Ended, Running, parse},
};

/// The only run in the state directory, or the latest.
fn latest(lab: &Lab) -> (String, PathBuf) {
    let runs = fs::read_dir(lab.state().join("runs")).expect("runs").flatten().map(|entry| entry.path());
    let path = runs.max().expect("a run");
    (path.file_name().and_then(|name| name.to_str()).expect("an id").to_owned(), path.join("journal.ndjson"))
}

fn events(path: &PathBuf) -> Vec<Value> {
    fs::read_to_string(path).unwrap_or_default().lines().map(parse).collect()
}

fn starts(lab: &Lab) -> Vec<usize> {
    lab.hosts().iter().map(|host| lab.stops_and_starts(host).1).collect()
}

/// Rolls the lab with a controller that dies at that instant.
fn dies(lab: &Lab, instant: &str) -> Ended {
    let (quick, inventory) = (lab.file("quick.yaml"), lab.inventory());
    let mut command = lab.rollgate_command(&["run", &quick, "-i", &inventory, "--yes", "--close-unfinished"]);
    command.env("ROLLGATE_TEST_DIE_AT", instant);
    Running::start(command, &lab.state()).wait(WIDE)
}

/// Right before each event is on disk, and right after: between an announcement and its effect, and between an effect and
/// its record. Whoever goes on ends where an undisturbed roll would have ended, and each server was restarted once.
#[test]
#[ignore = "not yet seen to pass on the lab; run it with --ignored"]
fn killed_at_every_instant() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    // The first turn has every kind of event, the others are like it: their boundaries are tried by every run.
    for seq in 0.. {
        for instant in [format!("before-{seq}"), format!("after-{seq}")] {
            let before = starts(&lab);
            let ids = lab.server_ids();
            let died = dies(&lab, &instant);
            assert!(died.status.code().is_none(), "{instant}: it did not die:\n{died}");
            if died.events.is_empty() {
                assert_eq!(instant, "before-0", "{died}");
                assert_eq!(lab.server_ids(), ids, "{died}");
                continue;
            }
            let ended = lab.plainly(&["resume", "-i", &lab.inventory(), "--yes"]);
            ended.exits(0).terminal("finished");
            let after = starts(&lab);
            let restarted: Vec<usize> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
            assert_eq!(restarted, [1, 1, 1], "{instant}:\n{died}\n{ended}");
            let down = died.events.iter().chain(&ended.events);
            let turns: Vec<&str> = down
                .filter(|event| event["event"] == "turn-finished")
                .filter_map(|event| event["host"].as_str())
                .collect();
            assert_eq!(turns.len(), 3, "{instant}:\n{died}\n{ended}");
            lab.all_healthy();
        }
        let finished = events(&latest(&lab).1).iter().take(seq + 1).any(|event| event["event"] == "turn-finished");
        if finished {
            return;
        }
    }
}

/// What a run that was left means for the next one, and what can be done about it.
#[test]
#[ignore = "not yet seen to pass on the lab; run it with --ignored"]
fn a_run_that_was_left() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let (quick, inventory) = (lab.file("quick.yaml"), lab.inventory());
    let roll = ["run", &quick, "-i", &inventory, "--yes"];
    let before = starts(&lab);
    dies(&lab, "after-1");
    let (id, journal) = latest(&lab);

    // It is in the way of another, and says what to do.
    let ended = lab.plainly(&roll);
    ended.exits(3).began_nothing();
    ended.says(&[&id, &format!("rollgate resume -i {inventory} {id}"), &format!("rollgate abort -i {inventory} {id}")]);
    let history = lab.plainly(&["history"]);
    assert!(history.exits(0).stdout.contains(&id) && history.stdout.contains("open (rollgate resume)"), "{history}");
    let show = lab.plainly(&["show", &id]);
    assert!(show.exits(0).stdout.contains("turn 1 of 3"), "{show}");

    // An inventory that was edited is another plan.
    let edited = lab.inventory_with(|text| format!("{text}# edited\n"));
    let ended = lab.plainly(&["resume", "-i", &edited, "--yes"]);
    ended.exits(3).says(&["does not hold any more", "was edited since", "--replan"]);

    // A journal that was tampered with, or hit by a bad disk, is not believed.
    let text = fs::read_to_string(&journal).expect("the journal");
    let torn = text.replacen("run-started", "run-storted", 1);
    fs::write(&journal, torn).expect("the journal");
    for line in [&["resume", "-i", &inventory, &id, "--yes"][..], &["show", &id], &roll] {
        lab.plainly(line).exits(3).says(&[&format!("{}:1: ", journal.display()), "damaged"]);
    }
    assert_eq!(starts(&lab), before);
    lab.plainly(&["abort", "-i", &inventory, &id]).exits(0);
    assert_eq!(starts(&lab), before);

    // One that an older rollgate left can be read and closed, and not gone on with.
    dies(&lab, "after-0");
    let (old, journal) = latest(&lab);
    let text = fs::read_to_string(&journal).expect("the journal");
    let first = text.lines().next().expect("a line");
    let mut event = parse(first);
    event["v"] = 1.into();
    fs::write(&journal, format!("{event}\n")).expect("the journal");
    lab.plainly(&["show", &old]).exits(0);
    lab.plainly(&["resume", "-i", &inventory, "--yes"]).exits(3).says(&["older rollgate", "rollgate abort"]);
    lab.plainly(&roll).exits(3).says(&[&old]);
    lab.plainly(&["abort", "-i", &inventory, &old]).exits(0);

    // Closed is closed; nothing of it is left on the hosts, and another may begin.
    lab.plainly(&["resume", "-i", &inventory, &old, "--yes"]).exits(2).says(&["aborted"]);
    for host in lab.hosts() {
        let left = lab
            .root(&host, "find /run/rollgate -mindepth 1 2>/dev/null; grep -h ^run= /var/lib/rollgate/locks/*/state");
        assert_eq!(left.trim(), "run=", "{host}");
    }
    lab.plainly(&roll).exits(0);
}
