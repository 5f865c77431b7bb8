//! Text to a raw structure, all mistakes reported together.

use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::DeserializeOwned;

use super::de::{Context, NodeDeserializer};
use super::node::Node;
use super::parse;
use crate::config::error::{MOST_SHOWN, Mistake};

/// Reads `text` as a `T`. After each mistake the mistaken entry is left out and the tree is
/// walked again, so that one mistake does not hide the next. Gives what could be read, if
/// anything, and the mistakes.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> (Option<T>, Vec<Mistake>) {
    read_edited(text, |_, _| ())
}

/// What can be read of a value, whatever is wrong with the rest of it; nothing where nothing can.
pub(crate) fn try_read<T: DeserializeOwned>(root: &Node) -> Option<T> {
    walk(root, Vec::new()).0
}

/// As [`read`], from a tree that `edit` may change, and find mistakes in, before.
pub(crate) fn read_edited<T: DeserializeOwned>(
    text: &str,
    edit: impl FnOnce(&mut Node, &mut Vec<Mistake>),
) -> (Option<T>, Vec<Mistake>) {
    let (root, mut mistakes) = parse::parse(text);
    let mut root = match root {
        Some(root) if !root.is_null() => root,
        Some(_) | None => {
            if mistakes.is_empty() {
                mistakes.push(empty(text));
            }
            return (None, mistakes);
        }
    };
    edit(&mut root, &mut mistakes);
    walk(&root, mistakes)
}

fn walk<T: DeserializeOwned>(root: &Node, mut mistakes: Vec<Mistake>) -> (Option<T>, Vec<Mistake>) {
    let context = Context { pruned: RefCell::new(HashSet::new()) };
    loop {
        let fault = match T::deserialize(NodeDeserializer::new(root, &context)) {
            Ok(value) => return (Some(value), mistakes),
            Err(fault) => fault.stamp(root.span, root.id),
        };
        let prune = fault.prune.unwrap_or(root.id);
        mistakes.push(fault.explain());
        // Leaving out the root leaves nothing; and what is left out can't be met again.
        let is_new = context.pruned.borrow_mut().insert(prune);
        if prune == root.id || !is_new || mistakes.len() >= MOST_SHOWN {
            return (None, mistakes);
        }
    }
}

/// What to say of a text without any value.
fn empty(text: &str) -> Mistake {
    let what = if text.trim().is_empty() { "the file is empty" } else { "the file holds no value, only comments" };
    Mistake::anywhere(what)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::values::{Ordered, Spanned, TextOr};
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename = "thing")]
    struct Thing {
        name: Option<Spanned<String>>,
        size: Option<i64>,
        color: Option<Color>,
        parts: Option<Spanned<Vec<TextOr<Part>>>>,
        others: Option<Ordered<Part>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename = "part")]
    struct Part {
        id: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename = "color", rename_all = "kebab-case")]
    enum Color {
        Red,
        Blue,
    }

    fn check(text: &str, expected: &[&str]) -> Option<Thing> {
        let (thing, mistakes) = read::<Thing>(text);
        let found: Vec<_> = mistakes
            .iter()
            .map(|m| {
                let line = m.span.map_or(0, |s| text[..s.start].matches('\n').count() + 1);
                format!("{line}: {}", m.message)
            })
            .collect();
        assert_eq!(found, expected);
        thing
    }

    #[test]
    fn a_right_text_is_read() {
        let text = "name: x\nsize: 3\ncolor: blue\nparts: [a, {id: b}]\nothers: {p: {id: c}, q: {}}\n";
        let thing = check(text, &[]).unwrap();
        assert_eq!(thing.size, Some(3));
        assert!(matches!(thing.color, Some(Color::Blue)));
        let name = thing.name.unwrap();
        assert_eq!(&text[name.span.range()], "x");
        let parts = thing.parts.unwrap().value;
        assert!(matches!(&parts[0], TextOr::Text(a) if a == "a"));
        assert!(matches!(&parts[1], TextOr::Long(p) if p.id.as_deref() == Some("b")));
        let keys: Vec<_> = thing.others.unwrap().0.into_iter().map(|(k, _)| k.value).collect();
        assert_eq!(keys, ["p", "q"]);
    }

    #[test]
    fn mistakes_are_found_together_and_the_rest_is_read() {
        let text = "\
nmae: x
size: big
color: green
parts:
  - a
  - 5
  - {id: [1], di: 2}
others:
  p: c
  q: {id: ok}
";
        let thing = check(
            text,
            &[
                "1: unknown key `nmae` in thing",
                "2: expected a whole number, found the text `big`",
                "3: unknown color `green`",
                "6: expected a text or a map, found the number `5`",
                "7: expected a text, found a list",
                "7: unknown key `di` in part",
                "9: expected a map, found the text `c`",
            ],
        )
        .unwrap();
        assert!(thing.name.is_none());
        let parts = thing.parts.unwrap();
        assert_eq!((parts.value.len(), parts.lost.len()), (2, 1));
        assert_eq!(thing.others.unwrap().0.len(), 1);
    }

    #[test]
    fn a_wrong_root_ends_the_walk() {
        assert!(check("- a\n", &["1: expected a map, found a list"]).is_none());
        assert!(check("", &["0: the file is empty"]).is_none());
        assert!(check("# x\n", &["0: the file holds no value, only comments"]).is_none());
        assert!(check("---\n", &["0: the file holds no value, only comments"]).is_none());
    }

    #[test]
    fn mistakes_are_bounded() {
        let text = (0..200).map(|n| format!("k{n}: 1")).collect::<Vec<_>>().join("\n");
        let (thing, mistakes) = read::<Thing>(&text);
        assert!(thing.is_none());
        assert_eq!(mistakes.len(), MOST_SHOWN);
    }
}
