//! The resolved playbook.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::duration;

/// What is done to each server of a cluster, one server at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Playbook {
    /// Short name, for messages and the journal.
    pub name: String,
    /// What it does, in the operator's words; may be empty.
    pub description: String,
    /// What holds between turns.
    pub policy: Policy,
    /// The steps of one server's passage, in order; never empty, and in an order that leaves no
    /// server down or unguarded.
    pub turn: Vec<Step>,
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

/// What holds between turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What decides who is next: the first rule that tells two servers apart; where none does,
    /// the inventory's order.
    pub order: Vec<OrderRule>,
    /// Stop after this many turns, never 0; `None` for all.
    pub stop_after: Option<u32>,
    /// Wait between two turns.
    #[serde(with = "duration::text")]
    pub pause: Duration,
    /// How long one observation of the whole cluster may take.
    #[serde(with = "duration::text")]
    pub observe_deadline: Duration,
}

/// One thing that decides who is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename = "order rule", rename_all = "kebab-case")]
#[schemars(rename = "order-rule")]
pub enum OrderRule {
    /// A server that is not ready goes first: it has nothing to lose.
    Unready,
    /// Zone by zone, in the order in which the inventory first names each.
    Zone,
    /// As the inventory lists them.
    Inventory,
    /// The leader of the meta group goes last, so that it moves once.
    MetaLeaderLast,
}

/// One part of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The service manager stops the server.
    Stop(Stop),
    /// The service manager starts the server.
    Start(Start),
    /// Wait until the server has proved that it is back.
    Gate(Gate),
    /// See that it stays so.
    Settle(Settle),
}

impl Step {
    /// Its name in a playbook.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stop(_) => "stop",
            Self::Start(_) => "start",
            Self::Gate(_) => "gate",
            Self::Settle(_) => "settle",
        }
    }
}

/// The service manager stops the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// How long until the process must be gone.
    #[serde(with = "duration::text")]
    pub deadline: Duration,
}

/// The service manager starts the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// How long the service manager may take to accept and run the start job. Whether the server
    /// is ready is the gate's business.
    #[serde(with = "duration::text")]
    pub deadline: Duration,
}

/// Wait until the server has proved that it is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// How long until the server must have passed.
    #[serde(with = "duration::text")]
    pub deadline: Duration,
    /// Good looks in a row that open the gate, never 0.
    pub looks: u32,
    /// Wait between the first two looks; later waits grow to `max_interval`.
    #[serde(with = "duration::text")]
    pub first_interval: Duration,
    /// Longest wait between two looks.
    #[serde(with = "duration::text")]
    pub max_interval: Duration,
    /// How long one look may take before it counts as failed.
    #[serde(with = "duration::text")]
    pub look_timeout: Duration,
}

/// See that a server which passed its gate stays ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    /// How long it must stay so; the key is `for`.
    #[serde(with = "duration::text")]
    pub hold: Duration,
    /// Wait between two looks.
    #[serde(with = "duration::text")]
    pub interval: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            order: vec![
                OrderRule::Unready,
                OrderRule::MetaLeaderLast,
                OrderRule::Zone,
            ],
            stop_after: None,
            // The settle step already holds the roll; a pause is the operator's wish.
            pause: Duration::ZERO,
            // Hosts are asked at once, and the slowest healthz seen took 1.9 s; the rest is for
            // first connects through a jump host.
            observe_deadline: Duration::from_secs(30),
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            // Lame duck lasts 2 minutes by default and the published unit is killed after 150 s
            // (TimeoutStopSec): 30 s later it is truly stuck.
            deadline: Duration::from_secs(180),
        }
    }
}

impl Default for Start {
    fn default() -> Self {
        // The job is a fork: milliseconds. 30 s is for a host under load.
        Self {
            deadline: Duration::from_secs(30),
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            // Reading 1.5 GB from a slow disk took 25 s, so this is room for some 35 GB.
            deadline: Duration::from_secs(600),
            // The first 200 comes too early, and one was followed by 503 a second later.
            looks: 3,
            // A healthy server is back in 0.3 to 2.1 s: looking early is what makes a roll short.
            first_interval: Duration::from_millis(50),
            // A look costs the server next to nothing, and nobody minds 2 s after a minute.
            max_interval: Duration::from_secs(2),
            // An account that can't be resolved makes a healthz take 1.9 s.
            look_timeout: Duration::from_secs(3),
        }
    }
}

impl Default for Settle {
    fn default() -> Self {
        Self {
            // A 200 at 0.85 s was followed by 503 from 1.9 s on: 3 s sees that with some to spare.
            hold: Duration::from_secs(3),
            interval: Duration::from_millis(500),
        }
    }
}
