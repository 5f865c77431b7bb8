//! `unlock`: take the cluster's lock away from a run that will not come back.

use std::path::PathBuf;

use clap::Args;

use super::{Code, Error, hold, output};
use crate::{
    config::Inventory,
    core::lock::HostLock,
    fleet::{Fleet, live::Live},
};

/// Arguments of `unlock`.
#[derive(Debug, Args)]
pub struct UnlockArgs {
    /// The inventory file.
    #[arg(short, long, value_name = "FILE", env = "ROLLGATE_INVENTORY", default_value = "inventory.yaml")]
    inventory: PathBuf,
    /// The cluster; needed where the inventory has several.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Don't ask: take it away from this run, and from no other.
    #[arg(long, value_name = "RUN")]
    held_by: Option<String>,
}

/// Frees the lock, after the operator has typed the cluster's name.
///
/// # Errors
/// Nobody has it, it is not confirmed, or hosts could not be reached.
pub async fn run(args: UnlockArgs) -> Result<Code, Error> {
    let inventory = Inventory::load(&args.inventory)?;
    let names: Vec<String> = args.cluster.iter().cloned().collect();
    let selections = inventory.select(&names, &[])?;
    let [selection] = selections.as_slice() else {
        return Err(Error::plain(Code::Usage, "the inventory has several clusters").hint("name one with --cluster"));
    };
    let name = &selection.cluster.name;
    let fleet = Live::new(&selection.cluster).await?;
    let seen = fleet.locks(hold::TIMEOUT).await;
    for (host, lock) in &seen {
        output::note(&match lock {
            Ok(lock) => format!("{host}: {lock}{}", if lock.expired { " (expired: any run may take it)" } else { "" }),
            Err(failure) => format!("{host}: not known: {failure}"),
        });
    }
    let held = |lock: &HostLock| lock.claim.as_ref().map(|claim| claim.run.clone());
    let mut runs: Vec<String> = seen.iter().filter_map(|(_, lock)| held(lock.as_ref().ok()?)).collect();
    runs.sort();
    runs.dedup();
    let Some(run) = args.held_by.clone().or_else(|| runs.first().cloned()).filter(|run| runs.contains(run)) else {
        return match &args.held_by {
            Some(run) => Err(Error::plain(Code::Refused, format!("the lock is not held by run {run}"))),
            None => {
                output::note("nobody has the lock");
                Ok(Code::Done)
            }
        };
    };
    confirm(&args, name, &run)?;
    let failed = fleet.break_lock(&run, hold::TIMEOUT).await;
    if let Some((host, failure)) = failed.first() {
        let text = format!("{} of {} hosts could not be asked; {host}: {failure}", failed.len(), seen.len());
        return Err(Error::plain(Code::Unreachable, text));
    }
    output::note(&format!("the lock of {name} is free; whatever run {run} still asks for is refused by the hosts"));
    Ok(Code::Done)
}

fn confirm(args: &UnlockArgs, name: &str, run: &str) -> Result<(), Error> {
    if args.held_by.is_some() {
        return Ok(());
    }
    if !output::can_ask() {
        let text = "there is no terminal to ask on";
        return Err(Error::plain(Code::Refused, text).hint(format!("if run {run} is dead: --held-by {run}")));
    }
    let question = format!("if run {run} is dead, type the cluster's name to free its lock");
    let typed: String = dialoguer::Input::new()
        .with_prompt(question)
        .allow_empty(true)
        .interact_text()
        .map_err(|error| Error::plain(Code::Internal, error.to_string()))?;
    if typed.trim() == name { Ok(()) } else { Err(Error::plain(Code::Refused, "not confirmed: nothing was changed")) }
}
