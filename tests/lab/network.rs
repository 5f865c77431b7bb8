//! Hosts that can't be reached, or that won't have us: before the run nothing is touched, in a turn nothing is done twice.

use std::fs;

use crate::{
    harness::{Lab, Options, WIDE, until},
    process::{Ended, strings},
};

/// Asserts that a run ended with `code` before it touched anything.
#[track_caller]
fn touched_nothing(lab: &Lab, before: &[Option<String>], ended: &Ended, code: i32, says: &[&str]) {
    ended.exits(code).began_nothing().says(says).says(&["nothing was touched"]);
    assert_eq!(lab.server_ids(), before, "{ended}");
    for host in lab.hosts() {
        assert_eq!(lab.stops_and_starts(&host), (0, 1), "{host}: {ended}");
    }
}

/// What is wrong before the run is found before the run.
#[test]
fn refused_before_the_run() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let before = lab.server_ids();
    let (inventory, quick) = (lab.inventory(), lab.file("quick.yaml"));
    let roll = |inventory: &str| lab.rollgate(&["run", &quick, "-i", inventory, "--yes"]);

    // sudo
    lab.root("h2", "mv /etc/sudoers.d/deploy /root/deploy");
    touched_nothing(&lab, &before, &roll(&inventory), 3, &["h2", "sudo", "[host-unusable]"]);
    let check = lab.rollgate(&["check", "-i", &inventory]);
    check.exits(3);
    let line = check.stdout.lines().find(|line| line.contains("FAIL")).unwrap_or_default();
    assert!(line.contains("sudo"), "{check}");
    lab.root("h2", "mv /root/deploy /etc/sudoers.d/deploy");

    // another key than the one that we know
    let known = fs::read_to_string(lab.path.join("known_hosts")).expect("known hosts");
    let config = fs::read_to_string(lab.path.join("ssh_config")).expect("ssh config");
    let with_known = |name: &str, text: &str| {
        let hosts = lab.write(&format!("{name}-known"), text);
        let own = lab.path.join("known_hosts").display().to_string();
        let config = lab.write(&format!("{name}-ssh"), &config.replace(&own, &hosts));
        let own = lab.path.join("ssh_config").display().to_string();
        let text = fs::read_to_string(lab.inventory()).expect("the inventory").replace(&own, &config);
        (lab.write(&format!("{name}.yaml"), &text), hosts)
    };
    let lines: Vec<&str> = known.lines().collect();
    let key = |line: &str| line.split_once(' ').expect("names and key").1.to_owned();
    let wrong = format!("{}\n{}\n{}\n", lines[0], lines[1].replace(&key(lines[1]), &key(lines[0])), lines[2]);
    let (inventory_wrong, file) = with_known("wrong", &wrong);
    let ended = roll(&inventory_wrong);
    touched_nothing(&lab, &before, &ended, 6, &["h2", "the host key is not the one in known_hosts"]);
    assert_eq!(fs::read_to_string(file).expect("known hosts"), wrong, "a key was accepted");

    // a key that we don't know
    let unknown = format!("{}\n{}\n", lines[0], lines[2]);
    let (inventory_unknown, file) = with_known("unknown", &unknown);
    let ended = roll(&inventory_unknown);
    touched_nothing(&lab, &before, &ended, 6, &["h2", "host key is known"]);
    assert_eq!(fs::read_to_string(file).expect("known hosts"), unknown, "a key was accepted");

    // the cable
    lab.command("cut", &["h2"]);
    let ended = roll(&inventory);
    ended.exits(6).began_nothing().says(&["h2", "nothing was touched"]);
    let status = lab.rollgate(&["status", "-i", &inventory]);
    assert!(status.stdout.contains("2 of 3 servers are healthy"), "{status}");
    lab.command("heal", &["h2"]);
    assert_eq!(lab.server_ids(), before);

    // none of which was the roll's fault; the meta leader needs a moment to call the host that was away current again
    lab.all_healthy();
    until("a plan without objection", || lab.rollgate(&["plan", "-i", &inventory]).status.success());
    roll(&inventory).exits(0);
}

/// The link breaks right after the order to stop, for so long that ssh gives the connection up, and then is back.
#[test]
fn a_host_that_is_lost_and_found_in_its_turn() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let order = lab.plan(&lab.inventory());
    // Held, so that the stop is still under way when the link is back, on any machine.
    lab.hold_stops(&order[0]);
    let mut roll = lab.spawn(&["run", &lab.file("quick.yaml"), "-i", &lab.inventory(), "--yes"]);
    assert_eq!(roll.step("stop"), order[0]);
    lab.stop_is_held(&order[0]);
    let connections = lab.ssh_in_network();
    assert!(!connections.is_empty(), "no ssh of rollgate's in the lab's network");
    lab.command("cut", &[&order[0]]);
    lab.release(&order[0]);
    // The stop ends on the host, whoever hears of it.
    until("the server stopped", || lab.root(&order[0], "systemctl is-active nats-server || true").trim() == "inactive");
    until("ssh noticed", || connections.iter().any(|pid| !lab.ssh_in_network().contains(pid)));
    lab.command("heal", &[&order[0]]);
    let ended = roll.wait(WIDE);
    ended.exits(0).journal_is_whole();
    for host in lab.hosts() {
        assert_eq!(lab.stops_and_starts(&host), (1, 2), "{host}: {ended}");
        assert_eq!(lab.changes(&host), 2, "one stop and one start of {host} were asked for: {ended}");
    }
}

/// The link breaks and stays so.
#[test]
fn a_host_that_is_lost_for_good_in_its_turn() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let order = lab.plan(&lab.inventory());
    lab.hold_stops(&order[0]);
    let before = lab.server_ids();
    let mut roll = lab.spawn(&["run", &lab.file("quick.yaml"), "-i", &lab.inventory(), "--yes"]);
    roll.step("stop");
    lab.stop_is_held(&order[0]);
    lab.command("cut", &[&order[0]]);
    lab.release(&order[0]);
    let ended = roll.wait(2 * WIDE);
    ended.exits(4).journal_is_whole();
    let halt = ended.halt("host-lost");
    assert_eq!(halt["host"], order[0], "{ended}");
    assert_eq!(strings(&halt["untouched"]), order[1..], "{ended}");
    ended.says(&["contact with", &order[0], "2 of 3 servers are healthy"]);
    for (place, host) in lab.hosts().iter().enumerate().filter(|(_, host)| **host != order[0]) {
        assert_eq!(lab.server_id(host), before[place], "{host} was touched: {ended}");
    }
    assert_eq!(lab.stops_and_starts(&order[0]), (1, 1), "{ended}");
    assert_eq!(lab.changes(&order[0]), 1, "{ended}");
}
