//! The bucket of an inventory, as the verbs use it.

use std::path::Path;

use super::{
    Code, Error,
    hold::Wait,
    open::{self, Open},
    output,
};
use crate::{
    config::{Inventory, inventory::Cluster},
    core::{lock::Claim, view::View},
    journal::{FILE_NAME, Journal, Journaled, Sink, StateDir, read},
    mirror::{BucketRun, Mirror, MirrorError},
};

/// The bucket as the runs of one cluster use it; none where the inventory names none.
///
/// # Errors
/// It can't be reached or used.
pub async fn open(inventory: &Inventory, cluster: &Cluster) -> Result<Option<Mirror>, Error> {
    match &inventory.state {
        None => Ok(None),
        Some(kv) => Ok(Some(Mirror::open(kv, &super::hold::key(cluster)).await?)),
    }
}

/// Takes the lease.
///
/// # Errors
/// Another run has it, or the bucket can't be used.
pub async fn take(mirror: &Mirror, claim: &Claim, wait: Wait) -> Result<(), Error> {
    mirror.take(claim, wait.lock_wait, output::note).await?;
    Ok(())
}

/// Brings the unfinished runs of a cluster here, and what was left unfinished here there. The caller has the lease.
///
/// # Errors
/// A journal can't be used, or the bucket can't.
pub async fn fetch_open(mirror: &Mirror, state: &StateDir, cluster: &Cluster) -> Result<(), Error> {
    let mut here = open::of_cluster(state, cluster)?;
    // One that can't be read refuses the roll anyway, and says how to close it.
    here.retain(|run| run.summary.is_ok());
    let mut ids: Vec<String> = here.into_iter().map(|run| run.id).collect();
    for run in mirror.runs().await?.into_iter().filter(|run| !run.closed()) {
        if state.is_marked_closed(&run.id) {
            continue;
        }
        if let Err(error) = run.summary {
            let hint = format!("close it: rollgate abort {}", run.id);
            return Err(Error::from(error).hint(hint));
        }
        if !ids.contains(&run.id) {
            ids.push(run.id);
        }
    }
    for id in ids {
        mirror.sync(state, &id).await?;
    }
    Ok(())
}

/// Refuses a bucket on the cluster itself.
///
/// # Errors
/// It is there.
pub fn must_be_elsewhere(mirror: Option<&Mirror>, view: &View) -> Result<(), Error> {
    mirror.map_or(Ok(()), |mirror| mirror.must_be_elsewhere(view)).map_err(Error::from)
}

/// Where a run with so many events records: in its file, and in the bucket where there is one.
pub fn sink(mirror: Option<&Mirror>, journal: Journal, run: &str, events: u64) -> Box<dyn Sink> {
    match mirror {
        Some(mirror) => Box::new(mirror.sink(journal, run, events)),
        None => Box::new(journal),
    }
}

/// What the buckets know of the runs of an inventory's clusters.
pub struct Buckets {
    known: Vec<(String, Mirror, Vec<BucketRun>)>,
}

impl Buckets {
    /// What is known where no bucket is asked.
    pub fn none() -> Self {
        Self { known: Vec::new() }
    }

    /// Asks for all clusters. Changes nothing.
    ///
    /// # Errors
    /// The bucket can't be reached or used.
    pub async fn look(inventory: &Inventory) -> Result<Self, Error> {
        let mut known = Vec::new();
        for cluster in &inventory.clusters {
            if let Some(mirror) = open(inventory, cluster).await? {
                let runs = mirror.runs().await?;
                known.push((cluster.name.clone(), mirror, runs));
            }
        }
        Ok(Self { known })
    }

    /// All runs, with their clusters.
    pub fn runs(&self) -> impl Iterator<Item = (&str, &BucketRun)> {
        self.known.iter().flat_map(|(cluster, _, runs)| runs.iter().map(move |run| (cluster.as_str(), run)))
    }

    /// One run, with its cluster.
    pub fn run(&self, id: &str) -> Option<(&str, &BucketRun)> {
        self.runs().find(|(_, run)| run.id == id)
    }

    /// The connection for a cluster.
    pub fn mirror(&mut self, cluster: &str) -> Option<Mirror> {
        let place = self.known.iter().position(|(name, _, _)| name == cluster)?;
        Some(self.known.swap_remove(place).1)
    }

    /// The journal of a run.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn journal(&self, id: &str) -> Result<Option<Journaled>, MirrorError> {
        for (_, mirror, runs) in &self.known {
            if runs.iter().any(|run| run.id == id) {
                return mirror.journal(id).await;
            }
        }
        Ok(None)
    }
}

/// Closes a run in the bucket and here, whatever state its journals are in; whether its file can be closed as usual.
///
/// # Errors
/// The bucket can't be used.
pub async fn prepare_close(mirror: Option<&Mirror>, state: &StateDir, run: &Open) -> Result<bool, Error> {
    let Some(mirror) = mirror else { return Ok(true) };
    match mirror.sync(state, &run.id).await {
        Ok(()) => Ok(true),
        Err(error @ (MirrorError::Unusable { .. } | MirrorError::Here { .. })) => Err(error.into()),
        Err(error) => {
            output::note(&format!("{error}: it is kept as it is, and counts as closed"));
            mirror.mark_closed(&run.id).await?;
            Ok(state.run(&run.id).is_dir())
        }
    }
}

/// The buckets of an inventory that may be named; where none is, nothing is asked.
///
/// # Errors
/// The inventory has mistakes, or a bucket can't be used.
pub async fn named(inventory: Option<&Path>) -> Result<Buckets, Error> {
    match inventory {
        Some(path) => Buckets::look(&Inventory::load(path)?).await,
        None => Ok(Buckets::none()),
    }
}

/// The journal of a run as far as it is known: the one here, or the one in the bucket where that tells more.
///
/// # Errors
/// It can't be read.
pub async fn longer(state: &StateDir, buckets: &Buckets, id: &str) -> Result<Journaled, Error> {
    let path = state.run(id).join(FILE_NAME);
    let there = match buckets.run(id) {
        Some((_, run)) if path.exists() => {
            let here = read(&path)?;
            if run.events <= here.events.len() as u64 {
                return Ok(here);
            }
            buckets.journal(id).await?
        }
        Some(_) => buckets.journal(id).await?,
        None => None,
    };
    there.map_or_else(|| Ok(read(&path)?), Ok)
}

impl From<MirrorError> for Error {
    /// The bucket comes before the hosts: nothing was touched.
    fn from(error: MirrorError) -> Self {
        let text = error.to_string();
        match &error {
            MirrorError::Unusable { failure, .. } if failure.kind.is_unreachable() => {
                Self::plain(Code::Unreachable, text)
                    .hint("the inventory wants journals in it (`state:`); nothing was touched")
            }
            MirrorError::Held { .. } => Self::plain(Code::Locked, text).hint("--lock-wait 5m waits for the other one"),
            MirrorError::Apart { path, .. } => {
                let directory = path.parent().unwrap_or(path).display();
                let hint = format!(
                    "the bucket's is what other runners went on with: move {directory} away to believe it (`rollgate show` tells both)"
                );
                Self::plain(Code::Refused, text).hint(hint)
            }
            _ => Self::plain(Code::Refused, text),
        }
    }
}
