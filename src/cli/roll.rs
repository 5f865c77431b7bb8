//! `restart`, `reboot` and `run`: carry out a plan, on every selected cluster, one after the other.

use std::{
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::{
    Code, Error,
    args::{Limits, Parameters, Target, shell_word},
    hold::{self, Wait},
    mirror, open, output, plan, rollback,
};
use crate::{
    config::{Inventory, Playbook, inventory::Selection},
    core::{
        configure::configure,
        event::Event,
        install::{self, mixed},
        lock::{Claim, LockRefusal},
        plan::Plan,
        progress::Progress,
    },
    fleet::{Fleet, live::Live},
    journal::{FILE_NAME, Journal, StateDir, Strain, read, run_id},
    mirror::Mirror,
    report::{Bars, JsonLines, Lines, Reporter, end, render_halt, span},
    run::{self as runner, OBSERVE_TIMEOUT, Outcome, Recorder, Run, approval, shutdown},
};

/// Arguments of `restart`.
#[derive(Debug, Args)]
pub struct Restart {
    #[command(flatten)]
    roll: RollArgs,
}

/// Arguments of `upgrade`.
#[derive(Debug, Args)]
#[command(after_help = UPGRADE_HELP)]
pub struct Upgrade {
    #[command(flatten)]
    parameters: Parameters,
    #[command(flatten)]
    roll: RollArgs,
}

/// Arguments of `configure`.
#[derive(Debug, Args)]
#[command(after_help = CONFIGURE_HELP)]
pub struct Configure {
    #[command(flatten)]
    parameters: Parameters,
    #[command(flatten)]
    roll: RollArgs,
}

/// Arguments of `reboot`.
#[derive(Debug, Args)]
pub struct Reboot {
    #[command(flatten)]
    parameters: Parameters,
    #[command(flatten)]
    roll: RollArgs,
}

const CONFIGURE_HELP: &str = "\
Parameters:
  --set template=FILE    the configuration; where its name ends in .j2 it has {{ name }} for variables of the inventory (vars:)
  --set to=PATH          where it goes; by default where the server's configuration is
  --set how=HOW          auto: by a reload where that takes all that changed, by a restart elsewhere; or reload, or restart
  --set on_failure=rollback
                         put the old files back on a server that does not come back

`rollgate playbook show configure` has more; `rollgate plan configure --set template=FILE` shows what would change.";

const UPGRADE_HELP: &str = "\
Parameters:
  --set binary=FILE      the program; with --set on=host a file that each host has
  --set version=VERSION  the version that it must say that it is
  --set sha256=DIGEST    its sha256; by default that of the file as it is
  --set canary=TIME      how long the first server is watched before the second [default: 2m]
  --set on_failure=rollback
                         put the old program back on a server that does not come back
  --set command=COMMAND  instead of binary: what installs it on a host, such as a package manager

`rollgate playbook show upgrade` has them all, and what is done.";

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The playbook: a file, or the name of one that is built in (`rollgate playbook list`).
    #[arg(value_name = "PLAYBOOK")]
    playbook: PathBuf,
    #[command(flatten)]
    parameters: Parameters,
    #[command(flatten)]
    roll: RollArgs,
}

#[derive(Debug, Args)]
struct RollArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    limits: Limits,
    /// Don't ask. Without a terminal a change is refused unless this is given.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    wait: Wait,
    /// Close an unfinished run of the cluster first, as `abort` does. Otherwise it refuses a new one.
    #[arg(long)]
    close_unfinished: bool,
    /// The form of what is told on the way.
    #[arg(short, long, value_enum, default_value_t)]
    output: Stream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub(super) enum Stream {
    /// Bars on a terminal, plain lines elsewhere.
    #[default]
    Text,
    /// Every event as a JSON line on stdout.
    Ndjson,
}

/// Restarts the selected servers.
///
/// # Errors
/// Anything that ends a run before it begins, or a journal that can't be written.
pub async fn restart(args: Restart) -> Result<Code, Error> {
    roll(&args.roll, Playbook::restart(), "restart").await
}

/// Reboots the hosts of the selected servers.
///
/// # Errors
/// As [`restart`], and a parameter that does not fit.
pub async fn reboot(args: Reboot) -> Result<Code, Error> {
    let playbook = args.parameters.playbook(Some(Path::new("reboot")))?;
    roll(&args.roll, playbook, &with_parameters("reboot".into(), &args.parameters)).await
}

/// Carries out a playbook.
///
/// # Errors
/// As [`restart`], and mistakes in the playbook.
pub async fn run(args: RunArgs) -> Result<Code, Error> {
    let playbook = args.parameters.playbook(Some(&args.playbook))?;
    let verb = format!("run {}", shell_word(&args.playbook.to_string_lossy()));
    roll(&args.roll, playbook, &with_parameters(verb, &args.parameters)).await
}

/// Puts another program in place.
///
/// # Errors
/// As [`restart`], and a program that can't be read.
pub async fn upgrade(args: Upgrade) -> Result<Code, Error> {
    let by_command = args.parameters.set.iter().any(|(name, _)| name == "command");
    let name = if by_command { "upgrade-by-command" } else { "upgrade" };
    let playbook = args.parameters.playbook(Some(Path::new(name)))?;
    roll(&args.roll, playbook, &with_parameters("upgrade".into(), &args.parameters)).await
}

/// Puts a configuration in place.
///
/// # Errors
/// As [`restart`], and files that can't be read or filled in.
pub async fn configure_all(args: Configure) -> Result<Code, Error> {
    let playbook = args.parameters.playbook(Some(Path::new("configure")))?;
    roll(&args.roll, playbook, &with_parameters("configure".into(), &args.parameters)).await
}

/// A verb as it would have to be typed again.
fn with_parameters(verb: String, parameters: &Parameters) -> String {
    let set = parameters.set.iter().map(|(name, value)| format!(" --set {}", shell_word(&format!("{name}={value}"))));
    verb + &set.collect::<String>()
}

async fn roll(args: &RollArgs, playbook: Playbook, verb: &str) -> Result<Code, Error> {
    let (inventory, selections) = args.target.load()?;
    let playbook = args.limits.apply(playbook);
    let state = StateDir::of_user().map_err(Error::internal)?;
    let several = inventory.clusters.len() > 1;
    for selection in &selections {
        let job = Job { args, inventory: &inventory, playbook: &playbook, selection, state: &state };
        let code = job.roll(verb, several).await?;
        if code != Code::Done {
            return Ok(code);
        }
    }
    Ok(Code::Done)
}

/// The roll of one cluster.
struct Job<'a> {
    args: &'a RollArgs,
    inventory: &'a Inventory,
    playbook: &'a Playbook,
    selection: &'a Selection,
    state: &'a StateDir,
}

impl Job<'_> {
    async fn roll(&self, verb: &str, several: bool) -> Result<Code, Error> {
        let name = &self.selection.cluster.name;
        let id = run_id(Timestamp::now(), RandomState::new().hash_one(name));
        let reason = format!("{} of {name}", self.playbook.name);
        let lock = hold::here(self.state, &self.selection.cluster, &id, &reason, self.args.wait).await?;
        let claim = hold::claim(&lock, &id, &reason);
        let mirror = mirror::open(self.inventory, &self.selection.cluster).await?;
        let Some(mirror) = mirror else { return self.roll_alone(&claim, None, id, verb, several).await };
        mirror::take(&mirror, &claim, self.args.wait).await?;
        let fetched = mirror::fetch_open(&mirror, self.state, &self.selection.cluster).await;
        let code = match fetched {
            Ok(()) => self.roll_alone(&claim, Some(&mirror), id, verb, several).await,
            Err(error) => Err(error),
        };
        mirror.give_back().await;
        code
    }

    /// The roll with this machine's lock in hand, and the lease where there is a bucket.
    async fn roll_alone(
        &self,
        claim: &Claim,
        mirror: Option<&Mirror>,
        id: String,
        verb: &str,
        several: bool,
    ) -> Result<Code, Error> {
        let name = &self.selection.cluster.name;
        let open = open::of_cluster(self.state, &self.selection.cluster)?;
        if let (Some(run), false) = (open.first(), self.args.close_unfinished) {
            return Err(run.refuses(&self.args.target.inventory));
        }
        let fleet = Live::new(&self.selection.cluster).await?;
        let held = hold::hosts(&fleet, claim, self.args.wait).await;
        if let Err(refusal @ LockRefusal::Held { .. }) = &held {
            return Err(hold::refused(refusal, name));
        }
        if held.is_ok() {
            for run in &open {
                run.close(self.state, &fleet, mirror).await?;
            }
        }
        let code = self.roll_locked((&fleet, mirror), held, id, verb, several).await;
        fleet.release(hold::TIMEOUT).await;
        code
    }

    /// The roll with the lock in hand; or without it where too few hosts answered, which the plan may explain better.
    async fn roll_locked(
        &self,
        (fleet, mirror): (&Live, Option<&Mirror>),
        held: Result<(), LockRefusal>,
        id: String,
        verb: &str,
        several: bool,
    ) -> Result<Code, Error> {
        let name = &self.selection.cluster.name;
        let (plan, contents) = plan::make(fleet, self.selection, self.playbook, output::note).await?;
        if let Some(code) = self.refused(&plan) {
            return Ok(code);
        }
        if plan.turns.is_empty() {
            output::note(&plan::text(&plan));
            output::note(&match install::install(&plan.steps) {
                Some(install) => format!("nothing to do: every server of {name} runs {} already", install.version),
                None if configure(&plan.steps).is_some() => "nothing to do: every host has these files already".into(),
                None => "nothing to do: every server runs with what is on its host's disk".into(),
            });
            return Ok(Code::Done);
        }
        held.map_err(|refusal| hold::refused(&refusal, name))?;
        if mirror.is_some() {
            mirror::must_be_elsewhere(mirror, &fleet.observe(&[], OBSERVE_TIMEOUT).await)?;
        }
        consent(&plan, self.args.yes, self.args.output)?;
        // The operator may have taken their time.
        fleet.renew(hold::TIMEOUT).await.map_err(|refusal| hold::refused(&refusal, name))?;
        let journal = Journal::create(&self.state.run(&id)).map_err(|error| {
            let text = format!("the journal can't be created in {}: {error}", self.state.run(&id).display());
            Error::plain(Code::Refused, text)
                .hint("nothing was touched; set XDG_STATE_HOME to a directory that can be written")
        })?;
        let sink = mirror::sink(mirror, journal, &id, 0);
        let recorder = Recorder::new(id.clone(), sink, reporters(self.args.output));
        let run = Run {
            plan,
            inventory: self.inventory.digest.clone(),
            cluster_key: hold::key(&self.selection.cluster),
            resume: None,
            again: self.args.target.command(verb, name, several),
            go_on: open::go_on(&self.args.target.inventory, &id),
            back: Some(open::back(&self.args.target.inventory, &id)),
            status: self.args.target.command("status", name, several),
            ask: ask_on_terminal(),
            contents,
        };
        let code = carry_out(fleet, run, recorder, self.state).await?;
        if code == Code::Halted {
            rollback::after_halt(fleet, self.inventory, self.state, mirror, &id, self.args.output).await?;
        }
        Ok(code)
    }

    /// Says why a plan can't be carried out, if so.
    fn refused(&self, plan: &Plan) -> Option<Code> {
        let code = plan::verdict(plan);
        if code == Code::Done {
            return None;
        }
        output::note(&plan::text(plan));
        output::note("refused: nothing was touched");
        Some(code)
    }
}

/// Carries out or goes on with a run, and removes its traces from the hosts when it is done.
pub(super) async fn carry_out(fleet: &Live, run: Run, mut recorder: Recorder, state: &StateDir) -> Result<Code, Error> {
    let wishes = shutdown::listen().map_err(Error::internal)?;
    let go_on = run.go_on.clone();
    let outcome = runner::roll(fleet, run, &mut recorder, wishes).await;
    let file = state.run(recorder.run()).join(FILE_NAME);
    let journal = format!("journal: {}", file.display());
    let outcome = outcome.map_err(|error| {
        let code = if recorder.progress().touched_nothing() { Code::Refused } else { Code::Halted };
        error.on_halt.iter().for_each(|step| output::note(&step.to_string()));
        Error::internal(error).with(code).hint(format!("when there is room for it, go on with: {go_on}\n  {journal}"))
    })?;
    if matches!(outcome, Outcome::Finished | Outcome::Refused(_)) {
        // In this order: a request that a bad link brings only now must find either its record or no lock (found by the
        // simulator: a step done a second time).
        fleet.release(hold::TIMEOUT).await;
        clear(fleet, recorder.run(), recorder.progress(), state).await;
    }
    if let Some(mixed) = read(&file).ok().and_then(|journaled| mixed(&journaled.events)) {
        output::note(&mixed.words(span));
    }
    output::note(&journal);
    if let Some(Strain::Mirror(why)) = recorder.strained() {
        output::note(&format!(
            "the bucket lacks the end of it, until the run is gone on with or closed from here: {why}"
        ));
    }
    Ok(code(&outcome))
}

/// So many runs back are looked at: that a controller dies in that very second is rare.
const DIED_AT_THE_END: usize = 5;

/// Removes the traces of a run that is over, and those of runs before it on this cluster whose controller died between their end
/// and this. What could not be removed is left to the next run.
async fn clear(fleet: &Live, run: &str, progress: &Progress, state: &StateDir) {
    let failed = open::clear(fleet, state, run).await;
    for (host, failure) in &failed {
        output::note(&format!("{host}: its records of this run stay until the next one: {failure}"));
    }
    if !failed.is_empty() {
        return;
    }
    let before = state.runs().unwrap_or_default().into_iter().rev().skip_while(|id| id != run).skip(1);
    for id in before.take(DIED_AT_THE_END).filter(|id| !state.is_marked_cleared(id)) {
        let Ok(events) = read(&state.run(&id).join(FILE_NAME)) else { continue };
        let Ok(of) = open::fold(&events.events) else { continue };
        if of.cluster_key == progress.cluster_key && of.closed() {
            open::clear(fleet, state, &id).await;
        }
    }
}

/// Asks, unless told not to.
fn consent(plan: &Plan, yes: bool, output: Stream) -> Result<(), Error> {
    if !yes || output == Stream::Text {
        output::note(&plan::text(plan));
    }
    ask(&format!("{} {} now?", plan.playbook, plan.cluster), yes)
}

/// Asks a question that must be answered with yes.
pub(super) fn ask(question: &str, yes: bool) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    if !output::can_ask() {
        let text = "a change needs consent, and there is no terminal to ask on";
        return Err(Error::plain(Code::Refused, text).hint("give --yes, after you have read `rollgate plan`"));
    }
    match dialoguer::Confirm::new().with_prompt(question).default(false).interact_opt() {
        Ok(Some(true)) => Ok(()),
        Ok(_) => Err(Error::plain(Code::Refused, "not confirmed: nothing was touched")),
        Err(error) => Err(Error::internal(error)),
    }
}

/// How the operator is asked in the middle of a roll.
pub(super) fn ask_on_terminal() -> approval::Ask {
    if output::can_ask() { Box::new(|_| Box::pin(output::yes_or_no())) } else { approval::nobody() }
}

pub(super) fn reporters(stream: Stream) -> Vec<Box<dyn Reporter>> {
    match stream {
        Stream::Ndjson => vec![Box::new(JsonLines(std::io::stdout())), Box::new(Ends)],
        Stream::Text if output::draws_bars() => vec![Box::new(Bars::new(output::colour_stderr())), Box::new(Ends)],
        Stream::Text => vec![Box::new(Lines::new(anstream::stderr())), Box::new(Ends)],
    }
}

/// Tells how a run ended, on stderr.
struct Ends;

impl Reporter for Ends {
    fn report(&mut self, envelope: &crate::core::event::Envelope, _: &crate::core::progress::Progress) {
        match &envelope.event {
            Event::Halted { halt } | Event::Refused { halt } | Event::TurnFailed { halt } => {
                output::note(&format!("\n{}", render_halt(halt)))
            }
            event => {
                if let Some(text) = end(event) {
                    output::note(&text);
                }
            }
        }
    }
}

fn code(outcome: &Outcome) -> Code {
    match outcome {
        Outcome::Finished => Code::Done,
        Outcome::Halted(_) => Code::Halted,
        Outcome::Refused(halt) => match &halt.cause {
            crate::core::halt::Cause::Unsafe { objections } if objections.iter().all(|o| o.is_unreachable()) => {
                Code::Unreachable
            }
            _ => Code::Refused,
        },
        Outcome::Interrupted => Code::Interrupted,
    }
}
