//! Getting the two locks of a cluster: the kernel's on this machine, and the one on the cluster's hosts.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{Code, Error};
use crate::{
    config::{digest, duration, inventory::Cluster},
    core::lock::{Claim, LockRefusal},
    fleet::{Fleet, live::Live},
    journal::{Lock, LockError, StateDir},
};

/// The first ssh connections take longest; a host that is off must not hold up the rest for longer.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// Between two tries of a lock that another run has.
const AGAIN: Duration = Duration::from_secs(1);

/// How to wait for another run.
#[derive(Debug, Clone, Copy, Args)]
pub struct Wait {
    /// Wait this long for another run on the cluster to end (`5m`).
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "0s")]
    pub lock_wait: Duration,
}

/// Who this process is to others: `ada@laptop, pid 7`.
fn holder() -> String {
    let user = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}@{}, pid {}", user.as_deref().unwrap_or("?"), machine.trim(), std::process::id())
}

/// Takes the lock on this machine.
///
/// # Errors
/// Another run has it for longer than we wait, or it can't be used.
pub async fn here(state: &StateDir, cluster: &Cluster, run: &str, reason: &str, wait: Wait) -> Result<Lock, Error> {
    let path = state.lock(&key(cluster));
    let text = format!("run {run} ({}), {reason}, since {:.0}", holder(), Timestamp::now());
    let until = Instant::now() + wait.lock_wait;
    loop {
        match Lock::take(&path, &text) {
            Err(LockError::Held { .. }) if Instant::now() < until => sleep(AGAIN).await,
            Err(error) => return Err(Error::from(error).hint(hint(&cluster.name))),
            Ok(lock) => return Ok(lock),
        }
    }
}

/// Takes the lock on the hosts.
///
/// # Errors
/// Another run has it for longer than we wait, or too few hosts answered.
pub async fn hosts(fleet: &Live, claim: &Claim, wait: Wait) -> Result<(), LockRefusal> {
    let until = Instant::now() + wait.lock_wait;
    loop {
        match fleet.lock(claim, TIMEOUT).await {
            Err(LockRefusal::Held { .. }) if Instant::now() < until => sleep(AGAIN).await,
            result => return result,
        }
    }
}

/// What this process writes into the lock on the hosts.
pub fn claim(lock: &Lock, run: &str, reason: &str) -> Claim {
    Claim { run: run.to_owned(), seat: lock.seat().to_owned(), holder: holder(), reason: reason.to_owned() }
}

/// A lock that could not be had, for the command line.
pub fn refused(refusal: &LockRefusal, cluster: &str) -> Error {
    let code = match refusal {
        LockRefusal::Held { .. } | LockRefusal::Lost { .. } => Code::Locked,
        LockRefusal::NoMajority { failure, .. } if failure.kind.is_unreachable() => Code::Unreachable,
        LockRefusal::NoMajority { .. } => Code::Refused,
    };
    Error::plain(code, refusal.to_string()).hint(hint(cluster))
}

fn hint(cluster: &str) -> String {
    format!("two runs on {cluster} at once could take two servers down; --lock-wait 5m waits for the other one")
}

/// One key for one set of hosts, whatever inventory names them: the cluster's name for people, and a digest of how
/// its hosts are reached, since two clusters in two inventories may have one name.
pub fn key(cluster: &Cluster) -> String {
    let mut hosts: Vec<String> = cluster
        .hosts
        .iter()
        .map(|host| {
            let config = host.ssh.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            format!("{}:{}:{config}", host.ssh.destination, host.ssh.port.unwrap_or(22))
        })
        .collect();
    hosts.sort();
    format!("{}-{}", cluster.name, digest(&hosts.join("\n")))
}
