//! The condition to proceed. A look is one observation of the restarted server and of its peers; a verdict is what it
//! means: open, wait (for what), or halt (why waiting is of no use).
//!
//! Ready has two witnesses. The server itself: its service runs, the process is a new one, healthz is clean, the
//! client port answers. And its peers: each of them has a route to that very process. A 200 from healthz alone is not
//! enough: it answers before peers call the server current (nats-server#4875, and measured).

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    halt::Cause,
    view::{Peer, Phase, Seen, ServerView, ServiceState, Varz},
};

/// What was true of the server before it was touched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The name that it must come back with.
    pub server_name: String,
    /// The old process; none where the server did not answer.
    pub server_id: Option<String>,
    /// When the old process started, by the host's clock.
    pub start: Option<Timestamp>,
    /// The manager's restart counter when the server was down. systemd sets it to 0 at a start that is not its own
    /// (`service.c`, `flush_n_restarts`); other managers may go on counting.
    pub restarts: Option<u32>,
}

impl Baseline {
    /// The baseline of a server as seen before its turn.
    pub fn of(server: &ServerView) -> Self {
        let varz = server.varz.as_ref().ok();
        Self {
            server_name: server.server_name.clone(),
            server_id: varz.map(|varz| varz.server_id.clone()),
            start: varz.map(|varz| varz.start),
            restarts: server.service.as_ref().ok().and_then(|service| service.restarts),
        }
    }
}

impl Baseline {
    /// The same without the old process: for a turn that stops nothing, the process that runs may stay.
    #[must_use]
    pub fn of_any_process(self) -> Self {
        Self { server_id: None, start: None, ..self }
    }
}

/// One look at the restarted server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// What the server and its host say.
    pub server: ServerView,
    /// What each peer says: to whom it has routes.
    pub peers: Vec<(String, Seen<Vec<Peer>>)>,
}

/// The parts of readiness, in the order in which they usually come true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The service manager says that the process runs.
    Service,
    /// The monitoring port answers, from a new process with the same name.
    NewProcess,
    /// healthz is clean.
    Healthz,
    /// The client port answers.
    ClientPort,
    /// Every peer has a route to the new process.
    PeerRoutes,
    /// Every raft group on the server has a leader that calls it current.
    CaughtUp,
    /// The streams on it have what they had.
    Data,
}

impl Condition {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::NewProcess => "new-process",
            Self::Healthz => "healthz",
            Self::ClientPort => "client-port",
            Self::PeerRoutes => "peer-routes",
            Self::CaughtUp => "caught-up",
            Self::Data => "data",
        }
    }
}

/// A condition that does not hold, and what was seen instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The condition.
    pub condition: Condition,
    /// What was seen, in words.
    pub reason: String,
    /// For how long it has not held.
    pub for_ms: u64,
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
    failing: Vec<(Condition, Duration)>,
}

impl Gate {
    /// A gate that opens after `looks` good looks in a row (at least one).
    pub fn new(baseline: Baseline, looks: u32) -> Self {
        Self { baseline, looks: looks.max(1), streak: 0, gone: 0, process: None, failing: Vec::new() }
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
            // A process that we did not start: the one that we did has died.
            Some(process) if *process != varz.server_id => Some(Cause::CrashLoop),
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
            Ok(health) if !health.ok() => fails(Condition::Healthz, health.summary()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        testing::*,
        view::{Exit, Failure, FailureKind},
    };

    const ALL: [&str; 3] = ["n1", "n2", "n3"];

    fn baseline() -> Baseline {
        Baseline::of(&server("n2", &ALL))
    }

    /// The look of a restart that went well.
    fn good() -> Look {
        let mut after = server("n2", &ALL);
        let mut new = varz("n2", "ID-n2-2", &ALL);
        new.start = at(0);
        after.varz = Ok(new);
        let route = Peer { server_id: "ID-n2-2".into(), server_name: Some("n2".into()) };
        let peers = ["n1", "n3"].map(|peer| (peer.to_owned(), Ok(vec![route.clone()])));
        Look { server: after, peers: peers.into() }
    }

    fn waits_for(look: &Look, expected: &[Condition]) {
        let mut gate = Gate::new(baseline(), 1);
        match gate.judge(look, Duration::from_millis(10)) {
            Verdict::Wait(reasons) => {
                assert_eq!(reasons.iter().map(|r| r.condition).collect::<Vec<_>>(), expected, "{reasons:?}");
            }
            other => panic!("expected to wait for {expected:?}, got {other:?}"),
        }
    }

    fn halts(look: &Look, expected: &Cause) {
        let mut gate = Gate::new(baseline(), 1);
        match gate.judge(look, Duration::from_secs(2)) {
            Verdict::Halt(cause) => assert_eq!(&cause, expected),
            other => panic!("expected {expected:?}, got {other:?}"),
        }
    }

    #[test]
    fn a_streak_opens() {
        let mut gate = Gate::new(baseline(), 3);
        let mut bad = good();
        bad.health = Ok(healthz_error(503, "not current"));
        for (look, open) in
            [(&good(), false), (&good(), false), (&bad, false), (&good(), false), (&good(), false), (&good(), true)]
        {
            assert_eq!(gate.judge(look, Duration::ZERO) == Verdict::Open, open);
        }
    }

    impl std::ops::Deref for Look {
        type Target = ServerView;
        fn deref(&self) -> &ServerView {
            &self.server
        }
    }
    impl std::ops::DerefMut for Look {
        fn deref_mut(&mut self) -> &mut ServerView {
            &mut self.server
        }
    }

    #[test]
    fn each_condition_holds_the_gate() {
        let refused = || Failure::new(FailureKind::Refused, "connection refused");
        let mut look = good();
        look.service = Err(refused());
        waits_for(&look, &[Condition::Service]);

        let mut look = good();
        look.varz = server("n2", &ALL).varz;
        waits_for(&look, &[Condition::NewProcess, Condition::PeerRoutes]);

        let mut look = good();
        look.varz = Err(refused());
        look.health = Err(refused());
        look.client = Err(refused());
        waits_for(&look, &[Condition::NewProcess, Condition::ClientPort]);

        let mut look = good();
        look.health = Ok(healthz_error(503, "JetStream is still recovering meta layer"));
        waits_for(&look, &[Condition::Healthz]);

        let mut look = good();
        look.health = Err(Failure::new(FailureKind::Timeout, "no answer within 3 s"));
        waits_for(&look, &[Condition::Healthz]);

        let mut look = good();
        look.client = Err(refused());
        waits_for(&look, &[Condition::ClientPort]);

        let mut look = good();
        look.peers[1].1 = Ok(vec![Peer { server_id: "ID-n2-1".into(), server_name: Some("n2".into()) }]);
        waits_for(&look, &[Condition::PeerRoutes]);
        look.peers[1].1 = Err(refused());
        waits_for(&look, &[Condition::PeerRoutes]);
    }

    #[test]
    fn errors_under_a_200_are_errors() {
        let mut look = good();
        let mut health = healthz_error(503, "x");
        health.code = 200;
        look.health = Ok(health);
        waits_for(&look, &[Condition::Healthz]);
    }

    #[test]
    fn an_older_start_is_not_a_new_process() {
        let mut look = good();
        if let Ok(varz) = &mut look.varz {
            varz.start = at(-7200);
        }
        waits_for(&look, &[Condition::NewProcess]);
    }

    #[test]
    fn what_is_doomed_halts() {
        let with = |change: fn(&mut ServiceState)| {
            let mut look = good();
            let mut service = running();
            change(&mut service);
            look.service = Ok(service);
            look
        };
        halts(&with(|s| s.phase = Phase::Failed), &Cause::ProcessGone);
        halts(&with(|s| s.phase = Phase::AutoRestart), &Cause::CrashLoop);
        halts(&with(|s| s.restarts = Some(1)), &Cause::CrashLoop);

        let mut look = good();
        if let Ok(varz) = &mut look.varz {
            varz.server_name = "n9".into();
        }
        halts(&look, &Cause::Renamed { expected: "n2".into(), found: "n9".into() });
    }

    #[test]
    fn a_process_that_exits_without_failure_is_gone() {
        let mut look = good();
        let mut service = running();
        service.phase = Phase::Stopped;
        service.exit = Some(Exit::Code(0));
        look.service = Ok(service);
        let mut gate = Gate::new(baseline(), 1);
        assert!(matches!(gate.judge(&look, Duration::from_millis(50)), Verdict::Wait(_)));
        assert_eq!(gate.judge(&look, Duration::from_secs(1)), Verdict::Halt(Cause::ProcessGone));
    }

    #[test]
    fn a_second_new_process_is_a_crash_loop() {
        let mut gate = Gate::new(baseline(), 5);
        assert_eq!(gate.judge(&good(), Duration::ZERO), Verdict::Wait(vec![]));
        let mut look = good();
        if let Ok(varz) = &mut look.varz {
            varz.server_id = "ID-n2-3".into();
        }
        assert_eq!(gate.judge(&look, Duration::from_secs(5)), Verdict::Halt(Cause::CrashLoop));
    }

    #[test]
    fn a_turn_that_stops_nothing_wants_no_new_process() {
        let mut look = good();
        look.varz = server("n2", &ALL).varz;
        let route = Peer { server_id: "ID-n2-1".into(), server_name: None };
        look.peers = vec![("n1".into(), Ok(vec![route]))];
        waits_for(&look, &[Condition::NewProcess]);
        let mut gate = Gate::new(baseline().of_any_process(), 1);
        assert_eq!(gate.judge(&look, Duration::ZERO), Verdict::Open);
    }

    #[test]
    fn a_server_without_a_name_keeps_none() {
        let mut look = good();
        if let Ok(varz) = &mut look.varz {
            varz.server_name = varz.server_id.clone();
        }
        let mut gate = Gate::new(baseline(), 1);
        assert_eq!(gate.judge(&look, Duration::ZERO), Verdict::Open);
    }

    #[test]
    fn waiting_tells_for_how_long() {
        let mut gate = Gate::new(baseline(), 1);
        let mut look = good();
        look.health = Ok(healthz_error(503, "not current"));
        gate.judge(&look, Duration::from_secs(1));
        let Verdict::Wait(reasons) = gate.judge(&look, Duration::from_secs(4)) else { panic!("must wait") };
        assert_eq!(reasons[0].for_ms, 3000);
    }
}
