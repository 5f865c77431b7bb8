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
        own_step::{FILE_TIMEOUT, Fact, Facts, File, Http, OUTPUT_KEPT, OnFailure, Pause, Run, Until, environment},
        progress::OwnStage,
        view::Seen,
    },
    fleet::{Action, Change, Command, Ended, Fleet, PutFile},
};

/// Between two requests of a check that may come true yet.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What failed, and what was printed or answered.
pub(super) struct Outcome {
    pub(super) failed: Option<String>,
    pub(super) output: String,
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
    match roller.recorder.progress().own_command(host, step).map(|own| own.failures) {
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
    roller.recorder.progress().own_command(host, step).is_some_and(|own| own.stage == OwnStage::InDoubt)
}

/// Runs a command on a host, or on the controller where there is no id for a change.
///
/// # Errors
/// The outer: the roll stops. The inner: contact with the host is lost, and whether it was carried out is not known.
pub(super) async fn command<F: Fleet>(
    roller: &mut Roller<'_, F>,
    host: &str,
    passage: Option<&Passage>,
    facts: &Facts,
    step: &Run,
    change: Option<String>,
) -> Result<Result<Outcome, Cause>, Stop> {
    let command = rendered(step, facts);
    let ended = match change {
        Some(id) => {
            let what = Action::Run { command, privileged: step.privileged };
            return on_host(roller, host, passage, Change { id, what, limit: step.timeout, boot: None }).await;
        }
        None if in_doubt(roller, host, &step.name) => {
            Err("it was under way when its controller died: whether it took effect is not known".into())
        }
        None => {
            let fleet = roller.fleet;
            roller.attend(fleet.run_here(&command, step.timeout)).await?.map_err(|failure| failure.to_string())
        }
    };
    Ok(Ok(Outcome::of(ended, step.timeout)))
}

/// Carries out a change of the operator's on a host. The errors are those of [`command`].
async fn on_host<F: Fleet>(
    roller: &mut Roller<'_, F>,
    host: &str,
    passage: Option<&Passage>,
    change: Change,
) -> Result<Result<Outcome, Cause>, Stop> {
    let ended = match turn::attempt(roller, host, passage, &change).await?.1 {
        Ok(None) => {
            Err("it was begun, and died without leaving a result: the host was rebooted, or it was killed".into())
        }
        Ok(Some(ended)) => Ok(ended),
        Err(cause) => return Ok(Err(cause)),
    };
    Ok(Ok(Outcome::of(ended, change.limit)))
}

/// Puts a file in its place on a host, or on the controller where there is no id for a change: there it is harmless to do it
/// again.
///
/// # Errors
/// As [`command`].
pub(super) async fn put<F: Fleet>(
    roller: &mut Roller<'_, F>,
    host: &str,
    passage: Option<&Passage>,
    facts: &Facts,
    step: &File,
    change: Option<String>,
) -> Result<Result<Outcome, Cause>, Stop> {
    let file = wanted(step, facts);
    match change {
        Some(id) => {
            let what = Action::Put { file, privileged: step.privileged };
            on_host(roller, host, passage, Change { id, what, limit: FILE_TIMEOUT, boot: None }).await
        }
        None => {
            let fleet = roller.fleet;
            let ended = roller.attend(fleet.put_here(&file, FILE_TIMEOUT)).await?;
            Ok(Ok(Outcome::of(ended.map_err(|failure| failure.to_string()), FILE_TIMEOUT)))
        }
    }
}

/// A file with the facts in their places.
pub(super) fn wanted(step: &File, facts: &Facts) -> PutFile {
    PutFile {
        path: step.path.render(facts),
        content: step.content.as_ref().map(|content| content.render(facts)),
        mode: step.mode.clone(),
        owner: step.owner.clone(),
    }
}

/// A command with the facts in their places.
pub(super) fn rendered(step: &Run, facts: &Facts) -> Command {
    let own = step.environment.iter().map(|(name, text)| (name.clone(), text.render(facts)));
    Command {
        argv: step.command.iter().map(|word| word.render(facts)).collect(),
        environment: environment(facts).chain(own).collect(),
    }
}

impl Outcome {
    /// How a command ended that had that long.
    pub(super) fn of(ended: Result<Ended, String>, limit: Duration) -> Self {
        match ended {
            Ok(Ended { status: 0, output }) => Self { failed: None, output },
            Ok(Ended { status: Ended::TIMED_OUT, output }) => {
                let failed = format!("it had not ended after {} s, and was ended", limit.as_secs_f64());
                Self { failed: Some(failed), output }
            }
            Ok(Ended { status, output }) => Self { failed: Some(format!("exit status {status}")), output },
            Err(failed) => Self { failed: Some(failed), output: String::new() },
        }
    }
}

/// Runs a command of a turn.
pub(super) async fn run<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &Run,
    change: Option<String>,
) -> Result<(), Stop> {
    let facts = facts(roller, passage);
    match command(roller, &passage.host, Some(&*passage), &facts, step, change).await? {
        Ok(outcome) => conclude(roller, passage, &step.name, step.on_failure, outcome).await,
        Err(cause) => Err(turn::halt(roller, passage, &step.name, cause).await),
    }
}

/// Puts a file of a turn in its place.
pub(super) async fn file<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &File,
    change: Option<String>,
) -> Result<(), Stop> {
    let facts = facts(roller, passage);
    match put(roller, &passage.host, Some(&*passage), &facts, step, change).await? {
        Ok(outcome) => conclude(roller, passage, &step.name, step.on_failure, outcome).await,
        Err(cause) => Err(turn::halt(roller, passage, &step.name, cause).await),
    }
}

/// Asks until the answer is right, or the time for it is over.
pub(super) async fn request<F: Fleet>(
    roller: &mut Roller<'_, F>,
    host: &str,
    facts: &Facts,
    step: &Http,
) -> Result<Outcome, Stop> {
    let fleet = roller.fleet;
    let began = Instant::now();
    let url = step.url.render(facts);
    loop {
        let outcome = judged(roller.attend(fleet.get(host, step.on, &url, step.timeout)).await?, &url, facts, step);
        if outcome.failed.is_none() || began.elapsed() >= step.within {
            return Ok(outcome);
        }
        roller.attend(sleep(ASK_AGAIN.min(step.within.saturating_sub(began.elapsed())))).await?;
    }
}

/// Whether an answer is right. It is kept where it is wrong.
pub(super) fn judged(answer: Seen<(u16, String)>, url: &str, facts: &Facts, step: &Http) -> Outcome {
    let contains = step.contains.as_ref().map(|text| text.render(facts));
    let wrong = |failed: String, body: &str| Outcome { failed: Some(failed), output: tail(body) };
    match answer {
        Err(failure) => wrong(failure.to_string(), ""),
        Ok((status, body)) if status != step.status => {
            wrong(format!("{url}: status {status}, not {}", step.status), &body)
        }
        Ok((_, body)) => match contains {
            Some(text) if !body.contains(&text) => wrong(format!("{url}: the answer does not contain `{text}`"), &body),
            _ => Outcome { failed: None, output: String::new() },
        },
    }
}

/// A check over HTTP in a turn.
pub(super) async fn http<F: Fleet>(roller: &mut Roller<'_, F>, passage: &mut Passage, step: &Http) -> Result<(), Stop> {
    let facts = facts(roller, passage);
    let outcome = request(roller, &passage.host, &facts, step).await?;
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

/// A pause of a turn.
pub(super) async fn pause<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &Pause,
) -> Result<(), Stop> {
    let facts = facts(roller, passage);
    match wait(roller, &passage.host, step, &facts).await? {
        Ok(()) => Ok(()),
        Err(cause) => Err(turn::halt(roller, passage, &step.name, cause).await),
    }
}

/// Waits for a time, or for the operator, whose refusal ends the roll as a wish to stop does. The inner error is that there is
/// nobody to ask. The host is empty where the pause is for the roll as a whole.
pub(super) async fn wait<F: Fleet>(
    roller: &mut Roller<'_, F>,
    host: &str,
    step: &Pause,
    facts: &Facts,
) -> Result<Result<(), Cause>, Stop> {
    let question = match &step.until {
        // It may stand where the server is down: a wish to stop does not leave it so.
        Until::Over(time) => return roller.attend(sleep(*time)).await.map(Ok),
        Until::Approved(question) => question.render(facts),
    };
    let (host, name) = (host.to_owned(), step.name.clone());
    roller.record(Event::ApprovalAwaited { host, step: name, question: question.clone() })?;
    match roller.ask(&question).await? {
        Answer::Yes => Ok(Ok(())),
        Answer::No => Err(Stop::Wish),
        Answer::Nobody => Ok(Err(Cause::NobodyToAsk { question })),
    }
}
