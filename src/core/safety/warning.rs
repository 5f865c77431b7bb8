//! What an operator should know before a restart, and what is no reason against it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Candidate, Objection,
    unit::{cut, first},
};
use crate::core::{
    assets::Gap,
    version::Version,
    view::{StopSignal, View},
};

/// Worth telling. Names are as stable as those of objections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "kebab-case")]
pub enum Warning {
    /// Servers of one cluster run different versions: it is in the middle of an upgrade.
    MixedVersions {
        /// Each version and its hosts.
        versions: BTreeMap<String, Vec<String>>,
    },
    /// The restart starts another version than the one that runs.
    VersionChange {
        /// The host concerned.
        host: String,
        /// What runs.
        from: String,
        /// What would run.
        to: String,
    },
    /// Feature flags differ between the servers that know them.
    FeatureFlags {
        /// Each flag that differs, and the hosts where it is on.
        on: BTreeMap<String, Vec<String>>,
    },
    /// Pools of routes differ in size.
    RoutePools {
        /// Each size and its hosts.
        pools: BTreeMap<i64, Vec<String>>,
    },
    /// The unit stops the server without a lame duck: clients that are there are cut off without notice.
    NoLameDuck {
        /// The host concerned.
        host: String,
        /// What the unit does.
        words: String,
    },
    /// A lame duck would be cut short, and clients are moved before it: it ends at once if all of them go.
    LameDuckCut {
        /// The host concerned.
        host: String,
        /// How long its lame duck may take.
        lame_duck_ms: u64,
        /// How long it is given.
        given_ms: u64,
    },
    /// What is on the server is not known; it is not healthy and may be restarted all the same.
    AssetsUnknown {
        /// The host concerned.
        host: String,
    },
}

impl Warning {
    /// Every name there is.
    pub const NAMES: [&'static str; 7] = [
        "mixed-versions",
        "version-change",
        "feature-flags",
        "route-pools",
        "no-lame-duck",
        "lame-duck-cut",
        "assets-unknown",
    ];

    /// The stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MixedVersions { .. } => "mixed-versions",
            Self::VersionChange { .. } => "version-change",
            Self::FeatureFlags { .. } => "feature-flags",
            Self::RoutePools { .. } => "route-pools",
            Self::NoLameDuck { .. } => "no-lame-duck",
            Self::LameDuckCut { .. } => "lame-duck-cut",
            Self::AssetsUnknown { .. } => "assets-unknown",
        }
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MixedVersions { versions } => write!(f, "versions are mixed: {}", by(versions)),
            Self::VersionChange { host, from, to } => {
                write!(f, "{host} runs {from} and would start {to}, which is on its disk")
            }
            Self::FeatureFlags { on } => write!(f, "feature flags differ; on are {}", by(on)),
            Self::RoutePools { pools } => write!(f, "pool_size of routes differs: {}", by(pools)),
            Self::NoLameDuck { host, words } => {
                write!(f, "{host} is stopped without a lame duck ({words}): clients still there are cut off")
            }
            Self::LameDuckCut { host, lame_duck_ms, given_ms } => write!(
                f,
                "{host} has {} s for a lame duck of {} s: enough only because clients are moved first",
                given_ms / 1000,
                lame_duck_ms / 1000
            ),
            Self::AssetsUnknown { host } => write!(f, "what is on {host} is not known"),
        }
    }
}

fn by<K: std::fmt::Display>(map: &BTreeMap<K, Vec<String>>) -> String {
    map.iter().map(|(key, hosts)| format!("{key} ({})", hosts.join(", "))).collect::<Vec<_>>().join("; ")
}

/// What is worth telling of a restart of the candidate.
pub fn warnings(view: &View, candidate: &Candidate<'_>) -> Vec<Warning> {
    let mut found = Vec::new();
    cluster(view, &mut found);
    let Some(server) = view.server(candidate.host) else { return found };
    let host = || candidate.host.to_owned();
    if let (Ok(varz), Ok(state)) = (&server.varz, &server.service) {
        if let Some(to) = state.next.version.as_ref().filter(|to| Version::of(to) != Version::of(&varz.version)) {
            found.push(Warning::VersionChange { host: host(), from: varz.version.clone(), to: to.clone() });
        }
        let words = match first(&state.stop_signals) {
            Some(StopSignal::Term) => Some("SIGTERM".to_owned()),
            Some(StopSignal::Interrupt) => Some("SIGINT".to_owned()),
            _ => None,
        };
        // A command of the operator's own may well do it; nothing is known of it.
        let own = matches!(state.stop_signals.first(), Some(StopSignal::Other(_)));
        found.extend(words.filter(|_| !own).map(|words| Warning::NoLameDuck { host: host(), words }));
        if let Some(Objection::LameDuckCut { host, lame_duck_ms, given_ms, .. }) =
            cut(server, candidate).filter(|_| candidate.evicts)
        {
            found.push(Warning::LameDuckCut { host, lame_duck_ms, given_ms });
        }
    }
    let untold =
        |gap: &Gap| matches!(gap, Gap::NotSeen { .. } | Gap::Truncated { .. }) && gap.server() == server.server_name;
    if candidate.expect_unready
        && server.varz.is_ok()
        && view.assets.as_ref().is_none_or(|assets| assets.gaps.iter().any(untold))
    {
        found.push(Warning::AssetsUnknown { host: host() });
    }
    found
}

fn cluster(view: &View, found: &mut Vec<Warning>) {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut pools: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let mut flags: BTreeMap<&String, (Vec<String>, usize)> = BTreeMap::new();
    let seen = view.servers.iter().filter_map(|server| Some((server.host.clone(), server.varz.as_ref().ok()?)));
    for (host, varz) in seen {
        versions.entry(varz.version.clone()).or_default().push(host.clone());
        if let Some(pool) = varz.route_pool {
            pools.entry(pool).or_default().push(host.clone());
        }
        for (flag, on) in &varz.feature_flags {
            let (hosts, knowing) = flags.entry(flag).or_default();
            *knowing += 1;
            hosts.extend(on.then(|| host.clone()));
        }
    }
    let on: BTreeMap<String, Vec<String>> = flags
        .into_iter()
        .filter(|(_, (hosts, knowing))| !hosts.is_empty() && hosts.len() < *knowing)
        .map(|(flag, (hosts, _))| (flag.clone(), hosts))
        .collect();
    if versions.len() > 1 {
        found.push(Warning::MixedVersions { versions });
    }
    if !on.is_empty() {
        found.push(Warning::FeatureFlags { on });
    }
    if pools.len() > 1 {
        found.push(Warning::RoutePools { pools });
    }
}
