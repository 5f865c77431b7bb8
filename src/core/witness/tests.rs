//! Copies of streams under load, damage and recovery, as values; and a small model of a replicated stream that nothing a
//! client does may make short.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::core::{
    assets::{ConsumerState, Copy, Removal, State, Storage, StreamState},
    testing::{at, cluster, stream},
    view::{Failure, FailureKind},
};

const ALL: [&str; 3] = ["n1", "n2", "n3"];

fn holding(messages: u64, last_seq: u64) -> StreamState {
    StreamState { messages, last_seq, first_seq: 1, first_at: Some(at(-3600)), ..StreamState::default() }
}

fn with(states: &[(&str, StreamState)]) -> Group {
    let members: Vec<&str> = states.iter().map(|(server, _)| *server).collect();
    let mut group = stream("S", &members);
    for (server, state) in states {
        group.copies.push(Copy { server: (*server).into(), at: at(0), node: true, state: State::Stream(*state) });
    }
    group
}

fn same(state: StreamState) -> Group {
    with(&ALL.map(|server| (server, state)))
}

fn all(groups: &[&Group]) -> Assets {
    let mut assets = cluster(&ALL).assets.unwrap();
    assets.groups.extend(groups.iter().map(|group| (*group).clone()));
    assets
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Looks at `now`, a second apart, until 12 s are over.
fn watch(before: &Assets, now: impl Fn(u64) -> Assets) -> Behind {
    let mut witness = Witness::new("n2", before.clone(), vec![]);
    witness.at_stop(before.clone());
    (0..11).for_each(|second| drop(witness.look(now(second), seconds(second))));
    witness.look(now(11), seconds(11))
}

#[track_caller]
fn check(before: &Group, now: &Group, groups: usize, lost: usize) {
    let found = watch(&all(&[before]), |_| all(&[now]));
    assert_eq!((found.groups.len(), found.lost.len()), (groups, lost), "{found:?}");
}

#[test]
fn a_replica_that_is_back_is_back_at_the_first_look() {
    let mut witness = Witness::new("n2", all(&[&same(holding(10, 10))]), vec![]);
    assert!(witness.look(all(&[&same(holding(12, 12))]), seconds(0)).nothing());
}

#[test]
fn the_leader_s_word_counts() {
    let before = same(holding(10, 10));
    let mut now = before.clone();
    now.leader.server = None;
    check(&before, &now, 1, 0);
    let mut now = before.clone();
    if let Some(standing) = &mut now.members[1].standing {
        standing.lag = groups::LAG_MAX;
    }
    check(&before, &now, 0, 0);
    if let Some(standing) = &mut now.members[1].standing {
        standing.current = false;
    }
    check(&before, &now, 1, 0);
    now.members.remove(1);
    check(&before, &now, 1, 0);
}

#[test]
fn the_meta_group_has_one_leader_in_the_eyes_of_all() {
    let before = cluster(&ALL).assets.unwrap();
    let mut now = before.clone();
    let claim =
        |leader: &str, by: &str| crate::core::assets::LeaderClaim { leader: Some(leader.into()), by: vec![by.into()] };
    now.groups[0].leader.disputed = vec![claim("n1", "n2"), claim("n3", "n3")];
    let found = watch(&before, |_| now.clone());
    assert!(found.groups[0].contains("different leaders: n1 by n2; n3 by n3"), "{found:?}");
}

#[test]
fn a_server_that_tells_nothing_any_more_is_unknown() {
    let before = cluster(&ALL).assets.unwrap();
    let mut now = before.clone();
    now.asked.insert("n3".into(), None);
    let failure = Failure::new(FailureKind::Timeout, "no answer");
    now.gaps.push(crate::core::assets::Gap::NotSeen { server: "n3".into(), failure });
    assert_eq!(watch(&before, |_| now.clone()).groups, ["what is on n3 is not known: no answer"]);
    // One that told nothing before is no news.
    assert!(watch(&now, |_| now.clone()).nothing());
}

#[test]
fn a_damaged_replica_is_short() {
    let before = same(holding(12_060, 12_060));
    let mut now = before.clone();
    now.copies[1].state = State::Stream(holding(8004, 12_060));
    let found = watch(&all(&[&before]), |_| all(&[&now]));
    let text = "stream APP > S: 8004 messages up to sequence 12060 on n2, 12060 up to 12060 on n1, 4056 missing";
    assert_eq!(found.lost, [text]);
    // It was so before: a restart has not done it.
    check(&now, &now, 0, 0);
    // Under writes it stays short by as much.
    let found = watch(&all(&[&before]), |second| {
        let mut now = same(holding(12_060 + 1000 * second, 12_060 + 1000 * second));
        now.copies[1].state = State::Stream(holding(8004 + 990 * second, 12_060 + 990 * second));
        all(&[&now])
    });
    assert_eq!(found.lost.len(), 1, "{found:?}");
}

#[test]
fn a_leader_that_is_short_itself_is_found() {
    let before = same(holding(100, 100));
    let mut now = with(&[("n2", holding(40, 100)), ("n1", holding(100, 100)), ("n3", holding(100, 100))]);
    now.leader.server = Some("n2".into());
    check(&before, &now, 0, 1);
}

#[test]
fn a_store_that_is_filled_again_is_waited_for() {
    let before = same(holding(50_000, 50_000));
    let found = watch(&all(&[&before]), |second| {
        let mut now = before.clone();
        now.copies[1].state = State::Stream(holding(1000 * second, 1000 * second));
        all(&[&now])
    });
    assert_eq!((found.to_get, found.lost.len()), (39_000, 0), "{found:?}");
    assert_eq!(found.groups, ["stream APP > S: 39000 messages still to come to n2"]);
}

#[test]
fn an_only_copy_is_compared_with_itself() {
    let one = |state| with(&[("n2", state)]);
    let before = one(holding(500, 500));
    check(&before, &one(holding(0, 0)), 0, 1);
    check(&before, &one(holding(400, 500)), 0, 1);
    check(&before, &one(holding(510, 510)), 0, 0);
    // Another stream of the same name.
    let new = StreamState { created: Some(at(5)), ..holding(0, 0) };
    check(&before, &one(new), 0, 0);
    // Kept in memory, by consent.
    let mut memory = before.clone();
    memory.storage = Storage::Memory;
    check(&memory, &Group { storage: Storage::Memory, ..one(holding(0, 0)) }, 0, 0);
}

#[test]
fn limits_and_expiry_explain_what_an_only_copy_lacks() {
    let one = |removal, messages, first_seq, last_seq, first_at| {
        with(&[(
            "n2",
            StreamState { messages, first_seq, last_seq, first_at: Some(first_at), removal, ..StreamState::default() },
        )])
    };
    let count = Removal { by_count: true, ..Removal::default() };
    check(&one(count, 100, 1, 100, at(-99)), &one(count, 100, 51, 150, at(-9)), 0, 0);
    check(&one(count, 100, 1, 100, at(-99)), &one(count, 40, 111, 150, at(-9)), 0, 1);
    let age = Removal { max_age_ms: 60_000, ..Removal::default() };
    check(&one(age, 100, 1, 100, at(-99)), &one(age, 40, 61, 100, at(-9)), 0, 0);
    // Nothing is old enough to have gone.
    check(&one(age, 100, 1, 100, at(-9)), &one(age, 40, 61, 100, at(-5)), 0, 1);
    // Expiry takes from the front, not from the middle.
    check(&one(age, 100, 1, 100, at(-99)), &one(age, 40, 1, 100, at(-99)), 0, 1);
}

fn consumer(delivered: u64, acked: u64, members: &[&str]) -> Group {
    let mut group = stream("S", members);
    (group.kind, group.consumer) = (Kind::Consumer, "d".into());
    for member in members {
        let state = ConsumerState {
            delivered,
            ack_floor: acked,
            delivered_count: delivered,
            acked_count: acked,
            ..ConsumerState::default()
        };
        group.copies.push(Copy { server: (*member).into(), at: at(0), node: true, state: State::Consumer(state) });
    }
    group
}

#[test]
fn a_consumer_keeps_what_it_has_done() {
    check(&consumer(75, 70, &["n2"]), &consumer(80, 80, &["n2"]), 0, 0);
    // Its state was garbage, and is 0 again without a word (2.10.26).
    let found = watch(&all(&[&consumer(75, 70, &["n2"])]), |_| all(&[&consumer(0, 0, &["n2"])]));
    assert_eq!(found.lost, ["consumer APP > S > d: 0 acknowledged on n2, 70 before the restart"]);
    check(&consumer(75, 70, &ALL), &consumer(74, 70, &ALL), 0, 1);
}

#[test]
fn acknowledgements_explain_what_a_work_queue_lacks() {
    let removal = Removal { by_acks: true, ..Removal::default() };
    let queue = |messages| with(&[("n2", StreamState { removal, ..holding(messages, 100) })]);
    let found = |from: (u64, u64), to: (u64, u64)| {
        let before = all(&[&queue(from.0), &consumer(from.1, from.1, &["n2"])]);
        watch(&before, |_| all(&[&queue(to.0), &consumer(to.1, to.1, &["n2"])])).lost
    };
    assert!(found((100, 0), (50, 50)).is_empty());
    assert_eq!(found((100, 0), (40, 50)).len(), 1);
}

#[test]
fn what_was_deleted_is_not_missed_and_what_is_gone_is_said() {
    let before = all(&[&same(holding(1, 1))]);
    assert_eq!(watch(&before, |_| all(&[])), Behind { of: 1, ..Behind::default() });
    let before = all(&[&with(&[("n2", holding(1, 1))])]);
    assert_eq!(watch(&before, |_| all(&[])).gone, ["stream APP > S"]);
}

#[test]
fn a_server_without_a_cluster_misses_its_streams() {
    let alone = |groups: &[&Group]| {
        let mut assets = all(groups);
        assets.groups.retain(|group| group.kind != Kind::Meta);
        assets
    };
    let held = with(&[("n2", holding(7, 9))]);
    let found = watch(&alone(&[&held]), |_| alone(&[]));
    assert_eq!(found.lost, ["stream APP > S: it is not there; before the restart 7 messages, up to 9"]);
    // It was there after the start: who deleted it, did so then.
    let found = watch(&alone(&[&held]), |second| if second == 0 { alone(&[&held]) } else { alone(&[]) });
    assert_eq!((found.lost.len(), found.gone.len()), (0, 1), "{found:?}");
    let memory = Group { storage: Storage::Memory, ..held };
    assert_eq!(watch(&alone(&[&memory]), |_| alone(&[])).lost.len(), 0);
}

#[test]
fn what_was_broken_before_is_not_waited_for() {
    let error = HealthError {
        kind: "STREAM".into(),
        error: "x".into(),
        account: Some("APP".into()),
        stream: Some("S".into()),
        consumer: None,
    };
    let before = all(&[&same(holding(10, 10))]);
    let mut now = same(holding(10, 10));
    now.members[1].standing = None;
    let mut witness = Witness::new("n2", before.clone(), vec![error]);
    assert!(witness.look(all(&[&now]), seconds(0)).nothing());
    let mut witness = Witness::new("n2", before, vec![]);
    assert!(!witness.look(all(&[&now]), seconds(0)).nothing());
}

/// One thing that happens to a stream.
#[derive(Debug, Clone)]
enum Happens {
    Write(u16),
    Delete(u16),
    Purge,
    Expire(u16),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (1_u16..60).prop_map(Happens::Write),
        3 => any::<u16>().prop_map(Happens::Delete),
        1 => Just(Happens::Purge),
        2 => (1_u16..50).prop_map(Happens::Expire),
    ]
}

/// A copy of a stream: the sequences that are there.
#[derive(Debug, Clone, Default)]
struct Model {
    present: std::collections::BTreeSet<u64>,
    last: u64,
}

impl Model {
    fn apply(&mut self, happens: &Happens) {
        match happens {
            Happens::Write(n) => {
                self.present.extend(self.last + 1..=self.last + u64::from(*n));
                self.last += u64::from(*n);
            }
            Happens::Delete(n) => {
                self.present.remove(&(u64::from(*n) % (self.last + 1)));
            }
            Happens::Purge => self.present.clear(),
            Happens::Expire(n) => self.present = self.present.split_off(&(self.first() + u64::from(*n))),
        }
    }

    fn first(&self) -> u64 {
        self.present.first().copied().unwrap_or(self.last + 1)
    }

    fn state(&self) -> StreamState {
        let first_seq = self.first();
        let messages = self.present.len() as u64;
        StreamState { messages, first_seq, last_seq: self.last, ..StreamState::default() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Each server applies the same log; each is asked at its own moment of each second, up to half of a second's
    /// changes apart.
    #[test]
    fn no_client_can_make_a_replica_short(
        log in prop::collection::vec(happens(), 60..120),
        apart in prop::collection::vec(0_usize..4, 36),
        damage in prop::option::of(1_u64..30),
    ) {
        let states = |second: u64, lost: u64| {
            let at_once: Vec<(&str, StreamState)> = ALL.iter().enumerate().map(|(place, server)| {
                let wanted = usize::try_from(second).unwrap() * 4 + apart[place * 12 + usize::try_from(second).unwrap()];
                let mut model = Model::default();
                log.iter().take(20 + wanted).for_each(|happens| model.apply(happens));
                let mut state = model.state();
                if *server == "n2" {
                    // A hole that no replica has: it stays until the message would have gone anyway.
                    state.messages = state.messages.saturating_sub(lost);
                }
                (*server, state)
            }).collect();
            with(&at_once)
        };
        let before = all(&[&states(0, 0)]);
        let found = watch(&before, |second| all(&[&states(second, 0)]));
        prop_assert!(found.lost.is_empty(), "{:?}", found);
        // The same with damage, after all is quiet, is found.
        if let Some(lost) = damage {
            let mut quiet = Model::default();
            log.iter().for_each(|happens| quiet.apply(happens));
            quiet.apply(&Happens::Write(50));
            let whole = same(quiet.state());
            let mut short = whole.clone();
            let state = StreamState { messages: quiet.state().messages - lost, ..quiet.state() };
            short.copies[1].state = State::Stream(state);
            let found = watch(&all(&[&whole]), |_| all(&[&short]));
            prop_assert_eq!(found.lost.len(), 1, "{:?}", found);
        }
    }
}
