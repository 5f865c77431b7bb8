//! One request for a change, over a link that may delay it, repeat it, or lose its reply.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use super::{Sim, fleet::CHANGE_MARGIN, server::Record, times::Ms, world::Request};
use crate::{
    core::view::{Failure, FailureKind},
    fleet::{
        Change, Changed,
        live::lock::{Fence, fenced},
    },
};

impl Sim {
    /// One request for a change, as one ssh command makes it.
    pub(super) async fn request(
        &self,
        server: usize,
        change: &Change,
        fence: Fence,
        wait: Duration,
    ) -> Result<Changed, Failure> {
        let host = self.world().servers[server].host.clone();
        let lost = || Failure::new(FailureKind::Timeout, format!("ssh {host}: no answer in time"));
        let (change, controller) = (change.clone(), self.number);
        let id = change.id.clone();
        let request = Request { host: server, change, controller, fence, refused: false, lost: false };
        let number = self.world().send(request);
        let began = tokio::time::Instant::now();
        let until = began + wait;
        let mut seen: Option<(Record, i64)> = None;
        loop {
            let pause = {
                let world = self.world();
                let entry = &world.servers[server];
                if !entry.sudo && world.reachable(server).is_ok() && began.elapsed() >= Duration::from_millis(2) {
                    return Err(Failure::new(FailureKind::Sudo, "sudo: a password is required (exit status 1)"));
                }
                if world.requests[number].refused {
                    return Err(fenced("the lock is not this run's"));
                }
                if world.requests[number].lost {
                    return Ok(Changed::Lost { began: None });
                }
                if world.reachable(server).is_err() {
                    None
                } else {
                    seen = entry.changes.get(&id).map(|record| (record.clone(), entry.clock));
                    let done = seen.as_ref().and_then(|(record, _)| record.ended);
                    match done {
                        None if seen.as_ref().is_some_and(|(record, _)| record.cut) => Some(0),
                        Some((at, _)) if at <= world.now => Some(0),
                        Some((at, _)) => Some(at - world.now),
                        None => Some(world.next().map_or(1_000, |at| at.saturating_sub(world.now)).clamp(1, 1_000)),
                    }
                }
            };
            match pause {
                None => {
                    // The connection is gone in the middle of it: noticed after the keep-alives, or at the end of the wait.
                    sleep(wait.min(CHANGE_MARGIN)).await;
                    return Err(lost());
                }
                Some(0) => break,
                Some(_) if tokio::time::Instant::now() >= until => break,
                Some(span) => {
                    let next = tokio::time::Instant::now() + Duration::from_millis(span);
                    tokio::time::sleep_until(next.min(until)).await;
                }
            }
        }
        let reply_lost = {
            let mut world = self.world();
            let link = &mut world.servers[server].link;
            let lose = link.lose_replies > 0;
            link.lose_replies = link.lose_replies.saturating_sub(1);
            lose
        };
        if reply_lost {
            sleep(CHANGE_MARGIN).await;
            return Err(lost());
        }
        self.travel(server).await;
        let Some((record, clock)) = seen else { return Err(lost()) };
        let world = self.world();
        Ok(told(&record, world.now, world.clock(record.began, clock)))
    }
}

/// A change as its host tells it.
pub(super) fn told(record: &Record, now: Ms, began: Timestamp) -> Changed {
    let began = Some(began);
    match record.ended {
        Some((at, status)) if at <= now => Changed::Ended { status, output: record.output.to_owned(), began },
        _ if record.cut => Changed::Lost { began },
        _ => Changed::Running,
    }
}
