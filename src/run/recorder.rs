//! Every event of a run: checked against the state, on disk, and only then shown.

use jiff::Timestamp;

use crate::{
    core::{
        event::{Envelope, Event, SCHEMA},
        progress::{Illegal, Progress},
    },
    journal::{Sink, Strain},
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

    /// A recorder for a run that has `seq` events, which fold to `progress`.
    pub fn resume(
        run: String,
        seq: u64,
        progress: Progress,
        sink: Box<dyn Sink>,
        reporters: Vec<Box<dyn Reporter>>,
    ) -> Self {
        Self { run, seq, progress, sink, reporters }
    }

    /// Whether the journal asks to stop at the next safe point, and why.
    pub fn strained(&self) -> Option<Strain> {
        self.sink.strained()
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
        self.progress.legal(&event)?;
        let envelope = Envelope { v: SCHEMA, run: self.run.clone(), seq: self.seq, at, event };
        fail_at("before", &envelope);
        self.sink.append(&envelope).map_err(RecordError::Journal)?;
        fail_at("after", &envelope);
        self.seq += 1;
        self.progress.apply(&envelope.event)?;
        for reporter in &mut self.reporters {
            reporter.report(&envelope, &self.progress);
        }
        Ok(())
    }
}

/// Where to die and where to pause. Read once: a simulation records millions of events.
#[cfg(debug_assertions)]
static INSTANTS: std::sync::LazyLock<[Option<String>; 2]> = std::sync::LazyLock::new(|| {
    ["ROLLGATE_TEST_DIE_AT", "ROLLGATE_TEST_PAUSE_AT"].map(|name| std::env::var(name).ok())
});

/// A controller that dies, or is paused, at this very instant, for tests that try every one of them: no such thing in a
/// release build. `before-7` and `after-7` are those of event 7, `after-stop` of the step that began, `after-settled` of an
/// event of that kind.
fn fail_at(when: &str, envelope: &Envelope) {
    #[cfg(debug_assertions)]
    {
        let [die, pause] = &*INSTANTS;
        if die.is_none() && pause.is_none() {
            return;
        }
        let name = match &envelope.event {
            Event::StepStarted { step, .. } => step,
            event => event.kind(),
        };
        let instants = [format!("{when}-{}", envelope.seq), format!("{when}-{name}")];
        let wanted = |instant: &Option<String>| instant.as_ref().is_some_and(|instant| instants.contains(instant));
        if wanted(die) {
            std::process::abort();
        }
        if wanted(pause) {
            let pid = std::process::id().to_string();
            let _ = std::process::Command::new("kill").args(["-s", "STOP", &pid]).status();
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = (when, envelope);
}
