//! The words of service managers.

use crate::core::view::{Exit, Phase};

/// A unit's state by its `LoadState`, `ActiveState` and `SubState`.
pub fn systemd_phase(load: &str, active: &str, sub: &str) -> Phase {
    match (load, active, sub) {
        ("not-found" | "masked" | "bad-setting" | "error", "inactive" | "failed", _) => Phase::Missing,
        (_, "active" | "reloading", _) => Phase::Running,
        (_, "activating", "auto-restart" | "auto-restart-queued") => Phase::AutoRestart,
        (_, "activating", _) => Phase::Starting,
        (_, "deactivating", _) => Phase::Stopping,
        (_, "failed", _) => Phase::Failed,
        _ => Phase::Stopped,
    }
}

/// How the main process ended. `ExecMainCode` is the `si_code` of waitid(2): 1 exited, 2 killed, 3 dumped core; 0 while it
/// runs.
pub fn systemd_exit(code: &str, status: Option<i32>) -> Option<Exit> {
    match code {
        "1" => status.map(Exit::Code),
        "2" | "3" => status.map(Exit::Signal),
        _ => None,
    }
}

/// Milliseconds. systemd prints spans as `2min 30s`, not as a number, whatever the property's name says; none for
/// `infinity`.
pub fn systemd_span(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    for word in text.split_whitespace() {
        let digits = word.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = word[..digits].parse().ok()?;
        let unit = match &word[digits..] {
            "us" => 0,
            "ms" => 1,
            "s" => 1000,
            "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    (!text.is_empty()).then_some(total)
}

/// A container's state by its status and exit code.
pub fn container_phase(status: &str, code: Option<i32>) -> Phase {
    match status {
        "running" | "paused" => Phase::Running,
        "restarting" => Phase::AutoRestart,
        "removing" | "stopping" => Phase::Stopping,
        "exited" | "dead" if code.is_some_and(|code| code != 0) => Phase::Failed,
        _ => Phase::Stopped,
    }
}

/// How a container ended: as a shell does, its manager adds 128 to a signal.
pub fn container_exit(code: i32) -> Exit {
    if code > 128 { Exit::Signal(code - 128) } else { Exit::Code(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_systemd_are_read() {
        for (text, expected) in [
            ("2min 30s", Some(150_000)),
            ("30s", Some(30_000)),
            ("1h", Some(3_600_000)),
            ("infinity", None),
            ("", None),
            ("500ms", Some(500)),
        ] {
            assert_eq!(systemd_span(text), expected, "{text}");
        }
    }
}
