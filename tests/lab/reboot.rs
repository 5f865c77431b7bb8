//! The playbook `reboot` on real hosts: each boots once, whoever dies or interferes meanwhile.

use crate::{
    harness::{Lab, Options, WIDE},
    process::{Ended, Running},
};

/// As the playbook that is built in, in less time.
fn playbook(lab: &Lab, reboot: &str) -> String {
    let text = format!(
        "name: quick-reboot\nturn:\n  - stop\n  - reboot: {{{reboot}}}\n  - gate: {{looks: 2, deadline: 3m}}\n  - settle: {{for: 500ms, interval: 100ms}}\n"
    );
    lab.write("reboot.yaml", &text)
}

/// Each boot leaves a line from now on.
pub fn count_boots(lab: &Lab) {
    let unit = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'cat /proc/sys/kernel/random/boot_id >>/root/boots'\n[Install]\nWantedBy=multi-user.target\n";
    for host in lab.hosts() {
        lab.put(&host, "/etc/systemd/system/count-boots.service", unit);
        lab.root(&host, "systemctl enable -q count-boots; rm -f /root/boots");
    }
}

pub fn boots(lab: &Lab, host: &str) -> usize {
    lab.root(host, "cat /root/boots 2>/dev/null | sort -u | wc -l").trim().parse().expect("a number")
}

#[test]
fn reboots() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    count_boots(&lab);
    what_would_not_start_again_is_told_before(&lab);
    all_of_them_patched_first(&lab);
    by_somebody_else(&lab);
    hosts_that_do_not_do_as_they_are_told(&lab);
    for host in lab.hosts() {
        assert_eq!(lab.traces(&host), "", "{host}");
    }
}

fn what_would_not_start_again_is_told_before(lab: &Lab) {
    lab.root("h2", "systemctl disable -q nats-server");
    let ended = lab.rollgate(&["reboot", "-i", &lab.inventory(), "--yes"]);
    ended.exits(3).began_nothing();
    ended.says(&["the boot of h2 would not start its server: the service is disabled", "[not-enabled]"]);
    // A restart needs no boot.
    lab.plainly(&["plan", "-i", &lab.inventory()]).exits(0);
    lab.root("h2", "systemctl enable -q nats-server");
}

fn all_of_them_patched_first(lab: &Lab) {
    let before = lab.server_ids();
    let patch = "patch=systemctl is-active -q nats-server && cat /proc/sys/kernel/random/boot_id >/root/patched";
    let ended = lab.rollgate(&["reboot", "-i", &lab.inventory(), "--yes", "--set", patch]);
    ended.exits(0).journal_is_whole();
    assert_eq!(ended.rolled().len(), 3, "{ended}");
    for (host, old) in lab.hosts().iter().zip(before) {
        assert_eq!(boots(lab, host), 1, "{host}: {ended}");
        assert_ne!(lab.server_id(host), old, "{host}: {ended}");
        let patched = lab.root(host, "cat /root/patched");
        assert!(!patched.is_empty() && patched != lab.root(host, "cat /root/boots"), "{host}: {ended}");
    }
    ended.says(&["`patch` went well", "rebooting", "another boot was there after"]);
}

/// A host that somebody reboots in its turn, as one does who waits for nobody: in its stop, and at the gate.
fn by_somebody_else(lab: &Lab) {
    // In the playbook that reboots it that reboot is enough; a restart goes on with the server that the boot has started.
    let files = [playbook(lab, ""), lab.file("quick.yaml")];
    for (file, host) in files.iter().zip(["h1", "h2"]) {
        let before = boots(lab, host);
        lab.hold_stops(host);
        let roll = lab.spawn(&["run", file, "-i", &lab.inventory(), "--yes", "--host", host]);
        lab.stop_is_held(host);
        lab.command("reboot", &[host]);
        lab.release(host);
        let ended = roll.wait(WIDE);
        ended.exits(0).journal_is_whole();
        assert_eq!(boots(lab, host), before + 1, "{host}: {ended}");
        let stop = ended.of("step-finished").into_iter().find(|event| event["step"] == "stop").expect("a stop");
        assert_eq!(stop["note"], "the host was rebooted meanwhile", "{ended}");
        lab.root(host, "rm -f /etc/systemd/system/nats-server.service.d/hold.conf; systemctl daemon-reload");
    }
    let mut roll = lab.spawn(&["run", &lab.file("quick.yaml"), "-i", &lab.inventory(), "--yes", "--host", "h3"]);
    roll.event("step-finished", |event| event["step"] == "start");
    lab.command("reboot", &["h3"]);
    let ended = roll.wait(WIDE);
    // Its server may have passed before the host went down.
    assert!(matches!(ended.status.code(), Some(0 | 4)), "{ended}");
    ended.journal_is_whole();
    lab.all_healthy();
    if ended.status.code() == Some(4) {
        lab.plainly(&["resume", "-i", &lab.inventory(), "--yes"]).exits(0);
    }
}

fn hosts_that_do_not_do_as_they_are_told(lab: &Lab) {
    let inventory = lab.inventory();
    let halts = |reboot: &str, host: &str, cause: &str| -> Ended {
        let ended = lab.rollgate(&[
            "run",
            &playbook(lab, reboot),
            "-i",
            &inventory,
            "--yes",
            "--host",
            host,
            "--allow",
            "not-enabled",
        ]);
        ended.exits(4).journal_is_whole().halt(cause);
        ended
    };
    let goes_on = || {
        let ended: Ended =
            Running::start(lab.rollgate_command(&["resume", "-i", &inventory, "--yes"]), &lab.state()).wait(WIDE);
        ended.exits(0).terminal("finished");
    };
    // It stays away: the power is switched on by hand.
    let before = boots(lab, "h1");
    let ended = halts("command: [systemctl, poweroff], deadline: 12s", "h1", "host-not-back");
    ended.says(&["h1 was told to reboot, and has not come back", "host-unreachable", "look at the console of h1"]);
    lab.command("poweron", &["h1"]);
    lab.all_healthy();
    goes_on();
    assert_eq!(boots(lab, "h1"), before + 1);
    // The command does nothing: somebody reboots it.
    let before = boots(lab, "h2");
    let ended = halts("command: ['true'], deadline: 4s", "h2", "not-rebooted");
    ended.says(&["its boot id is the same: it never went away"]);
    lab.command("reboot", &["h2"]);
    lab.all_healthy();
    goes_on();
    assert_eq!(boots(lab, "h2"), before + 1);
    // The command fails.
    let ended = halts("command: [sh, -c, 'echo no, not now >&2; exit 3']", "h2", "change-failed");
    ended.says(&["the reboot of h2 failed: exit status 3", "no, not now"]);
    lab.command("reboot", &["h2"]);
    lab.all_healthy();
    goes_on();
    // Its boot does not start the server, which was consented to.
    lab.root("h3", "systemctl disable -q nats-server");
    let ended = halts("", "h3", "not-started-at-boot");
    ended.says(&["its reboot, which did not start its service, which is disabled", "systemctl enable"]);
    lab.root("h3", "systemctl enable -q --now nats-server");
    lab.all_healthy();
    goes_on();
}
