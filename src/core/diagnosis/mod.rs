//! Diagnosis: what was gathered on a host, and what follows from it.
//!
//! [`evidence`] is the archive: plain data, in the order in which an operator would ask; [`mod@unit`] and [`files`] are its
//! larger parts; [`parse`] reads it from what the collector printed. Nothing in them concludes. The rules do, one file a
//! subject: each is a pure function from the archive to findings ([`mod@finding`]), whose codes stand in one [`catalogue`].
//! [`diagnose`] runs them all and ranks what they found.

mod case;
pub mod catalogue;
pub mod evidence;
pub mod files;
pub mod finding;
pub mod manager;
pub mod parse;
mod rank;
mod rules;
pub mod settings;
pub mod tls;
pub mod unit;

pub use case::{Context, EXPIRING_DAYS, Purpose};
pub use finding::{Confidence, Diagnosis, Finding, Quote, Remedy, Severity};
pub use rank::diagnose;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod tests;
