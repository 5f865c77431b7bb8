//! `service: {command: …}`: servers without systemd and without root, by commands of the operator's own.

use std::fs;

use crate::{
    harness::{Lab, WIDE},
    process::{Running, strings},
};

#[test]
fn own_commands() {
    let Some(lab) = Lab::plain() else { return };
    let before = lab.server_ids();
    assert!(before.iter().all(Option::is_some), "{before:?}");
    let ended = lab.rollgate(&["run", &lab.file("quick.yaml"), "-i", &lab.inventory(), "--yes"]);
    ended.exits(0).journal_is_whole();
    let mut rolled = ended.rolled();
    rolled.sort_unstable();
    assert_eq!(rolled, lab.hosts(), "{ended}");
    let after = lab.server_ids();
    assert!(before.iter().zip(&after).all(|(old, new)| new.is_some() && old != new), "{before:?} {after:?}\n{ended}");
}

#[test]
fn an_own_start_command_that_fails() {
    let Some(lab) = Lab::plain() else { return };
    let order = lab.plan(&lab.inventory());
    let before = lab.server_ids();
    let service = lab.path.join("service").display().to_string();
    let broken = lab.write("start", "#!/bin/sh\necho 'no licence today' >&2\nexit 7\n");
    let inventory = lab
        .inventory_with(|text| text.replace(&format!("start: [{service}, start]"), &format!("start: [sh, {broken}]")));
    assert!(fs::read_to_string(&inventory).is_ok_and(|text| text.contains(&broken)));
    let ended = lab.rollgate(&["run", &lab.file("quick.yaml"), "-i", &inventory, "--yes"]);
    ended.exits(4).journal_is_whole();
    let halt = ended.halt("change-failed");
    assert_eq!(halt["host"], order[0], "{ended}");
    assert_eq!(halt["step"], "start", "{ended}");
    assert_eq!(halt["status"], 7, "{ended}");
    assert_eq!(strings(&halt["untouched"]), order[1..], "{ended}");
    ended.says(&["exit status 7", "no licence today"]);
    for (place, host) in lab.hosts().iter().enumerate() {
        let expected = if *host == order[0] { &None } else { &before[place] };
        assert_eq!(&lab.server_id(host), expected, "{host}: {ended}");
    }
}

/// Secrets that are planted wherever a run comes by: in what an operator's commands print, in their own words, in the server's
/// log, in files and variables of ours. None of them is in the journal, the events, or anything that is printed.
#[test]
fn no_secret_in_what_a_run_leaves() {
    let Some(lab) = Lab::plain() else { return };
    let secret = |number: u32| format!("hunter{number}xq7");
    let order = lab.plan(&lab.inventory());
    let service = lab.path.join("service").display().to_string();
    let said = format!(
        "password: {}\nnats://u:{}@h1:6222 refused\nAuthorization: Bearer {}\n{{\"token\": \"{}\"}}\n",
        secret(1),
        secret(2),
        secret(3),
        secret(4)
    );
    let said = lab.write("said", &said);
    let start = lab.write("start", &format!("#!/bin/sh\ncat {said}\ncat {said} >&2\nexit 7\n"));
    let log = format!("[1] 2026/01/01 00:00:00.000001 [ERR] nats: password: {}", secret(5));
    let password = lab.write("sys.password", &format!("{}\n", secret(6)));
    let inventory = lab.inventory_with(|text| {
        let text = text.replace(
            &format!("start: [{service}, start]"),
            &format!("start: [sh, {start}, --pass, {}, \"--auth={}\"]", secret(7), secret(8)),
        );
        let text = text.replace(&format!("logs: [{service}, logs]"), &format!("logs: [echo, \"{log}\"]"));
        text.replacen("defaults:\n", &format!("defaults:\n  nats: {{user: sys, password_file: {password}}}\n"), 1)
    });
    let run = |args: &[&str]| {
        let mut command = lab.rollgate_command(args);
        command.env("RUST_LOG", "debug").env("SYS_PASSWORD", secret(9));
        Running::start(command, &lab.state()).wait(WIDE)
    };
    let quick = lab.file("quick.yaml");
    // It is not the password of a user: the system account is no part of this.
    let allow = ["--allow", "system-account"];
    let halted = run(&[&["run", &quick, "-i", &inventory, "--yes", "-o", "ndjson"][..], &allow].concat());
    halted.exits(4).halt("change-failed");
    assert!(halted.stderr.contains("[redacted]"), "{halted}");
    let id = halted.run().to_owned();
    let mut told = vec![halted];
    for args in [
        &["show", &id][..],
        &["show", &id, "-o", "json"],
        &["history"],
        &["diagnose", "-i", &inventory, &order[0]],
        &["plan", "-i", &inventory],
        &["status", "-i", &inventory],
        &["resume", "-i", &inventory, &id, "--yes"],
        &["abort", "-i", &inventory, &id],
    ] {
        told.push(run(args));
    }
    let journal = lab.state().join("runs").join(&id).join("journal.ndjson");
    let journal = fs::read_to_string(journal).expect("the journal");
    for secret in (1..=9).map(secret) {
        assert!(!journal.contains(&secret), "{secret} in the journal:\n{journal}");
        for ended in &told {
            // A list of arguments is the test's own.
            let printed = format!("{}{}", ended.stdout, ended.stderr);
            assert!(!printed.contains(&secret), "{secret} in {printed}");
        }
    }
}
