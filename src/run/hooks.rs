//! The operator's steps before the first turn, after the last, and on halt.

use super::{
    own_step::{self, Outcome},
    roll::{Roller, RunError, Stop},
};
use crate::{
    core::{
        causes,
        event::Event,
        halt::{Cause, Halt},
        own_step::{FILE_TIMEOUT, Fact, Facts, OnFailure, When},
        playbook::Step,
        progress::OwnStage,
    },
    fleet::Fleet,
};

/// Carries out the steps of one time, but those that are over already.
pub(super) async fn carry_out<F: Fleet>(roller: &mut Roller<'_, F>, when: When) -> Result<(), Stop> {
    for step in roller.run.plan.hooks.at(when).to_vec() {
        let hosts = if step.is_own_on_host() { hosts(roller) } else { vec![String::new()] };
        for host in hosts {
            let own = roller.recorder.progress().own_command(&host, step.name());
            if own.is_none_or(|own| own.stage != OwnStage::Done) {
                one(roller, when, &step, host).await?;
            }
        }
    }
    Ok(())
}

/// The hosts that this run rolls.
fn hosts<F: Fleet>(roller: &Roller<'_, F>) -> Vec<String> {
    let plan = &roller.run.plan;
    plan.turns.iter().take(plan.turns_allowed()).map(|turn| turn.host.clone()).collect()
}

fn facts<F: Fleet>(roller: &Roller<'_, F>, host: &str) -> Facts {
    let plan = &roller.run.plan;
    let mut facts = Facts::from([(Fact::Cluster, plan.cluster.clone()), (Fact::Run, roller.recorder.run().to_owned())]);
    if let Some(turn) = plan.turns.iter().find(|turn| turn.host == host) {
        facts.insert(Fact::Host, turn.host.clone());
        facts.insert(Fact::Server, turn.server_name.clone());
        facts.insert(Fact::Version, turn.version.clone().unwrap_or_default());
        facts.insert(Fact::Monitoring, roller.fleet.monitoring(host));
    }
    facts
}

async fn one<F: Fleet>(roller: &mut Roller<'_, F>, when: When, step: &Step, host: String) -> Result<(), Stop> {
    roller.safe_point()?;
    let name = step.name().to_owned();
    let change = (!host.is_empty()).then(|| own_step::change_id(roller, &host, &name));
    roller.record(Event::HookStarted { when, host: host.clone(), step: name.clone(), change: change.clone() })?;
    let facts = facts(roller, &host);
    let (outcome, on_failure) = match step {
        Step::Run(run) => match own_step::command(roller, &host, None, &facts, run, change).await? {
            Ok(outcome) => (outcome, run.on_failure),
            Err(cause) => return Err(roller.halt_outside(&host, &name, cause)),
        },
        Step::File(file) => match own_step::put(roller, &host, None, &facts, file, change).await? {
            Ok(outcome) => (outcome, file.on_failure),
            Err(cause) => return Err(roller.halt_outside(&host, &name, cause)),
        },
        Step::Http(http) => (own_step::request(roller, &host, &facts, http).await?, http.on_failure),
        Step::Pause(pause) => match own_step::wait(roller, "", pause, &facts).await? {
            Ok(()) => (Outcome { failed: None, output: String::new() }, OnFailure::Halt),
            Err(cause) => return Err(roller.halt_outside("", &name, cause)),
        },
        // No other kind can be written there.
        _ => return Ok(()),
    };
    let Outcome { failed, output } = outcome;
    let output = output.trim_end().to_owned();
    let tolerated = failed.is_some() && on_failure == OnFailure::Warn;
    roller.record(Event::HookFinished {
        when,
        host: host.clone(),
        step: name.clone(),
        failed: failed.clone(),
        tolerated,
        output: output.clone(),
    })?;
    match failed {
        Some(failed) if !tolerated => {
            Err(roller.halt_outside(&host, &name, Cause::HookFailed { when, failed, output }))
        }
        _ => Ok(()),
    }
}

/// What is done when the roll halts: here, whatever became of the lock, and what fails is only told. Only a journal that
/// can't be written ends it.
pub(super) async fn on_halt<F: Fleet>(roller: &mut Roller<'_, F>, halt: &Halt) -> Result<(), Stop> {
    let facts = facts_of_halt(roller, halt.host.clone(), halt.cause.headline(&halt.host, &halt.step));
    for step in roller.run.plan.hooks.on_halt.clone() {
        let (when, host, name) = (When::OnHalt, String::new(), step.name().to_owned());
        roller.record(Event::HookStarted { when, host: host.clone(), step: name.clone(), change: None })?;
        roller.told_on_halt += 1;
        let Outcome { failed, output } = tell(roller.fleet, &step, &facts).await;
        let tolerated = failed.is_some();
        let output = output.trim_end().to_owned();
        roller.record(Event::HookFinished { when, host, step: name, failed, tolerated, output })?;
    }
    Ok(())
}

/// A step on halt that the journal knows nothing of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrecorded {
    /// The step's name.
    pub step: String,
    /// What failed; none where it went well.
    pub failed: Option<String>,
}

impl std::fmt::Display for Unrecorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { step, failed } = self;
        match failed {
            None => write!(f, "`{step}` on halt went well"),
            Some(failed) => write!(f, "`{step}` on halt failed: {failed}"),
        }
    }
}

/// The same for a journal that can't be written any more, but those that were begun already. Nothing that changes a host is
/// begun without its record, for nobody could settle it. These change none, are never gone on with, and have to call somebody
/// now of all times: no other run will.
pub(super) async fn on_halt_unrecorded<F: Fleet>(roller: &mut Roller<'_, F>, why: &RunError) -> Vec<Unrecorded> {
    let mut done = Vec::new();
    if roller.recorder.progress().touched_nothing() {
        return done;
    }
    let host = why.at.as_ref().map(|(host, _)| host.clone()).unwrap_or_default();
    let facts = facts_of_halt(roller, host, causes(why));
    for step in roller.run.plan.hooks.on_halt.iter().skip(roller.told_on_halt) {
        let Outcome { failed, .. } = tell(roller.fleet, step, &facts).await;
        done.push(Unrecorded { step: step.name().to_owned(), failed });
    }
    done
}

fn facts_of_halt<F: Fleet>(roller: &Roller<'_, F>, host: String, cause: String) -> Facts {
    let mut facts = facts(roller, "");
    facts.insert(Fact::Host, host);
    facts.insert(Fact::Cause, cause);
    facts
}

/// One step on halt.
async fn tell<F: Fleet>(fleet: &F, step: &Step, facts: &Facts) -> Outcome {
    match step {
        Step::Run(run) => {
            let command = own_step::rendered(run, facts);
            let ended = fleet.run_here(&command, run.timeout).await.map_err(|failure| failure.to_string());
            Outcome::of(ended, run.timeout)
        }
        Step::File(file) => {
            let ended = fleet.put_here(&own_step::wanted(file, facts), FILE_TIMEOUT).await;
            Outcome::of(ended.map_err(|failure| failure.to_string()), FILE_TIMEOUT)
        }
        Step::Http(http) => {
            let url = http.url.render(facts);
            own_step::judged(fleet.get("", http.on, &url, http.timeout).await, &url, facts, http)
        }
        // No other kind can be written there.
        _ => Outcome { failed: None, output: String::new() },
    }
}
