//! The rules: what is in an archive, as findings. Each is a pure function of a case; each subject has its own file,
//! with its pages at the top.

pub(super) mod config;
pub(super) mod health;
pub(super) mod host;
pub(super) mod paths;
pub(super) mod ports;
pub(super) mod process;
pub(super) mod resolver;
pub(super) mod routes;
pub(super) mod store;
pub(super) mod tls;
mod ways;

use super::{case::Case, finding::Finding};

/// All rules, subject by subject.
pub(super) const RULES: [fn(&Case<'_>) -> Vec<Finding>; 10] = [
    host::rules,
    process::rules,
    config::rules,
    paths::rules,
    tls::rules,
    resolver::rules,
    store::rules,
    ports::rules,
    routes::rules,
    health::rules,
];
