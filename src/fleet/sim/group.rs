//! Raft groups: who leads, who is current, what is in each copy.

use super::{times::Ms, topology::AssetSpec};
use crate::core::assets::Kind;

/// A group: meta, a stream or a consumer.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) kind: Kind,
    pub(super) account: String,
    pub(super) stream: String,
    pub(super) consumer: String,
    pub(super) subjects: Vec<String>,
    /// The raft group's own name.
    pub(super) raft: String,
    pub(super) memory: bool,
    pub(super) in_use: bool,
    pub(super) members: Vec<Member>,
    pub(super) leader: Option<usize>,
    /// Who led last: the others go on naming it until they elect.
    pub(super) last_leader: Option<usize>,
    pub(super) leaderless_since: Option<Ms>,
    /// Grows with every change of leader, so that an election that was overtaken comes to nothing.
    pub(super) term: u32,
    pub(super) preferred: Option<usize>,
    pub(super) moving_since: Option<Ms>,
    /// The JetStream API level that it needs.
    pub(super) level: u32,
    /// It mirrors a stream from which whole ranges of messages are deleted.
    pub(super) gaps: bool,
    /// For how long it had no leader, in all.
    pub(super) dark: Ms,
}

/// A member and its copy.
#[derive(Debug)]
pub(super) struct Member {
    /// The server, by its place.
    pub(super) server: usize,
    pub(super) synced: bool,
    /// Since when it is not both up and current.
    pub(super) unfit_since: Option<Ms>,
    /// It never catches up.
    pub(super) stuck: bool,
    pub(super) messages: u64,
    pub(super) last_seq: u64,
    /// A block is gone: what is missing is not filled again.
    pub(super) damaged: bool,
    /// Its server has it, and knows that it can't serve it.
    pub(super) unsupported: bool,
    /// Its raft log has entries that delete a range, which older versions can't read.
    pub(super) ranges: bool,
}

impl Member {
    fn new(server: usize, messages: u64) -> Self {
        Self {
            server,
            synced: true,
            unfit_since: None,
            stuck: false,
            messages,
            last_seq: messages,
            damaged: false,
            unsupported: false,
            ranges: false,
        }
    }
}

impl Group {
    /// The meta group over all servers.
    pub(super) fn meta(servers: usize, leader: usize) -> Self {
        Self::new(Kind::Meta, (0..servers).map(|server| Member::new(server, 0)).collect(), leader)
    }

    fn new(kind: Kind, members: Vec<Member>, leader: usize) -> Self {
        Self {
            kind,
            account: String::new(),
            stream: String::new(),
            consumer: String::new(),
            subjects: Vec::new(),
            raft: String::new(),
            memory: false,
            in_use: false,
            members,
            leader: Some(leader),
            last_leader: None,
            leaderless_since: None,
            term: 0,
            preferred: None,
            moving_since: None,
            level: 0,
            gaps: false,
            dark: 0,
        }
    }

    /// A stream or a consumer; none where no host of it is known.
    pub(super) fn asset(spec: &AssetSpec, place: impl Fn(&str) -> Option<usize>) -> Option<Self> {
        let places: Vec<usize> = spec.on.iter().filter_map(|host| place(host)).collect();
        let first = *places.first()?;
        let members = places.into_iter().map(|server| Member::new(server, spec.messages)).collect();
        let kind = if spec.consumer.is_some() { Kind::Consumer } else { Kind::Stream };
        Some(Self {
            account: spec.account.clone(),
            stream: spec.stream.clone(),
            consumer: spec.consumer.clone().unwrap_or_default(),
            subjects: spec.subjects.clone(),
            memory: spec.memory,
            in_use: spec.in_use,
            level: spec.level,
            gaps: spec.gaps,
            ..Self::new(kind, members, first)
        })
    }

    /// It has a leader again.
    pub(super) fn led_by(&mut self, server: usize, now: Ms) {
        self.leader = Some(server);
        self.preferred = None;
        if let Some(since) = self.leaderless_since.take() {
            self.dark += now.saturating_sub(since);
        }
    }

    pub(super) fn single(&self) -> bool {
        self.members.len() == 1 && self.kind != Kind::Meta
    }

    pub(super) fn member(&self, server: usize) -> Option<usize> {
        self.members.iter().position(|member| member.server == server)
    }

    /// How many make a majority.
    pub(super) fn needed(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// The account's and asset's name, as healthz writes it.
    pub(super) fn named(&self) -> String {
        match self.kind {
            Kind::Meta => "the meta group".into(),
            Kind::Stream => format!("{} > {}", self.account, self.stream),
            Kind::Consumer => format!("{} > {} > {}", self.account, self.stream, self.consumer),
        }
    }
}
