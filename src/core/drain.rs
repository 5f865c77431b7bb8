//! What is moved off a server before it stops: leaders to whom, clients in which order.

use serde::{Deserialize, Serialize};

use super::{
    assets::{Assets, Group, Kind},
    version::Version,
};

/// What a roll without the system account costs.
pub const WITHOUT_SYSTEM_ACCOUNT: &str = "no system account in the inventory: leaders and clients are left to lame duck, \
     which takes JetStream away first and then waits for clients, 10 s at least and up to 2 minutes by default";

/// The same at each turn, where the plan has said it.
pub const LEFT_TO_LAME_DUCK: &str = "no system account: left to lame duck";

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
    /// A client over the NATS protocol: it is told to go, then closed.
    Client,
    /// The same over a websocket.
    Websocket,
    /// An MQTT client: it is closed, since MQTT has no word for the rest.
    Mqtt,
    /// A leafnode: left alone. A remote that names a single server would come straight back. Up to 2.14 lame duck does not wait
    /// for it; from 2.15 it does, for the grace period (measured: 0.1 s on 2.10.26 to 2.14.6, 2.2 s on 2.15.1 with 2 s of grace).
    Leafnode,
    /// A gateway of another cluster: left alone, since servers can't be asked to close one.
    Gateway,
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
    let stays = |kind| matches!(kind, AttachedKind::Leafnode | AttachedKind::Gateway);
    let goes = |attached: &&Attached| !stays(attached.kind) && attached.cid.is_some();
    attached.iter().filter(goes).copied().collect()
}

/// What is attached besides plain clients, in words; empty where nothing is.
pub fn others(attached: &[Attached]) -> String {
    let kinds = [
        (AttachedKind::Websocket, "over websocket"),
        (AttachedKind::Mqtt, "over MQTT"),
        (AttachedKind::Leafnode, "leafnodes, which stay until the stop"),
        (AttachedKind::Gateway, "gateways, which stay until the stop"),
    ];
    let count = |wanted| attached.iter().filter(|one| one.kind == wanted).count();
    let counted = kinds.map(|(kind, words)| (count(kind), words));
    let told: Vec<String> =
        counted.iter().filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}")).collect();
    told.join(", ")
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
    fn leafnodes_and_gateways_stay_and_all_are_counted() {
        use AttachedKind::{Client, Gateway, Leafnode, Mqtt, Websocket};
        let kinds = [Client, Leafnode, Mqtt, Websocket, Gateway, Mqtt];
        let attached: Vec<_> =
            kinds.iter().zip(1..).map(|(kind, cid)| Attached { cid: Some(cid), kind: *kind }).collect();
        assert_eq!(evictable(&attached).iter().filter_map(|a| a.cid).collect::<Vec<_>>(), [1, 3, 4, 6]);
        assert_eq!(
            others(&attached),
            "1 over websocket, 2 over MQTT, 1 leafnodes, which stay until the stop, 1 gateways, which stay until the stop"
        );
        assert_eq!(others(&attached[..1]), "");
    }
}
