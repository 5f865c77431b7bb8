//! Draining: leaders first, then clients, while the server still serves. It makes the stop short; it is never needed for
//! it to be safe, so what fails here is noted and left to lame duck.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, interval, sleep, timeout_at};

use super::{
    OBSERVE_TIMEOUT,
    roll::{Roller, Stop},
    turn::Passage,
};
use crate::{
    core::{
        assets::{Assets, Kind},
        count_of,
        drain::{Attached, LEFT_TO_LAME_DUCK, StepDown, evictable, others, step_downs},
        playbook::Drain,
        view::Failure,
    },
    fleet::Fleet,
};

/// One request to a server. The JetStream API can be without an answer for up to 5 s after a meta step-down.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Step-downs under way at once: each is an election of its own, and thousands at once would be a storm of them.
const STEP_DOWNS_AT_ONCE: usize = 16;
/// Between two looks at what a server still leads.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(200);
/// A transfer takes some ten milliseconds, an election after a failed one some seconds.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A leader that has not moved by now will not: an election takes at most 9 s (nats-server `raft.go`).
const CONFIRM_FOR: Duration = Duration::from_secs(10);

/// A client that comes back does so at once: to look sooner would find the server empty for a moment.
const COME_BACK: Duration = Duration::from_millis(100);

/// After so many passes that made nothing better, those who are left know no other server. Of three servers a client picks
/// the same one again once in three times, five times in a row once in 243.
const STUBBORN: u32 = 5;

/// Drains the server; returns what there is to say of it.
pub(super) async fn drain<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &Passage,
    step: &Drain,
) -> Result<String, Stop> {
    let fleet = roller.fleet;
    if !fleet.has_system_account() {
        return Ok(LEFT_TO_LAME_DUCK.into());
    }
    let Some(server_id) = passage.server_id.clone() else {
        return Ok("nothing to drain: the server did not answer".into());
    };
    let deadline = Instant::now() + step.deadline;
    let mut notes = Vec::new();
    if step.step_down {
        let moved = timeout_at(deadline, move_leaders(fleet, passage));
        let moved = roller.attend(moved).await?;
        notes.push(moved.unwrap_or_else(|_| "leaders did not move in time".into()));
    }
    if step.evict {
        let evicted = timeout_at(deadline, evict(fleet, &server_id, step));
        let evicted = roller.attend(evicted).await?;
        notes.push(match evicted {
            Ok(Ok(text)) => text,
            Ok(Err(failure)) => format!("clients are left to the stop: {failure}"),
            Err(_) => "not all clients left in time: the rest is left to the stop".into(),
        });
    }
    Ok(notes.join("; "))
}

async fn move_leaders<F: Fleet>(fleet: &F, passage: &Passage) -> String {
    let Some(assets) = &passage.assets else { return "no JetStream, no leaders".into() };
    let version = passage.version_before.as_deref().unwrap_or_default();
    let wanted = step_downs(assets, &passage.server_name, version);
    if wanted.is_empty() {
        return match assets.led_by(&passage.server_name).filter(|group| !group.single()).count() {
            0 => "it leads nothing".into(),
            1 => "1 leader is left to the server, which moves it when it stops".into(),
            n => format!("{n} leaders are left to the server, which moves them when it stops"),
        };
    }
    let all = wanted.len();
    let results = step_down(fleet, wanted).await;
    let refused: Vec<&Failure> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    let left = confirm(fleet, &passage.server_name, version).await;
    let leaders = count_of(all, "leader");
    match (left, refused.first()) {
        (None, _) => format!("{leaders} asked to move; whether they did could not be seen"),
        (Some(0), _) => format!("{leaders} moved"),
        (Some(left), Some(failure)) => format!("{} of {leaders} moved ({failure})", all.saturating_sub(left)),
        (Some(left), None) => format!("{} of {leaders} moved", all.saturating_sub(left)),
    }
}

async fn step_down<F: Fleet>(fleet: &F, leaders: Vec<StepDown>) -> Vec<Result<(), Failure>> {
    // The meta leader answers for the others: while it changes, 10008 is all that they get (seen on 2.15.1).
    let (meta, others): (Vec<_>, Vec<_>) = leaders.into_iter().partition(|leader| leader.kind == Kind::Meta);
    let step_down = |leader: StepDown| async move { fleet.step_down(&leader, REQUEST_TIMEOUT).await };
    let moves = others.into_iter().map(step_down);
    let mut results: Vec<_> = stream::iter(moves).buffer_unordered(STEP_DOWNS_AT_ONCE).collect().await;
    for leader in meta {
        results.push(step_down(leader).await);
    }
    results
}

/// Waits until the server leads nothing that another could; returns how many it still leads, none where nobody told. One that
/// stepped down may be elected again (4 of 140, seen on 2.11.11), and is asked again.
async fn confirm<F: Fleet>(fleet: &F, server: &str, version: &str) -> Option<usize> {
    let until = Instant::now() + CONFIRM_FOR;
    let mut ask_again = Instant::now() + ASK_AGAIN_AFTER;
    loop {
        let view = fleet.observe_assets(&[], OBSERVE_TIMEOUT).await;
        let led = |assets: &Assets| assets.led_by(server).filter(|group| !group.single()).count();
        let left = view.assets.as_ref().map(led);
        if left == Some(0) || Instant::now() >= until {
            return left;
        }
        if let Some(assets) = view.assets.as_ref().filter(|_| Instant::now() >= ask_again) {
            step_down(fleet, step_downs(assets, server, version)).await;
            ask_again = Instant::now() + ASK_AGAIN_AFTER;
        }
        sleep(CONFIRM_INTERVAL).await;
    }
}

async fn evict<F: Fleet>(fleet: &F, server_id: &str, step: &Drain) -> Result<String, Failure> {
    let pace = Duration::from_secs(1) / step.rate.max(1);
    let (mut told, mut stubborn) = (0, 0);
    let mut attached: Vec<Attached> = fleet.attached(server_id, REQUEST_TIMEOUT).await?;
    let at_first = others(&attached);
    for _ in 0..step.passes {
        let clients = evictable(&attached);
        if clients.is_empty() || stubborn == STUBBORN {
            break;
        }
        told += clients.len();
        let before = clients.len();
        // Requests overlap: the pace is that of the clients, not that of the answers.
        let mut ticks = interval(pace);
        let mut requests = stream::FuturesUnordered::new();
        for client in clients {
            ticks.tick().await;
            requests.push(fleet.evict(server_id, client, REQUEST_TIMEOUT));
        }
        while let Some(result) = requests.next().await {
            result?;
        }
        sleep(COME_BACK).await;
        attached = fleet.attached(server_id, REQUEST_TIMEOUT).await?;
        stubborn = if evictable(&attached).len() >= before { stubborn + 1 } else { 0 };
    }
    fleet.leave(server_id).await;
    let left = evictable(&attached).len();
    let mut text = if told == 0 {
        "no clients".to_owned()
    } else {
        format!("{} told to leave, {left} left", count_of(told, "client"))
    };
    if !at_first.is_empty() {
        text.push_str(&format!(" (at first {at_first})"));
    }
    Ok(text)
}
