//! Runs of a cluster that were left, as `status` tells them: where each stands, by its journal, and the command that goes on.

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Error,
    mirror::{self, Buckets},
    open, rollback,
};
use crate::{
    config::inventory::Cluster,
    core::event::{Event, SCHEMA},
    journal::{Journaled, StateDir},
};

/// A run without an end.
#[derive(Debug, Serialize)]
pub struct Unfinished {
    run: String,
    /// `under-way` (it has the lock on the hosts), `halted`, `interrupted`; `left` by a controller that died, or that the hosts
    /// have not heard of for a while; `unreadable`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    playbook: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    began: Option<Timestamp>,
    /// The host in its turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// The step of it that was announced, and whose end was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    done: Vec<String>,
    to_come: Vec<String>,
    /// What halted it, or why its journal can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What to do, and the commands for it.
    next: Vec<String>,
}

/// The runs of a cluster that were left, the oldest first. `holder` is the run that has the lock on the hosts.
///
/// # Errors
/// The state directory can't be read.
pub async fn of_cluster(
    state: &StateDir,
    buckets: &Buckets,
    cluster: &Cluster,
    inventory: &Path,
    holder: Option<&str>,
) -> Result<Vec<Unfinished>, Error> {
    let mut runs = Vec::new();
    for id in open::ids(state, cluster, buckets)? {
        let journaled = mirror::longer(state, buckets, &id).await;
        let under_way = holder == Some(id.as_str());
        runs.push(Unfinished::new(id, journaled.map_err(|error| error.message()), under_way, inventory));
    }
    Ok(runs)
}

impl Unfinished {
    fn new(run: String, journaled: Result<Journaled, String>, under_way: bool, inventory: &Path) -> Self {
        let close = format!("close it: {}", open::abort(inventory, &run));
        let folded = journaled
            .and_then(|journaled| Ok((open::fold(&journaled.events).map_err(|error| error.message())?, journaled)));
        let (progress, journaled) = match folded {
            Ok(folded) => folded,
            Err(why) => return Self::unreadable(run, why, close),
        };
        let last = journaled.events.last().map(|envelope| &envelope.event);
        let (state, why) = match last {
            _ if under_way => ("under-way", None),
            Some(Event::Halted { halt }) => ("halted", Some(halt.cause.headline(&halt.host, &halt.step))),
            Some(Event::Interrupted { .. }) => ("interrupted", None),
            _ => ("left", None),
        };
        let mut next = Vec::new();
        if under_way {
            next.push(format!("see what it does: {}", open::show(inventory, &run)));
            // A holder that is dead and one that lives look alike until the lock expires, which keeps a second controller out.
            next.push(format!("if its controller is dead, go on with it: {}", open::go_on(inventory, &run)));
        } else {
            if let Some(Event::Halted { halt }) = last {
                next.push(halt.cause.remedy(&halt.host));
            }
            // What an older rollgate began can't be gone on with.
            if journaled.events.iter().all(|envelope| envelope.v == SCHEMA) {
                next.push(format!("go on with it: {}", open::go_on(inventory, &run)));
            }
            let back = rollback::command(inventory, &run, &journaled.events, &progress);
            next.extend(back.map(|back| format!("or put back what it replaced: {back}")));
            next.push(format!("or {close}"));
        }
        let turn = progress.turn.as_ref();
        Self {
            run,
            state,
            playbook: progress.plan.as_ref().map(|plan| plan.playbook.clone()),
            began: journaled.events.first().map(|envelope| envelope.at),
            host: turn.map(|turn| turn.host.clone()),
            step: turn.and_then(|turn| turn.step.clone()),
            to_come: progress.to_come(),
            done: progress.done,
            why,
            next,
        }
    }

    fn unreadable(run: String, why: String, close: String) -> Self {
        let why = Some(why);
        let (done, to_come, next) = (Vec::new(), Vec::new(), vec![close]);
        let (playbook, began, host, step) = (None, None, None, None);
        Self { run, state: "unreadable", playbook, began, host, step, done, to_come, why, next }
    }

    /// A few lines for people.
    pub fn text(&self) -> String {
        let list = |hosts: &[String]| if hosts.is_empty() { "none".to_owned() } else { hosts.join(", ") };
        let mut text = format!("run {}", self.run);
        if let Some(playbook) = &self.playbook {
            text.push_str(&format!(" ({playbook})"));
        }
        text.push_str(match self.state {
            "under-way" => " has the lock on the hosts",
            "halted" => " halted",
            "interrupted" => " was interrupted",
            "unreadable" => " can't be read",
            _ => " was left without an end: its controller died, or is cut off",
        });
        text.extend(self.why.iter().map(|why| format!(": {why}")));
        text.push('\n');
        if self.state != "unreadable" {
            let step = self.step.as_ref().map(|step| format!(", at its {step}")).unwrap_or_default();
            let turn = self.host.as_ref().map(|host| format!("; in its turn: {host}{step}")).unwrap_or_default();
            text.push_str(&format!("  done: {}{turn}; to come: {}\n", list(&self.done), list(&self.to_come)));
        }
        self.next.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{event::Envelope, gate::Baseline, halt, halt::Halt, plan, playbook::Policy, testing::*};

    fn begun() -> Vec<Event> {
        let view = cluster(&["n1", "n2"]);
        let hosts = ["n1", "n2"].map(String::from);
        let plan = Box::new(plan::plan(&view, &hosts, "restart", Policy::default(), vec![]));
        vec![
            Event::RunStarted { rollgate: "0.1.0".into(), inventory: "d1".into(), cluster_key: "c-1".into(), plan },
            Event::TurnStarted {
                host: "n1".into(),
                number: 1,
                of: 2,
                why: vec![],
                baseline: Baseline::of(&view.servers[0]),
                before: None,
                consented: vec![],
            },
            Event::StepStarted { host: "n1".into(), step: "stop".into(), change: Some("r1-n1-stop".into()) },
        ]
    }

    fn check(v: u32, events: Vec<Event>, under_way: bool, expected: &str) {
        let envelope = |(seq, event)| Envelope { v, run: "r1".into(), seq, at: at(0), event };
        let events = (0..).zip(events).map(envelope).collect();
        let found = Unfinished::new("r1".into(), Ok(Journaled { events, length: 0 }), under_way, Path::new("my.yaml"));
        assert_eq!(found.text(), expected);
    }

    #[test]
    fn each_kind_says_where_it_stands_and_what_comes_next() {
        let stands = "  done: none; in its turn: n1, at its stop; to come: n2\n";
        let (go_on, close) =
            ("  go on with it: rollgate resume -i my.yaml r1\n", "close it: rollgate abort -i my.yaml r1\n");
        let left = "run r1 (restart) was left without an end: its controller died, or is cut off\n";
        check(SCHEMA, begun(), false, &format!("{left}{stands}{go_on}  or {close}"));
        check(SCHEMA - 1, begun(), false, &format!("{left}{stands}  or {close}"));
        let show = "  see what it does: rollgate show -i my.yaml r1\n  if its controller is dead, ";
        let text = format!("run r1 (restart) has the lock on the hosts\n{stands}{show}{}", go_on.trim_start());
        check(SCHEMA, begun(), true, &text);
        let mut interrupted = begun();
        interrupted.push(Event::Interrupted { in_doubt: None, done: vec![], untouched: vec![], next: vec![] });
        let text = format!("run r1 (restart) was interrupted\n{stands}{go_on}  or {close}");
        check(SCHEMA, interrupted, false, &text);
        let cause = halt::Cause::ChangeTimedOut;
        let (headline, remedy) = (cause.headline("n1", "stop"), cause.remedy("n1"));
        let halt = Box::new(Halt {
            host: "n1".into(),
            step: "stop".into(),
            cause,
            after_ms: 0,
            diagnosis: None,
            serving: None,
            done: vec![],
            untouched: vec!["n2".into()],
            next: vec![],
        });
        let mut halted = begun();
        halted.push(Event::Halted { halt });
        let text = format!("run r1 (restart) halted: {headline}\n{stands}  {remedy}\n{go_on}  or {close}");
        check(SCHEMA, halted, false, &text);
    }

    #[test]
    fn one_that_cannot_be_read_can_be_closed() {
        let found = Unfinished::new("r1".into(), Err("journal.ndjson:1: damaged".into()), false, Path::new("my.yaml"));
        let expected = "run r1 can't be read: journal.ndjson:1: damaged\n  close it: rollgate abort -i my.yaml r1\n";
        assert_eq!((found.text().as_str(), found.state), (expected, "unreadable"));
    }
}
