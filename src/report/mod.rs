//! Showing what happens: bars on a terminal, plain lines elsewhere, JSON lines for programs. All of it is made from
//! events and their fold, and none of it can stop a roll: a closed stdout or stderr is ignored.

mod bars;
mod diagnosis;
mod halt;
mod json;
mod lines;
mod words;
mod wrap;

pub use bars::Bars;
pub use diagnosis::{diagnosis as render_diagnosis, finding_line};
pub use halt::render as render_halt;
pub use json::JsonLines;
pub use lines::Lines;
pub use words::{Tone, end, line as event_line, span};
pub use wrap::wrapped;

use crate::core::{event::Envelope, progress::Progress};

/// Who shows events. It can't fail a run.
pub trait Reporter: Send {
    /// Shows one event; `progress` is the state after it.
    fn report(&mut self, envelope: &Envelope, progress: &Progress);
}
