//! A journal that is written here and in the bucket.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    time::{sleep, timeout_at},
};

use super::{Mirror, MirrorError, Shared};
use crate::{
    core::event::Envelope,
    journal::{Journal, Sink, Strain, encode},
};

/// How long the bucket is waited for: its leader's election takes up to 9 s (`raft.go`, `maxElectionTimeout`). The locks are
/// renewed again before anybody may take them.
pub(super) const PATIENCE: Duration = Duration::from_secs(12);
/// The same once it did not come: the turn under way must not be held up.
const NO_PATIENCE: Duration = Duration::from_secs(1);
/// Between two tries.
pub(super) const AGAIN: Duration = Duration::from_millis(200);

/// The journal of a run, and its mirror. An event is on this machine's disk, then in the bucket, and only then recorded; what
/// the bucket did not take strains the run until it has it.
pub struct Mirrored {
    journal: Journal,
    shared: Arc<Shared>,
    handle: Handle,
    run: String,
    writer: String,
    /// The number of the first event that the bucket does not have.
    next: u64,
    behind: VecDeque<Vec<u8>>,
    failed: Option<MirrorError>,
}

impl Mirror {
    /// The journal of a run with `events` events, all of which the bucket has.
    pub fn sink(&self, journal: Journal, run: &str, events: u64) -> Mirrored {
        Mirrored {
            journal,
            shared: Arc::clone(&self.shared),
            handle: self.runtime.handle().clone(),
            run: run.to_owned(),
            writer: format!("{:016x}", fastrand::u64(..)),
            next: events,
            behind: VecDeque::new(),
            failed: None,
        }
    }
}

impl Mirrored {
    /// Waits for the bucket while everything else stands still: the effect must not come first.
    fn catch_up(&mut self) {
        let patience = if self.failed.is_some() { NO_PATIENCE } else { PATIENCE };
        let until = Instant::now() + patience;
        while let Some(line) = self.behind.front() {
            if matches!(self.failed, Some(MirrorError::Taken { .. })) {
                return;
            }
            let (shared, run, seq) = (Arc::clone(&self.shared), self.run.clone(), self.next);
            let (line, writer) = (line.clone(), self.writer.clone());
            let (sender, receiver) = mpsc::sync_channel(1);
            self.handle.spawn(async move {
                // Whoever waited may have lost patience.
                let _ = sender.send(persist(&shared, &run, seq, &line, &writer, until).await);
            });
            match receiver.recv() {
                Ok(Ok(())) => {
                    self.behind.pop_front();
                    self.next += 1;
                }
                Ok(Err(error)) => {
                    self.failed = Some(error);
                    return;
                }
                Err(_) => {
                    let kind = crate::core::view::FailureKind::Protocol;
                    self.failed = Some(self.shared.unusable(kind, "the mirror's own thread is gone"));
                    return;
                }
            }
        }
        self.failed = None;
    }
}

/// Tries until the bucket has the line, says that it has another one, or the time is over.
async fn persist(
    shared: &Shared,
    run: &str,
    seq: u64,
    line: &[u8],
    writer: &str,
    until: Instant,
) -> Result<(), MirrorError> {
    let mut failed = None;
    loop {
        match timeout_at(until.into(), shared.write_line(run, seq, line, writer)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error @ MirrorError::Taken { .. })) => return Err(error),
            Ok(Err(error)) => failed = Some(error),
            Err(_) => {
                let kind = crate::core::view::FailureKind::Timeout;
                return Err(failed.unwrap_or_else(|| shared.unusable(kind, "no answer in time")));
            }
        }
        sleep(AGAIN).await;
    }
}

impl Sink for Mirrored {
    fn append(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.journal.append(envelope)?;
        let mut line = encode(envelope)?;
        line.pop();
        self.behind.push_back(line);
        self.catch_up();
        Ok(())
    }

    fn strained(&self) -> Option<Strain> {
        let lost = || self.shared.held().lost();
        let failed = || self.failed.as_ref().map(ToString::to_string);
        self.journal.strained().or_else(|| failed().or_else(lost).map(Strain::Mirror))
    }
}
