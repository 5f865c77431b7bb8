//! Lines of the journal and of the log file.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

use super::Tagged;
use crate::core::{
    diagnosis::evidence::{Log, LogLine},
    view::{Failure, FailureKind, Seen},
};

pub fn journal(tagged: &Tagged<'_>, as_root: bool, offset: i64) -> Seen<Log> {
    let Some(source) = tagged.first("J") else {
        let gap = tagged.lines("g").find_map(|line| line.strip_prefix("journal\t"));
        let why = gap.unwrap_or("the inventory names no way to read the log");
        return Err(Failure::new(FailureKind::NotAsked, why.to_owned()));
    };
    let hint = "Hint: You are currently not seeing messages from other users";
    let mut denied = false;
    let mut lines = Vec::new();
    for line in tagged.lines("j") {
        // journalctl(1) explains to a user without the right groups why there is nothing.
        denied |= line.contains(hint) || line.contains("insufficient permissions");
        if !line.starts_with("-- ") && !line.starts_with("Hint: ") {
            lines.push(journal_line(line, offset));
        }
    }
    if lines.is_empty() && (denied || !as_root) {
        let why = format!("{source} showed nothing: this user may not read it, or there is nothing");
        return Err(Failure::new(FailureKind::Denied, why));
    }
    Ok(Log { source: source.to_owned(), lines, cut: tagged.has("jc") })
}

pub fn file(tagged: &Tagged<'_>, offset: i64, since: Option<Timestamp>) -> Seen<Option<Log>> {
    if tagged.has("L0") {
        return Ok(None);
    }
    let Some(path) = tagged.first("L") else {
        return Err(Failure::new(
            FailureKind::NotAsked,
            "the configuration was not read, so its log file is not known",
        ));
    };
    if let Some(error) = tagged.first("le") {
        return Err(Failure::new(FailureKind::Command, format!("{path}: {error}")));
    }
    let mut lines: Vec<LogLine> = tagged.lines("l").map(|line| nats_line(line, offset)).collect();
    if let Some(since) = since {
        // A line without a time belongs to the one before it.
        let first = lines.iter().position(|line| line.at.is_some_and(|at| at >= since));
        lines.drain(..first.unwrap_or(lines.len()));
    }
    Ok(Some(Log { source: path.to_owned(), lines, cut: tagged.has("lc") }))
}

/// `1795384326.123456 h1 nats-server[62]: text` (journalctl's short-unix); anything else is a line of nats-server itself.
pub fn journal_line(line: &str, offset: i64) -> LogLine {
    let parsed = || {
        let (time, rest) = line.split_once(' ')?;
        let at = unix_time(time)?;
        let (_host, rest) = rest.split_once(' ')?;
        let (from, message) = rest.split_once(": ").or_else(|| Some((rest.strip_suffix(':')?, "")))?;
        let (program, pid) = match from.strip_suffix(']').and_then(|from| from.rsplit_once('[')) {
            Some((program, pid)) => (program, pid.parse().ok()),
            None => (from, None),
        };
        let said = nats_line(message, offset);
        Some(LogLine {
            // The journal's clock is surer than the words: it knows its zone.
            at: Some(at),
            pid: said.pid.or(pid),
            from: Some(program.to_owned()),
            ..said
        })
    };
    parsed().or_else(|| container_line(line, offset)).unwrap_or_else(|| nats_line(line.trim_start(), offset))
}

/// `2026-11-23T07:44:27.417456123Z [1] …` (`docker logs --timestamps`): the words' own time is by the container's zone.
fn container_line(line: &str, offset: i64) -> Option<LogLine> {
    let (time, rest) = line.split_once(' ')?;
    let at: Timestamp = time.parse().ok()?;
    Some(LogLine { at: Some(at), ..nats_line(rest, offset) })
}

fn unix_time(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.')?;
    let micros: i64 = fraction.get(..6)?.parse().ok()?;
    let total = whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)?;
    Timestamp::from_microsecond(total).ok()
}

/// A line as nats-server writes it: `[62] 2026/11/22 21:52:06.123456 [INF] text`, the time by the host's zone; without
/// `logtime` there is no time. Any other line is all text.
pub fn nats_line(line: &str, offset: i64) -> LogLine {
    let bare = || LogLine { at: None, pid: None, level: None, from: None, text: line.to_owned() };
    let Some(rest) = line.strip_prefix('[') else {
        return dated(line, offset).unwrap_or_else(bare);
    };
    let parsed = || {
        let (pid, rest) = rest.split_once("] ")?;
        let pid: u32 = pid.parse().ok()?;
        let (at, rest) = match time(rest, offset) {
            Some((at, rest)) => (Some(at), rest),
            None => (None, rest),
        };
        let (level, text) = rest.strip_prefix('[')?.split_once("] ")?;
        let is_level = level.len() == 3 && level.bytes().all(|byte| byte.is_ascii_uppercase());
        is_level.then(|| LogLine {
            at,
            pid: Some(pid),
            level: Some(level.to_owned()),
            from: None,
            text: text.to_owned(),
        })
    };
    parsed().unwrap_or_else(bare)
}

/// `2026/11/22 15:50:16 error opening file: …`: Go's own logger, before there is another.
fn dated(line: &str, offset: i64) -> Option<LogLine> {
    let (at, rest) = time(line, offset)?;
    Some(LogLine { at: Some(at), pid: None, level: None, from: None, text: rest.to_owned() })
}

/// `2026/11/22 21:52:06.123456 rest`, by a clock so many seconds ahead of UTC.
fn time(text: &str, offset: i64) -> Option<(Timestamp, &str)> {
    let end = text.match_indices(' ').nth(1)?.0;
    let (stamp, rest) = (&text[..end], &text[end + 1..]);
    let format = if stamp.contains('.') { "%Y/%m/%d %H:%M:%S%.f" } else { "%Y/%m/%d %H:%M:%S" };
    let civil = DateTime::strptime(format, stamp).ok()?;
    let offset = Offset::from_seconds(i32::try_from(offset).ok()?).ok()?;
    Some((offset.to_timestamp(civil).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: (Option<&str>, Option<u32>, Option<&str>, Option<&str>, &str)) {
        let found = journal_line(line, 3600);
        let at = found.at.map(|at| at.to_string());
        let found = (at.as_deref(), found.pid, found.level.as_deref(), found.from.as_deref(), found.text.as_str());
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn lines_are_taken_apart() {
        check(
            "1795384326.123456 h1 nats-server[62]: [62] 2026/11/22 21:52:06.123456 [FTL] Error listening on port: x, \"y\"",
            (
                Some("2026-11-22T21:52:06.123456Z"),
                Some(62),
                Some("FTL"),
                Some("nats-server"),
                "Error listening on port: x, \"y\"",
            ),
        );
        check(
            "1795384326.123456 h1 nats-server[62]: nats-server: /etc/nats.conf:5:1: unknown field \"x\"",
            (
                Some("2026-11-22T21:52:06.123456Z"),
                Some(62),
                None,
                Some("nats-server"),
                "nats-server: /etc/nats.conf:5:1: unknown field \"x\"",
            ),
        );
        check(
            "2026-11-22T21:52:06.123456789Z [1] 2026/11/22 23:52:06.123456 [INF] a",
            (Some("2026-11-22T21:52:06.123456789Z"), Some(1), Some("INF"), None, "a"),
        );
        check(
            "2026-11-22T22:52:06+01:00 nats-server: no",
            (Some("2026-11-22T21:52:06Z"), None, None, None, "nats-server: no"),
        );
        check("[7] 2026/11/22 21:52:06.5 [ERR] a", (Some("2026-11-22T20:52:06.5Z"), Some(7), Some("ERR"), None, "a"));
        check("[7] [INF] no time", (None, Some(7), Some("INF"), None, "no time"));
        check(
            "2026/11/22 15:50:16 error opening file: open /x: permission denied",
            (Some("2026-11-22T14:50:16Z"), None, None, None, "error opening file: open /x: permission denied"),
        );
        for odd in
            ["", "[", "[x] y", "[7] 2026/13/45 99:99:99 [INF] t", "1.2 3", "\u{fffd}\u{fffd}: ", "[7] [TOOLONG] t"]
        {
            assert!(journal_line(odd, i64::MAX).level.is_none(), "{odd}");
        }
    }
}
