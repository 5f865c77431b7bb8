//! One line of a journal: the event as JSON, with its checksum as the last field.

use crate::core::event::{Envelope, SCHEMA};

/// What the checksum stands in.
const MARK: &str = ",\"crc\":\"";
/// `,"crc":"01234567"}`
const TAIL: usize = MARK.len() + 8 + 2;

/// Why a line is not an event.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It has no checksum, or not that of its content.
    #[error("the line is damaged: its checksum is not that of its content")]
    Damaged,
    /// A newer rollgate wrote it.
    #[error("version {0} of the journal's format, which this rollgate does not know: use the one that wrote it")]
    Newer(u64),
    /// It is whole, and no event that this rollgate knows.
    #[error("not an event: {0}")]
    Event(#[from] serde_json::Error),
}

/// An event as a line, with its line break.
///
/// # Errors
/// The event can't be written as JSON.
pub fn encode(envelope: &Envelope) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(envelope)?;
    // The closing brace; an envelope is an object.
    line.pop();
    let tail = format!("{MARK}{:08x}\"}}\n", crc32fast::hash(&line));
    line.extend_from_slice(tail.as_bytes());
    Ok(line)
}

/// Reads a line without its line break. Version 1 had no checksums.
///
/// # Errors
/// Why it is not an event.
pub fn decode(line: &str) -> Result<Envelope, LineError> {
    let body = line.len().checked_sub(TAIL).filter(|at| line.is_char_boundary(*at)).map(|at| line.split_at(at));
    let sum = body.and_then(|(body, tail)| {
        let sum = tail.strip_prefix(MARK)?.strip_suffix("\"}")?;
        Some((body, u32::from_str_radix(sum, 16).ok()?))
    });
    match sum {
        Some((body, sum)) if crc32fast::hash(body.as_bytes()) == sum => {}
        Some(_) => return Err(LineError::Damaged),
        None => {
            let value: serde_json::Value = serde_json::from_str(line).map_err(|_| LineError::Damaged)?;
            if value["v"] != 1 {
                return Err(LineError::Damaged);
            }
        }
    }
    let value: serde_json::Value = serde_json::from_str(line)?;
    match value["v"].as_u64() {
        Some(version) if version > u64::from(SCHEMA) => Err(LineError::Newer(version)),
        _ => Ok(serde_json::from_value(value)?),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::event::Event;

    fn envelope() -> Envelope {
        let at = "2026-11-22T12:00:00Z".parse().unwrap();
        let event =
            Event::StepFinished { host: "n1 ü".into(), step: "stop".into(), took_ms: 5, note: None, restarts: None };
        Envelope { v: SCHEMA, run: "r1".into(), seq: 7, at, event }
    }

    fn check(line: &str, expected: &str) {
        let found = decode(line).map(|_| "an event".to_owned()).unwrap_or_else(|error| error.to_string());
        assert!(found.starts_with(expected), "{line}: {found}");
    }

    #[test]
    fn lines_are_told_apart() {
        let line = String::from_utf8(encode(&envelope()).unwrap()).unwrap();
        assert_eq!(decode(line.trim_end()).unwrap(), envelope());
        check(&line.trim_end().replace("n1", "n2"), "the line is damaged");
        check(r#"{"v":1,"run":"r1","seq":0,"at":"2026-11-22T12:00:00Z","event":"paused","for_ms":5}"#, "an event");
        check(r#"{"v":2,"run":"r1","seq":0,"at":"2026-11-22T12:00:00Z","event":"paused","for_ms":5}"#, "the line is");
        check("", "the line is damaged");
        check("\0\0\0\0", "the line is damaged");
        let newer = format!(r#"{{"v":{},"event":"unheard""#, SCHEMA + 1);
        let sum = crc32fast::hash(newer.as_bytes());
        check(&format!("{newer}{MARK}{sum:08x}\"}}"), &format!("version {}", SCHEMA + 1));
    }

    proptest! {
        #[test]
        fn no_byte_changes_unnoticed(place in 0_usize..1000, byte in any::<u8>()) {
            let mut line = encode(&envelope()).unwrap();
            line.pop();
            let place = place % line.len();
            prop_assume!(line[place] != byte && byte != b'\n');
            // The case of a digit of the checksum says nothing.
            prop_assume!(!(line[place].is_ascii_alphabetic() && line[place].eq_ignore_ascii_case(&byte)));
            line[place] = byte;
            if let Ok(text) = String::from_utf8(line) {
                prop_assert!(decode(&text).is_err(), "{text}");
            }
        }
    }
}
