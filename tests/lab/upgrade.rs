//! Another nats-server on real hosts: through every version under load, refused where it does not do, put back where it fails.

use std::{fs, path::PathBuf};

use crate::{
    harness::{Lab, Options, binaries},
    jetstream::with_system_account,
    process::Ended,
    watched::Witness,
};

/// The program of a version, on this machine.
pub fn program(version: &str) -> String {
    let name = format!("nats-server-{version}");
    let found: Vec<PathBuf> = binaries().expect("programs");
    found.into_iter().find(|path| path.ends_with(&name)).expect("that version").display().to_string()
}

fn set(name: &str, value: &str) -> [String; 2] {
    ["--set".into(), format!("{name}={value}")]
}

/// The words of an upgrade whose first server is watched for a second only.
fn words(inventory: &str, binary: &str, version: &str) -> Vec<String> {
    let mut words: Vec<String> = ["upgrade", "-i", inventory, "--yes"].map(str::to_owned).into();
    for (name, value) in [("binary", binary), ("version", version), ("canary", "1s")] {
        words.extend(set(name, value));
    }
    words
}

fn upgrade(lab: &Lab, binary: &str, version: &str, more: &[&str]) -> Ended {
    upgrade_of(lab, &lab.inventory(), binary, version, more)
}

fn upgrade_of(lab: &Lab, inventory: &str, binary: &str, version: &str, more: &[&str]) -> Ended {
    let words = words(inventory, binary, version);
    lab.rollgate(&words.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>())
}

/// The version that each server says it runs.
fn versions(lab: &Lab) -> Vec<String> {
    lab.hosts().iter().map(|host| lab.varz(host)["version"].as_str().unwrap_or("?").to_owned()).collect()
}

/// No file of a run is left beside the program, and nothing staged.
#[track_caller]
fn nothing_lies_about(lab: &Lab) {
    for host in lab.hosts() {
        let script = "ls -A /usr/local/bin | grep rollgate; find /var/lib/rollgate/stage -type f ! -name 'kept-*' 2>/dev/null; true";
        assert_eq!(lab.root(&host, script), "", "{host}");
        assert_eq!(lab.traces(&host), "", "{host}");
    }
}

#[test]
fn through_every_version_under_load() {
    let Some(lab) = Lab::up(Options { hosts: 5, nats: "2.10.26", ..Options::default() }) else { return };
    lab.all_settled();
    // With it clients are moved before the stop, which takes a tenth of the time of a lame duck.
    let inventory = with_system_account(&lab);
    // The second one watches readiness: while its stream is made, no server that the first one sees is ready.
    let five =
        Witness::with(&lab, &["--replicas", "5", "--stream", "FIVE", "--rate", "100", "--clients-per-server", "1"]);
    lab.all_settled();
    let three = Witness::of(&lab);
    for version in ["2.11.11", "2.12.8", "2.14.6", "2.15.1"] {
        let ended = upgrade_of(&lab, &inventory, &program(version), version, &[]);
        ended.exits(0).journal_is_whole();
        assert_eq!((ended.rolled().len(), ended.of("staged").len()), (5, 5), "{ended}");
        assert_eq!(versions(&lab), [version; 5], "{ended}");
        // The first one only.
        let canary = ended.of("step-started").into_iter().filter(|event| event["step"] == "canary");
        assert_eq!(canary.count(), 1, "{ended}");
        ended.says(&["mixed versions for"]);
    }
    // Every acknowledged message is there, by sequence and content.
    three.report().nobody_was_harmed().restarts(&[4; 5]);
    five.report().nothing_was_lost().restarts(&[4; 5]);
    nothing_lies_about(&lab);
    // Nothing is left to do.
    let ended = upgrade(&lab, &program("2.15.1"), "2.15.1", &[]);
    ended.exits(0);
    assert!(ended.rolled().is_empty(), "{ended}");
}

#[test]
fn what_does_not_do_is_refused_and_what_fails_is_put_back() {
    let Some(lab) = Lab::up(Options { nats: "2.14.6", ..Options::default() }) else { return };
    lab.all_settled();
    let before = lab.server_ids();
    bad_programs(&lab);
    assert_eq!(lab.server_ids(), before);
    let link = || lab.root("h1", "readlink /usr/local/bin/nats-server");
    assert_eq!(link(), "/opt/nats/nats-server-2.14.6\n");
    nothing_lies_about(&lab);
    canary_fails(&lab);
    assert_eq!(link(), "/opt/nats/nats-server-2.14.6\n", "a link comes back as one");
    by_command(&lab);
    nothing_lies_about(&lab);
}

/// All hosts' findings are told together, and no server is touched.
fn bad_programs(lab: &Lab) {
    let good = fs::read(program("2.15.1")).expect("a program");
    let make = |name: &str, content: &[u8]| {
        let path = lab.file(name);
        fs::write(&path, content).expect("a file");
        path
    };
    let truncated = make("truncated", &good[..good.len() / 2]);
    let mut other = good.clone();
    // `e_machine` of the ELF header: aarch64.
    (other[18], other[19]) = (0xb7, 0);
    let other = make("other-architecture", &other);
    let older = program("2.12.8");
    for (binary, said) in [
        (truncated, "it does not say its version"),
        (other, "[binary-wrong-arch"),
        (older, "it says that it is v2.12.8, and not 2.15.1"),
    ] {
        let ended = upgrade(lab, &binary, "2.15.1", &[]);
        let halt = ended.exits(3).terminal("refused")["halt"].clone();
        assert_eq!(halt["cause"], "not-proven", "{ended}");
        assert_eq!(halt["hosts"].as_array().map(Vec::len), Some(3), "{ended}");
        ended.says(&["h1", "h2", "h3", said]);
    }
    let wrong = "0".repeat(64);
    upgrade(lab, &program("2.15.1"), "2.15.1", &["--set", &format!("sha256={wrong}")])
        .exits(2)
        .says(&["has the sha256"]);
    // A version that can't follow is refused by the plan.
    upgrade(lab, &program("2.11.11"), "2.11.0", &[]).exits(3).says(&["[version-jump]"]);
    upgrade(lab, "/nowhere/nats-server", "2.15.1", &[]).exits(2).says(&["can't be read"]);
}

/// A program that proves itself, and does not come up.
const FAILS: &str = "#!/bin/sh
case \" $* \" in
  *' --version '* | *' -t '*) exec /opt/nats/nats-server-2.15.1 \"$@\" ;;
esac
echo 'it does not come up' >&2
exit 1
";

fn canary_fails(lab: &Lab) {
    let fails = lab.write("fails", FAILS);
    let ended = upgrade(lab, &fails, "2.15.1", &[]);
    let halt = ended.exits(4).terminal("halted")["halt"].clone();
    let host = halt["host"].as_str().expect("a host").to_owned();
    ended.says(&["2.14.6 is kept", &format!("rollgate rollback -i {} {}", lab.inventory(), ended.run())]);
    assert!(ended.rolled().is_empty(), "{ended}");
    // Somebody looks at it, and then has the old program put back.
    let back = lab.plainly(&["rollback", "-i", &lab.inventory(), ended.run(), "--yes"]);
    back.exits(0);
    assert_eq!(back.rolled(), [host.as_str()], "{back}");
    lab.all_healthy();
    assert_eq!(versions(lab), ["2.14.6"; 3]);
    lab.plainly(&["resume", "-i", &lab.inventory(), "--yes"]).exits(2);
    // The same by itself.
    let ended = upgrade(lab, &fails, "2.15.1", &["--set", "on_failure=rollback"]);
    ended.exits(4).says(&["runs again with what it had"]);
    lab.all_healthy();
    assert_eq!(versions(lab), ["2.14.6"; 3]);
    // A run that replaced nothing, and one that nobody knows.
    lab.plainly(&["rollback", "-i", &lab.inventory(), "20260101t000000z-0000", "--yes"]).exits(2);
}

/// As a package manager would: one host there and back.
fn by_command(lab: &Lab) {
    let inventory = lab.inventory();
    let command = "command=ln -sfn /opt/nats/nats-server-2.15.1 /usr/local/bin/nats-server";
    let args =
        ["upgrade", "-i", &inventory, "--yes", "--set", command, "--set", "version=2.15.1", "--set", "canary=1s"];
    let ended = lab.rollgate(&[&args[..], &["--host", "h1"]].concat());
    ended.exits(0).says(&["now 2.15.1"]);
    assert_eq!(versions(lab), ["2.15.1", "2.14.6", "2.14.6"], "{ended}");
    let back = lab.plainly(&["rollback", "-i", &inventory, ended.run(), "--all", "--yes"]);
    back.exits(0);
    assert_eq!(versions(lab), ["2.14.6"; 3], "{back}");
}
