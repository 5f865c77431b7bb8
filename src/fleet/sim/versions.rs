//! What a version of nats-server makes of another one's routes, assets and raft entries, and what becomes of a server whose
//! program or configuration was replaced since its start. All of it was seen on clusters of 2.10.26 to 2.15.1.

use std::collections::BTreeMap;

use super::{
    archive::broken,
    oracle::Promise,
    server::{Server, Stage},
    world::{Happening, World},
};
use crate::core::{assets::Kind, version::Version};

/// Before it both ends of a route must have pools of one size (`route.go`; seen: 2.10.26 beside 2.11.11 is told "Mismatch route
/// pool size", and stays alone; 2.11.11 beside 2.11.11 has its routes).
const POOLS_MAY_DIFFER: Version = Version(2, 11, 2);
/// From here on an asset above the server's API level is taken offline there: healthz says 200, `/jsz` nothing of it, and its
/// leader that the replica is not current (seen on 2.11.11). Before, it is taken for what it is not (seen on 2.10.26).
const KNOWS_LEVELS: Version = Version(2, 11, 9);
/// The first to read a raft entry that deletes a range. Before, `panic: JetStream Cluster Unknown group entry op type: 15`, with
/// exit status 2 (seen: two 2.12.8 at once, when a 2.15.1 led a mirror of a stream with gaps; a 2.12.8 started on the store of a
/// 2.15.1 that was killed; not on that of one that was stopped in order, whose logs end in a snapshot).
const READS_RANGES: Version = Version(2, 14, 0);
/// Deletes by ranges unless it is told not to.
const DELETES_RANGES: Version = Version(2, 15, 0);
/// From the entry to the end of who can't read it.
const PANICS_AFTER: u64 = 5;

/// Whether a server of a version takes an asset that needs this API level offline.
pub(super) fn takes_offline(release: Version, level: u32) -> bool {
    release >= KNOWS_LEVELS && level > release.api_level()
}

impl Server {
    /// The feature flags that it knows.
    pub(super) fn flags(&self) -> BTreeMap<String, bool> {
        let since = |minor: u32, name: &str, on: bool| self.at_least(2, minor).then(|| (name.to_owned(), on));
        let flags = [
            since(14, "js_ack_fc_v2", false),
            since(14, "js_raft_delete_range", self.release >= DELETES_RANGES),
            since(15, "js_snapshot_sources", false),
        ];
        flags.into_iter().flatten().collect()
    }
}

impl World {
    /// Whether the pools of two servers let them have a route.
    pub(super) fn pools_agree(&self, one: usize, other: usize) -> bool {
        let ends = [&self.servers[one], &self.servers[other]];
        ends[0].route_pool == ends[1].route_pool || ends.iter().all(|end| end.release >= POOLS_MAY_DIFFER)
    }

    /// Whether its pool lets a server have no route at all.
    pub(super) fn alone(&self, server: usize) -> bool {
        let mut others = (0..self.servers.len()).filter(|other| *other != server).peekable();
        others.peek().is_some() && others.all(|other| !self.pools_agree(server, other))
    }

    /// The last words and the exit status of a process that can't go on with what lies on its host.
    pub(super) fn ends_at_once(&self, server: usize) -> Option<(String, i32)> {
        let entry = &self.servers[server];
        if let Some(words) = broken(entry.files.config()) {
            return Some((words, 1));
        }
        let mut members = self.groups.iter().flat_map(|group| &group.members);
        let unread = entry.release < READS_RANGES && members.any(|member| member.server == server && member.ranges);
        unread.then(|| (UNKNOWN_ENTRY.to_owned(), 2))
    }

    /// Judges a start of ours by what the new process meets, which lay there before the stop.
    pub(super) fn judge_program(&mut self, server: usize) {
        if self.servers[server].process.as_ref().is_none_or(|process| !process.ours) {
            return;
        }
        let mut found: Vec<String> = self.ends_at_once(server).map(|(words, _)| words).into_iter().collect();
        if self.alone(server) {
            found.push("its pool of routes lets it have none".into());
        }
        let offline =
            self.groups.iter().filter(|group| group.members.iter().any(|m| m.server == server && m.unsupported));
        found.extend(offline.map(|group| format!("{} is offline there", group.named())));
        self.breach(server, found.into_iter().map(|text| (Promise::ComesBack, text)).collect());
    }

    /// The raft logs of a server that stops in order end in snapshots: a start has nothing to read again.
    pub(super) fn takes_snapshots(&mut self, server: usize) {
        let in_order = self.servers[server].process.as_ref().is_some_and(|process| process.stage == Stage::LameDuck);
        for member in self.groups.iter_mut().flat_map(|group| &mut group.members) {
            member.ranges &= !(in_order && member.server == server);
        }
    }

    /// The leader of a mirror deletes a range, where it knows how; who can't read that ends.
    pub(super) fn deletes_ranges(&mut self, number: usize) {
        let group = &self.groups[number];
        let Some(leader) = group.leader.filter(|_| group.gaps && group.kind == Kind::Stream) else { return };
        if self.servers[leader].release < DELETES_RANGES {
            return;
        }
        let up = |server: usize| self.servers[server].in_raft(self.now);
        let reached: Vec<usize> = (0..group.members.len()).filter(|place| up(group.members[*place].server)).collect();
        for place in reached {
            let member = &mut self.groups[number].members[place];
            member.ranges = true;
            let server = member.server;
            if self.servers[server].release >= READS_RANGES {
                continue;
            }
            let ours = |server: usize| self.servers[server].process.as_ref().is_some_and(|process| process.ours);
            if ours(server) || ours(leader) {
                let text = format!("it can't read what {} writes", self.servers[leader].host);
                self.breach(server, vec![(Promise::Unreadable, text)]);
            }
            let entry = &mut self.servers[server];
            entry.log.push(UNKNOWN_ENTRY.to_owned());
            let incarnation = entry.incarnation;
            self.after(PANICS_AFTER, Happening::Exits { server, incarnation, code: 2 });
        }
    }

    /// Judges a SIGKILL by our stop, where its unit is made for it: at once, or in the middle of a lame duck that would have ended.
    pub(super) fn judge_kill(&mut self, server: usize) {
        let entry = &self.servers[server];
        let meant = entry.unit.kills || entry.process.as_ref().is_some_and(|process| process.lame_duck_ends.is_some());
        let led = self.groups.iter().filter(|group| group.leader == Some(server) && !group.single()).count();
        let clients = entry.attached();
        if entry.down_by_us && meant && clients + led > 0 {
            let text = format!("{clients} clients cut off, {led} groups without a hand-over");
            self.breach(server, vec![(Promise::Killed, text)]);
        }
    }
}

const UNKNOWN_ENTRY: &str = "panic: JetStream Cluster Unknown group entry op type: 15";
