//! What may follow what in a run, and where it stands then.

use std::time::Duration;

use super::*;
use crate::core::{plan, playbook::Policy, testing::*};

fn started() -> Event {
    let view = cluster(&["n1", "n2", "n3"]);
    let policy = Policy {
        order: vec![],
        only_if: None,
        stop_after: None,
        allow: vec![],
        pause: Duration::ZERO,
        on_failure: crate::core::playbook::AfterFailure::Halt,
        safety_deadline: Duration::ZERO,
    };
    let hosts = ["n1", "n2", "n3"].map(String::from);
    let plan = Box::new(plan::plan(&view, &hosts, "restart", policy, vec![]));
    Event::RunStarted { rollgate: "0".into(), inventory: "d".into(), cluster_key: "c".into(), plan }
}

fn turn(host: &str) -> Event {
    let baseline = Baseline::of(&server(host, &["n1", "n2", "n3"]));
    let (why, consented) = (vec![], vec![]);
    Event::TurnStarted { host: host.into(), number: 1, of: 3, why, baseline, before: None, consented }
}

fn step(host: &str, step: &str) -> Event {
    Event::StepStarted { host: host.into(), step: step.into(), change: None }
}

fn finished(host: &str, step: &str) -> Event {
    Event::StepFinished { host: host.into(), step: step.into(), took_ms: 1, note: None, restarts: None }
}

fn turned(host: &str) -> Event {
    Event::TurnFinished { host: host.into(), took_ms: 1, unready_ms: 1, version: None }
}

fn end() -> Event {
    Event::Finished { done: vec![], untouched: vec![], took_ms: 1 }
}

fn check(events: &[Event], expected: Result<(&[&str], &[&str]), &str>) {
    match (Progress::fold(events), expected) {
        (Ok(state), Ok((done, untouched))) => {
            assert_eq!(state.done, done);
            assert_eq!(state.untouched(), untouched);
        }
        (Err(illegal), Err(text)) => assert_eq!(illegal.to_string(), text),
        (found, expected) => panic!("expected {expected:?}, found {found:?}"),
    }
}

#[test]
fn what_a_manager_has_counted_is_that_of_the_stop() {
    let fold = |restarts| {
        let stopped = Event::StepFinished { host: "n1".into(), step: "stop".into(), took_ms: 1, note: None, restarts };
        let state = Progress::fold(&[started(), turn("n1"), step("n1", "stop"), stopped]).unwrap();
        state.turn.unwrap().baseline.restarts
    };
    assert_eq!((fold(Some(4)), fold(None)), (Some(4), Some(0)));
}

#[test]
fn a_run_folds_to_its_state() {
    check(&[started()], Ok((&[], &["n1", "n2", "n3"])));
    check(&[started(), turn("n1"), step("n1", "stop")], Ok((&[], &["n2", "n3"])));
    check(
        &[started(), turn("n1"), step("n1", "stop"), finished("n1", "stop"), turned("n1"), end()],
        Ok((&["n1"], &["n2", "n3"])),
    );
}

#[test]
fn what_can_t_follow_is_refused() {
    check(&[turn("n1")], Err("event `turn-started` can't come before the run"));
    check(&[started(), started()], Err("event `run-started` can't come between turns"));
    check(&[started(), turn("n1"), turn("n2")], Err("event `turn-started` can't come between steps"));
    check(&[started(), turn("n1"), step("n2", "stop")], Err("event `step-started` can't come between steps"));
    check(
        &[started(), turn("n1"), step("n1", "stop"), finished("n1", "start")],
        Err("event `step-finished` can't come in a step"),
    );
    check(&[started(), end(), end()], Err("event `finished` can't come after its end"));
    check(&[started(), turn("n1"), end()], Err("event `finished` can't come between steps"));
}

#[test]
fn a_step_without_an_end_is_in_doubt() {
    let state = Progress::fold(&[started(), turn("n1"), step("n1", "stop")]).unwrap();
    assert_eq!(state.in_doubt(), Some(InDoubt { host: "n1".into(), step: "stop".into() }));
    assert_eq!(Progress::fold(&[started(), turn("n1")]).unwrap().in_doubt(), None);
}

fn resumed() -> Event {
    Event::Resumed { rollgate: "0".into(), inventory: "d".into(), left: None, replanned: None }
}

fn settled(host: &str, standing: Standing, finished: &[&str]) -> Event {
    let finished = finished.iter().map(|step| (*step).to_owned()).collect();
    Event::Settled { host: host.into(), standing, facts: "seen".into(), finished }
}

fn interrupted() -> Event {
    Event::Interrupted { in_doubt: None, done: vec![], untouched: vec![], next: vec![] }
}

#[test]
fn a_run_that_was_left_goes_on() {
    let left = [started(), turn("n1"), step("n1", "stop")];
    let with = |more: &[Event]| [&left[..], more].concat();
    // Killed: there is no terminal event. The turn is settled before anything else.
    let next = with(&[resumed(), settled("n1", Standing::Down, &["stop"]), step("n1", "start")]);
    let state = Progress::fold(&next).unwrap();
    let turn_now = state.turn.as_ref().unwrap();
    assert_eq!((turn_now.finished.as_slice(), turn_now.stopped), (&["stop".to_owned()][..], true));
    check(&with(&[resumed(), step("n1", "start")]), Err("event `step-started` can't come before its turn is settled"));
    check(&with(&[settled("n1", Standing::Down, &[])]), Err("event `settled` can't come in a step"));
    // Untouched: its turn is begun anew, and that it was begun before is known.
    let anew = with(&[interrupted(), resumed(), settled("n1", Standing::Untouched, &[]), turn("n1")]);
    assert_eq!(Progress::fold(&anew).unwrap().attempts["n1"], 2);
    // A turn that stops nothing is begun anew too, but is not untouched; unless what it did was undone.
    let left = [started(), turn("n1"), step("n1", "reload"), resumed(), settled("n1", Standing::Untouched, &[])];
    check(&left, Ok((&[], &["n2", "n3"])));
    assert_eq!(Progress::fold(&left).unwrap().to_come(), ["n1", "n2", "n3"]);
    // Between turns there is nothing to settle; it may be left and resumed again.
    check(&[started(), interrupted(), resumed(), interrupted(), resumed(), turn("n2")], Ok((&[], &["n1", "n3"])));
}

#[test]
fn commands_of_the_operators_outlive_their_turn() {
    let Event::RunStarted { plan, rollgate, inventory, cluster_key } = started() else { unreachable!() };
    let plan = Box::new(Plan { steps: vec![own_command("page")], ..*plan });
    let begun = [Event::RunStarted { plan, rollgate, inventory, cluster_key }, turn("n1"), step("n1", "page")];
    let own = |failed: Option<&str>| Event::OwnStep {
        host: "n1".into(),
        step: "page".into(),
        failed: failed.map(str::to_owned),
        output: String::new(),
    };
    let check = |more: &[Event], stage, failures| {
        let state = Progress::fold(&[&begun[..], more].concat()).unwrap();
        assert_eq!(state.own["n1"]["page"], OwnCommand { stage, failures });
    };
    let untouched = settled("n1", Standing::Untouched, &[]);
    check(&[], OwnStage::Begun, 0);
    check(&[own(None)], OwnStage::Done, 0);
    check(&[own(None), resumed(), untouched.clone(), turn("n1")], OwnStage::Done, 0);
    check(&[own(Some("exit status 3"))], OwnStage::Failed, 1);
    // With a failure that is a warning the roll goes on.
    check(&[own(Some("exit status 3")), finished("n1", "page")], OwnStage::Done, 1);
    check(&[resumed(), untouched.clone(), turn("n1"), step("n1", "page")], OwnStage::InDoubt, 0);
    check(&[own(Some("x")), resumed(), untouched, turn("n1"), step("n1", "page")], OwnStage::Begun, 1);
}

#[test]
fn a_run_that_is_over_stays_so() {
    let aborted = Event::Aborted { host: None, done: vec![], untouched: vec![] };
    check(&[started(), end(), resumed()], Err("event `resumed` can't come after its end"));
    check(&[started(), aborted.clone(), resumed()], Err("event `resumed` can't come after its end"));
    check(&[started(), interrupted(), aborted.clone()], Ok((&[], &["n1", "n2", "n3"])));
    check(&[aborted], Err("event `aborted` can't come before the run"));
    check(&[resumed()], Err("event `resumed` can't come before the run"));
}
