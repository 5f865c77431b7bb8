//! The JetStream assets of a cluster and the raft groups behind them: who leads, who is current, and whose word it is.
//!
//! [`ServerAssets`] is what one server said; [`assemble()`] makes one [`Assets`] of what all of them said, or why one said
//! nothing. A group's members are given **as its leader counts them**: on any other member `current`, `active` and `lag`
//! of the others mean nothing (seen on 2.10.26 and 2.15.1: followers call each other not current, active 0, and lag
//! everything). What no leader vouches for stays unknown and is never left out.

mod ask;
mod assemble;
mod seen;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use ask::{ACTIVE_MAX, Impact, Majority};
pub use assemble::assemble;
pub use seen::{AssetSeen, Claim, MetaSeen, PeerSeen, ServerAssets};

use super::view::Failure;

/// All raft groups and assets of a cluster, put together from what its servers said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assets {
    /// The servers that were to be asked, by server name, and when each answered, by the controller's clock; none where
    /// it did not (the reason is among the gaps).
    pub asked: BTreeMap<String, Option<Timestamp>>,
    /// The meta group first, then streams and consumers, each by account, stream and consumer name.
    pub groups: Vec<Group>,
    /// What is not known. Rules must treat a server with a gap as one that may hold anything.
    pub gaps: Vec<Gap>,
    /// Readable names of accounts, by the id that groups carry, where the two differ (operator mode).
    pub account_names: BTreeMap<String, String>,
}

/// What could not be observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "gap")]
pub enum Gap {
    /// A server told nothing: whatever is on it is known through others only, and R1 assets not at all.
    NotSeen {
        /// The server's name.
        server: String,
        /// Why.
        failure: Failure,
    },
    /// A server told less than it has: a page failed, or its counts do not add up.
    Truncated {
        /// The server's name.
        server: String,
        /// The account concerned, where only one is.
        account: Option<String>,
        /// What is missing, in words with counts.
        detail: String,
    },
    /// JetStream is off on a server: it has none, or it was disabled at run time.
    Disabled {
        /// The server's name.
        server: String,
    },
    /// Two servers answered by one name, so what is "on" it can't be told.
    SameName {
        /// The name.
        server: String,
        /// Their ids.
        ids: Vec<String>,
    },
}

/// What a raft group is for. An R1 asset has no raft group, and is one of a single member here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The cluster's own state: assignments of streams and consumers.
    Meta,
    /// A stream.
    Stream,
    /// A consumer.
    Consumer,
}

/// Where an asset's data is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory: a restart empties it, and it is filled again from a peer.
    Memory,
}

/// One raft group, or one R1 asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// What it is for.
    pub kind: Kind,
    /// The account's id (in configuration mode its name); empty for meta.
    pub account: String,
    /// The stream, of a consumer too; empty for meta.
    pub stream: String,
    /// The consumer; empty for others.
    pub consumer: String,
    /// The raft group's own name, such as `S-R3F-24l7273B`; none for meta, and where no server told it.
    pub raft: Option<String>,
    /// Replicas that the configuration asks for; the size of the cluster for meta.
    pub wanted: u32,
    /// Where the data is.
    pub storage: Storage,
    /// Who leads.
    pub leader: Leader,
    /// The members; those whose leader did not answer have no standing.
    pub members: Vec<Member>,
    /// Subjects of a stream; filter subjects of a consumer.
    pub subjects: Vec<String>,
    /// Consumers of a stream that were seen anywhere.
    pub consumers: u32,
    /// When a message last came in (stream), or was delivered or acknowledged (consumer), by the servers' clocks.
    pub last_active: Option<Timestamp>,
    /// It stays when nobody uses it: every stream, and the consumers that were given a durable name.
    #[serde(default)]
    pub durable: bool,
    /// The JetStream API level that it needs (`_nats.req.level` in its metadata); 0 where it needs none. A server of a lower
    /// level takes it offline.
    #[serde(default)]
    pub level: u32,
    /// What is under way.
    pub pending: Vec<Pending>,
    /// The copies, each as its own server tells it, by server name.
    pub copies: Vec<Copy>,
}

/// Who leads a group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Leader {
    /// The one server that says of itself that it leads; none if there is none, or there are several.
    pub server: Option<String>,
    /// When it said so, by the controller's clock.
    pub at: Option<Timestamp>,
    /// Where no server says so of itself: the one that most of the others name. It may not have been heard.
    pub hearsay: Option<String>,
    /// What each server says, where they differ: the leader named (none: it knows of none) and by whom. Empty while all
    /// agree. For a moment after an election it is normal.
    pub disputed: Vec<LeaderClaim>,
}

/// A leader that some servers name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderClaim {
    /// The leader named.
    pub leader: Option<String>,
    /// By these servers.
    pub by: Vec<String>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The server's name; for a peer that the leader never met since its start, the leader's words for it.
    pub server: String,
    /// How it stands in the leader's eyes; none where the leader was not heard.
    pub standing: Option<Standing>,
}

/// How a member stands, as the group's leader counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Up to date. From 2.12 on: lag 0 and seen within 10 s; before, looser.
    pub current: bool,
    /// Lost, by the system account's heartbeats. It comes only 150 s after a death: use `active`.
    pub offline: bool,
    /// Since it last answered the leader; zero for the leader itself.
    #[serde(rename = "active_ms", with = "crate::core::millis")]
    pub active: Duration,
    /// Raft entries that it is behind.
    pub lag: u64,
    /// It is assigned, and has not joined the raft group (told from 2.15 on).
    pub joining: bool,
}

/// What is under way with a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "pending")]
pub enum Pending {
    /// It has more or fewer members than its configuration wants: it is scaled or moved.
    Resize {
        /// Members that it has.
        members: u32,
        /// Members that it should have.
        wanted: u32,
    },
    /// A peer is about to join.
    Joining {
        /// The server.
        server: String,
    },
    /// Its servers are to be others (`cluster.desired`, told by servers later than 2.15.1).
    Move,
    /// The server that the others call its leader was heard, and has nothing of it: it is being restored there from a
    /// backup (seen on 2.15.1), or has just been made.
    Restore {
        /// The server.
        server: String,
    },
    /// The meta leader has requests queued.
    Requests {
        /// How many.
        count: u64,
    },
}

/// One copy of an asset, as the server that has it tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Copy {
    /// The server's name.
    pub server: String,
    /// When it said so, by the controller's clock.
    pub at: Timestamp,
    /// Its raft node runs, or it needs none (R1). A server whose node is gone calls itself the leader of a group of one.
    pub node: bool,
    /// What is in it.
    pub state: State,
}

/// What is in a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Of a stream.
    Stream(StreamState),
    /// Of a consumer.
    Consumer(ConsumerState),
}

/// A stream's copy. Damaged or lost data shows here only: the server calls itself healthy and the leader calls it
/// current (facts/failures.md, 3 and 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamState {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
    /// First sequence.
    pub first_seq: u64,
    /// Last sequence.
    pub last_seq: u64,
    /// Messages deleted between the two.
    pub num_deleted: u64,
    /// When the stream was made: another time is another stream of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When the first message came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_at: Option<Timestamp>,
    /// What may take messages away without anybody's doing.
    #[serde(default)]
    pub removal: Removal,
}

impl StreamState {
    /// Sequences up to the last that hold no message: deleted, purged, expired, acknowledged, or lost. It never falls on one
    /// copy, and a copy that is current never has more of them than another has a moment later: measured on 2.10.26 and
    /// 2.15.1 under writes, deletes, purges, expiry and acknowledgements, over a restart of each server.
    pub fn holes(&self) -> u64 {
        self.last_seq.saturating_sub(self.messages)
    }
}

/// What in a stream's configuration takes messages away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Removal {
    /// `max_msgs` or `max_msgs_per_subject`: each new message may push out an old one.
    #[serde(default)]
    pub by_count: bool,
    /// `max_bytes`: a new message may push out any number.
    #[serde(default)]
    pub by_size: bool,
    /// `max_age`, 0 for none.
    #[serde(default)]
    pub max_age_ms: u64,
    /// `allow_msg_ttl`: each message may have an age of its own.
    #[serde(default)]
    pub by_ttl: bool,
    /// Work queue or interest: what is acknowledged goes.
    #[serde(default)]
    pub by_acks: bool,
}

/// A consumer's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConsumerState {
    /// Stream sequence delivered last.
    pub delivered: u64,
    /// Stream sequence up to which all is acknowledged.
    pub ack_floor: u64,
    /// Delivered and not acknowledged.
    pub ack_pending: u64,
    /// Not delivered yet. Only the leader knows: followers say 0 or what they last knew.
    pub pending: u64,
    /// Messages delivered so far. Stream sequences also rise on the leader alone where messages are skipped (seen on
    /// 2.10.26 and 2.15.1); this counts what was done, and never falls on one copy.
    #[serde(default)]
    pub delivered_count: u64,
    /// The same for what is acknowledged.
    #[serde(default)]
    pub acked_count: u64,
    /// When the consumer was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
}
