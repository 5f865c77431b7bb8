//! `playbook`: what is built in, and whether a file of one's own is right.

use std::{fmt::Write, path::PathBuf};

use clap::{Args, Subcommand};

use super::{Code, Error, output};
use crate::config::{
    Playbook,
    playbook::{Given, Parameter},
};

/// Arguments of `playbook`.
#[derive(Debug, Args)]
pub struct PlaybookArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the playbooks that are part of rollgate.
    List,
    /// Print one of them, comments and all: the documentation of what it does, and a start for your own.
    Show {
        /// Its name, as `list` shows it.
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(Playbook::embedded_names()))]
        name: String,
    },
    /// Say what is wrong with playbook files, every mistake with its line.
    Check {
        /// The files.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
}

/// Answers about playbooks.
///
/// # Errors
/// The first file that has mistakes, after all were read.
pub fn run(args: &PlaybookArgs) -> Result<Code, Error> {
    match &args.verb {
        Verb::List => list(),
        Verb::Show { name } => output::print(Playbook::embedded_text(name).unwrap_or_default()),
        Verb::Check { files } => return check(files),
    }
    Ok(Code::Done)
}

fn list() {
    let playbooks: Vec<Playbook> = Playbook::embedded_names().filter_map(Playbook::embedded).collect();
    let widest = playbooks.iter().map(|playbook| playbook.name.len()).max().unwrap_or_default();
    for playbook in &playbooks {
        output::print(&format!(
            "{:widest$}  {}\n{:widest$}  {}\n",
            playbook.name,
            playbook.description,
            "",
            steps(playbook)
        ));
    }
}

fn steps(playbook: &Playbook) -> String {
    playbook.turn.iter().map(crate::core::playbook::Step::name).collect::<Vec<_>>().join(", ")
}

fn check(files: &[PathBuf]) -> Result<Code, Error> {
    let mut first_error = None;
    for file in files {
        match Playbook::load(file, Given::OnlyChecked) {
            Ok(playbook) => output::print(&format!("{}: {}: {}\n", file.display(), playbook.name, steps(&playbook))),
            Err(error) => {
                let error = Error::from(error);
                match first_error {
                    None => first_error = Some(error),
                    Some(_) => error.print(),
                }
            }
        }
    }
    first_error.map_or(Ok(Code::Done), Err)
}

/// What `rollgate run FILE --help` adds: the playbook's own words and parameters.
pub fn help(playbook: &Playbook) -> String {
    let mut text = format!("{}: {}\n", playbook.source, playbook.description);
    if !playbook.parameters.is_empty() {
        text.push_str("\nParameters:\n");
    }
    let heads: Vec<String> = playbook.parameters.iter().map(head).collect();
    let widest = heads.iter().map(String::len).max().unwrap_or_default();
    for (parameter, head) in playbook.parameters.iter().zip(&heads) {
        let default = match &parameter.default {
            Some(default) if default.is_empty() => String::new(),
            Some(default) => format!("[default: {default}]"),
            None => "[required]".to_owned(),
        };
        let words = [parameter.help.as_str(), &default].join(" ");
        let _ = writeln!(text, "  {head:widest$}  {}", words.trim());
    }
    text
}

fn head(parameter: &Parameter) -> String {
    format!("--set {}=<{}>", parameter.name, parameter.kind.name())
}
