//! How long to wait for a server that recovers: as long as something moves, up to a cap; and what moves, and how fast.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::core::bytes;

/// A rate is of this time: long enough for an even number, short enough to follow a disk that slows down.
const WINDOW: Duration = Duration::from_secs(30);
/// With less to measure by, no rate is told.
const LEAST: Duration = Duration::from_secs(2);
/// What a server reads while nothing is recovered: heartbeats of an idle cluster are 50 KB a second (measured).
const IDLE_BYTES: u64 = 1 << 20;

/// What can move while a server recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moves {
    /// Streams restored from the store.
    Streams,
    /// Messages restored from the store.
    Messages,
    /// Bytes that the process has read: a single large stream shows nothing else until it is there.
    BytesRead,
    /// Messages that replicas still have to get from their peers.
    MessagesToCome,
    /// Raft groups that are not back.
    GroupsToCome,
}

impl Moves {
    /// Whether it moves by getting less.
    fn falls(self) -> bool {
        matches!(self, Self::MessagesToCome | Self::GroupsToCome)
    }
}

/// One number of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Of what.
    pub what: Moves,
    /// How many.
    pub value: u64,
    /// How many there will be in the end, where that is known.
    pub of: Option<u64>,
}

/// What moves, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// What.
    pub what: Moves,
    /// How many.
    pub value: u64,
    /// Of how many, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<u64>,
    /// How many a second, of late.
    pub per_second: u64,
    /// How much longer at that rate, where the end is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left_ms: Option<u64>,
}

impl std::fmt::Display for Moving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = self.of.map(|of| format!(" of {of}")).unwrap_or_default();
        match self.what {
            Moves::Streams => write!(f, "{}{of} streams restored", self.value)?,
            Moves::Messages => write!(f, "{}{of} messages restored", self.value)?,
            Moves::BytesRead => {
                return write!(f, "{} read, {} a second", bytes(self.value), bytes(self.per_second));
            }
            Moves::MessagesToCome => write!(f, "{} messages to come", self.value)?,
            Moves::GroupsToCome => write!(f, "{} groups to come", self.value)?,
        }
        write!(f, ", {} a second", self.per_second)?;
        match self.left_ms {
            Some(ms) if ms < 120_000 => write!(f, ", about {} s left", ms.div_ceil(1000)),
            Some(ms) => write!(f, ", about {} min left", ms.div_ceil(60_000)),
            None => Ok(()),
        }
    }
}

/// How long a gate waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a server that does not move.
    pub deadline: Duration,
    /// For one that does.
    pub hard_cap: Duration,
    /// After this long without a move it does not move any more.
    pub stalled_after: Duration,
}

/// Keeps what moved, and when.
#[derive(Debug, Clone)]
pub struct Pace {
    patience: Patience,
    best: Vec<(Moves, u64)>,
    moved_at: Option<Duration>,
    said: BTreeSet<String>,
    window: VecDeque<(Duration, Measure)>,
}

impl Pace {
    /// Nothing has moved yet.
    pub fn new(patience: Patience) -> Self {
        Self { patience, best: Vec::new(), moved_at: None, said: BTreeSet::new(), window: VecDeque::new() }
    }

    /// When the wait is over as things are, counted from its beginning.
    pub fn until(&self) -> Duration {
        let Patience { deadline, hard_cap, stalled_after } = self.patience;
        let moving = self.moved_at.map_or(Duration::ZERO, |at| at.saturating_add(stalled_after));
        deadline.max(moving.min(hard_cap))
    }

    /// Takes in a reason for which the server is not ready. One that was never told before is a move: recovery goes through
    /// its stages once. Numbers don't count, or a list in changing order would be a move for ever.
    pub fn said(&mut self, elapsed: Duration, reason: &str) {
        let mut words: Vec<&str> = reason.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect();
        words.sort_unstable();
        if self.said.insert(words.join(" ")) && self.said.len() > 1 {
            self.moved_at = Some(elapsed);
        }
    }

    /// Takes in a number.
    pub fn note(&mut self, elapsed: Duration, measure: Measure) {
        let least = if measure.what == Moves::BytesRead { IDLE_BYTES } else { 1 };
        match self.best.iter_mut().find(|(what, _)| *what == measure.what) {
            None => self.best.push((measure.what, measure.value)),
            Some((what, best)) => {
                let gained =
                    if what.falls() { best.saturating_sub(measure.value) } else { measure.value.saturating_sub(*best) };
                let took = self
                    .window
                    .iter()
                    .rev()
                    .find(|(_, old)| old.what == *what)
                    .map(|(at, _)| elapsed.saturating_sub(*at));
                let seconds = took.map_or(1, |took| took.as_secs().max(1));
                if gained >= least.saturating_mul(if least == 1 { 1 } else { seconds }) {
                    self.moved_at = Some(elapsed);
                }
                *best = if what.falls() { measure.value.min(*best) } else { measure.value.max(*best) };
            }
        }
        self.window.push_back((elapsed, measure));
        self.window.retain(|(at, _)| elapsed.saturating_sub(*at) <= WINDOW);
    }

    /// For how long nothing has moved, where something had.
    pub fn still_for(&self, elapsed: Duration) -> Option<Duration> {
        self.moved_at.map(|at| elapsed.saturating_sub(at))
    }

    /// What moves; of several what says most: the first in the order of [`Moves`] that has a known end, else the first.
    pub fn moving(&self, elapsed: Duration) -> Option<Moving> {
        if self.still_for(elapsed)? > self.patience.stalled_after {
            return None;
        }
        let mut all: Vec<Moving> = self.best.iter().filter_map(|(what, _)| self.rate(*what)).collect();
        all.sort_by_key(|moving| (moving.left_ms.is_none(), moving.what));
        all.into_iter().next()
    }

    fn rate(&self, what: Moves) -> Option<Moving> {
        let mut seen = self.window.iter().filter(|(_, measure)| measure.what == what);
        let (from, first) = seen.next()?;
        let (to, last) = seen.next_back()?;
        let took = to.saturating_sub(*from);
        let moved = first.value.abs_diff(last.value);
        if took < LEAST || moved == 0 || (last.value < first.value) != what.falls() {
            return None;
        }
        let millis = super::super::millis::of(took).max(1);
        let left = if what.falls() { Some(last.value) } else { last.of.map(|of| of.saturating_sub(last.value)) };
        let left_ms = left.map(|left| left.saturating_mul(millis) / moved);
        Some(Moving { what, value: last.value, of: last.of, per_second: moved.saturating_mul(1000) / millis, left_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn pace() -> Pace {
        Pace::new(Patience { deadline: seconds(60), hard_cap: seconds(600), stalled_after: seconds(20) })
    }

    fn streams(value: u64) -> Measure {
        Measure { what: Moves::Streams, value, of: Some(1000) }
    }

    #[test]
    fn what_moves_is_waited_for_and_what_stops_is_not() {
        let mut pace = pace();
        assert_eq!(pace.until(), seconds(60));
        for second in 0..=100 {
            pace.note(seconds(second), streams(second * 5));
        }
        assert_eq!(pace.until(), seconds(120));
        let text = pace.moving(seconds(100)).unwrap().to_string();
        assert_eq!(text, "500 of 1000 streams restored, 5 a second, about 100 s left");
        // It stands still: no more time, and no rate is told.
        (101..=130).for_each(|second| pace.note(seconds(second), streams(500)));
        assert_eq!((pace.until(), pace.moving(seconds(130))), (seconds(120), None));
        assert_eq!(pace.still_for(seconds(130)), Some(seconds(30)));
    }

    #[test]
    fn the_cap_ends_it_and_no_move_before_the_deadline_shortens_it() {
        let mut pace = pace();
        (0..=590).for_each(|second| pace.note(seconds(second), streams(second)));
        assert_eq!(pace.until(), seconds(600));
        let mut pace = super::tests::pace();
        pace.note(seconds(1), streams(1));
        pace.note(seconds(2), streams(2));
        assert_eq!(pace.until(), seconds(60));
    }

    #[test]
    fn only_new_words_are_a_move() {
        let mut pace = pace();
        let mut say = |second, text| {
            pace.said(seconds(second), text);
            pace.until()
        };
        assert_eq!(say(50, "500: not ready for connections after 1ms: server, route"), seconds(60));
        assert_eq!(say(55, "500: not ready for connections after 2ms: route, server"), seconds(60));
        assert_eq!(say(58, "503: JetStream is still recovering meta layer"), seconds(78));
        assert_eq!(say(70, "500: not ready for connections after 1ms: server, route"), seconds(78));
    }

    #[test]
    fn heartbeats_are_no_recovery() {
        let bytes = |value| Measure { what: Moves::BytesRead, value, of: None };
        let mut pace = pace();
        (0..100).for_each(|second| pace.note(seconds(second), bytes(50_000 * second)));
        assert_eq!(pace.until(), seconds(60));
        (100..110).for_each(|second| pace.note(seconds(second), bytes((60 << 20) * second)));
        assert_eq!(pace.until(), seconds(129));
        assert_eq!(pace.moving(seconds(109)).unwrap().left_ms, None);
    }

    #[test]
    fn less_to_come_is_a_move() {
        let left = |value| Measure { what: Moves::MessagesToCome, value, of: None };
        let mut pace = pace();
        (0..=50).for_each(|second| pace.note(seconds(second), left(1000 - 10 * second)));
        let text = pace.moving(seconds(50)).unwrap().to_string();
        assert_eq!(text, "500 messages to come, 10 a second, about 50 s left");
        // More to come, as under writes, is none.
        (51..=90).for_each(|second| pace.note(seconds(second), left(600 + second)));
        assert_eq!(pace.until(), seconds(70));
    }
}
