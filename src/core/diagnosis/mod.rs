//! Diagnosis: what was gathered on a host, and what follows from it.
//!
//! [`evidence`] is the archive: plain data, in the order in which an operator would ask; [`mod@unit`] and [`files`] are its
//! larger parts. Nothing in them concludes.

pub mod evidence;
pub mod files;
pub mod unit;
