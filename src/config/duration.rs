//! Durations as people write them: `150ms`, `30s`, `3m`, `1m30s`, `2h`.

use std::fmt::Write as _;
use std::time::Duration;

use thiserror::Error;

/// The units, longest first, and how many milliseconds each has.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A week: nothing in a roll takes longer, and anything above is a slip of the pen.
pub const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("a duration can't be empty")]
    Empty,
    /// A bare number: seconds or milliseconds?
    #[error("the number {0} has no unit")]
    NoUnit(String),
    /// Below zero.
    #[error("a duration can't be negative")]
    Negative,
    /// Not one of ours.
    #[error("unknown unit `{0}`")]
    UnknownUnit(String),
    /// No number before the unit, or several points.
    #[error("not a duration")]
    Malformed,
    /// Above [`LONGEST`].
    #[error("longer than a week")]
    TooLong,
}

/// Reads a duration: numbers each followed by `d`, `h`, `m`, `s` or `ms`, largest unit first.
/// Fractions are allowed (`1.5s`), to the millisecond.
///
/// # Errors
/// Anything else, and durations above [`LONGEST`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text.starts_with('-') {
        return Err(DurationError::Negative);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        if number.is_empty() {
            return Err(DurationError::Malformed);
        }
        let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        if unit.is_empty() {
            // `30`, but not `30 s` or `30/5`.
            let is_bare = tail.is_empty();
            let bare = || DurationError::NoUnit(number.to_owned());
            return Err(if is_bare { bare() } else { DurationError::Malformed });
        }
        let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit(unit.to_owned()));
        };
        if *millis >= smallest {
            return Err(DurationError::Malformed);
        }
        smallest = *millis;
        total = total
            .checked_add(millis_of(number, *millis)?)
            .filter(|sum| u128::from(*sum) <= LONGEST.as_millis())
            .ok_or(DurationError::TooLong)?;
        rest = tail;
    }
    Ok(Duration::from_millis(total))
}

/// `number` (digits, perhaps with one point) times `unit` milliseconds.
fn millis_of(number: &str, unit: u64) -> Result<u64, DurationError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(DurationError::Malformed);
    }
    // Only digits are left, so that all a parse can fail with is size.
    let whole: u64 = whole.parse().map_err(|_| DurationError::TooLong)?;
    let whole = whole.checked_mul(unit).ok_or(DurationError::TooLong)?;
    // Nine places are beyond a millisecond of a day; u64 holds 10^9 x 86,400,000.
    let places = fraction.len().min(9);
    let scale = (0..places).fold(1_u64, |scale, _| scale * 10);
    let fraction: u64 = fraction[..places].parse().map_err(|_| DurationError::Malformed)?;
    Ok(whole.saturating_add(fraction * unit / scale))
}

/// Writes a duration so that [`parse`] reads it back; below a millisecond nothing is kept.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (name, unit) in UNITS {
        if millis >= unit {
            // Writing to a String can't fail.
            let _ = write!(out, "{}{name}", millis / unit);
            millis %= unit;
        }
    }
    out
}

/// For `#[serde(with = "…")]`: a duration as its text.
pub mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Writes `duration` as [`format`](super::format) does.
    ///
    /// # Errors
    /// Whatever the serializer says.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format(*duration))
    }

    /// Reads what [`serialize`] wrote.
    ///
    /// # Errors
    /// Text that [`parse`](super::parse) refuses.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        super::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let check = |text: &str, millis: u64| {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        };
        check("0s", 0);
        check("50ms", 50);
        check("30s", 30_000);
        check("1.5s", 1_500);
        check("1m30s", 90_000);
        check("2h", 7_200_000);
        check("7d", 604_800_000);
        check("0.123456789123s", 123);
    }

    #[test]
    fn other_texts_are_refused() {
        let check = |text: &str, expected: DurationError| {
            assert_eq!(parse(text), Err(expected), "{text}");
        };
        check("", DurationError::Empty);
        check("30", DurationError::NoUnit("30".into()));
        check("1m30", DurationError::NoUnit("30".into()));
        check("-3s", DurationError::Negative);
        check("3seconds", DurationError::UnknownUnit("seconds".into()));
        check("s", DurationError::Malformed);
        check("1m 30s", DurationError::Malformed);
        check("1.2.3s", DurationError::Malformed);
        check(".5s", DurationError::Malformed);
        check("5.s", DurationError::Malformed);
        check("30s1m", DurationError::Malformed);
        check("soon", DurationError::Malformed);
        check("8d", DurationError::TooLong);
        check("99999999999999999999s", DurationError::TooLong);
        check("18446744073709551615d", DurationError::TooLong);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let check = |millis: u64, expected: &str| {
            let duration = Duration::from_millis(millis);
            assert_eq!(format(duration), expected);
            assert_eq!(parse(expected), Ok(duration));
        };
        check(0, "0s");
        check(50, "50ms");
        check(90_000, "1m30s");
        check(86_400_001, "1d1ms");
    }
}
