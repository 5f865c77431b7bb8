//! The tree: what YAML says, and where.

use std::ops::Range;

/// A stretch of the text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte; equals `start` for a value that isn't there.
    pub end: usize,
}

impl Span {
    /// As the rest of Rust writes it.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// Whether nothing stands there.
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Number of this value in its tree; copies made by aliases have numbers of their own.
    pub id: usize,
    /// Where it stands; for the copy that an alias makes, where the alias stands.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// A single value.
    Scalar {
        /// Without quotes, escapes resolved.
        text: String,
        /// Written without quotes, so that `1` is a number and `~` is nothing.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the text; keys are unique.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

/// What a single value means, by the rules of YAML 1.2 (so that `no` and `on` are text).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// Nothing: absent, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(&'a str),
    /// A whole number; `None` when it is beyond 64 bits.
    Whole(Option<i64>, &'a str),
    /// Another number.
    Real(&'a str),
    /// Text.
    Text(&'a str),
}

/// What the single value `text` means.
pub(crate) fn meaning(text: &str, plain: bool) -> Meaning<'_> {
    if !plain {
        return Meaning::Text(text);
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Meaning::Bool(text),
        ".nan" | ".NaN" | ".NAN" => return Meaning::Real(text),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let radix = |prefix: &str, radix: u32| {
        let digits = text.strip_prefix(prefix)?;
        let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        valid.then(|| i64::from_str_radix(digits, radix).ok())
    };
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Meaning::Whole(number, text);
    }
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Meaning::Whole(text.parse().ok(), text);
    }
    let looks_real = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    if matches!(digits, ".inf" | ".Inf" | ".INF") || (looks_real && digits.parse::<f64>().is_ok()) {
        return Meaning::Real(text);
    }
    Meaning::Text(text)
}

impl Node {
    /// Whether there is no value.
    pub fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar { text, plain } => meaning(text, *plain) == Meaning::Null,
            Kind::List(_) | Kind::Map(_) => false,
        }
    }

    /// What stands there, in words for a message: ``the number `30` ``.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
            Kind::Scalar { text, plain } => match meaning(text, *plain) {
                Meaning::Null => "nothing".to_owned(),
                Meaning::Bool(text) => format!("the truth value `{text}`"),
                Meaning::Whole(_, text) | Meaning::Real(text) => {
                    format!("the number `{}`", shorten(text))
                }
                Meaning::Text("") => "an empty text".to_owned(),
                Meaning::Text(text) => format!("the text `{}`", shorten(text)),
            },
        }
    }
}

/// Longest piece of the operator's text that a message repeats, in characters: with some words
/// around it a line of 80 columns holds it.
const LONGEST_QUOTE: usize = 40;

/// `text`, cut to what fits into a message, without control characters.
pub(crate) fn shorten(text: &str) -> String {
    let cut: String = text.chars().take(LONGEST_QUOTE).collect();
    let is_whole = cut.len() == text.len();
    printable(&cut) + if is_whole { "" } else { "…" }
}

/// `text` without control characters: what a file contains must not be able to drive the reader's
/// terminal, nor to turn the direction of writing.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_mean_what_yaml_1_2_says() {
        let check = |text: &str, expected: Meaning<'_>| {
            assert_eq!(meaning(text, true), expected, "{text}");
        };
        check("", Meaning::Null);
        check("~", Meaning::Null);
        check("true", Meaning::Bool("true"));
        check("no", Meaning::Text("no"));
        check("30", Meaning::Whole(Some(30), "30"));
        check("-1", Meaning::Whole(Some(-1), "-1"));
        check("0x1f", Meaning::Whole(Some(31), "0x1f"));
        check("99999999999999999999", Meaning::Whole(None, "99999999999999999999"));
        check("1.5", Meaning::Real("1.5"));
        check("1e3", Meaning::Real("1e3"));
        check(".inf", Meaning::Real(".inf"));
        check("10.0.0.1", Meaning::Text("10.0.0.1"));
        check("30s", Meaning::Text("30s"));
        check("-", Meaning::Text("-"));
        check(".", Meaning::Text("."));
        check("1-2", Meaning::Text("1-2"));
    }

    #[test]
    fn quotes_make_text() {
        assert_eq!(meaning("30", false), Meaning::Text("30"));
        assert_eq!(meaning("", false), Meaning::Text(""));
    }

    #[test]
    fn quoted_pieces_are_short_and_harmless() {
        assert_eq!(shorten("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(shorten(&"x".repeat(50)), format!("{}…", "x".repeat(40)));
    }
}
