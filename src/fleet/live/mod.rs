//! The real fleet: ssh, the hosts' service managers, the servers' monitoring and client ports.

mod address;
mod change;
mod client_port;
pub mod collect;
mod commands;
mod handshake;
mod here;
mod host;
pub mod jsz;
pub(super) mod lock;
mod locking;
mod monitor;
pub mod nats;
mod relay;
mod service;
mod ssh;
mod stage;
mod system;
mod tls;
mod wire;

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all, stream};
use jiff::Timestamp;

pub use commands::Collected;
use commands::Verb;
pub use host::Host;
use lock::Lease;
use nats::{AttachmentKind, SystemAccount, Target};
use system::System;

use super::{Change, Changed, Command, Content, Ended, Fleet, PutFile};
use crate::{
    config::inventory::Cluster,
    core::{
        assets::{Assets, assemble},
        diagnosis::evidence::Archive,
        drain::{Attached, AttachedKind, StepDown},
        gate::{Look, Measure},
        install::StandIn,
        listeners::{Listener, Shown},
        lock::{Claim, HostLock, LockRefusal},
        own_step::Place,
        view::{Failure, FailureKind, Seen, ServerView, ServiceState, View},
    },
};

/// The hosts of one cluster.
pub struct Live {
    cluster: String,
    hosts: Vec<Host>,
    system: System,
    lease: std::sync::Mutex<Option<Lease>>,
    /// Held while the lock is renewed.
    renewing: tokio::sync::Mutex<()>,
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
        Ok(Self {
            cluster: cluster.name.clone(),
            hosts,
            system: System::new(cluster.nats.clone()),
            lease: std::sync::Mutex::new(None),
            renewing: tokio::sync::Mutex::new(()),
            _directory: directory,
        })
    }

    /// The hosts, in inventory order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// All streams and consumers of the cluster: over the system account where it can be used, else through the monitoring
    /// ports. Both say the same.
    pub async fn assets(&self, limit: Duration) -> Assets {
        match self.system().await {
            Ok(system) => {
                let names: Vec<String> = self.hosts.iter().map(|host| host.inventory().server_name.clone()).collect();
                system.assets(&names, limit).await
            }
            Err(_) => self.monitored_assets(limit).await,
        }
    }

    /// All streams and consumers of the cluster, through the monitoring ports; `limit` is for each request.
    pub async fn monitored_assets(&self, limit: Duration) -> Assets {
        let asked: Vec<_> = self
            .hosts
            .iter()
            .map(|host| async move {
                let name = host.inventory().server_name.clone();
                let seen = host.assets(limit).await.and_then(|seen| {
                    if seen.server == name {
                        return Ok(seen);
                    }
                    let text = format!("the server at {} is {}, not {name}", host.name(), seen.server);
                    Err(Failure::new(FailureKind::Protocol, text))
                });
                (name, seen)
            })
            .collect();
        // A few at a time: each answer can have some megabytes.
        assemble(stream::iter(asked).buffered(3).collect().await)
    }

    async fn system(&self) -> Seen<Arc<SystemAccount>> {
        self.system.account(&self.hosts).await
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
        View {
            cluster: self.cluster.clone(),
            at: self.now(),
            servers,
            system_account: None,
            assets: None,
            preflight: Vec::new(),
            differences: Vec::new(),
        }
    }

    async fn observe_assets(&self, inspect: &[String], timeout: Duration) -> View {
        let system = async { if self.system.is_named() { Some(self.system().await.map(drop)) } else { None } };
        let (mut view, system_account) = tokio::join!(self.observe(inspect, timeout), system);
        view.system_account = system_account;
        if view.servers.iter().any(|server| server.varz.as_ref().is_ok_and(|varz| varz.jetstream)) {
            view.assets = Some(self.assets(timeout).await);
        }
        view
    }

    fn has_system_account(&self) -> bool {
        self.system.is_named()
    }

    async fn attached(&self, server_id: &str, timeout: Duration) -> Seen<Vec<Attached>> {
        let attachments = self.system().await?.attachments(server_id, timeout).await?;
        let kind = |kind: AttachmentKind| match kind {
            AttachmentKind::Client => AttachedKind::Client,
            AttachmentKind::Websocket => AttachedKind::Websocket,
            AttachmentKind::Mqtt => AttachedKind::Mqtt,
            AttachmentKind::Leafnode => AttachedKind::Leafnode,
            AttachmentKind::Gateway => AttachedKind::Gateway,
        };
        Ok(attachments.all.iter().map(|one| Attached { cid: one.cid, kind: kind(one.kind) }).collect())
    }

    async fn evict(&self, server_id: &str, client: Attached, timeout: Duration) -> Seen<()> {
        let Some(cid) = client.cid else { return Ok(()) };
        self.must_hold().await?;
        let system = self.system().await?;
        let gone = |failure: Failure| if failure.kind == FailureKind::Command { Ok(()) } else { Err(failure) };
        if matches!(client.kind, AttachedKind::Client | AttachedKind::Websocket) {
            // A client that does not understand is closed all the same.
            system.tell_lame_duck(server_id, cid, timeout).await.or_else(gone)?;
        }
        system.kick(server_id, cid, timeout).await.or_else(gone)
    }

    async fn leave(&self, server_id: &str) {
        self.system.leave(server_id).await;
    }

    async fn step_down(&self, leader: &StepDown, timeout: Duration) -> Seen<()> {
        self.must_hold().await?;
        let target = Target {
            kind: leader.kind,
            account: leader.account.clone(),
            stream: leader.stream.clone(),
            consumer: leader.consumer.clone(),
            preferred: Some(leader.preferred.clone()),
        };
        self.system().await?.step_down(&target, timeout).await
    }

    async fn reload(&self, server_id: &str, timeout: Duration) -> Seen<()> {
        self.must_hold().await?;
        self.system().await?.reload(server_id, timeout).await
    }

    async fn service(&self, host: &str, timeout: Duration) -> Seen<ServiceState> {
        self.host(host)?.service(timeout).await
    }

    async fn change(&self, host: &str, change: &Change, wait: Duration) -> Result<Changed, Failure> {
        self.fenced_change(host, change, wait).await
    }

    async fn record(&self, host: &str, id: &str, timeout: Duration) -> Seen<Option<Changed>> {
        self.host(host)?.record(id, timeout).await
    }

    async fn stage(&self, host: &str, run: &str, sha256: &str, content: &Content, limit: Duration) -> Seen<()> {
        self.fenced_stage(host, (run, sha256), content, limit).await
    }

    async fn digest(&self, host: &str, path: &str, timeout: Duration) -> Seen<Option<String>> {
        self.host(host)?.digest(path, timeout).await
    }

    async fn clear(&self, run: &str, timeout: Duration) -> Vec<(String, Failure)> {
        self.failures(|host| host.clear(run, timeout)).await
    }

    async fn lock(&self, claim: &Claim, timeout: Duration) -> Result<(), LockRefusal> {
        self.take_lock(claim, timeout).await
    }

    async fn renew(&self, timeout: Duration) -> Result<(), LockRefusal> {
        self.renew_lock(timeout).await
    }

    async fn release(&self, timeout: Duration) {
        self.release_lock(timeout).await;
    }

    async fn locks(&self, timeout: Duration) -> Vec<(String, Seen<HostLock>)> {
        let seen = self.round(Verb::Look, timeout).await;
        let named = self.hosts.iter().zip(seen);
        named.map(|(host, seen)| (host.name().to_owned(), seen.map(|answer| answer.lock))).collect()
    }

    async fn break_lock(&self, run: &str, timeout: Duration) -> Vec<(String, Failure)> {
        self.failures(|host| async move { host.lock(Verb::Break { run }, timeout).await.map(drop) }).await
    }

    async fn put_here(&self, file: &PutFile, limit: Duration) -> Seen<Ended> {
        here::run(&Command { argv: commands::put_file(file), environment: Vec::new() }, limit).await
    }

    async fn run_here(&self, command: &Command, limit: Duration) -> Seen<Ended> {
        here::run(command, limit).await
    }

    async fn get(&self, host: &str, from: Place, url: &str, timeout: Duration) -> Seen<(u16, String)> {
        match from {
            Place::Controller => here::get(url, timeout).await,
            Place::Host => self.host(host)?.get(url, timeout).await,
        }
    }

    fn monitoring(&self, host: &str) -> String {
        self.host(host).map(Host::monitoring_url).unwrap_or_default()
    }

    async fn look(&self, host: &str, timeout: Duration) -> Look {
        let target = match self.host(host) {
            Ok(target) => target,
            Err(failure) => return Look::unknown(host, self.now(), &failure),
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

    async fn shown(&self, host: &str, listeners: &[Listener], timeout: Duration) -> Vec<Shown> {
        let one = |listener: &Listener| {
            let listener = listener.clone();
            async move {
                let certificate = match self.host(host) {
                    Ok(target) => target.shown(&listener, timeout).await,
                    Err(failure) => Err(failure),
                };
                Shown { listener, certificate }
            }
        };
        join_all(listeners.iter().map(one)).await
    }

    async fn collect(&self, host: &str, since: Option<Timestamp>, timeout: Duration) -> Archive {
        match self.host(host) {
            Ok(target) => target.collect(since, &[], timeout).await,
            Err(failure) => Archive::unknown(host, self.now(), &failure),
        }
    }

    async fn lines(&self, host: &str, path: &str, key: &str, timeout: Duration) -> Seen<Vec<String>> {
        self.host(host)?.lines(path, key, timeout).await
    }

    async fn redacted(&self, content: &[u8]) -> Seen<Vec<String>> {
        collect::redacted(content).await
    }

    async fn prove(&self, host: &str, with: &[StandIn], timeout: Duration) -> Archive {
        match self.host(host) {
            Ok(target) => target.collect(None, with, timeout).await,
            Err(failure) => Archive::unknown(host, self.now(), &failure),
        }
    }

    async fn recovery(&self, host: &str, timeout: Duration) -> Vec<Measure> {
        match self.host(host) {
            Ok(target) => target.recovery(timeout).await,
            Err(_) => Vec::new(),
        }
    }
}
