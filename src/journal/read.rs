//! Reading journals: all of one, or the two lines that tell what became of a run.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::line::{LineError, decode};
use crate::core::event::{Envelope, Event};

/// Why a journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It can't be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A line is not an event.
    #[error("{}:{line}: {cause}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// 1 for the first.
        line: usize,
        /// Why.
        #[source]
        cause: LineError,
    },
    /// Lines are missing, or not of this run.
    #[error("{}:{line}: event {found} stands where event {expected} should", path.display())]
    Gap {
        /// The file.
        path: PathBuf,
        /// 1 for the first.
        line: usize,
        /// The number that should be there.
        expected: u64,
        /// The number that is.
        found: u64,
    },
    /// There is nothing in it.
    #[error("{}: nothing was recorded", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// A journal, read.
#[derive(Debug)]
pub struct Journaled {
    /// Its events; none where the controller died before the first.
    pub events: Vec<Envelope>,
    /// Where the last whole line ends, in bytes.
    pub length: u64,
}

/// Reads a journal. A last line that was torn by a crash is left out: what it announced was not begun.
///
/// # Errors
/// The file can't be read, or a line in it is not an event; the error names the line.
pub fn read(path: &Path) -> Result<Journaled, JournalError> {
    let bytes = std::fs::read(path).map_err(|cause| JournalError::Io { path: path.to_owned(), cause })?;
    parse(path, &bytes)
}

/// The same of bytes that were read already; `path` is where errors say that they are.
///
/// # Errors
/// A line is not an event; the error names the line.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Journaled, JournalError> {
    let length = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&bytes[..length]);
    let mut events: Vec<Envelope> = Vec::new();
    for (expected, line) in text.lines().enumerate() {
        let place = expected + 1;
        let envelope =
            decode(line).map_err(|cause| JournalError::Line { path: path.to_owned(), line: place, cause })?;
        let (expected, found) = (expected as u64, envelope.seq);
        if expected != found {
            return Err(JournalError::Gap { path: path.to_owned(), line: place, expected, found });
        }
        events.push(envelope);
    }
    Ok(Journaled { events, length: length as u64 })
}

/// What became of a run, by the first and the last line of its journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Its first event.
    pub first: Envelope,
    /// The last one.
    pub last: Envelope,
}

impl Summary {
    /// Whether nothing can follow.
    pub fn closed(&self) -> bool {
        self.last.event.closes()
    }

    /// The cluster and its key.
    pub fn cluster(&self) -> Option<(&str, &str)> {
        match &self.first.event {
            Event::RunStarted { plan, cluster_key, .. } => Some((&plan.cluster, cluster_key)),
            _ => None,
        }
    }
}

/// How much of a journal's end is looked at for its last line: more than a halt with its evidence needs.
const TAIL: u64 = 2 << 20;

/// Reads the first and the last whole line of a journal.
///
/// # Errors
/// As [`read`]; a journal without a whole line is [`JournalError::Empty`].
pub fn summary(path: &Path) -> Result<Summary, JournalError> {
    let io = |cause| JournalError::Io { path: path.to_owned(), cause };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut first = Vec::new();
    file.read_until(b'\n', &mut first).map_err(io)?;
    if first.pop() != Some(b'\n') {
        return Err(JournalError::Empty { path: path.to_owned() });
    }
    let length = file.seek(SeekFrom::End(0)).map_err(io)?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).map_err(io)?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).map_err(io)?;
    let end = tail.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let begin = tail[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    let event = |bytes: &[u8], line: usize| {
        let text = String::from_utf8_lossy(bytes);
        decode(&text).map_err(|cause| JournalError::Line { path: path.to_owned(), line, cause })
    };
    let first = event(&first, 1)?;
    // The whole of it tells the line's number, should it be damaged.
    let last = match event(&tail[begin..end], 0) {
        Ok(last) => last,
        Err(_) => {
            read(path)?;
            event(&tail[begin..end], 0)?
        }
    };
    Ok(Summary { first, last })
}
