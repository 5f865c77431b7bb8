//! Whether the next restart is safe: asked on fresh facts, until it is or the wait is over.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    diagnosis,
    roll::{Roller, Stop},
};
use crate::{
    core::{
        configure,
        event::Event,
        halt::{Cause, Halt, Serving},
        install, millis, order,
        plan::Turn,
        safety::{self, Candidate, Objection},
        view::View,
    },
    fleet::Fleet,
};

/// Between two looks at a cluster that is not safe yet: elections take 4–9 s, so a shorter time only makes noise.
const SAFETY_INTERVAL: Duration = Duration::from_secs(1);

impl<F: Fleet> Roller<'_, F> {
    /// The cluster, and whether the server of `host` could start again with the program and the files that it will have.
    async fn observe_candidate(&mut self, host: &str) -> Result<View, Stop> {
        let (fleet, run) = (self.fleet, self.recorder.run().to_owned());
        let (steps, staged) = (self.run.plan.steps.clone(), self.recorder.progress().staged.clone());
        let files = configure::stand_ins(&self.run.plan, &run, host);
        let stand_ins = |host: &str| [install::stand_ins(&steps, &staged, &run, host), files.clone()].concat();
        self.attend(diagnosis::observe(fleet, &[host.to_owned()], stand_ins)).await
    }

    /// The next turn, once its restart is safe, and the view that says so.
    pub(super) async fn next_safe(&mut self, remaining: &mut Vec<Turn>) -> Result<(Turn, View), Stop> {
        let began = Instant::now();
        let deadline = self.run.plan.policy.safety_deadline;
        let mut reported: Vec<Objection> = Vec::new();
        loop {
            self.safe_point()?;
            let first = remaining.first().map(|turn| turn.host.clone()).unwrap_or_default();
            let fleet = self.fleet;
            let mut view = self.observe_candidate(&first).await?;
            order::sort(remaining, &self.run.plan.policy.order, &view);
            let turn = remaining[0].clone();
            if turn.host != first {
                // The meta leader moved: the host that goes now has not been inspected yet.
                view = self.observe_candidate(&turn.host).await?;
            }
            let steps = self.run.plan.steps_of(&turn.host);
            let candidate = Candidate::of(&turn, &steps, &view);
            let found = safety::unsafe_to_restart(&view, &candidate, fleet.now());
            let (objections, consented) = safety::consent(found, &self.run.plan.policy.allow);
            if objections.is_empty() {
                remaining.remove(0);
                return Ok((Turn { consented, ..turn }, view));
            }
            if began.elapsed() >= deadline {
                return Err(self.unsafe_halt(&turn.host, "observe", objections, &view, began.elapsed()));
            }
            if objections != reported {
                self.record(Event::SafetyWaiting { host: turn.host.clone(), objections: objections.clone() })?;
                reported = objections;
            }
            self.sleep_at_safe_point(SAFETY_INTERVAL).await?;
        }
    }

    /// Asks once more right before a stop that other steps came before: a drain can take a minute, in which another server
    /// may have gone (found by the simulator). The view that says so is the last one before the stop: a later one that nobody
    /// judges would be worse than none.
    pub(super) async fn still_safe(&mut self, host: &str) -> Result<View, Stop> {
        // A plan made anew may not have the turn under way.
        let unready = self.run.plan.turns.iter().any(|turn| turn.host == host && turn.unready);
        let steps = self.run.plan.steps_of(host);
        let began = Instant::now();
        let mut reported: Vec<Objection> = Vec::new();
        loop {
            let fleet = self.fleet;
            let view = self.attend(fleet.observe_assets(&[host.to_owned()], super::OBSERVE_TIMEOUT)).await?;
            let candidate = Candidate::on(host, unready, &steps, &view);
            let found = safety::unsafe_to_restart(&view, &candidate, fleet.now());
            let (objections, _) = safety::consent(found, &self.run.plan.policy.allow);
            if objections.is_empty() {
                return Ok(view);
            }
            if began.elapsed() >= self.run.plan.policy.safety_deadline {
                return Err(self.unsafe_halt(host, "stop", objections, &view, began.elapsed()));
            }
            if objections != reported {
                self.record(Event::SafetyWaiting { host: host.to_owned(), objections: objections.clone() })?;
                reported = objections;
            }
            self.attend(tokio::time::sleep(SAFETY_INTERVAL)).await?;
        }
    }

    fn unsafe_halt(&self, host: &str, step: &str, objections: Vec<Objection>, view: &View, waited: Duration) -> Stop {
        let progress = self.recorder.progress();
        let mut next: Vec<String> = Vec::new();
        for remedy in objections.iter().map(Objection::remedy) {
            if !next.contains(&remedy) {
                next.push(remedy);
            }
        }
        next.push(format!("go on with: {}", self.go_on()));
        Stop::Halt(Box::new(Halt {
            host: host.to_owned(),
            step: step.into(),
            cause: Cause::Unsafe { objections },
            after_ms: millis::of(waited),
            diagnosis: None,
            serving: Some(Serving::of(view)),
            done: progress.done.clone(),
            untouched: progress.untouched(),
            next,
        }))
    }
}
