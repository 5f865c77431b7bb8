//! Building blocks of the raw layer that plain serde types lack.
//!
//! Each asks the deserializer for a newtype of a reserved name, by which our deserializer knows
//! what is wanted. Other deserializers (JSON, say) are not meant to read them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::node::Span;
use crate::config::suggest;

/// Reserved name of [`Spanned`].
pub(super) const SPANNED: &str = "$rollgate::Spanned";
/// Reserved name of [`TextOr`].
pub(super) const TEXT_OR: &str = "$rollgate::TextOr";
/// Reserved name of [`ScalarText`].
pub(super) const SCALAR: &str = "$rollgate::Scalar";
/// Reserved name of [`ScalarOr`].
pub(super) const SCALAR_OR: &str = "$rollgate::ScalarOr";
/// Reserved name of [`DurationText`].
pub(super) const DURATION: &str = "$rollgate::Duration";

/// A value, its place, and what was left out of it because it was mistaken.
#[derive(Debug, Clone)]
pub(crate) struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
    /// Keys (in a map) or empty texts (in a list) whose values were left out: those mistakes are
    /// reported, and what follows from them should not be.
    pub lost: Vec<String>,
}

impl<T> Spanned<T> {
    /// Whether the absence of `key` may be due to a mistake that is reported already: its value
    /// was left out, or that of an unknown key that looks like it.
    pub fn lost(&self, key: &str) -> bool {
        self.lost.iter().any(|lost| suggest::nearest(lost, [key]).is_some())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Parts<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Parts<T> {
            type Value = Spanned<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut next = || seq.next_element::<usize>();
                let (Some(start), Some(end)) = (next()?, next()?) else {
                    return Err(de::Error::invalid_length(0, &self));
                };
                let lost = seq.next_element()?.unwrap_or_default();
                let value = seq.next_element()?.ok_or(de::Error::invalid_length(3, &self))?;
                Ok(Spanned { value, span: Span { start, end }, lost })
            }
        }
        from.deserialize_newtype_struct(SPANNED, Parts(PhantomData))
    }
}

/// A text, or a map with more to say.
#[derive(Debug, Clone)]
pub(crate) enum TextOr<T> {
    /// The short form.
    Text(String),
    /// The long form.
    Long(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = TextOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a longer form")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text.to_owned()))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
                T::deserialize(from).map(TextOr::Long)
            }
        }
        from.deserialize_newtype_struct(TEXT_OR, Either(PhantomData))
    }
}

/// A text that should be a duration. It is read as one later, where what is wrong with it can be
/// said better; here it differs from other text in what a wrong type is told.
#[derive(Debug, Clone)]
pub(crate) struct DurationText(pub String);

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = DurationText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(DurationText(text.to_owned()))
            }
        }
        from.deserialize_newtype_struct(DURATION, Text)
    }
}

/// Any single value, as its text: whether `3` is a number is judged later.
#[derive(Debug, Clone)]
pub(crate) struct ScalarText(pub String);

impl<'de> Deserialize<'de> for ScalarText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = ScalarText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a single value")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(ScalarText(text.to_owned()))
            }
        }
        from.deserialize_newtype_struct(SCALAR, Text)
    }
}

/// Any single value, as its text, or a map with more to say.
#[derive(Debug, Clone)]
pub(crate) enum ScalarOr<T> {
    /// The short form.
    Scalar(String),
    /// The long form.
    Long(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ScalarOr<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = ScalarOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a single value or a map")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(ScalarOr::Scalar(text.to_owned()))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
                T::deserialize(from).map(ScalarOr::Long)
            }
        }
        from.deserialize_newtype_struct(SCALAR_OR, Either(PhantomData))
    }
}

/// A map from names of the operator's choice, in the order of the text.
#[derive(Debug, Clone)]
pub(crate) struct Ordered<T>(pub Vec<(Spanned<String>, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Ordered(pairs))
            }
        }
        from.deserialize_map(Pairs(PhantomData))
    }
}
