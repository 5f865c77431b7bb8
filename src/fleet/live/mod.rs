//! The real fleet: ssh, the hosts' service managers, the servers' monitoring and client ports.

mod address;
mod change;
mod client_port;
mod commands;
mod host;
mod monitor;
mod service;
mod ssh;
mod tls;
mod wire;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use jiff::Timestamp;

pub use host::Host;

use super::{Change, Changed, Fleet};
use crate::{
    config::inventory::Cluster,
    core::{
        gate::Look,
        halt::{Evidence, health_words},
        view::{Failure, FailureKind, Seen, ServerView, ServiceState, View},
    },
};

/// The hosts of one cluster.
pub struct Live {
    cluster: String,
    hosts: Vec<Host>,
    // Last, so that it is removed after the connections that have their sockets in it are closed.
    _directory: Arc<tempfile::TempDir>,
}

impl Live {
    /// Prepares the hosts of a cluster. Connects to none yet.
    ///
    /// # Errors
    /// There is no place for control sockets, or a TLS file of the inventory can't be used.
    pub async fn new(cluster: &Cluster) -> Result<Self, Failure> {
        let directory = Arc::new(control_directory()?);
        let mut tls = tls::Cache::default();
        let addresses = join_all(cluster.hosts.iter().map(|host| address::of(&host.ssh))).await;
        let mut hosts = Vec::with_capacity(cluster.hosts.len());
        for (number, (host, address)) in cluster.hosts.iter().zip(addresses).enumerate() {
            hosts.push(Host::new(host.clone(), address, directory.path(), number, &mut tls)?);
        }
        Ok(Self { cluster: cluster.name.clone(), hosts, _directory: directory })
    }

    /// The hosts, in inventory order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    fn host(&self, name: &str) -> Result<&Host, Failure> {
        let found = self.hosts.iter().find(|host| host.name() == name);
        found.ok_or_else(|| Failure::new(FailureKind::NotAsked, format!("{name} is not a host of {}", self.cluster)))
    }
}

/// A private directory of a short path: a Unix socket's path has at most 107 bytes (`unix(7)`), and openssh adds some
/// forty. `XDG_RUNTIME_DIR` is the user's own and on memory.
fn control_directory() -> Result<tempfile::TempDir, Failure> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(std::path::PathBuf::from);
    let usable = runtime.filter(|path| path.is_absolute() && path.as_os_str().len() < 40 && path.is_dir());
    let base = usable.unwrap_or_else(|| "/tmp".into());
    let made = tempfile::Builder::new().prefix("rollgate-").rand_bytes(6).tempdir_in(&base);
    made.map_err(|error| {
        let text = format!("no place for ssh control sockets in {}: {error}", base.display());
        Failure::new(FailureKind::NotAsked, text)
    })
}

impl Fleet for Live {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn observe(&self, inspect: &[String], timeout: Duration) -> View {
        let inspected = |host: &Host| inspect.iter().any(|name| name == host.name());
        // First connections take longest. They are made before anything is asked, so that all answers are of one time,
        // and a host that is off does not make what the others said stale.
        let using_ssh = self.hosts.iter().filter(|host| inspected(host) || host.needs_ssh());
        join_all(using_ssh.map(Host::connect)).await;
        let servers = join_all(self.hosts.iter().map(|host| async {
            if !inspected(host) {
                return host.server(timeout).await;
            }
            let (server, service) = tokio::join!(host.server(timeout), host.service_as_root(timeout));
            let client = host.client_port(&server, timeout).await;
            ServerView { service, client, ..server }
        }));
        let servers = servers.await;
        View { cluster: self.cluster.clone(), at: self.now(), servers }
    }

    async fn service(&self, host: &str, timeout: Duration) -> Seen<ServiceState> {
        self.host(host)?.service(timeout).await
    }

    async fn change(&self, host: &str, change: &Change, wait: Duration) -> Result<Changed, Failure> {
        self.host(host)?.change(change, wait).await
    }

    async fn look(&self, host: &str, timeout: Duration) -> Look {
        let target = match self.host(host) {
            Ok(target) => target,
            Err(failure) => return unknown(host, &failure),
        };
        let peers = join_all(
            self.hosts
                .iter()
                .filter(|peer| peer.name() != host)
                .map(|peer| async { (peer.name().to_owned(), peer.routes(timeout).await) }),
        );
        let (server, service, peers) = tokio::join!(target.server_for_gate(timeout), target.service(timeout), peers);
        Look { server: ServerView { service, ..server }, peers }
    }

    async fn evidence(&self, host: &str, since: Option<Timestamp>, timeout: Duration) -> Evidence {
        let target = match self.host(host) {
            Ok(target) => target,
            Err(failure) => {
                let health = failure.to_string();
                return Evidence {
                    service: Err(failure.clone()),
                    health,
                    log: Err(failure),
                    log_source: String::new(),
                };
            }
        };
        let (service, server, log) =
            tokio::join!(target.service(timeout), target.server(timeout), target.log(since, timeout));
        Evidence { service, health: health_words(&server), log, log_source: target.log_source() }
    }
}

fn unknown(host: &str, failure: &Failure) -> Look {
    let seen = || failure.clone();
    let server = ServerView {
        host: host.to_owned(),
        server_name: host.to_owned(),
        zone: None,
        at: Timestamp::now(),
        varz: Err(seen()),
        health: Err(seen()),
        routes: Err(seen()),
        client: Err(seen()),
        service: Err(seen()),
    };
    Look { server, peers: Vec::new() }
}
