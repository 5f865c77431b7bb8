//! What a run leaves on disk: its journal, one JSON line an event, each synced before the effect that it announces.

mod lock;
mod state;

pub use lock::{Lock, LockError};
pub use state::{StateDir, run_id};

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::core::event::Envelope;

/// The name of the journal within a run's directory.
pub const FILE_NAME: &str = "journal.ndjson";

/// Where events are kept. An event counts as recorded when this returns.
pub trait Sink: Send {
    /// Keeps one event, durably.
    ///
    /// # Errors
    /// It could not be kept; the run must not go on to the effect that it announces.
    fn append(&mut self, envelope: &Envelope) -> io::Result<()>;
}

/// The journal of one run.
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Creates the journal of a new run in `directory`, which must not exist. Readable by nobody else.
    ///
    /// # Errors
    /// The directory or the file can't be created or made durable.
    pub fn create(directory: &Path) -> io::Result<Self> {
        if let Some(parent) = directory.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        DirBuilder::new().mode(0o700).create(directory)?;
        let path = directory.join(FILE_NAME);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        // The names must survive a crash too, not only the content.
        File::open(directory)?.sync_all()?;
        if let Some(parent) = directory.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { file, path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a journal. A last line that was torn by a crash is left out: what it announced was not begun.
    ///
    /// # Errors
    /// The file can't be read, or a line in it is not an event; the error names the line.
    pub fn read(path: &Path) -> io::Result<Vec<Envelope>> {
        let text = std::fs::read_to_string(path)?;
        let mut events = Vec::new();
        let torn = !text.ends_with('\n');
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            match serde_json::from_str(line) {
                Ok(envelope) => events.push(envelope),
                Err(_) if torn && index + 1 == lines.len() => {}
                Err(error) => {
                    let text = format!("{}:{}: {error}", path.display(), index + 1);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
            }
        }
        Ok(events)
    }
}

impl Sink for Journal {
    fn append(&mut self, envelope: &Envelope) -> io::Result<()> {
        let mut line = serde_json::to_vec(envelope)?;
        line.push(b'\n');
        // One write a line: a reader never sees half of one, unless the machine died in it.
        self.file.write_all(&line)?;
        self.file.sync_data()
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

    #[test]
    fn what_was_written_is_read() {
        let home = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&home.path().join("runs/r1")).unwrap();
        journal.append(&envelope(0)).unwrap();
        journal.append(&envelope(1)).unwrap();
        assert_eq!(Journal::read(journal.path()).unwrap(), [envelope(0), envelope(1)]);
        let text = std::fs::read_to_string(journal.path()).unwrap();
        assert_eq!(
            text.lines().next().unwrap(),
            r#"{"v":2,"run":"r1","seq":0,"at":"2026-11-22T12:00:00Z","event":"paused","for_ms":5}"#
        );
    }

    #[test]
    fn a_run_has_one_journal() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("runs/r1");
        Journal::create(&directory).unwrap();
        assert!(Journal::create(&directory).is_err());
    }

    #[test]
    fn a_torn_last_line_is_left_out_but_a_damaged_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&home.path().join("runs/r1")).unwrap();
        journal.append(&envelope(0)).unwrap();
        let path = journal.path().to_owned();
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{}", &whole[..20])).unwrap();
        assert_eq!(Journal::read(&path).unwrap(), [envelope(0)]);
        std::fs::write(&path, format!("{}\n{whole}", &whole[..20])).unwrap();
        assert!(Journal::read(&path).unwrap_err().to_string().contains("journal.ndjson:1:"));
    }
}
