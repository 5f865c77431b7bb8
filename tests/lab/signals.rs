//! The operator changes their mind: the first signal ends the roll at the next safe point, the second at once.

use crate::{
    harness::{Lab, Options, WIDE, until},
    process::strings,
};

/// One signal in the first turn: that turn is finished, the others never begin.
fn stops_after_its_turn(signal: &str) {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let order = lab.plan(&lab.inventory());
    lab.hold_stops(&order[0]);
    let before = lab.server_ids();
    let mut roll = lab.spawn(&["run", &lab.file("quick.yaml"), "-i", &lab.inventory(), "--yes"]);
    roll.step("stop");
    lab.stop_is_held(&order[0]);
    roll.signal(signal);
    let asked = roll.event("stop-requested", |_| true);
    assert_eq!((&asked["signal"], &asked["at_once"]), (&format!("SIG{signal}").into(), &false.into()));
    lab.release(&order[0]);
    let ended = roll.wait(WIDE);
    ended.exits(130).journal_is_whole();
    assert_eq!(ended.rolled(), [&order[0]], "{ended}");
    let end = ended.terminal("interrupted");
    assert_eq!(strings(&end["done"]), [&order[0]], "{ended}");
    assert_eq!(strings(&end["untouched"]), order[1..], "{ended}");
    assert!(end["in_doubt"].is_null(), "{ended}");
    let go_on = format!("go on with: rollgate resume -i {} {}", lab.inventory(), ended.run());
    ended.says(&["interrupted", &go_on]);
    lab.all_healthy();
    for (place, host) in lab.hosts().iter().enumerate() {
        let touched = *host == order[0];
        assert_eq!(lab.server_id(host) != before[place], touched, "{host}: {ended}");
        assert_eq!(lab.stops_and_starts(host), if touched { (1, 2) } else { (0, 1) }, "{host}: {ended}");
    }
}

#[test]
fn interrupted_once() {
    stops_after_its_turn("INT");
}

#[test]
fn terminated_once() {
    stops_after_its_turn("TERM");
}

#[test]
fn hung_up_once() {
    stops_after_its_turn("HUP");
}

/// Twice: the controller is gone at once, and what the host was told it still does, whole and once.
#[test]
fn interrupted_twice() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let order = lab.plan(&lab.inventory());
    lab.hold_stops(&order[0]);
    let mut roll = lab.spawn(&["run", &lab.file("quick.yaml"), "-i", &lab.inventory(), "--yes"]);
    roll.step("stop");
    lab.stop_is_held(&order[0]);
    roll.signal("INT");
    roll.event("stop-requested", |event| event["at_once"] == false);
    roll.signal("INT");
    // The stop is still held: it ends although nothing on the host did.
    let ended = roll.wait(WIDE);
    ended.exits(130).journal_is_whole();
    let end = ended.terminal("interrupted");
    assert_eq!(end["in_doubt"]["host"], order[0], "{ended}");
    assert_eq!(end["in_doubt"]["step"], "stop", "{ended}");
    ended.says(&[&format!("in doubt: the stop of {}", order[0])]);
    lab.release(&order[0]);
    until("the stop ended on its host", || {
        lab.root(&order[0], "systemctl is-active nats-server || true").trim() == "inactive"
    });
    assert_eq!(lab.stops_and_starts(&order[0]), (1, 1), "{ended}");
    assert_eq!(lab.changes(&order[0]), 1, "{ended}");
    for host in &order[1..] {
        assert_eq!(lab.stops_and_starts(host), (0, 1), "{host}: {ended}");
    }
    // Whoever goes on starts what is down, and stops nothing a second time.
    let resumed = lab.plainly(&["resume", "-i", &lab.inventory(), "--yes"]);
    resumed.exits(0);
    assert_eq!(resumed.of("settled")[0]["standing"], "down", "{resumed}");
    for host in lab.hosts() {
        assert_eq!(lab.stops_and_starts(&host), (1, 2), "{host}: {resumed}");
    }
}
