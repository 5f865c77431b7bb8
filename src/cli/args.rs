//! Arguments that several verbs share.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, builder::PossibleValue};

use super::{Code, Error};
use crate::{
    config::{Inventory, Playbook, inventory::Selection, playbook::Given},
    core::{
        diagnosis::{Context, EXPIRING_DAYS, Purpose},
        install::{self, Install, Source},
        playbook::{OnlyIf, Step},
        safety::Objection,
    },
};

/// Which clusters and hosts.
#[derive(Debug, Args)]
pub struct Target {
    /// The inventory file.
    #[arg(short, long, value_name = "FILE", env = "ROLLGATE_INVENTORY", default_value = "inventory.yaml")]
    pub inventory: PathBuf,
    /// Only this cluster; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub cluster: Vec<String>,
    /// Only this host; may be repeated. The rest of its cluster is still observed.
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
}

impl Target {
    /// Reads the inventory and selects from it.
    ///
    /// # Errors
    /// The file has mistakes, or a name is not in it.
    pub fn load(&self) -> Result<(Inventory, Vec<Selection>), Error> {
        let inventory = Inventory::load(&self.inventory)?;
        let selections = inventory.select(&self.cluster, &self.host)?;
        Ok((inventory, selections))
    }

    /// A command line of rollgate for one cluster of this inventory.
    pub fn command(&self, verb: &str, cluster: &str, several: bool) -> String {
        let mut text = format!("rollgate {verb} -i {}", shell_word(&self.inventory.to_string_lossy()));
        if several {
            text.push_str(&format!(" --cluster {}", shell_word(cluster)));
        }
        text
    }
}

/// A word as one would have to type it in a shell.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@=+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// What a playbook asks for.
#[derive(Debug, Args)]
pub struct Parameters {
    /// A parameter of the playbook; may be repeated. `rollgate run PLAYBOOK --help` shows them.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub set: Vec<(String, String)>,
}

impl Parameters {
    /// The playbook at `path` with these values; without a path the embedded one that `restart` follows.
    ///
    /// # Errors
    /// The file has mistakes, or a value does not fit.
    pub fn playbook(&self, path: Option<&Path>) -> Result<Playbook, Error> {
        match path {
            Some(path) => pinned(Playbook::load(path, Given::Values(&self.set))?),
            None => Ok(Playbook::restart()),
        }
    }
}

/// A playbook whose program, where it is a file here, is told by its digest from now on: what is planned is what is put in place.
fn pinned(mut playbook: Playbook) -> Result<Playbook, Error> {
    for step in &mut playbook.turn {
        if let Step::Configure(configure) = step {
            for source in &mut configure.files {
                // Whoever goes on with it may stand elsewhere.
                let absolute = std::path::absolute(&source.from);
                source.from = absolute.map_err(Error::internal)?.display().to_string();
            }
        }
        let Step::Install(Install { from: Source::Controller(path), sha256, .. }) = step else { continue };
        let failed =
            |error: std::io::Error| Error::plain(Code::Usage, format!("the program {path} can't be read: {error}"));
        let content = std::fs::read(&*path).map_err(failed)?;
        let found = install::sha256(&content);
        if let Some(expected) = sha256.as_ref().filter(|expected| **expected != found) {
            let text = format!("the program {path} has the sha256 {found}, and not {expected}");
            return Err(Error::plain(Code::Usage, text));
        }
        *path = std::path::absolute(&*path).map_err(failed)?.display().to_string();
        *sha256 = Some(found);
    }
    Ok(playbook)
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

/// How a roll may be limited.
#[derive(Debug, Args)]
pub struct Limits {
    /// End after this many servers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub stop_after: Option<u32>,
    /// Give a turn only to servers whose configuration or program on disk is not the one that runs, or is not known to be.
    #[arg(long, value_enum, value_name = "CONDITION")]
    pub only_if: Option<Condition>,
    /// Consent to an objection, by the name that `plan` shows; may be repeated. A finding that keeps a server from coming back
    /// is consented to by its code: `preflight:CODE`.
    #[arg(long, value_name = "OBJECTION", value_parser = clap::builder::PossibleValuesParser::new(objections()))]
    pub allow: Vec<String>,
}

/// [`OnlyIf`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Condition {
    /// Configuration or program on disk is not the one that runs, or is not known to be.
    Changed,
}

/// What can be consented to; of the findings, whose codes are many, `explain` has the list.
pub fn objections() -> impl Iterator<Item = PossibleValue> {
    Objection::consents().map(|name| PossibleValue::new(name).hide(!Objection::OVERRIDABLE.contains(&name)))
}

impl Limits {
    /// The playbook with what the command line says in its place.
    pub fn apply(&self, mut playbook: Playbook) -> Playbook {
        playbook.policy.allow.extend(self.allow.iter().cloned());
        playbook.policy.only_if = self.only_if.map(|Condition::Changed| OnlyIf::Changed).or(playbook.policy.only_if);
        playbook.policy.stop_after = self.stop_after.or(playbook.policy.stop_after);
        playbook
    }
}

/// When a certificate's end is near.
#[derive(Debug, Clone, Copy, Args)]
pub struct Expiring {
    /// Tell certificates that expire within so many days.
    #[arg(long, value_name = "DAYS", default_value_t = EXPIRING_DAYS)]
    pub expiring_days: u32,
}

impl Expiring {
    /// What the rules are told.
    pub fn context(self, purpose: Purpose) -> Context {
        Context { purpose, expiring_days: self.expiring_days, ..Context::default() }
    }
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document, for programs.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_survive_a_shell() {
        for (word, typed) in
            [("inventory.yaml", "inventory.yaml"), ("my file", "'my file'"), ("a'b", r"'a'\''b'"), ("", "''")]
        {
            assert_eq!(shell_word(word), typed);
        }
    }
}
