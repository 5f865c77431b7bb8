//! Hosts that may be out of reach for a while in the middle of a change.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use super::roll::{Roller, Stop};
use crate::{
    core::{
        diagnosis::evidence::Archive,
        halt::Cause,
        view::{Failure, FailureKind},
    },
    fleet::Fleet,
};

/// A host that can't be reached for this long in the middle of a change halts the roll. A switch that reboots, or a
/// spanning tree that settles, takes up to a minute.
const RECONNECT_FOR: Duration = Duration::from_secs(60);
/// Between two tries, at the most.
const SLOWEST: Duration = Duration::from_secs(5);

/// Contact with a host in the middle of a change, which may be lost and found again.
pub(super) struct Contact {
    lost_since: Option<Instant>,
    patience: Duration,
    /// What deadlines were put off by so far.
    lent: Duration,
    delays: Box<dyn Iterator<Item = Duration> + Send>,
}

impl Contact {
    pub(super) fn new() -> Self {
        Self::patient(RECONNECT_FOR)
    }

    /// With a host that may be away for so long.
    pub(super) fn patient(patience: Duration) -> Self {
        Self { lost_since: None, patience, lent: Duration::ZERO, delays: reconnects() }
    }

    /// The host answered.
    pub(super) fn found(&mut self) {
        *self = Self { lent: self.lent, ..Self::patient(self.patience) };
    }

    /// The host answered that it is still at work; when to ask again.
    pub(super) fn still_at_work(&mut self) -> Duration {
        self.lost_since = None;
        self.delay()
    }

    /// When to try again after a failure.
    pub(super) fn lost(&mut self, failure: Failure) -> Result<Duration, Cause> {
        if self.lost_since.get_or_insert_with(Instant::now).elapsed() <= self.patience {
            return Ok(self.delay());
        }
        Err(match failure.kind {
            FailureKind::Fenced => Cause::LockLost { detail: failure.to_string() },
            _ => Cause::HostLost { failure },
        })
    }

    /// Waits before the next try, or halts.
    pub(super) async fn wait<F: Fleet>(
        &mut self,
        roller: &mut Roller<'_, F>,
        host: &str,
        step: &str,
        failure: Failure,
    ) -> Result<(), Stop> {
        match self.lost(failure) {
            Ok(delay) => roller.attend(sleep(delay)).await,
            Err(cause) => Err(roller.halt(host, step, cause, None, self.patience).await),
        }
    }

    /// What a host shows, and what is asked beside it; where it can't be reached, once it can be again. With it the time to put a
    /// deadline off by, since what could not be asked for is not late: in all no more than the patience, over however many losses.
    pub(super) async fn evidence<F: Fleet, T, L: Future<Output = (Archive, T)>>(
        &mut self,
        roller: &mut Roller<'_, F>,
        host: &str,
        step: &str,
        look: impl Fn() -> L,
    ) -> Result<(Archive, T, Duration), Stop> {
        let mut away = Duration::ZERO;
        loop {
            let asked = Instant::now();
            let (archive, beside) = roller.attend(look()).await?;
            let Some(failure) = archive.lost() else {
                self.found();
                let away = away.min(self.patience.saturating_sub(self.lent));
                self.lent += away;
                return Ok((archive, beside, away));
            };
            self.wait(roller, host, step, failure.clone()).await?;
            away += asked.elapsed();
        }
    }

    fn delay(&mut self) -> Duration {
        self.delays.next().unwrap_or(SLOWEST)
    }
}

fn reconnects() -> Box<dyn Iterator<Item = Duration> + Send> {
    let delays = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(SLOWEST)
        .with_jitter()
        .without_max_times()
        .build();
    Box::new(delays)
}
