//! The cluster's lock on its hosts: what a host tells of it, and what the hosts' answers together mean.
//!
//! One run a cluster, across controllers. A run holds the lock when a majority of the hosts says so, and two majorities
//! have a host in common. Each host judges by its own uptime: no clocks are compared. Every change carries the run's
//! token, and a time of the host's own up to which it may begin; that time was told by the host **before** a majority
//! confirmed the lock, so it is over before any host would let another run in. A controller that was paused or cut off
//! is refused however late it comes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::view::{Failure, FailureKind, Seen};

/// Without a heartbeat for this long the lock may be taken over. A frozen ssh connection is noticed after 15 s, and a
/// link that was cut for 20 s must not cost a run its lock.
pub const TTL: Duration = Duration::from_secs(30);
/// Between two heartbeats: a fifth of [`TTL`] leaves room for several that get lost.
pub const BEAT: Duration = Duration::from_secs(5);
/// A change begins at least this long before another run could be let in: uptimes are read in whole seconds, and clocks
/// of two hosts drift apart by some parts in ten thousand at most.
pub const MARGIN: Duration = Duration::from_secs(3);

/// Who wants the lock, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The run.
    pub run: String,
    /// The lock of the kernel's on the controller's machine that the holder has, too: whoever has it next is the holder's
    /// successor, and need not wait for the holder's silence.
    pub seat: String,
    /// Who and where: `ada@laptop, pid 7`.
    pub holder: String,
    /// What for: `restart of prod`.
    pub reason: String,
}

/// The lock as one host tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLock {
    /// Grows with every holder, and never shrinks.
    pub token: u64,
    /// Who has it; none where it is free.
    pub claim: Option<Claim>,
    /// When it was taken, by the host's clock; for people.
    pub since: Option<jiff::Timestamp>,
    /// How long ago the last heartbeat came, in seconds, by the host's uptime. After a reboot at least this long.
    pub silent_s: u64,
    /// The last heartbeat is so long ago that another run may take it.
    pub expired: bool,
}

impl HostLock {
    /// Whether it keeps `run` out.
    pub fn excludes(&self, run: &str) -> bool {
        !self.expired && self.claim.as_ref().is_some_and(|claim| claim.run != run)
    }
}

impl std::fmt::Display for HostLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(claim) = &self.claim else { return f.write_str("nobody") };
        write!(f, "run {} ({}), {}", claim.run, claim.holder, claim.reason)?;
        if let Some(since) = self.since {
            write!(f, ", since {since:.0}")?;
        }
        write!(f, ", last heard of {} s ago", self.silent_s)
    }
}

/// Why a run does not have the lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockRefusal {
    /// Another run has it.
    #[error("another run is under way: {lock}")]
    Held {
        /// Who, as one of the hosts tells it.
        lock: Box<HostLock>,
    },
    /// It was ours, and is not any more: it expired and another run took it, or an operator freed it.
    #[error("the lock on the hosts is lost; it is now with {lock}")]
    Lost {
        /// Who has it now.
        lock: Box<HostLock>,
    },
    /// Too few hosts answered.
    #[error("the lock is confirmed by {confirmed} of {of} hosts, and needs a majority: {failure}")]
    NoMajority {
        /// Hosts that did.
        confirmed: usize,
        /// All hosts.
        of: usize,
        /// What one of the others said.
        failure: Failure,
    },
}

/// What the hosts' answers to one round mean for `claim` with `token`: each is the lock after the round.
///
/// # Errors
/// The claim does not have the lock.
pub fn judge(claim: &Claim, token: u64, answers: &[Seen<HostLock>]) -> Result<(), LockRefusal> {
    let of = answers.len();
    let ours = |lock: &&HostLock| {
        let same = |held: &Claim| held.run == claim.run && held.seat == claim.seat;
        lock.token == token && lock.claim.as_ref().is_some_and(same)
    };
    let seen = || answers.iter().filter_map(|answer| answer.as_ref().ok());
    let confirmed = seen().filter(ours).count();
    if confirmed * 2 > of {
        return Ok(());
    }
    let other = seen().filter(|lock| lock.claim.is_some() && !ours(lock)).max_by_key(|lock| lock.token);
    if let Some(lock) = other {
        return Err(LockRefusal::Held { lock: Box::new(lock.clone()) });
    }
    let failure = answers.iter().find_map(|answer| answer.as_ref().err().cloned());
    let nobody = || Failure::new(FailureKind::Fenced, "it was freed there");
    Err(LockRefusal::NoMajority { confirmed, of, failure: failure.unwrap_or_else(nobody) })
}

/// Who keeps others out, as far as hosts tell: of several, whoever came last. None where nobody does on any host that was heard.
pub fn holder(answers: &[(String, Seen<HostLock>)]) -> Option<&HostLock> {
    let held = |lock: &&HostLock| lock.claim.is_some() && !lock.expired;
    answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).filter(held).max_by_key(|lock| lock.token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(run: &str) -> Claim {
        let (seat, holder) = ("s1".into(), "ada@laptop, pid 7".into());
        Claim { run: run.into(), seat, holder, reason: "restart of prod".into() }
    }

    fn lock(run: &str) -> Seen<HostLock> {
        let since = "2026-11-22T12:00:00Z".parse().ok();
        Ok(HostLock { token: 3, claim: Some(claim(run)), since, silent_s: 2, expired: false })
    }

    fn off() -> Seen<HostLock> {
        Err(Failure::new(FailureKind::Unreachable, "no route"))
    }

    fn free() -> Seen<HostLock> {
        Ok(HostLock { token: 4, claim: None, since: None, silent_s: 0, expired: false })
    }

    fn check(answers: &[Seen<HostLock>], expected: Result<(), &str>) {
        assert_eq!(
            judge(&claim("r1"), 3, answers).map_err(|refusal| refusal.to_string()),
            expected.map_err(str::to_owned)
        );
    }

    #[test]
    fn a_majority_has_the_lock() {
        check(&[lock("r1"), lock("r1"), lock("r2")], Ok(()));
        check(&[lock("r1"), lock("r1"), off()], Ok(()));
        check(&[lock("r1")], Ok(()));
        let held = "another run is under way: run r2 (ada@laptop, pid 7), restart of prod, since 2026-11-22T12:00:00Z, \
                    last heard of 2 s ago";
        check(&[lock("r1"), lock("r2"), lock("r2")], Err(held));
        check(&[lock("r1"), lock("r2")], Err(held));
        check(
            &[lock("r1"), off(), off()],
            Err("the lock is confirmed by 1 of 3 hosts, and needs a majority: no route"),
        );
        check(
            &[lock("r1"), free(), free()],
            Err("the lock is confirmed by 1 of 3 hosts, and needs a majority: it was freed there"),
        );
    }

    #[test]
    fn the_holder_is_who_came_last_and_lives() {
        let check = |answers: &[Seen<HostLock>], expected: Option<&str>| {
            let answers: Vec<_> = answers.iter().map(|answer| (String::from("n1"), answer.clone())).collect();
            let run = holder(&answers).and_then(|lock| lock.claim.as_ref()).map(|claim| claim.run.as_str());
            assert_eq!(run, expected);
        };
        let later = lock("r2").map(|lock| HostLock { token: 4, ..lock });
        let expired = lock("r3").map(|lock| HostLock { token: 5, expired: true, ..lock });
        check(&[lock("r1"), later, expired, free(), off()], Some("r2"));
        check(&[free(), off()], None);
        check(&[], None);
    }

    #[test]
    fn an_expired_lock_keeps_nobody_out() {
        let mut held = lock("r1").unwrap();
        assert!(held.excludes("r2") && !held.excludes("r1"));
        held.expired = true;
        assert!(!held.excludes("r2"));
    }
}
