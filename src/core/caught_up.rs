//! Is everything on a restarted server back: each group led, the server current in its leader's eyes, and its data there?
//!
//! healthz says 200 before that (measured: 150 of 150 replicas not current at the first 200), and it says nothing of data at
//! all: a wiped store or a damaged block is a 200, with a leader that calls the replica current.

use super::{
    assets::{Assets, Copy, Group, Kind, State, StreamState},
    safety::name,
};

/// Under writes a replica is always a message or two behind, by the time the answer comes: lag 0 at one instant is
/// nothing to ask for.
const LAG_MAX: u64 = 5;

/// What is not back yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behind {
    /// Groups without a leader, or whose leader does not call the server current.
    pub groups: Vec<String>,
    /// Streams whose copy on the server has less in it than it should.
    pub data: Vec<String>,
}

impl Behind {
    /// Whether all is back.
    pub fn nothing(&self) -> bool {
        self.groups.is_empty() && self.data.is_empty()
    }
}

/// Compares what was on `server` before its restart with what is there now. An asset that is gone was deleted: healthz
/// answers for those that should be there.
pub fn behind(before: &Assets, now: &Assets, server: &str) -> Behind {
    let mut out = Behind::default();
    for old in before.on(server) {
        let same = |group: &&Group| {
            (group.kind, &group.account, &group.stream, &group.consumer)
                == (old.kind, &old.account, &old.stream, &old.consumer)
        };
        let Some(group) = now.groups.iter().find(same) else { continue };
        if let Some(reason) = standing(group, server) {
            out.groups.push(format!("{}: {reason}", name(now, group)));
        }
        if let Some(reason) = data(old, group, server) {
            out.data.push(format!("{}: {reason}", name(now, group)));
        }
    }
    out
}

fn standing(group: &Group, server: &str) -> Option<String> {
    if group.single() {
        return None;
    }
    let Some(leader) = &group.leader.server else { return Some("no leader".into()) };
    if leader == server {
        return None;
    }
    match group.member(server).map(|member| member.standing) {
        Some(Some(standing)) if standing.counts() && standing.lag <= LAG_MAX => None,
        Some(Some(standing)) => Some(format!("not current on {server}, lag {}, says {leader}", standing.lag)),
        Some(None) | None => Some(format!("{leader} does not know {server}")),
    }
}

fn data(old: &Group, group: &Group, server: &str) -> Option<String> {
    if group.kind != Kind::Stream {
        return None;
    }
    let own = stream_state(group, server)?;
    if let Some(before) = stream_state(old, server)
        && own.last_seq < before.last_seq
    {
        return Some(format!("ends at sequence {}, before the restart at {}", own.last_seq, before.last_seq));
    }
    let leader = group.leader.server.as_deref().filter(|leader| *leader != server)?;
    let theirs = stream_state(group, leader)?;
    // The two were asked at different times: what was written or deleted in between is no loss.
    let written = theirs.last_seq.abs_diff(own.last_seq);
    let deleted = own.first_seq.saturating_sub(theirs.first_seq).min(written);
    if own.messages + written + deleted + LAG_MAX < theirs.messages {
        return Some(format!("{} messages on {server}, {} on {leader}", own.messages, theirs.messages));
    }
    None
}

fn stream_state(group: &Group, server: &str) -> Option<StreamState> {
    let copy: &Copy = group.copies.iter().find(|copy| copy.server == server)?;
    match copy.state {
        State::Stream(state) => Some(state),
        State::Consumer(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{at, cluster, stream};

    fn with(messages: u64, last_seq: u64, members: &[&str]) -> Group {
        let mut group = stream("S", members);
        for member in members {
            let state = StreamState { messages, last_seq, first_seq: 1, ..StreamState::default() };
            group.copies.push(Copy { server: (*member).into(), at: at(0), node: true, state: State::Stream(state) });
        }
        group
    }

    fn check(before: &Group, now: &Group, groups: usize, data: usize) {
        let mut old = cluster(&["n1", "n2", "n3"]).assets.unwrap();
        let mut new = old.clone();
        old.groups.push(before.clone());
        new.groups.push(now.clone());
        let found = behind(&old, &new, "n2");
        assert_eq!((found.groups.len(), found.data.len()), (groups, data), "{found:?}");
    }

    const ALL: [&str; 3] = ["n1", "n2", "n3"];

    #[test]
    fn a_replica_that_is_back_is_back() {
        check(&with(10, 10, &ALL), &with(12, 12, &ALL), 0, 0);
    }

    #[test]
    fn the_leader_s_word_counts() {
        let before = with(10, 10, &ALL);
        let mut now = before.clone();
        now.leader.server = None;
        check(&before, &now, 1, 0);
        let mut now = before.clone();
        if let Some(standing) = &mut now.members[1].standing {
            standing.lag = LAG_MAX;
        }
        check(&before, &now, 0, 0);
        if let Some(standing) = &mut now.members[1].standing {
            standing.current = false;
        }
        check(&before, &now, 1, 0);
        now.members.remove(1);
        check(&before, &now, 1, 0);
    }

    fn set(group: &mut Group, place: usize, change: impl FnOnce(&mut StreamState)) {
        if let State::Stream(state) = &mut group.copies[place].state {
            change(state);
        }
    }

    #[test]
    fn messages_that_are_missing_show_against_the_leader() {
        let before = with(12_060, 12_060, &ALL);
        let mut now = before.clone();
        set(&mut now, 1, |state| state.messages = 8004);
        check(&before, &now, 0, 1);
        // Still being written: the leader was asked a moment later.
        let mut now = before.clone();
        set(&mut now, 0, |state| (state.messages, state.last_seq) = (12_100, 12_100));
        check(&before, &now, 0, 0);
    }

    #[test]
    fn a_single_copy_is_compared_with_itself() {
        let before = with(500, 500, &["n2"]);
        check(&before, &with(0, 0, &["n2"]), 0, 1);
        check(&before, &with(400, 500, &["n2"]), 0, 0);
    }

    #[test]
    fn what_was_deleted_is_not_missed() {
        let mut old = cluster(&ALL).assets.unwrap();
        let new = old.clone();
        old.groups.push(with(1, 1, &ALL));
        assert!(behind(&old, &new, "n2").nothing());
    }
}
