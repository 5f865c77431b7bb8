//! A serde deserializer over the tree. Every mistake it meets carries the place of the innermost
//! value that has one; values that are to be left out it does not see.

use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::value::UsizeDeserializer;
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::access::{Choice, Items, Pairs, Place};
use super::fault::{Fault, Problem};
use super::node::{Entry, Kind, Meaning, Node, meaning, shorten};
use super::values::{DURATION, SCALAR, SCALAR_OR, SPANNED, TEXT_OR};

/// What all parts of one walk share.
pub(super) struct Context {
    /// Numbers of the values to leave out.
    pub pruned: RefCell<HashSet<usize>>,
}

impl Context {
    /// Whether `node` is to be left out.
    pub fn is_pruned(&self, node: &Node) -> bool {
        self.pruned.borrow().contains(&node.id)
    }
}

/// One value of the tree.
#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'t> {
    node: &'t Node,
    context: &'t Context,
}

impl<'t> NodeDeserializer<'t> {
    pub fn new(node: &'t Node, context: &'t Context) -> Self {
        Self { node, context }
    }

    fn meaning(self) -> Option<Meaning<'t>> {
        match &self.node.kind {
            Kind::Scalar { text, plain } => Some(meaning(text, *plain)),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    fn wrong(self, expected: impl Into<String>, help: Option<String>) -> Fault {
        let (expected, found) = (expected.into(), self.node.describe());
        Fault::new(Problem::WrongType { expected, found, help })
    }

    fn text(self, expected: &str) -> Result<&'t str, Fault> {
        match self.meaning() {
            Some(Meaning::Text(text)) => Ok(text),
            Some(Meaning::Bool(text) | Meaning::Whole(_, text) | Meaning::Real(text)) => {
                Err(self.wrong(expected, Some(format!("put it in quotes: \"{}\"", shorten(text)))))
            }
            Some(Meaning::Null) | None => Err(self.wrong(expected, None)),
        }
    }

    fn duration(self) -> Result<&'t str, Fault> {
        const EXPECTED: &str = "a duration like `30s`";
        match self.meaning() {
            Some(Meaning::Whole(Some(n), _)) if n >= 0 => {
                let help = format!("add the unit: `{n}s` for seconds, `{n}ms` for milliseconds");
                Err(self.wrong(EXPECTED, Some(help)))
            }
            Some(Meaning::Text(text)) => Ok(text),
            _ => Err(self.wrong(EXPECTED, None)),
        }
    }

    fn whole(self) -> Result<i64, Fault> {
        const EXPECTED: &str = "a whole number";
        match self.meaning() {
            Some(Meaning::Whole(Some(n), _)) => Ok(n),
            Some(Meaning::Text(text)) if text.trim().parse::<i64>().is_ok() => {
                Err(self.wrong(EXPECTED, Some(format!("write it without quotes: {}", text.trim()))))
            }
            _ => Err(self.wrong(EXPECTED, None)),
        }
    }

    /// The keys, or as many empty texts, of what is left out of this value.
    fn lost(self) -> Vec<String> {
        match &self.node.kind {
            Kind::Scalar { .. } => Vec::new(),
            Kind::List(items) => {
                items.iter().filter(|item| self.context.is_pruned(item)).map(|_| String::new()).collect()
            }
            Kind::Map(entries) => entries
                .iter()
                .filter(|entry| self.context.is_pruned(&entry.value))
                .map(|entry| entry.key.clone())
                .collect(),
        }
    }
}

impl<'de> Deserializer<'de> for NodeDeserializer<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::List(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
            Kind::Scalar { text, plain } => match meaning(text, *plain) {
                Meaning::Null => visitor.visit_unit(),
                Meaning::Whole(Some(n), _) => visitor.visit_i64(n),
                Meaning::Bool(text) => visitor.visit_bool(text.eq_ignore_ascii_case("true")),
                Meaning::Whole(None, text) | Meaning::Real(text) => match text.parse() {
                    Ok(n) => visitor.visit_f64(n),
                    Err(_) => visitor.visit_borrowed_str(text),
                },
                Meaning::Text(text) => visitor.visit_borrowed_str(text),
            },
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.text("a text")?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.meaning() {
            Some(Meaning::Bool(text)) => visitor.visit_bool(text.eq_ignore_ascii_case("true")),
            _ => Err(self.wrong("`true` or `false`", None)),
        }
    }

    // The raw layer has one type of number; what is too large or small for its purpose is
    // judged later, with better words.
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_i64(self.whole()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        match name {
            SPANNED => visitor.visit_seq(Place::new(self.node, self.context, self.lost())),
            SCALAR => match &self.node.kind {
                Kind::Scalar { text, .. } if !self.node.is_null() => visitor.visit_borrowed_str(text),
                _ => Err(self.wrong("a single value", None)),
            },
            SCALAR_OR => match &self.node.kind {
                Kind::List(_) | Kind::Map(_) => visitor.visit_newtype_struct(self),
                Kind::Scalar { text, .. } if !self.node.is_null() => visitor.visit_borrowed_str(text),
                Kind::Scalar { .. } => Err(self.wrong("a single value or a map", None)),
            },
            DURATION => visitor.visit_borrowed_str(self.duration()?),
            TEXT_OR => match (self.meaning(), &self.node.kind) {
                (Some(Meaning::Text(text)), _) => visitor.visit_borrowed_str(text),
                (_, Kind::List(_) | Kind::Map(_)) => visitor.visit_newtype_struct(self),
                (_, Kind::Scalar { text, .. }) => {
                    let help = format!("put it in quotes: \"{}\"", shorten(text));
                    Err(self.wrong("a text or a map", (!self.node.is_null()).then_some(help)))
                }
            },
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::List(items) => visitor.visit_seq(Items::new(items, self.context)),
            Kind::Scalar { text, .. } if !self.node.is_null() => {
                let words: Vec<String> = text.split_whitespace().map(shorten).collect();
                Err(self.wrong("a list", Some(format!("write a list: [{}]", words.join(", ")))))
            }
            Kind::Scalar { .. } => Err(self.wrong("a list", None)),
            Kind::Map(_) => Err(self.wrong("a list", Some("begin each entry with `- `".to_owned()))),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Kind::Map(entries) = &self.node.kind else {
            return Err(self.wrong("a map", None));
        };
        visitor.visit_map(Pairs::new(entries, self.context, None))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Kind::Map(entries) = &self.node.kind else {
            let help = format!("keys of {name}: {}", crate::config::suggest::list(fields.iter().copied()));
            return Err(self.wrong("a map", Some(help)));
        };
        visitor.visit_map(Pairs::new(entries, self.context, Some(name)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let known = || format!("known: {}", crate::config::suggest::list(variants.iter().copied()));
        let left: Vec<&Entry> = match &self.node.kind {
            Kind::Map(entries) => entries.iter().filter(|entry| !self.context.is_pruned(&entry.value)).collect(),
            Kind::List(_) | Kind::Scalar { .. } => Vec::new(),
        };
        match (self.meaning(), left.as_slice()) {
            (Some(Meaning::Text(word)), _) => visitor.visit_enum(Choice::word(word, name, self.context)),
            (None, [entry]) => visitor.visit_enum(Choice::entry(entry, name, self.context)),
            (None, [_, second, ..]) => Err(Fault::new(Problem::Other(format!(
                "one {name} is one key; begin `{}` with `- `",
                shorten(&second.key)
            )))
            .stamp(second.key_span, second.value.id)),
            _ => Err(self.wrong(format!("a {name}"), Some(known()))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct identifier
    }
}

/// A number of bytes for [`Place`].
pub(super) fn offset(at: usize) -> UsizeDeserializer<Fault> {
    at.into_deserializer()
}
