//! nats-server's configuration language, read as nats-server reads it (its `conf/lex.go` and `conf/parse.go`, 2.9 to 2.15).
//!
//! One file becomes items, files are joined and variables looked up ([`parse()`]), every [`value`] has its place.

pub mod effect;
mod number;
mod parse;
mod scan;
pub mod value;

pub use parse::{Files, Mistake, parse};

#[cfg(test)]
mod properties;
