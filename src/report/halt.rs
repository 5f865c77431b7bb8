//! A halt, as the operator reads it: what, why, the evidence, where the roll stands, what to run next.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::words::{span, title};
use crate::core::{
    halt::{Cause, Halt},
    notable::{last_words, notable},
};

const TITLE: Style = AnsiColor::Red.on_default().bold();
const LABEL: Style = Style::new().bold();

/// The whole text, with escape codes; the stream that prints it strips them where they don't belong.
pub fn render(halt: &Halt) -> String {
    let mut out = String::new();
    let word = if halt.touched() { "halted" } else { "refused" };
    // Writing to a String can't fail.
    let _ = writeln!(out, "{TITLE}{word}{TITLE:#}: {} [{}]", title(halt), halt.cause.code());
    cause(&mut out, halt);
    evidence(&mut out, halt);
    let _ = writeln!(out);
    if let Some(serving) = &halt.serving {
        section(&mut out, "cluster", &serving.to_string());
    }
    section(&mut out, "done", &list(&halt.done));
    section(&mut out, "untouched", &list(&halt.untouched));
    for (number, step) in halt.next.iter().enumerate() {
        section(&mut out, if number == 0 { "next" } else { "" }, step);
    }
    out
}

fn cause(out: &mut String, halt: &Halt) {
    let log = halt.evidence.as_ref().and_then(|evidence| evidence.log.as_ref().ok());
    if let Some(words) = log.and_then(|log| last_words(log)) {
        section(out, "last words", words);
    }
    match &halt.cause {
        Cause::Unsafe { objections } => {
            for objection in objections {
                section(out, objection.name(), &objection.to_string());
            }
        }
        Cause::DataShort { streams } => streams.iter().for_each(|stream| section(out, "short", stream)),
        Cause::StoreEmpty { line } => section(out, "it said", line),
        Cause::ChangeFailed { output, .. } if !output.is_empty() => lines(out, "it said", output.lines()),
        _ => {}
    }
    for waiting in halt.waiting() {
        let text = format!("{} (for {})", waiting.reason, span(waiting.for_ms));
        section(out, waiting.condition.name(), &text);
    }
    if halt.touched() {
        section(out, "waited", &format!("{} in the {}", span(halt.after_ms), halt.step));
    }
}

fn evidence(out: &mut String, halt: &Halt) {
    let Some(evidence) = &halt.evidence else { return };
    let service = match &evidence.service {
        Ok(state) => state.summary(),
        Err(failure) => format!("not known: {failure}"),
    };
    section(out, "unit", &service);
    section(out, "healthz", &evidence.health);
    match &evidence.log {
        Ok(log) => {
            let found = notable(log);
            if found.is_empty() {
                section(out, "log", &format!("nothing notable in {} lines of {}", log.len(), evidence.log_source));
            } else {
                lines(out, &format!("log ({})", evidence.log_source), found.iter().map(String::as_str));
            }
        }
        Err(failure) => section(out, "log", &format!("not read: {failure}")),
    }
}

fn section(out: &mut String, label: &str, text: &str) {
    let _ = writeln!(out, "  {LABEL}{label:<18}{LABEL:#} {text}");
}

fn lines<'a>(out: &mut String, label: &str, lines: impl Iterator<Item = &'a str>) {
    let _ = writeln!(out, "  {LABEL}{label}{LABEL:#}");
    for line in lines {
        let _ = writeln!(out, "    {line}");
    }
}

fn list(hosts: &[String]) -> String {
    if hosts.is_empty() { "none".into() } else { hosts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        gate::{Condition, Waiting},
        halt::{Evidence, Serving},
        safety::Objection,
        testing::*,
        view::{Exit, Phase},
    };

    fn plain(halt: &Halt) -> String {
        anstream::adapter::strip_str(&render(halt)).to_string()
    }

    fn halt(cause: Cause) -> Halt {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[1].health = Ok(healthz_error(503, "down"));
        Halt {
            host: "n2".into(),
            step: "gate".into(),
            cause,
            after_ms: 1200,
            evidence: None,
            serving: Some(Serving::of(&view)),
            done: vec!["n1".into()],
            untouched: vec!["n3".into()],
            next: vec!["mend n2".into(), "go on".into()],
        }
    }

    #[test]
    fn a_crash_loop_shows_the_fatal_line() {
        let mut halt = halt(Cause::CrashLoop);
        let mut service = running();
        service.phase = Phase::AutoRestart;
        service.words = "activating (auto-restart)".into();
        service.result = "exit-code".into();
        service.exit = Some(Exit::Code(1));
        halt.evidence = Some(Evidence {
            service: Ok(service),
            health: "connection refused".into(),
            log: Ok(vec![
                "Started nats-server.service".into(),
                "nats-server: /etc/nats/nats-server.conf:5:1: unknown field \"x\"".into(),
            ]),
            log_source: "journalctl -u nats-server.service".into(),
        });
        insta::assert_snapshot!(plain(&halt));
    }

    #[test]
    fn a_deadline_shows_what_did_not_hold() {
        let waiting = vec![Waiting {
            condition: Condition::Healthz,
            reason: "503: JetStream is still recovering meta layer".into(),
            for_ms: 61_000,
        }];
        insta::assert_snapshot!(plain(&halt(Cause::NotReady { waiting })));
    }

    #[test]
    fn a_refusal_names_every_objection() {
        let objections = vec![
            Objection::ServerNotHealthy { host: "n3".into(), health: "503: down".into() },
            Objection::MissingRoute { from: "n1".into(), to: "n3".into() },
        ];
        let mut halt = halt(Cause::Unsafe { objections });
        halt.step = "observe".into();
        insta::assert_snapshot!(plain(&halt));
    }
}
