//! The playbook: what is done to each server, in which order, and how long each part may take.

mod order;
pub(crate) mod raw;
mod resolve;
mod types;

use std::path::Path;

pub use types::{Drain, Gate, OrderRule, Playbook, PlaybookSource, Policy, Settle, Start, Step, Stop};

use super::check::Checker;
use super::error::ConfigErrors;
use super::yaml::Spanned;
use super::{source, yaml};

/// The playbooks that are part of the program, by name.
const EMBEDDED: [(&str, &str); 1] = [("restart", include_str!("../../../playbooks/restart.yaml"))];

impl Playbook {
    /// Reads and checks the playbook file at `path`.
    ///
    /// # Errors
    /// Every mistake found in the file, or why it could not be read.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::parse(path, &source::read(path, "playbook")?)
    }

    /// Checks `text` as the playbook that stands at `path`. Reads no file.
    ///
    /// # Errors
    /// Every mistake found in the text.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigErrors> {
        Self::parse_from(path, text, PlaybookSource::File(path.to_owned()))
    }

    fn parse_from(path: &Path, text: &str, source: PlaybookSource) -> Result<Self, ConfigErrors> {
        let (raw, mut mistakes) = yaml::read::<Spanned<raw::RawPlaybook>>(text);
        // Nothing in a playbook is a path yet.
        let mut checker = Checker::new(path, None);
        let parts = raw.map(|raw| resolve::resolve(&raw, &mut checker));
        mistakes.extend(checker.into_mistakes());
        match parts {
            Some(parts) if mistakes.is_empty() => Ok(Self {
                name: parts.name,
                description: parts.description,
                policy: parts.policy,
                turn: parts.turn,
                source,
                digest: source::digest(text),
            }),
            _ => Err(ConfigErrors::new(path, text, mistakes)),
        }
    }

    /// The embedded playbook that `rollgate restart` follows.
    ///
    /// # Panics
    /// Never: see the comment inside.
    #[must_use]
    pub fn restart() -> Self {
        // Proof: the text is a constant of the program, and the test `embedded_playbooks_parse`
        // reads every one of them by its name.
        Self::embedded("restart").expect("the embedded playbook is valid")
    }

    /// The embedded playbook of this name.
    #[must_use]
    pub fn embedded(name: &str) -> Option<Self> {
        let text = Self::embedded_text(name)?;
        let source = PlaybookSource::Embedded(name.to_owned());
        Self::parse_from(Path::new(name), text, source).ok()
    }

    /// The text of the embedded playbook of this name, comments and all: a start for one's own.
    #[must_use]
    pub fn embedded_text(name: &str) -> Option<&'static str> {
        EMBEDDED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// Names of the embedded playbooks.
    pub fn embedded_names() -> impl Iterator<Item = &'static str> {
        EMBEDDED.iter().map(|(name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_playbooks_parse() {
        for (name, text) in EMBEDDED {
            let path = Path::new(name);
            let parsed = Playbook::parse(path, text).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(parsed.name, name);
            assert!(!parsed.description.is_empty());
            assert!(Playbook::embedded(name).is_some());
        }
        assert_eq!(Playbook::restart().source.to_string(), "restart (built in)");
        assert!(Playbook::embedded("nope").is_none());
    }

    #[test]
    fn restart_says_what_is_the_default() {
        // The file shows every key with the value that holds without it.
        let bare = "name: restart\nturn: [drain, stop, start, gate, settle]\n";
        let bare = Playbook::parse(Path::new("p.yaml"), bare).unwrap();
        let shown = Playbook::restart();
        assert_eq!((bare.policy, bare.turn), (shown.policy, shown.turn));
    }
}
