//! rollgate: rolling restarts of NATS clusters over SSH, one server at a time, gated on readiness.
//!
//! The library behind the `rollgate` program, and its map. Modules in reading order:
//!
//! - [`core`]: facts in, decisions out. [`core::view`] is what was seen, [`core::safety`] says whether a restart may
//!   begin, [`core::order`] and [`core::plan`] who goes when, [`core::gate`] whether a server is back,
//!   [`core::halt`] what stopped a roll; [`core::event`] is all that leaves a run and [`core::progress`] its fold.
//!   No file, no clock, no network.
//! - [`config`]: what the operator wrote, the inventory and the playbook, and every mistake in it with its place.
//! - [`fleet`]: the one seam to the world, a trait; [`fleet::live`] is ssh, service managers and NATS ports.
//! - [`run`]: the loop: decide, record, act, observe, judge.
//! - [`journal`]: what a run leaves on disk, and the lock that keeps runs apart.
//! - [`mirror`]: the same in a bucket of another cluster, for runners that share no disk.
//! - [`report`]: events in words, bars and JSON.
//! - [`cli`]: the verbs.
//!
//! Arrows go one way: `cli → run → fleet, journal, report → core`, `cli → mirror → fleet, journal`, and `config → core`.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod core;
pub mod fleet;
pub mod journal;
pub mod mirror;
pub mod report;
pub mod run;
