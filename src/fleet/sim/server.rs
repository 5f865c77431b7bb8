//! One simulated host with its server: power, clock, unit, process, clients.

use std::collections::BTreeMap;

use crate::core::{
    version::Version,
    view::{Exit, Phase},
};

use super::{
    fault::{StartFault, StopFault},
    files::Files,
    link::Link,
    locking::Kept,
    times::{LAME_DUCK, Ms, ROUTE_POOL, STOP_TIMEOUT},
    topology::ServerSpec,
};

/// A host and the server on it.
#[derive(Debug)]
pub(super) struct Server {
    /// The host's name in the inventory.
    pub(super) host: String,
    /// The configured server name.
    pub(super) name: String,
    pub(super) zone: Option<String>,
    /// The version of its last process, in words and as it compares; what is none is older than all.
    pub(super) version: String,
    pub(super) release: Version,
    pub(super) route_pool: i64,
    /// `lame_duck_duration`.
    pub(super) lame_duck: Ms,
    pub(super) files: Files,
    pub(super) recovery: Option<Ms>,
    /// None while the host is off.
    pub(super) boot: Option<u32>,
    pub(super) boots: u32,
    pub(super) booted: Ms,
    pub(super) lock: Kept,
    pub(super) clock: i64,
    pub(super) unit: Unit,
    pub(super) process: Option<Process>,
    /// Grows with every process.
    pub(super) incarnation: u32,
    pub(super) clients: Vec<u64>,
    pub(super) stubborn: Vec<u64>,
    pub(super) leafnodes: u32,
    pub(super) link: Link,
    /// What the host remembers of the changes it was asked for. Of stops and starts a reboot leaves nothing, as it empties /run.
    pub(super) changes: BTreeMap<String, Record>,
    pub(super) at_start: Vec<StartFault>,
    pub(super) at_stop: Vec<StopFault>,
    /// What becomes of a reboot that is ordered.
    pub(super) at_reboot: AtReboot,
    /// Its log, newest last.
    pub(super) log: Vec<String>,
    /// Another server answers at its monitoring address.
    pub(super) answers_as: Option<(usize, Ms)>,
    pub(super) sudo: bool,
    /// Since when we could not manage its service.
    pub(super) unmanageable_since: Option<Ms>,
    /// Since when somebody else changes its service.
    pub(super) busy_since: Option<Ms>,
    /// Since when its server is not the one that the inventory means.
    pub(super) wrong_since: Option<Ms>,
    /// What is gathered on its host never comes in time.
    pub(super) no_evidence: bool,
    /// Nothing can be staged on its host.
    pub(super) no_room: bool,
    /// It does not answer `/jsz`.
    pub(super) silent: bool,
    /// Since when its client port can't be used from here.
    pub(super) client_port_lost: Option<Ms>,
    /// It was ready when we stopped it.
    pub(super) ready_at_stop: bool,
    /// Stopped by our hand, and not back yet.
    pub(super) down_by_us: bool,
    /// Since when it is not ready, whoever did it.
    pub(super) unready_since: Option<Ms>,
    /// Our starts after which it failed.
    pub(super) failed_after_start: bool,
}

/// The unit, as systemd keeps it.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) phase: Phase,
    pub(super) result: &'static str,
    pub(super) exit: Option<Exit>,
    pub(super) restarts: u32,
    /// `Restart=always`, as in the published unit.
    pub(super) auto_restart: bool,
    /// A boot starts it.
    pub(super) enabled: bool,
    /// `TimeoutStopSec`.
    pub(super) stop_timeout: Ms,
    /// It stops its server by SIGKILL.
    pub(super) kills: bool,
}

impl Unit {
    /// In systemd's word.
    pub(super) fn enabled(&self) -> String {
        if self.enabled { "enabled" } else { "disabled" }.to_owned()
    }
}

/// What becomes of a reboot that is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtReboot {
    /// The host goes down and boots.
    ComesBack,
    /// It goes down.
    StaysOff,
    /// Nothing.
    StaysUp,
}

/// A running nats-server.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: String,
    pub(super) incarnation: u32,
    /// We started it, and its server was ready before.
    pub(super) ours: bool,
    /// The name that it goes by.
    pub(super) name: String,
    pub(super) cluster: &'static str,
    pub(super) pid: u32,
    pub(super) started: Ms,
    /// When it read its configuration last.
    pub(super) loaded: Ms,
    /// Its digest.
    pub(super) config: String,
    pub(super) monitor_at: Ms,
    pub(super) stage: Stage,
    pub(super) reads: Reads,
    /// It has routes, and its raft groups run.
    pub(super) joined: bool,
    /// Current in the meta group, once joined.
    pub(super) frozen_until: Ms,
    /// It says 503 from then on.
    pub(super) sick_at: Option<Ms>,
    /// When its lame duck ends by itself.
    pub(super) lame_duck_ends: Option<Ms>,
}

/// How a process reads its stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reads {
    /// Since its start, for all of it.
    pub(super) took: Ms,
    /// It gets no further than after this long.
    pub(super) stuck: Option<Ms>,
}

impl Reads {
    /// For how long it has read by then, counted from its start.
    pub(super) fn by(self, elapsed: Ms) -> Ms {
        elapsed.min(self.stuck.unwrap_or(Ms::MAX)).min(self.took)
    }
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Reads its stores: monitoring answers, no other listener is open.
    Recovering,
    /// All listeners are open.
    Serving,
    /// Lame duck: JetStream and listeners are closed.
    LameDuck,
}

/// What a host remembers of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) began: Ms,
    /// When its command ended, and how; none while it runs.
    pub(super) ended: Option<(Ms, i32)>,
    pub(super) stops: bool,
    /// It outlives a reboot.
    pub(super) outlives: bool,
    /// It was under way when its host went down.
    pub(super) cut: bool,
    pub(super) limit: Ms,
    pub(super) output: &'static str,
}

impl Server {
    pub(super) fn new(spec: &ServerSpec, cids: &mut u64) -> Self {
        let mut next = |count: u32| {
            (0..count)
                .map(|_| {
                    *cids += 1;
                    *cids
                })
                .collect::<Vec<_>>()
        };
        Self {
            host: spec.host.clone(),
            name: spec.name().to_owned(),
            zone: spec.zone.clone(),
            version: spec.version.clone(),
            release: Version(0, 0, 0),
            route_pool: spec.route_pool.unwrap_or(ROUTE_POOL),
            lame_duck: spec.lame_duck_ms.unwrap_or(LAME_DUCK),
            files: Files::with_program(&spec.version),
            recovery: spec.recovery_ms,
            boot: Some(1),
            boots: 1,
            booted: 0,
            lock: Kept::default(),
            clock: 0,
            unit: Unit {
                phase: Phase::Stopped,
                result: "success",
                exit: None,
                restarts: 0,
                auto_restart: true,
                enabled: true,
                stop_timeout: spec.stop_timeout_ms.unwrap_or(STOP_TIMEOUT),
                kills: spec.kills,
            },
            process: None,
            incarnation: 0,
            clients: next(spec.clients),
            stubborn: next(spec.stubborn),
            leafnodes: spec.leafnodes,
            link: Link::default(),
            changes: BTreeMap::new(),
            at_start: Vec::new(),
            at_stop: Vec::new(),
            at_reboot: AtReboot::ComesBack,
            log: Vec::new(),
            answers_as: None,
            sudo: true,
            unmanageable_since: None,
            busy_since: None,
            wrong_since: None,
            no_evidence: false,
            no_room: false,
            silent: false,
            client_port_lost: None,
            ready_at_stop: false,
            down_by_us: false,
            unready_since: None,
            failed_after_start: false,
        }
    }

    /// It serves and takes part in raft groups.
    pub(super) fn in_raft(&self, now: Ms) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.stage == Stage::Serving && process.joined && process.frozen_until <= now)
    }

    /// Its listeners are open.
    pub(super) fn serves(&self, now: Ms) -> bool {
        self.process.as_ref().is_some_and(|process| process.stage == Stage::Serving && process.frozen_until <= now)
    }

    /// Everyone attached, in the server's order.
    pub(super) fn attached(&self) -> usize {
        self.clients.len() + self.stubborn.len()
    }

    /// Whether the version is at least this one.
    pub(super) fn at_least(&self, major: u32, minor: u32) -> bool {
        self.release.line() >= (major, minor)
    }

    /// The words of systemd for the unit's state.
    pub(super) fn words(&self) -> String {
        let words = match self.unit.phase {
            Phase::Running => "active (running)",
            Phase::Starting => "activating (start)",
            Phase::AutoRestart => "activating (auto-restart)",
            Phase::Stopping => "deactivating (stop-sigterm)",
            Phase::Stopped => "inactive (dead)",
            Phase::Failed => "failed (failed)",
            Phase::Missing => "unit is not-found",
        };
        words.to_owned()
    }
}
