//! What a group's leader says of the restarted server.

use crate::core::assets::{Assets, Gap, Group, Kind};

/// Under writes a replica is always a message or two behind, by the time the answer comes: lag 0 at one instant is
/// nothing to ask for.
pub(super) const LAG_MAX: u64 = 5;

/// Servers that told what they have before, and do not now: what they would say is not known.
pub(super) fn unseen(before: &Assets, now: &Assets, out: &mut Vec<String>) {
    let told = |assets: &Assets, server: &str| {
        assets.asked.get(server).is_some_and(Option::is_some) && assets.gaps.iter().all(|gap| gap.server() != server)
    };
    for server in before.asked.keys().filter(|server| told(before, server) && !told(now, server)) {
        let why = now.gaps.iter().find(|gap| gap.server() == server).map_or_else(
            || "it was not asked".to_owned(),
            |gap| match gap {
                Gap::NotSeen { failure, .. } => failure.to_string(),
                Gap::Truncated { detail, .. } => detail.clone(),
                Gap::Disabled { .. } => "JetStream is off on it".to_owned(),
                Gap::SameName { ids, .. } => format!("{} servers answer by this name", ids.len()),
            },
        );
        out.push(format!("what is on {server} is not known: {why}"));
    }
}

/// Why the group is not back with `server` in it; none where it is. The meta group must moreover have one leader in the
/// eyes of all: a server that follows another has not heard of the others' decisions.
pub(super) fn standing(group: &Group, server: &str) -> Option<String> {
    if group.single() {
        return None;
    }
    let Some(leader) = &group.leader.server else { return Some("no leader".into()) };
    if group.kind == Kind::Meta && !group.leader.disputed.is_empty() {
        let said = |claim: &crate::core::assets::LeaderClaim| {
            format!("{} by {}", claim.leader.as_deref().unwrap_or("none"), claim.by.join(", "))
        };
        let claims: Vec<String> = group.leader.disputed.iter().map(said).collect();
        return Some(format!("servers name different leaders: {}", claims.join("; ")));
    }
    if leader == server {
        return None;
    }
    match group.member(server).map(|member| member.standing) {
        Some(Some(standing)) if standing.counts() && standing.lag <= LAG_MAX => None,
        Some(Some(standing)) => Some(format!("not current on {server}, lag {}, says {leader}", standing.lag)),
        Some(None) | None => Some(format!("{leader} does not know {server}")),
    }
}
