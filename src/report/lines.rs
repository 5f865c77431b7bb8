//! Plain timed lines, for logs and pipes.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};

use super::{
    Reporter,
    words::{self, Tone},
};
use crate::core::{event::Envelope, progress::Progress};

/// Writes a line an event.
pub struct Lines<W> {
    out: W,
    zone: TimeZone,
}

impl<W: Write + Send> Lines<W> {
    /// Lines with the time in the system's zone.
    pub fn new(out: W) -> Self {
        Self { out, zone: TimeZone::system() }
    }

    /// A text of its own between the lines.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write + Send> Reporter for Lines<W> {
    fn report(&mut self, envelope: &Envelope, _: &Progress) {
        if let Some((tone, host, text)) = words::line(&envelope.event) {
            // A reader that went away must not stop a roll.
            let _ = writeln!(self.out, "{}", timed(envelope.at, &self.zone, tone, &host, &text));
        }
    }
}

/// One line: the time, the host, the text.
pub(super) fn timed(at: Timestamp, zone: &TimeZone, tone: Tone, host: &str, text: &str) -> String {
    let time = at.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
    let style = match tone {
        Tone::Plain => Style::new(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Wait => AnsiColor::Yellow.on_default(),
        Tone::Bad => AnsiColor::Red.on_default().bold(),
    };
    let host = if host.is_empty() { String::new() } else { format!("{host}  ") };
    format!("{time}  {host}{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        event::{Event, SCHEMA},
        gate::{Condition, Waiting},
    };

    #[test]
    fn a_line_names_time_host_and_reason() {
        let waiting = vec![Waiting { condition: Condition::Healthz, reason: "503: x".into(), for_ms: 5 }];
        let event = Event::Looked { host: "n2".into(), step: "gate".into(), good: 0, of: 3, waiting, moving: None };
        let at = "2026-11-22T12:00:01Z".parse().unwrap();
        let envelope = Envelope { v: SCHEMA, run: "r".into(), seq: 1, at, event };
        let mut lines = Lines { out: Vec::new(), zone: TimeZone::UTC };
        lines.report(&envelope, &Progress::default());
        let text = anstream::adapter::strip_bytes(&lines.out).into_vec();
        assert_eq!(String::from_utf8(text).unwrap(), "12:00:01  n2  waiting for healthz: 503: x\n");
    }
}
