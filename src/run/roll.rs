//! A whole roll: the turns of one plan, one after the other.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    diagnosis::{self, Before},
    recorder::{RecordError, Recorder},
    shutdown::{Wish, Wishes},
    turn,
};
use crate::{
    core::{
        event::Event,
        gate::Baseline,
        halt::{Cause, Halt, Serving},
        millis, order,
        plan::{Plan, Turn},
        safety::{self, Candidate, Objection},
        view::View,
    },
    fleet::Fleet,
};

/// Between two looks at a cluster that is not safe yet: elections take 4–9 s, so a shorter time only makes noise.
const SAFETY_INTERVAL: Duration = Duration::from_secs(1);

/// What a run needs besides the fleet.
pub struct Run {
    /// The plan to carry out.
    pub plan: Plan,
    /// The inventory's digest.
    pub inventory: String,
    /// The command line that would roll this cluster again, without `--host`.
    pub again: String,
    /// The command line that shows the cluster's state.
    pub status: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All turns ended well.
    Finished,
    /// Stopped by a finding.
    Halted(Box<Halt>),
    /// Stopped by a finding before anything was touched.
    Refused(Box<Halt>),
    /// Stopped by the operator.
    Interrupted,
}

/// Why a run could not go on and could not say so in its journal.
#[derive(Debug, thiserror::Error)]
#[error("the run stopped{}: nothing more will be touched", where_(.at))]
pub struct RunError {
    /// The host and step under way.
    pub at: Option<(String, String)>,
    /// Why.
    #[source]
    pub cause: RecordError,
}

fn where_(at: &Option<(String, String)>) -> String {
    at.as_ref().map_or_else(String::new, |(host, step)| format!(" at the {step} of {host}"))
}

/// Carries out a plan.
///
/// # Errors
/// The journal could not be written. Everything else that can go wrong is an [`Outcome`].
pub async fn roll<F: Fleet>(fleet: &F, run: Run, recorder: &mut Recorder, wishes: Wishes) -> Result<Outcome, RunError> {
    let mut roller = Roller { fleet, run, recorder, wishes, started: Instant::now(), before: Before::default() };
    let end = match roller.turns().await {
        Ok(()) => Ok(roller.finish()),
        Err(Stop::Halt(halt)) => Ok(roller.halted(*halt)),
        Err(Stop::Wish) => Ok(roller.interrupted()),
        Err(Stop::Record(error)) => Err(error),
    };
    end.and_then(|recorded| recorded).map_err(|cause| {
        let at = roller.recorder.progress().in_doubt().map(|doubt| (doubt.host, doubt.step));
        RunError { at, cause }
    })
}

/// Why the loop was left.
pub(super) enum Stop {
    /// A finding.
    Halt(Box<Halt>),
    /// The operator.
    Wish,
    /// The journal.
    Record(RecordError),
}

impl From<RecordError> for Stop {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

/// The state of the loop.
pub(super) struct Roller<'a, F> {
    pub(super) fleet: &'a F,
    pub(super) run: Run,
    pub(super) recorder: &'a mut Recorder,
    wishes: Wishes,
    started: Instant,
    /// What was true of the server whose turn it is.
    pub(super) before: Before,
}

impl<F: Fleet> Roller<'_, F> {
    async fn turns(&mut self) -> Result<(), Stop> {
        let plan = Box::new(self.run.plan.clone());
        let inventory = self.run.inventory.clone();
        self.record(Event::RunStarted { rollgate: env!("CARGO_PKG_VERSION").into(), inventory, plan })?;
        let mut remaining = self.run.plan.turns.clone();
        let of = self.run.plan.turns_allowed();
        for number in 1..=of {
            if number > 1 && !self.run.plan.policy.pause.is_zero() {
                let pause = self.run.plan.policy.pause;
                self.record(Event::Paused { for_ms: millis::of(pause) })?;
                self.sleep_at_safe_point(pause).await?;
            }
            let (turn, view) = self.next_safe(&mut remaining).await?;
            // The view has the candidate: the plan was made from the same inventory.
            let Some(server) = view.server(&turn.host) else { continue };
            let baseline = Baseline::of(server).within(&view);
            self.before = Before::of(&view, &turn.host);
            let (host, why) = (turn.host.clone(), turn.why.clone());
            self.record(Event::TurnStarted {
                host,
                number,
                of,
                why,
                baseline: baseline.clone(),
                consented: turn.consented.clone(),
            })?;
            turn::take(self, &turn, baseline, view.assets).await?;
        }
        Ok(())
    }

    /// The next turn, once its restart is safe, and the view that says so.
    async fn next_safe(&mut self, remaining: &mut Vec<Turn>) -> Result<(Turn, View), Stop> {
        let began = Instant::now();
        let deadline = self.run.plan.policy.safety_deadline;
        let mut reported: Vec<Objection> = Vec::new();
        loop {
            self.safe_point()?;
            let first = remaining.first().map(|turn| turn.host.clone()).unwrap_or_default();
            let fleet = self.fleet;
            let mut view = self.attend(diagnosis::observe(fleet, std::slice::from_ref(&first))).await?;
            order::sort(remaining, &self.run.plan.policy.order, &view);
            let turn = remaining[0].clone();
            if turn.host != first {
                // The meta leader moved: the host that goes now has not been inspected yet.
                view = self.attend(diagnosis::observe(fleet, std::slice::from_ref(&turn.host))).await?;
            }
            let candidate = Candidate::of(&turn, &self.run.plan.steps, &view);
            let found = safety::unsafe_to_restart(&view, &candidate, fleet.now());
            let (objections, consented) = safety::consent(found, &self.run.plan.policy.allow);
            if objections.is_empty() {
                remaining.remove(0);
                return Ok((Turn { consented, ..turn }, view));
            }
            if began.elapsed() >= deadline {
                return Err(self.unsafe_halt(&turn.host, objections, &view, began.elapsed()));
            }
            if objections != reported {
                self.record(Event::SafetyWaiting { host: turn.host.clone(), objections: objections.clone() })?;
                reported = objections;
            }
            self.sleep_at_safe_point(SAFETY_INTERVAL).await?;
        }
    }

    fn unsafe_halt(&self, host: &str, objections: Vec<Objection>, view: &View, waited: Duration) -> Stop {
        let progress = self.recorder.progress();
        let mut next: Vec<String> = Vec::new();
        for remedy in objections.iter().map(Objection::remedy) {
            if !next.contains(&remedy) {
                next.push(remedy);
            }
        }
        next.push(format!("go on with: {}", self.go_on(&progress.untouched())));
        Stop::Halt(Box::new(Halt {
            host: host.to_owned(),
            step: "observe".into(),
            cause: Cause::Unsafe { objections },
            after_ms: millis::of(waited),
            diagnosis: None,
            serving: Some(Serving::of(view)),
            done: progress.done.clone(),
            untouched: progress.untouched(),
            next,
        }))
    }

    /// A halt in a turn: gathers evidence and the state of the cluster, both bounded in time.
    pub(super) async fn halt(
        &mut self,
        host: &str,
        step: &str,
        cause: Cause,
        since: Option<jiff::Timestamp>,
        waited: Duration,
    ) -> Stop {
        let (fleet, before) = (self.fleet, self.before.clone());
        let gathered = self.attend(diagnosis::of_halt(fleet, host, since, &cause, &before)).await;
        let (diagnosis, serving) = match gathered {
            Ok((diagnosis, view)) => (Some(diagnosis), Some(Serving::of(&view))),
            Err(Stop::Record(error)) => return Stop::Record(error),
            Err(_) => (None, None),
        };
        let progress = self.recorder.progress();
        let untouched = progress.untouched();
        let mut next = vec![format!("mend {host}; do not restart it blindly, the cause would stay")];
        next.push(format!("see that it is back: {}", self.run.status));
        if !untouched.is_empty() {
            next.push(format!("then go on with: {}", self.go_on(&untouched)));
        }
        Stop::Halt(Box::new(Halt {
            host: host.to_owned(),
            step: step.to_owned(),
            cause,
            after_ms: millis::of(waited),
            diagnosis,
            serving,
            done: progress.done.clone(),
            untouched,
            next,
        }))
    }

    fn go_on(&self, hosts: &[String]) -> String {
        let flags: String = hosts.iter().map(|host| format!(" --host {host}")).collect();
        format!("{}{flags}", self.run.again)
    }

    fn finish(&mut self) -> Result<Outcome, RecordError> {
        let progress = self.recorder.progress();
        let (done, untouched) = (progress.done.clone(), progress.untouched());
        let took_ms = millis::of(self.started.elapsed());
        self.record(Event::Finished { done, untouched, took_ms })?;
        Ok(Outcome::Finished)
    }

    fn halted(&mut self, halt: Halt) -> Result<Outcome, RecordError> {
        let halt = Box::new(halt);
        if halt.done.is_empty() && !halt.touched() {
            self.record(Event::Refused { halt: halt.clone() })?;
            return Ok(Outcome::Refused(halt));
        }
        self.record(Event::Halted { halt: halt.clone() })?;
        Ok(Outcome::Halted(halt))
    }

    fn interrupted(&mut self) -> Result<Outcome, RecordError> {
        self.note_wish()?;
        let progress = self.recorder.progress();
        let untouched = progress.untouched();
        let mut next = Vec::new();
        if progress.turn.is_some() {
            next.push(format!("see what became of it: {}", self.run.status));
        }
        if !untouched.is_empty() {
            next.push(format!("go on with: {}", self.go_on(&untouched)));
        }
        let (in_doubt, done) = (progress.in_doubt(), progress.done.clone());
        self.record(Event::Interrupted { in_doubt, done, untouched, next })?;
        Ok(Outcome::Interrupted)
    }

    /// Records an event, now.
    pub(super) fn record(&mut self, event: Event) -> Result<(), RecordError> {
        self.recorder.record(self.fleet.now(), event)
    }

    /// Stops here if the operator wishes so: nothing is under way.
    fn safe_point(&mut self) -> Result<(), Stop> {
        if *self.wishes.borrow() == Wish::GoOn { Ok(()) } else { Err(Stop::Wish) }
    }

    async fn sleep_at_safe_point(&mut self, duration: Duration) -> Result<(), Stop> {
        let mut wishes = self.wishes.clone();
        let wished = async {
            if wishes.wait_for(|wish| *wish != Wish::GoOn).await.is_err() {
                // Nobody is left who could wish for anything.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = wished => Err(Stop::Wish),
            () = tokio::time::sleep(duration) => Ok(()),
        }
    }

    /// Waits for `work`, noting a wish to stop as soon as it comes; only a second one ends the wait.
    pub(super) async fn attend<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::pin!(work);
        let mut wishes = self.wishes.clone();
        loop {
            self.note_wish()?;
            if matches!(*self.wishes.borrow(), Wish::Now { .. }) {
                return Err(Stop::Wish);
            }
            let stopping = self.recorder.progress().stopping;
            let changed = wishes.wait_for(|wish| match wish {
                Wish::GoOn => false,
                Wish::Soon { .. } => !stopping,
                Wish::Now { .. } => true,
            });
            tokio::select! {
                biased;
                Ok(_) = changed => {}
                result = &mut work => return Ok(result),
            }
        }
    }

    /// Records the wish to stop, once a kind.
    fn note_wish(&mut self) -> Result<(), RecordError> {
        let wish = self.wishes.borrow().clone();
        match wish {
            Wish::GoOn => Ok(()),
            Wish::Soon { .. } if self.recorder.progress().stopping => Ok(()),
            Wish::Soon { signal } => self.record(Event::StopRequested { signal: signal.into(), at_once: false }),
            Wish::Now { signal } => self.record(Event::StopRequested { signal: signal.into(), at_once: true }),
        }
    }
}
