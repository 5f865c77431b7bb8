//! What each service manager says, read into one form.

use super::{change::refused, ssh::Output};
use crate::{
    config::inventory::Service,
    core::{
        diagnosis::manager,
        view::{Exit, Failure, FailureKind, Phase, ServiceState},
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
        stop_timeout_ms: values.get("TimeoutStopUSec").and_then(manager::systemd_span),
        enabled: values.get("UnitFileState").filter(|text| !text.is_empty()).map(str::to_owned),
    })
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
}
