//! Answers of real servers, and a server that pages as real ones do.

use std::sync::Mutex;

use super::*;
use crate::core::assets::{Assets, Group, Kind, Pending, State, Storage, assemble};

const AT: Timestamp = Timestamp::UNIX_EPOCH;

/// The data of three servers, as 2.10.26 and 2.15.1 sent it.
fn saved(version: &str) -> Assets {
    let read = |host: &str| {
        let path = format!("{}/tests/data/jsz/{version}-{host}.json", env!("CARGO_MANIFEST_DIR"));
        let page = parse(&std::fs::read(path).unwrap()).unwrap();
        let mut gathering = Gathering {
            out: ServerAssets {
                server: host.to_owned(),
                server_id: page.server_id.clone(),
                at: AT,
                jetstream: !page.disabled,
                meta: page.meta(),
                assets: Vec::new(),
                account_names: Vec::new(),
                gaps: Vec::new(),
            },
            streams: 0,
            expected: page.streams,
            done: BTreeSet::new(),
        };
        gathering.add(page).unwrap();
        (host.to_owned(), Ok(gathering.finish()))
    };
    assemble(["h1", "h2", "h3"].map(read).into())
}

fn summary(group: &Group) -> String {
    let names: Vec<&str> = group.members.iter().map(|member| member.server.as_str()).collect();
    let counting = group.members.iter().filter(|m| m.standing.is_some_and(|standing| standing.counts())).count();
    format!(
        "{:?} {}/{} R{} {:?} leader {:?} of {} ({counting} count), {} copies",
        group.kind,
        group.stream,
        group.consumer,
        group.wanted,
        group.storage,
        group.leader.server.as_deref().unwrap_or("?"),
        names.join(" "),
        group.copies.len()
    )
}

#[test]
fn what_servers_of_both_ends_said_is_put_together() {
    for (version, expected) in [
        (
            "2.10.26",
            vec![
                r#"Meta / R3 File leader "h3" of h1 h2 h3 (3 count), 0 copies"#,
                r#"Stream MEM1/ R1 Memory leader "h2" of h2 (1 count), 1 copies"#,
                r#"Stream R1/ R1 File leader "h3" of h3 (1 count), 1 copies"#,
                r#"Stream S1/ R3 File leader "h3" of h1 h2 h3 (3 count), 3 copies"#,
                r#"Consumer MEM1/d R1 Memory leader "h2" of h2 (1 count), 1 copies"#,
                r#"Consumer R1/d R1 File leader "h3" of h3 (1 count), 1 copies"#,
                r#"Consumer S1/d1 R3 File leader "h2" of h1 h2 h3 (3 count), 3 copies"#,
                r#"Consumer S1/eph R1 File leader "h1" of h1 (1 count), 1 copies"#,
            ],
        ),
        (
            "2.15.1",
            vec![
                r#"Meta / R3 File leader "h1" of h1 h2 h3 (3 count), 0 copies"#,
                r#"Stream MEM1/ R1 Memory leader "h2" of h2 (1 count), 1 copies"#,
                r#"Stream R1/ R1 File leader "h1" of h1 (1 count), 1 copies"#,
                r#"Stream S1/ R3 File leader "h2" of h1 h2 h3 (3 count), 3 copies"#,
                r#"Consumer MEM1/d R1 Memory leader "h2" of h2 (1 count), 1 copies"#,
                r#"Consumer R1/d R1 File leader "h1" of h1 (1 count), 1 copies"#,
                r#"Consumer S1/d1 R3 File leader "h2" of h1 h2 h3 (3 count), 3 copies"#,
                r#"Consumer S1/eph R1 File leader "h3" of h3 (1 count), 1 copies"#,
            ],
        ),
    ] {
        let assets = saved(version);
        let found: Vec<String> = assets.groups.iter().map(summary).collect();
        assert_eq!(found, expected, "{version}");
        assert_eq!(assets.gaps, []);
        assert_eq!(assets.leaderless().count(), 0);
        let s1 = assets.groups.iter().find(|group| group.stream == "S1" && group.kind == Kind::Stream).unwrap();
        assert_eq!((s1.consumers, s1.subjects.as_slice(), s1.storage), (2, &["S1.>".to_owned()][..], Storage::File));
        assert!(s1.raft.as_deref().unwrap().starts_with("S-R3F-"));
        assert!(s1.last_active.is_some() && s1.pending.is_empty());
        for copy in &s1.copies {
            let State::Stream(state) = copy.state else { panic!() };
            assert_eq!((state.messages, state.first_seq, state.last_seq, state.num_deleted), (19, 1, 20, 1));
        }
        let consumer = assets.groups.iter().find(|group| group.consumer == "d1" && group.stream == "S1").unwrap();
        assert!(consumer.pending.iter().all(|pending| !matches!(pending, Pending::Resize { .. })));
    }
}

#[test]
fn replicas_of_consumers_follow_the_servers_rule() {
    let check = |config: &str, retention: &str, stream: u32, expected: u32| {
        let body = format!(
            r#"{{"server_id":"A","account_details":[{{"name":"A","id":"A","stream_detail":[{{"name":"S",
            "config":{{"retention":"{retention}","num_replicas":{stream}}},
            "consumer_detail":[{{"name":"c","config":{config}}}]}}]}}]}}"#
        );
        let mut assets = Vec::new();
        for account in parse(body.as_bytes()).unwrap().account_details {
            account.into_assets(&mut assets);
        }
        let consumer = assets.iter().find(|asset| asset.kind == Kind::Consumer).unwrap();
        assert_eq!(consumer.wanted, expected, "{config} {retention} {stream}");
    };
    check(r#"{"num_replicas":0}"#, "limits", 3, 1);
    check(r#"{"durable_name":"c","num_replicas":0}"#, "limits", 3, 3);
    check(r#"{"num_replicas":0}"#, "workqueue", 3, 3);
    check(r#"{"durable_name":"c","num_replicas":1}"#, "limits", 3, 1);
    check(r#"{"durable_name":"c","num_replicas":5}"#, "limits", 3, 3);
}

#[test]
fn queries_are_those_of_each_way() {
    let query = Query { details: true, account: Some("a b/&".into()), offset: 0, limit: 1 };
    assert_eq!(
        query.path(),
        "/jsz?accounts=true&offset=0&limit=1&streams=true&consumers=true&config=true&raft=true&acc=a%20b%2F%26"
    );
    assert_eq!(query.body()["account"], "a b/&");
    assert_eq!(query.body()["consumer"], true);
}

/// A server with accounts of some streams each, that behaves as 2.10 does: sorted only when the offset is not 0.
struct Fake {
    accounts: Vec<(&'static str, u64)>,
    fails: fn(&Query) -> bool,
    asked: Mutex<Vec<Query>>,
}

impl Source for Fake {
    async fn ask(&self, query: &Query) -> Seen<Jsz> {
        self.asked.lock().unwrap().push(query.clone());
        if (self.fails)(query) {
            return Err(Failure::new(FailureKind::Timeout, "no answer"));
        }
        let mut accounts = self.accounts.clone();
        match &query.account {
            Some(id) => accounts.retain(|(name, _)| name == id),
            None => {
                if query.offset > 0 {
                    accounts.sort();
                }
                accounts = accounts.into_iter().skip(query.offset as usize).take(query.limit as usize).collect();
            }
        }
        let details: Vec<_> = accounts
            .iter()
            .map(|(name, count)| {
                let streams = (0..if query.details { *count } else { 0 }).map(|n| {
                    serde_json::json!({"name": format!("s{n}"), "config": {"num_replicas": 1},
                        "cluster": {"leader": "n1"}})
                });
                serde_json::json!({"name": name, "id": name, "stream_detail": streams.collect::<Vec<_>>()})
            })
            .collect();
        let total: u64 = self.accounts.iter().map(|(_, count)| count).sum();
        let body = serde_json::json!({"server_id": "A", "streams": total, "account_details": details});
        parse(body.to_string().as_bytes())
    }
}

async fn check(accounts: &[(&'static str, u64)], fails: fn(&Query) -> bool, asked: usize, gaps: usize) {
    let fake = Fake { accounts: accounts.to_vec(), fails, asked: Mutex::default() };
    let found = gather(&fake, "n1", AT).await.unwrap();
    assert_eq!(fake.asked.lock().unwrap().len(), asked, "{:?}", fake.asked.lock().unwrap());
    assert_eq!(found.gaps.len(), gaps, "{:?}", found.gaps);
    if gaps == 0 {
        assert_eq!(found.assets.len() as u64, accounts.iter().map(|(_, count)| count).sum::<u64>());
    }
}

#[tokio::test]
async fn all_accounts_are_reached_in_pages() {
    let never = |_: &Query| false;
    check(&[], never, 1, 0).await;
    check(&[("b", 10), ("a", 20)], never, 2, 0).await;
    // Five accounts of 800: the first by name, then two at a time.
    let many = [("e", 800), ("a", 800), ("d", 800), ("b", 800), ("c", 800)];
    check(&many, never, 1 + 1 + 2, 0).await;
    // A page that fails is asked for again, account by account.
    check(&many, |query| query.details && query.offset == 3, 1 + 1 + 2 + 2, 0).await;
    // What can't be had is a gap.
    check(&many, |query| query.offset == 3 || query.account.as_deref() == Some("e"), 1 + 1 + 2 + 2, 1).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_failure() {
    let fake = Fake { accounts: vec![("a", 1)], fails: |_| true, asked: Mutex::default() };
    assert_eq!(gather(&fake, "n1", AT).await.unwrap_err().kind, FailureKind::Timeout);
}
