//! `tests/scenarios/*.yaml`: what goes wrong, and line by line what a roll then does (`tests/scenarios/expected`).
//!
//! Renew with `INSTA_UPDATE=always cargo test --test sim scenarios`, and read the difference.

use std::{fmt::Write, fs, path::Path, time::Duration};

use rollgate::{
    config::Playbook,
    core::event::Event,
    fleet::sim::Topology,
    report::{event_line, render_halt},
};
use serde::Deserialize;

use crate::{
    harness::{Played, Setup},
    properties::kept,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// For the reader.
    #[allow(dead_code)]
    about: String,
    #[serde(default)]
    seed: u64,
    /// The cluster of `tests/scenarios/cluster.yaml`, if not given.
    topology: Option<Topology>,
    #[serde(default)]
    faults: Vec<String>,
    /// A playbook that is built in; `restart`, if not given.
    playbook: Option<String>,
    /// Objections that the operator consents to.
    #[serde(default)]
    allow: Vec<String>,
    /// When the operator presses Ctrl-C, in milliseconds.
    #[serde(default)]
    signals_ms: Vec<u64>,
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).expect("a scenario");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Of a wait in which something moves, one line in so many seconds.
const QUIET: f64 = 60.0;

fn story(played: &Played) -> String {
    let mut out = String::new();
    let began = played.events.first().expect("events").at;
    let mut told_at = f64::NEG_INFINITY;
    for envelope in &played.events {
        let at = envelope.at.duration_since(began).as_secs_f64();
        let long_wait = matches!(&envelope.event, Event::Looked { moving: Some(_), .. });
        if long_wait && at < told_at + QUIET {
            continue;
        }
        told_at = if long_wait { at } else { f64::NEG_INFINITY };
        let told = event_line(&envelope.event).map(|(_, host, text)| format!("  {host}: {text}")).unwrap_or_default();
        let step = match &envelope.event {
            Event::StepStarted { host, step, .. } if told.is_empty() => format!("  {host}: {step}"),
            _ => told,
        };
        let _ = writeln!(out, "{at:>8.1}  {:<15}{step}", envelope.event.kind());
    }
    if let Some(Event::Halted { halt } | Event::Refused { halt }) = played.terminal() {
        let _ = writeln!(out, "\n{}", anstream::adapter::strip_str(&render_halt(halt)));
    }
    let world = played.world();
    let effects: Vec<_> = world.effects().iter().map(|effect| format!("{:?} {}", effect.what, effect.host)).collect();
    let _ = writeln!(out, "\nby our hand: {}", if effects.is_empty() { "nothing".into() } else { effects.join(", ") });
    let unready = world.unready();
    let _ = writeln!(
        out,
        "not ready two minutes later: {}",
        if unready.is_empty() { "none".into() } else { unready.join(", ") }
    );
    out
}

#[test]
fn scenarios_go_as_they_are_told() {
    let folder = Path::new("tests/scenarios");
    let mut paths: Vec<_> = fs::read_dir(folder).expect("scenarios").flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "yaml") && !path.ends_with("cluster.yaml"));
    paths.sort();
    assert!(paths.len() > 20, "these tests run in the crate's directory");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../scenarios/expected");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for path in paths {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let scenario: Scenario = read(&path);
        let topology = scenario.topology.unwrap_or_else(|| read(&folder.join("cluster.yaml")));
        let mut setup = Setup::new(scenario.seed, topology);
        setup.faults = scenario.faults.iter().map(|text| text.parse().expect("a fault")).collect();
        if let Some(name) = &scenario.playbook {
            setup.playbook = Playbook::embedded(name).expect("one that is built in");
        }
        setup.playbook.policy.allow.clone_from(&scenario.allow);
        setup.signals = scenario.signals_ms.into_iter().map(Duration::from_millis).collect();
        let played = setup.play();
        if scenario.allow.is_empty() {
            kept(&played).unwrap_or_else(|text| panic!("{name}: {text}"));
        }
        settings.bind(|| insta::assert_snapshot!(name, story(&played)));
    }
}
