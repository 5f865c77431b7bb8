//! Text to structures, with the place of every key and value kept.
//!
//! Why not serde-saphyr's own deserializer: it stops at the first mistake, its `Spanned` knows
//! where a collection starts but not the keys in it, and it can't tell `1` from `"1"` once a
//! type asks for text. So its parser (`granit_parser`, which it re-exports) builds our own tree,
//! and a small deserializer walks that tree as often as there are mistakes to report.

mod access;
mod de;
mod fault;
mod node;
mod parse;
mod read;
mod schema;
mod syntax;
mod values;

pub(crate) use node::{Kind, Node, Span, printable, shorten};
pub(crate) use read::{read, read_edited, try_read};
pub(crate) use values::{DurationText, Ordered, ScalarOr, ScalarText, Spanned, TextOr};
