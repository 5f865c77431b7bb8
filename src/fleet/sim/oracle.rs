//! The promise, held against the truth. What is here is written from the design's promises and from what the world knows,
//! not from the rules that decide: it must find fault with a controller whose rules are wrong.

use super::{server::Stage, tell::Ill, times::Ms, world::World};
use crate::{
    core::{assets::Kind, view::Phase},
    fleet::Action,
};

/// A change that took effect on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// When, in milliseconds since the world began.
    pub at: Ms,
    /// The host.
    pub host: String,
    /// The change's id.
    pub id: String,
    /// What was done.
    pub what: Action,
    /// The host's boot: a reboot empties its memory of changes, so that one may begin again.
    pub boot: u32,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// When, in milliseconds since the world began.
    pub at: Ms,
    /// The host that was stopped or started.
    pub host: String,
    /// Which promise.
    pub promise: Promise,
    /// What was the matter.
    pub detail: String,
}

/// What a roll promises of every stop. What a controller could not have seen at its last look at the cluster is no breach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// Never two servers down by our hand.
    TwoDown,
    /// Never one while another is not ready, whoever did it.
    OtherUnready,
    /// Never below a group's majority.
    Majority,
    /// Never while a group has no leader.
    Leader,
    /// Never the only copy of a stream in use, unasked.
    OnlyCopy,
    /// Never the last copy of what is kept in memory, unasked.
    Memory,
    /// Never in the middle of a move.
    Moving,
    /// Never one of two that are all that holds the others together.
    Routes,
    /// Never another server than the one that was looked at.
    Mistaken,
    /// Never in a cluster with servers that nobody told us of.
    Stranger,
    /// Never into a change of somebody else's.
    Busy,
    /// Never where the gate could not have opened before either.
    Gate,
    /// Never a second restart of a server that failed.
    Repeated,
    /// Never a client or a leader sent away from a server that we could not have stopped.
    Manageable,
    /// Never an act of a controller that has lost the lock to another.
    Stale,
    /// Never a reboot of a host whose server runs.
    Running,
    /// Never a stop with everyone still attached, where a system account was named to drain it.
    Drained,
    /// Never a stop that ends in SIGKILL with clients or leaders on the server, where its unit is made so.
    Killed,
    /// Never a stop of a server that what lies on its host does not let come back as it was.
    ComesBack,
    /// Never a program that writes what others can't read, or can't read what others write.
    Unreadable,
}

/// Between the last look that was judged and the act lie the records and requests that it takes.
const UNDER_WAY: Ms = 500;
/// What was so for this long must have been seen: an older look is none.
const SEEN_WITHIN: Ms = 12_000;

impl World {
    /// By the truth: it serves, has its routes where raft groups need them, and healthz would pass.
    pub(super) fn ready(&self, server: usize) -> bool {
        let entry = &self.servers[server];
        let there = if self.jetstream { entry.in_raft(self.now) } else { entry.serves(self.now) };
        there && self.ill(server).is_none()
    }

    /// Notes since when a server is not ready.
    pub(super) fn note_readiness(&mut self) {
        for server in 0..self.servers.len() {
            let ready = self.ready(server);
            let now = self.now;
            let entry = &mut self.servers[server];
            if ready {
                entry.unready_since = None;
                entry.down_by_us = false;
                entry.failed_after_start = false;
            } else {
                entry.unready_since.get_or_insert(now);
            }
        }
    }

    /// Judges the stop of a server at the moment at which it takes effect.
    pub(super) fn judge_stop(&mut self, server: usize, controller: usize) {
        let observed = self.controllers.get(controller).map_or(0, |controller| controller.observed);
        let seen = observed.min(self.now.saturating_sub(UNDER_WAY)).max(self.now.saturating_sub(SEEN_WITHIN));
        // What was so already when the controller looked at the cluster.
        let known = |since: Option<Ms>| since.is_some_and(|since| since < seen);
        let mut found: Vec<(Promise, String)> = Vec::new();
        let own = self.servers[server].unready_since.is_some();
        for (place, other) in self.servers.iter().enumerate().filter(|(place, _)| *place != server) {
            if other.down_by_us {
                found.push((Promise::TwoDown, format!("{} is down by our hand", other.host)));
            } else if known(other.unready_since) && !matches!(self.ill(place), Some(Ill::Behind(_))) {
                // What healthz says of one stream or consumer counts for that one: see `Majority`.
                found.push((
                    Promise::OtherUnready,
                    format!("{} is not ready: {}", other.host, self.health(place).summary()),
                ));
            }
        }
        for group in &self.groups {
            if known(group.leaderless_since) && !group.single() && !own {
                found.push((Promise::Leader, format!("{} has no leader", group.named())));
            }
            if known(group.moving_since) {
                found.push((Promise::Moving, format!("{} is being moved", group.named())));
            }
            let Some(member) = group.member(server) else { continue };
            let up = self.servers[server].process.as_ref().is_some_and(|process| process.stage == Stage::Serving);
            if group.single() {
                if up && group.kind == Kind::Stream && group.memory && group.members[member].messages > 0 {
                    found.push((Promise::Memory, group.named()));
                } else if up && group.kind == Kind::Stream && group.in_use {
                    found.push((Promise::OnlyCopy, group.named()));
                }
                continue;
            }
            let others = group.members.iter().filter(|member| member.server != server);
            let fit = others.filter(|member| !known(member.unfit_since)).count();
            if fit < group.needed() && !own {
                let text = format!(
                    "{}: {fit} of {} without it, {} needed",
                    group.named(),
                    group.members.len(),
                    group.needed()
                );
                found.push((Promise::Majority, text));
            }
        }
        for (from, to, since) in &self.split {
            if *from != server && *to != server && known(Some(*since)) {
                let text = format!("no route between {} and {}", self.servers[*from].host, self.servers[*to].host);
                found.push((Promise::Routes, text));
            }
        }
        if self.stranger.is_some_and(|(_, since)| known(Some(since))) {
            found.push((Promise::Stranger, "a server that nobody told us of".into()));
        }
        if self.servers.iter().any(|entry| entry.answers_as.is_some_and(|(_, since)| known(Some(since)))) {
            found.push((Promise::Mistaken, "a monitoring address leads to another server".into()));
        }
        if self.servers.iter().any(|entry| known(entry.wrong_since)) {
            found.push((Promise::Mistaken, "a server is not the one that the inventory means".into()));
        }
        if known(self.account_refused) && !own {
            found.push((Promise::Drained, "the system account refuses us".into()));
        }
        if self.servers[server].unit.phase == Phase::Stopping && known(self.servers[server].busy_since) {
            found.push((Promise::Busy, "somebody else is stopping it".into()));
        }
        if self.servers[server].client_port_lost.is_some_and(|since| known(Some(since))) {
            found.push((Promise::Gate, "its client port can't be used".into()));
        }
        if self.repeats(server) {
            found.push((Promise::Repeated, "it failed after its restart, and is stopped again".into()));
        }
        self.breach(server, found);
    }

    /// Judges the eviction of a client, or a step-down, at the moment at which it takes effect.
    pub(super) fn judge_drain(&mut self, server: usize, controller: usize) {
        let seen = self.controllers.get(controller).map_or(0, |controller| controller.observed);
        if self.servers[server].unmanageable_since.is_some_and(|since| since < seen) {
            self.breach(server, vec![(Promise::Manageable, "it could not have been stopped".into())]);
        }
    }

    /// Judges who acts.
    pub(super) fn judge_actor(&mut self, server: usize, controller: usize) {
        if self.owner.is_some_and(|owner| owner != controller) {
            self.breach(server, vec![(Promise::Stale, "another controller has the lock".into())]);
        }
    }

    /// Judges the start of a server at the moment at which it takes effect.
    pub(super) fn judge_start(&mut self, server: usize) {
        if self.repeats(server) {
            self.breach(server, vec![(Promise::Repeated, "it failed after its restart, and is started again".into())]);
        }
    }

    fn repeats(&self, server: usize) -> bool {
        let entry = &self.servers[server];
        entry.failed_after_start && !self.permitted.contains(&entry.host)
    }

    /// Judges the reboot of a host at the moment at which it is ordered there.
    pub(super) fn judge_reboot(&mut self, server: usize) {
        if self.servers[server].process.is_some() {
            self.breach(server, vec![(Promise::Running, "its server runs".into())]);
        }
    }

    pub(super) fn breach(&mut self, server: usize, found: Vec<(Promise, String)>) {
        let (at, host) = (self.now, self.servers[server].host.clone());
        self.breaches.extend(found.into_iter().map(|(promise, detail)| Breach {
            at,
            host: host.clone(),
            promise,
            detail,
        }));
    }
}
