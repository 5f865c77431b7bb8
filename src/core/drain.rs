//! What is moved off a server before it stops: leaders to whom, clients in which order.

use serde::{Deserialize, Serialize};

use super::{
    assets::{Assets, Group, Kind},
    version::Version,
};

/// A leader that is to give up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepDown {
    /// What it leads.
    pub kind: Kind,
    /// The account's id; empty for meta.
    pub account: String,
    /// The stream; empty for meta.
    pub stream: String,
    /// The consumer; empty for others.
    pub consumer: String,
    /// Who should lead: the current replica with the least lag.
    pub preferred: String,
}

/// Something attached to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The server's number for it; none where the server does not tell it (leafnodes before 2.11).
    pub cid: Option<u64>,
    /// How it is attached.
    pub kind: AttachedKind,
}

/// How something is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachedKind {
    /// A client over the NATS protocol or a websocket: it is told to go, then closed.
    Client,
    /// An MQTT client: it is closed, since MQTT has no word for the rest.
    Mqtt,
    /// A leafnode: left alone. Its remote would come straight back, as most name a single server.
    Leafnode,
}

/// The leaders that `server` should give up: those of groups in which another member is current, the meta group last,
/// because the JetStream API can be without an answer for some seconds after it.
///
/// None for servers before 2.11: they can't be told whom to prefer, and their own transfer at the stop leaves a group
/// without a leader for 25 ms, where a step-down by API leaves it so for 270 ms (measured).
pub fn step_downs(assets: &Assets, server: &str, version: &str) -> Vec<StepDown> {
    if Version::of(version).is_none_or(|version| version < Version(2, 11, 0)) {
        return Vec::new();
    }
    let step_down = |group: &Group| {
        let preferred = group.successors().first()?.server.clone();
        let Group { kind, account, stream, consumer, .. } = group.clone();
        Some(StepDown { kind, account, stream, consumer, preferred })
    };
    let mut all: Vec<StepDown> = assets.led_by(server).filter_map(step_down).collect();
    all.sort_by_key(|step_down| step_down.kind == Kind::Meta);
    all
}

/// The clients to send away, by number.
pub fn evictable(attached: &[Attached]) -> Vec<Attached> {
    let goes = |attached: &&Attached| attached.kind != AttachedKind::Leafnode && attached.cid.is_some();
    attached.iter().filter(goes).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{cluster, stream};

    fn check(server: &str, version: &str, expected: &[(&str, &str)]) {
        let mut assets = cluster(&["n1", "n2", "n3"]).assets.unwrap();
        let mut lagging = stream("LAG", &["n3", "n1", "n2"]);
        if let Some(standing) = &mut lagging.members[1].standing {
            standing.lag = 4;
        }
        assets.groups.extend([stream("S", &["n1", "n2", "n3"]), lagging, stream("R1", &["n3"])]);
        let found = step_downs(&assets, server, version);
        let found: Vec<_> = found.iter().map(|s| (s.stream.as_str(), s.preferred.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn leaders_go_to_the_replica_that_is_least_behind_and_meta_last() {
        check("n3", "2.15.1", &[("LAG", "n2"), ("", "n1")]);
        check("n1", "2.11.0", &[("S", "n2")]);
        check("n2", "2.15.1", &[]);
    }

    #[test]
    fn servers_before_2_11_move_their_leaders_themselves() {
        check("n3", "2.10.26", &[]);
        check("n3", "unknown", &[]);
    }

    #[test]
    fn leafnodes_stay() {
        let attached = [AttachedKind::Client, AttachedKind::Leafnode, AttachedKind::Mqtt];
        let attached: Vec<_> =
            attached.iter().zip(1..).map(|(kind, cid)| Attached { cid: Some(cid), kind: *kind }).collect();
        assert_eq!(evictable(&attached).iter().filter_map(|a| a.cid).collect::<Vec<_>>(), [1, 3]);
    }
}
