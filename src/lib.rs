//! rollgate: rolling restarts of NATS clusters over SSH, one server at a time, gated on readiness.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod config;
pub mod core;
pub mod fleet;
pub mod journal;
pub mod report;
pub mod run;
