//! The operator's own steps in a turn: a command, a check over HTTP, a pause.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    approval::Answer,
    roll::{Roller, Stop},
    turn::{self, Passage},
};
use crate::{
    core::{
        event::Event,
        halt::Cause,
        own_step::{Fact, Facts, Http, OUTPUT_KEPT, OnFailure, Pause, Place, Run, Until, environment},
        progress::OwnStage,
    },
    fleet::{Action, Change, Command, Ended, Fleet},
};

/// Between two requests of a check that may come true yet.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What failed, and what was printed or answered.
struct Outcome {
    failed: Option<String>,
    output: String,
}

/// What the steps of this turn may know of it.
fn facts<F: Fleet>(roller: &Roller<'_, F>, passage: &Passage) -> Facts {
    let version = passage.version.clone().or_else(|| passage.version_before.clone()).unwrap_or_default();
    Facts::from([
        (Fact::Host, passage.host.clone()),
        (Fact::Server, passage.server_name.clone()),
        (Fact::Cluster, roller.run.plan.cluster.clone()),
        (Fact::Run, roller.recorder.run().to_owned()),
        (Fact::Version, version),
        (Fact::Monitoring, roller.fleet.monitoring(&passage.host)),
    ])
}

/// The id of a command on its host. It stays the same when its turn is begun anew: the host does each id at most once. One
/// that failed is tried anew when the operator has the run go on.
pub(super) fn change_id<F: Fleet>(roller: &Roller<'_, F>, host: &str, step: &str) -> String {
    let run = roller.recorder.run();
    match roller.recorder.progress().own.get(host).and_then(|steps| steps.get(step)).map(|own| own.failures) {
        None | Some(0) => format!("{run}-{host}-own-{step}"),
        Some(failures) => format!("{run}-{host}-own-{step}-{failures}"),
    }
}

/// The commands that are over on a host, by name.
pub(super) fn done<F: Fleet>(roller: &Roller<'_, F>, host: &str) -> Vec<String> {
    let own = roller.recorder.progress().own.get(host);
    own.into_iter().flatten().filter(|(_, own)| own.stage == OwnStage::Done).map(|(step, _)| step.clone()).collect()
}

/// Whether a command was begun by a controller that could not record its end. A host keeps its own record; here there is none.
fn in_doubt<F: Fleet>(roller: &Roller<'_, F>, host: &str, step: &str) -> bool {
    let own = roller.recorder.progress().own.get(host).and_then(|steps| steps.get(step));
    own.is_some_and(|own| own.stage == OwnStage::InDoubt)
}

/// Runs a command.
pub(super) async fn run<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &Run,
    change: Option<String>,
) -> Result<(), Stop> {
    let facts = facts(roller, passage);
    let own = step.environment.iter().map(|(name, text)| (name.clone(), text.render(&facts)));
    let command = Command {
        argv: step.command.iter().map(|word| word.render(&facts)).collect(),
        environment: environment(&facts).chain(own).collect(),
    };
    let ended = match (step.on, change) {
        (Place::Host, Some(id)) => {
            let change = Change { id, what: Action::Run { command, privileged: step.privileged }, limit: step.timeout };
            turn::attempt(roller, passage, &change).await?.1.and_then(|ended| {
                let lost = "it was begun, and died without leaving a result: the host was rebooted, or it was killed";
                ended.ok_or_else(|| Cause::OwnStepFailed { failed: lost.into(), output: String::new() })
            })
        }
        _ if in_doubt(roller, &passage.host, &step.name) => {
            let failed = "it was under way when its controller died: whether it took effect is not known";
            Err(Cause::OwnStepFailed { failed: failed.into(), output: String::new() })
        }
        _ => {
            let fleet = roller.fleet;
            let ended = roller.attend(fleet.run_here(&command, step.timeout)).await?;
            ended.map_err(|failure| Cause::OwnStepFailed { failed: failure.to_string(), output: String::new() })
        }
    };
    let outcome = match ended {
        Ok(Ended { status: 0, output }) => Outcome { failed: None, output },
        Ok(Ended { status: Ended::TIMED_OUT, output }) => {
            let failed = format!("it had not ended after {} s, and was ended", step.timeout.as_secs_f64());
            Outcome { failed: Some(failed), output }
        }
        Ok(Ended { status, output }) => Outcome { failed: Some(format!("exit status {status}")), output },
        Err(Cause::OwnStepFailed { failed, output }) => Outcome { failed: Some(failed), output },
        // Contact with the host is no matter of the step: whether it was carried out is not known.
        Err(cause) => return Err(turn::halt(roller, passage, &step.name, cause).await),
    };
    conclude(roller, passage, &step.name, step.on_failure, outcome).await
}

/// Asks until the answer is right, or the time for it is over.
pub(super) async fn http<F: Fleet>(roller: &mut Roller<'_, F>, passage: &mut Passage, step: &Http) -> Result<(), Stop> {
    let facts = facts(roller, passage);
    let url = step.url.render(&facts);
    let contains = step.contains.as_ref().map(|text| text.render(&facts));
    let fleet = roller.fleet;
    let began = Instant::now();
    let outcome = loop {
        let answer = roller.attend(fleet.get(&passage.host, step.on, &url, step.timeout)).await?;
        let (failed, body) = match answer {
            Err(failure) => (Some(failure.to_string()), String::new()),
            Ok((status, body)) if status != step.status => {
                (Some(format!("{url}: status {status}, not {}", step.status)), body)
            }
            Ok((_, body)) => match &contains {
                Some(text) if !body.contains(text) => {
                    (Some(format!("{url}: the answer does not contain `{text}`")), body)
                }
                _ => (None, body),
            },
        };
        if failed.is_none() || began.elapsed() >= step.within {
            // The answer matters where it was wrong.
            let output = if failed.is_some() { tail(&body) } else { String::new() };
            break Outcome { failed, output };
        }
        roller.attend(sleep(ASK_AGAIN.min(step.within.saturating_sub(began.elapsed())))).await?;
    };
    conclude(roller, passage, &step.name, step.on_failure, outcome).await
}

fn tail(text: &str) -> String {
    let mut from = text.len().saturating_sub(OUTPUT_KEPT);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}

async fn conclude<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &Passage,
    name: &str,
    on_failure: OnFailure,
    outcome: Outcome,
) -> Result<(), Stop> {
    let failed = outcome.failed;
    let output = outcome.output.trim_end().to_owned();
    roller.record(Event::OwnStep {
        host: passage.host.clone(),
        step: name.to_owned(),
        failed: failed.clone(),
        output: output.clone(),
    })?;
    match (failed, on_failure) {
        (Some(failed), OnFailure::Halt) => {
            Err(turn::halt(roller, passage, name, Cause::OwnStepFailed { failed, output }).await)
        }
        _ => Ok(()),
    }
}

/// Waits for a time, or for the operator.
pub(super) async fn pause<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &Pause,
) -> Result<(), Stop> {
    let question = match &step.until {
        // It may stand where the server is down: a wish to stop does not leave it so.
        Until::Over(time) => return roller.attend(sleep(*time)).await,
        Until::Approved(question) => question.render(&facts(roller, passage)),
    };
    let host = passage.host.clone();
    roller.record(Event::ApprovalAwaited { host, step: step.name.clone(), question: question.clone() })?;
    match roller.ask(&question).await? {
        Answer::Yes => Ok(()),
        Answer::No => Err(Stop::Wish),
        Answer::Nobody => Err(turn::halt(roller, passage, &step.name, Cause::NobodyToAsk { question }).await),
    }
}
