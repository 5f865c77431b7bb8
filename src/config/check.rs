//! Checks that inventory and playbook share, and the list they write mistakes into.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::duration::{self, DurationError};
use super::error::Mistake;
use super::yaml::{DurationText, Span, Spanned, shorten};

/// Longest name, in bytes: that of a host by the rules of DNS has 253, but names stand in tables.
const LONGEST_NAME: usize = 128;

/// Most mistakes that are kept: far above what is shown, so that those shown come in the order of
/// the text, and few enough to compare each with all.
const MOST_NOTED: usize = 1000;

/// The mistakes found so far, and what is needed to judge a value by itself.
pub(super) struct Checker {
    mistakes: Vec<Mistake>,
    /// To which relative paths refer.
    dir: PathBuf,
    /// What `~` stands for, if known.
    home: Option<PathBuf>,
}

impl Checker {
    /// For a file at `path`.
    pub fn new(path: &Path, home: Option<PathBuf>) -> Self {
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        Self { mistakes: Vec::new(), dir, home }
    }

    /// Notes a mistake, unless the same one is noted: many hosts share one default.
    pub fn note(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MOST_NOTED && !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// All that was noted.
    pub fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }

    /// A name of `what` (letters, digits, `.`, `_`, `-`); notes what is wrong with it.
    pub fn name(&mut self, what: &str, name: &str, span: Span) -> bool {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let problem = if name.is_empty() {
            format!("the name of a {what} can't be empty")
        } else if name.len() > LONGEST_NAME {
            format!("the name of a {what} is longer than {LONGEST_NAME} characters")
        } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(allowed) {
            format!("`{}` can't be the name of a {what}", shorten(name))
        } else {
            return true;
        };
        self.note(
            Mistake::at(span, problem)
                .help("a name begins with a letter or digit; after it `.`, `_` and `-` are allowed too"),
        );
        false
    }

    /// A text that is not empty and has neither blanks nor control characters.
    pub fn word(&mut self, what: &str, text: &Spanned<String>) -> Option<String> {
        let problem = if text.value.is_empty() {
            format!("{what} can't be empty")
        } else if text.value.chars().any(|c| c.is_whitespace() || c.is_control()) {
            format!("{what} can't have blanks in it")
        } else if text.value.starts_with('-') {
            // It becomes an argument of a command.
            format!("{what} can't begin with `-`")
        } else if text.value.len() > 255 {
            format!("{what} is too long")
        } else {
            return Some(text.value.clone());
        };
        self.note(Mistake::at(text.span, problem));
        None
    }

    /// A path: `~/` is the home directory, a relative one is taken from the file's directory.
    pub fn path(&mut self, text: &Spanned<String>) -> Option<PathBuf> {
        let written = text.value.as_str();
        if written.is_empty() || written.contains('\0') {
            self.note(Mistake::at(text.span, "a path can't be empty"));
            return None;
        }
        if written.contains("-----BEGIN") {
            self.note(
                Mistake::at(text.span, "expected a path, found the content of a file")
                    .help("secrets are not written inline; name the file"),
            );
            return None;
        }
        let Some(rest) = written.strip_prefix('~') else {
            return Some(self.dir.join(written.strip_prefix("./").unwrap_or(written)));
        };
        match (&self.home, rest.strip_prefix('/')) {
            (Some(home), Some(rest)) => Some(home.join(rest)),
            (Some(home), None) if rest.is_empty() => Some(home.clone()),
            (None, _) => {
                self.note(
                    Mistake::at(text.span, "`~` is used, but the home directory is not known")
                        .help("set HOME, or write the whole path"),
                );
                None
            }
            (Some(_), None) => {
                self.note(
                    Mistake::at(text.span, "the home directory of someone else")
                        .help("only `~/` is expanded: write the whole path"),
                );
                None
            }
        }
    }

    /// A duration.
    pub fn duration(&mut self, text: &Spanned<DurationText>) -> Option<Duration> {
        let written = shorten(&text.value.0);
        let error = match duration::parse(&text.value.0) {
            Ok(duration) => return Some(duration),
            Err(error) => error,
        };
        let help = match &error {
            DurationError::NoUnit(number) => {
                format!("add the unit: `{0}s` for seconds, `{0}ms` for milliseconds", shorten(number))
            }
            DurationError::TooLong => "deadlines of a roll are minutes, seldom hours; a week is the most".to_owned(),
            _ => "write a number and its unit (d, h, m, s, ms): `30s`, `1m30s`, `50ms`".to_owned(),
        };
        let message = match error {
            DurationError::Empty => error.to_string(),
            _ => format!("`{written}` is not a duration: {}", reason(&error)),
        };
        self.note(Mistake::at(text.span, message).help(help));
        None
    }

    /// A duration that is above zero.
    pub fn positive(&mut self, text: &Spanned<DurationText>, help: &str) -> Option<Duration> {
        let duration = self.duration(text)?;
        if duration.is_zero() {
            self.note(Mistake::at(text.span, "this duration can't be zero").help(help));
            return None;
        }
        Some(duration)
    }

    /// A whole number of `what`, from 1 to `most`.
    pub fn count(&mut self, what: &str, number: &Spanned<i64>, most: u32) -> Option<u32> {
        let in_range = u32::try_from(number.value).ok().filter(|n| (1..=most).contains(n));
        if in_range.is_none() {
            let range = match most {
                u32::MAX => "it must be at least 1".to_owned(),
                _ => format!("1 to {most} are allowed"),
            };
            let message = format!("{what} {} is out of range: {range}", number.value);
            self.note(Mistake::at(number.span, message));
        }
        in_range
    }
}

fn reason(error: &DurationError) -> String {
    match error {
        DurationError::NoUnit(_) => "its unit is missing".to_owned(),
        DurationError::Negative => "it is negative".to_owned(),
        DurationError::UnknownUnit(unit) => format!("there is no unit `{}`", shorten(unit)),
        DurationError::TooLong => "it is longer than a week".to_owned(),
        DurationError::Empty | DurationError::Malformed => "it has another form".to_owned(),
    }
}
