//! A halt, as the operator reads it: what, why, the evidence, where the roll stands, what to run next.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::words::{span, title};
use crate::core::halt::{Cause, Halt};

const TITLE: Style = AnsiColor::Red.on_default().bold();
const LABEL: Style = Style::new().bold();

/// The whole text, with escape codes; the stream that prints it strips them where they don't belong.
pub fn render(halt: &Halt) -> String {
    let mut out = String::new();
    let word = match halt.cause {
        Cause::NotPassed { .. } => "not passed",
        _ if halt.touched() => "halted",
        _ => "refused",
    };
    // Writing to a String can't fail.
    let _ = writeln!(out, "{TITLE}{word}{TITLE:#}: {} [{}]", title(halt), halt.cause.code());
    cause(&mut out, halt);
    let _ = writeln!(out);
    if let Some(diagnosis) = &halt.diagnosis {
        let _ = writeln!(out, "{}", super::render_diagnosis(diagnosis));
    }
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
    match &halt.cause {
        Cause::Unsafe { objections } => {
            for objection in objections {
                section(out, objection.consent(), &objection.to_string());
            }
        }
        Cause::NotProven { hosts } => {
            for one in hosts {
                one.why.iter().for_each(|why| section(out, &one.host, why));
            }
        }
        Cause::DataShort { streams } => streams.iter().for_each(|stream| section(out, "short", stream)),
        Cause::StoreEmpty { line } => section(out, "it said", line),
        Cause::ChangeFailed { output, .. } | Cause::OwnStepFailed { output, .. } | Cause::HookFailed { output, .. }
            if !output.is_empty() =>
        {
            lines(out, "it said", output.lines())
        }
        Cause::Unusable { why: all } | Cause::NotReloaded { missing: all } => {
            all.iter().for_each(|one| section(out, "found", one))
        }
        _ => {}
    }
    for waiting in halt.waiting() {
        let text = format!("{} (for {})", waiting.reason, span(waiting.for_ms));
        section(out, waiting.condition.name(), &text);
    }
    if halt.touched() && !matches!(halt.cause, Cause::HookFailed { .. }) {
        section(out, "waited", &format!("{} in the {}", span(halt.after_ms), halt.step));
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
        diagnosis::{Context, Purpose, diagnose, testing::died},
        gate::{Condition, Waiting},
        halt::Serving,
        safety::Objection,
        testing::*,
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
            diagnosis: None,
            serving: Some(Serving::of(&view)),
            done: vec!["n1".into()],
            untouched: vec!["n3".into()],
            next: vec!["mend n2".into(), "go on".into()],
        }
    }

    #[test]
    fn a_crash_loop_shows_the_fatal_line() {
        let mut halt = halt(Cause::CrashLoop);
        let words = "nats-server: /etc/nats/nats-server.conf:3:1: unknown field \"http\"";
        let context = Context { purpose: Purpose::Halt, ..Context::default() };
        halt.diagnosis = Some(diagnose(&died(None, words), &context));
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
