//! What each service manager says, read into one form.

use jiff::Timestamp;

use super::{change::refused, ssh::Output};
use crate::{
    config::inventory::Service,
    core::{
        diagnosis::manager,
        view::{Exit, Failure, FailureKind, NextStart, Phase, ServiceState, StopSignal},
    },
};

/// Reads what [`service_state`](super::commands::service_state) printed.
///
/// # Errors
/// The manager's command is missing, refused, or printed something else.
pub fn parse(service: &Service, output: &Output) -> Result<ServiceState, Failure> {
    let values = Values(&output.stdout);
    match service {
        Service::Systemd { .. } => systemd(&values).ok_or_else(|| refused(output)),
        Service::Docker { .. } | Service::Podman { .. } => container(&values, output),
        Service::Command { .. } => command(&values, output),
    }
}

struct Values<'a>(&'a str);

impl Values<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::trim)
    }

    fn text(&self, key: &str) -> String {
        self.get(key).unwrap_or_default().to_owned()
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key)?.parse().ok()
    }

    fn boot_id(&self) -> Option<String> {
        self.get("Boot").map(str::to_owned)
    }
}

fn systemd(values: &Values<'_>) -> Option<ServiceState> {
    let (active, sub) = (values.get("ActiveState")?, values.get("SubState")?);
    let load = values.get("LoadState").unwrap_or_default();
    let phase = manager::systemd_phase(load, active, sub);
    let words = if phase == Phase::Missing { format!("unit is {load}") } else { format!("{active} ({sub})") };
    Some(ServiceState {
        phase,
        words,
        result: values.text("Result"),
        exit: manager::systemd_exit(values.text("ExecMainCode").as_str(), values.number("ExecMainStatus")),
        restarts: values.number("NRestarts"),
        pid: values.number("MainPID").filter(|pid| *pid != 0),
        boot_id: values.boot_id(),
        // Without SIGKILL at the end the manager only gives up waiting.
        stop_timeout_ms: values
            .get("TimeoutStopUSec")
            .filter(|_| values.get("SendSIGKILL") != Some("no"))
            .and_then(manager::systemd_span),
        enabled: values.get("UnitFileState").filter(|text| !text.is_empty()).map(str::to_owned),
        stop_signals: systemd_signals(values),
        next: NextStart {
            version: values.get("Version").and_then(version),
            lame_duck_ms: values.get("LameDuck").and_then(go_span),
            config_at: values.number("ConfigAt").and_then(|seconds| Timestamp::from_second(seconds).ok()),
        },
        by_hand: String::new(),
    })
}

/// What `--version` prints: `nats-server: v2.15.1`.
fn version(text: &str) -> Option<String> {
    Some(text.strip_prefix("nats-server: v")?.to_owned())
}

/// `ExecStop` commands run one after the other; then what still lives gets `KillSignal` (systemd.kill(5)).
fn systemd_signals(values: &Values<'_>) -> Vec<StopSignal> {
    let commands = values.0.lines().filter_map(|line| line.strip_prefix("ExecStop={ path="));
    let mut signals: Vec<StopSignal> = commands
        .filter_map(|line| line.split_once(" argv[]=")?.1.split(" ; ").next())
        .map(|argv| command_signal(argv.trim()))
        .collect();
    signals.extend(values.get("KillSignal").map(signal));
    signals
}

/// What a command of a unit sends: `kill` by any path and spelling, and `nats-server --signal`, whose words are those of
/// nats-server `signal.go`.
fn command_signal(argv: &str) -> StopSignal {
    let words: Vec<&str> = argv.split_whitespace().collect();
    let program = words.first().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    if program == "kill" {
        let name = words.iter().skip(1).find(|word| !matches!(**word, "-s" | "-n" | "--signal"));
        let name = name.map_or("", |word| word.trim_start_matches("--signal=").trim_start_matches('-'));
        return match signal(name) {
            // `kill $MAINPID` names none.
            StopSignal::Other(_) if name.starts_with('$') || name.starts_with("$MAINPID") => StopSignal::Term,
            StopSignal::Other(_) => StopSignal::Other(argv.to_owned()),
            known => known,
        };
    }
    let after = |flag: &&str| matches!(*flag, "--signal" | "-signal" | "-sl");
    let order =
        words.iter().position(after).and_then(|at| words.get(at + 1)).copied().or_else(|| {
            words.iter().find_map(|word| word.strip_prefix("--signal=").or_else(|| word.strip_prefix("-sl=")))
        });
    match order.map(|order| order.split('=').next().unwrap_or(order)) {
        Some("ldm") => StopSignal::LameDuck,
        Some("quit") => StopSignal::Interrupt,
        Some("term") => StopSignal::Term,
        Some("stop") => StopSignal::Kill,
        _ => StopSignal::Other(argv.to_owned()),
    }
}

fn signal(name: &str) -> StopSignal {
    match name.trim_start_matches("SIG") {
        "USR2" | "12" => StopSignal::LameDuck,
        "TERM" | "15" => StopSignal::Term,
        "INT" | "2" => StopSignal::Interrupt,
        "KILL" | "9" => StopSignal::Kill,
        other => StopSignal::Other(format!("signal {other}")),
    }
}

/// A duration as nats-server's configuration has it: `2m`, `1m30s`, `1.5h`, or bare seconds.
fn go_span(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<u64>() {
        return seconds.checked_mul(1000);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = match unit {
            "ms" => 1.0,
            "s" => 1000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * unit;
        rest = tail;
    }
    // Nobody waits for a lame duck longer than a year.
    (total > 0.0 && total < 3.2e10).then(|| total.round() as u64)
}

fn container(values: &Values<'_>, output: &Output) -> Result<ServiceState, Failure> {
    let Some(status) = values.get("Status") else {
        let missing = ["No such", "no such", "not found"].iter().any(|mark| output.stderr.contains(mark))
            && output.status != Some(127);
        let failure = refused(output);
        return if missing { Ok(state(Phase::Missing, failure.detail, values)) } else { Err(failure) };
    };
    let code: Option<i32> = values.number("ExitCode");
    let phase = manager::container_phase(status, code);
    let mut state = state(phase, format!("container {status}"), values);
    if phase != Phase::Running {
        state.exit = code.map(manager::container_exit);
    }
    if values.get("OOMKilled") == Some("true") {
        state.result = "oom-kill".into();
    }
    // What the image does not set is SIGTERM. `stop` is given the step's own limit, so there is none of the manager's.
    let signal_of = values.get("StopSignal").map(|name| if name.is_empty() { StopSignal::Term } else { signal(name) });
    state.stop_signals = signal_of.into_iter().collect();
    state.restarts = values.number("RestartCount");
    state.pid = values.number("Pid").filter(|pid| *pid != 0);
    Ok(state)
}

/// A status command exits 0 while the server runs; it may print `pid=`, `restarts=` and `exit=`.
fn command(values: &Values<'_>, output: &Output) -> Result<ServiceState, Failure> {
    let status: i32 = values.number("StatusExit").ok_or_else(|| refused(output))?;
    if matches!(status, 126 | 127) {
        let said = output.stderr.lines().next().unwrap_or("the status command can't be run");
        return Err(Failure::new(FailureKind::Command, format!("{said} (exit status {status})")));
    }
    let phase = if status == 0 { Phase::Running } else { Phase::Stopped };
    let words = if status == 0 { "running".to_owned() } else { format!("not running (status {status})") };
    let mut state = state(phase, words, values);
    state.restarts = values.number("restarts");
    state.pid = values.number("pid");
    if phase == Phase::Stopped {
        state.exit = values.number("exit").map(Exit::Code);
    }
    Ok(state)
}

fn state(phase: Phase, words: String, values: &Values<'_>) -> ServiceState {
    ServiceState {
        phase,
        words,
        result: String::new(),
        exit: None,
        restarts: None,
        pid: None,
        boot_id: values.boot_id(),
        stop_timeout_ms: None,
        enabled: None,
        stop_signals: Vec::new(),
        next: NextStart::default(),
        by_hand: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(status: i32, stdout: &str, stderr: &str) -> Output {
        Output { status: Some(status), stdout: stdout.into(), stderr: stderr.into() }
    }

    fn check(service: &Service, output: &Output, expected: Result<(Phase, &str), FailureKind>) {
        let found = parse(service, output);
        let found = found.as_ref().map(|state| (state.phase, state.summary())).map_err(|failure| failure.kind);
        assert_eq!(found, expected.map(|(phase, text)| (phase, text.to_owned())));
    }

    fn unit(load: &str, active: &str, sub: &str, rest: &str) -> Output {
        let text = format!("Boot=b1\nLoadState={load}\nActiveState={active}\nSubState={sub}\n{rest}");
        output(0, &text, "")
    }

    #[test]
    fn systemd_units_are_read() {
        let systemd = Service::Systemd { unit: "nats-server.service".into() };
        let ok =
            "Result=success\nNRestarts=0\nMainPID=77\nExecMainCode=0\nExecMainStatus=0\nTimeoutStopUSec=2min 30s\n";
        check(&systemd, &unit("loaded", "active", "running", ok), Ok((Phase::Running, "active (running)")));
        let failed = "Result=exit-code\nNRestarts=3\nMainPID=0\nExecMainCode=1\nExecMainStatus=1\n";
        check(
            &systemd,
            &unit("loaded", "activating", "auto-restart", failed),
            Ok((
                Phase::AutoRestart,
                "activating (auto-restart), result exit-code, exit status 1, restarted 3 times by its manager",
            )),
        );
        let killed = "Result=signal\nNRestarts=0\nMainPID=0\nExecMainCode=2\nExecMainStatus=9\n";
        check(
            &systemd,
            &unit("loaded", "failed", "failed", killed),
            Ok((Phase::Failed, "failed (failed), result signal, killed by SIGKILL")),
        );
        check(&systemd, &unit("not-found", "inactive", "dead", ""), Ok((Phase::Missing, "unit is not-found")));
        check(&systemd, &output(127, "", "sh: systemctl: not found"), Err(FailureKind::Command));
    }

    #[test]
    fn containers_are_read() {
        let docker = Service::Docker { container: "nats".into() };
        check(
            &docker,
            &output(0, "Status=running\nExitCode=0\nOOMKilled=false\nPid=5\nRestartCount=0\n", ""),
            Ok((Phase::Running, "container running")),
        );
        check(
            &docker,
            &output(0, "Status=exited\nExitCode=137\nOOMKilled=true\nPid=0\nRestartCount=0\n", ""),
            Ok((Phase::Failed, "container exited, result oom-kill, killed by SIGKILL")),
        );
        check(
            &docker,
            &output(1, "", "Error: No such container: nats\n"),
            Ok((Phase::Missing, "Error: No such container: nats (exit status 1)")),
        );
        check(&docker, &output(127, "", "sh: 1: docker: not found\n"), Err(FailureKind::Command));
    }

    #[test]
    fn own_commands_are_read() {
        let own = Service::Command { start: vec![], stop: vec![], status: vec![], logs: None };
        check(&own, &output(0, "Boot=b\npid=5\nrestarts=0\nStatusExit=0\n", ""), Ok((Phase::Running, "running")));
        check(
            &own,
            &output(0, "exit=1\nStatusExit=3\n", ""),
            Ok((Phase::Stopped, "not running (status 3), exit status 1")),
        );
        check(&own, &output(0, "StatusExit=127\n", "sh: nope: not found\n"), Err(FailureKind::Command));
        check(&own, &output(1, "", "sudo: a password is required\n"), Err(FailureKind::Sudo));
    }

    #[test]
    fn what_a_stop_sends_is_read() {
        use StopSignal::{Interrupt, Kill, LameDuck, Other, Term};
        let exec = |argv: &str| {
            let program = argv.split(' ').next().unwrap_or_default();
            format!("ExecStop={{ path={program} ; argv[]={argv} ; ignore_errors=no ; start_time=[n/a] ; pid=0 }}\n")
        };
        let check = |text: &str, expected: &[StopSignal]| {
            assert_eq!(systemd_signals(&Values(text)), expected, "{text}");
        };
        // The units that nats-io publishes: from 2.10.28 and 2.11.2, from 2.10.2, and before.
        check(&format!("{}KillSignal=15\n", exec("/bin/kill -s SIGUSR2 $MAINPID")), &[LameDuck, Term]);
        check(&format!("{}KillSignal=12\n", exec("/bin/kill -s SIGINT $MAINPID")), &[Interrupt, LameDuck]);
        check(&format!("{}KillSignal=15\n", exec("/bin/kill -s SIGINT $MAINPID")), &[Interrupt, Term]);
        check("KillSignal=12\n", &[LameDuck]);
        for (argv, expected) in [
            ("/usr/bin/kill -USR2 $MAINPID", LameDuck),
            ("/usr/bin/kill -12 $MAINPID", LameDuck),
            ("kill --signal=SIGTERM $MAINPID", Term),
            ("kill $MAINPID", Term),
            ("kill -9 $MAINPID", Kill),
            ("/usr/sbin/nats-server --signal ldm=/run/nats.pid", LameDuck),
            ("/usr/sbin/nats-server --signal=stop", Kill),
            ("/usr/sbin/nats-server -sl quit=${MAINPID}", Interrupt),
            ("/opt/stop.sh now", Other("/opt/stop.sh now".into())),
        ] {
            check(&exec(argv), &[expected]);
        }
        let two = format!("{}{}", exec("/bin/sleep 1"), exec("/bin/kill -s SIGUSR2 $MAINPID"));
        check(&two, &[Other("/bin/sleep 1".into()), LameDuck]);
    }

    #[test]
    fn what_the_next_start_finds_is_read() {
        let text = "Version=nats-server: v2.12.8\nConfigAt=1795348800\nLameDuck=1m30s\n";
        let output = unit("loaded", "active", "running", text);
        let state = parse(&Service::Systemd { unit: "n".into() }, &output).unwrap();
        assert_eq!(state.next.version.as_deref(), Some("2.12.8"));
        assert_eq!(state.next.lame_duck_ms, Some(90_000));
        assert_eq!(state.next.config_at, Some(Timestamp::from_second(1_795_348_800).unwrap()));
        for (text, expected) in [("2m", Some(120_000)), ("1.5h", Some(5_400_000)), ("45", Some(45_000)), ("x", None)] {
            assert_eq!(go_span(text), expected, "{text}");
        }
    }
}
