//! The resolved playbook.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Parameter;

pub use crate::core::playbook::{
    Canary, Drain, Gate, Hooks, OnlyIf, OrderRule, Policy, Reboot, Reload, Settle, Start, Step, Stop,
};

/// What is done to each server of a cluster, one server at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Playbook {
    /// Short name, for messages and the journal.
    pub name: String,
    /// What it does, in the operator's words; may be empty.
    pub description: String,
    /// What it asks of whoever runs it, in the order of the file.
    pub parameters: Vec<Parameter>,
    /// What holds between turns.
    pub policy: Policy,
    /// The steps of one server's passage, in order; never empty, and in an order that leaves no
    /// server down or unguarded.
    pub turn: Vec<Step>,
    /// What is done before, after and on halt.
    pub hooks: Hooks,
    /// Where it was read from.
    pub source: PlaybookSource,
    /// Stable hash of the text in hex, as [`Inventory::digest`](crate::config::Inventory::digest).
    pub digest: String,
}

/// Where a playbook was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaybookSource {
    /// A file of the operator, as given.
    File(PathBuf),
    /// One that is part of the program, by name.
    Embedded(String),
}

impl fmt::Display for PlaybookSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Embedded(name) => write!(f, "{name} (built in)"),
        }
    }
}
