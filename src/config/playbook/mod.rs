//! The playbook: what is done to each server, in which order, and how long each part may take.

mod configure;
mod hooks;
mod install;
mod order;
mod own_step;
mod parameters;
pub(crate) mod raw;
mod resolve;
mod template;
mod types;

use std::path::Path;

pub use parameters::{Given, Parameter, ParameterErrors, ParameterKind};
pub use types::{
    Canary, Drain, Gate, Hooks, OrderRule, Playbook, PlaybookSource, Policy, Reboot, Reload, Settle, Start, Step, Stop,
};

use super::check::Checker;
use super::error::{ConfigErrors, Mistake};
use super::yaml::Spanned;
use super::{source, suggest, yaml};

/// The playbooks that are part of the program, by name.
const EMBEDDED: [(&str, &str); 7] = [
    ("restart", include_str!("../../../playbooks/restart.yaml")),
    ("reload", include_str!("../../../playbooks/reload.yaml")),
    ("upgrade", include_str!("../../../playbooks/upgrade.yaml")),
    ("upgrade-by-command", include_str!("../../../playbooks/upgrade-by-command.yaml")),
    ("configure", include_str!("../../../playbooks/configure.yaml")),
    ("reboot", include_str!("../../../playbooks/reboot.yaml")),
    ("verify", include_str!("../../../playbooks/verify.yaml")),
];

/// Why a playbook can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaybookError {
    /// The file.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What was given for its parameters.
    #[error(transparent)]
    Parameters(#[from] ParameterErrors),
}

impl Playbook {
    /// Reads and checks a playbook: an embedded one by its name, else the file at that path.
    ///
    /// # Errors
    /// Every mistake found in the file, why it could not be read, or what is wrong with `given`.
    pub fn load(path: &Path, given: Given<'_>) -> Result<Self, PlaybookError> {
        let embedded = path.to_str().and_then(|name| Some((name, Self::embedded_text(name)?)));
        let (text, source) = match embedded {
            Some((name, text)) => (text.to_owned(), PlaybookSource::Embedded(name.to_owned())),
            None => {
                (source::read(path, "playbook").map_err(known_by_name(path))?, PlaybookSource::File(path.to_owned()))
            }
        };
        let (playbook, errors) = Self::parse_from(path, &text, source, given)?;
        if errors.is_empty() { Ok(playbook) } else { Err(ParameterErrors(errors).into()) }
    }

    /// Checks `text` as the playbook that stands at `path`. Reads no file, and misses no parameter.
    ///
    /// # Errors
    /// Every mistake found in the text.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigErrors> {
        let source = PlaybookSource::File(path.to_owned());
        Self::parse_from(path, text, source, Given::OnlyChecked).map(|(playbook, _)| playbook)
    }

    fn parse_from(
        path: &Path,
        text: &str,
        source: PlaybookSource,
        given: Given<'_>,
    ) -> Result<(Self, Vec<String>), ConfigErrors> {
        let mut parameters = parameters::Parameters::default();
        let (raw, mut mistakes) = yaml::read_edited::<Spanned<raw::RawPlaybook>>(text, |root, mistakes| {
            parameters = parameters::apply(root, given, mistakes);
        });
        // Nothing in a playbook is a path yet.
        let mut checker = Checker::new(path, None);
        let parts = raw.map(|raw| {
            parameters::check(&raw.value, &mut checker);
            resolve::resolve(&raw, &mut checker)
        });
        // A value that could not be filled in is mistaken once, not for its braces too.
        let told: Vec<_> = mistakes.iter().filter_map(|mistake| mistake.span).collect();
        mistakes
            .extend(checker.into_mistakes().into_iter().filter(|m| m.span.is_none_or(|span| !told.contains(&span))));
        match parts {
            Some(parts) if mistakes.is_empty() => {
                let playbook = Self {
                    name: parts.name,
                    description: parts.description,
                    parameters: parameters.declared,
                    policy: parts.policy,
                    turn: parts.turn,
                    hooks: parts.hooks,
                    source,
                    digest: source::digest(text),
                };
                Ok((playbook, parameters.errors))
            }
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
        Self::parse_from(Path::new(name), text, source, Given::OnlyChecked).ok().map(|(playbook, _)| playbook)
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

/// Where a name without a place is no file, it was to be that of an embedded playbook.
fn known_by_name(path: &Path) -> impl FnOnce(ConfigErrors) -> ConfigErrors {
    let name = path.to_str().filter(|name| !name.contains(['/', '.'])).map(str::to_owned);
    move |errors| match (name, errors.is_missing()) {
        (Some(name), true) => {
            let mistake = Mistake::anywhere(format!("there is no playbook `{name}`, built in or as a file here"));
            let hint = suggest::hint(&name, Playbook::embedded_names());
            ConfigErrors::unreadable(errors.path(), mistake.help(hint), None)
        }
        _ => errors,
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
    fn a_name_that_nobody_knows_is_no_file_that_is_missing() {
        let said = |name: &str| Playbook::load(Path::new(name), Given::OnlyChecked).unwrap_err().to_string();
        assert!(
            said("upgrad").contains("there is no playbook `upgrad`")
                && said("upgrad").contains("did you mean `upgrade`?")
        );
        assert!(said("./upgrad").contains("there is no such file"));
        assert!(said("upgrad.yaml").contains("there is no such file"));
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
