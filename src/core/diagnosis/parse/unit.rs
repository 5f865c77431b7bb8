//! The service and its process.

use super::{Fields, Tagged, kib, number, one, seconds, text};
use crate::core::{
    diagnosis::{
        evidence::{Process, Work},
        manager,
        unit::{Manager, UnitState},
    },
    view::{Failure, FailureKind, Phase, Seen},
};

/// Settings of a unit that narrow what its processes see.
const SANDBOX: &[&str] = &[
    "ProtectSystem",
    "ProtectHome",
    "PrivateTmp",
    "DynamicUser",
    "RootDirectory",
    "ReadWritePaths",
    "ReadOnlyPaths",
    "InaccessiblePaths",
    "BindPaths",
    "BindReadOnlyPaths",
    "TemporaryFileSystem",
];

pub fn unit(tagged: &Tagged<'_>) -> Seen<UnitState> {
    let fields = tagged.fields("u");
    let manager = match one(&fields, "manager") {
        Some("systemd") => Manager::Systemd,
        Some("docker") => Manager::Docker,
        Some("podman") => Manager::Podman,
        Some("command") => Manager::Command,
        Some("none") => Manager::None,
        _ => return Err(Failure::new(FailureKind::Command, "the collector did not tell of the service")),
    };
    let why = || {
        let gap = tagged.lines("g").find_map(|line| line.strip_prefix("unit\t"));
        Failure::new(FailureKind::Command, gap.unwrap_or("the service manager said nothing").to_owned())
    };
    match manager {
        Manager::Systemd => systemd(&fields).ok_or_else(why),
        Manager::Docker | Manager::Podman => container(&fields, manager).ok_or_else(why),
        Manager::Command => command(&fields).ok_or_else(why),
        Manager::None => Ok(plain(&fields, manager, Phase::Stopped, String::new())),
    }
}

fn plain(fields: &Fields<'_>, manager: Manager, phase: Phase, active: String) -> UnitState {
    let list = |key: &str| one(fields, key).map_or_else(Vec::new, words);
    UnitState {
        manager,
        name: text(fields, "Id").unwrap_or_default(),
        phase,
        load: None,
        active,
        sub: None,
        result: None,
        exit: None,
        restarts: None,
        pid: None,
        enabled: None,
        fragment: None,
        drop_ins: list("DropInPaths"),
        needs_daemon_reload: None,
        user: None,
        group: None,
        argv: list("Argv"),
        environment: fields.get("EnvironmentName").into_iter().flatten().map(|name| (*name).to_owned()).collect(),
        working_directory: text(fields, "WorkingDirectory"),
        stop_timeout_ms: None,
        lame_duck_stop: one(fields, "LameDuckStop").map(|text| text == "1"),
        open_files_limit: None,
        memory_max: None,
        sandbox: Vec::new(),
        requires_mounts_for: list("RequiresMountsFor"),
        started: None,
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn systemd(fields: &Fields<'_>) -> Option<UnitState> {
    let load = text(fields, "LoadState")?;
    let (active, sub) = (text(fields, "ActiveState")?, text(fields, "SubState")?);
    let phase = manager::systemd_phase(&load, &active, &sub);
    let is_set = |value: &str| !matches!(value, "" | "no");
    let sandbox = SANDBOX.iter().filter_map(|key| {
        let value = text(fields, key).filter(|value| is_set(value))?;
        Some(((*key).to_owned(), value))
    });
    let is_missing = phase == Phase::Missing;
    Some(UnitState {
        load: Some(load),
        sub: Some(sub),
        result: text(fields, "Result"),
        exit: manager::systemd_exit(one(fields, "ExecMainCode").unwrap_or_default(), number(fields, "ExecMainStatus")),
        restarts: number(fields, "NRestarts"),
        pid: number(fields, "MainPID").filter(|pid| *pid != 0),
        enabled: text(fields, "UnitFileState"),
        fragment: text(fields, "FragmentPath"),
        needs_daemon_reload: one(fields, "NeedDaemonReload").map(|text| text == "yes"),
        user: if is_missing { None } else { Some(text(fields, "User").unwrap_or_else(|| "root".into())) },
        group: text(fields, "Group"),
        stop_timeout_ms: one(fields, "TimeoutStopUSec").and_then(manager::systemd_span),
        // `infinity` is no number.
        open_files_limit: number(fields, "LimitNOFILE"),
        memory_max: number(fields, "MemoryMax"),
        sandbox: sandbox.collect(),
        started: text(fields, "ExecMainStartTimestamp"),
        ..plain(fields, Manager::Systemd, phase, active)
    })
}

fn container(fields: &Fields<'_>, manager: Manager) -> Option<UnitState> {
    let status = text(fields, "Status")?;
    let code: Option<i32> = number(fields, "ExitCode");
    let phase = manager::container_phase(&status, code);
    Some(UnitState {
        result: (one(fields, "OOMKilled") == Some("true")).then(|| "oom-kill".to_owned()),
        exit: code.filter(|_| phase != Phase::Running).map(manager::container_exit),
        restarts: number(fields, "RestartCount"),
        pid: number(fields, "Pid").filter(|pid| *pid != 0),
        user: text(fields, "User"),
        ..plain(fields, manager, phase, status)
    })
}

fn command(fields: &Fields<'_>) -> Option<UnitState> {
    let status: i32 = number(fields, "StatusExit")?;
    let phase = if status == 0 { Phase::Running } else { Phase::Stopped };
    let active = if status == 0 { "running".to_owned() } else { format!("not running (status {status})") };
    Some(plain(fields, Manager::Command, phase, active))
}

/// None where nothing was told; `Ok(None)` where no process runs.
pub fn process(tagged: &Tagged<'_>) -> Option<Seen<Option<Process>>> {
    let fields = tagged.fields("p");
    if fields.contains_key("none") {
        return Some(Ok(None));
    }
    const DELETED: &str = " (deleted)";
    let exe = text(&fields, "exe");
    let state = one(&fields, "state").and_then(|text| text.chars().next());
    Some(Ok(Some(Process {
        pid: number(&fields, "pid")?,
        inner_pid: number(&fields, "inner-pid"),
        exe_replaced: exe.as_ref().is_some_and(|exe| exe.ends_with(DELETED)),
        exe: exe.map(|exe| exe.trim_end_matches(DELETED).to_owned()),
        argv: one(&fields, "argv").map_or_else(Vec::new, |text| text.split('\t').map(str::to_owned).collect()),
        user: text(&fields, "user").or_else(|| text(&fields, "uid")),
        started: one(&fields, "started").and_then(seconds),
        rss: kib(&fields, "rss"),
        open_files: number(&fields, "files"),
        open_files_limit: number(&fields, "files-limit"),
        memory_limit: number(&fields, "memory-max"),
        state,
        work: work(&fields),
    })))
}

/// The difference of two looks: bytes of system calls, bytes from disks, ticks.
fn work(fields: &Fields<'_>) -> Option<Work> {
    let numbers = |text: &str| text.split_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<u64>>>();
    let [first, second] = fields.get("work")?.as_slice() else { return None };
    let (first, second) = (numbers(first)?, numbers(second)?);
    let ([calls, disks, ticks], [calls2, disks2, ticks2]) = (first.as_slice(), second.as_slice()) else { return None };
    Some(Work {
        bytes: calls2.saturating_sub(*calls).max(disks2.saturating_sub(*disks)),
        ticks: ticks2.saturating_sub(*ticks),
        seconds: number(fields, "work-s")?,
    })
}
