//! What was true before a server was touched: what has to come back, and what was wrong already.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::{
    listeners::Shown,
    view::{HealthError, ServerView, View},
};

/// What was true of the server before it was touched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The name that it must come back with.
    pub server_name: String,
    /// The old process; none where the server did not answer.
    pub server_id: Option<String>,
    /// When the old process started, by the host's clock.
    pub start: Option<Timestamp>,
    /// The manager's restart counter when the server was down. systemd sets it to 0 at a start that is not its own
    /// (`service.c`, `flush_n_restarts`); other managers may go on counting.
    pub restarts: Option<u32>,
    /// The old process to its manager, and the boot of the host that it is a process of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// See `pid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The version that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The digest of the configuration that it ran with, from 2.11 on. It is of the text: a certificate's file may change
    /// under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_digest: Option<String>,
    /// Errors of single streams and consumers that healthz had already. They are waived: a restart has not made them,
    /// and may not mend them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<HealthError>,
    /// What was connected to the cluster; none where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachments: Option<Attachments>,
    /// What its TLS listeners showed, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Box<(Timestamp, Vec<Shown>)>>,
}

impl Baseline {
    /// The baseline of a server as seen before its turn.
    pub fn of(server: &ServerView) -> Self {
        let varz = server.varz.as_ref().ok();
        let errors = server.health.iter().flat_map(|health| health.asset_errors().cloned());
        Self {
            server_name: server.server_name.clone(),
            server_id: varz.map(|varz| varz.server_id.clone()),
            start: varz.map(|varz| varz.start),
            restarts: server.service.as_ref().ok().and_then(|service| service.restarts),
            pid: server.service.as_ref().ok().and_then(|service| service.pid),
            boot_id: server.service.as_ref().ok().and_then(|service| service.boot_id.clone()),
            version: varz.map(|varz| varz.version.clone()),
            config_digest: varz.and_then(|varz| varz.config_digest.clone()),
            errors: errors.collect(),
            attachments: None,
            shown: None,
        }
    }

    /// The server is down, and its manager has started it so often by itself, where that can be told: one that was started again and
    /// again until it was stopped was so after its turn began, too.
    pub fn is_down(&mut self, restarts: Option<u32>) {
        self.restarts = restarts.or(self.restarts);
    }

    /// The same with what is connected to its cluster.
    #[must_use]
    pub fn within(self, view: &View) -> Self {
        Self { attachments: Attachments::of(view), ..self }
    }

    /// The same with what its TLS listeners showed at that time.
    #[must_use]
    pub fn showing(self, at: Timestamp, shown: Vec<Shown>) -> Self {
        Self { shown: (!shown.is_empty()).then(|| Box::new((at, shown))), ..self }
    }

    /// The same without the old process: for a turn that stops nothing, the process that runs may stay.
    #[must_use]
    pub fn of_any_process(self) -> Self {
        Self { server_id: None, start: None, ..self }
    }
}

/// Connections to a cluster as a whole: clients move to other servers during a restart, and stay there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attachments {
    /// Clients.
    pub clients: u64,
    /// Leafnodes.
    pub leafnodes: u64,
    /// Connections to other clusters.
    pub gateways: u64,
}

impl Attachments {
    /// The sum over all servers; none where one of them did not answer.
    pub fn of(view: &View) -> Option<Self> {
        view.servers.iter().try_fold(Self::default(), |sum, server| {
            let varz = server.varz.as_ref().ok()?;
            Some(Self {
                clients: sum.clients + varz.connections,
                leafnodes: sum.leafnodes + varz.leafnodes,
                gateways: sum.gateways + varz.gateways?,
            })
        })
    }

    /// What is missing of `self` in `now`, in words; none where all is back. Clients come and go by themselves, so a tenth
    /// of them, or two, may be gone; leafnodes and gateways are few and lasting.
    pub fn missing(&self, now: &Self) -> Option<String> {
        let tolerated = (self.clients / 10).max(2);
        let mut missing = Vec::new();
        let mut compare = |what, before: u64, now: u64, tolerated: u64| {
            if now + tolerated < before {
                missing.push(format!("{now} {what} of {before}"));
            }
        };
        compare("clients", self.clients, now.clients, tolerated);
        compare("leafnodes", self.leafnodes, now.leafnodes, 0);
        compare("gateway connections", self.gateways, now.gateways, 0);
        if missing.is_empty() { None } else { Some(missing.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::cluster;

    fn check(before: (u64, u64, u64), now: (u64, u64, u64), expected: Option<&str>) {
        let attachments = |(clients, leafnodes, gateways)| Attachments { clients, leafnodes, gateways };
        assert_eq!(attachments(before).missing(&attachments(now)).as_deref(), expected);
    }

    #[test]
    fn clients_may_go_by_themselves_and_leafnodes_may_not() {
        check((40, 2, 3), (36, 2, 3), None);
        check((40, 2, 3), (35, 2, 3), Some("35 clients of 40"));
        check((2, 0, 0), (0, 0, 0), None);
        check((3, 0, 0), (0, 0, 0), Some("0 clients of 3"));
        check((0, 2, 3), (9, 1, 2), Some("1 leafnodes of 2, 2 gateway connections of 3"));
    }

    #[test]
    fn what_one_server_does_not_tell_is_not_counted_as_gone() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        assert_eq!(Attachments::of(&view).map(|all| all.clients), Some(15));
        view.servers[0].varz = Err(crate::core::view::Failure::new(crate::core::view::FailureKind::Refused, "no"));
        assert_eq!(Attachments::of(&view), None);
    }
}
