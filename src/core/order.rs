//! Who goes next, and why.

use serde::{Deserialize, Serialize};

use super::{plan::Turn, playbook::OrderRule, view::View};

/// Why a server has its place in the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Why {
    /// It is not healthy already.
    Unready,
    /// Its zone's turn.
    Zone {
        /// The zone.
        zone: String,
    },
    /// Its place in the inventory.
    Inventory,
    /// It leads the meta group, so it waits for the others.
    MetaLeaderLast,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unready => f.write_str("not ready already: goes first"),
            Self::Zone { zone } => write!(f, "zone {zone}"),
            Self::Inventory => f.write_str("inventory order"),
            Self::MetaLeaderLast => f.write_str("meta leader: goes last"),
        }
    }
}

/// Sorts turns by the rules, an earlier rule weighing more. Turns that no rule tells apart keep their order.
///
/// `view` is asked only for the meta leader, which can change with every turn; everything else is as the plan saw it.
pub fn sort(turns: &mut [Turn], rules: &[OrderRule], view: &View) {
    let leader = view.meta_leader().map(str::to_owned);
    turns.sort_by_cached_key(|turn| key(turn, rules, leader.as_deref()));
    for turn in turns {
        turn.meta_leader = leader.as_deref() == Some(turn.server_name.as_str());
        turn.why = why(turn, rules);
    }
}

fn key(turn: &Turn, rules: &[OrderRule], leader: Option<&str>) -> Vec<usize> {
    let rank = |rule: &OrderRule| match rule {
        OrderRule::Unready => usize::from(!turn.unready),
        OrderRule::Zone => turn.zone_rank,
        OrderRule::Inventory => turn.inventory_rank,
        OrderRule::MetaLeaderLast => usize::from(leader == Some(turn.server_name.as_str())),
    };
    rules.iter().map(rank).collect()
}

fn why(turn: &Turn, rules: &[OrderRule]) -> Vec<Why> {
    let reason = |rule: &OrderRule| match rule {
        OrderRule::Unready => turn.unready.then_some(Why::Unready),
        OrderRule::Zone => turn.zone.clone().map(|zone| Why::Zone { zone }),
        OrderRule::Inventory => None,
        OrderRule::MetaLeaderLast => turn.meta_leader.then_some(Why::MetaLeaderLast),
    };
    let reasons: Vec<_> = rules.iter().filter_map(reason).collect();
    if reasons.is_empty() { vec![Why::Inventory] } else { reasons }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{plan, testing::*, view::FailureKind};

    const ALL: [OrderRule; 4] = [OrderRule::Unready, OrderRule::MetaLeaderLast, OrderRule::Zone, OrderRule::Inventory];

    fn check(view: &View, rules: &[OrderRule], expected: &[&str]) {
        let mut turns = plan::turns(view, &view.servers.iter().map(|s| s.host.clone()).collect::<Vec<_>>());
        sort(&mut turns, rules, view);
        assert_eq!(turns.iter().map(|turn| turn.host.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_meta_leader_goes_last() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        check(&view, &ALL, &["n1", "n2", "n3"]);
        for server in &mut view.servers {
            if let Ok(varz) = &mut server.varz {
                varz.meta = Some(crate::core::view::Meta { leader: Some("n1".into()), size: 3, members: Vec::new() });
            }
        }
        check(&view, &ALL, &["n2", "n3", "n1"]);
        check(&view, &[OrderRule::Inventory], &["n1", "n2", "n3"]);
    }

    #[test]
    fn zones_follow_each_other_as_the_inventory_names_them() {
        let mut view = cluster(&["n1", "n2", "n3", "n4", "n5"]);
        for (server, zone) in view.servers.iter_mut().zip(["b", "a", "b", "a", "b"]) {
            server.zone = Some(zone.into());
        }
        check(&view, &ALL, &["n1", "n3", "n2", "n4", "n5"]);
    }

    #[test]
    fn a_server_that_is_down_goes_first() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[1].varz = Err(crate::core::view::Failure::new(FailureKind::Refused, "refused"));
        check(&view, &ALL, &["n2", "n1", "n3"]);
    }
}
