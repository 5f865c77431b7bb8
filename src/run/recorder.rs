//! Every event of a run: checked against the state, on disk, and only then shown.

use jiff::Timestamp;

use crate::{
    core::{
        event::{Envelope, Event, SCHEMA},
        progress::{Illegal, Progress},
    },
    journal::Sink,
    report::Reporter,
};

/// Records the events of one run.
pub struct Recorder {
    run: String,
    seq: u64,
    progress: Progress,
    sink: Box<dyn Sink>,
    reporters: Vec<Box<dyn Reporter>>,
}

/// Why an event could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The journal could not be written.
    #[error("the journal could not be written")]
    Journal(#[source] std::io::Error),
    /// The runner made an event that can't follow the ones before it.
    #[error("internal error")]
    Illegal(#[from] Illegal),
}

impl Recorder {
    /// A recorder for a run that has no events yet.
    pub fn new(run: String, sink: Box<dyn Sink>, reporters: Vec<Box<dyn Reporter>>) -> Self {
        Self { run, seq: 0, progress: Progress::default(), sink, reporters }
    }

    /// The run's id.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The state after all events so far.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Records one event.
    ///
    /// # Errors
    /// It could not be kept or can't come now; nothing was shown.
    pub fn record(&mut self, at: Timestamp, event: Event) -> Result<(), RecordError> {
        let mut next = self.progress.clone();
        next.apply(&event)?;
        let envelope = Envelope { v: SCHEMA, run: self.run.clone(), seq: self.seq, at, event };
        self.sink.append(&envelope).map_err(RecordError::Journal)?;
        self.seq += 1;
        self.progress = next;
        for reporter in &mut self.reporters {
            reporter.report(&envelope, &self.progress);
        }
        Ok(())
    }
}
