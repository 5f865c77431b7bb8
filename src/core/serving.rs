//! What the rest of a cluster does, in a few words: for a halt.

use serde::{Deserialize, Serialize};

use super::view::View;

/// What the rest of the cluster does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// Hosts whose server is healthy.
    pub healthy: Vec<String>,
    /// Hosts whose server is not, or is not known to be.
    pub not_healthy: Vec<String>,
    /// The meta leader that the healthy servers name.
    pub meta_leader: Option<String>,
    /// Whether the healthy servers are a majority of the meta group; none without clustered JetStream.
    pub meta_quorum: Option<bool>,
}

impl Serving {
    /// What `view` says of the cluster.
    pub fn of(view: &View) -> Self {
        let names = |healthy: bool| {
            view.servers.iter().filter(move |s| s.healthy() == healthy).map(|s| s.host.clone()).collect::<Vec<_>>()
        };
        let healthy = names(true);
        let metas: Vec<_> = view
            .servers
            .iter()
            .filter(|server| server.healthy())
            .filter_map(|server| server.varz.as_ref().ok()?.meta.as_ref())
            .collect();
        let size = metas.iter().map(|meta| meta.size).max();
        let quorum = size.map(|size| metas.len() > usize::try_from(size / 2).unwrap_or(usize::MAX));
        Self {
            not_healthy: names(false),
            meta_leader: metas.iter().find_map(|meta| meta.leader.clone()),
            meta_quorum: quorum,
            healthy,
        }
    }
}

impl std::fmt::Display for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.healthy.len() + self.not_healthy.len();
        write!(f, "{} of {all} servers are healthy", self.healthy.len())?;
        if !self.healthy.is_empty() {
            write!(f, " ({})", self.healthy.join(", "))?;
        }
        match (self.meta_quorum, &self.meta_leader) {
            (Some(true), Some(leader)) => write!(f, "; JetStream has its meta quorum, led by {leader}"),
            (Some(true), None) => f.write_str("; JetStream has a meta quorum but no leader"),
            (Some(false), _) => f.write_str("; JetStream has NO meta quorum"),
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::*;

    fn check(view: &View, expected: &str) {
        assert_eq!(Serving::of(view).to_string(), expected);
    }

    #[test]
    fn serving_counts_the_meta_group() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[1].health = Ok(healthz_error(503, "down"));
        check(&view, "2 of 3 servers are healthy (n1, n3); JetStream has its meta quorum, led by n3");
        view.servers[0].health = Ok(healthz_error(503, "down"));
        check(&view, "1 of 3 servers are healthy (n3); JetStream has NO meta quorum");
    }

    #[test]
    fn without_jetstream_there_is_no_quorum_to_have() {
        let mut view = cluster(&["n1", "n2"]);
        for server in &mut view.servers {
            if let Ok(varz) = &mut server.varz {
                varz.meta = None;
            }
        }
        check(&view, "2 of 2 servers are healthy (n1, n2)");
    }
}
