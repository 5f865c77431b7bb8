//! The operator's own steps: a command, a check over HTTP, a pause. They may stand anywhere in a turn; what they do to a
//! server is for the gate to judge.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::millis;

/// What a step may know of the turn that it is part of. In a playbook: `{{ host }}`; for a command also a variable of its
/// environment: `ROLLGATE_HOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// The host's name in the inventory.
    Host,
    /// The server's name.
    Server,
    /// The cluster's name in the inventory.
    Cluster,
    /// The run's id.
    Run,
    /// The server's version as last seen; empty where it was not.
    Version,
    /// The base of the server's monitoring URLs.
    Monitoring,
    /// Why the roll halts, in one line.
    Cause,
}

impl Fact {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Host, Self::Server, Self::Cluster, Self::Run, Self::Version, Self::Monitoring, Self::Cause];

    /// The name in a playbook.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Server => "server",
            Self::Cluster => "cluster",
            Self::Run => "run",
            Self::Version => "version",
            Self::Monitoring => "monitoring",
            Self::Cause => "cause",
        }
    }
}

/// When steps are done that belong to no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Before the first turn.
    Before,
    /// After the last.
    After,
    /// When the roll halts.
    OnHalt,
}

impl When {
    /// In words, after "the step `x`".
    pub fn words(self) -> &'static str {
        match self {
            Self::Before => "before the roll",
            Self::After => "after the roll",
            Self::OnHalt => "on halt",
        }
    }
}

/// The facts of one turn.
pub type Facts = BTreeMap<Fact, String>;

/// The environment that a command gets: `ROLLGATE_HOST=n2` and so on.
pub fn environment(facts: &Facts) -> impl Iterator<Item = (String, String)> {
    facts.iter().map(|(fact, value)| (format!("ROLLGATE_{}", fact.name().to_uppercase()), value.clone()))
}

/// A text with facts in it, as `http://{{ host }}:8222/`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template(String);

impl Template {
    /// From a text in which every `{{ name }}` is that of a [`Fact`].
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.0
    }

    /// The facts that it names.
    pub fn facts(&self) -> Vec<Fact> {
        let mut rest = self.0.as_str();
        let mut found = Vec::new();
        while let Some((_, fact, after)) = next_fact(rest) {
            found.push(fact);
            rest = after;
        }
        found
    }

    /// The text with the facts in their places. A value is never looked into for another name.
    pub fn render(&self, facts: &Facts) -> String {
        let mut rest = self.0.as_str();
        let mut out = String::with_capacity(rest.len());
        while let Some((before, found, after)) = next_fact(rest) {
            out.push_str(before);
            out.push_str(facts.get(&found).map_or("", String::as_str));
            rest = after;
        }
        out + rest
    }
}

/// The first `{{ fact }}` of a text, and what is before and after it.
pub fn next_fact(text: &str) -> Option<(&str, Fact, &str)> {
    text.match_indices("{{").find_map(|(at, _)| {
        let (name, after) = text[at + 2..].split_once("}}")?;
        let fact = Fact::ALL.into_iter().find(|fact| fact.name() == name.trim())?;
        Some((&text[..at], fact, after))
    })
}

/// Where something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", rename = "place")]
pub enum Place {
    /// On the server's host.
    #[default]
    Host,
    /// Where rollgate runs.
    Controller,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", rename = "on_failure")]
pub enum OnFailure {
    /// The roll halts.
    #[default]
    Halt,
    /// It goes on, and says so.
    Warn,
}

/// A command of the operator's. Success is exit status 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The step's name: unique in its playbook.
    pub name: String,
    /// The program and its arguments. There is no shell but the one that they name.
    pub command: Vec<Template>,
    /// Where it runs.
    pub on: Place,
    /// On the host: with the privileges that the inventory's `become` gives.
    #[serde(rename = "become")]
    pub privileged: bool,
    /// Variables of its environment besides the facts.
    pub environment: BTreeMap<String, Template>,
    /// It is ended when it takes longer.
    #[serde(rename = "timeout_ms", with = "millis")]
    pub timeout: Duration,
    /// What follows from a failure.
    pub on_failure: OnFailure,
}

/// A small file: that it is there with this content, or that it is not there. Done again it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The step's name: unique in its playbook.
    pub name: String,
    /// Where; absolute.
    pub path: Template,
    /// What is in it; none where it must not be there.
    pub content: Option<Template>,
    /// Its permission bits, in octal.
    pub mode: String,
    /// `user` or `user:group`; whoever writes it, where none is given.
    pub owner: Option<String>,
    /// Where it is put.
    pub on: Place,
    /// On the host: with the privileges that the inventory's `become` gives.
    #[serde(rename = "become")]
    pub privileged: bool,
    /// What follows from a failure.
    pub on_failure: OnFailure,
}

/// How long a file may take to be put in its place: a disk that takes longer is broken.
pub const FILE_TIMEOUT: Duration = Duration::from_secs(30);

/// A longer content is not taken, in bytes: it goes to the host as an argument, of which Linux takes 128 KiB.
pub const CONTENT_MAX: usize = 16 * 1024;

/// A GET whose answer is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// The step's name: unique in its playbook.
    pub name: String,
    /// What is asked for.
    pub url: Template,
    /// From where.
    pub on: Place,
    /// The status that is wanted.
    pub status: u16,
    /// What the body must contain.
    pub contains: Option<Template>,
    /// One request.
    #[serde(rename = "timeout_ms", with = "millis")]
    pub timeout: Duration,
    /// It is asked again until it is right, for this long.
    #[serde(rename = "within_ms", with = "millis")]
    pub within: Duration,
    /// What follows from a failure.
    pub on_failure: OnFailure,
}

/// A wait in a turn: for a time, or for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The step's name: unique in its playbook.
    pub name: String,
    /// How long, or what is asked.
    #[serde(flatten)]
    pub until: Until,
}

/// What ends a pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// Time.
    #[serde(rename = "for_ms", with = "millis")]
    Over(Duration),
    /// The operator's answer to this question.
    Approved(Template),
}

/// More of what a command printed than this is not kept: its end, in bytes. A journal is no log store.
pub const OUTPUT_KEPT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let facts = BTreeMap::from([(Fact::Host, "{{ server }}".to_owned()), (Fact::Server, "s1".to_owned())]);
        assert_eq!(Template::new(text).render(&facts), expected);
    }

    #[test]
    fn facts_take_their_places() {
        check("a {{ server }}{{server}} b", "a s1s1 b");
        check("{{ host }}", "{{ server }}");
        check("{{ other }} {{ server }}", "{{ other }} s1");
        check("{{ version }}.", ".");
        check("{{ server", "{{ server");
    }

    #[test]
    fn the_environment_has_every_fact() {
        let facts = BTreeMap::from([(Fact::Host, "n2".to_owned())]);
        assert_eq!(environment(&facts).collect::<Vec<_>>(), [("ROLLGATE_HOST".to_owned(), "n2".to_owned())]);
    }
}
