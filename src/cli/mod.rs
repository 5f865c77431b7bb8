//! The command line: one file a verb. Parses, asks, and turns every end into an exit code.

mod abort;
mod args;
mod changes;
mod check;
mod diagnose;
mod error;
mod explain;
mod history;
mod hold;
mod mirror;
mod open;
mod output;
mod plan;
mod playbook;
mod preflight;
mod rehearse;
mod resume;
mod roll;
mod rollback;
mod schema;
mod show;
mod status;
mod unfinished;
mod unlock;

use std::{path::Path, process::ExitCode};

use clap::{
    CommandFactory, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

pub use error::{Code, Error};

use crate::config::{Playbook, playbook::Given};

/// Rolling restarts of NATS clusters over SSH: one server at a time, and never the next one before the last has proved,
/// to itself and to its peers, that it is back.
#[derive(Debug, Parser)]
#[command(name = "rollgate", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Exit codes:
  0    done
  1    internal error
  2    usage or configuration
  3    refused, nothing was touched
  4    halted; the message says where, why, and how to go on (`rollgate resume`)
  5    another run is under way
  6    a host or the cluster can't be reached
  130  interrupted; `rollgate resume` goes on

Documentation: the README, and the comments in the playbooks (`rollgate schema` for editors).";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check every host: ssh, host key, sudo, service, monitoring, identity, healthz. Changes nothing.
    Check(check::Check),
    /// Show what a restart would do, in order and with reasons. Changes nothing.
    Plan(plan::PlanArgs),
    /// Play the plan against a simulation of the cluster as it is now, with faults of your choice. Changes nothing.
    Rehearse(rehearse::RehearseArgs),
    /// Restart every server, one at a time.
    Restart(roll::Restart),
    /// Put another nats-server in place on every server, one at a time; the first is the canary.
    Upgrade(roll::Upgrade),
    /// Put back what an upgrade or a configure has replaced, on the server that it left in its turn or on all.
    Rollback(rollback::Rollback),
    /// Put a configuration from templates on every server, one at a time, by reload or restart as each change needs.
    Configure(roll::Configure),
    /// Reboot every host, one at a time; a patch command first, with `--set patch=COMMAND`.
    Reboot(roll::Reboot),
    /// Carry out a playbook: one of your own, or one that is built in.
    Run(roll::RunArgs),
    /// List, show and check playbooks.
    Playbook(playbook::PlaybookArgs),
    /// Tell why a server is not ready: the root cause, its proof, the remedy. Changes nothing.
    Diagnose(diagnose::Diagnose),
    /// Tell, on the host itself, whether its server could start. For ExecStartPre= and entrypoints.
    Preflight(preflight::Preflight),
    /// Explain a code of a diagnosis, or list all codes.
    Explain(explain::Explain),
    /// Go on with a run that was left: halted, interrupted, or killed. Settles first what became of the turn under way.
    Resume(resume::ResumeArgs),
    /// Close a run that was left, and remove its traces from the hosts. Touches no server.
    Abort(abort::AbortArgs),
    /// List the runs.
    History(history::HistoryArgs),
    /// Tell what happened in a run, with reasons and evidence.
    Show(show::ShowArgs),
    /// Take the cluster's lock away from a run that will not come back.
    Unlock(unlock::UnlockArgs),
    /// Show the cluster as it is now, who has its lock, and which runs were left, with the command that goes on with each.
    Status(status::Status),
    /// Print the JSON Schema of a file format, for editors.
    Schema(schema::SchemaArgs),
    /// Print a shell's completion script.
    Completions(schema::Completions),
    /// Print the manual page.
    Man,
}

/// Runs the program with the process's own arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = parse();
    match run(cli.verb) {
        Ok(code) => code.into(),
        Err(error) => {
            error.print();
            error.code().into()
        }
    }
}

/// Parses the process's arguments. `run PLAYBOOK --help` knows what that playbook asks for.
fn parse() -> Cli {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let asks = words.iter().any(|word| word == "--help" || word == "-h");
    let run = words.iter().position(|word| word == "run");
    let (Some(run), true) = (run, asks) else { return Cli::try_parse().unwrap_or_else(|error| hinted(error).exit()) };
    let playbook = words[run + 1..]
        .iter()
        .filter(|word| !word.to_string_lossy().starts_with('-'))
        .find_map(|word| Playbook::load(Path::new(word), Given::OnlyChecked).ok());
    let command = match playbook {
        Some(playbook) => Cli::command().mut_subcommand("run", |run| run.after_help(playbook::help(&playbook))),
        None => Cli::command(),
    };
    // The help ends the program here; were it not so, the same words are parsed as ever.
    let _ = command.get_matches();
    Cli::parse()
}

/// Who writes a parameter of a playbook as an option is told how it is given.
fn hinted(mut error: clap::Error) -> clap::Error {
    let name = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) if error.kind() == ErrorKind::UnknownArgument => {
            option.trim_start_matches('-').replace('-', "_")
        }
        _ => return error,
    };
    let declares = |playbook: &Playbook| playbook.parameters.iter().any(|parameter| parameter.name == name);
    if Playbook::embedded_names().filter_map(Playbook::embedded).any(|playbook| declares(&playbook)) {
        error.insert(ContextKind::SuggestedArg, ContextValue::String(format!("--set {name}=…")));
    }
    error
}

fn run(verb: Verb) -> Result<Code, Error> {
    match verb {
        Verb::Check(args) => block_on(check::run(args)),
        Verb::Plan(args) => block_on(plan::run(args)),
        Verb::Rehearse(args) => rehearse::run(&args),
        Verb::Restart(args) => block_on(roll::restart(args)),
        Verb::Upgrade(args) => block_on(roll::upgrade(args)),
        Verb::Rollback(args) => block_on(rollback::run(args)),
        Verb::Configure(args) => block_on(roll::configure_all(args)),
        Verb::Reboot(args) => block_on(roll::reboot(args)),
        Verb::Run(args) => block_on(roll::run(args)),
        Verb::Playbook(args) => playbook::run(&args),
        Verb::Diagnose(args) => block_on(diagnose::run(args)),
        Verb::Preflight(args) => block_on(preflight::run(args)),
        Verb::Explain(args) => explain::run(&args),
        Verb::Resume(args) => block_on(resume::run(args)),
        Verb::Abort(args) => block_on(abort::run(args)),
        Verb::History(args) => block_on(history::run(args)),
        Verb::Show(args) => block_on(show::run(args)),
        Verb::Unlock(args) => block_on(unlock::run(args)),
        Verb::Status(args) => block_on(status::run(args)),
        Verb::Schema(args) => schema::schema(&args),
        Verb::Completions(args) => schema::completions(&args, &mut Cli::command()),
        Verb::Man => schema::man(Cli::command()),
    }
}

/// One thread is enough: the work is waiting. Fewer threads are less memory and fewer surprises.
fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    // A provider that is set already is ring too: nothing else in the program sets one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::internal)?;
    let result = runtime.block_on(work);
    // A name lookup that hangs in the background must not hold the exit.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
