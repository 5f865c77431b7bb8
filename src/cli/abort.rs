//! `abort`: close a run that was left.

use std::path::PathBuf;

use clap::Args;

use super::{
    Code, Error,
    hold::{self, Wait},
    mirror::{self, Buckets},
    open::{self, Open},
    output,
};
use crate::{
    config::{Inventory, inventory::Cluster},
    core::lock::Claim,
    fleet::{Fleet, live::Live},
    journal::{FILE_NAME, StateDir, Summary, summary},
    mirror::Mirror,
};

/// Arguments of `abort`.
#[derive(Debug, Args)]
pub struct AbortArgs {
    /// The run (`rollgate history`).
    #[arg(value_name = "RUN")]
    run: String,
    /// The inventory file.
    #[arg(short, long, value_name = "FILE", env = "ROLLGATE_INVENTORY", default_value = "inventory.yaml")]
    inventory: PathBuf,
    #[command(flatten)]
    wait: Wait,
}

/// Closes a run.
///
/// # Errors
/// There is no such run, it is over, or it is under way.
pub async fn run(args: AbortArgs) -> Result<Code, Error> {
    let inventory = Inventory::load(&args.inventory)?;
    let state = StateDir::of_user().map_err(Error::internal)?;
    let mut buckets = Buckets::look(&inventory).await?;
    let id = open::choose(&state, &inventory, &buckets, Some(&args.run))?;
    let run = Open { summary: summary(&state.run(&id).join(FILE_NAME)), id };
    let bucket = buckets.run(&run.id).map(|(cluster, run)| (cluster.to_owned(), run.closed()));
    let over_there = bucket.as_ref().is_none_or(|(_, closed)| *closed);
    let closed_here = run.summary.as_ref().is_ok_and(Summary::closed);
    if (state.is_marked_closed(&run.id) || closed_here || !state.run(&run.id).is_dir()) && over_there {
        return Err(Error::plain(Code::Usage, format!("run {} is over already", run.id)));
    }
    let name = run.summary.as_ref().ok().and_then(Summary::cluster).map(|(name, _)| name.to_owned());
    // Of a journal that can't be read the cluster is not known: its traces are looked for everywhere.
    let clusters = match name.or(bucket.map(|(cluster, _)| cluster)) {
        Some(name) => vec![open::cluster(&inventory, &name)?],
        None => inventory.clusters.iter().collect(),
    };
    let mut left = Vec::new();
    for cluster in clusters {
        let reason = format!("abort of {}", cluster.name);
        let lock = hold::here(&state, cluster, &run.id, &reason, args.wait).await?;
        let claim = hold::claim(&lock, &run.id, &reason);
        let mirror = buckets.mirror(&cluster.name);
        if let Some(mirror) = &mirror {
            mirror::take(mirror, &claim, args.wait).await?;
        }
        let closed = close(&args, &state, cluster, &claim, mirror.as_ref(), &run).await;
        if let Some(mirror) = &mirror {
            mirror.give_back().await;
        }
        left.extend(closed?);
    }
    output::note(&format!("run {} is closed; see how the cluster is: rollgate status", run.id));
    for line in &left {
        output::note(&format!("its records could not be removed from {line}"));
    }
    Ok(if left.is_empty() { Code::Done } else { Code::Unreachable })
}

async fn close(
    args: &AbortArgs,
    state: &StateDir,
    cluster: &Cluster,
    claim: &Claim,
    mirror: Option<&Mirror>,
    run: &Open,
) -> Result<Vec<String>, Error> {
    let fleet = Live::new(cluster).await?;
    hold::hosts(&fleet, claim, args.wait).await.map_err(|refusal| hold::refused(&refusal, &cluster.name))?;
    let closed = if mirror.is_none() && (state.is_marked_closed(&run.id) || over(state, &run.id)) {
        Ok(Vec::new())
    } else {
        run.close(state, &fleet, mirror).await
    };
    fleet.release(hold::TIMEOUT).await;
    closed
}

fn over(state: &StateDir, id: &str) -> bool {
    summary(&state.run(id).join(FILE_NAME)).is_ok_and(|summary| summary.closed())
}
