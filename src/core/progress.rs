//! The state of a run: a fold of its events. The live run, the terminal, `resume`, `history` and `show` use this one
//! function, so they can't disagree about where a roll stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    assets::Assets,
    event::{Event, InDoubt},
    gate::{Baseline, Waiting},
    install::{AllStaged, Source},
    own_step::When,
    plan::Plan,
    playbook::Step,
    safety::Objection,
    settle::Standing,
};

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// The plan, once the run has started.
    pub plan: Option<Arc<Plan>>,
    /// What the plan was made from: the inventory's digest.
    pub inventory: String,
    /// Tells clusters of one name apart.
    pub cluster_key: String,
    /// Hosts whose turn ended well, in the order in which they were rolled.
    pub done: Vec<String>,
    /// Hosts whose turn ended with a finding, where that does not hold up the others.
    pub failed: Vec<String>,
    /// The turn under way.
    pub turn: Option<Turn>,
    /// What the next turn waits for.
    pub objections: Vec<Objection>,
    /// The operator asked to stop.
    pub stopping: bool,
    /// The kind of the terminal event.
    pub ended: Option<&'static str>,
    /// How often each host's turn was begun: more than once where it was left untouched the first time.
    pub attempts: BTreeMap<String, u32>,
    /// The operator's own commands, by host: what became of each so far.
    pub own: BTreeMap<String, BTreeMap<String, OwnCommand>>,
    /// What is staged, by host.
    pub staged: AllStaged,
    /// Hosts whose turn has put files in place or made their server reload, ended or not: such a turn is begun anew.
    pub changed: BTreeSet<String>,
    /// Hosts that have the files that they will get.
    pub files_staged: BTreeSet<String>,
    /// The step under way that belongs to no turn, with its host.
    pub hook: Option<(String, String)>,
    /// How often the run was resumed.
    pub resumed: u32,
    /// It was resumed, and what became of the turn under way is not settled yet.
    pub unsettled: bool,
}

/// What became of a command of the operator's so far. It outlives the turn: one that is begun anew does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnCommand {
    /// How far it is.
    pub stage: OwnStage,
    /// How often it failed: each new try is a new change.
    pub failures: u32,
}

/// How far a command of the operator's is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnStage {
    /// Its begin was recorded.
    Begun,
    /// Its begin was recorded by a controller that died before it recorded the end.
    InDoubt,
    /// It failed.
    Failed,
    /// It is over, and the roll went on: it is not done again.
    Done,
}

/// The turn under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The host.
    pub host: String,
    /// 1 for the first turn.
    pub number: usize,
    /// What was true of its server before it was touched.
    pub baseline: Baseline,
    /// What was on it then.
    pub before: Option<Arc<Assets>>,
    /// The step under way.
    pub step: Option<String>,
    /// Whether its stop was announced: from then on it may be down by our hand.
    pub stopped: bool,
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
    /// What became so far of a command of the operator's on a host.
    pub fn own_command(&self, host: &str, step: &str) -> Option<OwnCommand> {
        self.own.get(host)?.get(step).copied()
    }

    /// Applies one event.
    ///
    /// # Errors
    /// [`Illegal`] when the event can't come in this state; the state is then unchanged.
    pub fn apply(&mut self, event: &Event) -> Result<(), Illegal> {
        self.legal(event)?;
        match event {
            Event::RunStarted { plan, inventory, cluster_key, .. } => {
                self.plan = Some(Arc::new((**plan).clone()));
                self.inventory.clone_from(inventory);
                self.cluster_key.clone_from(cluster_key);
            }
            Event::Resumed { inventory, replanned, .. } => {
                if let Some(plan) = replanned {
                    self.plan = Some(Arc::new((**plan).clone()));
                }
                self.inventory.clone_from(inventory);
                (self.ended, self.stopping) = (None, false);
                self.objections.clear();
                self.failed.clear();
                self.resumed += 1;
                self.unsettled = self.turn.is_some();
                self.hook = None;
                for own in self.own.values_mut().flat_map(BTreeMap::values_mut) {
                    if own.stage == OwnStage::Begun {
                        own.stage = OwnStage::InDoubt;
                    }
                }
            }
            Event::Settled { standing, finished, .. } => {
                self.unsettled = false;
                if *standing == Standing::Untouched {
                    self.turn = None;
                }
                self.in_turn(|turn| {
                    turn.step = None;
                    turn.waiting.clear();
                    turn.finished.extend(finished.iter().cloned());
                });
            }
            Event::Staged { host, staged } => {
                self.staged.insert(host.clone(), staged.clone());
            }
            Event::FilesStaged { host, .. } => {
                self.files_staged.insert(host.clone());
            }
            Event::FilesBack { host, .. } => {
                self.changed.remove(host);
            }
            Event::SafetyWaiting { objections, .. } => self.objections.clone_from(objections),
            Event::TurnStarted { host, number, baseline, before, .. } => {
                self.objections.clear();
                *self.attempts.entry(host.clone()).or_default() += 1;
                self.turn = Some(Turn {
                    host: host.clone(),
                    number: *number,
                    baseline: baseline.clone(),
                    before: before.as_ref().map(|assets| Arc::new((**assets).clone())),
                    step: None,
                    stopped: false,
                    finished: Vec::new(),
                    waiting: Vec::new(),
                    good: 0,
                });
            }
            Event::StepStarted { host, step, .. } => {
                self.objections.clear();
                self.begin_command(host, step);
                if matches!(step.as_str(), "configure" | "reload") {
                    self.changed.insert(host.clone());
                }
                self.in_turn(|turn| {
                    turn.stopped |= step == "stop";
                    turn.step = Some(step.clone());
                    turn.waiting.clear();
                    turn.good = 0;
                });
            }
            Event::Looked { good, waiting, .. } => self.in_turn(|turn| {
                turn.good = *good;
                turn.waiting.clone_from(waiting);
            }),
            Event::OwnStep { host, step, failed, .. } => self.in_command(host, step, |own| {
                own.failures += u32::from(failed.is_some());
                own.stage = if failed.is_some() { OwnStage::Failed } else { OwnStage::Done };
            }),
            Event::ApprovalAwaited { .. } => {}
            Event::StepFinished { host, step, restarts, .. } => {
                self.in_command(host, step, |own| own.stage = OwnStage::Done);
                self.in_turn(|turn| {
                    turn.baseline.is_down(*restarts);
                    turn.step = None;
                    turn.waiting.clear();
                    turn.finished.push(step.clone());
                });
            }
            Event::TurnFinished { host, .. } => {
                self.turn = None;
                self.done.push(host.clone());
            }
            Event::HookStarted { host, step, .. } => {
                self.begin_command(host, step);
                self.hook = Some((host.clone(), step.clone()));
            }
            Event::HookFinished { host, step, failed, tolerated, .. } => {
                self.hook = None;
                self.in_command(host, step, |own| {
                    own.failures += u32::from(failed.is_some());
                    own.stage = if failed.is_some() && !tolerated { OwnStage::Failed } else { OwnStage::Done };
                });
            }
            Event::TurnFailed { halt } => {
                self.turn = None;
                self.failed.push(halt.host.clone());
            }
            Event::Paused { .. } => {}
            Event::StopRequested { .. } => self.stopping = true,
            Event::Finished { .. }
            | Event::Halted { .. }
            | Event::Refused { .. }
            | Event::Aborted { .. }
            | Event::Interrupted { .. } => self.ended = Some(event.kind()),
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
        let mut hosts = self.to_come();
        hosts.retain(|host| !self.changed.contains(host));
        hosts
    }

    /// Hosts of the plan that have their turn before them, or have it again.
    pub fn to_come(&self) -> Vec<String> {
        let active = self.turn.as_ref().map(|turn| turn.host.as_str());
        let hosts = self.plan.iter().flat_map(|plan| &plan.turns).map(|turn| &turn.host);
        hosts
            .filter(|host| !self.done.contains(host) && !self.failed.contains(host) && active != Some(host.as_str()))
            .cloned()
            .collect()
    }

    /// The step whose outcome is not recorded.
    pub fn in_doubt(&self) -> Option<InDoubt> {
        let turn = self.turn.as_ref()?;
        turn.step.as_ref().map(|step| InDoubt { host: turn.host.clone(), step: step.clone() })
    }

    fn begin_command(&mut self, host: &str, step: &str) {
        self.in_command(host, step, |own| {
            if own.stage != OwnStage::InDoubt {
                own.stage = OwnStage::Begun;
            }
        });
    }

    /// Where `step` is a command of the operator's.
    fn in_command(&mut self, host: &str, step: &str, change: impl FnOnce(&mut OwnCommand)) {
        let steps = self.plan.iter().flat_map(|plan| plan.steps.iter().chain(plan.hooks.all()));
        let own = |known: &Step| match known {
            Step::Run(_) | Step::File(_) => known.name() == step,
            Step::Install(install) => step == "install" && matches!(install.from, Source::Command(_)),
            _ => false,
        };
        if steps.into_iter().any(own) {
            let none = OwnCommand { stage: OwnStage::Begun, failures: 0 };
            change(self.own.entry(host.to_owned()).or_default().entry(step.to_owned()).or_insert(none));
        }
    }

    fn in_turn(&mut self, change: impl FnOnce(&mut Turn)) {
        if let Some(turn) = &mut self.turn {
            change(turn);
        }
    }

    /// Whether nothing was begun on any host, nor a command of the operator's anywhere.
    pub fn touched_nothing(&self) -> bool {
        self.attempts.is_empty() && self.own.is_empty() && self.resumed == 0
    }

    /// Whether the run is over for good.
    pub fn closed(&self) -> bool {
        matches!(self.ended, Some("finished" | "refused" | "aborted"))
    }

    /// The table of legal transitions.
    ///
    /// # Errors
    /// [`Illegal`] when the event can't come in this state.
    pub fn legal(&self, event: &Event) -> Result<(), Illegal> {
        let when = self.when();
        let legal = match event {
            Event::RunStarted { .. } => when == "before the run",
            // A controller that goes on stages what is left before it settles the turn under way.
            Event::Staged { .. } | Event::FilesStaged { .. } => {
                matches!(when, "between turns" | "before its turn is settled")
            }
            Event::TurnStarted { .. } | Event::Paused { .. } => when == "between turns",
            Event::SafetyWaiting { host, .. } => {
                when == "between turns" || (matches!(when, "between steps" | "in a step") && self.active(host))
            }
            Event::StepStarted { host, .. } => when == "between steps" && self.active(host),
            Event::ApprovalAwaited { host, step, .. } if self.in_hook(host, step) => true,
            Event::Looked { host, step, .. }
            | Event::FilesBack { host, step, .. }
            | Event::OwnStep { host, step, .. }
            | Event::ApprovalAwaited { host, step, .. }
            | Event::StepFinished { host, step, .. } => {
                when == "in a step" && self.active(host) && self.step() == Some(step.as_str())
            }
            Event::TurnFinished { host, .. } => when == "between steps" && self.active(host),
            Event::HookStarted { when: When::OnHalt, .. } => when != "before the run" && when != "after its end",
            Event::HookStarted { .. } => when == "between turns",
            Event::HookFinished { host, step, .. } => self.in_hook(host, step),
            Event::TurnFailed { halt } => {
                self.plan.as_ref().is_some_and(|plan| plan.only_looks())
                    && matches!(when, "in a step" | "between steps")
                    && self.active(&halt.host)
            }
            Event::Resumed { .. } => self.plan.is_some() && !self.closed(),
            Event::Settled { host, .. } => when == "before its turn is settled" && self.active(host),
            Event::Aborted { .. } => self.plan.is_some() && !self.closed(),
            Event::Refused { .. } => when == "between turns" && self.done.is_empty() && self.resumed == 0,
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
            (Some(_), Some(_), None) if self.unsettled => "before its turn is settled",
            (Some(_), None, None) => "between turns",
            (Some(_), Some(turn), None) if turn.step.is_some() => "in a step",
            (Some(_), Some(_), None) => "between steps",
        }
    }

    fn in_hook(&self, host: &str, step: &str) -> bool {
        self.hook.as_ref().is_some_and(|(of, name)| of == host && name == step)
    }

    fn active(&self, host: &str) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.host == host)
    }

    fn step(&self) -> Option<&str> {
        self.turn.as_ref()?.step.as_deref()
    }
}

#[cfg(test)]
mod tests;
