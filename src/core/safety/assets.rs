//! What a restart means for each raft group and asset on the server: asked of the groups' leaders, one by one.

use std::time::Duration;

use jiff::Timestamp;

use super::Objection;
use crate::core::{
    assets::{Assets, Gap, Group, Kind, Pending, Storage},
    view::View,
};

/// A stream that took a message within this time is in use. Long enough for a job of every few minutes, short enough that
/// a stream which nobody has written to today does not stop a roll.
pub const IN_USE: Duration = Duration::from_secs(15 * 60);
/// Objections name this many groups; a broken server can have thousands.
const NAMED: usize = 5;

pub(super) fn judge(view: &View, candidate: &str, found: &mut Vec<Objection>) {
    let jetstream = view.servers.iter().any(|server| server.varz.as_ref().is_ok_and(|varz| varz.jetstream));
    let Some(assets) = &view.assets else {
        if jetstream {
            found.push(Objection::AssetsUnknown { gaps: vec!["they were not asked for".into()] });
        }
        return;
    };
    let Some(server) = view.server(candidate).map(|server| server.server_name.as_str()) else { return };
    gaps(view, assets, server, found);
    let impact = assets.impact(server);
    leaders(assets, found);
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
    push(lost, found, |count, groups| Objection::GroupMajority { host: candidate.into(), count, groups });
    let in_use = impact.offline.iter().filter(|group| group.storage == Storage::File && used(group, view.at));
    let in_use: Vec<String> = in_use.map(|group| with_subjects(assets, group)).collect();
    push(in_use, found, |count, groups| Objection::R1Offline { host: candidate.into(), count, groups });
    let memory: Vec<String> = memory(assets, server).map(|group| name(assets, group)).collect();
    push(memory, found, |count, groups| Objection::MemoryLastCopy { host: candidate.into(), count, groups });
    let pending: Vec<String> = assets.groups.iter().filter_map(|group| pending(assets, group)).collect();
    push(pending, found, |count, groups| Objection::PendingChange { count, groups });
}

fn push(names: Vec<String>, found: &mut Vec<Objection>, objection: impl FnOnce(usize, Vec<String>) -> Objection) {
    if !names.is_empty() {
        let count = names.len();
        found.push(objection(count, names.into_iter().take(NAMED).collect()));
    }
}

/// A gap counts where the server itself is up: one that is down has its own objection, and what is on it is known
/// through the leaders of its groups.
fn gaps(view: &View, assets: &Assets, candidate: &str, found: &mut Vec<Objection>) {
    let up =
        |name: &str| view.servers.iter().any(|s| s.server_name == name && s.varz.as_ref().is_ok_and(|v| v.jetstream));
    let words = |gap: &Gap| match gap {
        Gap::NotSeen { server, failure } if up(server) => Some(format!("{server}: {failure}")),
        Gap::Truncated { server, detail, .. } => Some(format!("{server}: {detail}")),
        Gap::Disabled { server } if up(server) && server != candidate => Some(format!("{server}: JetStream is off")),
        Gap::NotSeen { .. } | Gap::Disabled { .. } | Gap::SameName { .. } => None,
    };
    let gaps: Vec<String> = assets.gaps.iter().filter_map(words).take(NAMED).collect();
    if !gaps.is_empty() {
        found.push(Objection::AssetsUnknown { gaps });
    }
}

fn leaders(assets: &Assets, found: &mut Vec<Objection>) {
    let replicated = assets.leaderless().filter(|group| !group.single());
    let names: Vec<String> = replicated.map(|group| name(assets, group)).collect();
    push(names, found, |count, groups| Objection::GroupWithoutLeader { count, groups });
}

/// A stream with consumers, or with recent messages. Consumers of one replica on a replicated stream are mostly those that
/// clients make for themselves and make again: they are shown in the plan, and are no objection.
fn used(group: &Group, now: Timestamp) -> bool {
    let recent = group.last_active.is_some_and(|at| now.duration_since(at).unsigned_abs() <= IN_USE);
    group.kind == Kind::Stream && (group.consumers > 0 || recent)
}

/// Assets in memory that no other member holds a current copy of.
fn memory<'a>(assets: &'a Assets, server: &'a str) -> impl Iterator<Item = &'a Group> {
    assets.on(server).filter(move |group| {
        let alone = group.single() || group.majority_without(server).is_some_and(|majority| majority.without == 0);
        group.kind == Kind::Stream && group.storage == Storage::Memory && alone
    })
}

fn pending(assets: &Assets, group: &Group) -> Option<String> {
    let words: Vec<String> = group
        .pending
        .iter()
        .filter_map(|pending| match pending {
            Pending::Resize { members, wanted } => Some(format!("{members} members, {wanted} wanted")),
            Pending::Joining { server } => Some(format!("{server} joins")),
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
        testing::{cluster, stream},
    };

    /// Objections against `n1`, for a cluster of three with these streams.
    fn check(streams: Vec<Group>, expected: &[&str]) {
        let mut view = cluster(&["n1", "n2", "n3"]);
        if let Some(assets) = &mut view.assets {
            assets.groups.extend(streams);
        }
        let found = unsafe_to_restart(&view, "n1", false, view.at);
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
        let found = unsafe_to_restart(&view, "n1", false, view.at);
        assert_eq!(found.iter().map(Objection::name).collect::<Vec<_>>(), ["assets-unknown"]);
    }
}
