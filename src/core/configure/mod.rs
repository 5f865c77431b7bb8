//! Files of the operator's that go to every host: a configuration and what belongs to it. What a host's server needs in order
//! to take them is decided for each host by itself.

mod decide;
mod diff;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use decide::{Known, NoWay, decide};
pub use diff::{FileDiff, Line, Side, Text, compare, told_apart};

use super::{
    diagnosis::evidence::Archive,
    difference::{Difference, differences},
    event::{Envelope, Event},
    install::{Placement, Role, StandIn, not_beside},
    millis,
    plan::Plan,
    playbook::Step,
    reload,
};

/// Put files in place, and have the server take them by a reload or a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configure {
    /// The files as they are on the controller.
    pub files: Vec<Source>,
    /// How the server is to take them.
    pub how: How,
    /// How long putting one file in place may take.
    #[serde(rename = "deadline_ms", with = "millis")]
    pub deadline: Duration,
}

/// Where a file, or a directory of files, comes from and goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// A path of the controller.
    pub from: String,
    /// A path of the host; none: where the server's own configuration is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whether variables are put in; none: where its name ends in `.j2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<bool>,
    /// Its mode in octal; none: that of what stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Its owner as `chown` takes it; none: that of what stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// How a server is to take files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename = "way to take files", rename_all = "kebab-case")]
#[schemars(rename = "how")]
pub enum How {
    /// By a reload where that takes all that changed, else by a restart; for each host by itself.
    #[default]
    Auto,
    /// By a reload. Where the server would not have it, the files are put back.
    Reload,
    /// By a restart.
    Restart,
}

/// How a host's server takes its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// It reloads.
    Reload,
    /// It is restarted.
    Restart,
}

impl Way {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Restart => "restart",
        }
    }
}

/// What a host gets in its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFiles {
    /// How its server takes it.
    pub way: Way,
    /// The files that are not yet as they should be.
    pub files: Vec<File>,
}

/// A file of one host, filled in. Its content may have secrets: here is only its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Where it goes; absolute.
    pub to: String,
    /// The sha256 of its content, in hex.
    pub sha256: String,
    /// Its mode in octal; none: that of what stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Its owner; none: that of what stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl File {
    /// It in its place, in the name of a run.
    pub fn placement(&self, run: &str) -> Placement {
        let Self { to, sha256, mode, owner, .. } = self.clone();
        Placement { run: run.to_owned(), to, sha256, mode, owner }
    }
}

/// What changes on some hosts, without secrets. Hosts with the same differences stand together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The hosts.
    pub hosts: Vec<String>,
    /// How their servers take it.
    pub way: Way,
    /// Why by that way.
    pub why: String,
    /// What changes in each file.
    pub files: Vec<FileDiff>,
}

/// Hosts with the same differences together, in the order in which they come.
pub fn grouped(changes: impl IntoIterator<Item = Change>) -> Vec<Change> {
    let mut all: Vec<Change> = Vec::new();
    for change in changes {
        let same = |one: &&mut Change| (one.way, &one.why, &one.files) == (change.way, &change.why, &change.files);
        match all.iter_mut().find(same) {
            Some(known) => known.hosts.extend(change.hosts),
            None => all.push(change),
        }
    }
    all
}

/// The step that puts files in place, if there is one.
pub fn configure(steps: &[Step]) -> Option<&Configure> {
    steps.iter().find_map(|step| match step {
        Step::Configure(configure) => Some(configure),
        _ => None,
    })
}

/// The steps that a server goes through which takes its files that way: one that reloads is neither drained nor stopped.
pub fn steps_by(way: Way, steps: &[Step]) -> Vec<Step> {
    let goes = |step: &&Step| match way {
        Way::Reload => !matches!(step, Step::Drain(_) | Step::Stop(_) | Step::Start(_)),
        Way::Restart => !matches!(step, Step::Reload(_)),
    };
    steps.iter().filter(goes).cloned().collect()
}

/// A host's files as they can be tried: beside those that they will take the places of.
pub fn stand_ins(plan: &Plan, run: &str, host: &str) -> Vec<StandIn> {
    let Some(of) = plan.files_of(host) else { return Vec::new() };
    let stand_in = |file: &File| StandIn {
        run: run.to_owned(),
        sha256: Some(file.sha256.clone()),
        to: file.to.clone(),
        role: Role::Config,
        mode: file.mode.clone(),
        owner: file.owner.clone(),
    };
    of.files.iter().map(stand_in).collect()
}

/// What keeps a host's files from being put in place, by what was gathered with them beside the real ones; empty where
/// `nats-server -t` as the service's user takes them, and every certificate that is named is good.
pub fn unproven(archive: &Archive, with: &[StandIn], allow: &[String]) -> Vec<String> {
    if let Some(why) = not_beside(archive) {
        return vec![why];
    }
    let named = |text: String| with.iter().fold(text, |text, one| text.replace(&one.beside(), &one.to));
    reload::unusable(archive, allow).into_iter().map(named).collect()
}

/// What a server does not run with of the files on its host's disk, or is not known to; and whether all of that is only not known.
pub fn not_taken(archive: &Archive) -> (Vec<String>, bool) {
    let of_files = |one: &Difference| match one {
        Difference::Binary { .. } => false,
        Difference::Unknown { what, .. } => what != "its program",
        _ => true,
    };
    let found: Vec<Difference> = differences(archive).into_iter().filter(of_files).collect();
    let unknown = found.iter().all(|one| matches!(one, Difference::Unknown { .. }));
    (found.iter().map(ToString::to_string).collect(), unknown)
}

/// The files that a run has put in place, or may have, by host.
pub fn placed(events: &[Envelope]) -> std::collections::BTreeMap<String, Vec<String>> {
    let mut plan = None;
    let mut found = std::collections::BTreeMap::new();
    for envelope in events {
        match &envelope.event {
            Event::RunStarted { plan: made, .. } | Event::Resumed { replanned: Some(made), .. } => plan = Some(made),
            Event::StepStarted { host, step, .. } if step == "configure" => {
                if let Some(of) = plan.and_then(|plan| plan.files_of(host)) {
                    found.insert(host.clone(), of.files.iter().map(|file| file.to.clone()).collect());
                }
            }
            // The server would not have them: they are back.
            Event::FilesBack { host, .. } => {
                found.remove(host);
            }
            _ => {}
        }
    }
    found
}

/// Takes what a preflight found of the configuration that is there now out of a view, where another one will be: that one is tried
/// before anything is touched.
pub fn without_the_old_files(steps: &[Step], view: &mut crate::core::view::View) {
    if configure(steps).is_none() {
        return;
    }
    for (_, diagnosis) in &mut view.preflight {
        diagnosis.findings.retain(|one| !one.code.starts_with("config-") && !one.code.starts_with("tls-"));
    }
}
