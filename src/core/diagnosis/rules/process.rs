//! The unit, the program and the process: whether anything can start the server, and how it ended.

use jiff::SignedDuration;

use super::super::{
    case::{Case, Purpose},
    catalogue::pages,
    evidence::LogLine,
    finding::{Finding, Severity},
    unit::{Manager, UnitState},
};
use crate::core::view::{Exit, Phase};

pages! {
    UNIT_MISSING = "unit-missing" Blocking Unit "the service manager knows no such unit"
        why "Nothing can start the server."
        proof "The unit's LoadState."
        remedy "install the unit, or correct its name in the inventory";
    UNIT_MASKED = "unit-masked" Blocking Unit "the unit is masked"
        why "A masked unit can't be started by anything."
        proof "The unit's LoadState."
        remedy "unmask it, then start it";
    UNIT_BROKEN = "unit-invalid" Blocking Unit "the service manager refuses the unit file"
        why "A unit with an error that matters is not loaded."
        proof "The unit's LoadState and LoadError."
        remedy "correct the unit file, then reload the service manager";
    UNIT_DISABLED = "unit-not-enabled" Warning Unit "the unit does not start at boot"
        why "The server runs now, and does not come back after a reboot of the host."
        proof "The unit's UnitFileState."
        remedy "enable the unit";
    DROP_IN = "unit-drop-in" Notice Unit "a drop-in overrides the unit"
        why "What starts the server is not what the unit file says."
        proof "The unit's DropInPaths."
        remedy "read the unit with its drop-ins";
    START_LIMIT = "start-limit-hit" Blocking Unit "the service manager gave up starting the server"
        why "It died too often in too short a time; the manager refuses further starts until the counter is reset."
        proof "The unit's Result, or `Start request repeated too quickly` in the journal."
        remedy "mend the cause, reset the counter, then start it" follows ["*"];
    BINARY_MISSING = "binary-missing" Blocking Binary "the program is missing"
        why "The unit's ExecStart names a file that is not there (203/EXEC)."
        proof "The file does not exist; `Failed to execute …: No such file or directory`."
        remedy "install the program where the unit looks for it";
    BINARY_NOT_EXECUTABLE = "binary-not-executable" Blocking Binary "the program may not be executed"
        why "The file is there and the service's user may not execute it (203/EXEC): its mode, a directory above it, or a \
             file system mounted noexec."
        proof "The file's mode; `Failed to execute …: Permission denied`."
        remedy "make it executable for all";
    BINARY_ARCHITECTURE = "binary-wrong-architecture" Blocking Binary "the program is for another architecture"
        why "The kernel can't execute it (203/EXEC)."
        proof "The file's header, and `uname -m`; `Exec format error`."
        remedy "install the program for this host's architecture";
    BINARY_DAMAGED = "binary-damaged" Blocking Binary "the program crashes before it does anything"
        why "It is cut off or damaged: the kernel ends it with a segmentation fault before its first word."
        proof "Signal 11 or 7, no line of the server in the journal, and a program that does not tell its version."
        remedy "install the program anew and compare its checksum";
    BINARY_OLD = "binary-too-old" Blocking Binary "the program is older than what it finds in its store"
        why "A newer server wrote raft entries that this one does not know, and it panics."
        proof "The line `panic: JetStream Cluster Unknown … entry op type`."
        remedy "install the version that wrote the store, or a newer one";
    PANIC = "server-panic" Blocking Process "the server panicked"
        why "An error in the server, or in what it read from its store."
        proof "The line `panic: …` or `fatal error: …`."
        remedy "keep the journal and the store, look for the line in the server's issues, and try a newer release"
        follows ["binary-too-old", "oom-killed"];
    OOM = "oom-killed" Blocking Process "the kernel killed the server: out of memory"
        why "The unit's memory limit, or the host's memory, was used up. Recovering a large store takes much memory."
        proof "The unit's Result `oom-kill`; where the manager does not know, SIGKILL and the kernel's `Out of memory: Killed \
               process` of the same moment."
        remedy "raise the limit, or give the host more memory, then start it";
    KILLED = "killed-by-signal" Blocking Process "the server was killed"
        why "SIGKILL gives the server no chance to save its state or to hand over its leaders: it comes back slower, and \
             streams without a leader refuse publishes for 4–9 s."
        proof "The unit's exit: the signal."
        remedy "find out who sent it; start the server"
        follows ["oom-killed", "binary-damaged", "stop-timeout"];
    STOP_TIMEOUT = "stop-timeout" Blocking Process "the service manager killed the server because its stop took too long"
        why "TimeoutStopSec is shorter than the lame duck: the stop ended in SIGKILL."
        proof "The unit's Result `timeout`."
        remedy "raise TimeoutStopSec above lame_duck_duration, then start the server";
    FILES = "too-few-files" Blocking Process "the server may open too few files"
        why "Every client, route and message block takes a file descriptor. Some versions exit, others stay up with healthz 200 \
             and accept nobody."
        proof "`too many open files` in the log; LimitNOFILE."
        remedy "raise LimitNOFILE of the unit, then restart the server";
    FILES_LOW = "file-limit-low" Notice Process "the limit of open files is low"
        why "Every client, route and message block takes a file descriptor. 1,024 is the kernel's default, not a choice."
        proof "LimitNOFILE of the process or the unit."
        remedy "raise LimitNOFILE of the unit";
    EXEC_STEP = "exec-setup-failed" Blocking Unit "the service manager could not prepare the start"
        why "What the unit asks for can't be had: a user, a directory, a namespace. The program was never executed."
        proof "The unit's exit status (200 to 243), and `Failed at step …` in the journal."
        remedy "correct what the line names"
        follows ["binary-missing", "binary-not-executable", "binary-wrong-architecture"];
    FROZEN = "process-frozen" Blocking Process "the process is stopped"
        why "SIGSTOP, a debugger or a frozen cgroup: the kernel accepts connections in its place, and nothing answers."
        proof "The process's state T."
        remedy "let it go on";
    CRASH_LOOP = "crash-loop" Blocking Process "the server dies, and its manager starts it again and again"
        why "Each start fails in the same way; more starts only hide why."
        proof "NRestarts grows, or the unit is in auto-restart."
        remedy "stop the unit until the cause is mended" follows ["*"];
    EXITED = "process-exited" Blocking Process "the server's process has exited"
        why "It ended by itself, and nothing starts it again."
        proof "The unit's state and exit status."
        remedy "read its last words in the journal, and in `log_file` where there is one" follows ["*"];
    NOT_STARTED = "server-not-started" Blocking Process "the server does not run"
        why "It was stopped, and nothing failed: somebody has to start it."
        proof "The unit's state."
        remedy "start the unit" follows ["*"];
}

/// All that concerns the unit, the program and the process.
pub(super) fn rules(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(unit(case));
    found.extend(binary(case));
    found.extend(death(case));
    found.extend(files(case));
    found.extend(frozen(case));
    found.extend(standing(case, &found));
    found
}

fn unit(case: &Case<'_>) -> Vec<Finding> {
    let Some(unit) = case.unit().filter(|unit| unit.manager == Manager::Systemd) else { return Vec::new() };
    let name = &unit.name;
    let shown = |finding: Finding, line: String| finding.quote(format!("systemctl show {name}"), line);
    let load = unit.load.as_deref().unwrap_or("loaded");
    let mut found = Vec::new();
    match load {
        "not-found" => {
            let finding = Finding::of(&UNIT_MISSING, format!("systemd knows no unit {name}"));
            found.push(shown(finding, "LoadState=not-found".into()).run("systemctl list-unit-files '*nats*'"));
        }
        "masked" => {
            let finding = Finding::of(&UNIT_MASKED, format!("{name} is masked"));
            found.push(shown(finding, "LoadState=masked".into()).run(format!("sudo systemctl unmask {name}")));
        }
        "bad-setting" | "error" => {
            let finding = Finding::of(&UNIT_BROKEN, format!("systemd refuses {name}: {load}"));
            found.push(
                shown(finding, format!("LoadState={load}"))
                    .run(format!("systemd-analyze verify {name}"))
                    .run("sudo systemctl daemon-reload"),
            );
        }
        _ => {}
    }
    if load == "loaded" && matches!(unit.enabled.as_deref(), Some("disabled")) {
        let finding = Finding::of(&UNIT_DISABLED, format!("{name} does not start at boot"));
        found.push(shown(finding, "UnitFileState=disabled".into()).run(format!("sudo systemctl enable {name}")));
    }
    if load == "loaded" && !unit.drop_ins.is_empty() && !case.ready() && !case.preflight() {
        let finding = Finding::of(&DROP_IN, format!("{name} is changed by {}", unit.drop_ins.join(", "))).possible();
        found.push(
            shown(finding, format!("DropInPaths={}", unit.drop_ins.join(" "))).run(format!("systemctl cat {name}")),
        );
    }
    let gave_up = unit.result.as_deref() == Some("start-limit-hit");
    let line = (!case.alive()).then(|| case.said(&["Start request repeated too quickly"])).flatten();
    if gave_up || line.is_some() && unit.phase == Phase::Failed {
        let finding = Finding::of(&START_LIMIT, format!("systemd gave up starting {name}"));
        let finding = shown(finding, format!("Result={}", unit.result.as_deref().unwrap_or("start-limit-hit")));
        let finding = match line {
            Some(line) => finding.line(&line),
            None => finding,
        };
        found.push(
            finding.run(format!("sudo systemctl reset-failed {name}")).run(format!("sudo systemctl start {name}")),
        );
    }
    found
}

/// systemd's exit status where the program could not be executed.
const EXEC: i32 = 203;

fn binary(case: &Case<'_>) -> Vec<Finding> {
    let said =
        case.said(&["Failed to execute", "Failed at step EXEC", "Unable to locate executable", "Exec format error"]);
    let said = said.filter(|_| !case.alive());
    let failed = case.exit() == Some(Exit::Code(EXEC)) && !case.alive() || said.is_some();
    let Ok(binary) = &case.archive.binary else {
        return match said {
            Some(line) => vec![Finding::of(&EXEC_STEP, "systemd could not execute the program").died(&line)],
            None => Vec::new(),
        };
    };
    let path = &binary.path;
    let machine = case.archive.machine.as_ref().ok().and_then(|machine| machine.arch.as_deref());
    let finding = if !binary.exists {
        let finding = Finding::of(&BINARY_MISSING, format!("{path} is missing")).quote(path.as_str(), "no such file");
        Some(finding.run(format!("sudo ls -l {path}")))
    } else if binary.executable == Some(false) {
        let title = format!("{} may not execute {path}", case.user());
        let facts = case.archive.path(path).map(super::paths::facts);
        Some(
            Finding::of(&BINARY_NOT_EXECUTABLE, title)
                .quote(format!("{path} as {}", case.user()), facts.unwrap_or_else(|| "not executable".into()))
                .run(format!("sudo chmod 755 {path}")),
        )
    } else if let (Some(its), Some(machine)) = (&binary.arch, machine)
        && its != machine
    {
        let title = format!("{path} is for {its}, and this host is {machine}");
        Some(
            Finding::of(&BINARY_ARCHITECTURE, title)
                .quote(path.as_str(), format!("ELF machine {its}"))
                .run(format!("file {path}; uname -m")),
        )
    } else if binary.arch.is_none() && binary.version.is_none() && binary.size.is_some() && binary.script != Some(true)
    {
        let said = binary.said.as_deref().filter(|said| !said.is_empty()).unwrap_or("it does not tell its version");
        Some(
            Finding::of(&BINARY_DAMAGED, format!("{path} is no program"))
                .quote(format!("{path} --version"), said)
                .run(format!("file {path}")),
        )
    } else if binary.version.is_none() && matches!(case.exit(), Some(Exit::Signal(11 | 7 | 4))) {
        let said = binary.said.as_deref().unwrap_or("no answer");
        let size = binary.size.map(|size| format!(" ({size} bytes)")).unwrap_or_default();
        let title = format!("{path}{size} crashes before its first word");
        Some(
            Finding::of(&BINARY_DAMAGED, title)
                .quote(format!("{path} --version"), said)
                .run(format!("sha256sum {path}")),
        )
    } else {
        None
    };
    match (finding, said) {
        (Some(finding), Some(line)) => vec![finding.died(&line)],
        (Some(finding), None) => vec![finding],
        (None, Some(line)) if failed => {
            vec![
                Finding::of(&EXEC_STEP, "the program could not be executed")
                    .died(&line)
                    .run(format!("systemctl cat {}", case.unit_name())),
            ]
        }
        _ => Vec::new(),
    }
}

/// How it died, where its own words do not say more.
fn death(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(line) =
        case.last_words.filter(|line| line.text().starts_with("panic: ") || line.text().starts_with("fatal error: "))
    {
        let text = line.text();
        let old = text.contains("JetStream Cluster Unknown");
        let (page, title) = match (&case.archive.binary, old) {
            (Ok(binary), true) => {
                let version = binary.version.as_deref().unwrap_or("of this version");
                (&BINARY_OLD, format!("{} ({version}) is too old for the raft entries in its store", binary.path))
            }
            (Err(_), true) => (&BINARY_OLD, "the program is too old for the raft entries in its store".to_owned()),
            (_, false) => (&PANIC, format!("the server crashed: {}", shortened(text))),
        };
        let run = match &case.archive.binary {
            Ok(binary) => format!("{} --version", binary.path),
            Err(_) => case.log_command(200),
        };
        found.push(Finding::of(page, title).died(&line).run(run));
    }
    if case.alive() {
        return found;
    }
    let Some(unit) = case.unit() else { return found };
    let name = &unit.name;
    // How it ended says nothing against its next start.
    let past = if case.preflight() { Severity::Warning } else { Severity::Blocking };
    let result = unit.result.as_deref().unwrap_or_default();
    let kill = out_of_memory(case);
    let exit = unit.exit.map(|exit| exit.to_string()).unwrap_or_default();
    if result == "oom-kill" || kill.is_some() && unit.exit == Some(Exit::Signal(9)) {
        let limit = unit.memory_max.map(|max| format!(" (MemoryMax {})", crate::core::bytes(max))).unwrap_or_default();
        let finding = Finding::of(&OOM, format!("the kernel killed {name}: out of memory{limit}"))
            .quote(case.state_source(), format!("Result={result}, {exit}"));
        let finding = match kill {
            Some(line) => finding.quote("the kernel's log", line.text.as_str()),
            None => finding,
        };
        let run = match unit.memory_max {
            Some(max) => format!("sudo systemctl set-property {name} MemoryMax={}", max.saturating_mul(2)),
            None => "free -m".into(),
        };
        found.push(finding.run(run));
    } else if result == "timeout" {
        let limit = unit.stop_timeout_ms.map(|ms| format!(" after {} s", ms / 1000)).unwrap_or_default();
        let wanted =
            case.settings().and_then(|settings| settings.lame_duck_s).unwrap_or(super::config::LAME_DUCK_S) + 30;
        found.push(
            Finding::of(&STOP_TIMEOUT, format!("systemd killed {name}{limit}: its stop took too long"))
                .severity(past)
                .quote(case.state_source(), format!("Result=timeout, {exit}"))
                .run(format!("sudo systemctl edit {name}   # [Service] TimeoutStopSec={wanted}")),
        );
    } else if let Some(Exit::Signal(signal)) = unit.exit
        && found.is_empty()
        && matches!(result, "signal" | "core-dump")
    {
        found.push(
            Finding::of(&KILLED, format!("{name} was ended by signal {signal}: {exit}"))
                .severity(past)
                .quote(case.state_source(), format!("Result={result}, {exit}"))
                .run(case.log_command(50)),
        );
    }
    found.extend(setup(case, unit));
    found
}

/// Between the kernel's kill and the manager's word of the exit lie milliseconds; on a host that has no memory left it may
/// be seconds.
const KILL_TO_EXIT: SignedDuration = SignedDuration::from_secs(10);

/// The kernel's word that it killed this server for want of memory. Its log is the whole machine's, and its process ids may
/// be those of another namespace: program and time tell.
fn out_of_memory<'a>(case: &Case<'a>) -> Option<&'a LogLine> {
    let exited = case.said(&["code=killed"]).or_else(|| case.lines.last().copied())?.line.at?;
    let own = case.archive.binary.as_ref().map_or(PROGRAM, |binary| binary.path.rsplit('/').next().unwrap_or(PROGRAM));
    case.archive.oom_kills.iter().flatten().rev().find(|line| {
        let killed = killed_process(line);
        killed.is_some_and(|(pid, name)| {
            (name == PROGRAM || !name.is_empty() && own.starts_with(name)) && !of_another_unit(case, pid)
        }) && line.at.is_some_and(|at| at.duration_since(exited).abs() <= KILL_TO_EXIT)
    })
}

/// The process that a line of the kernel's log says was killed: `Killed process 62 (nats-server)`.
fn killed_process(line: &LogLine) -> Option<(&str, &str)> {
    let (pid, rest) = line.text.split_once("illed process ")?.1.split_once(" (")?;
    Some((pid, rest.split(')').next()?))
}

/// Whether the kernel told, for that process, the control group of another unit (`dump_header`, Linux `mm/oom_kill.c`).
fn of_another_unit(case: &Case<'_>, pid: &str) -> bool {
    case.archive.oom_kills.iter().flatten().any(|line| {
        let field = |name| line.text.split([',', ' ']).find_map(|field| field.strip_prefix(name));
        field("pid=") == Some(pid)
            && field("task_memcg=")
                .and_then(|group| group.split('/').rfind(|part| part.ends_with(".service")))
                .is_some_and(|unit| unit != case.unit_name())
    })
}

/// The program's name, as the kernel tells it.
const PROGRAM: &str = "nats-server";

/// What systemd could not do before the program was its own: the exit status says which step (systemd.exec(5)), the
/// journal does not always.
fn setup(case: &Case<'_>, unit: &UnitState) -> Option<Finding> {
    let name = case.unit_name();
    let environment = case.said(&["Failed to load environment files"]);
    let (what, line) = match unit.exit {
        Some(Exit::Code(217)) => (format!("its user {} is not there", case.user()), None),
        Some(Exit::Code(216)) => ("its group is not there".to_owned(), None),
        Some(Exit::Code(200)) => ("its WorkingDirectory= can't be entered".to_owned(), None),
        Some(Exit::Code(226)) => ("its mounts could not be made".to_owned(), None),
        Some(Exit::Code(code @ (201..=202 | 204..=243))) => (format!("exit status {code}"), None),
        _ if unit.result.as_deref() == Some("resources") && environment.is_some() => {
            ("an EnvironmentFile= can't be read".to_owned(), environment)
        }
        _ => return None,
    };
    let said = ["Failed at step ", "status=2"];
    let line = line.or_else(|| case.said(&said)).filter(|line| !line.text().contains("step EXEC"));
    let finding = Finding::of(&EXEC_STEP, format!("systemd could not prepare the start of {name}: {what}"));
    let finding = match line {
        Some(line) => finding.died(&line),
        None => finding.quote(case.state_source(), unit.exit.map(|e| e.to_string()).unwrap_or_default()),
    };
    let finding = unit.drop_ins.iter().fold(finding, |finding, file| finding.quote("drop-in", file.as_str()));
    Some(finding.run(format!("systemctl cat {name}")).run("getent passwd"))
}

fn files(case: &Case<'_>) -> Vec<Finding> {
    let died = case.died_with("too many open files");
    let limit = case.unit().and_then(|unit| unit.open_files_limit);
    let process = case.process();
    let has = process.and_then(|process| process.open_files_limit).or(limit);
    let name = case.unit_name();
    let raise = format!("sudo systemctl edit {name}   # [Service] LimitNOFILE=1048576");
    let told = has.map(|limit| format!(" ({limit})")).unwrap_or_default();
    // Beyond stdin, stdout and stderr it needs its listeners, its log and two files a stream. Under a limit like this one
    // it blames the store: `storage directory is not writable` (seen with 6).
    if let (Some(line), Some(..=32)) = (case.last_words.filter(|_| died.is_none() && !case.alive()), limit) {
        let quote = format!("LimitNOFILE={}", limit.unwrap_or_default());
        let finding = Finding::of(&FILES, format!("the server may open too few files{told}"));
        return vec![finding.died(&line).quote(case.state_source(), quote).run(raise)];
    }
    if let Some(line) = died {
        return vec![Finding::of(&FILES, format!("the server may open too few files{told}")).died(&line).run(raise)];
    }
    if case.alive()
        && let Some(line) = case.keeps_saying(&["too many open files"])
    {
        return vec![
            Finding::of(&FILES, format!("the server has no file descriptors left{told}")).line(&line).run(raise),
        ];
    }
    // Healthy servers stand well below: at nine tenths the next clients are refused.
    if let Some((process, limit)) = process.zip(has)
        && let Some(open) = process.open_files
        && open.saturating_mul(10) >= limit.saturating_mul(9)
    {
        let title = format!("the server has {open} of {limit} files open");
        let quote = format!("{open} entries, limit {limit}");
        return vec![Finding::of(&FILES_LOW, title).quote(format!("/proc/{}/fd", process.pid), quote).run(raise)];
    }
    Vec::new()
}

fn frozen(case: &Case<'_>) -> Option<Finding> {
    let process = case.process().filter(|process| process.state == Some('T'))?;
    let title = format!("the server's process {} is stopped (SIGSTOP)", process.pid);
    Some(
        Finding::of(&FROZEN, title)
            .quote(format!("/proc/{}/stat", process.pid), "state T")
            .run(format!("sudo kill -CONT {}", process.pid))
            .heals_itself(),
    )
}

/// The state of the process, where nothing above says why.
fn standing(case: &Case<'_>, _found: &[Finding]) -> Option<Finding> {
    let unit = case.unit()?;
    if case.preflight() {
        return None;
    }
    let name = &unit.name;
    let exit = unit.exit.map(|exit| format!(", {exit}")).unwrap_or_default();
    let again = unit.restarts.filter(|n| *n > 0);
    let words =
        format!("{}{}{exit}", unit.active, unit.sub.as_deref().map(|sub| format!(" ({sub})")).unwrap_or_default());
    let quote = |finding: Finding| {
        let finding = finding.quote(case.state_source(), words.clone());
        match case.last_words {
            Some(line) => finding.died(&line),
            None => finding,
        }
    };
    let journal = case.log_command(50);
    match unit.phase {
        Phase::AutoRestart => {
            let times = again.map(|n| format!(" ({n} times so far)")).unwrap_or_default();
            let title = format!("the server dies, and its manager starts it again and again{times}");
            Some(quote(Finding::of(&CRASH_LOOP, title)).run(format!("sudo systemctl stop {name}")))
        }
        Phase::Failed => Some(quote(Finding::of(&EXITED, format!("the server has exited{exit}"))).run(journal)),
        Phase::Stopped if case.context.purpose == Purpose::Halt || case.last_words.is_some() => {
            Some(quote(Finding::of(&EXITED, format!("the server has exited{exit}"))).run(journal))
        }
        Phase::Stopped => {
            let finding = quote(Finding::of(&NOT_STARTED, format!("{name} does not run")));
            Some(case.manage("start").into_iter().fold(finding, Finding::run))
        }
        Phase::Running | Phase::Starting | Phase::Stopping | Phase::Missing => None,
    }
}

fn shortened(text: &str) -> String {
    const MAX: usize = 100;
    if text.chars().count() <= MAX {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(MAX).collect::<String>())
    }
}
