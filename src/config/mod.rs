//! What the operator wrote: inventory and playbook, read from YAML with errors that show the line.
//!
//! Text goes through three layers, each ignorant of the next:
//!
//! 1. `yaml`: text to a tree whose every key and value knows its place in the text;
//! 2. `raw`: the tree to structures that mirror the file, every field optional, so that a file
//!    with one mistake can still be read for the others;
//! 3. `inventory` and `playbook`: the raw structures to the types that the rest of the program
//!    uses, with defaults merged and meaning checked.
//!
//! All mistakes of a file are reported together as one [`ConfigErrors`].

mod check;
pub mod duration;
mod error;
pub mod file;
pub mod files;
pub mod inventory;
pub mod playbook;
mod render;
mod schema;
mod secrets;
mod source;
mod suggest;
mod yaml;

pub use error::{ConfigErrors, Mistake};
pub use inventory::Inventory;
pub use playbook::Playbook;
pub use schema::{SchemaKind, schema};
pub(crate) use source::digest;
pub(crate) use suggest::nearest;
