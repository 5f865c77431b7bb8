//! The way to the system account: to the client ports directly, or over ssh where only that leads there.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::{
    Host,
    nats::{self, Access, SystemAccount},
    relay::Relay,
};
use crate::{
    config::inventory::{self, Via},
    core::view::{Failure, FailureKind, Seen},
};

/// Connecting and logging in to one server.
const LIMIT: Duration = Duration::from_secs(5);
/// Packets that a firewall drops must not cost more before ssh is tried.
const DIAL: Duration = Duration::from_secs(1);

/// The connection to the system account of one cluster, made when first used and kept.
pub struct System {
    nats: Option<inventory::Nats>,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    open: Option<Open>,
    /// The process that was left last: it is about to stop, and lame duck would wait for us as for any client.
    left: Option<String>,
}

/// What is open.
struct Open {
    account: Arc<SystemAccount>,
    /// What it leads through. The client then knows this one server, so it does not find another by itself.
    relay: Option<Relay>,
}

impl System {
    /// A user of the inventory, or none.
    pub fn new(nats: Option<inventory::Nats>) -> Self {
        Self { nats, slot: Mutex::default() }
    }

    /// Whether the inventory names a user.
    pub fn is_named(&self) -> bool {
        self.nats.is_some()
    }

    /// The connection. It finds its way to another server when its own is restarted.
    ///
    /// # Errors
    /// The inventory names none, a file of it can't be used, no server could be reached, or none took us.
    pub async fn account(&self, hosts: &[Host]) -> Seen<Arc<SystemAccount>> {
        let Some(nats) = &self.nats else {
            return Err(Failure::new(FailureKind::NotAsked, "the inventory names no system account"));
        };
        let mut slot = self.slot.lock().await;
        if let Some(open) = slot.open.as_ref().filter(|open| open.relay.is_none() || open.account.is_connected()) {
            return Ok(Arc::clone(&open.account));
        }
        let open = connect(nats, hosts, slot.left.as_deref()).await?;
        let account = Arc::clone(&open.account);
        slot.open = Some(open);
        Ok(account)
    }

    /// Takes the connection away from a server's process; the next use connects anew, to another one.
    pub async fn leave(&self, server_id: &str) {
        let mut slot = self.slot.lock().await;
        slot.left = Some(server_id.to_owned());
        if slot.open.as_ref().is_some_and(|open| open.account.own().0 == server_id) {
            slot.open = None;
        }
    }
}

async fn connect(nats: &inventory::Nats, hosts: &[Host], left: Option<&str>) -> Seen<Open> {
    let mut access = nats::read(nats)?;
    if access.tls.is_none() {
        // The schema promises the files of the hosts' client ports; hosts of one cluster share their CA.
        access.tls = hosts.first().map(|host| host.inventory().client.tls.clone());
    }
    if !access.servers.is_empty() {
        // The operator's own addresses are taken at their word.
        return direct(&access, &access.servers, left).await;
    }
    let via = |host: &Host| host.inventory().monitoring.via;
    let dialled =
        join_all(hosts.iter().map(|host| async move { via(host) != Via::Ssh && host.dials(DIAL).await })).await;
    let near: Vec<String> =
        hosts.iter().zip(&dialled).filter(|(_, answers)| **answers).map(|(host, _)| host.client_url()).collect();
    let mut failure = None;
    if !near.is_empty() {
        match direct(&access, &near, left).await {
            Ok(open) => return Ok(open),
            Err(refused) => failure = Some(refused),
        }
    }
    // Where a server was reached and would not have us, another way to it changes nothing.
    if failure.is_none() {
        for host in hosts.iter().filter(|host| via(host) != Via::Direct) {
            match relayed(&access, host).await {
                Ok(open) if left == Some(open.account.own().0.as_str()) => failure = failure.or(Some(only_left())),
                Ok(open) => return Ok(open),
                Err(refused) if refused.kind == FailureKind::Denied => return Err(refused),
                Err(refused) => failure = failure.or(Some(refused)),
            }
        }
    }
    match failure {
        Some(failure) => Err(failure),
        // Says why none can be dialled.
        None => {
            let urls: Vec<String> = hosts.iter().map(Host::client_url).collect();
            direct(&access, &urls, left).await
        }
    }
}

/// The client picks among the servers by chance; where it comes to the one that we left, each is tried by itself.
async fn direct(access: &Access, servers: &[String], left: Option<&str>) -> Seen<Open> {
    let open = |account| Open { account: Arc::new(account), relay: None };
    let stays = |account: &SystemAccount| left != Some(account.own().0.as_str());
    let account = SystemAccount::connect(access, servers, LIMIT).await?;
    if stays(&account) {
        return Ok(open(account));
    }
    drop(account);
    for server in servers {
        match SystemAccount::connect(access, std::slice::from_ref(server), LIMIT).await {
            Ok(account) if stays(&account) => return Ok(open(account)),
            // One that is off, or the one that we left.
            Ok(_) | Err(_) => {}
        }
    }
    Err(only_left())
}

fn only_left() -> Failure {
    Failure::new(FailureKind::NotAsked, "system account: no server answers but the one that is about to stop")
}

async fn relayed(access: &Access, host: &Host) -> Seen<Open> {
    let client = host.client_inside(LIMIT).await?;
    let relay = Relay::open(host.forwarder(), client.host, client.port).await?;
    let url = format!("{}://127.0.0.1:{}", if client.tls { "tls" } else { "nats" }, relay.port());
    let what = format!("client port of {} through ssh", host.name());
    let account = SystemAccount::connect_through(access, url, &client.name, &what, LIMIT).await?;
    Ok(Open { account: Arc::new(account), relay: Some(relay) })
}
