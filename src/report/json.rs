//! Events for programs: one JSON object a line on stdout.

use std::io::Write;

use super::Reporter;
use crate::core::{event::Envelope, progress::Progress};

/// Writes each envelope, as the journal has it.
pub struct JsonLines<W>(pub W);

impl<W: Write + Send> Reporter for JsonLines<W> {
    fn report(&mut self, envelope: &Envelope, _: &Progress) {
        if let Ok(mut line) = serde_json::to_vec(envelope) {
            line.push(b'\n');
            // A reader that went away must not stop a roll.
            let _ = self.0.write_all(&line).and_then(|()| self.0.flush());
        }
    }
}
