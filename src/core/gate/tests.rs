//! What each look means, as values.

use super::*;
use crate::core::{
    testing::*,
    view::{Exit, Failure, FailureKind, Health, HealthError},
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
fn what_its_manager_did_before_it_was_down_is_no_crash() {
    let look = |restarts| {
        let mut look = good();
        let mut service = running();
        service.restarts = Some(restarts);
        look.service = Ok(service);
        look
    };
    let judged = |down: Option<u32>, seen: &[u32]| {
        let mut gate = Gate::new(Baseline { restarts: Some(3), ..baseline() }, 1);
        gate.is_down(down);
        seen.iter().map(|restarts| gate.judge(&look(*restarts), Duration::ZERO)).last().expect("one look")
    };
    let crash = Verdict::Halt(Cause::CrashLoop);
    assert_eq!(judged(Some(4), &[4, 4, 4]), Verdict::Open);
    assert_eq!(judged(Some(4), &[5]), crash);
    assert_eq!(judged(None, &[4]), crash);
    // systemd sets it to 0 at our start: the first one after it counts, whatever it was before.
    assert_eq!(judged(Some(1), &[0, 1]), crash);
    assert_eq!(judged(Some(4), &[1]), crash);
    assert_eq!(judged(Some(4), &[0, 0, 0]), Verdict::Open);
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

#[test]
fn an_error_that_stood_before_does_not_hold_the_gate_and_a_new_one_does() {
    let ghost = |consumer: &str| HealthError {
        kind: "CONSUMER".into(),
        error: format!("JetStream consumer 'APP > S > {consumer}' is not current"),
        account: Some("APP".into()),
        stream: Some("S".into()),
        consumer: Some(consumer.into()),
    };
    let mut before = server("n2", &ALL);
    before.health = Ok(Health { code: 503, errors: vec![ghost("old")] });
    let judge = |errors: Vec<HealthError>| {
        let mut look = good();
        look.health = Ok(Health { code: 503, errors });
        Gate::new(Baseline::of(&before), 1).judge(&look, Duration::ZERO)
    };
    assert_eq!(judge(vec![ghost("old")]), Verdict::Open);
    let Verdict::Wait(waiting) = judge(vec![ghost("old"), ghost("new")]) else { panic!("must wait") };
    assert_eq!(waiting[0].condition, Condition::Healthz);
    assert!(waiting[0].reason.contains("S > new") && !waiting[0].reason.contains("more"), "{waiting:?}");
}
