//! The parts of the deserializer that step through collections and stamp mistakes with places.

use std::slice::Iter;

use serde::de::value::{SeqDeserializer, StrDeserializer, UnitDeserializer};
use serde::de::{
    DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::de::{Context, NodeDeserializer, offset};
use super::fault::{Fault, Problem};
use super::node::{Entry, Node, Span};

/// The entries of a list.
pub(super) struct Items<'t> {
    items: Iter<'t, Node>,
    context: &'t Context,
}

impl<'t> Items<'t> {
    pub fn new(items: &'t [Node], context: &'t Context) -> Self {
        Self { items: items.iter(), context }
    }
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let context = self.context;
        match self.items.find(|item| !context.is_pruned(item)) {
            None => Ok(None),
            Some(item) => seed
                .deserialize(NodeDeserializer::new(item, context))
                .map(Some)
                .map_err(|fault| fault.stamp(item.span, item.id)),
        }
    }
}

/// The keys and values of a map.
pub(super) struct Pairs<'t> {
    entries: Iter<'t, Entry>,
    current: Option<&'t Entry>,
    context: &'t Context,
    /// What the map is, in words, if it has fixed keys.
    name: Option<&'static str>,
}

impl<'t> Pairs<'t> {
    pub fn new(entries: &'t [Entry], context: &'t Context, name: Option<&'static str>) -> Self {
        Self { entries: entries.iter(), current: None, context, name }
    }
}

impl<'de> MapAccess<'de> for Pairs<'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let context = self.context;
        self.current = self.entries.find(|entry| !context.is_pruned(&entry.value));
        let Some(entry) = self.current else {
            return Ok(None);
        };
        seed.deserialize(KeyDeserializer { key: &entry.key, span: entry.key_span }).map(Some).map_err(|fault| {
            let fault = fault.stamp(entry.key_span, entry.value.id);
            self.name.into_iter().fold(fault, Fault::within)
        })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some(entry) = self.current else {
            return Err(Fault::custom("a value without a key"));
        };
        // A value that isn't there is best shown by its key.
        let span = if entry.value.span.is_empty() { entry.key_span } else { entry.value.span };
        seed.deserialize(NodeDeserializer::new(&entry.value, self.context))
            .map_err(|fault| fault.stamp(span, entry.value.id))
    }
}

/// A key; may be asked for with its place.
struct KeyDeserializer<'t> {
    key: &'t str,
    span: Span,
}

impl<'de> serde::Deserializer<'de> for KeyDeserializer<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.key)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        // Only `Spanned<String>` is ever asked for.
        visitor.visit_seq(Place { span: self.span, lost: Vec::new(), value: PlaceValue::Key(self.key), next: 0 })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The four parts of a `Spanned`: start, end, what was left out, and the value.
pub(super) struct Place<'t> {
    span: Span,
    lost: Vec<String>,
    value: PlaceValue<'t>,
    next: u8,
}

enum PlaceValue<'t> {
    Key(&'t str),
    Node(&'t Node, &'t Context),
}

impl<'t> Place<'t> {
    pub fn new(node: &'t Node, context: &'t Context, lost: Vec<String>) -> Self {
        Self { span: node.span, lost, value: PlaceValue::Node(node, context), next: 0 }
    }
}

impl<'de> SeqAccess<'de> for Place<'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.next += 1;
        match self.next {
            1 => seed.deserialize(offset(self.span.start)),
            2 => seed.deserialize(offset(self.span.end)),
            3 => seed.deserialize(SeqDeserializer::new(std::mem::take(&mut self.lost).into_iter())),
            4 => match self.value {
                PlaceValue::Key(key) => seed.deserialize(StrDeserializer::new(key)),
                PlaceValue::Node(node, context) => seed.deserialize(NodeDeserializer::new(node, context)),
            },
            _ => return Ok(None),
        }
        .map(Some)
    }
}

/// One of several: a bare word, or a key with what belongs to it.
pub(super) struct Choice<'t> {
    word: &'t str,
    /// The key's place and the value.
    entry: Option<&'t Entry>,
    /// What is chosen among, in words.
    name: &'static str,
    context: &'t Context,
}

impl<'t> Choice<'t> {
    pub fn word(word: &'t str, name: &'static str, context: &'t Context) -> Self {
        Self { word, entry: None, name, context }
    }

    pub fn entry(entry: &'t Entry, name: &'static str, context: &'t Context) -> Self {
        Self { word: &entry.key, entry: Some(entry), name, context }
    }
}

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        match seed.deserialize(IntoDeserializer::<Fault>::into_deserializer(self.word)) {
            Ok(value) => Ok((value, self)),
            // The whole choice is to be left out, not only what belongs to its key: an empty map
            // in its place would be the next mistake.
            Err(fault) => {
                let fault = fault.within(self.name);
                Err(self.entry.into_iter().fold(fault, |fault, entry| fault.place(entry.key_span)))
            }
        }
    }
}

impl<'de> VariantAccess<'de> for Choice<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.entry {
            None => Ok(()),
            Some(entry) if entry.value.is_null() => Ok(()),
            Some(entry) => {
                let message = format!("`{}` takes no value", self.word);
                Err(Fault::new(Problem::Other(message)).place(entry.value.span))
            }
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        match self.entry {
            None => seed.deserialize(UnitDeserializer::new()),
            // If what belongs to the key is wrong as a whole, so is the choice: no `prune` here.
            Some(entry) => seed
                .deserialize(NodeDeserializer::new(&entry.value, self.context))
                .map_err(|fault| fault.place(entry.value.span)),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Fault> {
        Err(Fault::custom("unexpected kind of choice"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], _visitor: V) -> Result<V::Value, Fault> {
        Err(Fault::custom("unexpected kind of choice"))
    }
}
