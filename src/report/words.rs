//! Events in words, one line each.

use crate::core::{
    count_of,
    event::Event,
    gate::{Moving, Waiting},
    halt::Halt,
    safety::Objection,
    settle::Standing,
};

/// How loud a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something went on.
    Plain,
    /// Something ended well.
    Good,
    /// The roll waits, or was asked to stop.
    Wait,
    /// The roll stopped.
    Bad,
}

/// One event in words: the host that it is about, and what happened; none for what needs no line.
pub fn line(event: &Event) -> Option<(Tone, String, String)> {
    let say = |tone, host: &str, text: String| Some((tone, host.to_owned(), text));
    match event {
        Event::RunStarted { plan, .. } => {
            let text = format!("{} of {} on {}", plan.playbook, count_of(plan.turns_allowed(), "server"), plan.cluster);
            say(Tone::Plain, "", text)
        }
        Event::Resumed { left, replanned, .. } => {
            let left = left.as_deref().unwrap_or("left by a controller that died");
            let plan = if replanned.is_some() { ", with a new plan for the rest" } else { "" };
            say(Tone::Plain, "", format!("going on with a run that was {left}{plan}"))
        }
        Event::Settled { host, standing, facts, .. } => {
            let words = match standing {
                Standing::Untouched => "was not touched yet",
                Standing::Stopping => "is being stopped",
                Standing::Down => "is down by our hand",
                Standing::Back => "was restarted already",
            };
            say(Tone::Plain, host, format!("{words} ({facts})"))
        }
        Event::Staged { host, staged } => {
            let before =
                staged.before.as_deref().map(|version| format!(", where {version} is now")).unwrap_or_default();
            let text = match &staged.sha256 {
                Some(_) => format!("staged and tried for {}{before}", staged.to),
                None => format!("to be installed by a command as {}{before}", staged.to),
            };
            say(Tone::Plain, host, text)
        }
        Event::FilesStaged { host, files } => say(Tone::Plain, host, format!("staged and tried: {}", files.join(", "))),
        Event::FilesBack { host, files, why, .. } => {
            say(Tone::Wait, host, format!("{why}; back to what stood at {}", files.join(", ")))
        }
        Event::SafetyWaiting { host, objections } => {
            say(Tone::Wait, host, format!("not safe yet: {}", objections_text(objections)))
        }
        Event::TurnStarted { host, number, of, why, consented, baseline, .. } => {
            let why: Vec<_> = why.iter().map(ToString::to_string).collect();
            let mut text = format!("turn {number} of {of} ({})", why.join(", "));
            if !consented.is_empty() {
                text.push_str(&format!("; by consent: {}", objections_text(consented)));
            }
            if let Some(first) = baseline.errors.first() {
                let stood = count_of(baseline.errors.len(), "error");
                text.push_str(&format!(
                    "; {stood} of healthz stood before and will not be waited for: {}",
                    first.error
                ));
            }
            say(Tone::Plain, host, text)
        }
        Event::StepStarted { host, step, .. } if step == "settle" => say(Tone::Plain, host, "settling".into()),
        Event::StepStarted { host, step, .. } if step == "canary" => {
            say(Tone::Plain, host, "the canary: watched for longer before the next server".into())
        }
        Event::StepStarted { host, step, .. } if step == "reboot" => say(Tone::Plain, host, "rebooting".into()),
        Event::StepStarted { .. } => None,
        Event::Looked { waiting, .. } if waiting.is_empty() => None,
        Event::Looked { host, waiting, moving, .. } => say(Tone::Wait, host, waits(waiting, moving.as_ref())),
        Event::OwnStep { host, step, failed: None, .. } => say(Tone::Plain, host, format!("`{step}` went well")),
        Event::OwnStep { host, step, failed: Some(failed), .. } => {
            say(Tone::Wait, host, format!("`{step}` failed: {failed}"))
        }
        Event::ApprovalAwaited { host, question, .. } => say(Tone::Wait, host, format!("{question} [y/N]")),
        Event::StepFinished { host, step, took_ms, note, .. } => match step.as_str() {
            "drain" => {
                let note = note.as_deref().unwrap_or("nothing to do");
                say(Tone::Plain, host, format!("drained in {}: {note}", span(*took_ms)))
            }
            "stop" => say(Tone::Plain, host, format!("stopped in {}", span(*took_ms))),
            "install" | "configure" => {
                say(Tone::Plain, host, format!("put in place in {}{}", span(*took_ms), noted(note.as_deref())))
            }
            "put-back" => say(Tone::Plain, host, format!("put back in {}{}", span(*took_ms), noted(note.as_deref()))),
            "canary" => say(Tone::Good, host, format!("the canary held for {}", span(*took_ms))),
            "start" => say(Tone::Plain, host, format!("started in {}", span(*took_ms))),
            "reboot" => {
                let note = note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
                say(Tone::Plain, host, format!("rebooted in {}{note}", span(*took_ms)))
            }
            "gate" => {
                say(Tone::Good, host, format!("ready {} after its start{}", span(*took_ms), noted(note.as_deref())))
            }
            "reload" => say(Tone::Good, host, format!("reloaded: {}", note.as_deref().unwrap_or("proved"))),
            "settle" => note.as_deref().and_then(|note| say(Tone::Wait, host, note.to_owned())),
            _ => None,
        },
        Event::TurnFinished { host, took_ms, unready_ms, version } => {
            let version = version.as_deref().map(|version| format!(", now {version}")).unwrap_or_default();
            let text = format!("done in {}, not ready for {}{version}", span(*took_ms), span(*unready_ms));
            say(Tone::Good, host, text)
        }
        Event::HookStarted { .. } => None,
        Event::HookFinished { when, host, step, failed: None, .. } => {
            say(Tone::Plain, host, format!("`{step}` {} went well", when.words()))
        }
        Event::HookFinished { when, host, step, failed: Some(failed), .. } => {
            say(Tone::Wait, host, format!("`{step}` {} failed: {failed}", when.words()))
        }
        Event::TurnFailed { halt } => say(Tone::Bad, &halt.host, title(halt)),
        Event::Paused { for_ms } => say(Tone::Plain, "", format!("pausing for {}", span(*for_ms))),
        Event::StopRequested { signal, at_once: false } => {
            let text = format!("{signal}: stopping at the next safe point; once more stops at once");
            say(Tone::Wait, "", text)
        }
        Event::StopRequested { signal, at_once: true } => say(Tone::Bad, "", format!("{signal}: stopping at once")),
        Event::Finished { .. }
        | Event::Halted { .. }
        | Event::Refused { .. }
        | Event::Aborted { .. }
        | Event::Interrupted { .. } => None,
    }
}

/// The end of a run in words, without what a halt tells at length.
pub fn end(event: &Event) -> Option<String> {
    match event {
        Event::Finished { done, untouched, took_ms } => {
            let mut text = format!("done: {} in {}", count_of(done.len(), "server"), span(*took_ms));
            if !untouched.is_empty() {
                text.push_str(&format!("; left for later: {}", untouched.join(", ")));
            }
            Some(text)
        }
        Event::Aborted { host, done, untouched } => {
            let mut text = format!("closed; done: {}; untouched: {}", list(done), list(untouched));
            if let Some(host) = host {
                text.push_str(&format!("; {host} was left in its turn"));
            }
            Some(text)
        }
        Event::Interrupted { in_doubt, done, untouched, next } => {
            let mut text = format!("interrupted; done: {}; untouched: {}", list(done), list(untouched));
            if let Some(doubt) = in_doubt {
                text.push_str(&format!(
                    "\nin doubt: the {} of {}; what was begun on the host goes on there",
                    doubt.step, doubt.host
                ));
            }
            for step in next {
                text.push_str(&format!("\n  {step}"));
            }
            Some(text)
        }
        _ => None,
    }
}

fn noted(note: Option<&str>) -> String {
    note.map(|note| format!("; {note}")).unwrap_or_default()
}

fn list(hosts: &[String]) -> String {
    if hosts.is_empty() { "none".to_owned() } else { hosts.join(", ") }
}

/// A wait, in one line: for what, and what moves.
pub fn waits(waiting: &[Waiting], moving: Option<&Moving>) -> String {
    let moving = moving.map(|moving| format!("; {moving}")).unwrap_or_default();
    format!("waiting for {}{moving}", waiting_text(waiting))
}

/// What a wait waits for, in one line.
pub fn waiting_text(waiting: &[Waiting]) -> String {
    waiting.iter().map(|w| format!("{}: {}", w.condition.name(), w.reason)).collect::<Vec<_>>().join("; ")
}

fn objections_text(objections: &[Objection]) -> String {
    objections.iter().map(|o| format!("{} ({})", o, o.consent())).collect::<Vec<_>>().join("; ")
}

/// A time in the unit that a person would use.
pub fn span(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        10_000..120_000 => format!("{} s", ms / 1000),
        _ if ms % 60_000 < 1000 => format!("{} min", ms / 60_000),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// What a halt's title says.
pub(super) fn title(halt: &Halt) -> String {
    halt.cause.headline(&halt.host, &halt.step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        for (ms, text) in [(0, "0.0 s"), (1234, "1.2 s"), (12_345, "12 s"), (125_000, "2 min 5 s"), (180_000, "3 min")]
        {
            assert_eq!(span(ms), text);
        }
    }
}
