//! The state of a run: a fold of its events. The live run, the terminal and `status` of a run use this one function,
//! so they can't disagree about where a roll stands.

use super::{
    event::{Event, InDoubt},
    gate::Waiting,
    plan::Plan,
    safety::Objection,
};

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// The plan, once the run has started.
    pub plan: Option<Plan>,
    /// Hosts whose turn ended well, in the order in which they were rolled.
    pub done: Vec<String>,
    /// The turn under way.
    pub turn: Option<Turn>,
    /// What the next turn waits for.
    pub objections: Vec<Objection>,
    /// The operator asked to stop.
    pub stopping: bool,
    /// The kind of the terminal event.
    pub ended: Option<&'static str>,
}

/// The turn under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The host.
    pub host: String,
    /// The step under way.
    pub step: Option<String>,
    /// Steps of this turn that ended well.
    pub finished: Vec<String>,
    /// What the gate waits for.
    pub waiting: Vec<Waiting>,
    /// Good looks in a row.
    pub good: u32,
}

/// An event that can't follow the ones before it: the journal is damaged, or the runner is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event `{event}` can't come {when}")]
pub struct Illegal {
    /// The event's kind.
    pub event: &'static str,
    /// The state it came in.
    pub when: &'static str,
}

impl Progress {
    /// Applies one event.
    ///
    /// # Errors
    /// [`Illegal`] when the event can't come in this state; the state is then unchanged.
    pub fn apply(&mut self, event: &Event) -> Result<(), Illegal> {
        self.legal(event)?;
        match event {
            Event::RunStarted { plan, .. } => self.plan = Some((**plan).clone()),
            Event::SafetyWaiting { objections, .. } => self.objections.clone_from(objections),
            Event::TurnStarted { host, .. } => {
                self.objections.clear();
                self.turn =
                    Some(Turn { host: host.clone(), step: None, finished: Vec::new(), waiting: Vec::new(), good: 0 });
            }
            Event::StepStarted { step, .. } => self.in_turn(|turn| {
                turn.step = Some(step.clone());
                turn.waiting.clear();
                turn.good = 0;
            }),
            Event::Looked { good, waiting, .. } => self.in_turn(|turn| {
                turn.good = *good;
                turn.waiting.clone_from(waiting);
            }),
            Event::StepFinished { step, .. } => self.in_turn(|turn| {
                turn.step = None;
                turn.waiting.clear();
                turn.finished.push(step.clone());
            }),
            Event::TurnFinished { host, .. } => {
                self.turn = None;
                self.done.push(host.clone());
            }
            Event::Paused { .. } => {}
            Event::StopRequested { .. } => self.stopping = true,
            Event::Finished { .. } | Event::Halted { .. } | Event::Refused { .. } | Event::Interrupted { .. } => {
                self.ended = Some(event.kind());
            }
        }
        Ok(())
    }

    /// The state after all of `events`.
    ///
    /// # Errors
    /// The first event that can't follow the ones before it.
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Self, Illegal> {
        events.into_iter().try_fold(Self::default(), |mut state, event| {
            state.apply(event)?;
            Ok(state)
        })
    }

    /// Hosts of the plan that were not touched.
    pub fn untouched(&self) -> Vec<String> {
        let active = self.turn.as_ref().map(|turn| turn.host.as_str());
        let hosts = self.plan.iter().flat_map(|plan| &plan.turns).map(|turn| &turn.host);
        hosts.filter(|host| !self.done.contains(host) && active != Some(host.as_str())).cloned().collect()
    }

    /// The step whose outcome is not recorded.
    pub fn in_doubt(&self) -> Option<InDoubt> {
        let turn = self.turn.as_ref()?;
        turn.step.as_ref().map(|step| InDoubt { host: turn.host.clone(), step: step.clone() })
    }

    fn in_turn(&mut self, change: impl FnOnce(&mut Turn)) {
        if let Some(turn) = &mut self.turn {
            change(turn);
        }
    }

    /// The table of legal transitions.
    fn legal(&self, event: &Event) -> Result<(), Illegal> {
        let when = self.when();
        let legal = match event {
            Event::RunStarted { .. } => when == "before the run",
            Event::SafetyWaiting { .. } | Event::TurnStarted { .. } | Event::Paused { .. } => when == "between turns",
            Event::StepStarted { host, .. } => when == "between steps" && self.active(host),
            Event::Looked { host, step, .. } | Event::StepFinished { host, step, .. } => {
                when == "in a step" && self.active(host) && self.step() == Some(step.as_str())
            }
            Event::TurnFinished { host, .. } => when == "between steps" && self.active(host),
            Event::Refused { .. } => when == "between turns" && self.done.is_empty(),
            Event::Finished { .. } => when == "between turns",
            Event::StopRequested { .. } | Event::Halted { .. } | Event::Interrupted { .. } => {
                when != "before the run" && when != "after its end"
            }
        };
        if legal { Ok(()) } else { Err(Illegal { event: event.kind(), when }) }
    }

    fn when(&self) -> &'static str {
        match (&self.plan, &self.turn, self.ended) {
            (_, _, Some(_)) => "after its end",
            (None, _, None) => "before the run",
            (Some(_), None, None) => "between turns",
            (Some(_), Some(turn), None) if turn.step.is_some() => "in a step",
            (Some(_), Some(_), None) => "between steps",
        }
    }

    fn active(&self, host: &str) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.host == host)
    }

    fn step(&self) -> Option<&str> {
        self.turn.as_ref()?.step.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::{gate::Baseline, plan, playbook::Policy, testing::*};

    fn started() -> Event {
        let view = cluster(&["n1", "n2", "n3"]);
        let policy = Policy {
            order: vec![],
            stop_after: None,
            allow: vec![],
            pause: Duration::ZERO,
            safety_deadline: Duration::ZERO,
        };
        let hosts = ["n1", "n2", "n3"].map(String::from);
        let plan = Box::new(plan::plan(&view, &hosts, "restart", policy, vec![]));
        Event::RunStarted { rollgate: "0".into(), inventory: "d".into(), plan }
    }

    fn turn(host: &str) -> Event {
        let baseline = Baseline::of(&server(host, &["n1", "n2", "n3"]));
        Event::TurnStarted { host: host.into(), number: 1, of: 3, why: vec![], baseline, consented: vec![] }
    }

    fn step(host: &str, step: &str) -> Event {
        Event::StepStarted { host: host.into(), step: step.into(), change: None }
    }

    fn finished(host: &str, step: &str) -> Event {
        Event::StepFinished { host: host.into(), step: step.into(), took_ms: 1, note: None }
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
}
