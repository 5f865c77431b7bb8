//! Before the first server is touched: every host has what its turn will put in place, and it was tried there.

use std::{path::PathBuf, time::Duration};

use futures_util::{StreamExt, stream};

use super::{
    configure,
    roll::{Roller, Stop},
};
use crate::{
    core::{
        diagnosis::unit::Manager,
        event::Event,
        halt::{Cause, NotProven},
        install::{self, Install, Source, Staged},
    },
    fleet::{Content, Fleet},
};

/// 20 MB over a link of 2 Mbit/s, with some to spare.
const STAGED_WITHIN: Duration = Duration::from_secs(180);
/// Gathering the evidence, the test of the configuration among it.
const TRIED_WITHIN: Duration = Duration::from_secs(15);
/// One digest of some megabytes.
const DIGEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Hosts that are sent to at once: they share our link.
const AT_ONCE: usize = 10;

/// Stages and tries what the plan puts in place, on every host that has its turn before it. What is wrong with any of them is told
/// together, and ends the run.
pub(super) async fn all<F: Fleet>(roller: &mut Roller<'_, F>) -> Result<(), Stop> {
    configure::stage_all(roller).await?;
    let Some(install) = install::install(&roller.run.plan.steps).cloned() else { return Ok(()) };
    let (fleet, run) = (roller.fleet, roller.recorder.run().to_owned());
    let progress = roller.recorder.progress();
    let begun = progress.turn.as_ref().map(|turn| turn.host.clone());
    let hosts: Vec<String> = progress.to_come().into_iter().chain(begun.clone()).collect();
    let known = progress.staged.clone();
    let jobs: Vec<_> = hosts
        .iter()
        .map(|host| {
            let (install, run, known) = (&install, run.as_str(), known.get(host));
            let tried = begun.as_ref() != Some(host);
            async move { (host.clone(), one(fleet, install, run, host, known, tried).await) }
        })
        .collect();
    let done: Vec<_> = roller.attend(stream::iter(jobs).buffered(AT_ONCE).collect()).await?;
    let mut failed = Vec::new();
    for (host, result) in done {
        match result {
            Ok(staged) if known.get(&host) == Some(&staged) => {}
            Ok(staged) => roller.record(Event::Staged { host, staged })?,
            Err(why) => failed.push(NotProven { host, why }),
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(roller.halt_outside("", "stage", Cause::NotProven { hosts: failed }))
}

/// Stages it on one host, and tries it unless the host is in its turn already; or why it will not do.
async fn one<F: Fleet>(
    fleet: &F,
    install: &Install,
    run: &str,
    host: &str,
    known: Option<&Staged>,
    tried: bool,
) -> Result<Staged, Vec<String>> {
    let staged = match known {
        Some(staged) => staged.clone(),
        None => place_of(fleet, install, host).await.map_err(|why| vec![why])?,
    };
    let Some(sha256) = &staged.sha256 else { return Ok(staged) };
    let content = match &install.from {
        Source::Controller(path) => Content::File(PathBuf::from(path)),
        Source::Host(path) => Content::OnHost(path.clone()),
        Source::Command(_) => Content::Staged,
    };
    let limit = STAGED_WITHIN;
    fleet.stage(host, run, sha256, &content, limit).await.map_err(|failure| vec![failure.to_string()])?;
    if !tried {
        return Ok(staged);
    }
    let with = install::StandIn::new(run, Some(sha256.clone()), &staged.to, install::Role::Program);
    let archive = fleet.prove(host, std::slice::from_ref(&with), TRIED_WITHIN).await;
    let wrong = install::unproven(&archive, &with.beside(), &install.version);
    if wrong.is_empty() { Ok(staged) } else { Err(wrong) }
}

/// Where the program goes on a host, what is there, and the digest of what will be.
async fn place_of<F: Fleet>(fleet: &F, install: &Install, host: &str) -> Result<Staged, String> {
    let archive = fleet.collect(host, None, TRIED_WITHIN).await;
    let manager = archive.unit.as_ref().ok().map(|unit| unit.manager);
    if matches!(manager, Some(Manager::Docker | Manager::Podman)) {
        return Err("its program comes with its container's image: give the container another image instead".into());
    }
    let binary = archive.binary.map_err(|failure| format!("where its program is can't be told: {failure}"))?;
    let to = install.to.clone().unwrap_or(binary.path);
    if !to.starts_with('/') {
        return Err(format!("its service starts {to}, which is no path: name one with `to`"));
    }
    let sha256 = match (&install.from, &install.sha256) {
        (Source::Command(_), _) => None,
        (_, Some(sha256)) => Some(sha256.clone()),
        (Source::Host(path), None) => match fleet.digest(host, path, DIGEST_TIMEOUT).await {
            Ok(Some(sha256)) => Some(sha256),
            Ok(None) => return Err(format!("there is no {path}")),
            Err(failure) => return Err(format!("{path}: {failure}")),
        },
        (Source::Controller(path), None) => return Err(format!("the digest of {path} was not taken")),
    };
    Ok(Staged { to, sha256, before: binary.version })
}
