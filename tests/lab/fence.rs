//! Controllers on several machines, which share nothing but the hosts: which of them acts, and what becomes of the others.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rollgate::{
    config::Inventory,
    core::{lock::Claim, view::FailureKind},
    fleet::{Action, Change, Fleet, live::Live},
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
    lab.root(&victim, &format!("test ! -e /run/rollgate/{run}-{victim}-stop/claim"));
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
    let status = lab.plainly(&["status", "-i", &inventory]);
    assert!(status.stdout.contains(&format!("lock on the hosts: run {run} (")), "{status}");
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

/// A command that was on its way when another took over, with no heartbeat in between that could have told its controller: the
/// host itself refuses it.
#[test]
fn a_late_command_is_refused_by_its_host() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let this = std::env::current_exe().expect("this program");
    let mut command = lab.exec(this, &["--exact", "fence::inside", "--nocapture"]);
    let output = command.env(INSIDE, lab.inventory()).output().expect("this program runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    let refusal = lab.root("h1", "cat /run/rollgate/r1-h1-stop/fenced; test ! -e /run/rollgate/r1-h1-stop/claim");
    assert_eq!(refusal.trim(), "the lock is not with r1");
    assert_eq!((stops(&lab), lab.changes("h1")), (vec![0, 0, 0], 1), "{said}");
}

/// Set where this program runs in a lab's network; the inventory's path.
const INSIDE: &str = "ROLLGATE_TEST_FENCE";

/// Does nothing when it is run as a test like others.
#[test]
fn inside() {
    let Some(path) = std::env::var_os(INSIDE) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let inventory = Inventory::load(Path::new(&path)).expect("the inventory");
        let claim = |run: &str| Claim {
            run: run.into(),
            seat: format!("seat of {run}"),
            holder: "a test".into(),
            reason: "a test".into(),
        };
        let controller = || Live::new(&inventory.clusters[0]);
        let (late, next) = (controller().await.expect("hosts"), controller().await.expect("hosts"));
        let limit = Duration::from_secs(60);
        late.lock(&claim("r1"), limit).await.expect("the lock");
        next.lock(&claim("r2"), limit).await.expect_err("the lock is with r1");
        assert!(next.break_lock("r1", limit).await.is_empty());
        next.lock(&claim("r2"), limit).await.expect("the lock");
        let stop = Change { id: "r1-h1-stop".into(), what: Action::Stop, limit, boot: None };
        let refused = late.change("h1", &stop, limit).await.expect_err("a late command");
        assert_eq!(refused.kind, FailureKind::Fenced, "{refused}");
        next.release(limit).await;
    });
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
