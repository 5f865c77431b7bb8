//! `restart` and `run`: carry out a plan, on every selected cluster, one after the other.

use std::{
    hash::{BuildHasher, RandomState},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::{
    Code, Error,
    args::{Limits, Parameters, Target, shell_word},
    output, plan,
};
use crate::{
    config::{
        Inventory, Playbook,
        inventory::{Cluster, Selection},
        playbook::Given,
    },
    core::{event::Event, plan::Plan},
    fleet::live::Live,
    journal::{Journal, Lock, StateDir, run_id},
    report::{Bars, JsonLines, Lines, Reporter, end, render_halt},
    run::{self as runner, Outcome, Recorder, Run, shutdown},
};

/// Arguments of `restart`.
#[derive(Debug, Args)]
pub struct Restart {
    #[command(flatten)]
    roll: RollArgs,
}

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
    /// The form of what is told on the way.
    #[arg(short, long, value_enum, default_value_t)]
    output: Stream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
enum Stream {
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

/// Carries out a playbook.
///
/// # Errors
/// As [`restart`], and mistakes in the playbook.
pub async fn run(args: RunArgs) -> Result<Code, Error> {
    let playbook = Playbook::load(&args.playbook, Given::Values(&args.parameters.set))?;
    let mut verb = format!("run {}", shell_word(&args.playbook.to_string_lossy()));
    for (name, value) in &args.parameters.set {
        verb.push_str(&format!(" --set {}", shell_word(&format!("{name}={value}"))));
    }
    roll(&args.roll, playbook, &verb).await
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
        let holder = format!("run {id}, pid {}, since {:.0}", std::process::id(), Timestamp::now());
        let _lock = Lock::take(&self.state.lock(&lock_key(&self.selection.cluster)), &holder).map_err(|error| {
            Error::from(error).hint(format!("two runs on {name} at once could take two servers down"))
        })?;
        let fleet = Live::new(&self.selection.cluster).await?;
        let plan = plan::make(&fleet, self.selection, self.playbook, output::note).await;
        if let Some(code) = self.refused(&plan) {
            return Ok(code);
        }
        self.consent(&plan)?;
        let journal = Journal::create(&self.state.run(&id)).map_err(|error| {
            let text = format!("the journal can't be created in {}: {error}", self.state.run(&id).display());
            Error::plain(Code::Refused, text)
                .hint("nothing was touched; set XDG_STATE_HOME to a directory that can be written")
        })?;
        let path = journal.path().to_owned();
        let wishes = shutdown::listen().map_err(Error::internal)?;
        let mut recorder = Recorder::new(id, Box::new(journal), self.reporters());
        let run = Run {
            plan,
            inventory: self.inventory.digest.clone(),
            again: self.args.target.command(verb, name, several),
            status: self.args.target.command("status", name, several),
        };
        let outcome = runner::roll(&fleet, run, &mut recorder, wishes).await;
        let outcome = outcome.map_err(|error| Error::internal(error).hint(format!("journal: {}", path.display())))?;
        output::note(&format!("journal: {}", path.display()));
        Ok(code(&outcome))
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

    fn consent(&self, plan: &Plan) -> Result<(), Error> {
        if !self.args.yes || self.args.output == Stream::Text {
            output::note(&plan::text(plan));
        }
        if self.args.yes {
            return Ok(());
        }
        if !output::can_ask() {
            let text = "a change needs consent, and there is no terminal to ask on";
            return Err(Error::plain(Code::Refused, text).hint("give --yes, after you have read `rollgate plan`"));
        }
        let question = format!("{} {} now?", plan.playbook, plan.cluster);
        let answer = dialoguer::Confirm::new().with_prompt(question).default(false).interact_opt();
        match answer {
            Ok(Some(true)) => Ok(()),
            Ok(_) => Err(Error::plain(Code::Refused, "not confirmed: nothing was touched")),
            Err(error) => Err(Error::internal(error)),
        }
    }

    fn reporters(&self) -> Vec<Box<dyn Reporter>> {
        match self.args.output {
            Stream::Ndjson => vec![Box::new(JsonLines(std::io::stdout())), Box::new(Ends)],
            Stream::Text if output::draws_bars() => {
                vec![Box::new(Bars::new(output::colour_stderr())), Box::new(Ends)]
            }
            Stream::Text => vec![Box::new(Lines::new(anstream::stderr())), Box::new(Ends)],
        }
    }
}

/// Tells how a run ended, on stderr.
struct Ends;

impl Reporter for Ends {
    fn report(&mut self, envelope: &crate::core::event::Envelope, _: &crate::core::progress::Progress) {
        match &envelope.event {
            Event::Halted { halt } | Event::Refused { halt } => output::note(&format!("\n{}", render_halt(halt))),
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

/// One key for one set of hosts, whatever inventory names them: the cluster's name for people, and a digest of how
/// its hosts are reached, since two clusters in two inventories may have one name.
fn lock_key(cluster: &Cluster) -> String {
    let mut hosts: Vec<String> = cluster
        .hosts
        .iter()
        .map(|host| {
            let config = host.ssh.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            format!("{}:{}:{config}", host.ssh.destination, host.ssh.port.unwrap_or(22))
        })
        .collect();
    hosts.sort();
    format!("{}-{}", cluster.name, crate::config::digest(&hosts.join("\n")))
}
