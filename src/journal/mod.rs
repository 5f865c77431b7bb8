//! What a run leaves on disk: its journal, one JSON line an event, each synced before the effect that it announces.

mod line;
mod lock;
mod read;
mod state;

pub use line::{LineError, decode, encode};
pub use lock::{Lock, LockError};
pub use read::{JournalError, Journaled, Summary, parse, read, summary};
pub use state::{StateDir, run_id};

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::core::event::Envelope;

/// The name of the journal within a run's directory.
pub const FILE_NAME: &str = "journal.ndjson";
/// Room that is kept for the end of a run, should the disk fill up under it.
const RESERVE_NAME: &str = "reserve";
/// A halt with its evidence has up to 500 log lines of up to 2,000 characters.
const RESERVE: usize = 1 << 20;

/// Where events are kept. An event counts as recorded when this returns.
pub trait Sink: Send {
    /// Keeps one event, durably.
    ///
    /// # Errors
    /// It could not be kept; the run must not go on to the effect that it announces.
    fn append(&mut self, envelope: &Envelope) -> io::Result<()>;

    /// Why the run had better stop at the next safe point, if so: what comes next may not be kept.
    fn strained(&self) -> Option<Strain> {
        None
    }
}

/// Why a run had better stop, in the words of what failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strain {
    /// The disk has no room: what was kept for the end of the run is in use.
    Full(String),
    /// Other runners can't read what this one did.
    Mirror(String),
}

/// The journal of one run.
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Where the last whole line ends.
    length: u64,
    reserve: PathBuf,
    strained: Option<String>,
}

impl Journal {
    /// Creates the journal of a new run in `directory`, which must not exist. Readable by nobody else.
    ///
    /// # Errors
    /// The directory or the file can't be created or made durable, or the disk has no room for a run.
    pub fn create(directory: &Path) -> io::Result<Self> {
        let existed = directory.ancestors().find(|above| above.is_dir()).map(Path::to_owned);
        if let Some(parent) = directory.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        DirBuilder::new().mode(0o700).create(directory)?;
        let made = Self::create_in(directory, existed.as_deref());
        if made.is_err() {
            // A run that never was leaves nothing; what can't be removed is an empty directory.
            let _ = std::fs::remove_dir_all(directory);
        }
        made
    }

    fn create_in(directory: &Path, existed: Option<&Path>) -> io::Result<Self> {
        let path = directory.join(FILE_NAME);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        // The names must survive a crash too, not only the content.
        for above in directory.ancestors().take_while(|above| !above.as_os_str().is_empty()) {
            File::open(above)?.sync_all()?;
            if Some(above) == existed {
                break;
            }
        }
        Self::ready(file, path, 0)
    }

    /// Opens the journal of a run that goes on, and what is in it. A torn last line is cut off.
    ///
    /// # Errors
    /// It can't be read or written, a line in it is damaged, or another process writes it.
    pub fn open(directory: &Path) -> Result<(Self, Journaled), JournalError> {
        let path = directory.join(FILE_NAME);
        let io = |cause| JournalError::Io { path: path.clone(), cause };
        let file = OpenOptions::new().append(true).open(&path).map_err(io)?;
        one_writer(&file).map_err(io)?;
        let journaled = read(&path)?;
        file.set_len(journaled.length).and_then(|()| file.sync_all()).map_err(io)?;
        Ok((Self::ready(file, path.clone(), journaled.length).map_err(io)?, journaled))
    }

    fn ready(file: File, path: PathBuf, length: u64) -> io::Result<Self> {
        one_writer(&file)?;
        let reserve = path.with_file_name(RESERVE_NAME);
        let mut room = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&reserve)?;
        room.write_all(&vec![0; RESERVE]).and_then(|()| room.sync_all())?;
        Ok(Self { file, path, length, reserve, strained: None })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines that another controller wrote, and that [`parse`] has taken.
    ///
    /// # Errors
    /// They can't be written; what was written before stays.
    pub fn append_lines(&mut self, lines: &[Vec<u8>]) -> io::Result<()> {
        for line in lines {
            self.write(line)?;
            self.length += line.len() as u64;
        }
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        // One write a line: a reader never sees half of one, unless the machine died in it.
        let written = self.file.write_all(line).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Half a line would make the next one unreadable.
            self.file.set_len(self.length)?;
        }
        written
    }
}

fn one_writer(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, "another process writes this journal"),
        TryLockError::Error(error) => error,
    })
}

impl Sink for Journal {
    fn append(&mut self, envelope: &Envelope) -> io::Result<()> {
        let line = line::encode(envelope)?;
        if let Err(error) = self.write(&line) {
            // The disk is full: what was kept for this is enough to end the run in order.
            if self.strained.is_some() || std::fs::remove_file(&self.reserve).is_err() {
                return Err(error);
            }
            self.strained = Some(error.to_string());
            self.write(&line)?;
        }
        self.length += line.len() as u64;
        Ok(())
    }

    fn strained(&self) -> Option<Strain> {
        self.strained.clone().map(Strain::Full)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Gone already where it was needed.
        let _ = std::fs::remove_file(&self.reserve);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{Event, SCHEMA};

    fn envelope(seq: u64) -> Envelope {
        let at = "2026-11-22T12:00:00Z".parse().unwrap();
        Envelope { v: SCHEMA, run: "r1".into(), seq, at, event: Event::Paused { for_ms: 5 } }
    }

    fn texts(journaled: &Journaled) -> Vec<u64> {
        journaled.events.iter().map(|envelope| envelope.seq).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let home = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&home.path().join("runs/r1")).unwrap();
        journal.append(&envelope(0)).unwrap();
        journal.append(&envelope(1)).unwrap();
        assert_eq!(read(journal.path()).unwrap().events, [envelope(0), envelope(1)]);
        let text = std::fs::read_to_string(journal.path()).unwrap();
        let line = text.lines().next().unwrap();
        let start = r#"{"v":2,"run":"r1","seq":0,"at":"2026-11-22T12:00:00Z","event":"paused","for_ms":5,"crc":""#;
        assert!(line.starts_with(start), "{line}");
        drop(journal);
        assert!(!home.path().join("runs/r1/reserve").exists());
    }

    #[test]
    fn a_run_has_one_journal_and_a_journal_one_writer() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("runs/r1");
        let first = Journal::create(&directory).unwrap();
        assert!(Journal::create(&directory).is_err());
        assert!(Journal::open(&directory).is_err());
        drop(first);
        Journal::open(&directory).unwrap();
    }

    #[test]
    fn a_run_goes_on_after_its_last_whole_line() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("runs/r1");
        let mut journal = Journal::create(&directory).unwrap();
        journal.append(&envelope(0)).unwrap();
        let path = journal.path().to_owned();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        // Wherever the machine died in the second line, it counts as not written.
        let second = line::encode(&envelope(1)).unwrap();
        for torn in 0..second.len() {
            std::fs::write(&path, [&whole[..], &second[..torn]].concat()).unwrap();
            let (mut journal, journaled) = Journal::open(&directory).unwrap();
            assert_eq!(texts(&journaled), [0], "torn at {torn}");
            journal.append(&envelope(1)).unwrap();
            assert_eq!(texts(&read(&path).unwrap()), [0, 1], "torn at {torn}");
        }
        // Some file systems leave zeros where a write was under way.
        std::fs::write(&path, [&whole[..], &[0; 100]].concat()).unwrap();
        assert_eq!(texts(&read(&path).unwrap()), [0]);
    }

    #[test]
    fn a_damaged_line_is_named() {
        let home = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&home.path().join("runs/r1")).unwrap();
        journal.append(&envelope(0)).unwrap();
        journal.append(&envelope(1)).unwrap();
        let path = journal.path();
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, text.replacen("\"for_ms\":5", "\"for_ms\":6", 1)).unwrap();
        let error = read(path).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{}:1: the line is damaged: its checksum is not that of its content", path.display())
        );
        // A line that is gone is damage too.
        std::fs::write(path, text.lines().nth(1).unwrap().to_owned() + "\n").unwrap();
        let error = read(path).unwrap_err().to_string();
        assert_eq!(error, format!("{}:1: event 1 stands where event 0 should", path.display()));
    }
}
