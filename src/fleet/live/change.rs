//! The record that a change leaves on its host.

use jiff::Timestamp;

use super::ssh::Output;
use crate::{
    core::{
        scrub::scrub,
        view::{Failure, FailureKind},
    },
    fleet::Changed,
};

/// Reads what the change script printed.
///
/// # Errors
/// The script itself could not do its work: no sudo, no place for the record, no way to detach.
pub fn parse(output: &Output) -> Result<Changed, Failure> {
    let Some((head, printed)) = output.stdout.split_once("output:\n") else {
        return Err(refused(output));
    };
    let value = |key: &str| head.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    if let Some(why) = value("fenced") {
        return Err(Failure::new(FailureKind::Fenced, why));
    }
    let began = value("began").and_then(|text| text.parse().ok()).and_then(|s| Timestamp::from_second(s).ok());
    Ok(match (value("status").and_then(|text| text.parse().ok()), value("lost")) {
        (Some(status), _) => Changed::Ended { status, output: scrub(printed.trim_end()), began },
        (None, Some(_)) => Changed::Lost { began },
        (None, None) => Changed::Running,
    })
}

/// Reads what the record script printed; none where nothing was begun.
///
/// # Errors
/// As [`parse`].
pub fn parse_record(output: &Output) -> Result<Option<Changed>, Failure> {
    if output.stdout.lines().any(|line| line == "record=none") { Ok(None) } else { parse(output).map(Some) }
}

/// A command of ours that the host would not run: sudo, or what it printed.
pub fn refused(output: &Output) -> Failure {
    let said = output.stderr.lines().map(str::trim).find(|line| !line.is_empty());
    let said = said.unwrap_or("no reason given");
    // sudo's own words; it exits 1 for these, as a command might.
    let kind = if said.starts_with("sudo:")
        || output.stderr.contains("is not in the sudoers file")
        || said.contains("is not allowed to")
    {
        FailureKind::Sudo
    } else {
        FailureKind::Command
    };
    let status = output.status.map_or_else(|| "a signal".to_owned(), |status| format!("exit status {status}"));
    Failure::new(kind, format!("{said} ({status})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stdout: &str, stderr: &str, expected: Result<Changed, FailureKind>) {
        let output = Output { status: Some(1), stdout: stdout.into(), stderr: stderr.into() };
        assert_eq!(parse(&output).map_err(|failure| failure.kind), expected);
    }

    #[test]
    fn records_are_read() {
        let began = Timestamp::from_second(1_795_348_800).ok();
        check(
            "began=1795348800\nstatus=0\noutput:\nline\n",
            "",
            Ok(Changed::Ended { status: 0, output: "line".into(), began }),
        );
        check("began=1795348800\noutput:\n", "", Ok(Changed::Running));
        check("output:\n", "", Ok(Changed::Running));
        check("lost=yes\nbegan=1795348800\noutput:\n", "", Ok(Changed::Lost { began }));
        check("", "sudo: a password is required\n", Err(FailureKind::Sudo));
        check("", "mkdir: cannot create directory: Read-only file system\n", Err(FailureKind::Command));
    }
}
