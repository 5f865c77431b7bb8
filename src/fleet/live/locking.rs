//! The lock of the live fleet: taken, renewed, given back, and asked before every effect.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    Host, Live,
    commands::Verb,
    lock::{Answer, Fence, Lease, fenced},
};
use crate::{
    core::{
        lock::{Claim, LockRefusal},
        view::{Failure, FailureKind, Seen},
    },
    fleet::{Change, Changed},
};

/// One round of the lock where an effect waits for it.
const ROUND: Duration = Duration::from_secs(4);
/// Two runs that ask at the same moment can each get some hosts; then both give back, and each tries again after a time of
/// its own.
const TRIES: u32 = 3;

impl Live {
    pub(super) async fn round(&self, verb: Verb<'_>, limit: Duration) -> Vec<Seen<Answer>> {
        join_all(self.hosts.iter().map(|host| host.lock(verb, limit))).await
    }

    pub(super) async fn failures<'a, F>(&'a self, work: impl Fn(&'a Host) -> F) -> Vec<(String, Failure)>
    where
        F: Future<Output = Seen<()>> + 'a,
    {
        let done = join_all(self.hosts.iter().map(|host| {
            let work = work(host);
            async { (host.name().to_owned(), work.await) }
        }));
        done.await.into_iter().filter_map(|(host, result)| result.err().map(|failure| (host, failure))).collect()
    }

    pub(super) async fn take_lock(&self, claim: &Claim, limit: Duration) -> Result<(), LockRefusal> {
        let mut tried = 0;
        loop {
            let looked = self.round(Verb::Look, limit).await;
            let held = looked.iter().flatten().find(|answer| {
                let successor = answer.lock.claim.as_ref().is_some_and(|held| held.seat == claim.seat);
                answer.lock.excludes(&claim.run) && !successor
            });
            let mut lease = Lease::new(claim.clone(), &looked);
            let verdict = match held {
                // A majority decides; but who is in already needs no vote against them.
                Some(answer) => Err(LockRefusal::Held { lock: Box::new(answer.lock.clone()) }),
                None => {
                    let began = (Instant::now(), Timestamp::now());
                    let answers = self.round(Verb::Hold { claim, token: lease.token() }, limit).await;
                    let mut verdict = lease.take_in(began, &answers);
                    if verdict.is_ok() {
                        verdict = self.catch_up(&mut lease, &answers, limit).await;
                    }
                    if verdict.is_err() {
                        self.round(Verb::Release { claim, token: lease.token() }, limit).await;
                    }
                    verdict
                }
            };
            match verdict {
                Ok(()) => {
                    *self.lease() = Some(lease);
                    return Ok(());
                }
                Err(LockRefusal::Held { .. }) if held.is_none() && tried < TRIES => {
                    tried += 1;
                    let jitter = u64::from(std::process::id() % 7) * 50 * u64::from(tried);
                    tokio::time::sleep(Duration::from_millis(100 + jitter)).await;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// Where a host has seen a token as great as ours, goes on under one that it takes.
    async fn catch_up(&self, lease: &mut Lease, answers: &[Seen<Answer>], limit: Duration) -> Result<(), LockRefusal> {
        let Some(token) = lease.behind(answers) else { return Ok(()) };
        let claim = lease.claim().clone();
        let answers = self.round(Verb::Raise { claim: &claim, token }, limit).await;
        lease.raised(token, &answers);
        let began = (Instant::now(), Timestamp::now());
        let answers = self.round(Verb::Hold { claim: &claim, token: lease.token() }, limit).await;
        lease.take_in(began, &answers)
    }

    pub(super) async fn renew_lock(&self, limit: Duration) -> Result<(), LockRefusal> {
        // The token may change: one at a time.
        let _one = self.renewing.lock().await;
        let Some(mut lease) = self.lease().clone() else {
            let failure = fenced("this run does not have it");
            return Err(LockRefusal::NoMajority { confirmed: 0, of: self.hosts.len(), failure });
        };
        let began = (Instant::now(), Timestamp::now());
        let answers = self.round(Verb::Hold { claim: lease.claim(), token: lease.token() }, limit).await;
        let mut verdict = lease.take_in(began, &answers);
        if verdict.is_ok() {
            verdict = self.catch_up(&mut lease, &answers, limit).await;
        }
        let mut slot = self.lease();
        // Nothing else changes it meanwhile but a release.
        if slot.is_some() {
            *slot = Some(lease);
        }
        verdict.map_err(|refusal| match refusal {
            LockRefusal::Held { lock } => LockRefusal::Lost { lock },
            LockRefusal::NoMajority { failure, .. } if failure.kind == FailureKind::Fenced => {
                let lock = answers.iter().flatten().map(|answer| answer.lock.clone()).max_by_key(|lock| lock.token);
                match lock {
                    Some(lock) => LockRefusal::Lost { lock: Box::new(lock) },
                    None => LockRefusal::NoMajority { confirmed: 0, of: answers.len(), failure },
                }
            }
            other => other,
        })
    }

    pub(super) async fn release_lock(&self, limit: Duration) {
        let lease = self.lease().take();
        if let Some(lease) = lease {
            self.round(Verb::Release { claim: lease.claim(), token: lease.token() }, limit).await;
        }
    }

    /// What must be true before an effect that no host can refuse: those over the system account.
    pub(super) async fn must_hold(&self) -> Seen<()> {
        if self.lease().as_ref().is_some_and(|lease| lease.holds(Timestamp::now())) {
            return Ok(());
        }
        self.renew_lock(ROUND).await.map_err(fenced)
    }

    pub(super) async fn fenced_change(&self, name: &str, change: &Change, wait: Duration) -> Result<Changed, Failure> {
        let host = self.host(name)?;
        let place = self.hosts.iter().position(|other| other.name() == name).unwrap_or_default();
        if let Some(fence) = self.fence(place) {
            match host.change(change, &fence, wait).await {
                Err(failure) if failure.kind == FailureKind::Fenced => {}
                other => return other,
            }
        }
        // The host was rebooted, was away, or we were: it is told anew who holds the lock, and when that was confirmed.
        for _ in 0..2 {
            self.renew_lock(ROUND).await.map_err(fenced)?;
        }
        match self.fence(place) {
            Some(fence) => host.change(change, &fence, wait).await,
            None => Err(match host.lock(Verb::Look, ROUND).await {
                Ok(_) => fenced("the host answered too late to the lock"),
                Err(failure) => failure,
            }),
        }
    }

    pub(super) fn fence(&self, place: usize) -> Option<Fence> {
        self.lease().as_ref().and_then(|lease| lease.fence(place))
    }

    fn lease(&self) -> MutexGuard<'_, Option<Lease>> {
        // Nothing panics while it holds the lock; if it did, the lease would still be whole.
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
