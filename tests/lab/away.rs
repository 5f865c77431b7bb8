//! A host that goes away in the middle of its turn: its link is cut, its power is, it reboots, it does not come back.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    configure::{CONF, Pushed},
    harness::{Lab, Options, WIDE, until},
    jetstream::with_system_account,
    process::{Ended, Running, seconds, strings},
    upgrade,
    watched::Witness,
};

/// As long as a switch takes to reboot, and longer than the 15 s after which ssh calls a link dead.
const CUT: Duration = Duration::from_secs(20);

/// A turn whose drain and gate are long enough to be cut in the middle.
const LONG: &str = "name: long
turn:
  - drain: {rate: 2, passes: 3, deadline: 1m}
  - stop
  - start
  - gate: {looks: 15, max_interval: 250ms, deadline: 3m}
  - settle: {for: 500ms, interval: 100ms}
";

/// Takes the host's link to the controller away for [`CUT`]. Its peers still hear it.
fn cut(lab: &Lab, host: &str, meanwhile: impl FnOnce()) {
    let rules = "nft 'add table inet away; \
                 add chain inet away in { type filter hook input priority 0; }; \
                 add chain inet away out { type filter hook output priority 0; }; \
                 add rule inet away in ip saddr 10.77.0.1 drop; add rule inet away out ip daddr 10.77.0.1 drop'";
    lab.root(host, rules);
    let until = Instant::now() + CUT;
    meanwhile();
    thread::sleep(until.saturating_duration_since(Instant::now()));
    lab.root(host, "nft delete table inet away");
}

/// Asserts that each server was restarted once, with no more than its stop and its start, and that the cut was in the middle of
/// those steps.
fn rolled_through(lab: &Lab, ended: &Ended, cut_in: &[(&str, &str)]) {
    each_once(lab, ended, 2, cut_in);
}

/// The same where hosts have been told to do so many things, ever.
fn each_once(lab: &Lab, ended: &Ended, changes: usize, cut_in: &[(&str, &str)]) {
    ended.exits(0).journal_is_whole();
    assert_eq!(ended.rolled().len(), 3, "{ended}");
    for host in lab.hosts() {
        assert_eq!(lab.stops_and_starts(&host), (1, 2), "{host}: {ended}");
        assert_eq!(lab.changes(&host), changes, "{host}: {ended}");
    }
    for (host, step) in cut_in {
        let of = |event: &&&Value| event["host"] == **host && event["step"] == **step;
        let (began, finished) = (ended.of("step-started"), ended.of("step-finished"));
        let took = seconds(finished.iter().find(of).expect("its end")) - seconds(began.iter().find(of).expect("it"));
        assert!(took > CUT.as_secs_f64() / 2.0, "the {step} of {host} took {took} s: it was not cut\n{ended}");
    }
    lab.all_healthy();
}

/// The host whose turn comes after those: only the first is sure, for the meta leader goes last, wherever it is by then.
fn next_host(roll: &mut Running, done: &[&str]) -> String {
    let of = |event: &Value| event["host"].as_str().is_some_and(|host| !done.contains(&host));
    roll.event("turn-started", of)["host"].as_str().expect("a host").to_owned()
}

#[test]
fn cut_off_in_a_stop_and_in_a_start() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    lab.hosts().iter().for_each(|host| lab.hold_stops(host));
    let mut roll = lab.spawn(&["run", &lab.file("quick.yaml"), "-i", &lab.inventory(), "--yes"]);
    let first = next_host(&mut roll, &[]);
    lab.stop_is_held(&first);
    cut(&lab, &first, || lab.release(&first));
    let second = next_host(&mut roll, &[&first]);
    lab.stop_is_held(&second);
    lab.hold_starts(&second);
    lab.hosts().iter().for_each(|host| lab.release(host));
    lab.start_is_held(&second);
    cut(&lab, &second, || lab.let_start(&second));
    rolled_through(&lab, &roll.wait(WIDE), &[(&first, "stop"), (&second, "start")]);
}

#[test]
fn cut_off_in_a_drain_and_at_the_gate() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let (inventory, long) = (with_system_account(&lab), lab.write("long.yaml", LONG));
    let witness = Witness::with(&lab, &["--clients-per-server", "4"]);
    let mut roll = lab.spawn(&["run", &long, "-i", &inventory, "--yes"]);
    roll.event("step-started", |event| event["step"] == "drain");
    let first = next_host(&mut roll, &[]);
    cut(&lab, &first, || {});
    let second = next_host(&mut roll, &[&first]);
    roll.event("looked", |event| event["host"] == *second && event["step"] == "gate");
    cut(&lab, &second, || {});
    let ended = roll.wait(WIDE);
    // Its clients were cut off too.
    drop(witness);
    rolled_through(&lab, &ended, &[(&second, "gate")]);
}

/// The steps of the other playbooks, each with its effect while nobody hears of it; and a settle.
#[test]
fn cut_off_where_files_are_put_in_place_and_reloaded() {
    let Some(lab) = Lab::up(Options { nats: "2.14.6", ..Options::default() }) else { return };
    lab.all_settled();
    lab.hosts().iter().for_each(|host| hold_renames(&lab, host));
    cut_off_in_an_install_and_in_a_settle(&lab);
    lab.all_settled();
    cut_off_in_a_configure_and_in_a_reload(&lab);
    lab.hosts().iter().for_each(|host| assert_eq!(lab.traces(host), "", "{host}"));
}

/// From now on nothing takes the place of the program or of the configuration while there is `/run/hold-mv`.
fn hold_renames(lab: &Lab, host: &str) {
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *' /usr/local/bin/nats-server' | *' {CONF}')\n\
         touch /run/renaming; while [ -e /run/hold-mv ]; do sleep 0.05; done ;;\nesac\nexec /usr/bin/mv \"$@\"\n"
    );
    lab.put(host, "/usr/local/bin/mv", &script);
    lab.root(host, "chmod 755 /usr/local/bin/mv; touch /run/hold-mv");
}

/// Waits for a file on the host that a held command leaves.
fn is_held(lab: &Lab, host: &str, file: &str) {
    let test = format!("test -e {file} && echo yes || true");
    until(&format!("{file} on {host}"), || lab.root(host, &test).contains("yes"));
}

fn let_rename(lab: &Lab, host: &str) {
    lab.root(host, "rm -f /run/hold-mv /run/renaming");
}

fn cut_off_in_an_install_and_in_a_settle(lab: &Lab) {
    let program = upgrade::program("2.15.1");
    let text = format!(
        "name: install\nturn:\n  - stop\n  - install: {{binary: {program}, version: 2.15.1}}\n  - start\n  \
         - gate: {{looks: 2, deadline: 3m}}\n  - settle: {{for: 3s, interval: 100ms}}\n"
    );
    let mut roll = lab.spawn(&["run", &lab.write("install.yaml", &text), "-i", &lab.inventory(), "--yes"]);
    let first = next_host(&mut roll, &[]);
    is_held(lab, &first, "/run/renaming");
    cut(lab, &first, || let_rename(lab, &first));
    lab.hosts().iter().for_each(|host| let_rename(lab, host));
    let second = next_host(&mut roll, &[&first]);
    roll.event("step-started", |event| event["host"] == *second && event["step"] == "settle");
    cut(lab, &second, || {});
    let ended = roll.wait(WIDE);
    each_once(lab, &ended, 3, &[(&first, "install"), (&second, "settle")]);
    for host in lab.hosts() {
        assert_eq!(lab.varz(&host)["version"], "2.15.1", "{host}: {ended}");
        let sums = "sha256sum </usr/local/bin/nats-server; sha256sum </opt/nats/nats-server-2.15.1";
        let sums = lab.root(&host, sums);
        assert!(sums.lines().next() == sums.lines().nth(1), "{host}: {sums}");
    }
}

/// A cut before the order to reload is in `tests/scenarios/reload-ssh-cut.yaml`.
fn cut_off_in_a_configure_and_in_a_reload(lab: &Lab) {
    let pushed = Pushed::new(lab);
    pushed.with("payload: 1MB", "payload: 2MB");
    for host in lab.hosts() {
        let unit = "[Service]\nExecReload=\nExecReload=+/bin/sh -c 'touch /run/reloading; while [ -e /run/hold-reload ]; do sleep 0.05; done'\nExecReload=/bin/kill -s HUP $MAINPID\n";
        lab.put(&host, "/etc/systemd/system/nats-server.service.d/hold-reload.conf", unit);
        lab.root(&host, "touch /run/hold-mv /run/hold-reload; systemctl daemon-reload");
    }
    let text = format!(
        "name: configure-quick\nturn:\n  - configure: {{files: [{{from: {}}}], how: reload}}\n  \
         - reload: {{through: service}}\n  - gate: {{looks: 2}}\n  - settle: {{for: 200ms, interval: 100ms}}\n",
        pushed.template
    );
    let mut roll = lab.spawn(&["run", &lab.write("pushed.yaml", &text), "-i", &pushed.inventory, "--yes"]);
    let first = next_host(&mut roll, &[]);
    is_held(lab, &first, "/run/renaming");
    cut(lab, &first, || let_rename(lab, &first));
    is_held(lab, &first, "/run/reloading");
    cut(lab, &first, || drop(lab.root(&first, "rm /run/hold-reload")));
    lab.hosts().iter().for_each(|host| drop(lab.root(host, "rm -f /run/hold-mv /run/hold-reload")));
    let ended = roll.wait(WIDE);
    each_once(lab, &ended, 5, &[(&first, "configure"), (&first, "reload")]);
    for host in lab.hosts() {
        assert_eq!(lab.varz(&host)["max_payload"], 2 << 20, "{host}: {ended}");
        let reloads =
            lab.root(&host, "journalctl -u nats-server -o cat | grep -c 'Reloaded server configuration' || true");
        assert_eq!(reloads.trim(), "1", "{host}: {ended}");
    }
}

#[test]
fn power_cut_and_gone() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let playbook = lab.write("long.yaml", &LONG.replacen("  - drain: {rate: 2, passes: 3, deadline: 1m}\n", "", 1));
    lab.hosts().iter().for_each(|host| lab.hold_stops(host));
    let mut running = lab.spawn(&["run", &playbook, "-i", &lab.inventory(), "--yes"]);
    let blink = |host: &str| {
        lab.command("powercut", &[host]);
        lab.command("poweron", &[host]);
    };

    // The power goes in the middle of a stop, and comes back: the reboot was the restart.
    let first = next_host(&mut running, &[]);
    lab.stop_is_held(&first);
    blink(&first);
    // In the middle of a start, and at the gate.
    let second = next_host(&mut running, &[&first]);
    lab.stop_is_held(&second);
    lab.hold_starts(&second);
    lab.release(&second);
    lab.start_is_held(&second);
    blink(&second);
    running.event("looked", |event| event["host"] == *second && event["step"] == "gate" && event["good"] == 1);
    blink(&second);
    // And a host that stays away.
    let third = next_host(&mut running, &[&first, &second]);
    lab.stop_is_held(&third);
    lab.command("powercut", &[&third]);
    let ended = running.wait(WIDE);
    ended.exits(4).journal_is_whole();
    let halt = ended.halt("host-lost");
    assert_eq!((&halt["host"], &halt["step"]), (&third.as_str().into(), &"stop".into()), "{ended}");
    assert_eq!(strings(&halt["done"]), [&first, &second], "{ended}");
    let stop = ended.of("step-finished").into_iter().find(|event| event["step"] == "stop").expect("a stop");
    assert_eq!(stop["note"], "the host was rebooted meanwhile", "{ended}");

    // It comes back, and its server with it: that passes the gate.
    lab.command("poweron", &[&third]);
    lab.all_healthy();
    let resumed = lab.plainly(&["resume", "-i", &lab.inventory(), ended.run(), "--yes"]);
    resumed.exits(0);
    assert_eq!(resumed.of("settled")[0]["standing"], "back", "{resumed}");
    assert_eq!(resumed.rolled(), [&third], "{resumed}");
    // Nothing was stopped again after the power came back.
    for host in lab.hosts() {
        let stops = lab.root(&host, "journalctl -b -u nats-server -o cat _PID=1 | grep -c ^Stopping || true");
        assert_eq!(stops.trim(), "0", "{host}: {ended}\n{resumed}");
        assert_eq!(lab.traces(&host), "", "{host}");
    }
}
