//! Text to tree.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as ParserSpan};

use super::node::{Entry, Kind, Node, Span, shorten};
use super::syntax;
use crate::config::error::Mistake;

/// Most values that a file may have, copies made by aliases included: 10,000 hosts with 20
/// settings each, and an end to files that use aliases to blow up ("billion laughs").
const MOST_VALUES: usize = 200_000;

/// Deepest nesting. Our files need 8; the walk over the tree is recursive and must not run out
/// of stack.
const DEEPEST: usize = 64;

/// The tree of `text`, if there is one, and all mistakes found on the way. A tree beside mistakes
/// lacks what is mistaken.
pub(super) fn parse(text: &str) -> (Option<Node>, Vec<Mistake>) {
    let options = serde_saphyr::granit_parser::options! {
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
    };
    let mut builder = Builder::new(text);
    for item in Parser::new_from_str_with_options(text, options) {
        let outcome = match item {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(Stop::Scan(error)),
        };
        match outcome {
            Ok(()) => {}
            Err(Stop::Scan(error)) => {
                builder.mistakes.push(syntax::explain(text, &error));
                return (None, builder.mistakes);
            }
            Err(Stop::Mistake(mistake)) => {
                builder.mistakes.push(mistake);
                return (None, builder.mistakes);
            }
        }
    }
    (builder.root, builder.mistakes)
}

/// Why the text has no tree.
enum Stop {
    /// The parser gave up.
    Scan(ScanError),
    /// We did.
    Mistake(Mistake),
}

/// A collection that is not complete yet.
struct Open {
    node: Node,
    anchor: usize,
    /// Written with brackets, so that its end is known.
    flow: bool,
    /// In a map: the key whose value comes next; its text is `None` when it can't be a key.
    key: Option<(Option<String>, Span)>,
    /// In a map: where its keys stand.
    keys: HashMap<String, Span>,
}

struct Builder<'t> {
    text: &'t str,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    documents: usize,
    next_id: usize,
    mistakes: Vec<Mistake>,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            open: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            documents: 0,
            next_id: 0,
            mistakes: Vec::new(),
        }
    }

    fn event(&mut self, event: Event<'_>, span: ParserSpan) -> Result<(), Stop> {
        let at = self.span(&span);
        if event.tag().is_some() {
            self.tag(&span, at);
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Stop::Mistake(
                        Mistake::at(at, "a second document begins here")
                            .help("a file holds one document: remove the `---`, or split the file"),
                    ));
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                // What isn't there is placed by the parser where the next thing begins, perhaps on
                // a line that isn't there either: it belongs to what precedes it.
                let before = self.text[..at.start].trim_end().len();
                let at = if at.is_empty() { Span { start: before, end: before } } else { at };
                self.value(at, Kind::Scalar { text: Cow::into_owned(text), plain }, anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => self.begin(at, Kind::List(Vec::new()), anchor)?,
            Event::MappingStart(_, anchor, _) => self.begin(at, Kind::Map(Vec::new()), anchor)?,
            Event::SequenceEnd | Event::MappingEnd => self.end(at),
            Event::Alias(anchor) => self.alias(at, anchor)?,
            Event::UnresolvedAlias(name) => {
                let name = shorten(&name);
                return Err(Stop::Mistake(
                    Mistake::at(at, format!("no value is marked `&{name}`"))
                        .help("text that begins with `*` needs quotes"),
                ));
            }
            // The rest carries no value.
            _ => {}
        }
        Ok(())
    }

    fn tag(&mut self, span: &ParserSpan, at: Span) {
        let at = span.tag_span().map_or(at, |tag| self.span(&tag));
        self.mistakes.push(
            Mistake::at(at, "YAML tags are not used here")
                .help("remove the tag; to make text of something, put it in quotes"),
        );
    }

    fn begin(&mut self, at: Span, kind: Kind, anchor: usize) -> Result<(), Stop> {
        if self.open.len() >= DEEPEST {
            return Err(Stop::Mistake(Mistake::at(at, "nested too deeply")));
        }
        let node = self.node(at, kind)?;
        let flow = self.text[at.start..].starts_with(['[', '{']);
        self.open.push(Open { node, anchor, flow, key: None, keys: HashMap::new() });
        Ok(())
    }

    fn end(&mut self, at: Span) {
        let Some(mut open) = self.open.pop() else {
            return; // The parser closes only what it opened.
        };
        let children_end = match &open.node.kind {
            Kind::List(items) => items.last().map(|item| item.span.end),
            Kind::Map(entries) => entries.last().map(|entry| entry.value.span.end.max(entry.key_span.end)),
            Kind::Scalar { .. } => None,
        };
        // Without brackets the parser's end is where the next thing begins, lines below.
        let end = if open.flow { Some(at.end) } else { children_end };
        open.node.span.end = end.unwrap_or(open.node.span.end).max(open.node.span.start);
        self.place(open.node, open.anchor);
    }

    fn alias(&mut self, at: Span, anchor: usize) -> Result<(), Stop> {
        let Some(mut copy) = self.anchors.get(&anchor).cloned() else {
            return Err(Stop::Mistake(Mistake::at(at, "this refers to the value that it is in")));
        };
        self.renumber(&mut copy, at)?;
        copy.span = at;
        self.place(copy, 0);
        Ok(())
    }

    fn renumber(&mut self, node: &mut Node, at: Span) -> Result<(), Stop> {
        node.id = self.number(at)?;
        match &mut node.kind {
            Kind::Scalar { .. } => {}
            Kind::List(items) => {
                for item in items {
                    self.renumber(item, at)?;
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    self.renumber(&mut entry.value, at)?;
                }
            }
        }
        Ok(())
    }

    fn number(&mut self, at: Span) -> Result<usize, Stop> {
        self.next_id += 1;
        if self.next_id > MOST_VALUES {
            let message = format!("the file has more than {MOST_VALUES} values");
            return Err(Stop::Mistake(
                Mistake::at(at, message).help("aliases (`*name`) count as often as they are used"),
            ));
        }
        Ok(self.next_id)
    }

    fn node(&mut self, span: Span, kind: Kind) -> Result<Node, Stop> {
        Ok(Node { id: self.number(span)?, span, kind })
    }

    fn value(&mut self, at: Span, kind: Kind, anchor: usize) -> Result<(), Stop> {
        let node = self.node(at, kind)?;
        self.place(node, anchor);
        Ok(())
    }

    /// Puts a complete value where it belongs: into the innermost open collection.
    fn place(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            // A copy of a copy of a copy is how aliases blow up: `number` bounds them all, as
            // each was made by `renumber`.
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match (&mut open.node.kind, open.key.take()) {
            (Kind::List(items), _) => items.push(node),
            (Kind::Map(_), None) => {
                let text = match node.kind {
                    Kind::Scalar { text, .. } => Some(text),
                    Kind::List(_) | Kind::Map(_) => {
                        self.mistakes.push(not_a_key(node.span, self.text));
                        None
                    }
                };
                open.key = Some((text, node.span));
            }
            (Kind::Map(entries), Some((Some(key), key_span))) => {
                if let Some(first) = open.keys.get(&key) {
                    self.mistakes.push(
                        Mistake::at(key_span, format!("duplicate key `{}`", shorten(&key)))
                            .label("again here")
                            .related(*first, "first here")
                            .help("a key may stand only once in a map: remove one, or merge them"),
                    );
                } else {
                    open.keys.insert(key.clone(), key_span);
                    entries.push(Entry { key, key_span, value: node });
                }
            }
            // The key was no key, which is reported already; or a scalar, which is never open.
            (Kind::Map(_), Some((None, _))) | (Kind::Scalar { .. }, _) => {}
        }
    }

    fn span(&self, span: &ParserSpan) -> Span {
        let len = self.text.len();
        let range = span.byte_range().unwrap_or(len..len);
        let start = floor_boundary(self.text, range.start);
        let end = floor_boundary(self.text, range.end);
        Span { start, end: end.max(start) }
    }
}

/// A list or map where a key should be.
fn not_a_key(at: Span, text: &str) -> Mistake {
    let mistake = Mistake::at(at, "a key must be a plain text");
    if text[at.range()].starts_with('{') {
        // `url: {address}` and the like: a template without quotes.
        return mistake.help("text that begins with `{` needs quotes");
    }
    mistake
}

/// The nearest place at or before `at` where a character begins.
pub(super) fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree with each value's text as found by its span.
    fn show(node: &Node, text: &str) -> String {
        let at = &text[node.span.range()];
        match &node.kind {
            Kind::Scalar { text, .. } => format!("{text}@{at:?}"),
            Kind::List(items) => {
                let items: Vec<_> = items.iter().map(|item| show(item, text)).collect();
                format!("[{}]@{at:?}", items.join(", "))
            }
            Kind::Map(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|e| format!("{}: {}", &text[e.key_span.range()], show(&e.value, text)))
                    .collect();
                format!("{{{}}}@{at:?}", entries.join(", "))
            }
        }
    }

    #[test]
    fn every_value_knows_its_place() {
        let check = |text: &str, expected: &str| {
            let (root, mistakes) = parse(text);
            assert!(mistakes.is_empty(), "{mistakes:?}");
            assert_eq!(show(&root.unwrap(), text), expected);
        };
        check("a: 1\n", "{a: 1@\"1\"}@\"a: 1\"");
        check("a:\n  - 'x'\n  - ü\n\n# c\n", r#"{a: [x@"'x'", ü@"ü"]@"- 'x'\n  - ü"}@"a:\n  - 'x'\n  - ü""#);
        check("ü: {b: [1, 2]}  \n", r#"{ü: {b: [1@"1", 2@"2"]@"[1, 2]"}@"{b: [1, 2]}"}@"ü: {b: [1, 2]}""#);
        check("a: &x 1\nb: *x\n", r#"{a: 1@"1", b: 1@"*x"}@"a: &x 1\nb: *x""#);
    }

    #[test]
    fn mistakes_of_structure_are_found_together() {
        let text = "a: 1\na: 2\n{x: y}: 3\nb: 0\nc: !!str 5\nd: ok\n";
        let (root, mistakes) = parse(text);
        let messages: Vec<_> = mistakes.iter().map(|m| m.message.as_str()).collect();
        assert_eq!(messages, ["duplicate key `a`", "a key must be a plain text", "YAML tags are not used here",]);
        assert!(matches!(root.unwrap().kind, Kind::Map(entries) if entries.len() == 4));
    }

    #[test]
    fn bombs_are_defused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..20 {
            let inner = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb = format!("{bomb}a{n}: &a{n} [{inner}]\n");
        }
        let (root, mistakes) = parse(&bomb);
        assert!(root.is_none());
        assert!(mistakes[0].message.contains("more than 200000 values"), "{mistakes:?}");

        for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
            let deep = format!("{}x{}", open.repeat(10_000), close.repeat(10_000));
            assert!(parse(&deep).0.is_none(), "{open}");
        }
        let (root, mistakes) = parse("a: &a [*a]\n");
        assert!(root.is_none() && mistakes.len() == 1, "{mistakes:?}");
    }
}
