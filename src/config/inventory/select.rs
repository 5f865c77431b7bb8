//! Which clusters and hosts of an inventory a command is about.

use thiserror::Error;

use super::{Cluster, Host, Inventory};
use crate::config::suggest;

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

/// Why a selection names something that can't be rolled.
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
    /// clusters without any of them are left out. The order is that of the inventory.
    ///
    /// # Errors
    /// The first name that is unknown, or a host outside of the selected clusters.
    pub fn select(&self, clusters: &[String], hosts: &[String]) -> Result<Vec<Selection>, SelectError> {
        for name in clusters {
            if !self.clusters.iter().any(|cluster| cluster.name == *name) {
                let known = self.clusters.iter().map(|cluster| cluster.name.as_str());
                return Err(SelectError::UnknownCluster { name: name.clone(), hint: suggest::hint(name, known) });
            }
        }
        let is_selected = |cluster: &Cluster| clusters.is_empty() || clusters.contains(&cluster.name);
        for name in hosts {
            self.check_host(name, is_selected)?;
        }
        let selections = self.clusters.iter().filter(|cluster| is_selected(cluster)).map(|cluster| {
            let names = cluster.hosts.iter().map(|host| &host.name);
            let roll = names.filter(|name| hosts.is_empty() || hosts.contains(name)).cloned();
            Selection { cluster: cluster.clone(), roll: roll.collect() }
        });
        Ok(selections.filter(|selection| !selection.roll.is_empty()).collect())
    }

    fn check_host(&self, name: &str, is_selected: impl Fn(&Cluster) -> bool) -> Result<(), SelectError> {
        let has = |cluster: &&Cluster| cluster.hosts.iter().any(|host| host.name == name);
        match self.clusters.iter().find(has) {
            Some(cluster) if is_selected(cluster) => Ok(()),
            Some(cluster) => Err(SelectError::HostElsewhere { name: name.to_owned(), cluster: cluster.name.clone() }),
            None => {
                let hosts = self.clusters.iter().filter(|cluster| is_selected(cluster));
                let known = hosts.flat_map(|cluster| &cluster.hosts).map(|host| host.name.as_str());
                Err(SelectError::UnknownHost { name: name.to_owned(), hint: suggest::hint(name, known) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(clusters: &[&str], hosts: &[&str], expected: &str) {
        let text = "clusters:\n  prod: {hosts: [n1, n2, n3]}\n  dev: {hosts: [d1]}\n";
        let inventory = Inventory::parse(Path::new("i.yaml"), text).unwrap();
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let found = match inventory.select(&owned(clusters), &owned(hosts)) {
            Ok(selections) => selections
                .iter()
                .map(|s| {
                    let rolled: Vec<_> = s.rolled().map(|host| host.name.as_str()).collect();
                    format!("{}: {} of {}", s.cluster.name, rolled.join(","), s.cluster.hosts.len())
                })
                .collect::<Vec<_>>()
                .join("; "),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn selections_name_clusters_and_hosts() {
        check(&[], &[], "prod: n1,n2,n3 of 3; dev: d1 of 1");
        check(&["dev"], &[], "dev: d1 of 1");
        check(&[], &["n3", "n1"], "prod: n1,n3 of 3");
        check(&["prod"], &["n2"], "prod: n2 of 3");
        check(&["prodd"], &[], "no cluster `prodd` in the inventory; did you mean `prod`?");
        check(&[], &["x"], "no host `x` in the inventory; known: `n1`, `n2`, `n3`, `d1`");
        check(&["dev"], &["n1"], "host `n1` is in cluster `prod`, which is not among the selected clusters");
    }
}
