//! Mistakes in a file, and the file's mistakes together.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::render;
use super::yaml::Span;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, in one line.
    pub(crate) message: String,
    /// Where, unless it is a matter of the whole file.
    pub(crate) span: Option<Span>,
    /// What to write under the place.
    pub(crate) label: Option<String>,
    /// Other places that matter, and what to write under them.
    pub(crate) related: Vec<(Span, String)>,
    /// What to do.
    pub(crate) help: Vec<String>,
}

impl Mistake {
    pub(crate) fn at(span: Span, message: impl Into<String>) -> Self {
        Self { span: Some(span), ..Self::anywhere(message) }
    }

    pub(crate) fn anywhere(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, label: None, related: Vec::new(), help: Vec::new() }
    }

    pub(crate) fn with_span(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Most mistakes of one file that are reported: whoever has more will read again.
pub(crate) const MOST_SHOWN: usize = 50;

/// All mistakes of one file (the first 50, if there are more); never none.
#[derive(Debug)]
pub struct ConfigErrors {
    path: PathBuf,
    text: String,
    mistakes: Vec<Mistake>,
    /// How many mistakes there are beyond those.
    more: usize,
    cause: Option<io::Error>,
}

impl ConfigErrors {
    /// The mistakes of `text`, which stands at `path`; in the order of the text, each once.
    pub(crate) fn new(path: &Path, text: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.span.map(|span| (span.start, span.end)));
        // Many hosts share one mistaken default.
        mistakes.dedup();
        let more = mistakes.len().saturating_sub(MOST_SHOWN);
        mistakes.truncate(MOST_SHOWN);
        Self { path: path.to_owned(), text: text.to_owned(), mistakes, more, cause: None }
    }

    /// A file that can't be read at all.
    pub(crate) fn unreadable(path: &Path, mistake: Mistake, cause: Option<io::Error>) -> Self {
        Self { path: path.to_owned(), text: String::new(), mistakes: vec![mistake], more: 0, cause }
    }

    /// The file, as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is no such file.
    pub(crate) fn is_missing(&self) -> bool {
        self.cause.as_ref().is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound)
    }

    /// The mistakes, in the order of the text.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// Line and column of a mistake, both from 1, the column in characters; `None` for a mistake
    /// of the whole file.
    #[must_use]
    pub fn position(&self, mistake: &Mistake) -> Option<(usize, usize)> {
        let before = self.text.get(..mistake.span?.start)?;
        let line = before.rfind('\n').map_or(0, |at| at + 1);
        Some((before.matches('\n').count() + 1, before[line..].chars().count() + 1))
    }

    /// All mistakes in the style of rustc: message, place, the line with the place
    /// underlined, and what to do. With ANSI colours if `color`. Secrets are masked.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        render::render(&self.path, &self.text, &self.mistakes, self.more, color)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}
