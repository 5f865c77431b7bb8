//! The lines of a journal as values.

use async_nats::jetstream::kv::CreateErrorKind;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use std::{collections::BTreeMap, time::Duration};

use super::{MirrorError, REQUEST, Shared, words};
use crate::core::view::FailureKind;

/// Values asked for at once.
const AT_ONCE: usize = 16;
/// A replica that answers for the leader may lag by this much.
const LAG: Duration = Duration::from_secs(2);
/// What the value of a long line begins with; lines are JSON objects.
const LONG: u8 = b'+';

/// The value of a line that is in pieces: they are there before it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Long {
    /// Tells the pieces of one attempt from those of another.
    writer: String,
    pieces: usize,
}

impl Shared {
    /// Writes a line, without its line break, under its number; one that is there already may be no other.
    ///
    /// # Errors
    /// Another one is there, or the bucket can't be used: whether it is there now is then not known. Ask again.
    pub(super) async fn write_line(&self, run: &str, seq: u64, line: &[u8], writer: &str) -> Result<(), MirrorError> {
        let mut value = line.to_vec();
        if line.len() > self.piece {
            let pieces = line.chunks(self.piece);
            let long = Long { writer: writer.to_owned(), pieces: pieces.len() };
            for (number, piece) in pieces.enumerate() {
                let key = self.keys.piece(run, seq, writer, number);
                self.ask(self.store.put(key, piece.to_vec().into())).await?;
            }
            let json = serde_json::to_vec(&long);
            value = json.map_err(|error| self.unusable(FailureKind::Protocol, error.to_string()))?;
            value.insert(0, LONG);
        }
        let key = self.keys.line(run, seq);
        match timeout(REQUEST, self.store.create(&key, value.clone().into())).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.kind() == CreateErrorKind::AlreadyExists => {
                let there = self.ask(self.store.get(&key)).await?;
                if there.as_deref() == Some(&value[..]) {
                    // An attempt before this one arrived, and its answer did not.
                    return Ok(());
                }
                Err(MirrorError::Taken { bucket: self.bucket.clone(), run: run.to_owned(), seq })
            }
            Ok(Err(error)) => Err(self.unusable(FailureKind::Unreachable, words(&error))),
            Err(_) => Err(self.unusable(FailureKind::Timeout, "no answer in time")),
        }
    }

    /// How many events each run of the cluster has.
    pub(super) async fn runs(&self, run: &str) -> Result<BTreeMap<String, u64>, MirrorError> {
        let prefix = self.store.prefix.clone();
        let filter = format!("{prefix}{}", self.keys.lines(run));
        let mut subjects = self.ask(self.store.stream.info_with_subjects(filter)).await?;
        let mut runs: BTreeMap<String, u64> = BTreeMap::new();
        while let Some((subject, _)) = self.ask(subjects.try_next()).await? {
            let found = subject.strip_prefix(&prefix).and_then(|key| self.keys.run_and_seq(key));
            if let Some((run, seq)) = found {
                let count = runs.entry(run.to_owned()).or_default();
                *count = (*count).max(seq + 1);
            }
        }
        Ok(runs)
    }

    /// The first `count` lines of a run, with their line breaks.
    pub(super) async fn lines(&self, run: &str, count: u64) -> Result<Vec<Vec<u8>>, MirrorError> {
        let asked: Vec<_> = (0..count).map(|seq| self.line(run, seq)).collect();
        stream::iter(asked).buffered(AT_ONCE).try_collect().await
    }

    /// One line of a run, with its line break.
    pub(super) async fn line(&self, run: &str, seq: u64) -> Result<Vec<u8>, MirrorError> {
        let missing = || MirrorError::Missing { bucket: self.bucket.clone(), run: run.to_owned(), seq };
        let mut value = self.value(self.keys.line(run, seq)).await?.ok_or_else(missing)?;
        if value.first() == Some(&LONG) {
            let long: Long = serde_json::from_slice(&value[1..]).map_err(|_| missing())?;
            value.clear();
            for number in 0..long.pieces {
                let key = self.keys.piece(run, seq, &long.writer, number);
                value.extend_from_slice(&self.value(key).await?.ok_or_else(missing)?);
            }
        }
        value.push(b'\n');
        Ok(value)
    }

    /// What is known to be there may not be on every replica yet.
    async fn value(&self, key: String) -> Result<Option<Vec<u8>>, MirrorError> {
        let began = std::time::Instant::now();
        loop {
            let value = self.ask(self.store.get(&key)).await?;
            if value.is_some() || began.elapsed() >= LAG {
                return Ok(value.map(|bytes| bytes.to_vec()));
            }
            sleep(LAG / 10).await;
        }
    }
}
