//! Is everything on a restarted server back: each group led, the server current in its leader's eyes, and its data there?
//!
//! healthz says 200 before that (measured: 150 of 150 replicas not current at the first 200), and it says nothing of data at
//! all: a wiped store or a damaged block is a 200, with a leader that calls the replica current. So what each copy holds is
//! compared with what it held before the restart, and with what the other replicas hold.

mod copies;
mod groups;
#[cfg(test)]
pub(crate) mod tests;

use std::{cell::Cell, collections::BTreeMap, time::Duration};

use super::{
    assets::{Assets, Group, Kind, Storage, StreamState},
    health::HealthError,
    safety::name,
};
use copies::Shortfall;

/// A shortfall that has not shrunk for this long will not: between replicas that are current, differences of healthy servers
/// were gone after 3 s, under load and right after a restart (measured; clocks that expire messages differ by 1 s).
const SHORT_FOR: Duration = Duration::from_secs(10);

/// What was on a server before its restart, and what was seen of it since.
#[derive(Debug, Clone)]
pub struct Witness {
    server: String,
    before: Assets,
    at_stop: Option<Assets>,
    waived: Vec<HealthError>,
    first: Option<Assets>,
    last: Option<Assets>,
    short: BTreeMap<String, Short>,
}

/// A shortfall under watch.
#[derive(Debug, Clone, Copy)]
struct Short {
    least: u64,
    since: Duration,
}

/// What is not back yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behind {
    /// Groups without a leader, or whose leader does not call the server current, or that can't be seen.
    pub groups: Vec<String>,
    /// Copies on the server with less in them than they should have.
    pub data: Vec<String>,
    /// Those of them that will not come back: they have not grown for `SHORT_FOR`.
    pub lost: Vec<String>,
    /// Assets of one replica that were on the server and are not there any more: deleted, or lost. A stream on disk of a server
    /// without a cluster can't have been deleted while it was down: that is in `data`.
    pub gone: Vec<String>,
    /// Groups on the server, and how many of them are not back.
    pub of: usize,
    /// Messages that the server's copies still have to get.
    pub to_get: u64,
}

impl Behind {
    /// Whether all is back.
    pub fn nothing(&self) -> bool {
        self.groups.is_empty() && self.data.is_empty()
    }
}

impl Witness {
    /// Of `server`, by its name, with the assets as they were when its turn began. `waived` are the errors of its healthz that
    /// stood then: assets that they name are not waited for.
    pub fn new(server: &str, before: Assets, waived: Vec<HealthError>) -> Self {
        let server = server.to_owned();
        Self { server, before, at_stop: None, waived, first: None, last: None, short: BTreeMap::new() }
    }

    /// The assets as they were right before the stop: the later, the less can have happened since.
    pub fn at_stop(&mut self, assets: Assets) {
        self.at_stop = Some(assets);
    }

    /// Streams on the server before, and the messages in them: what its recovery leads to.
    pub fn held(&self) -> (u64, u64) {
        let before = self.at_stop.as_ref().unwrap_or(&self.before);
        let states = before.on(&self.server).filter_map(|group| copies::stream(group, &self.server));
        states.fold((0, 0), |(streams, messages), state| (streams + 1, messages + state.messages))
    }

    /// Whether the server was in the meta group: then its store has that group's state.
    pub fn had_meta(&self) -> bool {
        self.before.meta().is_some_and(|meta| meta.on(&self.server))
    }

    /// What is not back, by a look `elapsed` after the wait began. Two looks are at least needed where a copy differs from the
    /// others: servers are not asked at one instant.
    pub fn look(&mut self, now: Assets, elapsed: Duration) -> Behind {
        let mut out = Behind::default();
        groups::unseen(&self.before, &now, &mut out.groups);
        let mut short = Vec::new();
        {
            let index = Indexes {
                stop: self.at_stop.as_ref().map(Index::of),
                first: self.first.as_ref().map(Index::of),
                last: self.last.as_ref().map(Index::of),
                now: Index::of(&now),
            };
            for old in self.before.on(&self.server) {
                self.judge(old, &now, &index, &mut out, &mut short);
            }
        }
        let mut watched = BTreeMap::new();
        for (text, found) in short {
            let watch = match self.short.get(&found.name) {
                Some(watch) if found.amount >= watch.least => *watch,
                _ => Short { least: found.amount, since: elapsed },
            };
            if elapsed.saturating_sub(watch.since) >= SHORT_FOR {
                out.lost.push(text.clone());
            }
            watched.insert(found.name, watch);
            out.data.push(text);
        }
        self.short = watched;
        if self.first.is_none() {
            self.first = Some(now.clone());
        }
        self.last = Some(now);
        out
    }

    fn judge(
        &self,
        old: &Group,
        now: &Assets,
        index: &Indexes<'_>,
        out: &mut Behind,
        short: &mut Vec<(String, Shortfall)>,
    ) {
        let key = key(old);
        let name = name(now, old);
        let Some(group) = index.now.get(key) else {
            if old.single() {
                match self.lost_whole(old, index) {
                    Some(state) => {
                        let (messages, last) = (state.messages, state.last_seq);
                        let words = format!("it is not there; before the restart {messages} messages, up to {last}");
                        short.push((format!("{name}: {words}"), Shortfall { name, amount: messages, words }));
                    }
                    None => out.gone.push(name),
                }
            }
            return;
        };
        if self.waived(old, index) {
            return;
        }
        out.of += 1;
        if let Some(reason) = groups::standing(group, &self.server) {
            out.groups.push(format!("{name}: {reason}"));
            return;
        }
        let past = Past {
            before: old,
            stop: index.stop.as_ref().and_then(|stop| stop.get(key)).unwrap_or(old),
            first: index.first.as_ref().and_then(|first| first.get(key)),
            last: index.last.as_ref().and_then(|last| last.get(key)),
        };
        if let Some(to_get) = copies::to_get(&past, group, &self.server) {
            out.to_get += to_get;
            out.groups.push(format!("{name}: {to_get} messages still to come to {}", self.server));
            return;
        }
        let acks = |when: &Index<'_>| copies::acknowledged(when, old, &self.server);
        let acks = || copies::Acks { before: index.stop.as_ref().map(acks), now: acks(&index.now) };
        if let Some(found) = copies::shortfall(&past, group, &self.server, &acks) {
            short.push((format!("{name}: {}", found.words), Shortfall { name, ..found }));
        }
    }

    /// What a stream had that was on disk right before the stop of a server without a cluster, and is not there since its start:
    /// no peer can have taken its deletion meanwhile, and the server itself was down.
    fn lost_whole(&self, old: &Group, index: &Indexes<'_>) -> Option<StreamState> {
        let stop = match &index.stop {
            Some(stop) => stop.get(key(old))?,
            None => old,
        };
        let seen_since = index.first.as_ref().is_some_and(|first| first.get(key(old)).is_some());
        let kept = old.kind == Kind::Stream && old.storage == Storage::File;
        if self.before.meta().is_some() || seen_since || !kept {
            return None;
        }
        copies::stream(stop, &self.server)
    }

    /// Whether the asset was broken on the server before: healthz said so, or it had no copy there at all.
    fn waived(&self, old: &Group, index: &Indexes<'_>) -> bool {
        let is = |name: &Option<String>, of: &str| name.as_deref() == Some(of);
        let named = self.waived.iter().any(|error| {
            is(&error.account, &old.account)
                && is(&error.stream, &old.stream)
                && error.consumer.as_deref().unwrap_or_default() == old.consumer
        });
        let none = |group: &Group| group.copies.iter().all(|copy| copy.server != self.server);
        let stop = index.stop.as_ref().and_then(|stop| stop.get(key(old)));
        named || (old.kind != Kind::Meta && none(old) && stop.is_none_or(none))
    }
}

/// One group at four times.
struct Past<'a> {
    before: &'a Group,
    stop: &'a Group,
    first: Option<&'a Group>,
    last: Option<&'a Group>,
}

type Key<'a> = (Kind, &'a str, &'a str, &'a str);

struct Indexes<'a> {
    stop: Option<Index<'a>>,
    first: Option<Index<'a>>,
    last: Option<Index<'a>>,
    now: Index<'a>,
}

/// The groups of one time, sorted: that is how they come, so that sorting them costs little, and hashing them would cost more.
/// They are asked for in that order too, so that one of the next two places is mostly the one.
struct Index<'a> {
    groups: Vec<&'a Group>,
    at: Cell<usize>,
}

impl<'a> Index<'a> {
    fn of(assets: &'a Assets) -> Self {
        let mut groups: Vec<&Group> = assets.groups.iter().collect();
        groups.sort_by(|a, b| key(a).cmp(&key(b)));
        Self { groups, at: Cell::new(0) }
    }

    fn get(&self, wanted: Key<'_>) -> Option<&'a Group> {
        let near = self.at.get();
        let is = |place: &usize| self.groups.get(*place).is_some_and(|group| key(group) == wanted);
        let found = [near, near + 1].into_iter().find(is);
        let place = found.or_else(|| self.groups.binary_search_by(|group| key(group).cmp(&wanted)).ok())?;
        self.at.set(place);
        self.groups.get(place).copied()
    }

    /// The consumers of a stream.
    fn consumers<'b>(&'b self, of: &'b Group) -> impl Iterator<Item = &'a Group> + 'b {
        let wanted = (Kind::Consumer, of.account.as_str(), of.stream.as_str());
        let from = self.groups.partition_point(|group| stream(group) < wanted);
        self.groups.iter().skip(from).copied().take_while(move |group| stream(group) == wanted)
    }
}

fn stream(group: &Group) -> (Kind, &str, &str) {
    (group.kind, &group.account, &group.stream)
}

fn key(group: &Group) -> Key<'_> {
    (group.kind, &group.account, &group.stream, &group.consumer)
}
