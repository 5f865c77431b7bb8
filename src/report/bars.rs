//! Bars on a terminal: the turns, and under them what is happening now and for how long.

use std::{io::Write, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::tz::TimeZone;

use super::{
    Reporter,
    lines::timed,
    words::{self, Tone, waits},
};
use crate::core::{
    event::{Envelope, Event},
    progress::Progress,
};

/// Draws on stderr.
pub struct Bars {
    multi: MultiProgress,
    turns: ProgressBar,
    now: ProgressBar,
    zone: TimeZone,
    colour: bool,
}

impl Bars {
    /// Bars on stderr; `colour` as the terminal and the operator's environment allow.
    pub fn new(colour: bool) -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let turns = multi.add(ProgressBar::new(0));
        let now = multi.add(ProgressBar::new_spinner());
        turns.set_style(style("{bar:24} {pos}/{len} servers  {elapsed}"));
        now.set_style(style("{spinner} {msg} {elapsed}"));
        Self { multi, turns, now, zone: TimeZone::system(), colour }
    }

    fn println(&self, line: &str) {
        if self.multi.is_hidden() {
            let _ = writeln!(anstream::stderr(), "{line}");
            return;
        }
        let line = if self.colour { line.to_owned() } else { anstream::adapter::strip_str(line).to_string() };
        let _ = self.multi.println(line);
    }

    fn step(&self, text: String) {
        self.now.reset_elapsed();
        self.now.set_message(text);
        self.now.enable_steady_tick(Duration::from_millis(100));
    }
}

/// A template is a constant of this file; one that does not parse leaves indicatif's own style.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Reporter for Bars {
    fn report(&mut self, envelope: &Envelope, progress: &Progress) {
        let event = &envelope.event;
        match event {
            Event::RunStarted { plan, .. } => {
                self.turns.set_length(plan.turns_allowed() as u64);
                self.turns.enable_steady_tick(Duration::from_millis(500));
                self.step("observing the cluster".into());
            }
            Event::StepStarted { host, step, .. } => {
                let doing = match step.as_str() {
                    "drain" => "moving leaders and clients away",
                    "stop" => "stopping (lame duck, if its unit does so)",
                    "install" => "putting the program in place",
                    "configure" => "putting files in place",
                    "put-back" => "putting back what was replaced",
                    "start" => "starting",
                    "reboot" => "rebooting",
                    "gate" => "waiting at the gate",
                    "settle" => "settling",
                    "canary" => "watching the canary",
                    "reload" => "reloading",
                    other => other,
                };
                self.step(format!("{host}  {doing}"));
            }
            Event::Looked { host, good, of, waiting, moving, .. } => {
                let text = if waiting.is_empty() {
                    format!("{host}  good look {good} of {of}")
                } else {
                    format!("{host}  {}", waits(waiting, moving.as_ref()))
                };
                self.now.set_message(text);
            }
            Event::SafetyWaiting { host, objections } => {
                let first = objections.first().map(ToString::to_string).unwrap_or_default();
                self.step(format!("{host}  not safe yet: {first}"));
            }
            Event::TurnFinished { .. } | Event::TurnFailed { .. } => {
                self.turns.set_position((progress.done.len() + progress.failed.len()) as u64);
                self.step("observing the cluster".into());
            }
            Event::Paused { .. } => self.step("pausing".into()),
            // Nothing may draw over what the operator types.
            Event::ApprovalAwaited { .. } => self.multi.set_draw_target(ProgressDrawTarget::hidden()),
            Event::HookStarted { host, step, .. } => self.step(format!("{host}  {step}").trim().to_owned()),
            Event::StepFinished { .. } | Event::HookFinished { .. } if self.multi.is_hidden() => {
                self.multi.set_draw_target(ProgressDrawTarget::stderr());
            }
            _ => {}
        }
        if let Some((tone, host, text)) = words::line(event)
            && (matches!(tone, Tone::Good | Tone::Bad)
                || matches!(
                    event,
                    Event::StopRequested { .. }
                        | Event::OwnStep { .. }
                        | Event::HookFinished { .. }
                        | Event::ApprovalAwaited { .. }
                ))
        {
            self.println(&timed(envelope.at, &self.zone, tone, &host, &text));
        }
        if event.is_terminal() {
            self.now.finish_and_clear();
            self.turns.finish_and_clear();
        }
    }
}
