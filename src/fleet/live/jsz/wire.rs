//! The JSON of `JSZ` (system account) and `/jsz` (monitoring port): the same, but for the envelope.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::core::assets::{
    AssetSeen, Claim, ConsumerState, Kind, MetaSeen, PeerSeen, Removal, Standing, State, Storage, StreamState,
};

/// One answer.
#[derive(Debug, Deserialize)]
pub struct Jsz {
    /// The id of the server that answers.
    pub server_id: String,
    /// JetStream is off.
    #[serde(default)]
    pub disabled: bool,
    /// Streams on the server in all accounts, whatever part was asked for.
    #[serde(default)]
    pub streams: u64,
    /// Consumers, the same.
    #[serde(default)]
    pub consumers: u64,
    /// Messages in them.
    #[serde(default)]
    pub messages: u64,
    #[serde(default)]
    meta_cluster: Option<Meta>,
    /// The accounts of this page.
    #[serde(default)]
    pub account_details: Vec<Account>,
}

#[derive(Debug, Deserialize)]
struct Meta {
    #[serde(default)]
    leader: String,
    #[serde(default)]
    replicas: Vec<Peer>,
    #[serde(default)]
    cluster_size: u32,
    #[serde(default)]
    pending: u64,
}

/// An account with JetStream.
#[derive(Debug, Deserialize)]
pub struct Account {
    /// For people.
    pub name: String,
    /// In operator mode the account's public key, else the name.
    pub id: String,
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    cluster: Cluster,
    #[serde(default)]
    config: StreamConfig,
    #[serde(default)]
    state: WireState,
    #[serde(default)]
    consumer_detail: Vec<Consumer>,
    #[serde(default)]
    stream_raft_group: Option<String>,
    #[serde(default)]
    consumer_raft_groups: Vec<RaftName>,
}

#[derive(Debug, Deserialize)]
struct RaftName {
    name: String,
    #[serde(default)]
    raft_group: Option<String>,
}

#[derive(Debug, Deserialize, Default)]
struct Cluster {
    #[serde(default)]
    raft_group: Option<String>,
    #[serde(default)]
    leader: String,
    #[serde(default)]
    replicas: Vec<Peer>,
    #[serde(default)]
    desired: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Peer {
    name: String,
    #[serde(default)]
    current: bool,
    #[serde(default)]
    offline: bool,
    /// Nanoseconds.
    #[serde(default)]
    active: u64,
    #[serde(default)]
    lag: u64,
    #[serde(default)]
    pending: bool,
}

#[derive(Debug, Deserialize, Default)]
struct StreamConfig {
    #[serde(default)]
    subjects: Vec<String>,
    #[serde(default)]
    retention: String,
    #[serde(default)]
    storage: String,
    #[serde(default)]
    num_replicas: u32,
    #[serde(default)]
    metadata: Metadata,
    /// No limit is -1.
    #[serde(default)]
    max_msgs: i64,
    #[serde(default)]
    max_msgs_per_subject: i64,
    #[serde(default)]
    max_bytes: i64,
    /// Nanoseconds.
    #[serde(default)]
    max_age: u64,
    #[serde(default)]
    allow_msg_ttl: bool,
}

#[derive(Debug, Deserialize, Default)]
struct Metadata {
    #[serde(default, rename = "_nats.req.level")]
    level: Option<String>,
}

impl Metadata {
    /// The level needed (nats-server `jetstream_versioning.go`, which takes what is no number for one that it lacks).
    fn level(&self) -> u32 {
        match self.level.as_deref() {
            None | Some("") => 0,
            Some(text) => text.parse().unwrap_or(u32::MAX),
        }
    }
}

impl StreamConfig {
    fn removal(&self) -> Removal {
        Removal {
            by_count: self.max_msgs > 0 || self.max_msgs_per_subject > 0,
            by_size: self.max_bytes > 0,
            max_age_ms: self.max_age.div_ceil(1_000_000),
            by_ttl: self.allow_msg_ttl,
            by_acks: !matches!(self.retention.as_str(), "" | "limits"),
        }
    }
}

#[derive(Debug, Deserialize, Default)]
struct WireState {
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    first_seq: u64,
    #[serde(default)]
    last_seq: u64,
    #[serde(default)]
    first_ts: Option<String>,
    #[serde(default)]
    last_ts: Option<String>,
    #[serde(default)]
    num_deleted: u64,
}

#[derive(Debug, Deserialize)]
struct Consumer {
    name: String,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: ConsumerConfig,
    #[serde(default)]
    delivered: Sequence,
    #[serde(default)]
    ack_floor: Sequence,
    #[serde(default)]
    num_ack_pending: u64,
    #[serde(default)]
    num_pending: u64,
    #[serde(default)]
    cluster: Cluster,
}

#[derive(Debug, Deserialize, Default)]
struct ConsumerConfig {
    #[serde(default)]
    durable_name: Option<String>,
    #[serde(default)]
    filter_subject: Option<String>,
    #[serde(default)]
    filter_subjects: Vec<String>,
    #[serde(default)]
    num_replicas: u32,
    #[serde(default)]
    mem_storage: bool,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Deserialize, Default)]
struct Sequence {
    #[serde(default)]
    consumer_seq: u64,
    #[serde(default)]
    stream_seq: u64,
    #[serde(default)]
    last_active: Option<String>,
}

impl Jsz {
    /// The meta group as the server sees it.
    pub fn meta(&self) -> Option<MetaSeen> {
        let meta = self.meta_cluster.as_ref()?;
        let claim =
            Claim { leader: leader(&meta.leader), peers: meta.replicas.iter().map(peer).collect(), moving: false };
        Some(MetaSeen { claim, size: meta.cluster_size, requests: meta.pending })
    }
}

impl Account {
    /// Streams in the answer.
    pub fn streams(&self) -> u64 {
        u64::try_from(self.stream_detail.len()).unwrap_or(u64::MAX)
    }

    /// Adds the account's streams and consumers to `out`.
    pub fn into_assets(self, out: &mut Vec<AssetSeen>) {
        for stream in self.stream_detail {
            stream.into_assets(&self.id, out);
        }
    }
}

impl Stream {
    fn into_assets(mut self, account: &str, out: &mut Vec<AssetSeen>) {
        let storage = if self.config.storage == "memory" { Storage::Memory } else { Storage::File };
        let wanted = self.config.num_replicas.max(1);
        for consumer in std::mem::take(&mut self.consumer_detail) {
            out.push(self.consumer(account, consumer, storage, wanted));
        }
        let (node, claim) = self.cluster.claim(wanted);
        let state = StreamState {
            messages: self.state.messages,
            bytes: self.state.bytes,
            first_seq: self.state.first_seq,
            last_seq: self.state.last_seq,
            num_deleted: self.state.num_deleted,
            created: self.created.as_deref().and_then(time),
            first_at: self.state.first_ts.as_deref().and_then(time),
            removal: self.config.removal(),
        };
        out.push(AssetSeen {
            kind: Kind::Stream,
            account: account.to_owned(),
            stream: self.name,
            consumer: String::new(),
            raft: self.cluster.raft_group.or(self.stream_raft_group),
            wanted,
            storage,
            node,
            claim,
            subjects: self.config.subjects,
            last_active: self.state.last_ts.as_deref().and_then(time),
            durable: true,
            level: self.config.metadata.level(),
            state: State::Stream(state),
        });
    }

    fn consumer(&self, account: &str, consumer: Consumer, storage: Storage, replicas: u32) -> AssetSeen {
        let wanted = consumer.config.replicas(&self.config.retention, replicas);
        let (node, claim) = consumer.cluster.claim(wanted);
        let raft = self.consumer_raft_groups.iter().find(|raft| raft.name == consumer.name);
        let raft = raft.and_then(|raft| raft.raft_group.clone());
        let (durable, level) = (consumer.config.durable(), consumer.config.metadata.level());
        let one = consumer.config.filter_subject.filter(|subject| !subject.is_empty());
        AssetSeen {
            kind: Kind::Consumer,
            account: account.to_owned(),
            stream: self.name.clone(),
            consumer: consumer.name,
            raft: consumer.cluster.raft_group.or(raft),
            wanted,
            storage: if consumer.config.mem_storage { Storage::Memory } else { storage },
            durable,
            level,
            node,
            claim,
            subjects: one.into_iter().chain(consumer.config.filter_subjects).collect(),
            last_active: [&consumer.delivered, &consumer.ack_floor]
                .into_iter()
                .filter_map(|sequence| sequence.last_active.as_deref().and_then(time))
                .max(),
            state: State::Consumer(ConsumerState {
                delivered: count(consumer.delivered.stream_seq),
                ack_floor: count(consumer.ack_floor.stream_seq),
                ack_pending: consumer.num_ack_pending,
                pending: consumer.num_pending,
                delivered_count: count(consumer.delivered.consumer_seq),
                acked_count: count(consumer.ack_floor.consumer_seq),
                created: consumer.created.as_deref().and_then(time),
            }),
        }
    }
}

impl ConsumerConfig {
    fn durable(&self) -> bool {
        self.durable_name.as_ref().is_some_and(|name| !name.is_empty())
    }

    /// Replicas of a consumer on a stream of `stream` replicas (nats-server `consumer.go`, `ConsumerConfig.replicas`): its
    /// own number where it has one that is not above the stream's; else the stream's, but one for an ephemeral consumer
    /// of a stream with limits retention.
    fn replicas(&self, retention: &str, stream: u32) -> u32 {
        match self.num_replicas {
            0 if !self.durable() && matches!(retention, "" | "limits") => 1,
            own if own == 0 || own > stream => stream,
            own => own,
        }
    }
}

impl Cluster {
    /// Whether the raft node runs or none is needed, and what the server says of the group. A server whose node is
    /// missing names itself as the leader and nobody else (`jetstream_cluster.go`, `clusterInfo`).
    fn claim(&self, wanted: u32) -> (bool, Claim) {
        let named = self.raft_group.as_ref().is_some_and(|name| !name.is_empty());
        let node = wanted <= 1 || named || !self.replicas.is_empty();
        let peers = self.replicas.iter().map(peer).collect();
        (node, Claim { leader: leader(&self.leader), peers, moving: self.desired.is_some() })
    }
}

fn leader(name: &str) -> Option<String> {
    Some(name.to_owned()).filter(|name| !name.is_empty())
}

fn peer(wire: &Peer) -> PeerSeen {
    PeerSeen {
        server: wire.name.clone(),
        standing: Standing {
            current: wire.current,
            offline: wire.offline,
            // Whole milliseconds, as the view is written down: what is read again must be equal.
            active: Duration::from_millis(wire.active / 1_000_000),
            lag: wire.lag,
            joining: wire.pending,
        },
    }
}

/// A count. A consumer whose state was garbage says minus one, as 2^64 - 1 (seen on 2.10.26).
fn count(number: u64) -> u64 {
    if i64::try_from(number).is_ok() { number } else { 0 }
}

/// A time; none for Go's zero time, `0001-01-01T00:00:00Z`.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|time| *time > Timestamp::UNIX_EPOCH)
}
