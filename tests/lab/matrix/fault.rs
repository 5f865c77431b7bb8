//! The table of faults, as `tests/lab/matrix/faults/*.yaml` has it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// The versions of nats-server that every fault is made against.
pub const VERSIONS: [&str; 2] = ["2.10.26", "2.15.1"];

/// One fault: how it is made, and what must be found.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Its name.
    pub fault: String,
    /// In words.
    pub what: String,
    /// Which server gets it.
    #[serde(default)]
    pub server: Role,
    /// Only against this version.
    pub version: Option<String>,
    /// How the server meets it.
    #[serde(default)]
    pub how: How,
    /// Shell, as root on the host, with `host.sh` sourced.
    pub make: Option<String>,
    /// Shell on the hosts of the peers.
    pub peers: Option<String>,
    /// Commands of the lab; `HOST` is the host.
    #[serde(default)]
    pub lab: Vec<String>,
    /// Commands of the lab that end it.
    #[serde(default)]
    pub heal: Vec<String>,
    /// Shell that takes away what `restore` does not.
    pub undo: Option<String>,
    /// What becomes of the server.
    pub then: Then,
    /// After this no other fault of that server: it may not be whole again.
    #[serde(default)]
    pub last: bool,
    /// The code of the first finding.
    pub code: String,
    /// Further codes that must be found beside it.
    #[serde(default)]
    pub and: Vec<String>,
    /// Texts that its quotes must hold.
    #[serde(default)]
    pub quotes: Vec<String>,
    /// Texts that its remedy must hold.
    #[serde(default)]
    pub remedy: Vec<String>,
    /// Why it is not found yet: then nothing is asserted, and the table says so.
    pub open: Option<String>,
    /// What 2.10.26 does otherwise.
    pub old: Option<Otherwise>,
}

/// What replaces the expectation for 2.10.26.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otherwise {
    then: Option<Then>,
    code: Option<String>,
    quotes: Option<Vec<String>>,
    remedy: Option<Vec<String>>,
    open: Option<String>,
}

/// Which server of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// One that is a cluster of its own.
    #[default]
    Alone,
    /// The third of a cluster.
    Clustered,
}

/// How the server meets the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// `systemctl restart`, as an operator would.
    #[default]
    Restart,
    /// A roll by rollgate, which halts with the diagnosis.
    Roll,
    /// It has met it already.
    None,
}

/// What becomes of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Its process exits.
    Exits,
    /// It runs, and healthz is not 200.
    Unready,
    /// healthz is 200.
    Ready,
    /// The host does not answer.
    Gone,
}

impl Then {
    /// In words, for the table.
    pub fn words(self) -> &'static str {
        match self {
            Self::Exits => "exits",
            Self::Unready => "stays, not ready",
            Self::Ready => "healthz 200",
            Self::Gone => "no answer",
        }
    }
}

impl Fault {
    /// As it is for a version; none where it is not made against it.
    pub fn of(&self, version: &str) -> Option<Self> {
        let mut fault = self.clone();
        if self.version.as_ref().is_some_and(|only| only != version) {
            return None;
        }
        if let (true, Some(old)) = (version == VERSIONS[0], fault.old.take()) {
            fault.then = old.then.unwrap_or(fault.then);
            fault.code = old.code.unwrap_or(fault.code);
            fault.quotes = old.quotes.unwrap_or(fault.quotes);
            fault.remedy = old.remedy.unwrap_or(fault.remedy);
            fault.open = old.open.or(fault.open);
        }
        Some(fault)
    }

    /// Whether a diagnosis of `host` begins with the fault's code, its proof and the remedy's values, and has the further
    /// codes.
    pub fn is_found(&self, host: &str, diagnosis: &Value) -> Result<(), String> {
        let findings = diagnosis["findings"].as_array().map_or(&[][..], Vec::as_slice);
        let codes: Vec<_> = findings.iter().filter_map(|finding| finding["code"].as_str()).collect();
        let Some(first) = findings.first().filter(|first| first["code"] == self.code) else {
            return Err(format!("{codes:?} in place of {}", self.code));
        };
        for (part, texts) in [("quotes", &self.quotes), ("remedy", &self.remedy)] {
            let said = strings(&first[part]);
            for text in texts {
                let text = text.replace("HOST", host);
                if !said.contains(&text) {
                    return Err(format!("{}: no {text:?} in its {part}:\n{said}", self.code));
                }
            }
        }
        match self.and.iter().find(|code| !codes.contains(&code.as_str())) {
            Some(missing) => Err(format!("{missing} is not in {codes:?}")),
            None => Ok(()),
        }
    }
}

/// All strings in a value, a line each.
fn strings(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text}\n"),
        Value::Array(items) => items.iter().map(strings).collect(),
        Value::Object(fields) => fields.values().map(strings).collect(),
        _ => String::new(),
    }
}

/// All faults, subject by subject.
pub fn all() -> Vec<Fault> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory().join("faults")).expect("faults").map(|entry| entry.expect("it").path()).collect();
    files.sort();
    let mut faults = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a table of faults");
        let table: Vec<Fault> =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        faults.extend(table);
    }
    faults
}

/// Where the matrix keeps its files.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/matrix")
}

/// Where the archives of a version are.
pub fn archives(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/archives").join(version)
}
