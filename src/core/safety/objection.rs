//! Reasons against a restart, each with its stable name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::{
    diagnosis::{Finding, catalogue},
    view::Failure,
};

/// A reason why a restart of one server may not begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Objection {
    /// Another server of the cluster does not answer its monitoring port.
    ServerUnreachable {
        /// The host concerned.
        host: String,
        /// Why it was not seen.
        failure: Failure,
    },
    /// No server of the cluster runs, or too few for any to become ready: a restart of one by one would never end.
    ColdStart {
        /// The hosts whose server does not run.
        down: Vec<String>,
        /// How many servers make a majority.
        majority: usize,
        /// Commands that start as many as a majority lacks, where the hosts were asked.
        start: Vec<String>,
    },
    /// Another server is in lame duck: it serves no clients any more, and is about to be gone.
    LameDuck {
        /// The host concerned.
        host: String,
    },
    /// A server is not healthy: another one, or the candidate itself where the plan had seen it healthy.
    ServerNotHealthy {
        /// The host concerned.
        host: String,
        /// What healthz said.
        health: String,
    },
    /// The server behind a host's monitoring address is not the one in the inventory.
    WrongServer {
        /// The host concerned.
        host: String,
        /// The name in the inventory.
        expected: String,
        /// The name that answered.
        found: String,
    },
    /// Two hosts' monitoring addresses lead to one server, or two servers have one name.
    DuplicateServer {
        /// The hosts concerned.
        hosts: Vec<String>,
        /// The name or id that they share.
        name: String,
    },
    /// A healthy server has no route to another healthy one.
    MissingRoute {
        /// Where the route is missing.
        from: String,
        /// Whom it should lead to.
        to: String,
    },
    /// Peers have a route to a server that is not in the inventory, so its state is unknown.
    NotInInventory {
        /// The server's name, or its id where it tells no name.
        server: String,
        /// The hosts that have a route to it.
        seen_by: Vec<String>,
    },
    /// The servers are of different NATS clusters.
    DifferentClusters {
        /// Each cluster's name and its hosts.
        clusters: BTreeMap<String, Vec<String>>,
    },
    /// JetStream is clustered and a server knows no meta leader.
    NoMetaLeader {
        /// The hosts that know none.
        hosts: Vec<String>,
    },
    /// Servers name different meta leaders.
    MetaLeaderDisputed {
        /// Each leader named, and by which hosts.
        leaders: BTreeMap<String, Vec<String>>,
    },
    /// Groups with a member on the candidate would be left without a majority of current members, as their leaders count
    /// them.
    GroupMajority {
        /// The candidate's host.
        host: String,
        /// How many groups.
        count: usize,
        /// The first of them, with their counts.
        groups: Vec<String>,
    },
    /// Groups have no leader, or servers disagree about who it is, so nobody can vouch for their members.
    GroupWithoutLeader {
        /// How many groups.
        count: usize,
        /// The first of them.
        groups: Vec<String>,
    },
    /// Streams and durable consumers whose only copy is on the candidate, and that are in use: they are offline while it
    /// restarts.
    R1Offline {
        /// The candidate's host.
        host: String,
        /// How many assets.
        count: usize,
        /// The first of them, with their subjects.
        groups: Vec<String>,
    },
    /// Assets kept in memory whose last current copy is on the candidate: a restart loses what is in them.
    MemoryLastCopy {
        /// The candidate's host.
        host: String,
        /// How many assets.
        count: usize,
        /// The first of them.
        groups: Vec<String>,
    },
    /// Assets are being restored, scaled, moved, or joined by a peer.
    PendingChange {
        /// How many assets.
        count: usize,
        /// The first of them, with what is pending.
        groups: Vec<String>,
    },
    /// The program that the candidate would start is of a version that its own data, or the others, can't follow.
    VersionJump {
        /// The host concerned.
        host: String,
        /// What runs.
        from: String,
        /// What would run.
        to: String,
        /// Why not.
        why: String,
    },
    /// Assets on the candidate need a JetStream API level that the program which it would start does not have: it would take
    /// them offline.
    ApiLevel {
        /// The candidate's host.
        host: String,
        /// The level that the program has.
        level: u32,
        /// How many assets.
        count: usize,
        /// The first of them, with the level that each needs.
        groups: Vec<String>,
    },
    /// The program that the candidate would start writes to raft logs what others of the cluster can't read: they would crash.
    FeatureFlag {
        /// The candidate's host.
        host: String,
        /// The flag that would be on.
        flag: String,
        /// Hosts whose server does not know it.
        unknown_to: Vec<String>,
    },
    /// Servers before 2.11.2 make no route to one whose pool of routes is of another size: the candidate would come back
    /// alone.
    RoutePool {
        /// The candidate's host.
        host: String,
        /// Its pool's size.
        pool: i64,
        /// The others, with theirs.
        others: Vec<String>,
    },
    /// The candidate's service manager, or the stop step's own limit, would end it in the middle of its lame duck.
    LameDuckCut {
        /// The host concerned.
        host: String,
        /// How long its lame duck may take.
        lame_duck_ms: u64,
        /// How long it is given.
        given_ms: u64,
        /// By what.
        by: String,
    },
    /// The candidate's unit stops it by SIGKILL: what it has not synced to disk (2 minutes by default) is lost.
    UnitKills {
        /// The host concerned.
        host: String,
    },
    /// The boot of the candidate's host would not start it, or whether it does is not known.
    NotEnabled {
        /// The host concerned.
        host: String,
        /// Whether its service manager starts it at boot, in its own words; none where it does not say.
        enabled: Option<String>,
    },
    /// The inventory names a system account that can't be used.
    SystemAccount {
        /// What failed.
        failure: Failure,
    },
    /// What is on a server is not known, or not wholly.
    AssetsUnknown {
        /// What is missing, by server.
        gaps: Vec<String>,
    },
    /// The candidate's host can't be reached or used.
    HostUnusable {
        /// The host concerned.
        host: String,
        /// What failed.
        failure: Failure,
    },
    /// The candidate's client port does not answer as the gate will want it to: the gate could never open.
    ClientPort {
        /// The host concerned.
        host: String,
        /// What failed.
        failure: Failure,
    },
    /// The candidate's service manager knows no such service.
    ServiceMissing {
        /// The host concerned.
        host: String,
        /// The manager's own words.
        words: String,
    },
    /// The candidate's service is being started or stopped by someone else.
    ServiceBusy {
        /// The host concerned.
        host: String,
        /// The manager's own words.
        words: String,
    },
    /// The candidate could not start again as it is: its configuration, program, files or ports do not let it.
    Preflight {
        /// The host concerned.
        host: String,
        /// Why not, with proof and remedy.
        finding: Box<Finding>,
    },
    /// Whether the candidate could start again is not known.
    PreflightUnknown {
        /// The host concerned.
        host: String,
        /// Why not.
        why: String,
    },
    /// The facts are too old to act on.
    Stale {
        /// The host concerned.
        host: String,
        /// Their age.
        age_ms: u64,
    },
}

impl Objection {
    /// Every name there is.
    pub const NAMES: [&'static str; 32] = [
        "api-level",
        "assets-unknown",
        "client-port",
        "cold-start",
        "different-clusters",
        "duplicate-server",
        "feature-flag",
        "group-majority",
        "group-without-leader",
        "host-unusable",
        "lame-duck-cut",
        "memory-last-copy",
        "meta-leader-disputed",
        "missing-route",
        "no-meta-leader",
        "not-enabled",
        "not-in-inventory",
        "pending-change",
        "preflight",
        "preflight-unknown",
        "r1-offline",
        "route-pool",
        "server-lame-duck",
        "server-not-healthy",
        "server-unreachable",
        "service-busy",
        "service-missing",
        "stale",
        "system-account",
        "unit-kills",
        "version-jump",
        "wrong-server",
    ];

    /// The names that an operator may consent to. The rest is no matter of consent: without a host, a service or fresh
    /// facts there is nothing to restart, and with the wrong server there is no knowing what. Beside these stand the
    /// findings that keep a server from coming back, each by its own code: see [`consents`](Self::consents).
    pub const OVERRIDABLE: [&'static str; 23] = [
        "server-unreachable",
        "server-not-healthy",
        "server-lame-duck",
        "missing-route",
        "not-in-inventory",
        "no-meta-leader",
        "meta-leader-disputed",
        "group-majority",
        "group-without-leader",
        "r1-offline",
        "memory-last-copy",
        "pending-change",
        "version-jump",
        "api-level",
        "feature-flag",
        "route-pool",
        "lame-duck-cut",
        "unit-kills",
        "not-enabled",
        "system-account",
        "assets-unknown",
        "client-port",
        "preflight-unknown",
    ];

    /// The stable name, as used in output and in overrides.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ColdStart { .. } => "cold-start",
            Self::LameDuck { .. } => "server-lame-duck",
            Self::VersionJump { .. } => "version-jump",
            Self::ApiLevel { .. } => "api-level",
            Self::FeatureFlag { .. } => "feature-flag",
            Self::RoutePool { .. } => "route-pool",
            Self::LameDuckCut { .. } => "lame-duck-cut",
            Self::UnitKills { .. } => "unit-kills",
            Self::NotEnabled { .. } => "not-enabled",
            Self::ServerUnreachable { .. } => "server-unreachable",
            Self::ServerNotHealthy { .. } => "server-not-healthy",
            Self::WrongServer { .. } => "wrong-server",
            Self::DuplicateServer { .. } => "duplicate-server",
            Self::MissingRoute { .. } => "missing-route",
            Self::NotInInventory { .. } => "not-in-inventory",
            Self::DifferentClusters { .. } => "different-clusters",
            Self::NoMetaLeader { .. } => "no-meta-leader",
            Self::MetaLeaderDisputed { .. } => "meta-leader-disputed",
            Self::GroupMajority { .. } => "group-majority",
            Self::GroupWithoutLeader { .. } => "group-without-leader",
            Self::R1Offline { .. } => "r1-offline",
            Self::MemoryLastCopy { .. } => "memory-last-copy",
            Self::PendingChange { .. } => "pending-change",
            Self::SystemAccount { .. } => "system-account",
            Self::AssetsUnknown { .. } => "assets-unknown",
            Self::HostUnusable { .. } => "host-unusable",
            Self::ClientPort { .. } => "client-port",
            Self::ServiceMissing { .. } => "service-missing",
            Self::ServiceBusy { .. } => "service-busy",
            Self::Preflight { .. } => "preflight",
            Self::PreflightUnknown { .. } => "preflight-unknown",
            Self::Stale { .. } => "stale",
        }
    }

    /// What an operator consents to by name who wants it done all the same: for a finding it has the finding's code, so that
    /// one is not let pass with another.
    pub fn consent(&self) -> &'static str {
        match self {
            Self::Preflight { finding, .. } => catalogue::page(&finding.code).map_or(self.name(), |page| page.consent),
            _ => self.name(),
        }
    }

    /// Every name that can be consented to.
    pub fn consents() -> impl Iterator<Item = &'static str> {
        let findings = catalogue::subjects().into_iter().flat_map(|(_, pages)| pages).map(|page| page.consent);
        Self::OVERRIDABLE.into_iter().chain(findings)
    }

    /// Whether the reason is that something can't be reached (exit code 6, not 3).
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::ServerUnreachable { failure, .. } | Self::HostUnusable { failure, .. } => {
                failure.kind.is_unreachable()
            }
            _ => false,
        }
    }

    /// Whether waiting can be enough: an election, a replica that catches up, a change under way. Everything else stays until
    /// somebody does something about it.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::LameDuck { .. }
            | Self::ServerNotHealthy { .. }
            | Self::MissingRoute { .. }
            | Self::NoMetaLeader { .. }
            | Self::MetaLeaderDisputed { .. }
            | Self::GroupMajority { .. }
            | Self::GroupWithoutLeader { .. }
            | Self::PendingChange { .. }
            | Self::AssetsUnknown { .. }
            | Self::ServiceBusy { .. }
            | Self::Stale { .. } => true,
            Self::ColdStart { .. }
            | Self::ServerUnreachable { .. }
            | Self::WrongServer { .. }
            | Self::DuplicateServer { .. }
            | Self::NotInInventory { .. }
            | Self::DifferentClusters { .. }
            | Self::R1Offline { .. }
            | Self::MemoryLastCopy { .. }
            | Self::VersionJump { .. }
            | Self::ApiLevel { .. }
            | Self::FeatureFlag { .. }
            | Self::RoutePool { .. }
            | Self::LameDuckCut { .. }
            | Self::UnitKills { .. }
            | Self::NotEnabled { .. }
            | Self::SystemAccount { .. }
            | Self::HostUnusable { .. }
            | Self::ClientPort { .. }
            | Self::Preflight { .. }
            | Self::PreflightUnknown { .. }
            | Self::ServiceMissing { .. } => false,
        }
    }
}
