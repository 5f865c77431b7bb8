//! Failing fast: while the gate waits for a server that is slow to become ready, it is diagnosed too. A cause that no
//! waiting mends ends the wait.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    diagnosis,
    roll::{Roller, Stop},
    turn::Passage,
};
use crate::{
    core::{
        diagnosis::Diagnosis,
        gate::{Condition, Waiting},
        halt::Cause,
        view::View,
    },
    fleet::Fleet,
};

/// A healthy server is ready 0.3–2.1 s after its start (measured): before that there is nothing to diagnose.
const FIRST_AFTER: Duration = Duration::from_secs(2);
/// Between two diagnoses, at first; each time twice as long, so that a long recovery is not made longer by them.
const AGAIN_AFTER: Duration = Duration::from_millis(1500);
/// See [`AGAIN_AFTER`].
const AGAIN_AT_MOST: Duration = Duration::from_secs(20);

impl<F: Fleet> Roller<'_, F> {
    /// What a halt is made of: what has just ended the wait, or what is gathered now.
    pub(super) async fn seen_at_halt(
        &mut self,
        host: &str,
        since: Option<jiff::Timestamp>,
        cause: &Cause,
    ) -> Result<(Option<Diagnosis>, View), Stop> {
        let (fleet, before) = (self.fleet, self.before.clone());
        match self.doomed.take().filter(|_| matches!(cause, Cause::Doomed { .. })) {
            Some((diagnosis, view)) => Ok((Some(diagnosis), view)),
            None => self.attend(diagnosis::of_halt(fleet, host, since, cause, &before)).await,
        }
    }
}

/// What was found so far.
pub(super) struct Doom {
    next: Duration,
    asked: Option<Instant>,
    code: Option<String>,
}

impl Doom {
    pub(super) fn new() -> Self {
        Self { next: AGAIN_AFTER, asked: None, code: None }
    }

    /// Why waiting is of no use, if so. What is found about a process that lives has to be found twice: it may have been
    /// seen on its way.
    pub(super) async fn ask<F: Fleet>(
        &mut self,
        roller: &mut Roller<'_, F>,
        passage: &Passage,
        waiting: &[Waiting],
        began: Instant,
    ) -> Result<Option<Cause>, Stop> {
        let early = began.elapsed() < FIRST_AFTER || self.asked.is_some_and(|at| at.elapsed() < self.next);
        if waiting.is_empty() || early {
            return Ok(None);
        }
        if self.asked.is_some() {
            self.next = (self.next * 2).clamp(AGAIN_AFTER, AGAIN_AT_MOST);
        }
        let (fleet, before) = (roller.fleet, roller.before.clone());
        let found = diagnosis::of_wait(fleet, &passage.host, passage.started, &before);
        let (diagnosis, view) = roller.attend(found).await?;
        self.asked = Some(Instant::now());
        let handshakes = waiting.iter().any(|w| matches!(w.condition, Condition::ClientPort | Condition::PeerRoutes));
        let Some(finding) = diagnosis.hopeless(handshakes) else {
            self.code = None;
            return Ok(None);
        };
        let again = self.code.replace(finding.code.clone()).as_deref() == Some(finding.code.as_str());
        if !again {
            // Whether it stays so is asked at once.
            self.next = Duration::ZERO;
            return Ok(None);
        }
        let cause = Cause::Doomed { finding: finding.code.clone(), title: finding.title.clone() };
        // The halt is made of what was just seen.
        roller.doomed = Some((diagnosis, view));
        Ok(Some(cause))
    }
}
