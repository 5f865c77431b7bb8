//! For how long servers of different versions ran beside each other.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::next_version;
use crate::core::{
    count_of,
    event::{Envelope, Event},
};

/// A time of mixed versions, as the events of a run tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mixed {
    /// For how long, in milliseconds, up to the last event.
    pub ms: u64,
    /// They are so still at the end.
    pub still: BTreeSet<String>,
}

/// For how long the servers of a cluster were of different versions, from the start of the first with another one to that of the last; none
/// where they never were. Servers without a turn count with what they ran when the plan was made.
pub fn mixed(events: &[Envelope]) -> Option<Mixed> {
    let mut steps = Vec::new();
    let mut versions: BTreeMap<String, String> = BTreeMap::new();
    let (mut since, mut total) = (None, 0);
    for envelope in events {
        match &envelope.event {
            Event::RunStarted { plan, .. } | Event::Resumed { replanned: Some(plan), .. } => {
                steps.clone_from(&plan.steps);
                for turn in &plan.turns {
                    let version = turn.version.clone().unwrap_or_default();
                    versions.entry(turn.host.clone()).or_insert(version);
                }
                for (host, version) in &plan.versions_beside {
                    versions.entry(host.clone()).or_insert_with(|| version.clone());
                }
            }
            Event::StepFinished { host, step, .. } if step == "start" => {
                if let Some(next) = next_version(&steps, host) {
                    versions.insert(host.clone(), next.to_owned());
                }
            }
            Event::TurnFinished { host, version: Some(version), .. } => {
                versions.insert(host.clone(), version.clone());
            }
            _ => continue,
        }
        let are = distinct(&versions).len() > 1;
        match (since, are) {
            (None, true) => since = Some(envelope.at),
            (Some(from), false) => {
                total += between(from, envelope.at);
                since = None;
            }
            _ => {}
        }
    }
    let last = events.last()?.at;
    let still = if since.is_some() { distinct(&versions) } else { BTreeSet::new() };
    let ms = total + since.map_or(0, |from| between(from, last));
    (ms > 0 || !still.is_empty()).then_some(Mixed { ms, still })
}

fn distinct(versions: &BTreeMap<String, String>) -> BTreeSet<String> {
    versions.values().filter(|version| !version.is_empty()).cloned().collect()
}

fn between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}

impl Mixed {
    /// In words, with a time as `span` tells it.
    pub fn words(&self, span: impl Fn(u64) -> String) -> String {
        let versions: Vec<&str> = self.still.iter().map(String::as_str).collect();
        if versions.is_empty() {
            return format!("mixed versions for {}", span(self.ms));
        }
        format!(
            "still {} side by side, for {} so far: {}",
            count_of(versions.len(), "version"),
            span(self.ms),
            versions.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::{
        event::SCHEMA,
        install::{Install, Source},
        plan,
        playbook::{Policy, Step},
        testing::{at, cluster},
    };

    fn check(events: Vec<(i64, Event)>, expected: Option<(u64, &[&str])>) {
        check_of(&["n1", "n2"], events, expected);
    }

    fn check_of(hosts: &[&str], events: Vec<(i64, Event)>, expected: Option<(u64, &[&str])>) {
        let mut view = cluster(&["n1", "n2"]);
        for server in &mut view.servers {
            server.varz.as_mut().unwrap().version = "2.14.6".into();
        }
        let from = Source::Controller("/x".into());
        let install = Install { from, to: None, version: "2.15.1".into(), sha256: None, deadline: Duration::ZERO };
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let plan = plan::plan(&view, &hosts, "upgrade", Policy::default(), vec![Step::Install(install)]);
        let begin = Event::RunStarted {
            rollgate: "0".into(),
            inventory: "d".into(),
            cluster_key: "c".into(),
            plan: Box::new(plan),
        };
        let all = std::iter::once((0, begin)).chain(events);
        let envelopes: Vec<Envelope> = all
            .zip(0..)
            .map(|((second, event), seq)| Envelope { v: SCHEMA, run: "r".into(), seq, at: at(second), event })
            .collect();
        let found = mixed(&envelopes);
        let found = found.as_ref().map(|one| (one.ms, one.still.iter().map(String::as_str).collect::<Vec<_>>()));
        assert_eq!(found, expected.map(|(ms, still)| (ms, still.to_vec())));
    }

    fn started(host: &str) -> Event {
        Event::StepFinished { host: host.into(), step: "start".into(), took_ms: 1, note: None, restarts: None }
    }

    fn turned(host: &str) -> Event {
        let version = Some("2.15.1".into());
        Event::TurnFinished { host: host.into(), took_ms: 1, unready_ms: 1, version }
    }

    #[test]
    fn mixed_time_counts_from_the_first_start_to_the_last() {
        check(vec![], None);
        check(
            vec![(5, started("n1")), (9, turned("n1")), (20, started("n2")), (22, turned("n2"))],
            Some((15_000, &[])),
        );
        // The other one has no turn, and is left with its old version.
        check_of(&["n1"], vec![(5, started("n1")), (9, turned("n1"))], Some((4_000, &["2.14.6", "2.15.1"])));
        let left = Event::StopRequested { signal: "SIGINT".into(), at_once: false };
        check(vec![(5, started("n1")), (9, turned("n1")), (12, left)], Some((7_000, &["2.14.6", "2.15.1"])));
    }
}
