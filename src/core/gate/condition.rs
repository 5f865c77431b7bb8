//! The conditions of readiness, by name.

use serde::{Deserialize, Serialize};

/// The parts of readiness, in the order in which they usually come true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The service manager says that the process runs.
    Service,
    /// The monitoring port answers, from a new process with the same name.
    NewProcess,
    /// healthz is clean.
    Healthz,
    /// The client port answers.
    ClientPort,
    /// Every peer has a route to the new process.
    PeerRoutes,
    /// Every raft group on the server has a leader that calls it current.
    CaughtUp,
    /// The streams and consumers on it have what they had.
    Data,
    /// No certificate of its listeners is worse than before.
    Certificates,
    /// Clients, leafnodes and gateways of the cluster are back; only where the playbook wants that.
    Connections,
    /// Recovery moves. It is told, at the deadline, of one that has stopped.
    Recovery,
}

impl Condition {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::NewProcess => "new-process",
            Self::Healthz => "healthz",
            Self::ClientPort => "client-port",
            Self::PeerRoutes => "peer-routes",
            Self::CaughtUp => "caught-up",
            Self::Data => "data",
            Self::Certificates => "certificates",
            Self::Connections => "connections",
            Self::Recovery => "recovery",
        }
    }
}

/// A condition that does not hold, and what was seen instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The condition.
    pub condition: Condition,
    /// What was seen, in words.
    pub reason: String,
    /// For how long it has not held.
    pub for_ms: u64,
}
