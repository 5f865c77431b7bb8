//! Where a roll may stop, and what stops it there: the operator, the lock, the journal.

use std::time::Duration;

use super::{
    roll::{Roller, Stop},
    shutdown::{Wish, wished},
};
use crate::{core::halt::Cause, fleet::Fleet, journal::Strain};

impl<F: Fleet> Roller<'_, F> {
    /// Stops here if the operator wishes so: nothing is under way.
    pub(super) fn safe_point(&mut self) -> Result<(), Stop> {
        self.must_have_lock()?;
        if let Some(strain) = self.recorder.strained() {
            return Err(self.strained(strain));
        }
        if *self.wishes.borrow() == Wish::GoOn { Ok(()) } else { Err(Stop::Wish) }
    }

    /// The same for a while.
    pub(super) async fn sleep_at_safe_point(&mut self, duration: Duration) -> Result<(), Stop> {
        let mut wishes = self.wishes.clone();
        let mut lost = self.lost.clone();
        tokio::select! {
            () = wished(&mut wishes) => Err(Stop::Wish),
            Ok(_) = lost.wait_for(Option::is_some) => self.must_have_lock(),
            () = tokio::time::sleep(duration) => Ok(()),
        }
    }

    /// Stops here if another run has the lock: it may be about to stop a server.
    pub(super) fn must_have_lock(&self) -> Result<(), Stop> {
        let Some(refusal) = self.lost.borrow().clone() else { return Ok(()) };
        Err(self.lock_lost(refusal.to_string()))
    }

    /// Stops here if others can't read what was announced: a stop that only this machine knows of could not be settled by
    /// another runner.
    pub(super) fn must_be_mirrored(&self) -> Result<(), Stop> {
        match self.recorder.strained() {
            Some(strain @ Strain::Mirror(_)) => Err(self.strained(strain)),
            Some(Strain::Full(_)) | None => Ok(()),
        }
    }

    fn strained(&self, strain: Strain) -> Stop {
        let (cause, next) = match strain {
            Strain::Full(detail) => (Cause::JournalFull { detail }, vec![]),
            Strain::Mirror(detail) => (
                Cause::MirrorLost { detail },
                vec!["see that the bucket of `state:` takes what is written to it".into()],
            ),
        };
        Stop::Halt(Box::new(self.halt_here(cause, next)))
    }

    /// It says nothing of the server, so there is nothing to diagnose.
    pub(super) fn lock_lost(&self, detail: String) -> Stop {
        let next = vec!["let the other run end, or see that it is dead".into(), self.run.status.clone()];
        Stop::Halt(Box::new(self.halt_here(Cause::LockLost { detail }, next)))
    }
}
