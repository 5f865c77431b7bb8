//! What the TLS listeners show, before a turn and at the gate.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    roll::{Roller, Stop},
    told::Told,
    turn::Passage,
};
use crate::{
    core::{
        gate::{Condition, Waiting},
        halt::Cause,
        listeners::{self, Shown},
        millis,
        view::ServerView,
    },
    fleet::Fleet,
};

/// A handshake with each listener, all at once.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A certificate that is bad now stays so unless somebody replaces the file and reloads: what may pass is a listener that
/// opens late. It has so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between tries.
const INTERVAL: Duration = Duration::from_millis(500);

/// What the server shows before its turn; nothing where it does not answer, or has no TLS.
pub(super) async fn before<F: Fleet>(roller: &mut Roller<'_, F>, server: &ServerView) -> Result<Vec<Shown>, Stop> {
    match &server.varz {
        Ok(varz) if !varz.listeners.is_empty() => {
            let fleet = roller.fleet;
            roller.attend(fleet.shown(&server.host, &varz.listeners, TIMEOUT)).await
        }
        _ => Ok(Vec::new()),
    }
}

/// Waits until no listener shows anything worse than before; what there is to say.
pub(super) async fn wait<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    told: &mut Told,
    deadline: Instant,
) -> Result<Result<Option<String>, Cause>, Stop> {
    let (fleet, since) = (roller.fleet, Instant::now());
    let before = passage.gate.baseline().shown.as_deref().cloned();
    let (then, before) = before.unwrap_or_else(|| (fleet.now(), Vec::new()));
    loop {
        if passage.listeners.is_empty() {
            let gone = !before.is_empty();
            return Ok(Ok(gone.then(|| "it has no TLS listener any more; it had one before".to_owned())));
        }
        let shown = roller.attend(fleet.shown(&passage.host, &passage.listeners, TIMEOUT)).await?;
        let worse = listeners::worse(&before, then, &shown, fleet.now());
        if worse.is_empty() {
            let stood = listeners::faults(&shown, fleet.now()).len();
            let note = || format!("faults of its certificates that stood before, not waited for: {stood}");
            return Ok(Ok((stood > 0).then(note)));
        }
        let for_ms = millis::of(since.elapsed());
        let waiting: Vec<Waiting> =
            worse.into_iter().map(|reason| Waiting { condition: Condition::Certificates, reason, for_ms }).collect();
        told.tell(roller, passage, &waiting, None)?;
        if since.elapsed() >= PATIENCE || Instant::now() >= deadline {
            return Ok(Err(Cause::NotReady { waiting }));
        }
        roller.attend(sleep(INTERVAL)).await?;
    }
}
