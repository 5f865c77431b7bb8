//! What becomes of raft groups when servers come and go.

use super::{
    fault::StartFault,
    times::{self, Ms},
    versions::takes_offline,
    world::{Happening, World},
};
use crate::core::assets::Kind;

impl World {
    /// A process opens its store: what was in memory is gone, and faults take their share.
    pub(super) fn opens_store(&mut self, server: usize) {
        let faults = &self.servers[server].at_start;
        let first = self.servers[server].incarnation == 1;
        let wiped = !first && faults.contains(&StartFault::Wiped);
        let damaged = !first && faults.contains(&StartFault::Damaged);
        let never = !first && faults.contains(&StartFault::NeverCurrent);
        if self.jetstream && self.servers.len() > 1 {
            // The first line of JetStream's log (2.10.26 to 2.15.1).
            let found = if wiped { "bootstrapping" } else { "recovering state" };
            self.servers[server].log.push(format!("[INF] JetStream cluster {found}"));
        }
        let mut stuck = never;
        let release = self.servers[server].release;
        for group in &mut self.groups {
            let (memory, kind) = (group.memory, group.kind);
            let Some(place) = group.member(server) else { continue };
            let member = &mut group.members[place];
            member.unsupported = takes_offline(release, group.level);
            if wiped || memory {
                if !first {
                    (member.messages, member.last_seq) = (0, 0);
                }
            } else if damaged && kind == Kind::Stream && member.messages > 2 {
                member.messages -= member.messages / 3;
                member.damaged = true;
            }
            if stuck && kind != Kind::Meta {
                member.stuck = true;
                stuck = false;
            }
        }
    }

    /// A server has joined its groups.
    pub(super) fn takes_part(&mut self, server: usize, incarnation: u32) {
        let meta = self.rng.u64(times::META_CATCH_UP);
        for group in 0..self.groups.len() {
            let Some(member) = self.groups[group].member(server) else { continue };
            if self.groups[group].single() {
                let now = self.now;
                let group = &mut self.groups[group];
                if group.members[member].unsupported {
                    continue;
                }
                group.led_by(server, now);
                group.members[member].synced = true;
                group.members[member].unfit_since = None;
                continue;
            }
            let span = if self.groups[group].kind == Kind::Meta { meta } else { meta + self.rng.u64(times::CATCH_UP) };
            if self.groups[group].leader.is_some() {
                self.after(span, Happening::CaughtUp { group, member, incarnation });
            } else {
                let (term, election) = (self.groups[group].term, self.rng.u64(times::ELECTION));
                self.after(election, Happening::Elect { group, term });
            }
        }
        self.note_readiness();
    }

    /// A server leaves its groups: with a hand-over where it can, without where it is gone.
    pub(super) fn leaves(&mut self, server: usize, hands_over: bool) {
        let now = self.now;
        for number in 0..self.groups.len() {
            let Some(member) = self.groups[number].member(server) else { continue };
            let group = &mut self.groups[number];
            group.members[member].synced = false;
            group.members[member].unfit_since.get_or_insert(now);
            if group.leader == Some(server) {
                self.unled(number, hands_over);
            }
        }
        self.note_readiness();
    }

    /// A group has lost its leader.
    fn unled(&mut self, number: usize, hands_over: bool) {
        let now = self.now;
        let group = &mut self.groups[number];
        group.last_leader = group.leader.take();
        group.leaderless_since.get_or_insert(now);
        group.term += 1;
        let term = group.term;
        if group.single() {
            return;
        }
        let span = if hands_over { self.rng.u64(times::TRANSFER) } else { self.rng.u64(times::ELECTION) };
        self.after(span, Happening::Elect { group: number, term });
    }

    /// A leader is asked to give up in favour of another.
    pub(super) fn steps_down(&mut self, number: usize, preferred: Option<usize>) {
        let old = self.groups[number].leader.is_some_and(|leader| !self.servers[leader].at_least(2, 11));
        let now = self.now;
        let group = &mut self.groups[number];
        group.preferred = preferred;
        group.last_leader = group.leader.take();
        group.leaderless_since.get_or_insert(now);
        group.term += 1;
        let term = group.term;
        let span = self.rng.u64(if old { times::TRANSFER_OLD } else { times::TRANSFER });
        self.after(span, Happening::Elect { group: number, term });
    }

    /// An election ends: whoever is up and current leads, if a majority is there to vote.
    pub(super) fn elect(&mut self, number: usize, term: u32) {
        let now = self.now;
        let group = &self.groups[number];
        if group.term != term || group.leader.is_some() {
            return;
        }
        let up: Vec<usize> = (0..group.members.len())
            .filter(|member| !group.members[*member].unsupported)
            .filter(|member| self.servers[group.members[*member].server].in_raft(now))
            .collect();
        if up.len() < group.needed() {
            // Nobody can be elected. Candidates go on trying.
            let span = self.rng.u64(times::ELECTION);
            self.after(span, Happening::Elect { group: number, term });
            return;
        }
        let current: Vec<usize> = up.iter().copied().filter(|member| group.members[*member].synced).collect();
        let choice = if current.is_empty() { &up } else { &current };
        let wished = choice.iter().copied().find(|member| Some(group.members[*member].server) == group.preferred);
        let chosen = wished.unwrap_or_else(|| choice[self.rng.usize(..choice.len())]);
        let group = &mut self.groups[number];
        group.led_by(group.members[chosen].server, now);
        group.members[chosen].synced = true;
        group.members[chosen].unfit_since = None;
        for member in up {
            if !self.groups[number].members[member].synced {
                let incarnation = self.servers[self.groups[number].members[member].server].incarnation;
                let span = self.rng.u64(times::CATCH_UP);
                self.after(span, Happening::CaughtUp { group: number, member, incarnation });
            }
        }
        self.note_readiness();
        self.deletes_ranges(number);
    }

    /// A replica has caught up with its leader.
    pub(super) fn caught_up(&mut self, number: usize, place: usize, incarnation: u32) {
        let now = self.now;
        let group = &mut self.groups[number];
        let server = group.members[place].server;
        let same = self.servers[server].incarnation == incarnation && self.servers[server].in_raft(now);
        let Some(leader) = group.leader.and_then(|leader| group.member(leader)) else { return };
        if !same || group.members[place].stuck || group.members[place].unsupported {
            return;
        }
        let (messages, last_seq) = (group.members[leader].messages, group.members[leader].last_seq);
        let member = &mut group.members[place];
        member.synced = true;
        member.unfit_since = None;
        if !member.damaged {
            member.messages = messages;
        }
        member.last_seq = last_seq;
        self.note_readiness();
        self.deletes_ranges(number);
    }

    /// The replicas on a server fall behind for so long.
    pub(super) fn falls_behind(&mut self, server: usize, span: Ms) {
        let now = self.now;
        let incarnation = self.servers[server].incarnation;
        for number in 0..self.groups.len() {
            let group = &mut self.groups[number];
            let led = group.leader == Some(server);
            if let Some(member) = group.member(server).filter(|_| !led && group.kind != Kind::Meta && !group.single()) {
                group.members[member].synced = false;
                group.members[member].unfit_since.get_or_insert(now);
                self.after(span, Happening::CaughtUp { group: number, member, incarnation });
            }
        }
        self.note_readiness();
    }

    /// The groups on a server have no leader for so long.
    pub(super) fn leaderless(&mut self, server: usize, span: Ms) {
        let now = self.now;
        for number in 0..self.groups.len() {
            let group = &mut self.groups[number];
            if group.single() || group.member(server).is_none() || group.kind == Kind::Meta {
                continue;
            }
            group.last_leader = group.leader.take();
            group.leaderless_since.get_or_insert(now);
            group.term += 1;
            let term = group.term;
            self.after(span, Happening::Elect { group: number, term });
        }
    }
}
