//! A cluster that is down as a whole.

use super::Objection;
use crate::core::view::{FailureKind, Phase, ServerView, View};

/// Whether so many servers are known not to run that none can become ready: JetStream's meta group elects no leader without a
/// majority, and the first server of a cluster that is down waits for the second for ever. A server that is merely out of
/// our reach may well run, so the network between us and it makes no cold start.
pub(super) fn judge(view: &View) -> Option<Objection> {
    let all = view.servers.len();
    let down: Vec<&ServerView> = view.servers.iter().filter(|server| is_down(server)).collect();
    let majority = all / 2 + 1;
    let ready = view.servers.iter().any(ServerView::healthy);
    if all < 2 || ready || all - down.len() >= majority {
        return None;
    }
    let by_hand = |server: &&ServerView| server.service.as_ref().ok().map(|state| state.by_hand.clone());
    Some(Objection::ColdStart {
        down: down.iter().map(|server| server.host.clone()).collect(),
        majority,
        start: down
            .iter()
            .filter_map(by_hand)
            .filter(|line| !line.is_empty())
            .take(majority.saturating_sub(all - down.len()))
            .collect(),
    })
}

fn is_down(server: &ServerView) -> bool {
    let Err(failure) = &server.varz else { return false };
    match &server.service {
        Ok(state) => matches!(state.phase, Phase::Stopped | Phase::Failed | Phase::AutoRestart | Phase::Missing),
        // Its host was not asked, and answers that nothing listens there.
        Err(service) if service.kind == FailureKind::NotAsked => failure.kind == FailureKind::Refused,
        Err(_) => false,
    }
}
