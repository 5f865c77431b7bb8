//! The journal here and the one in the bucket brought together, before a run is gone on with.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Mirror, MirrorError, Shared};
use crate::{
    core::event::Envelope,
    journal::{FILE_NAME, Journal, Journaled, StateDir, Summary, parse},
};

/// Runs whose ends are asked for at once.
const AT_ONCE: usize = 16;

/// A run that the bucket knows.
#[derive(Debug)]
pub struct BucketRun {
    /// Its id.
    pub id: String,
    /// How many events it has there.
    pub events: u64,
    /// Its first and last event there; or why they can't be read.
    pub summary: Result<Summary, MirrorError>,
    /// It was closed although it can't be read.
    pub marked_closed: bool,
}

impl BucketRun {
    /// Whether nothing can follow.
    pub fn closed(&self) -> bool {
        self.marked_closed || self.summary.as_ref().is_ok_and(Summary::closed)
    }
}

/// How two journals of one run stand to each other.
#[derive(Debug, PartialEq, Eq)]
enum Balance {
    Same,
    /// The file lacks the last lines, from that one on.
    FileBehind(usize),
    /// The bucket does.
    BucketBehind(usize),
    /// They differ in that line.
    Apart(usize),
}

fn balance(file: &[Vec<u8>], bucket: &[Vec<u8>]) -> Balance {
    if let Some(differs) = file.iter().zip(bucket).position(|(ours, theirs)| ours != theirs) {
        return Balance::Apart(differs);
    }
    match file.len().cmp(&bucket.len()) {
        std::cmp::Ordering::Equal => Balance::Same,
        std::cmp::Ordering::Less => Balance::FileBehind(file.len()),
        std::cmp::Ordering::Greater => Balance::BucketBehind(bucket.len()),
    }
}

impl Mirror {
    /// All runs of the cluster that the bucket knows, the oldest first.
    ///
    /// # Errors
    /// The bucket can't be used.
    pub async fn runs(&self) -> Result<Vec<BucketRun>, MirrorError> {
        let runs = self.shared.runs("*").await?;
        let asked: Vec<_> = runs.into_iter().map(|(id, events)| self.bucket_run(id, events)).collect();
        stream::iter(asked).buffered(AT_ONCE).try_collect().await
    }

    async fn bucket_run(&self, id: String, events: u64) -> Result<BucketRun, MirrorError> {
        let summary = self.shared.summary(&id, events).await;
        if let Err(error @ MirrorError::Unusable { .. }) = summary {
            return Err(error);
        }
        // Only of what can't be read it matters.
        let marked_closed = summary.is_err() && self.shared.is_marked_closed(&id).await?;
        Ok(BucketRun { id, events, summary, marked_closed })
    }

    /// The whole journal of a run in the bucket; none where it does not know the run.
    ///
    /// # Errors
    /// It can't be read, or is damaged.
    pub async fn journal(&self, run: &str) -> Result<Option<Journaled>, MirrorError> {
        let lines = self.lines(run).await?;
        if lines.is_empty() { Ok(None) } else { Ok(Some(parse(&self.shared.place(run), &lines.concat())?)) }
    }

    async fn lines(&self, run: &str) -> Result<Vec<Vec<u8>>, MirrorError> {
        let count = self.shared.runs(run).await?.get(run).copied().unwrap_or_default();
        self.shared.lines(run, count).await
    }

    /// Makes the journal in the state directory and the one in the bucket one: the longer one whose beginning is the other.
    /// The caller has the lease.
    ///
    /// # Errors
    /// They tell different stories, one is damaged, or one can't be written.
    pub async fn sync(&self, state: &StateDir, run: &str) -> Result<(), MirrorError> {
        let directory = state.run(run);
        let path = directory.join(FILE_NAME);
        let here = |path: &Path, cause| MirrorError::Here { path: path.to_owned(), cause };
        let file = match fs::read(&path) {
            Ok(bytes) => whole_lines(&bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(here(&path, error)),
        };
        let bucket = self.lines(run).await?;
        match balance(&file, &bucket) {
            Balance::Same => Ok(()),
            Balance::Apart(line) => {
                let (here, there) = (file.len(), bucket.len());
                let (bucket, run, seq) = (self.shared.bucket.clone(), run.to_owned(), line as u64);
                Err(MirrorError::Apart { bucket, run, path, seq, here, there })
            }
            Balance::FileBehind(from) => {
                parse(&self.shared.place(run), &bucket.concat())?;
                let mut journal = if path.exists() {
                    Journal::open(&directory)?.0
                } else {
                    if directory.is_dir() {
                        // Of a controller that died before its first line.
                        fs::remove_dir_all(&directory).map_err(|error| here(&directory, error))?;
                    }
                    Journal::create(&directory).map_err(|error| here(&directory, error))?
                };
                journal.append_lines(&bucket[from..]).map_err(|error| here(&path, error))
            }
            Balance::BucketBehind(from) => {
                parse(&path, &file.concat())?;
                let writer = format!("{:016x}", fastrand::u64(..));
                for (seq, line) in file.iter().enumerate().skip(from) {
                    let line = line.strip_suffix(b"\n").unwrap_or(line);
                    self.shared.write_line(run, seq as u64, line, &writer).await?;
                }
                Ok(())
            }
        }
    }

    /// Closes a run whose journal in the bucket can't be read, without touching it.
    ///
    /// # Errors
    /// The mark can't be made.
    pub async fn mark_closed(&self, run: &str) -> Result<(), MirrorError> {
        self.shared.ask(self.shared.store.put(self.shared.keys.closed(run), "".into())).await.map(drop)
    }
}

impl Shared {
    /// What errors call a journal here.
    fn place(&self, run: &str) -> PathBuf {
        PathBuf::from(format!("bucket {}, run {run}", self.bucket))
    }

    async fn summary(&self, run: &str, events: u64) -> Result<Summary, MirrorError> {
        let first = self.event(run, 0).await?;
        let last = self.event(run, events.saturating_sub(1)).await?;
        Ok(Summary { first, last })
    }

    async fn event(&self, run: &str, seq: u64) -> Result<Envelope, MirrorError> {
        let line = self.line(run, seq).await?;
        let text = String::from_utf8_lossy(&line);
        let number = usize::try_from(seq).unwrap_or(usize::MAX);
        crate::journal::decode(text.trim_end()).map_err(|cause| {
            let (path, line) = (self.place(run), number.saturating_add(1));
            crate::journal::JournalError::Line { path, line, cause }.into()
        })
    }

    async fn is_marked_closed(&self, run: &str) -> Result<bool, MirrorError> {
        Ok(self.ask(self.store.get(self.keys.closed(run))).await?.is_some())
    }
}

/// The lines with their line breaks; a torn last one counts as not written.
fn whole_lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_journal_counts_where_the_other_is_its_beginning() {
        let check = |file: &str, bucket: &str, expected: Balance| {
            let (ours, theirs) = (whole_lines(file.as_bytes()), whole_lines(bucket.as_bytes()));
            assert_eq!(balance(&ours, &theirs), expected, "{file:?} {bucket:?}");
        };
        check("", "", Balance::Same);
        check("a\nb\n", "a\nb\n", Balance::Same);
        check("", "a\nb\n", Balance::FileBehind(0));
        check("a\nb", "a\nb\n", Balance::FileBehind(1));
        check("a\nb\nc\n", "a\n", Balance::BucketBehind(1));
        check("a\nb\n", "", Balance::BucketBehind(0));
        check("a\nb\n", "a\nc\n", Balance::Apart(1));
        check("a\nb\n", "x\n", Balance::Apart(0));
    }
}
