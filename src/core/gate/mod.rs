//! The condition to proceed. A look is one observation of the restarted server and of its peers; a verdict is what it
//! means: open, wait (for what), or halt (why waiting is of no use).
//!
//! Ready has two witnesses. The server itself: its service runs, the process is a new one, healthz is clean, the
//! client port answers. And its peers: each of them has a route to that very process. A 200 from healthz alone is not
//! enough: it answers before peers call the server current (nats-server#4875, and measured).

mod baseline;
mod condition;
mod pace;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use baseline::{Attachments, Baseline};
pub use condition::{Condition, Waiting};
pub use pace::{Measure, Moves, Moving, Pace, Patience};

use super::{
    halt::Cause,
    view::{Failure, Peer, Phase, Seen, ServerView, ServiceState, Varz},
};

/// One look at the restarted server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// What the server and its host say.
    pub server: ServerView,
    /// What each peer says: to whom it has routes.
    pub peers: Vec<(String, Seen<Vec<Peer>>)>,
}

impl Look {
    /// A look that shows nothing, for this reason.
    pub fn unknown(host: &str, at: Timestamp, failure: &Failure) -> Self {
        let unseen = || failure.clone();
        let server = ServerView {
            host: host.to_owned(),
            server_name: host.to_owned(),
            zone: None,
            at,
            varz: Err(unseen()),
            health: Err(unseen()),
            routes: Err(unseen()),
            client: Err(unseen()),
            service: Err(unseen()),
        };
        Self { server, peers: Vec::new() }
    }
}

/// What a look means.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Go on.
    Open,
    /// Look again. Without a reason the look was good, but there were not enough good ones in a row.
    Wait(Vec<Waiting>),
    /// Waiting is of no use.
    Halt(Cause),
}

/// A stopped service must be seen twice, this far into the gate, before it counts as gone: the status command of a
/// manager of the operator's own may lag its start command. systemd reports a start only after the fork.
const GONE_AFTER: Duration = Duration::from_secs(1);

/// What the gate remembers from look to look.
#[derive(Debug, Clone)]
pub struct Gate {
    baseline: Baseline,
    looks: u32,
    streak: u32,
    gone: u32,
    process: Option<String>,
    boot: Option<String>,
    failing: Vec<(Condition, Duration)>,
}

impl Gate {
    /// A gate that opens after `looks` good looks in a row (at least one).
    pub fn new(baseline: Baseline, looks: u32) -> Self {
        Self { baseline, looks: looks.max(1), streak: 0, gone: 0, process: None, boot: None, failing: Vec::new() }
    }

    /// What was true before.
    pub fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    /// See [`Baseline::is_down`].
    pub fn is_down(&mut self, restarts: Option<u32>) {
        self.baseline.is_down(restarts);
    }

    /// Good looks in a row so far.
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// Judges one look, made `elapsed` after the gate began to wait.
    pub fn judge(&mut self, look: &Look, elapsed: Duration) -> Verdict {
        if let Some(cause) = self.doomed(look, elapsed) {
            self.streak = 0;
            return Verdict::Halt(cause);
        }
        let reasons = self.reasons(look);
        self.failing.retain(|(condition, _)| reasons.iter().any(|(failing, _)| failing == condition));
        for (condition, _) in &reasons {
            if !self.failing.iter().any(|(failing, _)| failing == condition) {
                self.failing.push((*condition, elapsed));
            }
        }
        if reasons.is_empty() {
            self.streak = self.streak.saturating_add(1);
            return if self.streak >= self.looks { Verdict::Open } else { Verdict::Wait(Vec::new()) };
        }
        self.streak = 0;
        let since = |condition| self.failing.iter().find(|(c, _)| *c == condition).map_or(elapsed, |(_, since)| *since);
        let waiting = |(condition, reason)| {
            let for_ms = super::millis::of(elapsed.saturating_sub(since(condition)));
            Waiting { condition, reason, for_ms }
        };
        Verdict::Wait(reasons.into_iter().map(waiting).collect())
    }

    /// Whether the look shows something that no waiting mends.
    fn doomed(&mut self, look: &Look, elapsed: Duration) -> Option<Cause> {
        if let Ok(service) = &look.server.service {
            if self.boot.is_some() && self.boot != service.boot_id {
                // What ran in an earlier boot went with it, and is no crash.
                (self.process, self.gone) = (None, 0);
            }
            self.boot.clone_from(&service.boot_id);
            if service.restarts.is_some() && service.restarts < self.baseline.restarts {
                // Our start has set it to 0: from there on each counts.
                self.baseline.restarts = Some(0);
            }
            if self.crashed(service) {
                return Some(Cause::CrashLoop);
            }
            match service.phase {
                Phase::Failed | Phase::Missing => return Some(Cause::ProcessGone),
                Phase::Stopped => {
                    self.gone += 1;
                    if self.gone > 1 && elapsed >= GONE_AFTER {
                        return Some(Cause::ProcessGone);
                    }
                }
                Phase::Running | Phase::Starting | Phase::Stopping | Phase::AutoRestart => self.gone = 0,
            }
        }
        let varz = look.server.varz.as_ref().ok()?;
        if self.baseline.server_id.as_ref() == Some(&varz.server_id) {
            return None;
        }
        if varz.named() && varz.server_name != self.baseline.server_name {
            let (expected, found) = (self.baseline.server_name.clone(), varz.server_name.clone());
            return Some(Cause::Renamed { expected, found });
        }
        match &self.process {
            // A process that we did not start: the one that we did has died. Unless its host went down with it, which nobody
            // can tell whose manager does not answer.
            Some(process) if *process != varz.server_id => look.server.service.as_ref().ok().map(|_| Cause::CrashLoop),
            _ => {
                self.process = Some(varz.server_id.clone());
                None
            }
        }
    }

    /// Whether the manager had to start the process again since our own start.
    fn crashed(&self, service: &ServiceState) -> bool {
        let restarted = service.restarts.is_some_and(|n| n > 0 && self.baseline.restarts.is_some_and(|old| n != old));
        service.phase == Phase::AutoRestart || restarted
    }

    fn reasons(&self, look: &Look) -> Vec<(Condition, String)> {
        let mut reasons = Vec::new();
        let mut fails = |condition, reason: String| reasons.push((condition, reason));
        match &look.server.service {
            Err(failure) => fails(Condition::Service, failure.to_string()),
            Ok(service) if service.phase != Phase::Running || service.failed() => {
                fails(Condition::Service, service.summary());
            }
            Ok(_) => {}
        }
        let process = match &look.server.varz {
            Err(failure) => {
                fails(Condition::NewProcess, failure.to_string());
                None
            }
            Ok(varz) => {
                if let Some(reason) = self.not_new(varz) {
                    fails(Condition::NewProcess, reason);
                }
                Some(varz)
            }
        };
        match &look.server.health {
            // Where nothing answers at all, one reason is enough.
            Err(_) if process.is_none() => {}
            Err(failure) => fails(Condition::Healthz, failure.to_string()),
            Ok(health) if !health.ok_but_for(&self.baseline.errors) => {
                fails(Condition::Healthz, health.summary_but_for(&self.baseline.errors));
            }
            Ok(_) => {}
        }
        if let Err(failure) = &look.server.client {
            fails(Condition::ClientPort, failure.to_string());
        }
        if let Some(varz) = process
            && let Some(reason) = unseen(look, varz)
        {
            fails(Condition::PeerRoutes, reason);
        }
        reasons
    }

    fn not_new(&self, varz: &Varz) -> Option<String> {
        if self.baseline.server_id.as_ref() == Some(&varz.server_id) {
            return Some(format!("the process from before the restart still answers ({})", varz.server_id));
        }
        match self.baseline.start {
            Some(before) if varz.start <= before => Some(format!(
                "a new process answers, but it started at {}, not after the old one at {before}: did the clock move?",
                varz.start
            )),
            _ => None,
        }
    }
}

/// Which peers do not see the new process, in words.
fn unseen(look: &Look, varz: &Varz) -> Option<String> {
    let mut blind = Vec::new();
    let mut unknown = Vec::new();
    for (peer, routes) in &look.peers {
        match routes {
            Ok(routes) if routes.iter().any(|route| route.server_id == varz.server_id) => {}
            Ok(_) => blind.push(peer.as_str()),
            Err(failure) => unknown.push(format!("{peer}: {failure}")),
        }
    }
    match (blind.is_empty(), unknown.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!("no route to it on {}", blind.join(", "))),
        (true, false) => Some(format!("routes not known: {}", unknown.join("; "))),
        (false, false) => Some(format!("no route to it on {}; not known: {}", blind.join(", "), unknown.join("; "))),
    }
}
