//! What one server says of the assets on it, whichever way it was asked.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Gap, Kind, Standing, State, Storage};

/// What one server said (`JSZ`, with accounts, streams, consumers and their configuration).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerAssets {
    /// Its name.
    pub server: String,
    /// Its id, new at every start of the process.
    pub server_id: String,
    /// When the first part of its answer was asked for, by the controller's clock: nothing in it is older.
    pub at: Timestamp,
    /// JetStream is on.
    pub jetstream: bool,
    /// The meta group; none on a server that is not clustered.
    pub meta: Option<MetaSeen>,
    /// Streams and consumers of all accounts.
    pub assets: Vec<AssetSeen>,
    /// Ids and readable names of accounts, where they differ.
    pub account_names: Vec<(String, String)>,
    /// What it did not tell.
    pub gaps: Vec<Gap>,
}

/// A server's word on the meta group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetaSeen {
    /// Leader and peers.
    pub claim: Claim,
    /// Members, present or not (`cluster_size`).
    pub size: u32,
    /// Requests queued.
    pub requests: u64,
}

/// A server's word on a group: who leads, and how the others stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The leader; none while it knows of none.
    pub leader: Option<String>,
    /// The members other than the server itself (and with it while there is no leader).
    pub peers: Vec<PeerSeen>,
    /// Another set of servers is wanted.
    pub moving: bool,
}

/// A peer in one server's eyes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerSeen {
    /// Its name.
    pub server: String,
    /// How it stands.
    pub standing: Standing,
}

/// A stream or a consumer on one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssetSeen {
    /// Stream or consumer.
    pub kind: Kind,
    /// The account's id.
    pub account: String,
    /// The stream.
    pub stream: String,
    /// The consumer; empty for a stream.
    pub consumer: String,
    /// The raft group's name.
    pub raft: Option<String>,
    /// Replicas wanted.
    pub wanted: u32,
    /// Where the data is.
    pub storage: Storage,
    /// Whether the raft node runs, or none is needed.
    pub node: bool,
    /// Who leads, and how the others stand.
    pub claim: Claim,
    /// Subjects, or filter subjects.
    pub subjects: Vec<String>,
    /// When it was last used.
    pub last_active: Option<Timestamp>,
    /// It stays when nobody uses it: every stream, and the consumers that were given a durable name.
    pub durable: bool,
    /// The JetStream API level that it needs; 0 where it needs none.
    pub level: u32,
    /// The server's own copy.
    pub state: State,
}
