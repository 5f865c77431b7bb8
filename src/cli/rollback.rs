//! `rollback`: put back what an upgrade or a configure replaced, one server at a time; after a halt by the playbook's own wish, too.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::Timestamp;

use super::{
    Code, Error,
    args::{objections, shell_word},
    hold::{self, Wait},
    mirror::{self, Buckets},
    open::{self, Open},
    output, plan,
    roll::{self, Stream},
};
use crate::{
    config::{
        Inventory,
        inventory::{Cluster, Selection},
    },
    core::{
        configure,
        event::{Envelope, Event},
        install::{self, KeptProgram, PutBack},
        lock::Claim,
        playbook::{AfterFailure, Policy},
        progress::Progress,
    },
    fleet::{Fleet, live::Live},
    journal::{FILE_NAME, Journal, StateDir, read, run_id, summary},
    mirror::Mirror,
    run::{Recorder, Run, configure::Contents},
};

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The run that replaced it (`rollgate history`).
    #[arg(value_name = "RUN")]
    run: String,
    /// Also on the servers that it has done; by default only on the one that was left in its turn.
    #[arg(long)]
    all: bool,
    /// The inventory file.
    #[arg(short, long, value_name = "FILE", env = "ROLLGATE_INVENTORY", default_value = "inventory.yaml")]
    inventory: PathBuf,
    /// Consent to an objection, by the name that the plan shows; may be repeated.
    #[arg(long, value_name = "OBJECTION", value_parser = clap::builder::PossibleValuesParser::new(objections()))]
    allow: Vec<String>,
    /// Don't ask. Without a terminal a change is refused unless this is given.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    wait: Wait,
    /// The form of what is told on the way.
    #[arg(short, long, value_enum, default_value_t)]
    output: Stream,
}

/// Puts back what a run replaced, and closes that run.
///
/// # Errors
/// The run replaced nothing, or the lock can't be had.
pub async fn run(args: Rollback) -> Result<Code, Error> {
    let inventory = Inventory::load(&args.inventory)?;
    let state = StateDir::of_user().map_err(Error::internal)?;
    let mut buckets = Buckets::look(&inventory).await?;
    let old = open::choose(&state, &inventory, &buckets, Some(&args.run))?;
    let name = cluster_of(&state, &buckets, &old).await?;
    let cluster = open::cluster(&inventory, &name)?;
    let id = run_id(Timestamp::now(), RandomState::new().hash_one(&name));
    let reason = format!("rollback of {name}");
    let lock = hold::here(&state, cluster, &id, &reason, args.wait).await?;
    let claim = hold::claim(&lock, &id, &reason);
    let mirror = buckets.mirror(&name);
    if let Some(mirror) = &mirror {
        mirror::take(mirror, &claim, args.wait).await?;
    }
    let asked =
        Asked { args: &args, inventory: &inventory, cluster, state: &state, mirror: mirror.as_ref(), old: &old };
    let code = asked.carry_out(id, &claim).await;
    if let Some(mirror) = &mirror {
        mirror.give_back().await;
    }
    code
}

/// The cluster of a run, by its journal here or in the bucket.
async fn cluster_of(state: &StateDir, buckets: &Buckets, id: &str) -> Result<String, Error> {
    let progress = open::fold(&mirror::longer(state, buckets, id).await?.events)?;
    let never = || Error::plain(Code::Usage, format!("run {id} never began: there is nothing to roll back"));
    progress.plan.as_ref().map(|plan| plan.cluster.clone()).ok_or_else(never)
}

/// A rollback that was asked for, with this machine's lock in hand, and the lease where there is a bucket.
struct Asked<'a> {
    args: &'a Rollback,
    inventory: &'a Inventory,
    cluster: &'a Cluster,
    state: &'a StateDir,
    mirror: Option<&'a Mirror>,
    old: &'a str,
}

impl Asked<'_> {
    async fn carry_out(&self, id: String, claim: &Claim) -> Result<Code, Error> {
        let Self { args, inventory, cluster, state, mirror, old } = *self;
        if let Some(mirror) = mirror {
            mirror::fetch_open(mirror, state, cluster).await?;
            mirror.sync(state, old).await?;
        }
        let others = open::of_cluster(state, cluster)?;
        if let Some(other) = others.iter().find(|other| other.id != old) {
            return Err(other.refuses(&args.inventory));
        }
        let events = read(&state.run(old).join(FILE_NAME))?.events;
        let progress = open::fold(&events)?;
        let fleet = Live::new(cluster).await?;
        hold::hosts(&fleet, claim, args.wait).await.map_err(|refusal| hold::refused(&refusal, &cluster.name))?;
        let (allow, output, yes) = (args.allow.clone(), args.output, args.yes);
        let back = Back { fleet: &fleet, inventory, cluster, state, mirror, old, id, allow, output, yes };
        let code = back.carry_out(&events, &progress, args.all).await;
        fleet.release(hold::TIMEOUT).await;
        code
    }
}

/// What a run that halted asks for by `on_failure: rollback`: the program of the server that failed is put back, with the lock in
/// hand. Whatever becomes of it, the roll has halted.
///
/// # Errors
/// A journal can't be read or written.
pub(super) async fn after_halt(
    fleet: &Live,
    inventory: &Inventory,
    state: &StateDir,
    mirror: Option<&Mirror>,
    old: &str,
    output: Stream,
) -> Result<(), Error> {
    let events = read(&state.run(old).join(FILE_NAME))?.events;
    let progress = open::fold(&events)?;
    let Some(plan) = progress.plan.clone() else { return Ok(()) };
    let of_server =
        matches!(events.last().map(|last| &last.event), Some(Event::Halted { halt }) if halt.cause.is_of_the_server());
    if plan.policy.on_failure != AfterFailure::Rollback
        || !of_server
        || Kept::chosen(&events, &progress, false).is_empty()
    {
        return Ok(());
    }
    let cluster = open::cluster(inventory, &plan.cluster)?;
    let id = run_id(Timestamp::now(), RandomState::new().hash_one(&plan.cluster));
    let allow = plan.policy.allow.clone();
    let back = Back { fleet, inventory, cluster, state, mirror, old, id, allow, output, yes: true };
    output::note("\non_failure: rollback");
    match back.carry_out(&events, &progress, false).await? {
        Code::Done => output::note("the roll has halted; the server that failed runs again with what it had"),
        _ => output::note("the roll has halted, and what was replaced is not back: see above"),
    }
    Ok(())
}

/// What a run has replaced and kept, by host.
struct Kept {
    programs: BTreeMap<String, KeptProgram>,
    files: BTreeMap<String, Vec<String>>,
}

impl Kept {
    fn of(events: &[Envelope]) -> Self {
        Self { programs: install::replaced(events), files: configure::placed(events) }
    }

    /// What is to be put back.
    fn chosen(events: &[Envelope], progress: &Progress, all: bool) -> Self {
        let Self { mut programs, mut files } = Self::of(events);
        let left = progress.turn.as_ref().map(|turn| turn.host.clone());
        let is_meant = |host: &String| all || Some(host) == left.as_ref();
        programs.retain(|host, _| is_meant(host));
        files.retain(|host, _| is_meant(host));
        Self { programs, files }
    }

    fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.files.is_empty()
    }

    fn has(&self, host: &String) -> bool {
        self.programs.contains_key(host) || self.files.contains_key(host)
    }

    fn hosts(&self) -> impl Iterator<Item = &String> {
        self.programs.keys().chain(self.files.keys())
    }
}

/// The command line that puts back what a run has replaced, where it has: on the server that it left in its turn, else on all.
pub fn command(inventory: &Path, run: &str, events: &[Envelope], progress: &Progress) -> Option<String> {
    if Kept::of(events).is_empty() {
        return None;
    }
    let all = if Kept::chosen(events, progress, false).is_empty() { " --all" } else { "" };
    Some(format!("{}{all}", open::back(inventory, run)))
}

struct Back<'a> {
    fleet: &'a Live,
    inventory: &'a Inventory,
    cluster: &'a Cluster,
    state: &'a StateDir,
    mirror: Option<&'a Mirror>,
    old: &'a str,
    id: String,
    allow: Vec<String>,
    output: Stream,
    yes: bool,
}

impl Back<'_> {
    async fn carry_out(&self, events: &[Envelope], progress: &Progress, all: bool) -> Result<Code, Error> {
        let kept = Kept::chosen(events, progress, all);
        if kept.is_empty() {
            let text = format!("run {} left no server in its turn with something of it replaced", self.old);
            let hint = if Kept::of(events).is_empty() {
                "it replaced nothing"
            } else {
                "--all puts back all that it replaced"
            };
            return Err(Error::plain(Code::Usage, text).hint(hint));
        }
        let roll: Vec<String> =
            self.cluster.hosts.iter().map(|host| host.name.clone()).filter(|host| kept.has(host)).collect();
        if let Some(gone) = kept.hosts().find(|host| !roll.contains(host)) {
            return Err(Error::plain(Code::Usage, format!("{gone} is not in the inventory any more")));
        }
        let steps = progress.plan.as_ref().map(|plan| plan.steps.clone()).unwrap_or_default();
        let policy = Policy { allow: self.allow.clone(), ..Policy::default() };
        let Kept { programs, files } = kept;
        let back = PutBack { run: self.old.to_owned(), kept: programs, files, deadline: install::BACK_WITHIN };
        let steps = install::put_back_steps(&steps, back);
        let selection = Selection { cluster: self.cluster.clone(), roll };
        let plan = plan::of(self.fleet, &selection, "rollback", policy, (steps, None), output::note).await;
        let verdict = plan::verdict(&plan);
        if verdict != Code::Done {
            output::note(&plan::text(&plan));
            output::note("refused: nothing was touched");
            return Ok(verdict);
        }
        if !self.yes || self.output == Stream::Text {
            output::note(&plan::text(&plan));
        }
        roll::ask(&format!("rollback {} now?", plan.cluster), self.yes)?;
        let name = &plan.cluster;
        self.fleet.renew(hold::TIMEOUT).await.map_err(|refusal| hold::refused(&refusal, name))?;
        self.close_old().await?;
        let directory = self.state.run(&self.id);
        let journal = Journal::create(&directory).map_err(|error| {
            Error::plain(Code::Refused, format!("the journal can't be created in {}: {error}", directory.display()))
        })?;
        let recorder = Recorder::new(
            self.id.clone(),
            mirror::sink(self.mirror, journal, &self.id, 0),
            roll::reporters(self.output),
        );
        let inventory = shell_word(&self.inventory.path.to_string_lossy());
        let run = Run {
            inventory: self.inventory.digest.clone(),
            cluster_key: hold::key(self.cluster),
            resume: None,
            again: format!("rollgate rollback -i {inventory} {}{}", self.old, if all { " --all" } else { "" }),
            go_on: open::go_on(&self.inventory.path, &self.id),
            back: None,
            contents: Contents::new(),
            status: format!("rollgate status -i {inventory} --cluster {}", shell_word(name)),
            ask: roll::ask_on_terminal(),
            plan: plan.clone(),
        };
        roll::carry_out(self.fleet, run, recorder, self.state).await
    }

    /// The run that is rolled back is over: what is left of it is left to another.
    async fn close_old(&self) -> Result<(), Error> {
        let summary = summary(&self.state.run(self.old).join(FILE_NAME));
        if summary.as_ref().is_ok_and(|summary| summary.closed()) {
            return Ok(());
        }
        for line in (Open { id: self.old.to_owned(), summary }).close(self.state, self.fleet, self.mirror).await? {
            output::note(&format!("records of run {} could not be removed from {line}", self.old));
        }
        Ok(())
    }
}
