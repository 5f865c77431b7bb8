//! In the turn: another program takes its place, or the one before comes back.

use std::time::Duration;

use super::{
    contact::Contact,
    own_step,
    roll::{Roller, Stop},
    turn::{self, Passage},
};
use crate::{
    core::{
        halt::Cause,
        install::{Install, Kept, Placement, PutBack, Source, same_version},
        own_step::{OnFailure, Place, Run, Template},
    },
    fleet::{Action, Change, Ended, Fleet},
};

/// One digest of some megabytes.
const DIGEST_TIMEOUT: Duration = Duration::from_secs(15);
/// A placement that was killed in the middle may be done again; what kills it each time will go on doing so.
const TRIES: u32 = 3;

/// The id of a change that may be done again: each controller that goes on asks for one of its own, since one that failed
/// is to be tried anew.
pub(super) fn change_id<F: Fleet>(roller: &Roller<'_, F>, host: &str, step: &str) -> String {
    let resumed = roller.recorder.progress().resumed;
    format!("{}-{resumed}", turn::change_id(roller, host, step))
}

/// The command of an install by command, as a step of the operator's own.
pub(super) fn command(install: &Install) -> Option<Run> {
    let Source::Command(command) = &install.from else { return None };
    Some(Run {
        name: "install".into(),
        command: ["sh", "-c", command].map(Template::new).into(),
        on: Place::Host,
        privileged: true,
        environment: Default::default(),
        timeout: install.deadline,
        on_failure: OnFailure::Halt,
    })
}

/// Puts the staged program in place, or has the operator's command install it; what there is to say of it.
pub(super) async fn install<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &Install,
    id: String,
) -> Result<Option<String>, Stop> {
    let host = passage.host.clone();
    let run = roller.recorder.run().to_owned();
    let Some(staged) = roller.recorder.progress().staged.get(&host).cloned() else {
        let failed = "nothing was staged for it".to_owned();
        return Err(
            turn::halt(roller, passage, "install", Cause::OwnStepFailed { failed, output: String::new() }).await
        );
    };
    if let Some(own) = command(step) {
        // What is there now is kept as it is: a placement of the very same file keeps it, and finds it in place.
        if let Some(now) = digest(roller, &host, &staged.to, "install").await? {
            let keep = Action::Place(Placement::new(&run, &staged.to, now));
            let id = change_id(roller, &host, "keep");
            carry_out(roller, passage, "install", id, keep, step.deadline).await?;
        }
        own_step::run(roller, passage, &own, Some(id)).await?;
        return Ok(None);
    }
    let sha256 = staged.sha256.unwrap_or_default();
    let place = Action::Place(Placement::new(&run, &staged.to, &sha256));
    carry_out(roller, passage, "install", id, place, step.deadline).await?;
    let found = digest(roller, &host, &staged.to, "install").await?;
    if found.as_ref() != Some(&sha256) {
        let found = found.unwrap_or_else(|| "nothing".into());
        let output = format!("{} is {found} and not {sha256}", staged.to);
        return Err(turn::halt(roller, passage, "install", Cause::ChangeFailed { status: None, output }).await);
    }
    let before = staged.before.map(|version| format!("{} is kept", version.trim_start_matches('v')));
    Ok(before)
}

/// Puts back what a run has kept; what there is to say of it.
pub(super) async fn put_back<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &PutBack,
    id: String,
) -> Result<Option<String>, Stop> {
    let files = step.files.get(&passage.host).cloned().unwrap_or_default();
    for (number, to) in files.into_iter().enumerate() {
        let action = Action::PutBack(Kept { run: step.run.clone(), to });
        carry_out(roller, passage, "put-back", format!("{id}-{number}"), action, step.deadline).await?;
    }
    let Some(kept) = step.kept.get(&passage.host).cloned() else { return Ok(None) };
    let action = Action::PutBack(Kept { run: step.run.clone(), to: kept.to });
    carry_out(roller, passage, "put-back", id, action, step.deadline).await?;
    Ok(kept.version.map(|version| format!("version {version}")))
}

/// Carries out a change that may be done again.
pub(super) async fn carry_out<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &str,
    id: String,
    what: Action,
    limit: Duration,
) -> Result<(), Stop> {
    let mut cause = Cause::ChangeTimedOut;
    for number in 1..=TRIES {
        let id = if number == 1 { id.clone() } else { format!("{id}-{number}") };
        let change = Change { id, what: what.clone(), limit, boot: None };
        let ended = turn::attempt(roller, &passage.host, Some(&*passage), &change).await?.1;
        cause = match ended.map(|ended| ended.map(Ended::fault)) {
            Ok(Some(None)) => return Ok(()),
            Ok(None) => Cause::ChangeFailed { status: None, output: "it was killed before it had ended".into() },
            Ok(Some(Some(Cause::ChangeTimedOut))) => Cause::ChangeTimedOut,
            Ok(Some(Some(cause))) | Err(cause) => return Err(turn::halt(roller, passage, step, cause).await),
        };
    }
    Err(turn::halt(roller, passage, step, cause).await)
}

/// The digest of a file on the host, asked until it can be told.
pub(super) async fn digest<F: Fleet>(
    roller: &mut Roller<'_, F>,
    host: &str,
    path: &str,
    step: &str,
) -> Result<Option<String>, Stop> {
    let fleet = roller.fleet;
    let mut contact = Contact::new();
    loop {
        match roller.attend(fleet.digest(host, path, DIGEST_TIMEOUT)).await? {
            Ok(found) => return Ok(found),
            Err(failure) => contact.wait(roller, host, step, failure).await?,
        }
    }
}

/// Whether a program has been put in place although that is not recorded: its host was rebooted before it could be.
pub(super) async fn is_in_place<F: Fleet>(roller: &mut Roller<'_, F>, host: &str) -> Result<bool, Stop> {
    let Some(staged) = roller.recorder.progress().staged.get(host).cloned() else { return Ok(false) };
    let Some(sha256) = staged.sha256 else { return Ok(false) };
    Ok(digest(roller, host, &staged.to, "install").await? == Some(sha256))
}

/// The server that passed the gate must be of the version that was put in place.
pub(super) async fn is_meant<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &Passage,
    expected: Option<&str>,
) -> Result<(), Stop> {
    let found = passage.version.clone().unwrap_or_default();
    match expected {
        Some(expected) if !same_version(expected, &found) => {
            let cause = Cause::OtherVersion { expected: expected.to_owned(), found };
            Err(turn::halt(roller, passage, "gate", cause).await)
        }
        _ => Ok(()),
    }
}
