//! Controllers on several machines, which share nothing but the hosts: which of them acts, and what becomes of the others.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use crate::{
    harness::{Lab, Options, WIDE, until},
    process::Running,
};

/// Stops so far, of all servers.
fn stops(lab: &Lab) -> Vec<usize> {
    lab.hosts().iter().map(|host| lab.stops_and_starts(host).0).collect()
}

/// The one that records its run, and the one that does not.
fn winner(one: Running, other: Running) -> (Running, Running) {
    until("one of the two at work", || !one.events().is_empty() || !other.events().is_empty());
    if one.events().is_empty() { (other, one) } else { (one, other) }
}

#[test]
fn of_several_controllers_one_acts() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let inventory = lab.inventory();
    let order = lab.hosts();
    let line = ["run", &lab.file("quick.yaml"), "-i", &inventory, "--yes"];

    // Started together: one works, the other says who has the lock, since when, and what for.
    order.iter().for_each(|host| lab.hold_stops(host));
    let (mut first, second) = winner(lab.elsewhere("a", &line, None), lab.elsewhere("b", &line, None));
    let run = first.events()[0]["run"].as_str().expect("an id").to_owned();
    let pid = first.pid();
    let refused = second.wait(WIDE);
    refused.exits(5).began_nothing();
    refused.says(&[
        &format!("run {run} ("),
        &format!("pid {pid}), quick of lab, since 20"),
        "last heard of",
        "--lock-wait",
    ]);
    let held = first.step("stop");
    lab.stop_is_held(&held);
    order.iter().for_each(|host| lab.release(host));
    first.wait(WIDE).exits(0);
    assert_eq!(stops(&lab), [1, 1, 1]);

    // Paused between its record and its effect, for longer than the lock lasts, while another rolls the cluster.
    let mut paused = lab.elsewhere("c", &line, Some("after-stop"));
    let victim = paused.step("stop");
    let pid = paused.pid();
    let status = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    until("the controller paused", || status().contains(") T "));
    let run = paused.events()[0]["run"].as_str().expect("an id").to_owned();
    let patient = [&line[..], &["--lock-wait", "2m"]].concat();
    let mut successor = lab.elsewhere("d", &patient, None);
    successor.event("turn-finished", |_| true);
    paused.signal("CONT");
    let stale = paused.wait(WIDE);
    stale.exits(4).halt("lock-lost");
    successor.wait(WIDE).exits(0);
    // The host itself refused the stop, and so it was never begun.
    let record = format!("/run/rollgate/{run}-{victim}-stop");
    let refusal = lab.root(&victim, &format!("cat {record}/fenced; test ! -e {record}/claim"));
    assert!(refusal.contains("late") || refusal.contains("the lock is not with"), "{refusal}\n{stale}");
    assert_eq!(stops(&lab), [2, 2, 2], "{stale}");
    let abort = lab.elsewhere("c", &["abort", "-i", &inventory, &run], None);
    abort.wait(WIDE).exits(0);
    assert_eq!(lab.traces(&victim), "");

    // An operator who frees the lock stops its holder; what the host was told already, it still does, and once.
    order.iter().for_each(|host| lab.hold_stops(host));
    let mut holder = lab.elsewhere("e", &line, None);
    let victim = holder.step("stop");
    lab.stop_is_held(&victim);
    let run = holder.events()[0]["run"].as_str().expect("an id").to_owned();
    let unlock = ["unlock", "-i", &inventory];
    let ended = lab.plainly(&unlock);
    ended.exits(3).says(&[&format!("run {run} ("), "quick of lab", "no terminal", &format!("--held-by {run}")]);
    lab.plainly(&["unlock", "-i", &inventory, "--held-by", "another"]).exits(3).says(&["not held by run another"]);
    let typed = typed(&lab, &unlock, "lab-2\n");
    assert!(typed.contains("not confirmed: nothing was changed"), "{typed}");
    let typed = self::typed(&lab, &unlock, "lab\n");
    assert!(typed.contains("the lock of lab is free"), "{typed}");
    let lost = holder.wait(WIDE);
    lost.exits(4).halt("lock-lost");
    order.iter().for_each(|host| lab.release(host));
    until("the stop ended on its host", || {
        lab.root(&victim, "systemctl is-active nats-server || true").trim() == "inactive"
    });
    let ended = lab.elsewhere("e", &["resume", "-i", &inventory, "--yes"], None).wait(WIDE);
    ended.exits(0);
    assert_eq!(ended.of("settled")[0]["standing"], "down", "{ended}");
    assert_eq!(stops(&lab), [3, 3, 3], "{lost}\n{ended}");
    for host in lab.hosts() {
        assert_eq!(lab.traces(&host), "", "{host}");
    }
    lab.plainly(&unlock).exits(0).says(&["nobody has the lock"]);
}

/// Runs rollgate on a terminal, where somebody types that; what the terminal shows in the end.
fn typed(lab: &Lab, args: &[&str], text: &str) -> String {
    let command = lab.rollgate_command(args);
    let words = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
    let line: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(words).collect();
    let mut terminal = Command::new("script")
        .args(["-q", "-e", "-c", &line.join(" "), "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script (bsdutils)");
    // The terminal keeps what is typed before it is asked for.
    terminal.stdin.take().expect("its stdin").write_all(text.as_bytes()).expect("it reads");
    let output = terminal.wait_with_output().expect("what it showed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
