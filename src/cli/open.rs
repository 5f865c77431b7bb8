//! Runs that were left, and may be gone on with or closed.

use std::path::Path;

use jiff::Timestamp;

use super::{Code, Error, args::shell_word, hold, mirror, mirror::Buckets, output};
use crate::{
    config::{Inventory, inventory::Cluster},
    core::{
        event::{Envelope, Event, SCHEMA},
        progress::Progress,
        view::Failure,
    },
    fleet::{Fleet, live::Live},
    journal::{FILE_NAME, Journal, JournalError, Journaled, Sink, StateDir, Strain, Summary, summary},
    mirror::{BucketRun, Mirror},
};

/// A run without an end.
#[derive(Debug)]
pub struct Open {
    /// Its id.
    pub id: String,
    /// The first and last of its events; or why they can't be read.
    pub summary: Result<Summary, JournalError>,
}

impl Open {
    /// Why a new run is refused.
    pub fn refuses(&self, inventory: &Path) -> Error {
        let abort = abort(inventory, &self.id);
        match &self.summary {
            Ok(summary) => {
                let text = format!("run {} of this cluster {} and was never ended", self.id, left(&summary.last.event));
                let hint = format!("go on with it: {}\n  or close it: {abort}", go_on(inventory, &self.id));
                Error::plain(Code::Refused, text).hint(hint)
            }
            Err(error) => {
                let hint = format!("it may be of this cluster, and unfinished; close it: {abort}");
                Error::plain(Code::Refused, error.to_string()).hint(hint)
            }
        }
    }

    /// Ends the run for good, and removes its traces from the hosts; the hosts where that failed. The caller has the lock.
    ///
    /// # Errors
    /// The journal can't be written.
    pub async fn close(&self, state: &StateDir, fleet: &Live, mirror: Option<&Mirror>) -> Result<Vec<String>, Error> {
        let directory = state.run(&self.id);
        let here = mirror::prepare_close(mirror, state, self).await?;
        match Journal::open(&directory) {
            _ if !here => {}
            Ok((journal, journaled)) => {
                let mut sink = mirror::sink(mirror, journal, &self.id, journaled.events.len() as u64);
                end(sink.as_mut(), &self.id, &journaled)?;
                if let Some(Strain::Mirror(why)) = sink.strained() {
                    output::note(&format!("run {} is closed here, and not in the bucket: {why}", self.id));
                }
            }
            Err(error @ JournalError::Io { .. }) => return Err(error.into()),
            // What is damaged is kept as it is, for whoever wants to read it.
            Err(_) => state.mark_closed(&self.id).map_err(|error| {
                Error::internal(error).with(Code::Refused).hint(format!("in {}", directory.display()))
            })?,
        }
        let failed = clear(fleet, state, &self.id).await;
        Ok(failed.into_iter().map(|(host, failure)| format!("{host}: {failure}")).collect())
    }
}

/// Removes a run's traces from the hosts, and notes it where nothing is left there; the hosts where that failed.
pub async fn clear(fleet: &Live, state: &StateDir, id: &str) -> Vec<(String, Failure)> {
    let failed = fleet.clear(id, hold::TIMEOUT).await;
    if failed.is_empty() {
        // Without the mark it is done again after the next run, which harms nothing; a run of a bucket has no directory here.
        let _ = state.mark_cleared(id);
    }
    failed
}

/// Appends the end.
fn end(journal: &mut dyn Sink, id: &str, journaled: &Journaled) -> Result<(), Error> {
    let progress = fold(&journaled.events);
    if progress.as_ref().is_ok_and(Progress::closed) {
        // Another runner did, as the bucket has told by now.
        return Ok(());
    }
    let (done, untouched, host) = match &progress {
        Ok(state) => (state.done.clone(), state.untouched(), state.turn.as_ref().map(|turn| turn.host.clone())),
        Err(_) => (Vec::new(), Vec::new(), None),
    };
    let event = Event::Aborted { host, done, untouched };
    if let Ok(state) = &progress {
        state.legal(&event).map_err(Error::internal)?;
    }
    let seq = journaled.events.len() as u64;
    let envelope = Envelope { v: SCHEMA, run: id.to_owned(), seq, at: Timestamp::now(), event };
    journal.append(&envelope).map_err(|error| Error::internal(error).with(Code::Refused))
}

/// The state that a journal folds to.
///
/// # Errors
/// Its events can't follow each other.
pub fn fold(events: &[Envelope]) -> Result<Progress, Error> {
    Progress::fold(events.iter().map(|envelope| &envelope.event))
        .map_err(|illegal| Error::plain(Code::Refused, format!("the journal is damaged: {illegal}")))
}

/// How a run was left, in words.
pub fn left(last: &Event) -> &'static str {
    match last {
        Event::Halted { .. } => "halted",
        Event::Interrupted { .. } => "was interrupted",
        _ => "was left without an end (its controller died, or is still at work elsewhere)",
    }
}

/// All runs without an end, the oldest first.
///
/// # Errors
/// The state directory can't be read.
pub fn all(state: &StateDir) -> Result<Vec<Open>, Error> {
    let ids = state.runs().map_err(|error| Error::internal(error).with(Code::Refused))?;
    let mut open = Vec::new();
    for id in ids.into_iter().filter(|id| !state.is_marked_closed(id)) {
        match summary(&state.run(&id).join(FILE_NAME)) {
            Ok(summary) if summary.closed() => {}
            // Its controller died, or found no room, before anything was announced.
            Err(JournalError::Empty { .. }) => {}
            Err(JournalError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {}
            summary => open.push(Open { id, summary }),
        }
    }
    Ok(open)
}

/// Those of one cluster, and those of which it can't be told.
///
/// # Errors
/// As [`all`].
pub fn of_cluster(state: &StateDir, cluster: &Cluster) -> Result<Vec<Open>, Error> {
    let mut open = all(state)?;
    open.retain(|run| match run.summary.as_ref().ok().and_then(Summary::cluster) {
        // Version 1 had no keys.
        Some((name, "")) => name == cluster.name,
        Some((_, key)) => key == hold::key(cluster),
        None => true,
    });
    open.retain(|run| !only_looks(&run.summary));
    Ok(open)
}

/// The ids of a cluster's runs that were left, here or in the bucket, and of those of which it can't be told; the oldest first.
///
/// # Errors
/// The state directory can't be read.
pub fn ids(state: &StateDir, cluster: &Cluster, buckets: &Buckets) -> Result<Vec<String>, Error> {
    let mut ids: Vec<String> = of_cluster(state, cluster)?.into_iter().map(|run| run.id).collect();
    // Another runner may have ended what was left here.
    ids.retain(|id| buckets.run(id).is_none_or(|(_, run)| !run.closed()));
    let there = |(name, run): &(&str, &BucketRun)| {
        *name == cluster.name && !run.closed() && !state.is_marked_closed(&run.id) && !only_looks(&run.summary)
    };
    ids.extend(buckets.runs().filter(there).map(|(_, run)| run.id.clone()));
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// The run that is meant: the named one, or the only one of the inventory's clusters that was left, here or in the bucket.
///
/// # Errors
/// There is none, or more than one.
pub fn choose(
    state: &StateDir,
    inventory: &Inventory,
    buckets: &Buckets,
    named: Option<&str>,
) -> Result<String, Error> {
    if let Some(id) = named {
        let plain = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !plain || (!state.run(id).is_dir() && buckets.run(id).is_none()) {
            let text = format!("there is no run {id} in {}", state.run("").display());
            return Err(Error::plain(Code::Usage, text).hint("see: rollgate history"));
        }
        return Ok(id.to_owned());
    }
    let mut ids: Vec<String> = Vec::new();
    for cluster in &inventory.clusters {
        ids.extend(self::ids(state, cluster, buckets)?);
    }
    ids.sort();
    ids.dedup();
    match ids.as_slice() {
        [] => {
            Err(Error::plain(Code::Usage, "no run of this inventory was left unfinished").hint("see: rollgate history"))
        }
        [only] => Ok(only.clone()),
        several => {
            Err(Error::plain(Code::Usage, format!("several runs were left: {}", several.join(", "))).hint("name one"))
        }
    }
}

/// A run that changes nothing left nothing behind, and is in nobody's way.
fn only_looks<E>(summary: &Result<Summary, E>) -> bool {
    let looks = |event: &Event| matches!(event, Event::RunStarted { plan, .. } if plan.only_looks());
    summary.as_ref().is_ok_and(|summary| looks(&summary.first.event))
}

/// The command line that goes on with a run.
pub fn go_on(inventory: &Path, id: &str) -> String {
    format!("rollgate resume -i {} {id}", shell_word(&inventory.to_string_lossy()))
}

/// The command line that puts back the programs that a run has replaced.
pub fn back(inventory: &Path, id: &str) -> String {
    format!("rollgate rollback -i {} {id}", shell_word(&inventory.to_string_lossy()))
}

/// The command line that tells a run.
pub fn show(inventory: &Path, id: &str) -> String {
    format!("rollgate show -i {} {id}", shell_word(&inventory.to_string_lossy()))
}

/// The command line that closes a run.
pub fn abort(inventory: &Path, id: &str) -> String {
    format!("rollgate abort -i {} {id}", shell_word(&inventory.to_string_lossy()))
}

/// The cluster of a run in the inventory of today.
///
/// # Errors
/// It is not there any more.
pub fn cluster<'a>(inventory: &'a Inventory, name: &str) -> Result<&'a Cluster, Error> {
    inventory.clusters.iter().find(|cluster| cluster.name == name).ok_or_else(|| {
        let text = format!("the run's cluster {name} is not in {}", inventory.path.display());
        Error::plain(Code::Usage, text).hint("name its inventory with -i")
    })
}
