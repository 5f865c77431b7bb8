//! `abort`: close a run that was left.

use std::path::PathBuf;

use clap::Args;

use super::{
    Code, Error,
    hold::{self, Wait},
    open::{self, Open},
    output,
};
use crate::{
    config::Inventory,
    fleet::{Fleet, live::Live},
    journal::{FILE_NAME, StateDir, Summary, summary},
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
    let id = open::choose(&state, &inventory, Some(&args.run))?;
    let run = Open { summary: summary(&state.run(&id).join(FILE_NAME)), id };
    if state.is_marked_closed(&run.id) || run.summary.as_ref().is_ok_and(Summary::closed) {
        return Err(Error::plain(Code::Usage, format!("run {} is over already", run.id)));
    }
    let name = run.summary.as_ref().ok().and_then(Summary::cluster).map(|(name, _)| name.to_owned());
    // Of a journal that can't be read the cluster is not known: its traces are looked for everywhere.
    let clusters = match &name {
        Some(name) => vec![open::cluster(&inventory, name)?],
        None => inventory.clusters.iter().collect(),
    };
    let mut left = Vec::new();
    for cluster in clusters {
        let reason = format!("abort of {}", cluster.name);
        let lock = hold::here(&state, cluster, &run.id, &reason, args.wait).await?;
        let fleet = Live::new(cluster).await?;
        let claim = hold::claim(&lock, &run.id, &reason);
        hold::hosts(&fleet, &claim, args.wait).await.map_err(|refusal| hold::refused(&refusal, &cluster.name))?;
        let closed = if state.is_marked_closed(&run.id) || over(&state, &run.id) {
            Ok(Vec::new())
        } else {
            run.close(&state, &fleet).await
        };
        fleet.release(hold::TIMEOUT).await;
        left.extend(closed?);
    }
    output::note(&format!("run {} is closed; see how the cluster is: rollgate status", run.id));
    for line in &left {
        output::note(&format!("its records could not be removed from {line}"));
    }
    Ok(if left.is_empty() { Code::Done } else { Code::Unreachable })
}

fn over(state: &StateDir, id: &str) -> bool {
    summary(&state.run(id).join(FILE_NAME)).is_ok_and(|summary| summary.closed())
}
