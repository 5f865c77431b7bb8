//! The matrix without a lab: what was gathered when each fault was real (`tests/archives`) is judged again, and the table
//! that shows it is current.

#[allow(dead_code)] // what making a fault takes
#[path = "lab/matrix/fault.rs"]
mod fault;
#[allow(dead_code)] // what writing takes
#[path = "lab/matrix/kept.rs"]
mod kept;

use std::{fmt::Write, fs};

use fault::{Fault, VERSIONS};
use kept::Kept;
use rollgate::core::diagnosis::{Diagnosis, diagnose};

/// As `ROLLGATE_SAVE_ARCHIVES`: writes the table in place of comparing it.
const WRITE: &str = "ROLLGATE_SAVE_ARCHIVES";

fn judged(kept: &Kept) -> Diagnosis {
    diagnose(&kept.archive, &kept.context())
}

#[test]
fn every_archive_shows_its_cause_first() {
    let mut wrong = Vec::new();
    for version in VERSIONS {
        for fault in fault::all().iter().filter_map(|fault| fault.of(version)) {
            let Some(kept) = Kept::read(version, &fault.fault) else {
                if fault.open.is_some() {
                    continue;
                }
                wrong.push(format!("{} with {version}: no archive", fault.fault));
                continue;
            };
            let diagnosis = judged(&kept);
            let found = fault.is_found(&kept.archive.host, &serde_json::to_value(&diagnosis).expect("JSON"));
            match (found, &fault.open) {
                (Err(why), None) => wrong.push(format!("{} with {version}: {why}", fault.fault)),
                (Ok(()), _) | (Err(_), Some(_)) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_found_on_healthy_servers() {
    for (version, name, kept) in Kept::healthy() {
        let codes: Vec<_> = judged(&kept).findings.iter().map(|finding| finding.code.clone()).collect();
        assert!(codes.is_empty(), "{name} with {version}: {codes:?}");
    }
}

#[test]
fn there_are_at_least_45_faults_with_each_version() {
    let faults = fault::all();
    for version in VERSIONS {
        let count = faults.iter().filter(|fault| fault.of(version).is_some()).count();
        assert!(count >= 45, "{count} with {version}");
    }
    let mut names: Vec<_> = faults.iter().map(|fault| &fault.fault).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), faults.len(), "two faults of one name");
}

#[test]
fn the_table_is_current() {
    let path = fault::directory().join("README.md");
    let table = table();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &table).expect("the table");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == table, "{} is not what the archives say: {WRITE}=1 cargo test --test matrix", path.display());
}

/// Any archive: those of the matrix with some of their values taken out, changed for those of others, or made absurd.
mod any_archive {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use rollgate::core::diagnosis::{Context, Purpose, catalogue, diagnose, evidence::Archive};
    use serde_json::{Value, json};

    use super::{VERSIONS, fault, kept::Kept};

    static ALL: LazyLock<Vec<Value>> = LazyLock::new(|| {
        let of =
            |version: &'static str| fault::all().into_iter().filter_map(move |fault| Kept::read(version, &fault.fault));
        let kept = VERSIONS.into_iter().flat_map(of);
        kept.map(|kept| serde_json::to_value(kept.archive).expect("JSON")).collect()
    });

    const ABSURD: [&str; 8] = [
        "",
        "'",
        "nats-server: :::",
        "open : open ",
        "Starting restore for stream '",
        "a > b > c > d",
        "\u{0}\u{fffd}…é",
        "-9223372036854775808",
    ];

    /// The places of all values, by their pointers.
    fn places(value: &Value, at: &str, out: &mut Vec<String>) {
        out.push(at.to_owned());
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| {
                    places(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), out)
                });
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(number, value)| places(value, &format!("{at}/{number}"), out));
            }
            _ => {}
        }
    }

    fn change(value: &mut Value, how: usize, other: &Value) {
        *value = match (value.take(), how % 6) {
            (_, 0) => Value::Null,
            (Value::String(_), how) => json!(ABSURD[how % ABSURD.len()]),
            (Value::Number(_), 1) => json!(0),
            (Value::Number(_), 2) => json!(u64::MAX),
            (Value::Number(_), _) => json!(65_535),
            (Value::Array(_), 1) => json!([]),
            (Value::Array(items), 2) => items.iter().cycle().take(items.len() * 40).cloned().collect(),
            (Value::Bool(is), _) => json!(!is),
            (Value::Object(map), 1) if map.contains_key("Ok") => json!({"Err": {"kind": "timeout", "detail": "x"}}),
            (_, _) => other.clone(),
        };
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300.max(ProptestConfig::default().cases), ..ProptestConfig::default() })]

        #[test]
        fn is_judged(
            one in any::<prop::sample::Index>(),
            other in any::<prop::sample::Index>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<usize>()), 1..6),
        ) {
            let mut archive = ALL[one.index(ALL.len())].clone();
            let other = &ALL[other.index(ALL.len())];
            for (at, how) in changes {
                let mut all = Vec::new();
                places(&archive, "", &mut all);
                let place = &all[at.index(all.len())];
                let from = other.pointer(place).cloned().unwrap_or_default();
                let before = archive.clone();
                change(archive.pointer_mut(place).expect("a place"), how, &from);
                // What is no archive any more is none.
                if serde_json::from_value::<Archive>(archive.clone()).is_err() {
                    archive = before;
                }
            }
            let archive: Archive = serde_json::from_value(archive).expect("it is one still");
            for purpose in [Purpose::Look, Purpose::Halt, Purpose::Preflight, Purpose::Check] {
                let diagnosis = diagnose(&archive, &Context { purpose, had_state: true, ..Context::default() });
                let size = serde_json::to_string(&diagnosis).expect("JSON").len();
                prop_assert!(diagnosis.findings.len() < 200 && size < 2_000_000, "{} bytes", size);
                for finding in &diagnosis.findings {
                    prop_assert!(catalogue::page(&finding.code).is_some(), "{}", finding.code);
                }
            }
        }
    }
}

/// All faults of both versions, and how long it took.
fn table() -> String {
    let mut rows = Vec::new();
    let mut took = [Vec::new(), Vec::new()];
    for fault in fault::all() {
        for version in VERSIONS {
            let Some(fault) = fault.of(version) else { continue };
            let Some(kept) = Kept::read(version, &fault.fault) else { continue };
            let diagnosis = judged(&kept);
            let title = match (&fault.open, diagnosis.findings.first()) {
                (Some(why), _) => format!("**open**: {why}"),
                (None, Some(first)) => first.title.clone(),
                (None, None) => continue,
            };
            let group = match fault.then {
                fault::Then::Exits => Some(0),
                fault::Then::Unready => Some(1),
                fault::Then::Ready | fault::Then::Gone => None,
            };
            if let Some(group) = group {
                took[group].push(kept.seconds);
            }
            rows.push(row(&fault, version, &title, kept.seconds));
        }
    }
    let faults = fault::all().len();
    let mut text = format!(
        "<!-- Generated from tests/archives by tests/matrix.rs with ROLLGATE_SAVE_ARCHIVES=1: not to be edited. -->\n\
         # The matrix: {faults} faults\n\n\
         Each was made on a host of the lab, met by a real nats-server, and diagnosed by `rollgate diagnose`; the root \
         cause is the first finding. Seconds are from the restart of the doomed server to the cause in print, on a machine \
         of two cores that had other work too; a server that stays up unready is left to itself \
         for three of them. [`faults/`](faults) has how each is made, and what is asserted of the proof and the remedy. \
         What is **open** is not found yet, for the reason given.\n\n"
    );
    for (name, took) in ["whose process exits", "that stay up and are not ready"].iter().zip(&mut took) {
        took.sort_by(f64::total_cmp);
        let _ =
            writeln!(text, "Median of the {} {name}: {:.1} s.", took.len(), took.get(took.len() / 2).unwrap_or(&0.0));
    }
    text.push_str(
        "\n| root cause | the fault | version | the server | what is shown | s |\n|---|---|---|---|---|---|\n",
    );
    text.extend(rows);
    text
}

fn row(fault: &Fault, version: &str, title: &str, seconds: f64) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
    format!(
        "| `{}` | {} | {version} | {} | {} | {seconds:.1} |\n",
        fault.code,
        cell(&fault.what),
        fault.then.words(),
        cell(title)
    )
}
