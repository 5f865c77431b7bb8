//! The heartbeat of the cluster's lock.

use std::{convert::Infallible, future::pending, time::Duration};

use tokio::{sync::watch, time::sleep};

use crate::{
    core::lock::{BEAT, LockRefusal},
    fleet::Fleet,
};

/// One round of heartbeats: a host that does not answer by now is asked again in the next.
const ROUND: Duration = Duration::from_secs(4);

/// Renews the lock until it is dropped. When the lock is gone it says so once and renews no more. A heartbeat that was not
/// confirmed is no loss: nobody else can have the lock yet, and the hosts refuse changes before anybody can.
pub(super) async fn beat<F: Fleet>(fleet: &F, lost: watch::Sender<Option<LockRefusal>>) -> Infallible {
    loop {
        sleep(BEAT).await;
        match fleet.renew(ROUND).await {
            Ok(()) | Err(LockRefusal::NoMajority { .. }) => {}
            Err(refusal) => {
                lost.send_replace(Some(refusal));
                return pending().await;
            }
        }
    }
}
