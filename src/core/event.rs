//! Everything that leaves a run. One closed enum; the journal, the terminal, the JSON lines and any report are made
//! from it and from nothing else. A run has exactly one first event and, each time that its controller
//! could say so, a terminal event.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    assets::Assets,
    gate::{Baseline, Moving, Waiting},
    halt::Halt,
    install::Staged,
    order::Why,
    own_step::When,
    plan::Plan,
    safety::Objection,
    settle::Standing,
};

/// The version of the envelope and of the events in it. It grows when a reader of the old form would misread the new.
pub const SCHEMA: u32 = 2;

/// An event with its place in the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`SCHEMA`].
    pub v: u32,
    /// The run.
    pub run: String,
    /// 0, 1, 2 … without gaps.
    pub seq: u64,
    /// When, by the controller's clock.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The first event of every run.
    RunStarted {
        /// rollgate's own version.
        rollgate: String,
        /// The inventory's digest.
        inventory: String,
        /// Tells clusters of one name apart: the name and a digest of how its hosts are reached.
        #[serde(default)]
        cluster_key: String,
        /// What is going to happen.
        plan: Box<Plan>,
    },
    /// A controller goes on with a run that another left, or that this one was told to leave.
    Resumed {
        /// rollgate's own version.
        rollgate: String,
        /// The inventory's digest.
        inventory: String,
        /// How the run had been left: the kind of its terminal event; none where its controller died.
        left: Option<String>,
        /// The plan from here on, where it was made anew.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        replanned: Option<Box<Plan>>,
    },
    /// What became of the turn under way while nobody recorded it.
    Settled {
        /// The host.
        host: String,
        /// How far its turn is.
        standing: Standing,
        /// The facts that say so.
        facts: String,
        /// Steps that took effect, and are not done again.
        finished: Vec<String>,
    },
    /// A host has what its turn will put in place, and it was tried there.
    Staged {
        /// The host.
        host: String,
        /// What it has.
        staged: Staged,
    },
    /// A host has the files that its turn will put in place, and its server would take them.
    FilesStaged {
        /// The host.
        host: String,
        /// Their places.
        files: Vec<String>,
    },
    /// A server would not take its files: what stood in their places is put back, and the roll halts.
    FilesBack {
        /// The host.
        host: String,
        /// The step in which the server refused.
        step: String,
        /// Their places.
        files: Vec<String>,
        /// The id under which the host records what is done, with a number for each file.
        change: String,
        /// What it has against them.
        why: String,
    },
    /// The next turn waits, because its restart is not safe yet.
    SafetyWaiting {
        /// The host whose turn it will be.
        host: String,
        /// What speaks against it now.
        objections: Vec<Objection>,
    },
    /// A turn began: fresh facts were judged safe.
    TurnStarted {
        /// The host.
        host: String,
        /// 1 for the first turn.
        number: usize,
        /// Turns in this run.
        of: usize,
        /// Why this server now.
        why: Vec<Why>,
        /// What was true of it before it was touched.
        baseline: Baseline,
        /// What was on the server then, as far as its data and its raft groups can be seen.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        before: Option<Box<Assets>>,
        /// Objections that the operator consented to by name.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        consented: Vec<Objection>,
    },
    /// A step is about to take effect. It is on disk before the effect is.
    StepStarted {
        /// The host.
        host: String,
        /// The step's name.
        step: String,
        /// The id under which the host records the change, for steps that change something.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        change: Option<String>,
    },
    /// A look at the gate, when what it saw differs from the look before.
    Looked {
        /// The host.
        host: String,
        /// The step: gate or settle.
        step: String,
        /// Good looks in a row.
        good: u32,
        /// Good looks wanted.
        of: u32,
        /// What is being waited for.
        waiting: Vec<Waiting>,
        /// What moves meanwhile.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        moving: Option<Moving>,
    },
    /// A step of the operator's own was carried out.
    OwnStep {
        /// The host.
        host: String,
        /// The step's name.
        step: String,
        /// What failed; none where it went well. The roll goes on only where the step's failure is a warning.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        failed: Option<String>,
        /// The end of what it printed or was answered, at most 4 KiB.
        #[serde(skip_serializing_if = "String::is_empty", default)]
        output: String,
    },
    /// The operator is asked on the terminal, and nothing happens until the answer.
    ApprovalAwaited {
        /// The host.
        host: String,
        /// The step's name.
        step: String,
        /// What is asked.
        question: String,
    },
    /// A step ended well.
    StepFinished {
        /// The host.
        host: String,
        /// The step's name.
        step: String,
        /// How long it took.
        took_ms: u64,
        /// What there is to say of it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        note: Option<String>,
        /// Of a stop: how often the service manager had started the server by itself when it was down.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        restarts: Option<u32>,
    },
    /// A turn ended well.
    TurnFinished {
        /// The host.
        host: String,
        /// How long it took.
        took_ms: u64,
        /// From the order to stop until the gate's first good look of the streak that opened it.
        unready_ms: u64,
        /// The version that runs now.
        version: Option<String>,
    },
    /// A step of the operator's that belongs to no turn begins.
    HookStarted {
        /// When it is done.
        when: When,
        /// The host that it is for; empty for the roll as a whole.
        #[serde(skip_serializing_if = "String::is_empty", default)]
        host: String,
        /// The step's name.
        step: String,
        /// The id under which the host records the change, where it runs there.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        change: Option<String>,
    },
    /// It ended.
    HookFinished {
        /// When it was done.
        when: When,
        /// The host that it was for; empty for the roll as a whole.
        #[serde(skip_serializing_if = "String::is_empty", default)]
        host: String,
        /// The step's name.
        step: String,
        /// What failed; none where it went well.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        failed: Option<String>,
        /// Whether the roll goes on although it failed.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        tolerated: bool,
        /// The end of what it printed or was answered, at most 4 KiB.
        #[serde(skip_serializing_if = "String::is_empty", default)]
        output: String,
    },
    /// A turn that changes nothing ended with a finding; the roll goes on with the next server, and halts at its end.
    TurnFailed {
        /// The finding, whole.
        halt: Box<Halt>,
    },
    /// A pause between turns.
    Paused {
        /// For how long.
        for_ms: u64,
    },
    /// The operator asked to stop.
    StopRequested {
        /// The signal's name.
        signal: String,
        /// Now rather than at the next safe point.
        at_once: bool,
    },
    /// Terminal: all turns of this run ended well.
    Finished {
        /// Hosts rolled.
        done: Vec<String>,
        /// Hosts of the plan left for a later run (`stop_after`).
        untouched: Vec<String>,
        /// How long the run took.
        took_ms: u64,
    },
    /// Terminal: stopped by a finding, after something was touched.
    Halted {
        /// The finding, whole.
        halt: Box<Halt>,
    },
    /// Terminal: stopped by a finding, before anything was touched.
    Refused {
        /// The finding, whole.
        halt: Box<Halt>,
    },
    /// Terminal: given up by the operator after it was left.
    Aborted {
        /// The host whose turn was under way.
        host: Option<String>,
        /// Hosts rolled.
        done: Vec<String>,
        /// Hosts not touched.
        untouched: Vec<String>,
    },
    /// Terminal: stopped by the operator.
    Interrupted {
        /// The host and step that were under way when the run was stopped at once: their outcome is not known.
        in_doubt: Option<InDoubt>,
        /// Hosts rolled.
        done: Vec<String>,
        /// Hosts not touched.
        untouched: Vec<String>,
        /// What to run next.
        next: Vec<String>,
    },
}

/// A step that was started and whose end was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InDoubt {
    /// The host.
    pub host: String,
    /// The step.
    pub step: String,
}

impl Event {
    /// The kind, as in the `event` field.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RunStarted { .. } => "run-started",
            Self::Resumed { .. } => "resumed",
            Self::Settled { .. } => "settled",
            Self::Staged { .. } => "staged",
            Self::FilesStaged { .. } => "files-staged",
            Self::FilesBack { .. } => "files-back",
            Self::SafetyWaiting { .. } => "safety-waiting",
            Self::TurnStarted { .. } => "turn-started",
            Self::StepStarted { .. } => "step-started",
            Self::Looked { .. } => "looked",
            Self::OwnStep { .. } => "own-step",
            Self::ApprovalAwaited { .. } => "approval-awaited",
            Self::StepFinished { .. } => "step-finished",
            Self::TurnFinished { .. } => "turn-finished",
            Self::HookStarted { .. } => "hook-started",
            Self::HookFinished { .. } => "hook-finished",
            Self::TurnFailed { .. } => "turn-failed",
            Self::Paused { .. } => "paused",
            Self::StopRequested { .. } => "stop-requested",
            Self::Finished { .. } => "finished",
            Self::Halted { .. } => "halted",
            Self::Refused { .. } => "refused",
            Self::Aborted { .. } => "aborted",
            Self::Interrupted { .. } => "interrupted",
        }
    }

    /// Whether it ends a run. After a halt or an interruption the run may be resumed.
    pub fn is_terminal(&self) -> bool {
        self.closes() || matches!(self, Self::Halted { .. } | Self::Interrupted { .. })
    }

    /// Whether nothing at all can follow.
    pub fn closes(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Refused { .. } | Self::Aborted { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::core::{
        gate::Condition,
        halt::{Cause, Serving},
        plan,
        playbook::Policy,
        testing::*,
    };

    fn halt() -> Box<Halt> {
        let view = cluster(&["n1", "n2"]);
        Box::new(Halt {
            host: "n2".into(),
            step: "gate".into(),
            cause: Cause::CrashLoop,
            after_ms: 900,
            diagnosis: None,
            serving: Some(Serving::of(&view)),
            done: vec!["n1".into()],
            untouched: vec![],
            next: vec!["mend n2".into()],
        })
    }

    fn every_kind() -> Vec<Event> {
        let view = cluster(&["n1", "n2"]);
        let hosts = ["n1", "n2"].map(String::from);
        let plan = Box::new(plan::plan(&view, &hosts, "restart", Policy::default(), vec![]));
        let (host, step) = (|| String::from("n2"), |step: &str| String::from(step));
        let waiting = vec![Waiting { condition: Condition::Healthz, reason: "503: x".into(), for_ms: 20 }];
        let clusters = BTreeMap::from([("a".to_owned(), vec![host()])]);
        vec![
            Event::RunStarted { rollgate: "0.1.0".into(), inventory: "d1".into(), cluster_key: "c-1".into(), plan },
            Event::Resumed {
                rollgate: "0.1.0".into(),
                inventory: "d1".into(),
                left: Some("halted".into()),
                replanned: None,
            },
            Event::Settled {
                host: host(),
                standing: Standing::Down,
                facts: "service: inactive (dead)".into(),
                finished: vec![step("stop")],
            },
            Event::Staged {
                host: host(),
                staged: Staged {
                    to: "/usr/sbin/nats-server".into(),
                    sha256: Some("d1".into()),
                    before: Some("2.14.6".into()),
                },
            },
            Event::FilesStaged { host: host(), files: vec!["/etc/nats/nats-server.conf".into()] },
            Event::FilesBack {
                host: host(),
                step: step("reload"),
                files: vec!["/etc/nats/nats-server.conf".into()],
                change: "r1-n2-files-back-0".into(),
                why: "it can't take a change of Port by a reload".into(),
            },
            Event::SafetyWaiting { host: host(), objections: vec![Objection::DifferentClusters { clusters }] },
            Event::TurnStarted {
                host: host(),
                number: 1,
                of: 2,
                why: vec![Why::Zone { zone: "a".into() }],
                baseline: Baseline::of(&view.servers[1]),
                before: None,
                consented: vec![],
            },
            Event::StepStarted { host: host(), step: step("stop"), change: Some("r1-n2-stop".into()) },
            Event::Looked { host: host(), step: step("gate"), good: 0, of: 3, waiting, moving: None },
            Event::OwnStep {
                host: host(),
                step: step("warm"),
                failed: Some("exit status 3".into()),
                output: "no\n".into(),
            },
            Event::ApprovalAwaited { host: host(), step: step("look"), question: "green?".into() },
            Event::StepFinished { host: host(), step: step("gate"), took_ms: 1200, note: None, restarts: None },
            Event::TurnFinished { host: host(), took_ms: 4200, unready_ms: 900, version: Some("2.15.1".into()) },
            Event::HookStarted {
                when: When::Before,
                host: host(),
                step: step("stage"),
                change: Some("r1-n2-own-stage".into()),
            },
            Event::HookFinished {
                when: When::OnHalt,
                host: String::new(),
                step: step("page"),
                failed: Some("exit status 1".into()),
                tolerated: true,
                output: String::new(),
            },
            Event::TurnFailed { halt: halt() },
            Event::Paused { for_ms: 1000 },
            Event::StopRequested { signal: "SIGINT".into(), at_once: false },
            Event::Finished { done: vec![host()], untouched: vec![], took_ms: 9000 },
            Event::Halted { halt: halt() },
            Event::Refused { halt: halt() },
            Event::Aborted { host: Some(host()), done: vec![], untouched: vec![] },
            Event::Interrupted {
                in_doubt: Some(InDoubt { host: host(), step: step("stop") }),
                done: vec![],
                untouched: vec![],
                next: vec![],
            },
        ]
    }

    /// The form of the journal and of `-o ndjson`. A change to this snapshot that is no addition needs a new [`SCHEMA`].
    #[test]
    fn the_form_of_every_event() {
        let lines: Vec<String> = every_kind()
            .into_iter()
            .zip(0..)
            .map(|(event, seq)| Envelope { v: SCHEMA, run: "r1".into(), seq, at: at(0), event })
            .map(|envelope| serde_json::to_string(&envelope).unwrap())
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn every_event_is_read_as_it_was_written() {
        for event in every_kind() {
            let text = serde_json::to_string(&event).unwrap();
            assert!(text.starts_with(&format!("{{\"event\":\"{}\"", event.kind())), "{text}");
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        }
    }
}
