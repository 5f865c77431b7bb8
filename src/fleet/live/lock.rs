//! Holding the lock: rounds over all hosts, and what a change may carry after them.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{change::refused, ssh::Output};
use crate::core::{
    lock::{Claim, HostLock, LockRefusal, MARGIN, TTL, judge},
    view::{Failure, FailureKind, Seen},
};

/// A moment by a host's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The boot.
    pub boot: String,
    /// Seconds since then.
    pub up: u64,
}

/// What a host answered to a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The lock after it.
    pub lock: HostLock,
    /// When, by the host's clock.
    pub stamp: Stamp,
}

/// What a change carries: the host begins it only while all of this holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The run that has the lock.
    pub run: String,
    /// The token that it has.
    pub token: u64,
    /// In this boot of the host, before that many seconds of it.
    pub before: Stamp,
}

/// The lock in our hands.
#[derive(Debug, Clone)]
pub struct Lease {
    claim: Claim,
    token: u64,
    /// When each host answered last.
    answered: Vec<Option<Stamp>>,
    /// When each host answered last before the latest round that a majority confirmed.
    confirmed: Vec<Option<Stamp>>,
    /// When that round began, by both clocks of ours: one stands still while a laptop sleeps, the other can be set.
    since: Option<(Instant, Timestamp)>,
}

impl Lease {
    /// A lease that nobody has confirmed yet, with a token that no host has seen.
    pub fn new(claim: Claim, looked: &[Seen<Answer>]) -> Self {
        let token = looked.iter().flatten().map(|answer| answer.lock.token).max().unwrap_or(0) + 1;
        let answered = looked.iter().map(|seen| seen.as_ref().ok().map(|answer| answer.stamp.clone())).collect();
        Self { claim, token, answered, confirmed: vec![None; looked.len()], since: None }
    }

    /// Who holds it.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The token.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Takes in the answers to a round that began at `began`.
    ///
    /// # Errors
    /// No majority confirms the lock.
    pub fn take_in(&mut self, began: (Instant, Timestamp), answers: &[Seen<Answer>]) -> Result<(), LockRefusal> {
        let locks: Vec<Seen<HostLock>> =
            answers.iter().map(|seen| seen.as_ref().map(|answer| answer.lock.clone()).map_err(Clone::clone)).collect();
        let verdict = judge(&self.claim, self.token, &locks);
        if verdict.is_ok() {
            self.confirmed.clone_from(&self.answered);
            self.since = Some(began);
        }
        for (answered, seen) in self.answered.iter_mut().zip(answers) {
            if let Ok(answer) = seen {
                *answered = Some(answer.stamp.clone());
            }
        }
        verdict
    }

    /// The token that this claim needs on a host which nobody has, and which has seen one as great as ours: of a run that tried
    /// for the lock at the same moment, and gave back what it had got. Without it that host would refuse our changes.
    pub fn behind(&self, answers: &[Seen<Answer>]) -> Option<u64> {
        let free = |lock: &&HostLock| {
            let ours =
                lock.claim.as_ref().is_some_and(|held| held.run == self.claim.run && held.seat == self.claim.seat);
            !ours && !lock.excludes(&self.claim.run) && lock.token >= self.token
        };
        let most = answers.iter().flatten().map(|answer| &answer.lock).filter(free).map(|lock| lock.token).max();
        most.map(|token| token + 1)
    }

    /// Takes in the answers to being raised to `token`: from the first host that has it on, it is ours.
    pub fn raised(&mut self, token: u64, answers: &[Seen<Answer>]) {
        let ours = |held: &Claim| held.run == self.claim.run && held.seat == self.claim.seat;
        let has = |lock: &HostLock| lock.token == token && lock.claim.as_ref().is_some_and(ours);
        if answers.iter().flatten().any(|answer| has(&answer.lock)) {
            self.token = token;
        }
    }

    /// What a change on the host of that place carries.
    pub fn fence(&self, place: usize) -> Option<Fence> {
        let stamp = self.confirmed.get(place)?.as_ref()?;
        let before = Stamp { boot: stamp.boot.clone(), up: stamp.up + (TTL - MARGIN).as_secs() };
        Some(Fence { run: self.claim.run.clone(), token: self.token, before })
    }

    /// Whether nobody else can have the lock now, by our clock, as far as the last heartbeat tells.
    pub fn holds(&self, now: Timestamp) -> bool {
        let limit = TTL - MARGIN;
        self.since.is_some_and(|(instant, time)| {
            let slept = Duration::try_from(now.duration_since(time)).unwrap_or_default();
            instant.elapsed() < limit && slept < limit
        })
    }
}

/// Reads what [`lock`](super::commands::lock) printed.
///
/// # Errors
/// The host would not do it: no sudo, no flock, no place for the lock.
pub fn parse(output: &Output) -> Result<Answer, Failure> {
    let value = |key: &str| output.stdout.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str| value(key).and_then(|text| text.parse::<u64>().ok());
    let (Some(token), Some(boot), Some(up)) = (number("token"), value("boot"), number("up")) else {
        return Err(refused(output));
    };
    let text = |key: &str| value(key).unwrap_or_default().to_owned();
    let claim = value("run").filter(|run| !run.is_empty()).map(|run| Claim {
        run: run.to_owned(),
        seat: text("seat"),
        holder: text("holder"),
        reason: text("reason"),
    });
    let since = value("since").and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0);
    let lock = HostLock {
        token,
        claim,
        since: since.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        silent_s: number("silent").unwrap_or(0),
        expired: value("expired") == Some("yes"),
    };
    Ok(Answer { lock, stamp: Stamp { boot: boot.to_owned(), up } })
}

/// The failure of what needs the lock and does not have it.
pub fn fenced(why: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Fenced, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(run: &str) -> Claim {
        Claim { run: run.into(), seat: "s".into(), holder: "h".into(), reason: "w".into() }
    }

    fn answer(run: &str, token: u64, up: u64) -> Seen<Answer> {
        let lock = HostLock { token, claim: Some(claim(run)), since: None, silent_s: 0, expired: false };
        Ok(Answer { lock, stamp: Stamp { boot: "b".into(), up } })
    }

    fn off() -> Seen<Answer> {
        Err(Failure::new(FailureKind::Unreachable, "no route"))
    }

    /// The time that a change carries is that of the host's answer before the round that a majority confirmed.
    #[tokio::test]
    async fn a_fence_is_older_than_the_round_that_confirmed_it() {
        let began = || (Instant::now(), Timestamp::now());
        let mut lease = Lease::new(claim("r1"), &[answer("r0", 4, 100), answer("r0", 4, 200), off()]);
        assert_eq!(lease.token(), 5);
        assert!(lease.fence(0).is_none() && !lease.holds(Timestamp::now()));
        let up = |lease: &Lease, place| lease.fence(place).map(|fence| fence.before.up);
        lease.take_in(began(), &[answer("r1", 5, 101), answer("r1", 5, 201), off()]).unwrap();
        assert_eq!((up(&lease, 0), up(&lease, 1), up(&lease, 2)), (Some(127), Some(227), None));
        assert!(lease.holds(Timestamp::now()));
        // Without a majority nothing gets longer.
        lease.take_in(began(), &[answer("r1", 5, 111), off(), off()]).unwrap_err();
        assert_eq!(up(&lease, 0), Some(127));
        lease.take_in(began(), &[answer("r1", 5, 121), answer("r1", 5, 221), answer("r1", 5, 9)]).unwrap();
        assert_eq!((up(&lease, 0), up(&lease, 1), up(&lease, 2)), (Some(138), Some(228), None));
    }

    #[test]
    fn a_host_that_saw_a_greater_token_is_caught_up_with() {
        let mut lease = Lease::new(claim("r1"), &[answer("r0", 4, 100)]);
        let freed = |token| {
            let lock = HostLock { token, claim: None, since: None, silent_s: 0, expired: false };
            Ok(Answer { lock, stamp: Stamp { boot: "b".into(), up: 1 } })
        };
        let check = |lease: &Lease, other, expected| {
            assert_eq!(lease.behind(&[answer("r1", 5, 101), answer("r1", 5, 101), other]), expected);
        };
        check(&lease, freed(4), None);
        check(&lease, freed(5), Some(6));
        check(&lease, freed(8), Some(9));
        check(&lease, off(), None);
        // Whoever has it there now is not to be overtaken before it gave it back.
        check(&lease, answer("r2", 6, 101), None);
        lease.raised(9, &[answer("r1", 5, 101), freed(8)]);
        assert_eq!(lease.token(), 5);
        lease.raised(9, &[answer("r1", 9, 101), off()]);
        assert_eq!(lease.token(), 9);
    }
}
