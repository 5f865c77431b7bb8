//! Who has a cluster. Runners find each other by it early; the lock on the hosts is what keeps a late one from acting.
//!
//! Whether a holder lives is told by whether it goes on writing, watched by the watcher's own clock: no two clocks are compared.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream::kv::{Operation, UpdateErrorKind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{Mirror, MirrorError, REQUEST, Shared, words};
use crate::core::{
    lock::{BEAT, Claim, TTL},
    view::FailureKind,
};

/// Between two looks at a lease that another run has.
const LOOK: Duration = Duration::from_millis(500);

/// What stands in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    v: u32,
    /// Grows with every holder.
    token: u64,
    /// Grows with every heartbeat.
    beat: u64,
    /// When it was taken, by the holder's clock; for people.
    since: Timestamp,
    /// None where it was given back.
    claim: Option<Claim>,
}

/// What this process has.
#[derive(Debug, Default)]
pub(super) struct Held {
    lease: Option<(Lease, u64)>,
    /// Why it is not ours any more.
    lost: Option<String>,
    beating: Option<AbortHandle>,
}

impl Held {
    pub(super) fn lost(&self) -> Option<String> {
        self.lost.clone()
    }
}

/// What watching a lease has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Not long enough watched to tell.
    Unknown,
    /// Its holder wrote while it was watched.
    Alive,
    /// Nobody wrote for [`TTL`].
    Dead,
}

/// A lease that is watched.
#[derive(Debug, Default)]
struct Watch {
    /// Its last revision, since when it stands still, and whether it ever moved.
    seen: Option<(u64, Instant, bool)>,
}

impl Watch {
    fn look(&mut self, revision: u64, now: Instant) -> Life {
        let (since, moved) = match self.seen {
            Some((last, since, moved)) if last == revision => (since, moved),
            Some(_) => (now, true),
            None => (now, false),
        };
        self.seen = Some((revision, since, moved));
        match (now.duration_since(since) >= TTL, moved) {
            (true, _) => Life::Dead,
            (false, true) => Life::Alive,
            (false, false) => Life::Unknown,
        }
    }
}

impl Mirror {
    /// Takes the lease, and keeps it until it is given back. Where another run has it, it is watched for as long as it takes to
    /// tell whether its holder lives; a holder that does is waited for as long as `wait`. `tell` hears of the first.
    ///
    /// # Errors
    /// Another run has it; or the bucket can't be used.
    pub async fn take(&self, claim: &Claim, wait: Duration, mut tell: impl FnMut(&str)) -> Result<(), MirrorError> {
        let began = Instant::now();
        let mut watch = Watch::default();
        loop {
            let (found, revision) = self.shared.lease().await?;
            let holder = found.as_ref().and_then(|lease| lease.claim.clone());
            // Whoever has the seat now is the only one who has it.
            let other = holder.filter(|holder| holder.seat != claim.seat);
            let life = watch.look(revision, Instant::now());
            match other.filter(|_| life != Life::Dead) {
                None => {
                    let lease = Lease {
                        v: 1,
                        token: found.map_or(0, |lease| lease.token) + 1,
                        beat: 0,
                        since: Timestamp::now(),
                        claim: Some(claim.clone()),
                    };
                    if self.shared.write_lease(&lease, revision).await? {
                        self.keep();
                        return Ok(());
                    }
                }
                Some(holder) if life == Life::Alive && began.elapsed() >= wait => {
                    return Err(MirrorError::Held { bucket: self.shared.bucket.clone(), claim: Box::new(holder) });
                }
                Some(holder) => {
                    if began.elapsed() < LOOK {
                        let (run, who) = (&holder.run, &holder.holder);
                        let seconds = TTL.as_secs();
                        tell(&format!(
                            "run {run} ({who}) has the lease in bucket {}; whether it lives shows within {seconds} s",
                            self.shared.bucket
                        ));
                    }
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// Renews it in the background.
    fn keep(&self) {
        let shared = Arc::clone(&self.shared);
        let task = self.runtime.handle().spawn(async move {
            while shared.held().lost.is_none() {
                sleep(BEAT).await;
                shared.renew().await;
            }
        });
        self.shared.held().beating = Some(task.abort_handle());
    }

    /// Gives the lease back. Where that fails it is free for others when [`TTL`] is over.
    pub async fn give_back(&self) {
        let held = {
            let mut held = self.shared.held();
            if let Some(beating) = held.beating.take() {
                beating.abort();
            }
            held.lease.take()
        };
        let Some((lease, mut revision)) = held else { return };
        let free = Lease { claim: None, ..lease.clone() };
        // A heartbeat that was under way may have moved it meanwhile.
        while let Ok(false) = self.shared.write_lease(&free, revision).await {
            match self.shared.lease().await {
                Ok((Some(found), now)) if found.token == lease.token && found.claim == lease.claim => revision = now,
                _ => break,
            }
        }
        self.shared.held().lease = None;
    }
}

impl Shared {
    /// The lease and its revision, 0 where there never was one.
    async fn lease(&self) -> Result<(Option<Lease>, u64), MirrorError> {
        let Some(entry) = self.ask(self.store.entry(self.keys.lease())).await? else { return Ok((None, 0)) };
        if entry.operation != Operation::Put {
            return Ok((None, entry.revision));
        }
        let unread = |error| self.unusable(FailureKind::Protocol, format!("{}: {error}", self.keys.lease()));
        let lease: Lease = serde_json::from_slice(&entry.value).map_err(unread)?;
        if lease.v != 1 {
            let text = format!("its lease is of version {}, which this rollgate does not know", lease.v);
            return Err(self.unusable(FailureKind::Protocol, text));
        }
        Ok((Some(lease), entry.revision))
    }

    /// Whether it could be written over that revision: nobody else was faster.
    async fn write_lease(&self, lease: &Lease, revision: u64) -> Result<bool, MirrorError> {
        let json = serde_json::to_vec(lease);
        let value = json.map_err(|error| self.unusable(FailureKind::Protocol, error.to_string()))?;
        match timeout(REQUEST, self.store.update(self.keys.lease(), value.into(), revision)).await {
            Ok(Ok(revision)) => {
                self.held().lease = Some((lease.clone(), revision));
                Ok(true)
            }
            Ok(Err(error)) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Ok(Err(error)) => Err(self.unusable(FailureKind::Unreachable, words(&error))),
            Err(_) => Err(self.unusable(FailureKind::Timeout, "no answer in time")),
        }
    }

    /// One heartbeat. One that is not confirmed is no loss: the next one finds out.
    async fn renew(&self) {
        let Some((lease, revision)) = self.held().lease.clone() else { return };
        let next = Lease { beat: lease.beat + 1, ..lease.clone() };
        if !matches!(self.write_lease(&next, revision).await, Ok(false)) {
            return;
        }
        // Either an earlier heartbeat arrived after all, or another run has it.
        let Ok((found, revision)) = self.lease().await else { return };
        let mut held = self.held();
        match found {
            Some(found) if found.token == lease.token && found.claim == lease.claim => {
                held.lease = Some((found, revision));
            }
            found => {
                let now = found.and_then(|lease| lease.claim);
                let with =
                    now.map_or("with nobody".into(), |claim| format!("with run {} ({})", claim.run, claim.holder));
                held.lost = Some(format!("the lease in bucket {} is now {with}", self.bucket));
                held.lease = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_lives_while_it_writes() {
        let began = Instant::now();
        let mut watch = Watch::default();
        let mut check = |seconds: u64, revision: u64, expected: Life| {
            assert_eq!(watch.look(revision, began + Duration::from_secs(seconds)), expected, "{seconds} s");
        };
        check(0, 7, Life::Unknown);
        check(29, 7, Life::Unknown);
        check(29, 8, Life::Alive);
        check(58, 8, Life::Alive);
        check(59, 8, Life::Dead);
    }

    #[test]
    fn one_that_never_wrote_again_is_dead() {
        let began = Instant::now();
        let mut watch = Watch::default();
        assert_eq!(watch.look(7, began), Life::Unknown);
        assert_eq!(watch.look(7, began + TTL), Life::Dead);
    }
}
