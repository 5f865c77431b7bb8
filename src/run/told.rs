//! What is told of a wait: an event when what is waited for changes, not one a look.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    roll::{Roller, Stop},
    turn::Passage,
};
use crate::{
    core::{
        event::Event,
        gate::{Condition, Moving, Waiting},
    },
    fleet::Fleet,
};

/// The same conditions in other words, or with other numbers, are told again only after this long.
const REWORD_AFTER: Duration = Duration::from_secs(2);

/// What was told last: good looks in a row, what was waited for, and when.
type Line = (u32, Vec<(Condition, String)>, Instant);

/// Keeps the events of a wait few: one when what is waited for changes, not one a look.
pub(super) struct Told {
    step: &'static str,
    of: u32,
    last: Option<Line>,
}

impl Told {
    pub(super) fn new(step: &'static str, of: u32) -> Self {
        Self { step, of, last: None }
    }

    pub(super) fn tell<F: Fleet>(
        &mut self,
        roller: &mut Roller<'_, F>,
        passage: &Passage,
        waiting: &[Waiting],
        moving: Option<Moving>,
    ) -> Result<(), Stop> {
        let good = passage.gate.streak();
        let now: Vec<_> = waiting.iter().map(|waiting| (waiting.condition, waiting.reason.clone())).collect();
        if let Some((told_good, told, at)) = &self.last {
            let same_conditions = told.iter().map(|(c, _)| c).eq(now.iter().map(|(c, _)| c));
            let same = *told_good == good && same_conditions;
            let still = *told == now && moving.is_none();
            if same && (still || at.elapsed() < REWORD_AFTER) {
                return Ok(());
            }
        }
        self.last = Some((good, now, Instant::now()));
        roller.record(Event::Looked {
            host: passage.host.clone(),
            step: self.step.into(),
            good,
            of: self.of,
            waiting: waiting.to_vec(),
            moving,
        })?;
        Ok(())
    }
}
