//! Going on with a turn that was left: facts first, then only what has not been done.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    OBSERVE_TIMEOUT, configure,
    contact::Contact,
    install, own_step,
    roll::{Roller, Stop},
    turn,
};
use crate::{
    core::{
        event::Event,
        playbook::Step,
        progress,
        settle::{self, Record, Standing},
        view::{Failure, FailureKind},
    },
    fleet::{Changed, Fleet},
};

/// One question for a change's record.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);

/// What a run that goes on needs besides its journal.
#[derive(Debug, Clone, Default)]
pub struct Resume {
    /// How it had been left: the kind of its terminal event; none where its controller died.
    pub left: Option<String>,
    /// Its plan was made anew.
    pub replanned: bool,
    /// When the stop of the turn under way was announced.
    pub down_at: Option<Timestamp>,
}

/// Settles the turn under way, and finishes it unless it was never really begun.
pub(super) async fn settle<F: Fleet>(roller: &mut Roller<'_, F>, resume: &Resume) -> Result<(), Stop> {
    let Some(mut left) = roller.recorder.progress().turn.clone() else { return Ok(()) };
    left.finished.extend(own_step::done(roller, &left.host));
    let steps = roller.run.plan.steps_of(&left.host);
    let (standing, facts, restarts, rebooted) = if steps.iter().any(|step| matches!(step, Step::Stop(_))) {
        standing(roller, &left).await?
    } else {
        (Standing::Untouched, "its turn stops nothing".into(), None, false)
    };
    if standing == Standing::Back
        && let Some(missed @ ("install" | "configure")) = settle::missed(standing, rebooted, &steps, &left.finished)
    {
        let host = left.host.clone();
        let there = match missed {
            "install" => install::is_in_place(roller, &host).await?,
            _ => configure::are_in_place(roller, &host).await?,
        };
        if there {
            left.finished.push(missed.to_owned());
        }
    }
    let (standing, facts) = match settle::missed(standing, rebooted, &steps, &left.finished) {
        Some(step) => (Standing::Untouched, format!("it runs again, and `{step}` was not done; {facts}")),
        None => (standing, facts),
    };
    let finished = settle::finished(standing, &steps, &left.finished);
    left.finished.extend(finished.iter().cloned());
    roller.record(Event::Settled { host: left.host.clone(), standing, facts, finished })?;
    if standing == Standing::Untouched {
        return Ok(());
    }
    let mended = standing == Standing::Back && resume.left.as_deref() == Some("halted");
    if mended || standing == Standing::Down {
        // Whatever its manager did until it was mended, or until it was stopped, it must not do again.
        left.baseline.is_down(restarts);
    }
    turn::go_on(roller, left, resume.down_at).await
}

/// How far the turn is, asked until it can be told.
async fn standing<F: Fleet>(
    roller: &mut Roller<'_, F>,
    left: &progress::Turn,
) -> Result<(Standing, String, Option<u32>, bool), Stop> {
    let fleet = roller.fleet;
    let host = &left.host;
    let stop = turn::change_id(roller, host, "stop");
    let inspect = std::slice::from_ref(host);
    let mut contact = match roller.run.plan.steps.iter().find(|step| left.step.as_deref() == Some(step.name())) {
        Some(Step::Reboot(reboot)) => Contact::patient(reboot.deadline),
        _ => Contact::new(),
    };
    loop {
        let asking =
            async { tokio::join!(fleet.record(host, &stop, RECORD_TIMEOUT), fleet.observe(inspect, OBSERVE_TIMEOUT)) };
        let (record, view) = roller.attend(asking).await?;
        let failure = match (record, view.server(host)) {
            (Err(failure), _) => failure,
            (_, None) => Failure::new(FailureKind::NotAsked, format!("{host} is not in the inventory")),
            (Ok(record), Some(server)) => {
                let record = match record {
                    None => Record::None,
                    Some(Changed::Running) => Record::Running,
                    Some(Changed::Ended { .. } | Changed::Lost { .. }) => Record::Ended,
                };
                match settle::standing(&left.baseline, left.stopped, record, server) {
                    Ok((standing, facts)) => {
                        let restarts = server.service.as_ref().ok().and_then(|service| service.restarts);
                        let rebooted = settle::rebooted(&left.baseline, server);
                        return Ok((standing, facts, restarts, rebooted));
                    }
                    Err(why) => Failure::new(FailureKind::Protocol, why),
                }
            }
        };
        contact.wait(roller, host, "resume", failure).await?;
    }
}
