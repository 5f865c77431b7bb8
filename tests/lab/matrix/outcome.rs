//! What rollgate found, held against what was made.

use std::{env, fs, time::Duration};

use rollgate::core::diagnosis::evidence::Archive;
use serde_json::Value;

use super::{fault::Fault, kept::Kept};
use crate::harness::{Lab, WIDE};

/// What no archive, and nothing that is printed, may hold: the passwords of the configuration, and any private key.
const SECRETS: [&str; 3] = ["s3cret", "r0ute", "-----BEGIN"];

/// What rollgate said of a host.
pub struct Diagnosed {
    /// Findings.
    pub diagnosis: Value,
    /// The evidence that they are made of.
    archive: Archive,
    /// What the gate found short.
    data_short: Vec<String>,
    /// It was a halt.
    halt: bool,
    /// Everything that was printed.
    printed: String,
}

impl Diagnosed {
    /// `rollgate diagnose`.
    pub fn now(lab: &Lab, inventory: &str, host: &str) -> Self {
        let file = lab.file(&format!("{host}.archive.json"));
        let _ = fs::remove_file(&file);
        let ended = lab.spawn(&["diagnose", host, "-i", inventory, "-o", "json", "--save", &file]).wait(WIDE);
        let answer: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"));
        let archive = fs::read_to_string(&file).unwrap_or_else(|error| panic!("no archive: {error}: {ended}"));
        Self {
            diagnosis: with_findings(&answer).unwrap_or_else(|| panic!("no findings: {ended}")).clone(),
            archive: serde_json::from_str(&archive).expect("an archive"),
            data_short: Vec::new(),
            halt: false,
            printed: format!("{ended}{archive}"),
        }
    }

    /// A roll of the host, which halts and says why.
    pub fn by_a_roll(lab: &Lab, inventory: &str, host: &str) -> Self {
        let playbook = lab.file("quick.yaml");
        let ended =
            lab.rollgate(&["run", &playbook, "-i", inventory, "--host", host, "--allow", "r1-offline", "--yes"]);
        ended.exits(4);
        let halt = &ended.terminal("halted")["halt"];
        let after = Self::now(lab, inventory, host);
        let streams = halt["streams"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Self {
            diagnosis: with_findings(halt).unwrap_or_else(|| panic!("no findings: {ended}")).clone(),
            data_short: streams.map(str::to_owned).collect(),
            halt: true,
            printed: format!("{ended}{}", after.printed),
            // What the halt was concluded from is not kept by the run; the server stands as it stood.
            archive: after.archive,
        }
    }

    /// The codes of its findings, the root cause first.
    pub fn codes(&self) -> Vec<&str> {
        let findings = self.diagnosis["findings"].as_array().into_iter().flatten();
        findings.filter_map(|finding| finding["code"].as_str()).collect()
    }

    /// Asserts that the fault was found, and that no secret was told.
    pub fn check(&self, host: &str, fault: &Fault) {
        if let (Err(why), None) = (fault.is_found(host, &self.diagnosis), &fault.open) {
            panic!("{why}\n{:#}", self.diagnosis);
        }
        for secret in SECRETS {
            assert!(!self.printed.contains(secret), "{secret} was told:\n{}", self.printed);
        }
    }

    /// Keeps the archive, where that is asked for.
    pub fn keep(&self, version: &str, name: &str, took: Duration) {
        if env::var_os("ROLLGATE_SAVE_ARCHIVES").is_none() {
            return;
        }
        let seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
        Kept {
            seconds,
            data_short: self.data_short.clone(),
            halt: self.halt,
            boot_before: None,
            archive: self.archive.clone(),
        }
        .write(version, name);
    }
}

/// The first object that has findings.
fn with_findings(value: &Value) -> Option<&Value> {
    match value {
        Value::Object(object) if object.contains_key("findings") => Some(value),
        Value::Object(object) => object.values().find_map(with_findings),
        Value::Array(array) => array.iter().find_map(with_findings),
        _ => None,
    }
}
