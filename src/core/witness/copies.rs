//! What a copy holds, against what it held and against what the other copies hold.
//!
//! Two numbers of a stream's copy only ever rise: its last sequence, and its holes (sequences up to the last that hold no
//! message). Replicas go through the same changes in the same order. So a copy that has a hole now which another copy that is
//! as far does not have **later** has lost a message, whatever is written, deleted, purged, expired or acknowledged meanwhile.

use std::collections::HashMap;

use super::{Index, Past, groups::LAG_MAX};
use crate::core::assets::{ConsumerState, Copy, Group, Kind, State, Storage, StreamState};

/// Messages bear the time of a server's clock, looks that of the controller's: they may differ by so much.
const CLOCKS: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// A copy that has less than it should.
pub(super) struct Shortfall {
    pub(super) name: String,
    pub(super) amount: u64,
    pub(super) words: String,
}

/// How far the consumers of a stream on one server are: what is acknowledged may be gone.
pub(super) struct Acks {
    pub(super) before: Option<HashMap<String, ConsumerState>>,
    pub(super) now: HashMap<String, ConsumerState>,
}

/// Messages that `server` still has to get from its peers; none where it has come as far as they were at the look before.
/// A leader says `current` and lag 0 of a replica with a quarter of the messages (measured, 30,572 of 122,309): that is
/// about its raft log.
pub(super) fn to_get(past: &Past<'_>, group: &Group, server: &str) -> Option<u64> {
    let own = stream(group, server)?;
    let others = |group: &Group| {
        let seen = group.copies.iter().filter(|copy| copy.server != server && vouched(group, copy));
        seen.filter_map(|copy| stream(group, &copy.server)).map(|state| state.last_seq).max()
    };
    let behind = |last: Option<u64>| last.map(|last| last.saturating_sub(own.last_seq)).filter(|n| *n > LAG_MAX);
    let now = behind(others(group))?;
    match past.last {
        // Servers are not asked at one instant: only what they had at the look before must be here.
        Some(last) => behind(others(last)),
        None => Some(now),
    }
}

/// What is missing from the copy on `server`; none where nothing is.
pub(super) fn shortfall(past: &Past<'_>, group: &Group, server: &str, acks: &dyn Fn() -> Acks) -> Option<Shortfall> {
    let lost = group.single() && group.storage == Storage::Memory;
    match group.kind {
        // A restart empties a memory: where it was the only copy the operator has consented to that.
        _ if lost => None,
        Kind::Meta => None,
        Kind::Consumer => of_consumer(past, group, server),
        Kind::Stream if group.single() => of_only_copy(past, group, server, acks),
        Kind::Stream => of_replica(past, group, server),
    }
}

fn of_consumer(past: &Past<'_>, group: &Group, server: &str) -> Option<Shortfall> {
    let (old, own) = (consumer(past.stop, server)?, consumer(group, server)?);
    if old.created != own.created {
        return None;
    }
    let acked = old.acked_count.saturating_sub(own.acked_count);
    let delivered = old.delivered_count.saturating_sub(own.delivered_count);
    let words = match (acked, delivered) {
        (0, 0) => return None,
        (0, _) => {
            format!("{} delivered on {server}, {} before the restart", own.delivered_count, old.delivered_count)
        }
        (_, _) => format!("{} acknowledged on {server}, {} before the restart", own.acked_count, old.acked_count),
    };
    Some(Shortfall { name: String::new(), amount: acked.max(delivered), words })
}

fn of_replica(past: &Past<'_>, group: &Group, server: &str) -> Option<Shortfall> {
    let own = stream(group, server)?;
    let stood = past.before_and_stop(server);
    let (_, amount) = worst(&own, group, server, 0).filter(|(_, amount)| *amount > stood)?;
    let earlier = past.last.and_then(|last| stream(last, server));
    let Some(earlier) = earlier.filter(|earlier| earlier.created == own.created) else {
        let words = "to be compared once more".to_owned();
        return Some(Shortfall { name: String::new(), amount, words });
    };
    let (peer, amount) = worst(&earlier, group, server, earlier.last_seq).filter(|(_, amount)| *amount > stood)?;
    let theirs = stream(group, peer)?;
    let words = format!(
        "{} messages up to sequence {} on {server}, {} up to {} on {peer}, {amount} missing",
        own.messages, own.last_seq, theirs.messages, theirs.last_seq
    );
    Some(Shortfall { name: String::new(), amount, words })
}

/// The copy of a peer that has most of what `own` lacks, and how much. Peers count that the leader vouches for and that are
/// at `reached` at least.
fn worst<'a>(own: &StreamState, group: &'a Group, server: &str, reached: u64) -> Option<(&'a str, u64)> {
    let peers = group.copies.iter().filter(|copy| copy.server != server && vouched(group, copy));
    let states = peers.filter_map(|copy| match copy.state {
        State::Stream(state) => Some((copy.server.as_str(), state)),
        State::Consumer(_) => None,
    });
    let comparable = states.filter(|(_, state)| state.created == own.created && state.last_seq >= reached);
    let lacking = comparable.map(|(peer, state)| (peer, own.holes().saturating_sub(state.holes())));
    // The first of several: the answer must not depend on which of them is asked last.
    lacking.min_by_key(|(_, amount)| std::cmp::Reverse(*amount)).filter(|(_, amount)| *amount > 0)
}

fn of_only_copy(past: &Past<'_>, group: &Group, server: &str, acks: &dyn Fn() -> Acks) -> Option<Shortfall> {
    let (old, own) = (stream(past.stop, server)?, stream(group, server)?);
    if old.created != own.created {
        return None;
    }
    if own.last_seq < old.last_seq {
        let amount = old.last_seq - own.last_seq;
        let words = format!(
            "ends at sequence {}, before the restart at {} ({} messages, {} before)",
            own.last_seq, old.last_seq, own.messages, old.messages
        );
        return Some(Shortfall { name: String::new(), amount, words });
    }
    let at = |group: &Group| copy(group, server).map(|copy| copy.at);
    let acks = if own.removal.by_acks { acks() } else { Acks { before: None, now: HashMap::new() } };
    let amount = unexplained(&old, &own, at(group)?, &acks);
    if amount == 0 {
        return None;
    }
    // A stream that clients delete from is seen to be so, before the stop or after the start.
    let deleted = |from: &Group, to: &Group| match (stream(from, server), stream(to, server), at(to)) {
        (Some(from), Some(to), Some(at)) => unexplained(&from, &to, at, &acks) > 0,
        _ => false,
    };
    if deleted(past.before, past.stop) || past.first.is_some_and(|first| deleted(first, group)) {
        return None;
    }
    let words = format!(
        "{} messages up to sequence {}, {} up to {} before the restart; no limit, expiry or acknowledgement explains {amount} of them",
        own.messages, own.last_seq, old.messages, old.last_seq
    );
    Some(Shortfall { name: String::new(), amount, words })
}

/// New holes between two looks at one copy that its configuration does not explain.
fn unexplained(old: &StreamState, own: &StreamState, at: jiff::Timestamp, acks: &Acks) -> u64 {
    let removal = own.removal;
    let written = own.last_seq.saturating_sub(old.last_seq);
    if removal.by_ttl || old.removal != removal || (removal.by_size && written > 0) {
        return 0;
    }
    let mut allowed = if removal.by_count { written } else { 0 };
    let age = jiff::SignedDuration::from_millis(i64::try_from(removal.max_age_ms).unwrap_or(i64::MAX));
    let age = age.saturating_sub(CLOCKS);
    if removal.max_age_ms > 0 && old.first_at.is_none_or(|first| at.duration_since(first) >= age) {
        // All that went from the front may have been old enough.
        allowed = allowed.saturating_add(own.first_seq.saturating_sub(old.first_seq));
    }
    if removal.by_acks {
        match acked(acks) {
            Some(acked) => allowed = allowed.saturating_add(acked).saturating_add(written),
            None => return 0,
        }
    }
    own.holes().saturating_sub(old.holes()).saturating_sub(allowed)
}

/// Messages that can have been acknowledged; none where a consumer came or went, which frees what only it held.
fn acked(acks: &Acks) -> Option<u64> {
    let before = acks.before.as_ref()?;
    if before.len() != acks.now.len() {
        return None;
    }
    before.iter().try_fold(0_u64, |sum, (name, old)| {
        let own = acks.now.get(name).filter(|own| own.created == old.created)?;
        Some(sum.saturating_add(own.delivered.saturating_sub(old.ack_floor)))
    })
}

/// The consumers of a stream on one server.
pub(super) fn acknowledged(index: &Index<'_>, of: &Group, server: &str) -> HashMap<String, ConsumerState> {
    index.consumers(of).filter_map(|group| Some((group.consumer.clone(), consumer(group, server)?))).collect()
}

impl Past<'_> {
    /// What the copy lacked before the restart already. It is the less of what two looks say, so that what is only under way
    /// is not taken for a lack.
    fn before_and_stop(&self, server: &str) -> u64 {
        let lacked = |group: &Group| {
            stream(group, server).and_then(|own| worst(&own, group, server, 0)).map_or(0, |(_, amount)| amount)
        };
        lacked(self.before).min(lacked(self.stop))
    }
}

/// Whether a copy can be measured against: its raft node runs and its leader counts it.
fn vouched(group: &Group, copy: &Copy) -> bool {
    let counts = |standing: crate::core::assets::Standing| standing.counts() && standing.lag <= LAG_MAX;
    copy.node && group.member(&copy.server).and_then(|member| member.standing).is_some_and(counts)
}

fn copy<'a>(group: &'a Group, server: &str) -> Option<&'a Copy> {
    group.copies.iter().find(|copy| copy.server == server)
}

pub(super) fn stream(group: &Group, server: &str) -> Option<StreamState> {
    match copy(group, server)?.state {
        State::Stream(state) => Some(state),
        State::Consumer(_) => None,
    }
}

fn consumer(group: &Group, server: &str) -> Option<ConsumerState> {
    match copy(group, server)?.state {
        State::Consumer(state) => Some(state),
        State::Stream(_) => None,
    }
}
