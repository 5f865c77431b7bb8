//! The parser's complaints in our own words.

use serde_saphyr::granit_parser::{ErrorKind as E, ScanError};

use super::node::Span;
use super::parse::floor_boundary;
use crate::config::error::Mistake;

/// What `error` means to someone who doesn't know how YAML is parsed, and what to do.
pub(super) fn explain(text: &str, error: &ScanError) -> Mistake {
    let offset = floor_boundary(text, error.marker().byte_offset().unwrap_or(text.len()));
    if let Some(tab) = tab_in_indentation(text, offset) {
        return Mistake::at(tab, "a tab in the indentation")
            .label("tab")
            .help("YAML does not allow tabs for indentation; use spaces");
    }
    if let Some(bracket) = open_bracket(text, offset).filter(|_| is_lost(error.kind())) {
        let open = &text[bracket.range()];
        return Mistake::at(bracket, format!("`{open}` is never closed"))
            .help("close it; text that begins with a bracket needs quotes");
    }
    let at = place(text, offset);
    if text[..at.start].ends_with(['}', ']']) {
        return Mistake::at(at, "text after a closing bracket")
            .help("text that begins with a bracket needs quotes: \"{address}:8222\"");
    }
    let line = text[at.start..].lines().next().unwrap_or_default();
    let is_key = line.contains(": ") || line.trim_end().ends_with(':');
    if matches!(error.kind(), E::ExpectedBlockSequenceEntry) && is_key && !line.starts_with('-') {
        return Mistake::at(at, "wrong indentation: no map above has keys in this column").help(ALIGN);
    }
    let (message, help) = words(error.kind());
    Mistake::at(at, message).help(help)
}

/// The character at `offset`; at the end of a line or of the text, the last one that is there.
fn place(text: &str, offset: usize) -> Span {
    let is_end = text[offset..].chars().next().is_none_or(|c| matches!(c, '\n' | '\r'));
    let start = if is_end {
        let line = text[..offset].trim_end();
        // Its last character, if it has any.
        line.char_indices().next_back().map_or(0, |(at, _)| at)
    } else {
        offset
    };
    let len = text[start..].chars().next().map_or(0, char::len_utf8);
    Span { start, end: start + len }
}

/// The first tab that stands before any other character on its line, up to the line below that of
/// `offset`. The parser sometimes takes such a tab for a space and stumbles over what follows, or
/// complains at the end of the text before it.
fn tab_in_indentation(text: &str, offset: usize) -> Option<Span> {
    let end = text[offset..].match_indices('\n').nth(1).map_or(text.len(), |(at, _)| offset + at);
    let mut start = 0;
    for line in text[..end].split_inclusive('\n') {
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        let is_blank = line.trim().is_empty() || line.trim_start().starts_with('#');
        if let Some(at) = line[..indentation].find('\t').filter(|_| !is_blank) {
            return Some(Span { start: start + at, end: start + at + 1 });
        }
        start += line.len();
    }
    None
}

/// Whether this complaint may come from a bracket that was left open lines above.
fn is_lost(kind: &E) -> bool {
    matches!(
        kind,
        E::MappingValueNotAllowed
            | E::InvalidColonPlacement
            | E::InvalidMappingValueWhitespace
            | E::ExpectedFlowSequenceSeparator
            | E::ExpectedFlowMappingSeparator
            | E::UnexpectedEofFlowSequence
            | E::UnexpectedEofFlowMapping
            | E::BlockEntryInFlowCollection
            | E::InvalidFlowScalarIndent
    )
}

/// The innermost bracket that begins a value on a line above that of `offset` and is not closed
/// before it. Looks at characters only, as there is no tree; quotes and comments are skipped.
fn open_bracket(text: &str, offset: usize) -> Option<Span> {
    let end = text[..offset].rfind('\n')?;
    let mut open: Vec<usize> = Vec::new();
    let mut quote: Option<char> = None;
    let mut before = ' ';
    let mut is_comment = false;
    for (at, c) in text[..end].char_indices() {
        let begins = before.is_whitespace() || matches!(before, '[' | '{' | ',');
        match (c, quote) {
            ('\n', _) => is_comment = false,
            _ if is_comment || quote.is_some_and(|mark| mark != c) => {}
            (_, Some(_)) => quote = None,
            ('\'' | '"', None) if begins => quote = Some(c),
            ('#', None) if before.is_whitespace() => is_comment = true,
            ('[' | '{', None) if begins => open.push(at),
            (']' | '}', None) => {
                open.pop();
            }
            _ => {}
        }
        before = c;
    }
    open.last().map(|at| Span { start: *at, end: at + 1 })
}

const ALIGN: &str = "keys of one map begin in the same column; what belongs to a key is indented \
                     further by spaces";
const QUOTE: &str = "put the text in quotes: \"…\"";

#[allow(clippy::too_many_lines)] // A table.
fn words(kind: &E) -> (String, &'static str) {
    let (message, help) = match kind {
        E::TabNotAllowed
        | E::TabInBlockIndentation
        | E::TabInIndentation
        | E::TabAtBlockScalarStart
        | E::TabInPlainScalar => {
            ("a tab where YAML allows none", "use spaces: YAML does not allow tabs for indentation")
        }
        E::UnclosedQuotedScalar | E::DocumentIndicatorInQuotedScalar => (
            "a quote is opened here and never closed",
            "add the closing quote; a quote inside of '…' is doubled, one inside of \"…\" is \\\"",
        ),
        E::InvalidTrailingSingleQuotedScalar | E::InvalidTrailingDoubleQuotedScalar => (
            "text after the closing quote",
            "put all of the value in quotes; a quote inside of '…' is doubled, one inside of \
             \"…\" is \\\"",
        ),
        E::InvalidQuotedScalarIndent => {
            ("the quoted text goes on in a line that is not indented", "close the quote, or indent")
        }
        E::UnknownQuotedScalarEscape
        | E::InvalidQuotedScalarHexEscape
        | E::InvalidLowSurrogateHexEscape
        | E::InvalidLowSurrogate
        | E::MissingLowSurrogate
        | E::UnpairedLowSurrogate
        | E::InvalidUnicodeEscape => {
            ("an escape that YAML does not know", "in \"…\" a backslash is written \\\\; in '…' it stands for itself")
        }
        E::UnclosedFlowCollection { open } => {
            return (
                format!("`{open}` is never closed"),
                if *open == '[' { "add the missing `]`" } else { "add the missing `}`" },
            );
        }
        E::MismatchedFlowCollectionEnd { open, close } => {
            return (format!("`{open}` is closed by `{close}`"), "close what was opened");
        }
        E::UnexpectedEofFlowSequence | E::ExpectedFlowSequenceSeparator => {
            ("a list in brackets goes wrong here", "separate entries with `,` and end with `]`")
        }
        E::UnexpectedEofFlowMapping | E::UnexpectedEofImplicitFlowMapping | E::ExpectedFlowMappingSeparator => (
            "a map in braces goes wrong here",
            "separate entries with `,` and end with `}`; text with `{` or `,` in it needs quotes",
        ),
        E::MisplacedFlowCollectionEnd => {
            ("a bracket is closed that was not opened", "remove it, or put the text in quotes")
        }
        E::InvalidFlowScalarIndent | E::InvalidIndentation => ("wrong indentation", ALIGN),
        E::ExpectedBlockMappingKey | E::UnexpectedEofBlockMapping => {
            ("expected a key here: the indentation does not fit", ALIGN)
        }
        E::ExpectedBlockSequenceEntry | E::UnexpectedEofBlockSequence => (
            "expected `- ` here: the indentation does not fit",
            "entries of one list begin with `- ` in the same column",
        ),
        E::BlockSequenceEntryNotAllowed => (
            "a list can't begin here",
            "put `- ` on a line of its own, below its key; text that begins with `- ` needs quotes",
        ),
        E::BlockEntryInFlowCollection | E::PlainScalarStartsWithDashFlowIndicator => {
            ("`-` inside of brackets", "in brackets entries are separated by `,`, without `-`")
        }
        E::InvalidBlockEntryWhitespace => ("`-` needs a space after it", "write `- value`"),
        E::SimpleKeyExpected | E::InvalidSimpleKey => {
            ("expected `key: value`", "is a `:` missing, or the space after it? text over several lines needs quotes")
        }
        E::MappingValueNotAllowed | E::InvalidColonPlacement | E::InvalidMappingValueWhitespace => (
            "a `:` that can't stand here",
            "a value with `: ` in it needs quotes; a nested key goes on a line of its own, indented",
        ),
        E::FlowMappingValueAdjacentCollection => ("`:` needs a space after it", "write `key: value`"),
        E::MappingKeyNotAllowed => ("a key can't stand here", ALIGN),
        E::UnexpectedCharacter { character } => {
            let shown = super::node::shorten(&character.to_string());
            return (format!("a value can't begin with `{shown}`"), QUOTE);
        }
        E::UnexpectedEndOfPlainScalar | E::ExpectedNodeContent => ("expected a value here", QUOTE),
        E::CommentInterceptedScalar => {
            ("a comment inside of a text over several lines", "move the comment above the text")
        }
        E::CommentNotSeparated => ("`#` needs a space before it", "or put the text in quotes"),
        E::MissingAnchorOrAliasName => ("`&` or `*` without a name", "text that begins with `&` or `*` needs quotes"),
        E::RecursionLimitExceeded => ("nested too deeply", "our files need eight levels"),
        E::ZeroBlockScalarIndent | E::InvalidBlockScalarHeader | E::InvalidBlockScalarIndent => {
            ("a text block (`|` or `>`) that goes wrong", "write `|` and indent the lines below it")
        }
        E::ExpectedDocumentStart | E::InvalidDocumentEnd => ("something follows after the end of the document", ALIGN),
        E::BomInsideDocument => ("a byte order mark inside of the text", "remove it"),
        _ => ("this is not YAML", QUOTE),
    };
    (message.to_owned(), help)
}

#[cfg(test)]
mod tests {
    use crate::config::yaml::parse::parse;

    /// The message, and the text underlined with the rest of its line.
    fn check(text: &str, message: &str, from: &str) {
        let (_, mistakes) = parse(text);
        let mistake = mistakes.last().unwrap_or_else(|| panic!("{text:?} is accepted"));
        let span = mistake.span.unwrap();
        assert_eq!(
            (mistake.message.as_str(), text[span.start..].lines().next().unwrap_or_default()),
            (message, from),
            "{text:?}"
        );
        assert!(!mistake.help.is_empty(), "{text:?}");
    }

    #[test]
    fn syntax_is_explained() {
        check("a:\n\tb: 1\n", "a tab in the indentation", "\tb: 1");
        check("a:\n  - x\n\t- y\n", "a tab in the indentation", "\t- y");
        check("a: 'x\nb: 1\n", "a quote is opened here and never closed", "'x");
        check("a: \"x\n", "a quote is opened here and never closed", "\"x");
        check("a: 'x' y\n", "text after the closing quote", "y");
        check("a: [1, 2\nb: 3\n", "`[` is never closed", "[1, 2");
        check("a: {b: '}', # }\nc: [1]\nd: {\n", "`{` is never closed", "{b: '}', # }");
        check("a: [1}\n", "`[` is closed by `}`", "[1}");
        check("a: {b: 1\n", "`{` is never closed", "{b: 1");
        check("a: ]\n", "a bracket is closed that was not opened", "]");
        check("a: 1\n  b: 2\n", "a `:` that can't stand here", ": 2");
        check("a:\n  b: 1\n c: 2\n", "expected a key here: the indentation does not fit", "c: 2");
        check("a: b: c\n", "a `:` that can't stand here", ": c");
        check("a: 1\nb\nc: 2\n", "expected `key: value`", "b");
        check("a: @x\n", "a value can't begin with `@`", "@x");
        check("a: \"\\q\"\n", "an escape that YAML does not know", "\"\\q\"");
        check("a: 1\n- b\n", "expected a key here: the indentation does not fit", "b");
        check("- a\nb\n", "expected `key: value`", "b");
        check("a: {b}:1\n", "text after a closing bracket", ":1");
        check("- a: 1\n b: 2\n", "wrong indentation: no map above has keys in this column", "b: 2");
        check("a: - b\n", "a list can't begin here", "- b");
        check("a: *b\n", "no value is marked `&b`", "*b");
        check("a: *\n", "`&` or `*` without a name", "*");
        check("a: 1\n---\nb: 1\n", "a second document begins here", "---");
    }
}
