//! The scripts, run here as a host would run them.

use super::*;
use crate::fleet::{Command, live::lock::Stamp};

fn systemd() -> Service {
    Service::Systemd { unit: "nats-server.service".into() }
}

fn stop() -> Change {
    Change { id: "r1-n2-stop".into(), what: Action::Stop, limit: Duration::from_secs(180), boot: None }
}

fn fence() -> Fence {
    Fence { run: "r1".into(), token: 3, before: Stamp { boot: "b".into(), up: 90 } }
}

fn check(remote: &Remote, before: &[&str], after: &[&str]) {
    let argv = remote.argv();
    let script = argv.iter().position(|word| word == remote.script).unwrap();
    assert_eq!(argv[..script], *before);
    assert_eq!(argv[script + 1..], *after);
}

#[test]
fn changes_run_as_root_under_a_limit() {
    let remote = change(&systemd(), Become::Sudo, &stop(), &fence(), Duration::from_secs(20));
    check(
        &remote,
        &["sudo", "-n", "--", "sh", "-c"],
        &[
            "rollgate",
            "r1-n2-stop",
            "systemd-run",
            "180",
            "400",
            "",
            RUNNER,
            "all",
            &lock::key(&systemd()),
            "3",
            "r1",
            "b",
            "90",
            "systemctl",
            "stop",
            "nats-server.service",
        ],
    );
}

#[test]
fn looking_needs_no_privileges() {
    check(&service_state(&systemd(), Become::Sudo, false), &["sh", "-c"], &["rollgate", "nats-server.service", ""]);
}

#[test]
fn a_container_has_as_long_as_the_step_allows() {
    let docker = Service::Docker { container: "nats".into() };
    assert_eq!(action(&docker, Become::Sudo, &stop()), ["docker", "stop", "--time", "180", "nats"]);
}

#[test]
fn a_step_of_the_operators_own_has_its_facts_and_no_more_privileges_than_it_asks_for() {
    let command = Command { argv: vec!["warm".into(), "a b".into()], environment: vec![("X".into(), "1 2".into())] };
    let run = |privileged, become_| {
        let change = Change { what: Action::Run { command: command.clone(), privileged }, ..stop() };
        action(&systemd(), become_, &change)
    };
    assert_eq!(run(true, Become::Sudo), ["env", "X=1 2", "warm", "a b"]);
    assert_eq!(run(false, Become::None), ["env", "X=1 2", "warm", "a b"]);
    assert_eq!(run(false, Become::Sudo)[..5], ["sh", "-c", AS_LOGIN_USER, "rollgate", "env"]);
}

#[test]
fn of_a_command_of_the_operators_the_end_is_kept_and_nothing_it_leaves_behind_holds_it() {
    let home = host();
    let script = "head -c 1000000 /dev/zero | tr '\\0' x; echo end; exit 3";
    let record = run_own(home.path(), "c1", &["sh", "-c", script]);
    let (head, output) = record.split_once("output:\n").unwrap();
    assert!(head.contains("status=3"), "{head}");
    assert_eq!(output.len(), 4096);
    assert!(output.ends_with("xend\n"));
    let record = run_own(home.path(), "c2", &["sh", "-c", "sleep 30 & exit 0"]);
    assert!(record.contains("status=0"), "{record}");
    let record = run_own(home.path(), "c3", &["sleep", "600"]);
    assert!(record.contains("status=124"), "{record}");
}

#[test]
fn a_command_that_a_reboot_ended_is_lost_and_not_begun_again() {
    let home = host();
    let counter = home.path().join("count");
    let dir = home.path().join("rollgate/c1");
    std::fs::create_dir_all(dir.join("claim")).unwrap();
    std::fs::write(dir.join("boot"), "another\n").unwrap();
    let record = run_own(home.path(), "c1", &["touch", counter.to_str().unwrap()]);
    assert!(record.contains("lost=yes"), "{record}");
    assert!(!counter.exists());
}

#[test]
fn the_operators_own_commands_stay_whole() {
    let own = Service::Command {
        start: vec!["/opt/my nats/ctl".into(), "start; rm -rf /".into()],
        stop: vec!["ctl".into(), "stop".into()],
        status: vec!["ctl".into(), "status".into()],
        logs: None,
    };
    let start = Change { what: Action::Start, ..stop() };
    let argv = change(&own, Become::None, &start, &fence(), Duration::from_secs(1)).argv();
    assert_eq!(argv[0], "sh");
    assert_eq!(argv[argv.len() - 2..], ["/opt/my nats/ctl", "start; rm -rf /"]);
}

/// Runs the change script here, without root, as a host would.
fn run_change(home: &std::path::Path, id: &str, argv: &[&str], ticks: &str) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    run_fenced(home, id, "all", ["3", "r1", boot.trim(), "999999999"], argv, ticks)
}

/// The same as a command of the operator's.
fn run_own(home: &std::path::Path, id: &str, argv: &[&str]) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    run_fenced(home, id, "end", ["3", "r1", boot.trim(), "999999999"], argv, "400")
}

fn run_fenced(home: &std::path::Path, id: &str, keep: &str, fence: [&str; 4], argv: &[&str], ticks: &str) -> String {
    run_in_boot(home, id, ["", keep], fence, argv, ticks)
}

fn run_in_boot(
    home: &std::path::Path,
    id: &str,
    [boot, keep]: [&str; 2],
    fence: [&str; 4],
    argv: &[&str],
    ticks: &str,
) -> String {
    let lock = home.join("rollgate/locks/k");
    std::fs::create_dir_all(&lock).unwrap();
    std::fs::write(lock.join("state"), "token=3\nrun=r1\n").unwrap();
    let output = std::process::Command::new("sh")
        .args(["-c", CHANGE, "rollgate", id, "setsid", "5", ticks, boot, RUNNER, keep, "k"])
        .args(fence)
        .args(argv)
        .env("XDG_STATE_HOME", home)
        .env("PATH", format!("{}:/usr/bin:/bin", home.display()))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A host where `id -u` says 1000, so that records stay in the test's own directory.
pub(super) fn host() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let id = home.path().join("id");
    std::fs::write(&id, "#!/bin/sh\necho 1000\n").unwrap();
    std::fs::set_permissions(&id, std::fs::Permissions::from_mode(0o755)).unwrap();
    home
}

#[test]
fn a_change_is_done_once_however_often_it_is_asked_for() {
    let home = host();
    let counter = home.path().join("count");
    let script = format!("echo x >>{}; echo said; exit 3", counter.display());
    let argv = ["sh", "-c", script.as_str()];
    let record = |text: String| text.lines().filter(|line| !line.starts_with("began=")).collect::<Vec<_>>().join("|");
    for _ in 0..3 {
        assert_eq!(record(run_change(home.path(), "c1", &argv, "200")), "status=3|output:|said");
    }
    assert_eq!(std::fs::read_to_string(&counter).unwrap(), "x\n");
    run_change(home.path(), "c2", &argv, "200");
    assert_eq!(std::fs::read_to_string(&counter).unwrap(), "x\nx\n");
}

#[test]
fn words_reach_the_command_as_they_are() {
    let home = host();
    let words = ["printf", "[%s]", "$HOME ${x} $$", "it's", "a b", "100%", "", "\\n", "`id`"];
    let record = run_change(home.path(), "c1", &words, "200");
    let printed = record.split_once("output:\n").unwrap().1;
    assert_eq!(printed, "[$HOME ${x} $$][it's][a b][100%][][\\n][`id`]");
}

#[test]
fn a_change_outlives_the_one_who_asked() {
    let home = host();
    let go = home.path().join("go");
    let script = format!("while [ ! -e {0} ]; do sleep 0.05; done; echo done", go.display());
    let argv = ["sh", "-c", script.as_str()];
    let first = run_change(home.path(), "c1", &argv, "2");
    assert!(!first.contains("status="), "{first}");
    std::fs::write(&go, "").unwrap();
    let second = run_change(home.path(), "c1", &argv, "200");
    assert!(second.contains("status=0") && second.ends_with("done\n"), "{second}");
}

#[test]
fn a_change_that_was_killed_is_lost_and_not_repeated() {
    let home = host();
    let counter = home.path().join("count");
    let script =
        format!("echo x >>{}; kill -9 $(cat {}/rollgate/c1/pid) $PPID", counter.display(), home.path().display());
    let record = run_change(home.path(), "c1", &["sh", "-c", &script], "200");
    assert!(record.contains("lost=yes") && !record.contains("status="), "{record}");
    run_change(home.path(), "c1", &["sh", "-c", &script], "20");
    assert_eq!(std::fs::read_to_string(&counter).unwrap(), "x\n");
}

#[test]
fn a_change_is_refused_without_the_lock() {
    let home = host();
    let count = home.path().join("count");
    let script = format!("echo x >>{}", count.display());
    let argv = ["sh", "-c", script.as_str()];
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = boot.trim();
    for (fence, why) in [
        (["2", "r1", boot, "999999999"], "fenced=the lock is not with r1"),
        (["33", "r1", boot, "999999999"], "fenced=the lock is not with r1"),
        (["3", "r", boot, "999999999"], "fenced=the lock is not with r"),
        (["3", "r1", boot, "1"], "fenced=late"),
        (["3", "r1", "another", "999999999"], "fenced=late"),
    ] {
        let record = run_fenced(home.path(), "c1", "all", fence, &argv, "200");
        assert!(record.lines().any(|line| line == why), "{fence:?}: {record}");
        assert!(!count.exists(), "{fence:?}");
    }
    // With the lock the same change is done, once.
    assert!(run_change(home.path(), "c1", &argv, "200").contains("status=0"));
    let record = run_fenced(home.path(), "c1", "all", ["2", "r1", boot, "1"], &argv, "200");
    assert!(record.contains("status=0"), "{record}");
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\n");
}

#[test]
fn a_stop_is_not_repeated_after_a_reboot() {
    let home = host();
    let count = home.path().join("count");
    let script = format!("echo x >>{}", count.display());
    let argv = ["sh", "-c", script.as_str()];
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let fence = ["3", "r1", boot.trim(), "999999999"];
    assert_eq!(run_in_boot(home.path(), "c1", ["another", "all"], fence, &argv, "200"), "lost=yes\noutput:\n");
    assert!(!count.exists() && !home.path().join("rollgate/c1").exists());
    assert!(run_in_boot(home.path(), "c1", [boot.trim(), "all"], fence, &argv, "200").contains("status=0"));
    assert!(count.exists());
}

fn run_script(home: &std::path::Path, remote: &Remote) -> String {
    let argv = remote.argv();
    let mut command = std::process::Command::new(&argv[0]);
    command.args(&argv[1..]).env("XDG_STATE_HOME", home);
    command.env("PATH", format!("{}:/usr/bin:/bin", home.display()));
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn a_record_is_read_and_removed_and_never_made() {
    let home = host();
    let read = |id: &str| run_script(home.path(), &record(id, Become::None));
    assert!(read("r1-n1-stop").contains("record=none"));
    run_change(home.path(), "r1-n1-stop", &["true"], "200");
    run_change(home.path(), "r2-n1-stop", &["true"], "200");
    assert!(read("r1-n1-stop").contains("status=0"));
    assert_eq!(run_script(home.path(), &clear("r1", Become::None)), "cleared\n");
    assert!(read("r1-n1-stop").contains("record=none"));
    assert!(read("r2-n1-stop").contains("status=0"));
}
