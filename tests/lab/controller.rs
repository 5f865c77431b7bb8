//! The controller itself: killed, twice at once, with nobody who reads what it says.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::Value;

use crate::{
    harness::{Lab, Options, ROLLGATE, WIDE, until},
    process::{Running, strings},
};

/// kill -9 in the middle of a stop: the stop ends on its host, once, and a later run goes on from what it finds.
#[test]
fn killed_in_a_stop() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let order = lab.plan(&lab.inventory());
    let line = ["run", &lab.file("quick.yaml"), "-i", &lab.inventory(), "--yes"];
    lab.hold_stops(&order[0]);
    let mut roll = lab.spawn(&line);
    roll.step("stop");
    lab.stop_is_held(&order[0]);
    let killed = roll.kill();
    lab.release(&order[0]);
    until("the stop ended on its host", || {
        lab.root(&order[0], "systemctl is-active nats-server || true").trim() == "inactive"
    });
    assert_eq!(lab.stops_and_starts(&order[0]), (1, 1), "{killed}");
    assert_eq!(lab.changes(&order[0]), 1, "{killed}");

    // The lock went with the process; the server that is down goes first.
    let ended = lab.rollgate(&line);
    ended.exits(0).journal_is_whole();
    assert_eq!(ended.rolled()[0], order[0], "{ended}");
    assert_eq!(ended.of("turn-started")[0]["why"][0]["why"], "unready", "{ended}");
    lab.all_healthy();
    for host in &order[1..] {
        assert_eq!(lab.stops_and_starts(host), (1, 2), "{host}: {ended}");
    }
    // Nothing was running there that a second stop could have ended.
    assert_eq!(lab.stops_and_starts(&order[0]), (1, 2), "{ended}");
}

/// The second of two runs goes away, and says whose turn it is.
#[test]
fn two_runs_at_once() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let order = lab.plan(&lab.inventory());
    let line = ["run", &lab.file("quick.yaml"), "-i", &lab.inventory(), "--yes"];
    lab.hold_stops(&order[0]);
    let mut first = lab.spawn(&line);
    first.step("stop");
    lab.stop_is_held(&order[0]);
    let id = first.events()[0]["run"].as_str().expect("an id").to_owned();
    let pid = first.pid();
    let second = lab.rollgate(&line);
    second.exits(5).began_nothing();
    second.says(&["another run is under way", &format!("run {id}"), &format!("pid {pid}")]);
    lab.release(&order[0]);
    let ended = first.wait(WIDE);
    ended.exits(0);
    for host in lab.hosts() {
        assert_eq!(lab.stops_and_starts(&host), (1, 2), "{host}: {ended}");
    }
}

/// What `-o ndjson` prints is the journal, and a reader that goes away stops nothing.
#[test]
fn json_lines_and_a_reader_that_goes_away() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let (quick, inventory) = (lab.file("quick.yaml"), lab.inventory());
    let line = ["run", &quick, "-i", &inventory, "--yes", "-o", "ndjson"];
    let ended = lab.rollgate(&line);
    ended.exits(0).journal_is_whole();
    let printed: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(printed, ended.events, "{ended}");

    // `| head -n 1`, and 2>&1 with it: both streams are closed under the roll.
    let mut child = lab
        .rollgate_command(&line)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(ROLLGATE);
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut first).expect("a line");
    drop(child.stderr.take());
    assert!(first.contains("run-started"), "{first}");
    let status = child.wait().expect("its status");
    assert_eq!(status.code(), Some(0), "a closed stdout stopped the roll");
    for host in lab.hosts() {
        assert_eq!(lab.stops_and_starts(&host), (2, 3), "{host}");
    }
}

/// Without consent and without a terminal nothing happens.
#[test]
fn no_consent_no_change() {
    let Some(lab) = Lab::up(Options { hosts: 1, ..Options::default() }) else { return };
    let before = lab.server_ids();
    let ended = lab.rollgate(&["restart", "-i", &lab.inventory()]);
    ended.exits(3).began_nothing().says(&["there is no terminal to ask on", "--yes"]);
    assert_eq!(lab.server_ids(), before);
    // Nor where the journal can't be kept: it is written before the deed. `/proc` takes no directory, not even root's.
    let mut command = lab.rollgate_command(&["restart", "-i", &lab.inventory(), "--yes"]);
    command.env("XDG_STATE_HOME", "/proc/rollgate");
    let ended = Running::start(command, &lab.state()).wait(WIDE);
    assert!(!ended.status.success(), "{ended}");
    assert_eq!(lab.server_ids(), before, "{ended}");
    assert_eq!(lab.stops_and_starts("h1"), (0, 1), "{ended}");
    // And one server alone is rolled like any other.
    let ended = lab.rollgate(&["run", &lab.file("quick.yaml"), "-i", &lab.inventory(), "--yes"]);
    ended.exits(0);
    assert_eq!(strings(&ended.terminal("finished")["done"]), ["h1"], "{ended}");
    assert_ne!(lab.server_ids(), before, "{ended}");
}
