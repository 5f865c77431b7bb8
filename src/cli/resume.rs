//! `resume`: go on with a run that was left.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::{
    Code, Error,
    args::shell_word,
    changes,
    hold::{self, Wait},
    mirror::{self, Buckets},
    open, output,
    roll::{self, Stream},
    rollback,
};
use crate::{
    config::{Inventory, inventory::Cluster},
    core::{
        configure::configure,
        event::{Envelope, Event, SCHEMA},
        lock::Claim,
        plan::{self, Plan},
        progress::Progress,
        settle::moved,
        view::View,
    },
    fleet::{Fleet, live::Live},
    journal::{FILE_NAME, Journal, StateDir},
    mirror::Mirror,
    run::{OBSERVE_TIMEOUT, Recorder, Resume, Run},
};

/// Arguments of `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The run; needed where several were left (`rollgate history`).
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// The inventory file.
    #[arg(short, long, value_name = "FILE", env = "ROLLGATE_INVENTORY", default_value = "inventory.yaml")]
    inventory: PathBuf,
    /// Plan anew what is left, where the world moved since: hosts, versions, the inventory.
    #[arg(long)]
    replan: bool,
    /// Don't ask. Without a terminal a change is refused unless this is given.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    wait: Wait,
    /// The form of what is told on the way.
    #[arg(short, long, value_enum, default_value_t)]
    output: Stream,
}

/// Goes on with a run.
///
/// # Errors
/// There is none, its journal can't be used, the world moved, or the lock can't be had.
pub async fn run(args: ResumeArgs) -> Result<Code, Error> {
    let inventory = Inventory::load(&args.inventory)?;
    let state = StateDir::of_user().map_err(Error::internal)?;
    let mut buckets = Buckets::look(&inventory).await?;
    let id = open::choose(&state, &inventory, &buckets, args.run.as_deref())?;
    let (name, key) = whose(&state, &buckets, &id)?;
    let cluster = open::cluster(&inventory, &name)?;
    if !key.is_empty() && key != hold::key(cluster) && !args.replan {
        let text = format!("run {id} is of another set of hosts than {name} in {}", inventory.path.display());
        return Err(Error::plain(Code::Refused, text).hint("name its inventory with -i, or give --replan"));
    }
    let reason = format!("resume of {name}");
    let lock = hold::here(&state, cluster, &id, &reason, args.wait).await?;
    let claim = hold::claim(&lock, &id, &reason);
    let mirror = buckets.mirror(&name);
    if let Some(mirror) = &mirror {
        mirror::take(mirror, &claim, args.wait).await?;
    }
    let going = Going { args: &args, inventory: &inventory, state: &state, mirror: mirror.as_ref(), id: &id };
    let code = going.on(cluster, &claim).await;
    if let Some(mirror) = &mirror {
        mirror.give_back().await;
    }
    code
}

/// The cluster of a run and its key, by its journal here or in the bucket.
fn whose(state: &StateDir, buckets: &Buckets, id: &str) -> Result<(String, String), Error> {
    let never = || Error::plain(Code::Usage, format!("run {id} never began: there is nothing to resume"));
    if !state.run(id).join(FILE_NAME).exists()
        && let Some((_, run)) = buckets.run(id)
    {
        let summary = run.summary.as_ref().map_err(|error| Error::plain(Code::Refused, error.to_string()))?;
        return summary.cluster().map(|(name, key)| (name.to_owned(), key.to_owned())).ok_or_else(never);
    }
    let journaled = crate::journal::read(&state.run(id).join(FILE_NAME))?;
    let progress = open::fold(&journaled.events)?;
    progress.plan.as_ref().map(|plan| (plan.cluster.clone(), progress.cluster_key.clone())).ok_or_else(never)
}

/// A resumption with this machine's lock in hand, and the lease where there is a bucket.
struct Going<'a> {
    args: &'a ResumeArgs,
    inventory: &'a Inventory,
    state: &'a StateDir,
    mirror: Option<&'a Mirror>,
    id: &'a str,
}

impl Going<'_> {
    async fn on(self, cluster: &Cluster, claim: &Claim) -> Result<Code, Error> {
        let Self { args, inventory, state, mirror, id } = self;
        // Read again: until now another process may have gone on with it.
        if let Some(mirror) = mirror {
            mirror.sync(state, id).await?;
        }
        let (journal, journaled) = Journal::open(&state.run(id))?;
        let progress = resumable(id, &journaled.events, args)?;
        let fleet = Live::new(cluster).await?;
        hold::hosts(&fleet, claim, args.wait).await.map_err(|refusal| hold::refused(&refusal, &cluster.name))?;
        let job = Job { args, inventory, cluster, id, fleet: &fleet, mirror, progress, events: &journaled.events };
        let code = job.go_on(journal, state).await;
        fleet.release(hold::TIMEOUT).await;
        code
    }
}

/// The state of a run that may be gone on with.
fn resumable(id: &str, events: &[Envelope], args: &ResumeArgs) -> Result<Progress, Error> {
    let inventory = shell_word(&args.inventory.to_string_lossy());
    let progress = open::fold(events)?;
    if progress.closed() {
        let text = format!("run {id} is {}: there is nothing to resume", progress.ended.unwrap_or("over"));
        return Err(Error::plain(Code::Usage, text));
    }
    if let Some(old) = events.iter().find(|envelope| envelope.v < SCHEMA) {
        let text = format!(
            "run {id} was begun by an older rollgate (format {} of its journal): what its turn needs to be judged is not in it",
            old.v
        );
        let hint = format!("`rollgate show {id}` tells it; close it: rollgate abort -i {inventory} {id}");
        return Err(Error::plain(Code::Refused, text).hint(hint));
    }
    Ok(progress)
}

struct Job<'a> {
    args: &'a ResumeArgs,
    inventory: &'a Inventory,
    cluster: &'a Cluster,
    id: &'a str,
    fleet: &'a Live,
    mirror: Option<&'a Mirror>,
    progress: Progress,
    events: &'a [Envelope],
}

impl Job<'_> {
    async fn go_on(self, journal: Journal, state: &StateDir) -> Result<Code, Error> {
        let Some(old) = self.progress.plan.clone() else {
            return Err(Error::plain(Code::Usage, "the run never began"));
        };
        let view = self.fleet.observe_assets(&[], OBSERVE_TIMEOUT).await;
        mirror::must_be_elsewhere(self.mirror, &view)?;
        let plan = self.plan(&old, &view)?;
        let left = self.progress.ended.map(str::to_owned);
        self.consent(&plan)?;
        self.fleet.renew(hold::TIMEOUT).await.map_err(|refusal| hold::refused(&refusal, &plan.cluster))?;
        let resume = Resume { left, replanned: self.args.replan, down_at: down_at(self.events) };
        let command = |verb: &str| {
            let inventory = shell_word(&self.args.inventory.to_string_lossy());
            format!("rollgate {verb} -i {inventory} --cluster {}", shell_word(&plan.cluster))
        };
        let run = Run {
            inventory: self.inventory.digest.clone(),
            cluster_key: self.progress.cluster_key.clone(),
            resume: Some(resume),
            again: open::go_on(&self.args.inventory, self.id),
            go_on: open::go_on(&self.args.inventory, self.id),
            back: Some(open::back(&self.args.inventory, self.id)),
            status: command("status"),
            ask: roll::ask_on_terminal(),
            contents: changes::again(&plan, self.cluster),
            plan,
        };
        let seq = self.events.len() as u64;
        let reporters = roll::reporters(self.args.output);
        let sink = mirror::sink(self.mirror, journal, self.id, seq);
        let recorder = Recorder::resume(self.id.to_owned(), seq, self.progress, sink, reporters);
        let code = roll::carry_out(self.fleet, run, recorder, state).await?;
        if code == Code::Halted {
            rollback::after_halt(self.fleet, self.inventory, state, self.mirror, self.id, self.args.output).await?;
        }
        Ok(code)
    }

    /// The plan as it was; or made anew for what is left.
    fn plan(&self, old: &Plan, view: &View) -> Result<Plan, Error> {
        let mut reasons = moved(old, &self.progress.done, view);
        if self.progress.inventory != self.inventory.digest {
            reasons.push(format!("{} was edited since", self.inventory.path.display()));
        }
        if !self.args.replan {
            if reasons.is_empty() {
                return Ok(old.clone());
            }
            let text = format!("the plan of run {} does not hold any more: {}", self.id, reasons.join("; "));
            return Err(Error::plain(Code::Refused, text).hint("--replan plans what is left anew"));
        }
        let turn = self.progress.turn.as_ref().map(|turn| turn.host.as_str());
        if let Some(host) = turn.filter(|host| view.server(host).is_none()) {
            let text = format!("{host} is in its turn, and not in the inventory any more");
            return Err(Error::plain(Code::Refused, text).hint("put it back, or close the run with `rollgate abort`"));
        }
        let known = |host: &String| old.turns.iter().any(|turn| turn.host == *host) || !old.bystanders.contains(host);
        // What a host gets was decided when it was compared: one that was not has nothing to get.
        let files: BTreeMap<_, _> =
            old.turns.iter().filter_map(|turn| Some((turn.host.clone(), turn.files.clone()?))).collect();
        let gets = |host: &String| configure(&old.steps).is_none() || files.contains_key(host);
        let hosts = view.servers.iter().map(|server| server.host.clone());
        let hosts: Vec<String> = hosts.filter(known).filter(gets).collect();
        let (policy, steps) = (old.policy.clone(), old.steps.clone());
        let mut plan = plan::with_files(view, &hosts, &old.playbook, policy, steps, &files);
        plan.changes.clone_from(&old.changes);
        plan.hooks.clone_from(&old.hooks);
        plan.turns.retain(|turn| !self.progress.done.contains(&turn.host));
        // What is done stays in the plan, so that it is counted.
        let done = old.turns.iter().filter(|turn| self.progress.done.contains(&turn.host)).cloned();
        plan.turns.splice(0..0, done);
        Ok(plan)
    }

    fn consent(&self, plan: &Plan) -> Result<(), Error> {
        let list = |hosts: &[String]| if hosts.is_empty() { "none".to_owned() } else { hosts.join(", ") };
        let left: Vec<String> = plan.turns.iter().map(|turn| turn.host.clone()).collect();
        let turn = self.progress.turn.as_ref().map(|turn| turn.host.clone());
        let rest = |host: &String| !self.progress.done.contains(host) && Some(host) != turn.as_ref();
        let rest: Vec<String> = left.into_iter().filter(rest).collect();
        let mut text = format!("run {}: {} of {}\n", self.id, plan.playbook, plan.cluster);
        text.push_str(&format!("  done       {}\n", list(&self.progress.done)));
        if let Some(host) = &turn {
            text.push_str(&format!("  in its turn {host}: what became of it is settled first\n"));
        }
        text.push_str(&format!("  to come    {}", list(&rest)));
        output::note(&text);
        roll::ask("go on now?", self.args.yes)
    }
}

/// When the stop of the turn under way was announced.
fn down_at(events: &[Envelope]) -> Option<Timestamp> {
    let turn = events.iter().rposition(|envelope| matches!(envelope.event, Event::TurnStarted { .. }))?;
    let stop = |envelope: &&Envelope| matches!(&envelope.event, Event::StepStarted { step, .. } if step == "stop");
    events[turn..].iter().find(stop).map(|envelope| envelope.at)
}
