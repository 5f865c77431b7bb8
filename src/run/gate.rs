//! Waiting at the gate: when to look, until when, and what to tell.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{
    OBSERVE_TIMEOUT,
    doom::Doom,
    roll::{Roller, Stop},
    turn::Passage,
};
use crate::{
    core::{
        caught_up::{self, Behind},
        event::Event,
        gate::{Condition, Verdict, Waiting},
        halt::Cause,
        playbook,
    },
    fleet::Fleet,
};

/// A healthy server is ready 0.3–2.1 s after its start (measured). In that time a look at least every quarter of a
/// second keeps the roll from being slower than the server.
const EAGER_FOR: Duration = Duration::from_secs(10);
/// See [`EAGER_FOR`].
const EAGER_INTERVAL: Duration = Duration::from_millis(250);
/// Data that is still missing this long after every group called the server current will not come: catching up ends
/// before a leader says so, and what its copy lacks then nobody will send (measured: a damaged block stayed short).
const SHORT_FOR: Duration = Duration::from_secs(10);
/// The same conditions in other words are told again only after this long.
const REWORD_AFTER: Duration = Duration::from_secs(2);

/// Waits until the gate opens.
pub(super) async fn wait<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &playbook::Gate,
) -> Result<(), Stop> {
    let began = Instant::now();
    let deadline = began + step.deadline;
    passage.deadline = Some(deadline);
    passage.look_timeout = step.look_timeout;
    let mut told = Told::new("gate", step.looks);
    let mut delays = delays(step);
    let mut last = Vec::new();
    let mut doom = Doom::new();
    loop {
        let verdict = look(roller, passage, began, deadline).await?;
        match verdict {
            Some(Verdict::Open) => return caught_up(roller, passage, step, began, deadline).await,
            Some(Verdict::Halt(cause)) => {
                return Err(roller.halt(&passage.host, "gate", cause, passage.started, began.elapsed()).await);
            }
            Some(Verdict::Wait(waiting)) => {
                if passage.gate.streak() == 1 {
                    delays = self::delays(step);
                }
                told.tell(roller, passage, &waiting)?;
                if let Some(cause) = doom.ask(roller, passage, &waiting, began).await? {
                    return Err(roller.halt(&passage.host, "gate", cause, passage.started, began.elapsed()).await);
                }
                last = waiting;
            }
            None => {}
        }
        if Instant::now() >= deadline {
            let cause = Cause::NotReady { waiting: last };
            return Err(roller.halt(&passage.host, "gate", cause, passage.started, began.elapsed()).await);
        }
        let cap = if began.elapsed() < EAGER_FOR { EAGER_INTERVAL } else { step.max_interval };
        let delay = delays.next().unwrap_or(step.max_interval).min(cap.min(step.max_interval));
        roller.attend(sleep_until((Instant::now() + delay).min(deadline))).await?;
    }
}

/// Waits until the groups on the server are led and call it current, and its streams have what they had. What a healthy
/// server says of itself is no proof of either.
async fn caught_up<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &playbook::Gate,
    began: Instant,
    deadline: Instant,
) -> Result<(), Stop> {
    let Some(before) = passage.assets.clone() else { return Ok(()) };
    let fleet = roller.fleet;
    let mut told = Told::new("gate", step.looks);
    let mut short_since: Option<Instant> = None;
    let mut delays = delays(step);
    let waiting_since = Instant::now();
    loop {
        let observing = timeout_at(deadline, fleet.observe_assets(&[], OBSERVE_TIMEOUT));
        let now = roller.attend(observing).await?.ok().and_then(|view| view.assets);
        let behind = now.map(|now| caught_up::behind(&before, &now, &passage.server_name));
        if behind.as_ref().is_some_and(Behind::nothing) {
            return Ok(());
        }
        let waiting = behind_as_waits(behind.as_ref(), waiting_since.elapsed());
        let only_data = behind.as_ref().is_some_and(|behind| behind.groups.is_empty());
        short_since = if only_data { short_since.or(Some(Instant::now())) } else { None };
        let cause = if short_since.is_some_and(|since| since.elapsed() >= SHORT_FOR) {
            Some(Cause::DataShort { streams: behind.map(|behind| behind.data).unwrap_or_default() })
        } else if Instant::now() >= deadline {
            Some(Cause::NotReady { waiting: waiting.clone() })
        } else {
            // It may die while it catches up.
            match look(roller, passage, began, deadline).await? {
                Some(Verdict::Halt(cause)) => Some(cause),
                _ => None,
            }
        };
        if let Some(cause) = cause {
            return Err(roller.halt(&passage.host, "gate", cause, passage.started, began.elapsed()).await);
        }
        told.tell(roller, passage, &waiting)?;
        let delay = delays.next().unwrap_or(step.max_interval).min(step.max_interval);
        roller.attend(sleep_until((Instant::now() + delay).min(deadline))).await?;
    }
}

fn behind_as_waits(behind: Option<&Behind>, elapsed: Duration) -> Vec<Waiting> {
    let for_ms = crate::core::millis::of(elapsed);
    let wait = |condition, all: &[String]| {
        let reason = match all {
            [] => return None,
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        };
        Some(Waiting { condition, reason, for_ms })
    };
    match behind {
        Some(behind) => {
            let both = [wait(Condition::CaughtUp, &behind.groups), wait(Condition::Data, &behind.data)];
            both.into_iter().flatten().collect()
        }
        None => wait(Condition::CaughtUp, &["the assets can't be seen".to_owned()]).into_iter().collect(),
    }
}

/// Watches that the server stays ready. A bad look begins the time anew; the gate's deadline bounds the whole.
pub(super) async fn settle<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &playbook::Settle,
) -> Result<(), Stop> {
    let began = Instant::now();
    let hard = passage.deadline.unwrap_or(began).max(began + step.hold + passage.look_timeout);
    let mut good_since = began;
    let mut told = Told::new("settle", 0);
    let mut last = Vec::new();
    while good_since.elapsed() < step.hold {
        let left = step.hold.saturating_sub(good_since.elapsed());
        roller.attend(sleep(step.interval.min(left))).await?;
        match look(roller, passage, began, hard).await? {
            Some(Verdict::Halt(cause)) => {
                return Err(roller.halt(&passage.host, "settle", cause, passage.started, began.elapsed()).await);
            }
            Some(Verdict::Wait(waiting)) if !waiting.is_empty() => {
                good_since = Instant::now();
                told.tell(roller, passage, &waiting)?;
                last = waiting;
            }
            // Open and a good look that awaits more: both are good here.
            Some(Verdict::Open | Verdict::Wait(_)) => {}
            None => good_since = Instant::now(),
        }
        if Instant::now() >= hard && good_since.elapsed() < step.hold {
            let cause = Cause::NotSettled { waiting: last };
            return Err(roller.halt(&passage.host, "settle", cause, passage.started, began.elapsed()).await);
        }
    }
    Ok(())
}

/// One look and its verdict; none where the deadline came first.
async fn look<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    began: Instant,
    deadline: Instant,
) -> Result<Option<Verdict>, Stop> {
    let fleet = roller.fleet;
    let at = Instant::now();
    let looking = timeout_at(deadline, fleet.look(&passage.host, passage.look_timeout));
    let Ok(look) = roller.attend(looking).await? else { return Ok(None) };
    let verdict = passage.gate.judge(&look, began.elapsed());
    match passage.gate.streak() {
        0 => passage.ready_at = None,
        _ => {
            passage.ready_at.get_or_insert(at);
        }
    }
    if let Ok(varz) = &look.server.varz {
        passage.version = Some(varz.version.clone());
    }
    Ok(Some(verdict))
}

fn delays(step: &playbook::Gate) -> impl Iterator<Item = Duration> + use<> {
    ExponentialBuilder::default()
        .with_min_delay(step.first_interval)
        .with_max_delay(step.max_interval)
        .with_jitter()
        .without_max_times()
        .build()
}

/// What was told last: good looks in a row, what was waited for, and when.
type Line = (u32, Vec<(Condition, String)>, Instant);

/// Keeps the events of a wait few: one when what is waited for changes, not one a look.
struct Told {
    step: &'static str,
    of: u32,
    last: Option<Line>,
}

impl Told {
    fn new(step: &'static str, of: u32) -> Self {
        Self { step, of, last: None }
    }

    fn tell<F: Fleet>(
        &mut self,
        roller: &mut Roller<'_, F>,
        passage: &Passage,
        waiting: &[Waiting],
    ) -> Result<(), Stop> {
        let good = passage.gate.streak();
        let now: Vec<_> = waiting.iter().map(|waiting| (waiting.condition, waiting.reason.clone())).collect();
        if let Some((told_good, told, at)) = &self.last {
            let same_conditions = told.iter().map(|(c, _)| c).eq(now.iter().map(|(c, _)| c));
            let same = *told_good == good && same_conditions;
            if same && (*told == now || at.elapsed() < REWORD_AFTER) {
                return Ok(());
            }
        }
        self.last = Some((good, now, Instant::now()));
        roller.record(Event::Looked {
            host: passage.host.clone(),
            step: self.step.into(),
            good,
            of: self.of,
            waiting: waiting.to_vec(),
        })?;
        Ok(())
    }
}
