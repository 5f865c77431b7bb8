//! One view of what all servers said.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    AssetSeen, Assets, Claim, Copy, Gap, Group, Kind, Leader, LeaderClaim, Member, Pending, ServerAssets, Standing,
    Storage,
};
use crate::core::view::Seen;

/// Puts together what the servers of a cluster said, each by its expected name. Takes time and memory in proportion to
/// the answers.
pub fn assemble(answers: Vec<(String, Seen<ServerAssets>)>) -> Assets {
    let mut asked = BTreeMap::new();
    let mut gaps = Vec::new();
    let mut heard = Vec::new();
    for (name, answer) in answers {
        match answer {
            Ok(mut seen) => {
                asked.insert(name, Some(seen.at));
                gaps.append(&mut seen.gaps);
                if !seen.jetstream {
                    gaps.push(Gap::Disabled { server: seen.server.clone() });
                }
                heard.push(seen);
            }
            Err(failure) => {
                asked.insert(name.clone(), None);
                gaps.push(Gap::NotSeen { server: name, failure });
            }
        }
    }
    gaps.extend(same_names(&heard));
    let mut account_names = BTreeMap::new();
    for seen in &mut heard {
        account_names.extend(seen.account_names.drain(..));
    }
    let mut drafts: Vec<Draft> = meta(&heard).into_iter().collect();
    drafts.extend(assets(heard));
    let mut groups: Vec<Group> = drafts.into_iter().map(Draft::finish).collect();
    groups.iter_mut().for_each(|group| restored(group, &asked));
    groups.sort_by(|a, b| key(a).cmp(&key(b)));
    count_consumers(&mut groups);
    Assets { asked, groups, gaps, account_names }
}

fn key(group: &Group) -> (Kind, &str, &str, &str) {
    (group.kind, &group.account, &group.stream, &group.consumer)
}

fn same_names(heard: &[ServerAssets]) -> Vec<Gap> {
    let mut ids: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for seen in heard {
        ids.entry(&seen.server).or_default().push(&seen.server_id);
    }
    let shared = ids.into_iter().filter(|(_, ids)| ids.len() > 1);
    shared
        .map(|(server, ids)| Gap::SameName {
            server: server.to_owned(),
            ids: ids.into_iter().map(str::to_owned).collect(),
        })
        .collect()
}

/// A group while it is put together: the group, and what each server claims.
struct Draft {
    group: Group,
    claims: Vec<(String, Timestamp, Claim)>,
    /// Members by the largest count heard (meta: `cluster_size`), where more than are named.
    size: u32,
}

fn meta(heard: &[ServerAssets]) -> Option<Draft> {
    let seen: Vec<_> = heard.iter().filter_map(|seen| Some((seen, seen.meta.as_ref()?))).collect();
    if seen.is_empty() {
        return None;
    }
    let size = seen.iter().map(|(_, meta)| meta.size).max().unwrap_or_default();
    let mut group = blank(Kind::Meta, size);
    // Each server counts its own queue, and only the leader works on it.
    let leads =
        |(server, meta): &&(&ServerAssets, &super::MetaSeen)| meta.claim.leader.as_ref() == Some(&server.server);
    let requests: u64 = seen.iter().filter(leads).map(|(_, meta)| meta.requests).sum();
    if requests > 0 {
        group.pending.push(Pending::Requests { count: requests });
    }
    let claims = seen.iter().map(|(server, meta)| (server.server.clone(), server.at, meta.claim.clone())).collect();
    Some(Draft { group, claims, size })
}

fn blank(kind: Kind, wanted: u32) -> Group {
    Group {
        kind,
        account: String::new(),
        stream: String::new(),
        consumer: String::new(),
        raft: None,
        wanted,
        storage: Storage::File,
        leader: Leader::default(),
        members: Vec::new(),
        subjects: Vec::new(),
        consumers: 0,
        last_active: None,
        durable: true,
        level: 0,
        pending: Vec::new(),
        copies: Vec::new(),
    }
}

fn assets(heard: Vec<ServerAssets>) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    // Names are joined by a character that none of them can have, which spares an allocation a part.
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut key = String::new();
    for seen in heard {
        for asset in seen.assets {
            key.clear();
            key.push(char::from(asset.kind as u8));
            for part in [&asset.account, &asset.stream, &asset.consumer] {
                key.push('\0');
                key.push_str(part);
            }
            let at = match index.get(&key) {
                Some(at) => *at,
                None => {
                    drafts.push(Draft { group: blank(asset.kind, asset.wanted), claims: Vec::new(), size: 0 });
                    index.insert(key.clone(), drafts.len() - 1);
                    drafts.len() - 1
                }
            };
            if let Some(draft) = drafts.get_mut(at) {
                draft.add(&seen.server, seen.at, asset);
            }
        }
    }
    drafts
}

impl Draft {
    fn add(&mut self, server: &str, at: Timestamp, asset: AssetSeen) {
        let group = &mut self.group;
        let leads = asset.node && asset.claim.leader.as_deref() == Some(server);
        // The leader's word on the configuration goes before that of others, which may lag.
        if group.copies.is_empty() || leads {
            group.account = asset.account;
            group.stream = asset.stream;
            group.consumer = asset.consumer;
            group.wanted = asset.wanted;
            group.storage = asset.storage;
            group.subjects = asset.subjects;
            group.durable = asset.durable;
            group.raft = asset.raft.or_else(|| group.raft.take());
        }
        group.last_active = group.last_active.max(asset.last_active);
        group.level = group.level.max(asset.level);
        group.copies.push(Copy { server: server.to_owned(), at, node: asset.node, state: asset.state });
        let claim = if asset.node { asset.claim } else { Claim { leader: None, ..asset.claim } };
        self.claims.push((server.to_owned(), at, claim));
    }

    fn finish(self) -> Group {
        let Self { mut group, claims, size } = self;
        let of_itself: Vec<usize> = (0..claims.len())
            .filter(|n| claims.get(*n).is_some_and(|(server, _, claim)| claim.leader.as_ref() == Some(server)))
            .collect();
        group.leader.disputed = disputed(&claims);
        let leading = match of_itself.as_slice() {
            [only] => claims.get(*only),
            _ => None,
        };
        match leading {
            Some((server, at, claim)) => {
                group.leader.server = Some(server.clone());
                group.leader.at = Some(*at);
                group.members = led(server, claim);
                group.pending.extend(claim.moving.then_some(Pending::Move));
            }
            None => {
                group.leader.hearsay = hearsay(&claims);
                group.members = leaderless(&claims);
            }
        }
        group.members.sort_by(|a, b| a.server.cmp(&b.server));
        group.copies.sort_by(|a, b| a.server.cmp(&b.server));
        let members = u32::try_from(group.members.len()).unwrap_or(u32::MAX);
        // The meta leader can know of a member that it has no word of.
        for number in members..size {
            group.members.push(Member { server: format!("unknown member {}", number + 1), standing: None });
        }
        if group.kind != Kind::Meta && members != group.wanted {
            group.pending.push(Pending::Resize { members, wanted: group.wanted });
        }
        let joining = group.members.iter().filter(|member| member.standing.is_some_and(|standing| standing.joining));
        group.pending.extend(joining.map(|member| Pending::Joining { server: member.server.clone() }));
        group
    }
}

/// What the servers say of the leader, where they do not all say the same.
fn disputed(claims: &[(String, Timestamp, Claim)]) -> Vec<LeaderClaim> {
    if claims.windows(2).all(|pair| matches!(pair, [(_, _, a), (_, _, b)] if a.leader == b.leader)) {
        return Vec::new();
    }
    let mut by: BTreeMap<Option<&String>, Vec<String>> = BTreeMap::new();
    for (server, _, claim) in claims {
        by.entry(claim.leader.as_ref()).or_default().push(server.clone());
    }
    by.into_iter().map(|(leader, by)| LeaderClaim { leader: leader.cloned(), by }).collect()
}

/// The leader that most servers name; the first by name of several with as many.
fn hearsay(claims: &[(String, Timestamp, Claim)]) -> Option<String> {
    let mut votes: BTreeMap<&String, usize> = BTreeMap::new();
    for leader in claims.iter().filter_map(|(_, _, claim)| claim.leader.as_ref()) {
        *votes.entry(leader).or_default() += 1;
    }
    votes.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(name, _)| name.clone())
}

/// The members as their leader counts them; it is current itself.
fn led(leader: &str, claim: &Claim) -> Vec<Member> {
    let own = Standing { current: true, offline: false, active: Duration::ZERO, lag: 0, joining: false };
    let others = claim.peers.iter().filter(|peer| peer.server != leader);
    std::iter::once(Member { server: leader.to_owned(), standing: Some(own) })
        .chain(others.map(|peer| Member { server: peer.server.clone(), standing: Some(peer.standing) }))
        .collect()
}

/// Everyone whom anyone calls a member. Nobody's word on how they stand counts.
fn leaderless(claims: &[(String, Timestamp, Claim)]) -> Vec<Member> {
    let mut names: Vec<&str> = Vec::new();
    for (server, _, claim) in claims {
        let all = claim.peers.iter().map(|peer| peer.server.as_str()).chain([server.as_str()]);
        for name in all.chain(claim.leader.as_deref()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.into_iter().map(|name| Member { server: name.to_owned(), standing: None }).collect()
}

/// Notes where the leader that the others name answered and does not have the asset.
fn restored(group: &mut Group, asked: &BTreeMap<String, Option<Timestamp>>) {
    let Some(leader) = group.leader.hearsay.clone() else { return };
    let heard = asked.get(&leader).is_some_and(Option::is_some);
    if group.kind != Kind::Meta && heard && !group.copies.iter().any(|copy| copy.server == leader) {
        group.pending.push(Pending::Restore { server: leader });
    }
}

fn count_consumers(groups: &mut [Group]) {
    let mut counts: HashMap<(String, String), u32> = HashMap::new();
    for group in groups.iter().filter(|group| group.kind == Kind::Consumer) {
        *counts.entry((group.account.clone(), group.stream.clone())).or_default() += 1;
    }
    if counts.is_empty() {
        return;
    }
    for group in groups.iter_mut().filter(|group| group.kind == Kind::Stream) {
        let key = (group.account.clone(), group.stream.clone());
        group.consumers = counts.get(&key).copied().unwrap_or_default();
    }
}
