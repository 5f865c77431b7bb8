//! What the safety rules, the plan and the gate ask of the assets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Assets, Gap, Group, Kind, Member, Standing};

/// A member that its leader has not heard for longer does not count towards a majority. Leaders send a heartbeat a second
/// (`raft.go`, `hbInterval`), so this is five of them missed, the limit that the NATS CLI has too; the server itself
/// waits 10 s (`lostQuorumInterval`), by when `current` may long be false. Idle groups of healthy clusters were seen at 1.2 s at most (24 members, 2.10.26 and 2.15.1).
pub const ACTIVE_MAX: Duration = Duration::from_secs(5);

/// A group's majority now and without one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Majority {
    /// Members, present or not.
    pub members: u32,
    /// How many make a majority.
    pub needed: u32,
    /// Members that count now: current, and heard by the leader within [`ACTIVE_MAX`].
    pub now: u32,
    /// The same without the server.
    pub without: u32,
}

impl Majority {
    /// Whether the group keeps a majority without the server.
    pub fn kept(self) -> bool {
        self.without >= self.needed
    }

    /// Whether it keeps one that one more loss would end.
    pub fn bare(self) -> bool {
        self.without == self.needed
    }
}

/// What a restart of one server means for the groups on it. Every group on it is in exactly one of the lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Impact<'a> {
    /// No copy but this: offline until the server is back, and gone where it is kept in memory.
    pub offline: Vec<&'a Group>,
    /// Too few current members would be left.
    pub lost: Vec<(&'a Group, Majority)>,
    /// A bare majority would be left.
    pub bare: Vec<(&'a Group, Majority)>,
    /// More than a bare majority would be left.
    pub safe: Vec<(&'a Group, Majority)>,
    /// No leader vouches for the members, so nothing can be said.
    pub unknown: Vec<&'a Group>,
}

impl Standing {
    /// Whether the member counts towards a majority.
    pub fn counts(&self) -> bool {
        self.current && !self.offline && !self.joining && self.active <= ACTIVE_MAX
    }
}

impl Group {
    /// Whether the server is a member, or has a copy though the leader does not count it as one.
    pub fn on(&self, server: &str) -> bool {
        self.member(server).is_some() || self.copies.iter().any(|copy| copy.server == server)
    }

    /// The member of this name.
    pub fn member(&self, server: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.server == server)
    }

    /// Whether the server leads the group, by its own word.
    pub fn led_by(&self, server: &str) -> bool {
        self.leader.server.as_deref() == Some(server)
    }

    /// Whether it has a single replica, and should have no more.
    pub fn single(&self) -> bool {
        self.wanted <= 1 && self.members.len() <= 1
    }

    /// Members that a leader may be moved to: those that count, other than the leader, least lag and latest heard first.
    pub fn successors(&self) -> Vec<&Member> {
        let standing = |member: &&Member| member.standing.filter(Standing::counts);
        let mut fit: Vec<_> = self
            .members
            .iter()
            .filter(|member| !self.led_by(&member.server))
            .filter_map(|member| Some((standing(&member)?, member)))
            .collect();
        fit.sort_by_key(|(standing, member)| (standing.lag, standing.active, member.server.as_str()));
        fit.into_iter().map(|(_, member)| member).collect()
    }

    /// The group's majority now and without the server, counting members as the leader does. None where no leader
    /// vouches for them: that is a reason of its own.
    pub fn majority_without(&self, server: &str) -> Option<Majority> {
        self.leader.server.as_ref()?;
        let count = |member: &&Member| member.standing.is_some_and(|standing| standing.counts());
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let members = number(self.members.len());
        Some(Majority {
            members,
            needed: members / 2 + 1,
            now: number(self.members.iter().filter(count).count()),
            without: number(self.members.iter().filter(count).filter(|member| member.server != server).count()),
        })
    }
}

impl Assets {
    /// The part of it that is on one server: what the server must have again after its restart.
    #[must_use]
    pub fn only(&self, server: &str) -> Self {
        Self {
            asked: self.asked.iter().filter(|(name, _)| *name == server).map(|(k, v)| (k.clone(), *v)).collect(),
            groups: self.on(server).cloned().collect(),
            gaps: Vec::new(),
            account_names: self.account_names.clone(),
        }
    }

    /// The meta group.
    pub fn meta(&self) -> Option<&Group> {
        self.groups.iter().find(|group| group.kind == Kind::Meta)
    }

    /// The groups that have a member or a copy on the server.
    pub fn on<'a>(&'a self, server: &'a str) -> impl Iterator<Item = &'a Group> {
        self.groups.iter().filter(move |group| group.on(server))
    }

    /// The groups that the server leads, R1 assets among them.
    pub fn led_by<'a>(&'a self, server: &'a str) -> impl Iterator<Item = &'a Group> {
        self.groups.iter().filter(move |group| group.led_by(server))
    }

    /// The groups that no server leads by its own word, or of whose leader servers disagree.
    pub fn leaderless(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.leader.server.is_none() || !group.leader.disputed.is_empty())
    }

    /// What a restart of the server means for each group on it.
    pub fn impact<'a>(&'a self, server: &'a str) -> Impact<'a> {
        let mut impact = Impact::default();
        for group in self.on(server) {
            if group.single() {
                impact.offline.push(group);
                continue;
            }
            match group.majority_without(server) {
                None => impact.unknown.push(group),
                Some(majority) if !majority.kept() => impact.lost.push((group, majority)),
                Some(majority) if majority.bare() => impact.bare.push((group, majority)),
                Some(majority) => impact.safe.push((group, majority)),
            }
        }
        impact
    }
}

impl Gap {
    /// The server concerned.
    pub fn server(&self) -> &str {
        match self {
            Self::NotSeen { server, .. }
            | Self::Truncated { server, .. }
            | Self::Disabled { server }
            | Self::SameName { server, .. } => server,
        }
    }
}
