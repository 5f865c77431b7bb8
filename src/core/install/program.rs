//! Another nats-server in the place of the one that is there: where it comes from, and what is put back when it does not do.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Role, StandIn};
use crate::core::{
    diagnosis::{Context, Purpose, Severity, diagnose, evidence::Archive},
    event::{Envelope, Event},
    millis,
    playbook::Step,
    version::Version,
    view::{Exit, View},
};

/// Put another nats-server in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Install {
    /// Where it comes from.
    pub from: Source,
    /// Where it goes; none: where the service's own program is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What it must call itself.
    pub version: String,
    /// The sha256 of the file, in hex. Of a file of the controller it is known once the plan is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How long it may take on one host.
    #[serde(rename = "deadline_ms", with = "millis")]
    pub deadline: Duration,
}

/// Where a program comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A file of the controller.
    Controller(String),
    /// A file that each host has.
    Host(String),
    /// A command that installs it, run on the host while the server is down: there is nothing to stage, nor to try before.
    Command(String),
}

/// Put back what a run replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBack {
    /// The run that kept it.
    pub run: String,
    /// The programs that it kept, by host.
    pub kept: BTreeMap<String, KeptProgram>,
    /// The places of the files that it kept, by host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Vec<String>>,
    /// How long it may take on one host.
    #[serde(rename = "deadline_ms", with = "millis")]
    pub deadline: Duration,
}

/// A program that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptProgram {
    /// Where it stood.
    pub to: String,
    /// Its version, where it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What a run has ready on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Where it will go.
    pub to: String,
    /// Its digest; none where a command will bring it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The version that stood there before, where it said one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// A copy of some megabytes on one disk.
pub const BACK_WITHIN: Duration = Duration::from_secs(60);

/// The programs that a run has replaced, or may have, with what was kept of them: by host.
pub fn replaced(events: &[Envelope]) -> BTreeMap<String, KeptProgram> {
    let mut staged = AllStaged::new();
    let mut found = BTreeMap::new();
    for envelope in events {
        match &envelope.event {
            Event::Staged { host, staged: one } => {
                staged.insert(host.clone(), one.clone());
            }
            Event::StepStarted { host, step, .. } if step == "install" => {
                let Some(one) = staged.get(host) else { continue };
                let version = one.before.as_deref().map(|version| version.trim_start_matches('v').to_owned());
                found.insert(host.clone(), KeptProgram { to: one.to.clone(), version });
            }
            _ => {}
        }
    }
    found
}

/// The steps of an upgrade made into those of its rollback: the same way down and up, without what the operator has done on the
/// way to the new version. Servers take their old files by a restart, where the steps have one: that takes whatever there was.
pub fn put_back_steps(steps: &[Step], back: PutBack) -> Vec<Step> {
    let mut made = Vec::new();
    let restarts = steps.iter().any(|step| matches!(step, Step::Stop(_)));
    for step in steps {
        match step {
            Step::Install(_) | Step::Configure(_) => made.push(Step::PutBack(back.clone())),
            Step::Reload(_) if !restarts => made.push(step.clone()),
            Step::Drain(_) | Step::Stop(_) | Step::Start(_) | Step::Gate(_) | Step::Settle(_) => {
                made.push(step.clone())
            }
            _ => {}
        }
    }
    made
}

/// What is known of the hosts' programs: by host.
pub type AllStaged = BTreeMap<String, Staged>;

/// The version that a host's server has after these steps; none where they leave its program alone.
pub fn next_version<'a>(steps: &'a [Step], host: &str) -> Option<&'a str> {
    steps.iter().find_map(|step| match step {
        Step::Install(install) => Some(install.version.as_str()),
        Step::PutBack(back) => back.kept.get(host)?.version.as_deref(),
        _ => None,
    })
}

/// The step that changes the program, if there is one.
pub fn install(steps: &[Step]) -> Option<&Install> {
    steps.iter().find_map(|step| match step {
        Step::Install(install) => Some(install),
        _ => None,
    })
}

/// The program and the files with which these steps will have started a host's server, as they can be tried beforehand; none where
/// they are those that are there now, or can't be had before.
pub fn stand_ins(steps: &[Step], staged: &AllStaged, run: &str, host: &str) -> Vec<StandIn> {
    let mut found = Vec::new();
    for step in steps {
        match step {
            Step::Install(_) => {
                let of = staged.get(host).and_then(|staged| Some((staged.sha256.clone()?, &staged.to)));
                found.extend(of.map(|(sha256, to)| StandIn::new(run, Some(sha256), to, Role::Program)));
            }
            Step::PutBack(back) => {
                let program = back.kept.get(host).map(|kept| (&kept.to, Role::Program));
                let files = back.files.get(host).into_iter().flatten().map(|to| (to, Role::Config));
                found
                    .extend(program.into_iter().chain(files).map(|(to, role)| StandIn::new(&back.run, None, to, role)));
            }
            _ => {}
        }
    }
    found
}

/// Whether two texts name one version: `v2.15.1` and `2.15.1` do. A version that can't be read is only itself.
pub fn same_version(a: &str, b: &str) -> bool {
    a.trim().trim_start_matches('v') == b.trim().trim_start_matches('v')
}

/// The hosts whose server does not run the version yet that these steps bring. What is not known counts as not.
pub fn to_upgrade(steps: &[Step], view: &View, hosts: &[String]) -> Vec<String> {
    let Some(install) = install(steps) else { return hosts.to_vec() };
    let runs = |host: &&String| {
        let varz = view.server(host).and_then(|server| server.varz.as_ref().ok());
        varz.is_some_and(|varz| same_version(&varz.version, &install.version))
    };
    hosts.iter().filter(|host| !runs(host)).cloned().collect()
}

/// Takes what a preflight found of the program and the configuration that are there now out of a view, where others will be:
/// those are tried before anything is touched.
pub fn without_the_old_program(steps: &[Step], view: &mut View) {
    if install(steps).is_none() {
        return;
    }
    for (_, diagnosis) in &mut view.preflight {
        diagnosis.findings.retain(|one| !one.code.starts_with("binary-") && !one.code.starts_with("config-"));
    }
}

/// Why a stand-in could not be tried, if so: what was gathered then is of the file that is there.
pub fn not_beside(archive: &Archive) -> Option<String> {
    let gap = archive.gaps.iter().find(|gap| gap.what == "stand-in")?;
    Some(format!("it can't be put beside the one that is there: {}", gap.why))
}

/// What keeps a program from being put in place, by the evidence that was gathered with it beside the real one, at `beside`; empty
/// where it executes, calls itself `version`, and takes the server's configuration.
pub fn unproven(archive: &Archive, beside: &str, version: &str) -> Vec<String> {
    if let Some(why) = not_beside(archive) {
        return vec![why];
    }
    let diagnosis = diagnose(archive, &Context { purpose: Purpose::Preflight, ..Context::default() });
    if let Some(why) = diagnosis.unknown {
        return vec![format!("it could not be tried: {why}")];
    }
    // Of the host's own state the turns ask for themselves.
    let of_these = |code: &str| code.starts_with("binary-") || code.starts_with("config-");
    let mut wrong: Vec<String> = diagnosis
        .findings
        .iter()
        .filter(|one| one.severity == Severity::Blocking && of_these(&one.code))
        .map(|one| format!("{} [{}]", one.title, one.code))
        .collect();
    match &archive.binary {
        Err(failure) => wrong.push(format!("it could not be looked at: {failure}")),
        Ok(binary) if binary.path != beside => wrong.push(format!("{} was tried in its place", binary.path)),
        Ok(binary) => match &binary.version {
            Some(found) if same_version(found, version) => {}
            Some(found) => wrong.push(format!("it says that it is {found}, and not {version}")),
            None if wrong.is_empty() => {
                let said = binary.said.as_deref().map(|said| format!(": {said}")).unwrap_or_default();
                wrong.push(format!("it does not say its version{said}"));
            }
            None => {}
        },
    }
    if wrong.is_empty() {
        match &archive.config_test {
            Ok(test) if test.exit == Some(Exit::Code(0)) => {}
            Ok(test) => {
                let said = test.output.iter().rev().find(|line| !line.trim().is_empty());
                wrong.push(format!(
                    "it refuses the configuration: {}",
                    said.map_or("no reason given", |line| line.trim())
                ));
            }
            Err(failure) => wrong.push(format!("the configuration could not be tested with it: {failure}")),
        }
    }
    wrong
}

/// What is written for a version.
///
/// # Errors
/// What it should be.
pub fn version(text: &str) -> Result<String, &'static str> {
    let text = text.trim().trim_start_matches('v');
    if Version::of(text).is_some() { Ok(text.to_owned()) } else { Err("a version like `2.15.1`") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::cluster;

    fn install_step(version: &str) -> Step {
        let from = Source::Controller("/tmp/nats-server".into());
        let deadline = Duration::from_secs(60);
        Step::Install(Install { from, to: None, version: version.into(), sha256: None, deadline })
    }

    #[test]
    fn versions_are_the_same_however_they_are_written() {
        for (a, b, expected) in
            [("v2.15.1", "2.15.1", true), ("2.15.1", "2.15.1\n", true), ("2.15.1", "2.15.10", false), ("x", "", false)]
        {
            assert_eq!(same_version(a, b), expected, "{a} {b}");
        }
        assert_eq!(version("v2.15.1").as_deref(), Ok("2.15.1"));
        assert!(version("latest").is_err());
    }

    #[test]
    fn servers_that_run_it_already_have_no_turn() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        let hosts = ["n1", "n2", "n3"].map(String::from);
        view.servers[0].varz.as_mut().unwrap().version = "2.14.6".into();
        view.servers[1].varz = Err(crate::core::view::Failure::new(crate::core::view::FailureKind::Refused, "x"));
        let version = view.servers[2].varz.as_ref().unwrap().version.clone();
        assert_eq!(to_upgrade(&[install_step(&version)], &view, &hosts), ["n1", "n2"]);
        assert_eq!(to_upgrade(&[], &view, &hosts), hosts);
    }

    #[test]
    fn what_will_run_can_be_tried_where_it_is_staged_or_kept() {
        let staged = |sha256: Option<&str>| {
            let one = Staged { to: "/bin/n".into(), sha256: sha256.map(str::to_owned), before: None };
            AllStaged::from([("n1".to_owned(), one)])
        };
        let steps = [install_step("2.15.1")];
        let name = |steps: &[Step], staged: &AllStaged, host: &str| {
            stand_ins(steps, staged, "r1", host).first().map(|one| format!("{}/{}", one.run, one.name()))
        };
        assert_eq!(name(&steps, &staged(Some("abc")), "n1").as_deref(), Some("r1/abc"));
        assert_eq!(name(&steps, &staged(Some("abc")), "n2"), None);
        assert_eq!(name(&steps, &staged(None), "n1"), None);
        let kept = KeptProgram { to: "/bin/n".into(), version: Some("2.14.6".into()) };
        let kept = BTreeMap::from([("n1".to_owned(), kept)]);
        let back =
            [Step::PutBack(PutBack { run: "r0".into(), kept, files: BTreeMap::new(), deadline: Duration::ZERO })];
        assert_eq!(name(&back, &AllStaged::new(), "n1").as_deref(), Some("r0/kept-+sbin+sn"));
        assert_eq!((next_version(&back, "n1"), next_version(&back, "n2")), (Some("2.14.6"), None));
        assert_eq!(next_version(&steps, "n9"), Some("2.15.1"));
    }
}
