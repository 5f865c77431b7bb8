//! A finding: one coded conclusion with its proof and its remedy; and a diagnosis: all of them, ranked.

use serde::{Deserialize, Serialize};

use super::catalogue::{Page, Rank};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The server can't start, or can't become ready, until it is mended.
    Blocking,
    /// It serves, and something is wrong that will hurt later or hurts some.
    Warning,
    /// Worth knowing.
    Notice,
}

impl Severity {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// The server, or the host's kernel, said so itself; or it was tried.
    Certain,
    /// Everything that was seen fits, and nothing else does.
    Likely,
    /// It fits, and other causes would too.
    Possible,
}

impl Confidence {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Possible => "possible",
        }
    }
}

/// A piece of evidence, word for word, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// A file and line, a journal's time, a command.
    pub source: String,
    /// What stood there.
    pub text: String,
}

/// What to do about a finding. rollgate never runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// In words.
    pub text: String,
    /// Commands for the host, with the real names, paths and numbers in them.
    pub commands: Vec<String>,
}

/// One coded conclusion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The stable code, as `rollgate explain` knows it.
    pub code: String,
    /// What is wrong, with names and numbers.
    pub title: String,
    /// How much it matters.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// The proof.
    pub quotes: Vec<Quote>,
    /// Why this makes the server what it is, and where the documentation says otherwise.
    pub explanation: String,
    /// What to do.
    pub remedy: Remedy,
    /// Whether the server has to be started or restarted once the cause is gone.
    pub restart_helps: bool,
    /// Whether a reload is enough once the cause is gone: no restart is needed.
    pub reload_enough: bool,
    /// What follows from it, and will go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consequences: Vec<Finding>,
    /// Its place among the causes.
    #[serde(skip, default)]
    pub(super) rank: Rank,
    /// The server died with these words on its lips.
    #[serde(skip, default)]
    pub(super) fatal: bool,
}

impl Finding {
    /// A finding of `page`'s code: certain, with the page's severity and explanation.
    pub(super) fn of(page: &'static Page, title: impl Into<String>) -> Self {
        Self {
            code: page.code.into(),
            title: title.into(),
            severity: page.severity,
            confidence: Confidence::Certain,
            quotes: Vec::new(),
            explanation: page.why.into(),
            remedy: Remedy { text: page.remedy.into(), commands: Vec::new() },
            restart_helps: page.severity == Severity::Blocking,
            reload_enough: false,
            consequences: Vec::new(),
            rank: page.rank,
            fatal: false,
        }
    }

    pub(super) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self.restart_helps = self.restart_helps && severity == Severity::Blocking;
        self
    }

    pub(super) fn likely(mut self) -> Self {
        self.confidence = Confidence::Likely;
        self
    }

    pub(super) fn possible(mut self) -> Self {
        self.confidence = Confidence::Possible;
        self
    }

    pub(super) fn quote(mut self, source: impl Into<String>, text: impl Into<String>) -> Self {
        let quote = Quote { source: source.into(), text: text.into() };
        if !self.quotes.contains(&quote) {
            self.quotes.push(quote);
        }
        self
    }

    /// The words that the server died with.
    pub(super) fn fatal(mut self, source: impl Into<String>, text: impl Into<String>) -> Self {
        self.fatal = true;
        self = self.quote(source, text);
        // The best proof is read first.
        if let Some(last) = self.quotes.pop() {
            self.quotes.insert(0, last);
        }
        self
    }

    pub(super) fn explain(mut self, more: impl AsRef<str>) -> Self {
        self.explanation = format!("{} {}", self.explanation, more.as_ref()).trim().to_owned();
        self
    }

    /// What to do, in place of the page's general words.
    pub(super) fn remedy(mut self, text: impl Into<String>) -> Self {
        self.remedy.text = text.into();
        self
    }

    pub(super) fn run(mut self, command: impl Into<String>) -> Self {
        self.remedy.commands.push(command.into());
        self
    }

    /// The cause can go without a restart.
    pub(super) fn reload(mut self) -> Self {
        self.reload_enough = true;
        self.restart_helps = false;
        self
    }

    /// No restart is of any use: the server picks it up by itself.
    pub(super) fn heals_itself(mut self) -> Self {
        self.restart_helps = false;
        self
    }
}

/// All that was concluded about one server, ranked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The causes: the first is the root cause, those that follow from another stand under it.
    pub findings: Vec<Finding>,
    /// What was seen where no cause was identified: never a guess.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unidentified: Vec<Quote>,
    /// Why nothing can be said at all: nothing was gathered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// What could not be gathered, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<String>,
}

impl Diagnosis {
    /// Why the server is not ready, or would not become so; none where it was not identified.
    pub fn root(&self) -> Option<&Finding> {
        self.findings.first().filter(|finding| finding.severity == Severity::Blocking)
    }

    /// The root cause, where it is certain and no waiting mends it. `handshakes`: what is waited for needs TLS
    /// handshakes, which a server with a bad certificate otherwise does without.
    pub fn hopeless(&self, handshakes: bool) -> Option<&Finding> {
        let root = self.root().filter(|root| root.confidence == Confidence::Certain)?;
        let code = root.code.as_str();
        (root.fatal || HOPELESS.contains(&code) || handshakes && HOPELESS_HANDSHAKES.contains(&code)).then_some(root)
    }

    /// Whether a finding blocks.
    pub fn blocks(&self) -> bool {
        self.root().is_some()
    }

    /// The findings that block, without what follows from them.
    pub fn blocking(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Blocking)
    }
}

/// Causes that stay, though the server lives: each was seen to wait for ever (or the server says so itself).
const HOPELESS: &[&str] = &[
    "cluster-name-mismatch",
    "route-authorization",
    "route-tls",
    "route-tls-one-sided",
    "system-account-differs",
    "duplicate-server-name",
    "peer-removed",
    "jetstream-disabled",
    "jetstream-not-configured",
    "store-recovery-stuck",
    "stream-unrecovered",
    "stream-write-error",
    "consumer-state-corrupt",
    "store-directory-unreadable",
    "store-not-mounted",
    "store-empty",
    "too-few-files",
    "process-frozen",
    "start-limit-hit",
    "sudo-lost",
];

/// Causes that only a handshake meets.
const HOPELESS_HANDSHAKES: &[&str] =
    &["tls-expired", "tls-not-yet-valid", "tls-chain-incomplete", "tls-ca-wrong", "tls-name-mismatch"];
