//! Every rule, on archives made by hand.

use super::{
    catalogue,
    evidence::{Archive, ReachRole, Work},
    files::{FileKind, PathFacts, PathRole},
    testing::*,
    *,
};
use crate::core::{
    testing::at,
    view::{Exit, Failure, FailureKind, Meta, Peer, Phase},
};

mod living;
mod process;
mod rare;
mod tls_and_paths;
mod words;

/// What is done to a healthy part, and the code that must come of it.
type Spoiled<T> = (fn(&mut T), &'static str);

#[track_caller]
fn check_as(purpose: Purpose, archive: &Archive, expected: &[&str]) -> Diagnosis {
    let context = Context { purpose, had_state: true, ..Context::default() };
    let diagnosis = diagnose(archive, &context);
    let codes: Vec<&str> = diagnosis.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, expected, "{diagnosis:#?}");
    for finding in &diagnosis.findings {
        assert!(!finding.quotes.is_empty(), "no proof: {finding:?}");
        assert!(!finding.remedy.text.is_empty());
    }
    diagnosis
}

/// The codes of the causes, first the root.
#[track_caller]
fn check(archive: &Archive, expected: &[&str]) -> Diagnosis {
    check_as(Purpose::Halt, archive, expected)
}

#[track_caller]
fn check_died(level: Option<&str>, text: &str, expected: &str) -> Diagnosis {
    let diagnosis = check(&died(level, text), &[expected]);
    let root = diagnosis.root().expect("a root cause");
    assert!(root.quotes[0].text.contains(text), "the fatal line is quoted first: {root:?}");
    let under: Vec<&str> = root.consequences.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(under.first(), Some(&"crash-loop"), "what follows stands below: {under:?}");
    diagnosis
}

fn path_mut(archive: &mut Archive, role: PathRole) -> &mut PathFacts {
    let paths = archive.paths.as_mut().expect("paths");
    paths.iter_mut().find(|path| path.roles.contains(&role)).expect("the path")
}

#[test]
fn a_healthy_server_has_no_finding() {
    for purpose in [Purpose::Look, Purpose::Halt, Purpose::Preflight] {
        let diagnosis = check_as(purpose, &healthy(), &[]);
        assert!(diagnosis.unidentified.is_empty());
        check_as(purpose, &with_tls(365), &[]);
    }
}

#[test]
fn two_faults_are_both_found_and_the_blocking_one_is_first() {
    let mut archive = died(Some("FTL"), "Could not write pidfile: open /run/nats/nats.pid: permission denied");
    archive.unit.as_mut().expect("unit").enabled = Some("disabled".into());
    path_mut(&mut archive, PathRole::Store).mount.as_mut().expect("mount").free = Some(0);
    check(&archive, &["pid-file-unwritable", "disk-full", "unit-not-enabled"]);
}

#[test]
fn what_is_not_known_is_not_guessed() {
    let mut archive = healthy();
    refuse(&mut archive);
    archive.view.as_mut().expect("view").servers[0].health =
        Ok(crate::core::testing::healthz_error(503, "something new"));
    archive.view.as_mut().expect("view").servers[0].health.as_mut().expect("health").errors.clear();
    let diagnosis = check(&archive, &["healthz-other"]);
    assert!(diagnosis.unidentified.is_empty());
    let mut archive = healthy();
    archive.view = None;
    let diagnosis = diagnose(&archive, &Context { purpose: Purpose::Halt, ..Context::default() });
    assert!(diagnosis.findings.is_empty() && !diagnosis.unidentified.is_empty());
}

#[test]
fn the_catalogue_is_well_formed() {
    let mut seen = Vec::new();
    for (subject, pages) in catalogue::subjects() {
        assert!(!pages.is_empty(), "{subject}");
        for page in pages {
            assert!(!seen.contains(&page.code), "twice: {}", page.code);
            seen.push(page.code);
            assert!(page.code.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", page.code);
            for text in [page.title, page.why, page.proof, page.remedy] {
                assert!(text.len() > 10, "{}: {text:?}", page.code);
            }
        }
    }
    for (_, pages) in catalogue::subjects() {
        for code in pages.iter().flat_map(|page| page.follows).filter(|code| **code != "*") {
            assert!(seen.contains(code), "follows an unknown code: {code}");
        }
    }
}
