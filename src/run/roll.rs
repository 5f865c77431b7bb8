//! A whole roll: the turns of one plan, one after the other.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use super::{
    OBSERVE_TIMEOUT,
    approval::{Answer, Ask},
    certificates,
    configure::Contents,
    diagnosis::Before,
    hooks, lock,
    recorder::{RecordError, Recorder},
    resume::{self, Resume},
    shutdown::{Wish, Wishes, wished},
    stage, turn,
};
use crate::{
    core::{
        diagnosis::Diagnosis,
        event::Event,
        gate::Baseline,
        halt::{Cause, Halt, Serving},
        lock::LockRefusal,
        millis,
        own_step::When,
        plan::{Plan, Turn},
        playbook::Step,
        view::View,
    },
    fleet::Fleet,
};

/// What a run needs besides the fleet.
pub struct Run {
    /// The plan to carry out.
    pub plan: Plan,
    /// The inventory's digest.
    pub inventory: String,
    /// Tells clusters of one name apart.
    pub cluster_key: String,
    /// The run goes on: what its recorder knows is what happened before.
    pub resume: Option<Resume>,
    /// The command line that would begin this roll again.
    pub again: String,
    /// The command line that would go on with this run.
    pub go_on: String,
    /// The command line that puts back the programs that this run has replaced.
    pub back: Option<String>,
    /// The command line that shows the cluster's state.
    pub status: String,
    /// How the operator is asked for approval.
    pub ask: Ask,
    /// What is in the files that the plan puts in place, by their sha256; what was staged before may be missing.
    pub contents: Contents,
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
    /// What was done on halt all the same, unrecorded.
    pub on_halt: Vec<hooks::Unrecorded>,
}

fn where_(at: &Option<(String, String)>) -> String {
    at.as_ref().map_or_else(String::new, |(host, step)| format!(" at the {step} of {host}"))
}

/// Carries out a plan. The caller has the cluster's lock and gives it back; meanwhile it is renewed here.
///
/// # Errors
/// The journal could not be written. Everything else that can go wrong is an [`Outcome`].
pub async fn roll<F: Fleet>(fleet: &F, run: Run, recorder: &mut Recorder, wishes: Wishes) -> Result<Outcome, RunError> {
    let (sender, lost) = watch::channel(None);
    let (started, before) = (Instant::now(), Before::default());
    let mut roller = Roller { fleet, run, recorder, wishes, lost, started, before, doomed: None, told_on_halt: 0 };
    let end = tokio::select! {
        biased;
        end = roller.turns() => end,
        never = lock::beat(fleet, sender) => match never {},
    };
    let end = match end {
        Ok(()) => Ok(roller.finish()),
        Err(Stop::Halt(halt)) => roller.halt_is_told(*halt).await,
        Err(Stop::Wish) => Ok(roller.interrupted()),
        Err(Stop::Record(error)) => Err(error),
    };
    match end.and_then(|recorded| recorded) {
        Ok(outcome) => Ok(outcome),
        Err(cause) => {
            let at = roller.recorder.progress().in_doubt().map(|doubt| (doubt.host, doubt.step));
            let mut error = RunError { at, cause, on_halt: Vec::new() };
            error.on_halt = hooks::on_halt_unrecorded(&mut roller, &error).await;
            Err(error)
        }
    }
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
    pub(super) wishes: Wishes,
    pub(super) lost: watch::Receiver<Option<LockRefusal>>,
    started: Instant,
    /// What was true of the server whose turn it is.
    pub(super) before: Before,
    /// What ended the wait for it, where that was a diagnosis.
    pub(super) doomed: Option<(Diagnosis, View)>,
    /// How many steps on halt were begun.
    pub(super) told_on_halt: usize,
}

impl<F: Fleet> Roller<'_, F> {
    async fn turns(&mut self) -> Result<(), Stop> {
        self.begin().await?;
        hooks::carry_out(self, When::Before).await?;
        let of = self.run.plan.turns_allowed();
        let done = self.recorder.progress().done.clone();
        let mut remaining = self.run.plan.turns.clone();
        remaining.retain(|turn| !done.contains(&turn.host));
        for number in done.len() + 1..=of {
            if number > 1 && !self.run.plan.policy.pause.is_zero() {
                let pause = self.run.plan.policy.pause;
                self.record(Event::Paused { for_ms: millis::of(pause) })?;
                self.sleep_at_safe_point(pause).await?;
            }
            let looks = self.run.plan.only_looks();
            let (turn, view) =
                if looks { self.next_seen(&mut remaining).await? } else { self.next_safe(&mut remaining).await? };
            // The view has the candidate: the plan was made from the same inventory.
            let Some(server) = view.server(&turn.host) else { continue };
            // Where nothing is restarted, nothing has to be told from what stood before: all that is wrong counts.
            let shown = if looks { Vec::new() } else { certificates::before(self, server).await? };
            let mut baseline = Baseline::of(server).within(&view).showing(self.fleet.now(), shown);
            let before = Before::of(&view, &turn.host);
            if looks {
                baseline.errors.clear();
            }
            self.before = if looks { before.looked_at() } else { before };
            self.record(Event::TurnStarted {
                host: turn.host.clone(),
                number,
                of,
                why: turn.why.clone(),
                baseline: baseline.clone(),
                before: view.assets.as_ref().map(|assets| Box::new(assets.only(&turn.server_name))),
                consented: turn.consented.clone(),
            })?;
            match turn::take(self, &turn, baseline, view.assets).await {
                Err(Stop::Halt(halt)) if looks && halt.cause.is_of_the_server() => {
                    self.record(Event::TurnFailed { halt })?
                }
                ended => ended?,
            }
        }
        hooks::carry_out(self, When::After).await?;
        let failed = self.recorder.progress().failed.clone();
        if failed.is_empty() {
            return Ok(());
        }
        let next = vec![self.run.status.clone()];
        Err(Stop::Halt(Box::new(self.halt_here(Cause::NotPassed { hosts: failed, of }, next))))
    }

    /// The next turn where nothing will be changed.
    async fn next_seen(&mut self, remaining: &mut Vec<Turn>) -> Result<(Turn, View), Stop> {
        self.safe_point()?;
        let turn = remaining.remove(0);
        let fleet = self.fleet;
        let view = self.attend(fleet.observe_assets(std::slice::from_ref(&turn.host), OBSERVE_TIMEOUT)).await?;
        Ok((turn, view))
    }

    /// The first event of this controller, and the turn that another one left.
    async fn begin(&mut self) -> Result<(), Stop> {
        let (rollgate, inventory) = (env!("CARGO_PKG_VERSION").to_owned(), self.run.inventory.clone());
        let plan = Box::new(self.run.plan.clone());
        let Some(resume) = self.run.resume.clone() else {
            let cluster_key = self.run.cluster_key.clone();
            self.record(Event::RunStarted { rollgate, inventory, cluster_key, plan })?;
            return stage::all(self).await;
        };
        let replanned = resume.replanned.then_some(plan);
        self.record(Event::Resumed { rollgate, inventory, left: resume.left.clone(), replanned })?;
        stage::all(self).await?;
        resume::settle(self, &resume).await
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
        if let Cause::LockLost { detail } = cause {
            return self.lock_lost(detail);
        }
        let (diagnosis, serving) = match self.seen_at_halt(host, since, &cause).await {
            Ok((diagnosis, view)) => (diagnosis, Some(Serving::of(&view))),
            Err(Stop::Record(error)) => return Stop::Record(error),
            Err(_) => (None, None),
        };
        let progress = self.recorder.progress();
        let untouched = progress.untouched();
        let mut next = vec![cause.remedy(host)];
        if matches!(cause, Cause::FilesRefused { .. }) {
            next.push(format!("to have it asked once more: {}", self.run.go_on));
        } else {
            next.push(format!("see that it is back: {}", self.run.status));
            // Also where it is the last one: it has not passed the gate.
            next.push(format!("then go on with: {}", self.run.go_on));
            next.extend(self.back_from_here(host).map(|back| format!("or put back what was replaced: {back}")));
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

    /// How the program or the files of a server that is in its turn are put back, where this run has put some there.
    fn back_from_here(&self, host: &str) -> Option<&String> {
        let turn = self.recorder.progress().turn.as_ref().filter(|turn| turn.host == host)?;
        let steps = &self.run.plan.steps;
        let replaces = |step: &&Step| matches!(step, Step::Install(_) | Step::Configure(_));
        let begun = |step: &Step| turn.step.iter().chain(&turn.finished).any(|name| name == step.name());
        self.run.back.as_ref().filter(|_| steps.iter().filter(replaces).any(begun))
    }

    /// Nothing was touched: begin again. Else: go on.
    pub(super) fn go_on(&self) -> &str {
        let progress = self.recorder.progress();
        if progress.touched_nothing() { &self.run.again } else { &self.run.go_on }
    }

    fn finish(&mut self) -> Result<Outcome, RecordError> {
        let progress = self.recorder.progress();
        let (done, untouched) = (progress.done.clone(), progress.untouched());
        let took_ms = millis::of(self.started.elapsed());
        self.record(Event::Finished { done, untouched, took_ms })?;
        Ok(Outcome::Finished)
    }

    /// The operator hears of a halt before it is recorded as the end. One that came before anything was touched is none.
    async fn halt_is_told(&mut self, halt: Halt) -> Result<Result<Outcome, RecordError>, RecordError> {
        if !self.recorder.progress().touched_nothing()
            && let Err(Stop::Record(error)) = hooks::on_halt(self, &halt).await
        {
            return Err(error);
        }
        Ok(self.halted(halt))
    }

    /// A halt at a step that belongs to no turn.
    pub(super) fn halt_outside(&self, host: &str, step: &str, cause: Cause) -> Stop {
        let next = vec![cause.remedy(host)];
        let halt = self.halt_here(cause, next);
        Stop::Halt(Box::new(Halt { host: host.to_owned(), step: step.to_owned(), ..halt }))
    }

    fn halted(&mut self, halt: Halt) -> Result<Outcome, RecordError> {
        let halt = Box::new(halt);
        if self.recorder.progress().touched_nothing() {
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
        next.push(format!("go on with: {}", self.run.go_on));
        let (in_doubt, done) = (progress.in_doubt(), progress.done.clone());
        self.record(Event::Interrupted { in_doubt, done, untouched, next })?;
        Ok(Outcome::Interrupted)
    }

    /// Records an event, now.
    pub(super) fn record(&mut self, event: Event) -> Result<(), RecordError> {
        self.recorder.record(self.fleet.now(), event)
    }

    /// A halt that comes of no server, wherever the roll stands.
    pub(super) fn halt_here(&self, cause: Cause, mut next: Vec<String>) -> Halt {
        let progress = self.recorder.progress();
        let untouched = progress.untouched();
        let turn = progress.turn.as_ref();
        let host =
            turn.map(|turn| turn.host.clone()).or_else(|| progress.failed.first().or(untouched.first()).cloned());
        let step = turn.map(|turn| turn.step.clone().unwrap_or_else(|| "turn".into()));
        next.push(format!("go on with: {}", self.go_on()));
        Halt {
            host: host.unwrap_or_default(),
            step: step.unwrap_or_else(|| "observe".into()),
            cause,
            after_ms: 0,
            diagnosis: None,
            serving: None,
            done: progress.done.clone(),
            untouched,
            next,
        }
    }

    /// Waits for `work`, noting a wish to stop as soon as it comes; only a second one ends the wait.
    pub(super) async fn attend<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::pin!(work);
        let mut wishes = self.wishes.clone();
        let mut lost = self.lost.clone();
        loop {
            self.must_have_lock()?;
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
                Ok(_) = lost.wait_for(Option::is_some) => {}
                result = &mut work => return Ok(result),
            }
        }
    }

    /// Asks the operator. A wish to stop takes the question back: nothing is under way.
    pub(super) async fn ask(&mut self, question: &str) -> Result<Answer, Stop> {
        let asking = (self.run.ask)(question.to_owned());
        let mut wishes = self.wishes.clone();
        tokio::select! {
            () = wished(&mut wishes) => Err(Stop::Wish),
            answer = asking => Ok(answer),
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
