//! What is kept of a fault that was met: the archive, and what the run knew besides.

use std::fs;

use rollgate::core::diagnosis::{Context, Purpose, evidence::Archive};
use serde::{Deserialize, Serialize};

use super::fault;

/// One file below `tests/archives`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// From the restart to the cause in print.
    pub seconds: f64,
    /// Streams that the gate found short.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_short: Vec<String>,
    /// It was a halt: there was state on the server, which was watched all along.
    #[serde(default)]
    pub halt: bool,
    /// The boot before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_before: Option<String>,
    /// The evidence.
    pub archive: Archive,
}

impl Kept {
    /// What the rules were told besides.
    pub fn context(&self) -> Context {
        Context {
            purpose: if self.halt { Purpose::Halt } else { Purpose::Look },
            data_short: self.data_short.clone(),
            boot_before: self.boot_before.clone(),
            had_state: self.halt,
            ..Context::default()
        }
    }

    /// That of a fault with a version; none where there is none.
    pub fn read(version: &str, fault: &str) -> Option<Self> {
        let text = fs::read_to_string(fault::archives(version).join(format!("{fault}.json"))).ok()?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{fault} with {version}: {error}")))
    }

    /// Those of servers that are well, of every version.
    pub fn healthy() -> Vec<(String, String, Self)> {
        let mut all = Vec::new();
        for version in fault::VERSIONS {
            for host in ["h1", "h2", "h3", "h4", "h5"] {
                let name = format!("healthy-{host}");
                let kept = Self::read(version, &name).unwrap_or_else(|| panic!("no {name} with {version}"));
                all.push((version.to_owned(), name, kept));
            }
        }
        all
    }

    /// Writes it.
    pub fn write(&self, version: &str, name: &str) {
        let directory = fault::archives(version);
        fs::create_dir_all(&directory).expect("a directory for archives");
        let text = serde_json::to_string(self).expect("JSON");
        fs::write(directory.join(format!("{name}.json")), text + "\n").expect("an archive");
    }
}
