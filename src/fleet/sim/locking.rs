//! The cluster's lock on simulated hosts, by the rules of the script that real ones run (`live/commands/lock.rs`), and a
//! controller's hold on it. What a controller may conclude from the hosts' answers is the live fleet's own [`Lease`].

use std::{sync::PoisonError, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Sim, times::Ms, world::World};
use crate::{
    core::{
        lock::{Claim, HostLock, LockRefusal, TTL},
        view::{Failure, FailureKind, Seen},
    },
    fleet::{
        Fleet,
        live::lock::{Answer, Fence, Lease, Stamp, fenced},
    },
};

/// One round where an effect waits for it.
const ROUND: Duration = Duration::from_secs(4);

/// The lock as a host keeps it, on disk: it outlives a reboot.
#[derive(Debug, Default)]
pub(super) struct Kept {
    token: u64,
    claim: Option<Claim>,
    since: Ms,
    boot: u32,
    beat: u64,
}

impl World {
    fn stamp(&self, server: usize) -> Stamp {
        let entry = &self.servers[server];
        Stamp { boot: format!("boot-{}", entry.boots), up: self.now.saturating_sub(entry.booted) / 1_000 }
    }

    fn silent(&self, server: usize) -> u64 {
        let (entry, up) = (&self.servers[server], self.stamp(server).up);
        // Before a reboot lies at least the time since.
        if entry.lock.boot == entry.boots { up.saturating_sub(entry.lock.beat) } else { up }
    }

    fn told(&self, server: usize) -> Seen<Answer> {
        self.reachable(server)?;
        let entry = &self.servers[server];
        if !entry.sudo {
            return Err(Failure::new(FailureKind::Sudo, "sudo: a password is required (exit status 1)"));
        }
        let (kept, silent_s) = (&entry.lock, self.silent(server));
        let since = kept.claim.is_some().then(|| self.clock(kept.since, entry.clock));
        let expired = kept.claim.is_some() && silent_s >= TTL.as_secs();
        let lock = HostLock { token: kept.token, claim: kept.claim.clone(), since, silent_s, expired };
        Ok(Answer { lock, stamp: self.stamp(server) })
    }

    fn store(&mut self, server: usize, token: u64, claim: Option<Claim>, since: Ms) {
        let beat = self.stamp(server).up;
        let entry = &mut self.servers[server];
        entry.lock = Kept { token, claim, since, boot: entry.boots, beat };
    }

    fn does(&mut self, server: usize, verb: Verb<'_>) {
        let Ok(Answer { lock, .. }) = self.told(server) else { return };
        let (now, since) = (self.now, self.servers[server].lock.since);
        match verb {
            Verb::Look => {}
            Verb::Hold { claim, token } => {
                let ours = lock.claim.as_ref().is_some_and(|held| held.run == claim.run && held.seat == claim.seat);
                let free = lock.claim.as_ref().is_none_or(|held| lock.expired || held.seat == claim.seat);
                if token == lock.token && ours {
                    self.store(server, token, Some(claim.clone()), since);
                } else if token > lock.token && free {
                    self.store(server, token, Some(claim.clone()), now);
                }
            }
            Verb::Release { claim, token } => {
                if token == lock.token && lock.claim.as_ref().is_some_and(|held| held.run == claim.run) {
                    self.store(server, token, None, 0);
                }
            }
            Verb::Break { run } => {
                if lock.claim.as_ref().is_some_and(|held| held.run == run) {
                    self.store(server, lock.token + 1, None, 0);
                }
            }
        }
    }

    /// Whether a host lets a change in that carries this.
    pub(super) fn lets_in(&self, server: usize, fence: &Fence) -> bool {
        let kept = &self.servers[server].lock;
        let stamp = self.stamp(server);
        let holds = kept.token == fence.token && kept.claim.as_ref().is_some_and(|claim| claim.run == fence.run);
        self.fenceless || (holds && stamp.boot == fence.before.boot && stamp.up < fence.before.up)
    }
}

#[derive(Clone, Copy)]
pub(super) enum Verb<'a> {
    Look,
    Hold { claim: &'a Claim, token: u64 },
    Release { claim: &'a Claim, token: u64 },
    Break { run: &'a str },
}

impl Sim {
    pub(super) async fn round(&self, verb: Verb<'_>, limit: Duration) -> Vec<Seen<Answer>> {
        self.alive().await;
        let way = Duration::from_millis(self.world().slowest());
        sleep(way.min(limit)).await;
        let answers: Vec<Seen<Answer>> = {
            let mut world = self.world();
            (0..world.servers.len())
                .map(|server| {
                    world.does(server, verb);
                    world.told(server)
                })
                .collect()
        };
        let late = answers.iter().any(|answer| answer.as_ref().is_err_and(|failure| failure.kind.is_unreachable()));
        sleep(if late { limit.saturating_sub(way) } else { way }).await;
        self.alive().await;
        answers
    }

    pub(super) async fn take_lock(&self, claim: &Claim, limit: Duration) -> Result<(), LockRefusal> {
        let looked = self.round(Verb::Look, limit).await;
        let held = looked.iter().flatten().find(|answer| {
            let successor = answer.lock.claim.as_ref().is_some_and(|held| held.seat == claim.seat);
            answer.lock.excludes(&claim.run) && !successor
        });
        if let Some(answer) = held {
            return Err(LockRefusal::Held { lock: Box::new(answer.lock.clone()) });
        }
        let mut lease = Lease::new(claim.clone(), &looked);
        let began = (Instant::now(), self.now());
        let answers = self.round(Verb::Hold { claim, token: lease.token() }, limit).await;
        let verdict = lease.take_in(began, &answers);
        if verdict.is_err() {
            self.round(Verb::Release { claim, token: lease.token() }, limit).await;
            return verdict;
        }
        *self.lease() = Some(lease);
        self.world().owner = Some(self.number);
        Ok(())
    }

    pub(super) async fn renew_lock(&self, limit: Duration) -> Result<(), LockRefusal> {
        let of = self.world().servers.len();
        let Some(mut lease) = self.lease().clone() else {
            let failure = fenced("this run does not have it");
            return Err(LockRefusal::NoMajority { confirmed: 0, of, failure });
        };
        let began = (Instant::now(), self.now());
        let answers = self.round(Verb::Hold { claim: lease.claim(), token: lease.token() }, limit).await;
        let verdict = lease.take_in(began, &answers);
        let mut slot = self.lease();
        if slot.is_some() {
            *slot = Some(lease);
        }
        verdict.map_err(|refusal| match refusal {
            LockRefusal::Held { lock } => LockRefusal::Lost { lock },
            other => other,
        })
    }

    /// What must be true before an effect that no host can refuse.
    pub(super) async fn must_hold(&self) -> Seen<()> {
        self.alive().await;
        let now = self.now();
        if self.world().fenceless || self.lease().as_ref().is_some_and(|lease| lease.holds(now)) {
            return Ok(());
        }
        self.renew_lock(ROUND).await.map_err(fenced)
    }

    pub(super) fn fence(&self, place: usize) -> Option<Fence> {
        self.lease().as_ref().and_then(|lease| lease.fence(place))
    }

    pub(super) async fn confirm_twice(&self) -> Seen<()> {
        for _ in 0..2 {
            self.renew_lock(ROUND).await.map_err(fenced)?;
        }
        Ok(())
    }

    pub(super) fn lease(&self) -> std::sync::MutexGuard<'_, Option<Lease>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
