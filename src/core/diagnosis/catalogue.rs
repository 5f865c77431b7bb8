//! The catalogue: one page for each code that a finding can have. `explain`, the README's list and the tests are made
//! from it; the rules can't use a code that is not in it.

use super::{
    finding::Severity,
    rules::{config, health, host, paths, ports, process, resolver, routes, store, tls},
};

/// When a cause bites: the order in which a host and a server come up. What bites earlier explains what comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Rank {
    /// The host itself.
    #[default]
    Host,
    /// The unit that starts the server.
    Unit,
    /// The program.
    Binary,
    /// Its configuration, and the files that are read with it.
    Configuration,
    /// Log, pid and store directories.
    Directory,
    /// Accounts, which are resolved before JetStream starts.
    Resolver,
    /// JetStream's files.
    Store,
    /// Listeners: the monitoring port is opened first, the client port last.
    Port,
    /// Who the server is among its peers, and whether it reaches them.
    Route,
    /// The meta group.
    Meta,
    /// Single streams and consumers.
    Asset,
    /// What the process did, where nothing says why.
    Process,
    /// What the server answers, where nothing says why.
    Health,
}

/// What is known of one code.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The code: stable, kebab-case.
    pub code: &'static str,
    /// What an operator consents to who restarts the server in spite of it: `preflight:CODE`.
    pub consent: &'static str,
    /// In a few words, without names.
    pub title: &'static str,
    /// How much it usually matters.
    pub severity: Severity,
    /// When it bites.
    pub rank: Rank,
    /// Why, and where the documentation differs from what servers do.
    pub why: &'static str,
    /// What it is concluded from.
    pub proof: &'static str,
    /// What to do, in general words.
    pub remedy: &'static str,
    /// Codes that this is a mere consequence of where both are found; `*` is every blocking one.
    pub follows: &'static [&'static str],
}

impl Page {
    /// Whether a finding of this page is no cause of its own where `cause` was found.
    pub(super) fn follows(&self, cause: &Page) -> bool {
        self.follows.contains(&cause.code) || (self.follows.contains(&"*") && !cause.follows.contains(&"*"))
    }
}

/// Declares pages as statics, and the list of them.
macro_rules! pages {
    ($($name:ident = $code:literal $severity:ident $rank:ident $title:literal
        why $why:literal proof $proof:literal remedy $remedy:literal $(follows [$($follows:literal),+])?;)+) => {
        $(
            pub(super) static $name: $crate::core::diagnosis::catalogue::Page =
                $crate::core::diagnosis::catalogue::Page {
                    code: $code,
                    consent: concat!("preflight:", $code),
                    title: $title,
                    severity: $crate::core::diagnosis::finding::Severity::$severity,
                    rank: $crate::core::diagnosis::catalogue::Rank::$rank,
                    why: $why,
                    proof: $proof,
                    remedy: $remedy,
                    follows: &[$($($follows),+)?],
                };
        )+
        /// The pages of this subject.
        pub(in crate::core::diagnosis) static PAGES: &[&$crate::core::diagnosis::catalogue::Page] = &[$(&$name),+];
    };
}
pub(super) use pages;

/// The subjects with their pages.
pub fn subjects() -> [(&'static str, &'static [&'static Page]); 10] {
    [
        ("host", host::PAGES),
        ("process", process::PAGES),
        ("configuration", config::PAGES),
        ("ports", ports::PAGES),
        ("TLS", tls::PAGES),
        ("directories", paths::PAGES),
        ("store", store::PAGES),
        ("accounts", resolver::PAGES),
        ("routes", routes::PAGES),
        ("healthz", health::PAGES),
    ]
}

/// The page of a code.
pub fn page(code: &str) -> Option<&'static Page> {
    subjects().into_iter().flat_map(|(_, pages)| pages).find(|page| page.code == code).copied()
}
