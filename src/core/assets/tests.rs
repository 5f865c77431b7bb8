//! Clusters of three and five servers, and what is asked of them.

use super::*;
use crate::core::{
    testing::at,
    view::{FailureKind, Seen},
};

const NAMES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

fn standing(current: bool, active: u64, lag: u64) -> Standing {
    Standing { current, offline: false, active: Duration::from_millis(active), lag, joining: false }
}

/// A server's word: its peers are all others, current where it leads and meaningless where it doesn't.
fn claim(server: &str, leader: Option<&str>, members: &[&str]) -> Claim {
    let leads = leader == Some(server);
    let peers = members.iter().filter(|name| **name != server);
    let peers = peers.map(|name| PeerSeen {
        server: (*name).into(),
        standing: if leads { standing(true, 900, 0) } else { standing(false, 0, 4711) },
    });
    Claim { leader: leader.map(str::to_owned), peers: peers.collect(), moving: false }
}

fn stream(name: &str, wanted: u32, claim: Claim) -> AssetSeen {
    AssetSeen {
        kind: Kind::Stream,
        account: "APP".into(),
        stream: name.into(),
        consumer: String::new(),
        raft: Some(format!("S-{name}")),
        wanted,
        storage: Storage::File,
        node: true,
        claim,
        subjects: vec![format!("{name}.>")],
        last_active: None,
        durable: true,
        level: 0,
        state: State::Stream(StreamState { messages: 1, ..StreamState::default() }),
    }
}

/// Servers n1… with a stream `S` on all of them, led by `leader`, and the meta group, led by n1.
fn servers(count: usize, leader: &str) -> Vec<(String, Seen<ServerAssets>)> {
    let names = &NAMES[..count];
    let one = |server: &&str| {
        let seen = ServerAssets {
            server: (*server).into(),
            server_id: format!("ID-{server}"),
            at: at(0),
            jetstream: true,
            meta: Some(MetaSeen { claim: claim(server, Some("n1"), names), size: count as u32, requests: 0 }),
            assets: vec![stream("S", count as u32, claim(server, Some(leader), names))],
            account_names: vec![],
            gaps: vec![],
        };
        ((*server).to_owned(), Ok(seen))
    };
    names.iter().map(one).collect()
}

fn seen<'a>(servers: &'a mut [(String, Seen<ServerAssets>)], name: &str) -> &'a mut ServerAssets {
    servers.iter_mut().find(|(server, _)| server == name).unwrap().1.as_mut().unwrap()
}

fn group<'a>(assets: &'a Assets, name: &str) -> &'a Group {
    assets.groups.iter().find(|group| group.stream == name).unwrap()
}

/// Members, needed, now and without the server.
fn check(assets: &Assets, server: &str, expected: Option<(u32, u32, u32, u32)>) {
    let found = group(assets, "S").majority_without(server);
    let numbers = found.map(|m| (m.members, m.needed, m.now, m.without));
    assert_eq!(numbers, expected, "without {server}: {:#?}", group(assets, "S"));
}

#[test]
fn a_majority_is_counted_as_the_leader_counts_it() {
    let assets = assemble(servers(3, "n2"));
    check(&assets, "n1", Some((3, 2, 3, 2)));
    check(&assets, "n2", Some((3, 2, 3, 2)));
    check(&assets, "n9", Some((3, 2, 3, 3)));
    check(&assemble(servers(5, "n2")), "n1", Some((5, 3, 5, 4)));
}

#[test]
fn a_peer_that_is_behind_or_silent_does_not_count() {
    let with = |standing: Standing| {
        let mut servers = servers(5, "n2");
        let peers = &mut seen(&mut servers, "n2").assets[0].claim.peers;
        for peer in peers.iter_mut().filter(|peer| matches!(peer.server.as_str(), "n4" | "n5")) {
            peer.standing = standing;
        }
        assemble(servers)
    };
    check(&with(standing(true, 5_000, 3)), "n1", Some((5, 3, 5, 4)));
    check(&with(standing(false, 10, 9)), "n1", Some((5, 3, 3, 2)));
    check(&with(standing(false, 10, 9)), "n4", Some((5, 3, 3, 3)));
    // `offline` is still false and `current` still true: only `active` tells that it is dead.
    check(&with(standing(true, 5_001, 0)), "n1", Some((5, 3, 3, 2)));
    check(&with(Standing { offline: true, ..standing(true, 0, 0) }), "n1", Some((5, 3, 3, 2)));
    check(&with(Standing { joining: true, ..standing(true, 0, 0) }), "n1", Some((5, 3, 3, 2)));
}

#[test]
fn without_the_leaders_word_nothing_is_known() {
    let mut servers = servers(3, "n2");
    servers[1].1 = Err(Failure::new(FailureKind::Timeout, "no answer"));
    let assets = assemble(servers);
    let group = group(&assets, "S");
    assert_eq!((group.leader.server.as_deref(), group.leader.hearsay.as_deref()), (None, Some("n2")));
    assert_eq!(group.members.len(), 3);
    assert!(group.members.iter().all(|member| member.standing.is_none()));
    check(&assets, "n1", None);
    assert_eq!(assets.impact("n1").unknown.len(), 1);
    assert_eq!(assets.gaps.len(), 1);
    assert_eq!(assets.gaps[0].server(), "n2");
    assert_eq!(assets.asked["n2"], None);
}

#[test]
fn disagreement_is_recorded() {
    let mut servers = servers(3, "n2");
    seen(&mut servers, "n3").assets[0].claim.leader = None;
    let assets = assemble(servers);
    let leader = &group(&assets, "S").leader;
    assert_eq!(leader.server.as_deref(), Some("n2"));
    let disputed: Vec<_> = leader.disputed.iter().map(|claim| (claim.leader.as_deref(), claim.by.join(" "))).collect();
    assert_eq!(disputed, [(None, "n3".to_owned()), (Some("n2"), "n1 n2".to_owned())]);
    assert_eq!(assets.leaderless().count(), 1);
}

#[test]
fn two_that_call_themselves_leader_are_none() {
    let mut servers = servers(3, "n2");
    seen(&mut servers, "n3").assets[0].claim = claim("n3", Some("n3"), &NAMES[..3]);
    let assets = assemble(servers);
    assert_eq!(group(&assets, "S").leader.server, None);
    check(&assets, "n1", None);
}

#[test]
fn a_server_without_its_raft_node_is_no_leader() {
    let mut servers = servers(3, "n2");
    let lost = &mut seen(&mut servers, "n3").assets[0];
    lost.node = false;
    lost.claim = Claim { leader: Some("n3".into()), peers: vec![], moving: false };
    let assets = assemble(servers);
    let found = group(&assets, "S");
    assert_eq!(found.leader.server.as_deref(), Some("n2"));
    assert_eq!(found.copies.iter().filter(|copy| !copy.node).count(), 1);
    assert_eq!(found.members.len(), 3);
}

/// Seen on 2.15.1 while a stream of three replicas is restored: the other two have it and name a leader, which has nothing.
#[test]
fn a_leader_that_has_nothing_is_restoring() {
    let mut servers = servers(3, "n2");
    seen(&mut servers, "n2").assets.clear();
    let assets = assemble(servers.clone());
    assert_eq!(group(&assets, "S").pending, [Pending::Restore { server: "n2".into() }]);
    // One that was not heard may have it.
    servers[1].1 = Err(Failure::new(FailureKind::Timeout, "no answer"));
    assert_eq!(group(&assemble(servers), "S").pending, []);
}

#[test]
fn every_group_of_a_server_has_its_place_in_the_impact() {
    let mut servers = servers(5, "n2");
    let names = &NAMES[..];
    let single = stream("R1", 1, claim("n1", Some("n1"), &["n1"]));
    seen(&mut servers, "n1").assets.push(single);
    for name in &names[..3] {
        let three = stream("T", 3, claim(name, Some("n1"), &names[..3]));
        seen(&mut servers, name).assets.push(three);
        let stuck = stream("L", 3, claim(name, None, &names[..3]));
        seen(&mut servers, name).assets.push(stuck);
    }
    let assets = assemble(servers);
    let impact = assets.impact("n1");
    let named = |groups: &[&Group]| groups.iter().map(|group| group.stream.clone()).collect::<Vec<_>>();
    let counted = |groups: &[(&Group, Majority)]| named(&groups.iter().map(|(group, _)| *group).collect::<Vec<_>>());
    assert_eq!(named(&impact.offline), ["R1"]);
    assert_eq!(named(&impact.unknown), ["L"]);
    assert_eq!(counted(&impact.bare), ["T"]);
    assert_eq!(counted(&impact.safe), ["", "S"]);
    assert!(impact.lost.is_empty());
    assert_eq!(assets.led_by("n1").map(|group| group.stream.as_str()).collect::<Vec<_>>(), ["", "R1", "T"]);
    assert_eq!(assets.on("n5").count(), 2);
}

#[test]
fn a_resize_shows_and_members_that_nobody_names_count() {
    let mut servers = servers(3, "n2");
    for name in &NAMES[..3] {
        seen(&mut servers, name).assets[0].wanted = 1;
        seen(&mut servers, name).meta.as_mut().unwrap().size = 4;
    }
    let assets = assemble(servers);
    assert_eq!(group(&assets, "S").pending, [Pending::Resize { members: 3, wanted: 1 }]);
    assert!(!group(&assets, "S").single());
    let meta = assets.meta().unwrap().majority_without("n1").unwrap();
    assert_eq!((meta.members, meta.needed, meta.now, meta.without), (4, 3, 3, 2));
}

#[test]
fn successors_are_those_that_can_lead_best_first() {
    let mut servers = servers(5, "n2");
    for (peer, standing) in seen(&mut servers, "n2").assets[0].claim.peers.iter_mut().zip([
        standing(true, 10, 5),
        standing(true, 900, 0),
        standing(false, 10, 0),
        standing(true, 100, 0),
    ]) {
        peer.standing = standing;
    }
    let assets = assemble(servers);
    let names: Vec<_> = group(&assets, "S").successors().iter().map(|member| member.server.as_str()).collect();
    assert_eq!(names, ["n5", "n3", "n1"]);
}

#[test]
fn two_servers_of_one_name_are_a_gap() {
    let mut servers = servers(3, "n2");
    seen(&mut servers, "n3").server = "n2".into();
    let assets = assemble(servers);
    let ids = vec!["ID-n2".to_owned(), "ID-n3".to_owned()];
    assert_eq!(assets.gaps, [Gap::SameName { server: "n2".into(), ids }]);
}

#[test]
fn a_view_survives_json() {
    let assets = assemble(servers(3, "n2"));
    let text = serde_json::to_string(&assets).unwrap();
    assert_eq!(serde_json::from_str::<Assets>(&text).unwrap(), assets);
}

/// The figure: 5,000 streams and 20,000 consumers under a second (here unoptimised and on a busy machine).
#[test]
fn large_clusters_are_put_together_in_time() {
    let mut servers = servers(3, "n2");
    for name in &NAMES[..3] {
        let many = (0..25_000).map(|n| {
            let mut asset = stream(&format!("s{}", n % 5_000), 3, claim(name, Some("n1"), &NAMES[..3]));
            if n >= 5_000 {
                asset.kind = Kind::Consumer;
                asset.consumer = format!("c{}", n / 5_000);
            }
            asset
        });
        seen(&mut servers, name).assets.extend(many);
    }
    let begun = std::time::Instant::now();
    let assets = assemble(servers);
    assert_eq!(assets.groups.len(), 25_002);
    assert_eq!(assets.impact("n3").bare.len(), 25_002);
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}
