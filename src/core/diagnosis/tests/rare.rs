//! Causes that no fault of the lab's matrix shows first.

use super::*;

#[test]
fn what_the_log_alone_tells() {
    for (line, code) in [
        ("Detected orphaned stream 'APP > S1', will cleanup", "orphaned-streams"),
        (
            "Detected unsupported stream 'APP > S1', delete the stream or upgrade the server to API level 3",
            "assets-unsupported",
        ),
        ("Detected unsupported consumer 'APP > S1 > C'", "assets-unsupported"),
    ] {
        let diagnosis = check(&says(&[line], &[]), &[code]);
        assert!(diagnosis.findings[0].title.contains("APP > S1"), "{diagnosis:#?}");
    }
    let diagnosis = check(
        &says(&["Temporary Client Accept Error (accept4: too many open files), sleeping 1ms"], &[]),
        &["too-few-files"],
    );
    assert_eq!(diagnosis.findings[0].consequences[0].code, "accept-fails");
}

#[test]
fn what_healthz_alone_tells() {
    for (kind, text, code) in [
        ("CONNECTION", "failed to be ready for connections after 1ms: gateway", "healthz-connection"),
        ("JETSTREAM", "JetStream is not current with the meta leader", "healthz-jetstream"),
        ("ACCOUNT", "JetStream account 'APP' is not usable", "healthz-account"),
        // Before 2.10 it has no kinds.
        ("", "failed to be ready for connections after 1ms: route", "healthz-connection"),
        ("", "JetStream consumer 'APP > S > C' is not current", "healthz-consumer"),
        ("", "JetStream stream 'APP > S' is not current", "healthz-stream"),
        ("", "JetStream has gone", "healthz-jetstream"),
        ("OTHER", "something of a later version", "healthz-other"),
    ] {
        let diagnosis = check(&says(&[], &[(kind, text)]), &[code]);
        assert_eq!(diagnosis.findings[0].title, text);
    }
    let mut archive = healthy();
    refuse(&mut archive);
    check(&archive, &["healthz-no-answer"]);
}

#[test]
fn what_the_host_has_too_little_of() {
    let mut archive = healthy();
    archive.machine.as_mut().expect("machine").memory_available = Some(30_000_000);
    check(&archive, &["memory-low"]);
    let mut archive = healthy();
    archive.process.as_mut().expect("process").as_mut().expect("one").open_files = Some(65_000);
    check(&archive, &["file-limit-low"]);
}

#[test]
fn what_is_on_disk_and_not_read_yet() {
    let mut archive = healthy();
    archive.unit.as_mut().expect("unit").needs_daemon_reload = Some(true);
    let diagnosis = check(&archive, &["unit-not-loaded"]);
    assert_eq!(diagnosis.findings[0].remedy.commands, ["sudo systemctl daemon-reload"]);
    let mut archive = healthy();
    archive.listeners.as_mut().expect("listeners").retain(|one| one.port != 6222);
    let diagnosis = check(&archive, &["listener-closed"]);
    assert_eq!(diagnosis.findings[0].title, "the server runs, and its route port 6222 is closed");
}
