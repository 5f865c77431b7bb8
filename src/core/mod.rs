//! Pure: facts in, decisions out. Nothing in here names tokio, ssh, http, files or a clock; `tests/tidy.rs` holds it
//! to that, so every decision can be tested with plain values.

pub mod assets;
pub mod conf;
pub mod configure;
pub mod diagnosis;
pub mod difference;
pub mod drain;
pub mod event;
pub mod gate;
pub mod halt;
pub mod health;
pub mod install;
pub mod listeners;
pub mod lock;
pub mod notable;
pub mod order;
pub mod own_step;
pub mod plan;
pub mod playbook;
pub mod progress;
pub mod reload;
pub mod safety;
pub mod scrub;
pub mod serving;
pub mod settle;
#[cfg(test)]
pub(crate) mod testing;
pub mod version;
pub mod view;
pub mod witness;

/// So many of a thing, in words.
pub(crate) fn count_of(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// An error with those of its causes that add something, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// A size as one would say it.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut scaled = n;
    while scaled >= 10_000 && unit + 1 < UNITS.len() {
        scaled /= 1000;
        unit += 1;
    }
    format!("{scaled} {}", UNITS[unit])
}

/// A `Duration` as whole milliseconds, for fields named `*_ms`.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(of(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }

    /// Whole milliseconds, at most `u64::MAX`.
    pub(crate) fn of(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    }
}
