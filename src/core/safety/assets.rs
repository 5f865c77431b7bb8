//! What a restart means for each raft group and asset on the server: asked of the groups' leaders, one by one.

use std::time::Duration;

use jiff::Timestamp;

use super::{ASSETS_MAX_AGE, Candidate, Objection};
use crate::core::{
    assets::{Assets, Gap, Group, Kind, LeaderClaim, Pending, Storage},
    millis,
    view::View,
};

/// A stream that took a message within this time is in use. Long enough for a job of every few minutes, short enough that
/// a stream which nobody has written to today does not stop a roll.
pub const IN_USE: Duration = Duration::from_secs(15 * 60);
/// Objections name this many groups; a broken server can have thousands.
const NAMED: usize = 5;

pub(super) fn judge(view: &View, candidate: &Candidate<'_>, now: Timestamp, found: &mut Vec<Objection>) {
    let jetstream = view.servers.iter().any(|server| server.varz.as_ref().is_ok_and(|varz| varz.jetstream));
    let Some(assets) = &view.assets else {
        if jetstream {
            found.push(Objection::AssetsUnknown { gaps: vec!["they were not asked for".into()] });
        }
        return;
    };
    let host = candidate.host;
    let Some(server) = view.server(host).map(|server| server.server_name.as_str()) else { return };
    gaps(view, assets, candidate, server, found);
    stale(view, assets, now, found);
    let impact = assets.impact(server);
    leaders(assets, candidate, server, found);
    let lost: Vec<String> = impact
        .lost
        .iter()
        .map(|(group, majority)| {
            let name = name(assets, group);
            format!(
                "{name} ({} of {} current without it, {} needed)",
                majority.without, majority.members, majority.needed
            )
        })
        .collect();
    push(lost, found, |count, groups| Objection::GroupMajority { host: host.into(), count, groups });
    let in_use = impact.offline.iter().filter(|group| group.storage == Storage::File && used(group, view.at));
    let in_use: Vec<String> = in_use.map(|group| with_subjects(assets, group)).collect();
    push(in_use, found, |count, groups| Objection::R1Offline { host: host.into(), count, groups });
    let memory: Vec<String> = memory(assets, server, view.at).map(|group| with_subjects(assets, group)).collect();
    push(memory, found, |count, groups| Objection::MemoryLastCopy { host: host.into(), count, groups });
    let pending = assets.groups.iter().filter_map(|group| pending(assets, group, candidate, server)).collect();
    push(pending, found, |count, groups| Objection::PendingChange { count, groups });
}

/// Assets that are offline while a server restarts: no other server has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offline {
    /// Streams, with their subjects.
    pub streams: Vec<String>,
    /// Consumers: of those streams, and those of one replica on others.
    pub consumers: usize,
}

/// What is offline while `server` restarts, in use or not.
pub fn offline(assets: &Assets, server: &str) -> Offline {
    let mut out = Offline::default();
    for group in assets.on(server).filter(|group| group.single()) {
        match group.kind {
            Kind::Stream => out.streams.push(with_subjects(assets, group)),
            Kind::Consumer => out.consumers += 1,
            Kind::Meta => {}
        }
    }
    out
}

fn push(names: Vec<String>, found: &mut Vec<Objection>, objection: impl FnOnce(usize, Vec<String>) -> Objection) {
    if !names.is_empty() {
        let count = names.len();
        found.push(objection(count, names.into_iter().take(NAMED).collect()));
    }
}

/// A gap counts where the server itself is up: one that is down has its own objection, and what is on it is known
/// through the leaders of its groups. An unhealthy candidate that the plan knew as such may go all the same: it is told as
/// a warning, and its groups are judged by what their leaders say.
fn gaps(view: &View, assets: &Assets, candidate: &Candidate<'_>, name: &str, found: &mut Vec<Objection>) {
    let up =
        |name: &str| view.servers.iter().any(|s| s.server_name == name && s.varz.as_ref().is_ok_and(|v| v.jetstream));
    let words = |gap: &Gap| match gap {
        Gap::NotSeen { server, .. } | Gap::Truncated { server, .. } if candidate.expect_unready && server == name => {
            None
        }
        Gap::NotSeen { server, failure } if up(server) => Some(format!("{server}: {failure}")),
        Gap::Truncated { server, detail, .. } => Some(format!("{server}: {detail}")),
        Gap::Disabled { server } if up(server) && server != name => Some(format!("{server}: JetStream is off")),
        // A name that two servers have is an objection of its own.
        Gap::NotSeen { .. } | Gap::Disabled { .. } | Gap::SameName { .. } => None,
    };
    let mut gaps: Vec<String> = assets.gaps.iter().filter_map(words).take(NAMED).collect();
    let up_here = view.servers.iter().filter(|server| up(&server.server_name));
    let untold = up_here.filter(|server| !assets.asked.contains_key(&server.server_name));
    gaps.extend(untold.map(|server| format!("{}: it was not asked", server.server_name)));
    let clustered = view.servers.iter().any(|s| s.varz.as_ref().is_ok_and(|varz| varz.meta.is_some()));
    if clustered && assets.meta().is_none() {
        gaps.push("no server tells of the meta group".into());
    }
    if !gaps.is_empty() {
        found.push(Objection::AssetsUnknown { gaps });
    }
}

/// What a server said too long ago is no better than what it did not say.
fn stale(view: &View, assets: &Assets, now: Timestamp, found: &mut Vec<Objection>) {
    for (server, at) in &assets.asked {
        let Some(age) = at.map(|at| now.duration_since(at).unsigned_abs()) else { continue };
        if age > ASSETS_MAX_AGE {
            let host = view.servers.iter().find(|s| s.server_name == *server).map_or(server, |s| &s.host);
            found.push(Objection::Stale { host: host.clone(), age_ms: millis::of(age) });
        }
    }
}

fn leaders(assets: &Assets, candidate: &Candidate<'_>, server: &str, found: &mut Vec<Objection>) {
    // An unhealthy server that alone does not know the leader is a reason to restart it, not one against it.
    let by_it_alone = |group: &Group| {
        let others = |claim: &LeaderClaim| claim.by.iter().any(|by| by != server);
        group.leader.server.as_deref().is_some_and(|leader| leader != server)
            && group.leader.disputed.iter().filter(|claim| others(claim)).count() <= 1
    };
    let replicated = assets.leaderless().filter(|group| !group.single());
    let counted = replicated.filter(|group| !(candidate.expect_unready && by_it_alone(group)));
    let names: Vec<String> = counted.map(|group| name(assets, group)).collect();
    push(names, found, |count, groups| Objection::GroupWithoutLeader { count, groups });
}

/// A stream with consumers, or with recent messages; a durable consumer with recent deliveries or acknowledgements. Other
/// consumers of one replica are those that clients make for themselves and make again: they are shown in the plan, and are
/// no objection.
fn used(group: &Group, now: Timestamp) -> bool {
    let recent = group.last_active.is_some_and(|at| now.duration_since(at).unsigned_abs() <= IN_USE);
    match group.kind {
        Kind::Stream => group.consumers > 0 || recent,
        Kind::Consumer => group.durable && recent,
        Kind::Meta => false,
    }
}

/// Assets in memory that no other member holds a current copy of.
fn memory<'a>(assets: &'a Assets, server: &'a str, now: Timestamp) -> impl Iterator<Item = &'a Group> {
    assets.on(server).filter(move |group| {
        let alone = group.single() || group.majority_without(server).is_some_and(|majority| majority.without == 0);
        let kept = group.kind == Kind::Stream || (group.kind == Kind::Consumer && used(group, now));
        kept && group.storage == Storage::Memory && alone
    })
}

fn pending(assets: &Assets, group: &Group, candidate: &Candidate<'_>, name_of: &str) -> Option<String> {
    let words: Vec<String> = group
        .pending
        .iter()
        .filter_map(|pending| match pending {
            Pending::Resize { members, wanted } => Some(format!("{members} members, {wanted} wanted")),
            // One that is not healthy may never get in, unless it is restarted; it does not count as a member yet.
            Pending::Joining { server } if candidate.expect_unready && server == name_of => None,
            Pending::Joining { server } => Some(format!("{server} joins")),
            Pending::Restore { server } => Some(format!("it is restored or made on {server}")),
            Pending::Move => Some("it moves".into()),
            // Requests come and go with every client that makes a consumer.
            Pending::Requests { .. } => None,
        })
        .collect();
    (!words.is_empty()).then(|| format!("{} ({})", name(assets, group), words.join(", ")))
}

fn with_subjects(assets: &Assets, group: &Group) -> String {
    if group.subjects.is_empty() {
        name(assets, group)
    } else {
        format!("{} on {}", name(assets, group), group.subjects.join(" "))
    }
}

/// A group as an operator calls it: with its account's readable name.
pub fn name(assets: &Assets, group: &Group) -> String {
    let account = assets.account_names.get(&group.account).unwrap_or(&group.account);
    match group.kind {
        Kind::Meta => "the meta group".into(),
        Kind::Stream => format!("stream {account} > {}", group.stream),
        Kind::Consumer => format!("consumer {account} > {} > {}", group.stream, group.consumer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        safety::unsafe_to_restart,
        testing::{candidate, cluster, stream},
    };

    /// Objections against `n1`, for a cluster of three with these streams.
    fn check(streams: Vec<Group>, expected: &[&str]) {
        let mut view = cluster(&["n1", "n2", "n3"]);
        if let Some(assets) = &mut view.assets {
            assets.groups.extend(streams);
        }
        let found = unsafe_to_restart(&view, &candidate("n1", false), view.at);
        assert_eq!(found.iter().map(Objection::name).collect::<Vec<_>>(), expected, "{found:?}");
    }

    #[test]
    fn a_replicated_stream_that_is_current_may_lose_one() {
        check(vec![stream("S", &["n1", "n2", "n3"])], &[]);
    }

    #[test]
    fn a_replica_that_lags_elsewhere_objects() {
        let mut group = stream("S", &["n1", "n2", "n3"]);
        if let Some(standing) = &mut group.members[2].standing {
            standing.current = false;
        }
        check(vec![group.clone()], &["group-majority"]);
        // The server that lags is the one to restart: the others are a majority.
        group.members.swap(0, 2);
        let names = ["n1", "n2", "n3"];
        for (member, name) in group.members.iter_mut().zip(names) {
            member.server = name.into();
        }
        check(vec![group], &[]);
    }

    #[test]
    fn a_group_without_a_leader_objects_wherever_it_is() {
        let mut group = stream("S", &["n2", "n3"]);
        group.leader.server = None;
        check(vec![group], &["group-without-leader"]);
    }

    #[test]
    fn the_only_copy_objects_when_in_use() {
        let mut group = stream("S", &["n1"]);
        check(vec![group.clone()], &[]);
        group.consumers = 1;
        check(vec![group.clone()], &["r1-offline"]);
        group.consumers = 0;
        group.last_active = Some(crate::core::testing::at(-60));
        check(vec![group.clone()], &["r1-offline"]);
        group.storage = Storage::Memory;
        check(vec![group], &["memory-last-copy"]);
        let mut elsewhere = stream("S", &["n2"]);
        elsewhere.consumers = 1;
        check(vec![elsewhere], &[]);
    }

    #[test]
    fn memory_with_current_copies_elsewhere_is_filled_again() {
        let mut group = stream("S", &["n1", "n2", "n3"]);
        group.storage = Storage::Memory;
        check(vec![group], &[]);
    }

    #[test]
    fn changes_under_way_object() {
        let mut group = stream("S", &["n2", "n3"]);
        group.pending = vec![Pending::Resize { members: 2, wanted: 3 }];
        check(vec![group], &["pending-change"]);
    }

    #[test]
    fn what_is_unknown_objects() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.assets = None;
        let found = unsafe_to_restart(&view, &candidate("n1", false), view.at);
        assert_eq!(found.iter().map(Objection::name).collect::<Vec<_>>(), ["assets-unknown"]);
    }
}
