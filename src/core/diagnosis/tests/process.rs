//! The host, the unit, the program and the process.

use jiff::SignedDuration;

use super::*;

#[test]
fn what_the_unit_and_the_program_say() {
    let stopped = |spoil: fn(&mut Archive)| {
        let mut archive = healthy();
        archive.process = Ok(None);
        archive.listeners = Ok(vec![]);
        refuse(&mut archive);
        if let Ok(unit) = &mut archive.unit {
            unit.phase = Phase::Failed;
            unit.active = "failed".into();
            unit.pid = None;
        }
        spoil(&mut archive);
        archive
    };
    let unit = |archive: &mut Archive, spoil: fn(&mut unit::UnitState)| spoil(archive.unit.as_mut().expect("unit"));
    let cases: [Spoiled<unit::UnitState>; 7] = [
        (|unit| (unit.load, unit.phase) = (Some("not-found".into()), Phase::Missing), "unit-missing"),
        (|unit| (unit.load, unit.phase) = (Some("masked".into()), Phase::Missing), "unit-masked"),
        (|unit| unit.load = Some("bad-setting".into()), "unit-invalid"),
        (|unit| unit.result = Some("oom-kill".into()), "oom-killed"),
        (|unit| (unit.result, unit.exit) = (Some("signal".into()), Some(Exit::Signal(9))), "killed-by-signal"),
        (|unit| (unit.result, unit.exit) = (Some("timeout".into()), Some(Exit::Signal(9))), "stop-timeout"),
        (|unit| unit.result = Some("start-limit-hit".into()), "start-limit-hit"),
    ];
    for (spoil, code) in cases {
        let mut archive = stopped(|_| ());
        unit(&mut archive, spoil);
        check(&archive, &[code]);
    }
    let binary: [Spoiled<evidence::Binary>; 4] = [
        (|binary| binary.exists = false, "binary-missing"),
        (|binary| binary.executable = Some(false), "binary-not-executable"),
        (|binary| binary.arch = Some("aarch64".into()), "binary-wrong-architecture"),
        (|binary| (binary.arch, binary.version) = (None, None), "binary-damaged"),
    ];
    for (spoil, code) in binary {
        let mut archive = stopped(|_| ());
        spoil(archive.binary.as_mut().expect("binary"));
        check(&archive, &[code]);
        let mut archive = healthy();
        spoil(archive.binary.as_mut().expect("binary"));
        check_as(Purpose::Preflight, &archive, &[code]);
    }
    let mut archive = healthy();
    unit(&mut archive, |unit| unit.enabled = Some("disabled".into()));
    check(&archive, &["unit-not-enabled"]);
    check(&stopped(|_| ()), &["process-exited"]);
}

#[test]
fn a_stop_that_cuts_lame_duck_short_is_told() {
    let mut archive = healthy();
    archive.unit.as_mut().expect("unit").stop_timeout_ms = Some(20_000);
    check(&archive, &["lame-duck-values"]);
    archive.unit.as_mut().expect("unit").lame_duck_stop = Some(false);
    check(&archive, &[]);
}

#[test]
fn the_host_itself() {
    let failure = |kind, text: &str| Failure::new(kind, text);
    check(
        &Archive::unknown("n1", at(0), &failure(FailureKind::Unreachable, "no route to host")),
        &["host-unreachable"],
    );
    check(&Archive::unknown("n1", at(0), &failure(FailureKind::Sudo, "a password is required")), &["sudo-lost"]);
    let mut archive = healthy();
    archive.machine.as_mut().expect("machine").clock = at(0) + SignedDuration::from_mins(10);
    if let Ok(Some(process)) = &mut archive.process {
        process.started = Some(at(-3000));
    }
    check(&archive, &["clock-skew"]);
    let context = Context { boot_before: Some("boot-0".into()), ..Context::default() };
    assert_eq!(diagnose(&healthy(), &context).findings[0].code, "host-rebooted");
}

#[test]
fn the_kernel_s_log_tells_who_ran_out_of_memory() {
    let kernel = |seconds, name: &str| evidence::LogLine {
        from: Some("kernel".into()),
        ..line(seconds, 0, None, &format!("Memory cgroup out of memory: Killed process 31337 ({name}) total-vm:1kB"))
    };
    let killed = |kills: Vec<evidence::LogLine>| {
        let mut archive = died(None, "x");
        let unit = archive.unit.as_mut().expect("unit");
        (unit.result, unit.exit) = (Some("signal".into()), Some(Exit::Signal(9)));
        archive.journal.as_mut().expect("journal").lines =
            vec![line(-2, 0, None, "nats-server.service: Main process exited, code=killed, status=9/KILL")];
        archive.oom_kills = Ok(kills);
        archive
    };
    let diagnosis = check(&killed(vec![kernel(-900, "nats-server"), kernel(-3, "nats-server")]), &["oom-killed"]);
    assert!(diagnosis.root().expect("root").quotes.iter().any(|quote| quote.text.contains("31337")), "{diagnosis:?}");
    check(&killed(vec![kernel(-900, "nats-server")]), &["killed-by-signal"]);
    check(&killed(vec![kernel(-2, "postgres")]), &["killed-by-signal"]);
    let group = |unit: &str| evidence::LogLine {
        from: Some("kernel".into()),
        ..line(
            -2,
            0,
            None,
            &format!(
                "oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/system.slice/{unit},task=nats-server,pid=31337,uid=999"
            ),
        )
    };
    check(&killed(vec![group("nats-server.service"), kernel(-2, "nats-server")]), &["oom-killed"]);
    check(&killed(vec![group("nats-other.service"), kernel(-2, "nats-server")]), &["killed-by-signal"]);
    check(&killed(vec![]), &["killed-by-signal"]);
    // Nor is it a reason not to start it.
    let before = Context { purpose: Purpose::Preflight, ..Context::default() };
    assert_eq!(diagnose(&killed(vec![]), &before).blocking().count(), 0);
}
