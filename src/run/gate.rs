//! Waiting at the gate: when to look, until when, and what to tell.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{
    OBSERVE_TIMEOUT, certificates,
    doom::Doom,
    roll::{Roller, Stop},
    told::Told,
    turn::Passage,
};
use crate::{
    core::{
        gate::{Attachments, Baseline, Condition, Measure, Moves, Pace, Patience, Verdict, Waiting},
        halt::Cause,
        playbook::{self, Connections},
        view::{Seen, View},
        witness::{Behind, Witness},
    },
    fleet::Fleet,
};

/// A healthy server is ready 0.3–2.1 s after its start (measured). In that time a look at least every quarter of a
/// second keeps the roll from being slower than the server.
const EAGER_FOR: Duration = Duration::from_secs(10);
/// See [`EAGER_FOR`].
const EAGER_INTERVAL: Duration = Duration::from_millis(250);
/// A server that is back by now needs no account of its recovery; one that is not is asked for it this often.
const RECOVERY_EVERY: Duration = Duration::from_secs(2);
/// While settling the peers are asked this often, and never for longer than half of the time.
const PEERS_EVERY: Duration = Duration::from_secs(1);
/// The first line of JetStream's log where it finds no state of its meta group (2.10.26 to 2.15.1).
const BOOTSTRAPPING: &str = "JetStream cluster bootstrapping";

/// Waits until the gate opens; what there is to say of it.
pub(super) async fn wait<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &playbook::Gate,
) -> Result<Option<String>, Stop> {
    let mut waiting = Wait::new(passage, step);
    match waiting.ready(roller, passage, step).await? {
        Ok(notes) => Ok(if notes.is_empty() { None } else { Some(notes.join("; ")) }),
        Err(cause) => {
            let waited = waiting.began.elapsed();
            Err(roller.halt(&passage.host, "gate", cause, passage.started, waited).await)
        }
    }
}

/// A wait at the gate.
struct Wait {
    began: Instant,
    pace: Pace,
    told: Told,
    doom: Doom,
    recovered: Instant,
    last: Vec<Waiting>,
}

impl Wait {
    fn new(passage: &mut Passage, step: &playbook::Gate) -> Self {
        let began = Instant::now();
        passage.deadline = Some(began + step.deadline);
        passage.look_timeout = step.look_timeout;
        let patience = Patience { deadline: step.deadline, hard_cap: step.hard_cap, stalled_after: step.stalled_after };
        let told = Told::new("gate", step.looks);
        Self { began, pace: Pace::new(patience), told, doom: Doom::new(), recovered: began, last: Vec::new() }
    }

    fn until(&self) -> Instant {
        self.began + self.pace.until()
    }

    /// Looks until all is back. The inner error is why waiting longer is of no use.
    async fn ready<F: Fleet>(
        &mut self,
        roller: &mut Roller<'_, F>,
        passage: &mut Passage,
        step: &playbook::Gate,
    ) -> Result<Result<Vec<String>, Cause>, Stop> {
        let mut delays = delays(step);
        loop {
            match look(roller, passage, self.began, self.until()).await? {
                Some(Verdict::Open) => break,
                Some(Verdict::Halt(cause)) => return Ok(Err(cause)),
                Some(Verdict::Wait(waiting)) => {
                    if passage.gate.streak() == 1 {
                        delays = self::delays(step);
                    }
                    self.recovery(roller, passage, &waiting).await?;
                    self.told.tell(roller, passage, &waiting, self.pace.moving(self.began.elapsed()))?;
                    if let Some(cause) = self.doom.ask(roller, passage, &waiting, self.began).await? {
                        return Ok(Err(cause));
                    }
                    self.last = waiting;
                }
                None => {}
            }
            if let Some(cause) = self.over() {
                return Ok(Err(cause));
            }
            let cap = if self.began.elapsed() < EAGER_FOR { EAGER_INTERVAL } else { step.max_interval };
            let delay = delays.next().unwrap_or(step.max_interval).min(cap.min(step.max_interval));
            roller.attend(sleep_until((Instant::now() + delay).min(self.until()))).await?;
        }
        let mut notes = changes(passage);
        passage.good_since = passage.ready_at;
        match self.caught_up(roller, passage, step).await? {
            Ok(gone) => notes.extend(gone),
            Err(cause) => return Ok(Err(cause)),
        }
        let until = self.until();
        match certificates::wait(roller, passage, &mut self.told, until).await? {
            Ok(stood) => notes.extend(stood),
            Err(cause) => return Ok(Err(cause)),
        }
        match self.connections(roller, passage, step).await? {
            Ok(missing) => notes.extend(missing),
            Err(cause) => return Ok(Err(cause)),
        }
        Ok(Ok(notes))
    }

    /// The cause, where the wait is over.
    fn over(&mut self) -> Option<Cause> {
        if Instant::now() < self.until() {
            return None;
        }
        let mut waiting = std::mem::take(&mut self.last);
        if let Some(still) = self.pace.still_for(self.began.elapsed()) {
            let for_ms = crate::core::millis::of(still);
            let reason = "it moved, and does not any more, or not fast enough".to_owned();
            waiting.push(Waiting { condition: Condition::Recovery, reason, for_ms });
        }
        Some(Cause::NotReady { waiting })
    }

    /// Takes in what a server that is not ready yet says of its recovery.
    async fn recovery<F: Fleet>(
        &mut self,
        roller: &mut Roller<'_, F>,
        passage: &Passage,
        waiting: &[Waiting],
    ) -> Result<(), Stop> {
        let elapsed = self.began.elapsed();
        for reason in waiting.iter().filter(|waiting| waiting.condition == Condition::Healthz) {
            self.pace.said(elapsed, &reason.reason);
        }
        if waiting.is_empty() || self.recovered.elapsed() < RECOVERY_EVERY {
            return Ok(());
        }
        let fleet = roller.fleet;
        let found = roller.attend(fleet.recovery(&passage.host, passage.look_timeout)).await?;
        self.recovered = Instant::now();
        let held = passage.witness.as_ref().map(Witness::held);
        // A server that serves reads what its clients send.
        let opening = waiting.iter().any(|waiting| waiting.condition == Condition::ClientPort);
        for measure in found.into_iter().filter(|measure| opening || measure.what != Moves::BytesRead) {
            let of = match measure.what {
                Moves::Streams => held.map(|(streams, _)| streams),
                Moves::Messages => held.map(|(_, messages)| messages),
                _ => None,
            };
            self.pace.note(self.began.elapsed(), Measure { of: of.filter(|of| *of >= measure.value), ..measure });
        }
        Ok(())
    }

    /// Waits until the groups on the server are led and call it current, and its copies hold what they held; what there is
    /// to say. What a healthy server says of itself is no proof of either.
    async fn caught_up<F: Fleet>(
        &mut self,
        roller: &mut Roller<'_, F>,
        passage: &mut Passage,
        step: &playbook::Gate,
    ) -> Result<Result<Vec<String>, Cause>, Stop> {
        if passage.witness.is_none() {
            return Ok(Ok(Vec::new()));
        }
        let (fleet, mut asked_log) = (roller.fleet, false);
        let mut delays = delays(step);
        let waiting_since = Instant::now();
        loop {
            let at = Instant::now();
            let observing = timeout_at(self.until(), fleet.observe_assets(&[], OBSERVE_TIMEOUT));
            let (host, since) = (passage.host.clone(), passage.started.filter(|_| !asked_log));
            let both = async { tokio::join!(store_empty(fleet, &host, since, passage.witness.as_ref()), observing) };
            let (empty, view) = roller.attend(both).await?;
            let unasked = match empty {
                Ok(Some(cause)) => return Ok(Err(cause)),
                Ok(None) => None,
                Err(failure) => Some(failure),
            };
            asked_log |= unasked.is_none();
            let now = view.ok().and_then(|view| view.assets);
            let waited = waiting_since.elapsed();
            let behind = now.zip(passage.witness.as_mut()).map(|(now, witness)| witness.look(now, waited));
            if let Some(behind) = behind.as_ref().filter(|behind| behind.nothing() && unasked.is_none()) {
                passage.good_since.get_or_insert(at);
                return Ok(Ok(gone(behind)));
            }
            passage.good_since = None;
            self.last = behind_as_waits(behind.as_ref(), waited);
            self.last.extend(unasked.map(|failure| {
                let reason = format!("its log could not be asked whether it began with an empty store: {failure}");
                Waiting { condition: Condition::Data, reason, for_ms: crate::core::millis::of(waited) }
            }));
            if let Some(behind) = behind {
                if !behind.lost.is_empty() {
                    return Ok(Err(Cause::DataShort { streams: behind.lost }));
                }
                let to_come = u64::try_from(behind.groups.len()).unwrap_or(u64::MAX);
                let measure = |what, value| Measure { what, value, of: None };
                self.pace.note(self.began.elapsed(), measure(Moves::GroupsToCome, to_come));
                self.pace.note(self.began.elapsed(), measure(Moves::MessagesToCome, behind.to_get));
            }
            let last = self.last.clone();
            self.told.tell(roller, passage, &last, self.pace.moving(self.began.elapsed()))?;
            if let Some(cause) = self.over() {
                return Ok(Err(cause));
            }
            // It may die while it catches up.
            if let Some(Verdict::Halt(cause)) = look(roller, passage, self.began, self.until()).await? {
                return Ok(Err(cause));
            }
            let delay = delays.next().unwrap_or(step.max_interval).min(step.max_interval);
            roller.attend(sleep_until((Instant::now() + delay).min(self.until()))).await?;
        }
    }

    /// Waits for clients, leafnodes and gateways of the cluster to be back, as long as the playbook lets them.
    async fn connections<F: Fleet>(
        &mut self,
        roller: &mut Roller<'_, F>,
        passage: &Passage,
        step: &playbook::Gate,
    ) -> Result<Result<Option<String>, Cause>, Stop> {
        let Some(before) = passage.gate.baseline().attachments else { return Ok(Ok(None)) };
        if step.connections == Connections::Ignore {
            return Ok(Ok(None));
        }
        let since = Instant::now();
        loop {
            let view = roller.attend(roller.fleet.observe(&[], OBSERVE_TIMEOUT)).await?;
            let Some(missing) = missing(&before, &view) else { return Ok(Ok(None)) };
            if since.elapsed() >= step.connections_within {
                if step.connections == Connections::Warn {
                    return Ok(Ok(Some(format!("only {missing} are connected to the cluster again"))));
                }
                let for_ms = crate::core::millis::of(since.elapsed());
                let waiting = vec![Waiting { condition: Condition::Connections, reason: missing, for_ms }];
                return Ok(Err(Cause::NotReady { waiting }));
            }
            let for_ms = crate::core::millis::of(since.elapsed());
            let waiting = [Waiting { condition: Condition::Connections, reason: missing, for_ms }];
            self.told.tell(roller, passage, &waiting, None)?;
            roller.attend(sleep(EAGER_INTERVAL)).await?;
        }
    }
}

/// What is missing of the connections; where a server can't be asked that is not known, and not good.
fn missing(before: &Attachments, view: &View) -> Option<String> {
    match Attachments::of(view) {
        Some(now) => before.missing(&now),
        None => Some("an unknown number of clients".to_owned()),
    }
}

/// What is another than before, and to be told: a version or a configuration that someone put there.
fn changes(passage: &Passage) -> Vec<String> {
    let Baseline { version, config_digest, errors, .. } = passage.gate.baseline();
    let mut notes = Vec::new();
    if let (Some(old), Some(new)) = (version, &passage.version)
        && old != new
    {
        notes.push(format!("version {new}, {old} before: another binary was in place"));
    }
    if let (Some(old), Some(new)) = (config_digest, &passage.config_digest)
        && old != new
    {
        notes.push("its configuration is another than before".to_owned());
    }
    if !errors.is_empty() {
        notes.push(format!("errors of its healthz that stood before, not waited for: {}", errors.len()));
    }
    notes
}

fn gone(behind: &Behind) -> Vec<String> {
    match behind.gone.as_slice() {
        [] => Vec::new(),
        [only] => vec![format!("{only} is not there any more: deleted, or lost")],
        [first, rest @ ..] => vec![format!("{first} and {} more are not there any more: deleted, or lost", rest.len())],
    }
}

/// Whether the server began with an empty store, as where a volume is not mounted. R3 streams are filled again by their
/// peers so soon that only the log tells. The error is that the host could not be reached.
async fn store_empty<F: Fleet>(
    fleet: &F,
    host: &str,
    since: Option<Timestamp>,
    witness: Option<&Witness>,
) -> Seen<Option<Cause>> {
    // Without the time of the start the log would begin with the server's very first one.
    let Some(since) = since.filter(|_| witness.is_some_and(Witness::had_meta)) else { return Ok(None) };
    let archive = fleet.collect(host, Some(since), OBSERVE_TIMEOUT).await;
    if let Some(failure) = archive.lost() {
        return Err(failure.clone());
    }
    let line = archive.log_lines().find(|(_, line)| line.text.contains(BOOTSTRAPPING));
    Ok(line.map(|(_, line)| Cause::StoreEmpty { line: line.text.clone() }))
}

/// The time was over before a look was.
fn no_look(began: Instant) -> Waiting {
    let (condition, for_ms) = (Condition::NewProcess, crate::core::millis::of(began.elapsed()));
    Waiting { condition, reason: "no answer in time".to_owned(), for_ms }
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

/// Watches that the server stays ready, in its own eyes and in those of its peers. A bad look begins the time anew; the
/// gate's deadline bounds the whole.
pub(super) async fn settle<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &playbook::Settle,
    name: &'static str,
) -> Result<(), Stop> {
    let began = Instant::now();
    let hard = passage.deadline.unwrap_or(began).max(began + step.hold + passage.look_timeout);
    // What the gate saw counts: its looks were as good as these.
    let (mut good_since, mut ask_peers) = (passage.good_since.unwrap_or(began), began);
    let mut told = Told::new(name, 0);
    let mut last = Vec::new();
    // One look at least is its own.
    loop {
        let left = step.hold.saturating_sub(good_since.elapsed());
        roller.attend(sleep(step.interval.min(left))).await?;
        let verdict = look(roller, passage, began, hard).await?;
        let mut waiting = match verdict {
            Some(Verdict::Halt(cause)) => {
                return Err(roller.halt(&passage.host, name, cause, passage.started, began.elapsed()).await);
            }
            Some(Verdict::Wait(waiting)) => waiting,
            // Open and a good look that awaits more: both are good here.
            Some(Verdict::Open) => Vec::new(),
            None => vec![no_look(began)],
        };
        let ending = good_since.elapsed() >= step.hold;
        if waiting.is_empty() && (ending || Instant::now() >= ask_peers) {
            let asked = Instant::now();
            let behind = peers(roller, passage, began.elapsed(), hard).await?;
            ask_peers = Instant::now() + PEERS_EVERY.max(asked.elapsed());
            if let Some(lost) = behind.as_ref().map(|behind| &behind.lost).filter(|lost| !lost.is_empty()) {
                let cause = Cause::DataShort { streams: lost.clone() };
                return Err(roller.halt(&passage.host, name, cause, passage.started, began.elapsed()).await);
            }
            if passage.witness.is_some() && !behind.as_ref().is_some_and(Behind::nothing) {
                waiting = behind_as_waits(behind.as_ref(), asked.elapsed());
            }
        }
        if waiting.is_empty() && ending {
            return Ok(());
        }
        if !waiting.is_empty() {
            good_since = Instant::now();
            told.tell(roller, passage, &waiting, None)?;
            last = waiting;
        }
        if Instant::now() >= hard {
            let cause = Cause::NotSettled { waiting: last };
            return Err(roller.halt(&passage.host, name, cause, passage.started, began.elapsed()).await);
        }
    }
}

/// What its peers say of the groups on it; none where they can't be asked.
async fn peers<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    elapsed: Duration,
    deadline: Instant,
) -> Result<Option<Behind>, Stop> {
    if passage.witness.is_none() {
        return Ok(None);
    }
    let observing = timeout_at(deadline, roller.fleet.observe_assets(&[], OBSERVE_TIMEOUT));
    let now = roller.attend(observing).await?.ok().and_then(|view| view.assets);
    Ok(now.zip(passage.witness.as_mut()).map(|(now, witness)| witness.look(now, elapsed)))
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
        passage.config_digest.clone_from(&varz.config_digest);
        passage.listeners.clone_from(&varz.listeners);
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
