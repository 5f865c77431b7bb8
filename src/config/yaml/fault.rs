//! What a walk over the tree stumbled on, kept as data until it is put into words.

use std::fmt;

use serde::de;

use super::node::{Span, printable, shorten};
use crate::config::error::Mistake;
use crate::config::secrets;
use crate::config::suggest;

/// A mistake found by a walk, and which value to leave out so that the next walk gets past it.
#[derive(Debug)]
pub(super) struct Fault {
    problem: Box<Problem>,
    /// Where, once known; the innermost place wins, as it is stamped first.
    pub span: Option<Span>,
    /// Number of the value to leave out.
    pub prune: Option<usize>,
}

/// What is wrong.
#[derive(Debug)]
pub(super) enum Problem {
    /// A key that no field has.
    UnknownKey { key: String, known: &'static [&'static str], within: Option<&'static str> },
    /// A word that is none of those allowed.
    UnknownWord { word: String, known: &'static [&'static str], within: Option<&'static str> },
    /// A value of the wrong type.
    WrongType { expected: String, found: String, help: Option<String> },
    /// Anything else, in words.
    Other(String),
}

impl Fault {
    pub fn new(problem: Problem) -> Self {
        Self { problem: Box::new(problem), span: None, prune: None }
    }

    /// Notes where it is, and what to leave out, unless an inner place has been noted.
    pub fn stamp(mut self, span: Span, prune: usize) -> Self {
        self.span.get_or_insert(span);
        self.prune.get_or_insert(prune);
        self
    }

    /// Notes where it is, unless an inner place has been noted; what to leave out is for the
    /// value around it to say.
    pub fn place(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        self
    }

    /// Notes in what the unknown key or word stands.
    pub fn within(mut self, name: &'static str) -> Self {
        match self.problem.as_mut() {
            Problem::UnknownKey { within, .. } | Problem::UnknownWord { within, .. } => {
                within.get_or_insert(name);
            }
            Problem::WrongType { .. } | Problem::Other(_) => {}
        }
        self
    }

    /// In words.
    pub fn explain(self) -> Mistake {
        let at = self.span.unwrap_or_default();
        match *self.problem {
            Problem::UnknownKey { key, known, within } => unknown_key(at, &key, known, within),
            Problem::UnknownWord { word, known, within } => {
                let what = within.unwrap_or("word");
                Mistake::at(at, format!("unknown {what} `{}`", shorten(&word)))
                    .help(suggest::hint(&word, known.iter().copied()))
            }
            Problem::WrongType { expected, found, help } => {
                let mistake = Mistake::at(at, format!("expected {expected}, found {found}"));
                help.into_iter().fold(mistake, Mistake::help)
            }
            Problem::Other(message) => Mistake::at(at, printable(&message)),
        }
    }
}

fn unknown_key(at: Span, key: &str, known: &[&str], within: Option<&str>) -> Mistake {
    let place = within.map(|name| format!(" in {name}")).unwrap_or_default();
    let mistake = Mistake::at(at, format!("unknown key `{}`{place}", shorten(key)));
    if secrets::is_secret(key) {
        return mistake
            .label("no secrets here")
            .help("secrets are not written inline; name a file that holds them")
            .help(format!("known keys: {}", suggest::list(known.iter().copied())));
    }
    if key == "<<" {
        return mistake.help("merge keys are not used here; common settings go under `defaults`");
    }
    match suggest::nearest(key, known.iter().copied()) {
        Some(near) => mistake.help(format!("did you mean `{near}`?")),
        None => mistake.help(format!("known keys: {}", suggest::list(known.iter().copied()))),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.problem)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Other(message.to_string()))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey { key: key.to_owned(), known, within: None })
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownWord { word: word.to_owned(), known, within: None })
    }
}
