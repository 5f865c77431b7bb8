//! The simulated world and its clockwork: what happens, in the order of its times.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    fault::{Fault, Moment},
    group::Group,
    oracle::{Breach, Effect},
    server::Server,
    times::Ms,
    topology::Topology,
};
use crate::{
    core::assets::Kind,
    fleet::{Change, live::lock::Fence},
};

/// When every world begins, by a clock that is right: 2026-11-22 12:00 UTC.
pub const EPOCH_SECOND: i64 = 1_795_348_800;

/// A cluster, its hosts, and everyone who acts on them.
#[derive(Debug)]
pub struct World {
    pub(super) cluster: String,
    pub(super) born: Instant,
    pub(super) now: Ms,
    pub(super) rng: Rng,
    queue: BinaryHeap<Reverse<(Ms, u64, Happening)>>,
    serial: u64,
    pub(super) servers: Vec<Server>,
    pub(super) groups: Vec<Group>,
    pub(super) jetstream: bool,
    pub(super) system_account: bool,
    /// Since when it refuses us.
    pub(super) account_refused: Option<Ms>,
    pub(super) unnamed: bool,
    /// The controller that has the lock.
    pub(super) owner: Option<usize>,
    /// Versions whose program does not come up.
    pub(super) broken: Vec<String>,
    /// Hosts whose failed server may be restarted once more.
    pub(super) permitted: Vec<String>,
    /// Hosts let every change in, whatever it carries.
    pub(super) fenceless: bool,
    pub(super) cids: u64,
    pub(super) requests: Vec<Request>,
    pub(super) armed: Vec<Fault>,
    pub(super) split: Vec<(usize, usize, Ms)>,
    pub(super) stranger: Option<(usize, Ms)>,
    /// The controller stands still once, at its next observation.
    pub(super) stand_still: bool,
    pub(super) controllers: Vec<Controller>,
    pub(super) effects: Vec<Effect>,
    pub(super) commands_here: Vec<Vec<String>>,
    pub(super) breaches: Vec<Breach>,
}

/// What the world knows of one controller.
#[derive(Debug, Default, Clone)]
pub(super) struct Controller {
    /// When its last whole observation was made.
    pub(super) observed: Ms,
    /// The server that its connection to the system account is on.
    pub(super) system: Option<usize>,
    /// It was killed: nothing of it acts any more.
    pub(super) dead: bool,
    /// It stands still until then.
    pub(super) still_until: Ms,
}

/// A stream that had no leader for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dark {
    /// Account and name.
    pub stream: String,
    /// Its replicas.
    pub replicas: usize,
    /// For how long, in all.
    pub total_ms: Ms,
    /// It has none at the end.
    pub still: bool,
}

/// A request for a change, on its way.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) host: usize,
    pub(super) change: Change,
    pub(super) controller: usize,
    pub(super) fence: Fence,
    /// The host would not begin it.
    pub(super) refused: bool,
    /// It was for an earlier boot.
    pub(super) lost: bool,
}

/// What happens at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// A process has read its stores.
    Recovered { server: usize, incarnation: u32 },
    /// A process has its routes.
    Joined { server: usize, incarnation: u32 },
    /// A process ends by itself.
    Exits { server: usize, incarnation: u32, code: i32 },
    /// The unit's limit for a stop is over.
    Kill { server: usize, incarnation: u32 },
    /// The manager starts the unit again.
    AutoRestart { server: usize, incarnation: u32 },
    /// An election ends.
    Elect { group: usize, term: u32 },
    /// A replica has caught up.
    CaughtUp { group: usize, member: usize, incarnation: u32 },
    /// A change's command ends.
    ChangeEnds { server: usize, boot: u32, request: usize },
    /// A request for a change reaches its host.
    Arrives { request: usize },
    /// A host that was told to reboot is down.
    GoesDown { server: usize, boot: u32 },
    /// A host is up again.
    Booted { server: usize },
    /// The units of a host that booted start.
    UnitsStart { server: usize, boot: u32 },
    /// A client is attached again.
    Reconnects { cid: u64, stubborn: Option<usize> },
    /// A fault's time has come.
    Fault { number: usize },
    /// An asset has moved.
    Moved { group: usize },
}

impl World {
    /// A world in which all is well, but for what the topology says. Everything in it follows from `seed`.
    ///
    /// It lives in the time of the tokio runtime that it is made in, which should be paused.
    pub fn new(topology: &Topology, seed: u64) -> Self {
        let mut cids = 0;
        let servers: Vec<Server> = topology.servers.iter().map(|spec| Server::new(spec, &mut cids)).collect();
        let place = |host: &str| servers.iter().position(|server| server.host == host);
        let mut groups = Vec::new();
        if topology.jetstream {
            if servers.len() > 1 {
                let leader = topology.meta_leader.as_deref().and_then(place).unwrap_or(servers.len() - 1);
                groups.push(Group::meta(servers.len(), leader));
            }
            groups.extend(topology.assets.iter().filter_map(|spec| Group::asset(spec, place)));
        }
        for (number, group) in groups.iter_mut().enumerate() {
            group.raft = format!("S-R{}F-{number}", group.members.len());
        }
        let mut world = Self {
            cluster: topology.cluster.clone(),
            born: Instant::now(),
            now: 0,
            rng: Rng::with_seed(seed),
            queue: BinaryHeap::new(),
            serial: 0,
            servers,
            groups,
            jetstream: topology.jetstream,
            system_account: topology.system_account,
            account_refused: None,
            unnamed: topology.unnamed,
            owner: None,
            broken: Vec::new(),
            permitted: Vec::new(),
            fenceless: false,
            cids,
            requests: Vec::new(),
            armed: Vec::new(),
            split: Vec::new(),
            stranger: None,
            stand_still: false,
            controllers: Vec::new(),
            effects: Vec::new(),
            commands_here: Vec::new(),
            breaches: Vec::new(),
        };
        for (server, spec) in topology.servers.iter().enumerate() {
            world.runs_since_long(server);
            world.servers[server].files.written_since(spec);
            if spec.down {
                world.servers[server].unit.auto_restart = false;
                world.killed(server);
            }
        }
        (0..world.groups.len()).for_each(|group| world.deletes_ranges(group));
        world
    }

    /// Lets `fault` happen at its time. Hosts that the world does not have are left alone.
    pub fn plan_fault(&mut self, fault: Fault) {
        let Some(server) = self.place(&fault.host) else { return };
        match (fault.what.moment(), fault.after) {
            (Moment::Start, _) => self.servers[server].at_start.extend(fault.what.at_start()),
            (Moment::Stop, _) => self.servers[server].at_stop.extend(fault.what.at_stop()),
            (Moment::Turn, after) => {
                let at = after.map(|after| Ms::try_from(after.as_millis()).unwrap_or(Ms::MAX));
                self.armed.push(fault);
                if let Some(at) = at {
                    let number = self.armed.len() - 1;
                    self.at(at.max(self.now), Happening::Fault { number });
                }
            }
        }
    }

    /// From now on the program of this version proves itself, and does not come up.
    pub fn breaks(&mut self, version: &str) {
        self.broken.push(version.to_owned());
    }

    /// The operator has another program put on a server that failed: to stop and start it once more is their word.
    pub fn may_be_restarted(&mut self, host: &str) {
        self.permitted.push(host.to_owned());
    }

    /// The version of a host's last process.
    pub fn version(&self, host: &str) -> String {
        self.place(host).map_or_else(String::new, |server| self.servers[server].version.clone())
    }

    /// Takes the fence away: hosts begin every change, whatever token it carries. For tests of what the fence is for.
    pub fn ignore_tokens(&mut self) {
        self.fenceless = true;
    }

    /// A clock that is off by so many milliseconds, as the host's own.
    pub fn set_clock(&mut self, host: &str, off: i64) {
        if let Some(server) = self.place(host) {
            self.servers[server].clock = off;
        }
    }

    /// A new controller; its number.
    pub(super) fn controller(&mut self) -> usize {
        self.controllers.push(Controller::default());
        self.controllers.len() - 1
    }

    /// What changes took effect so far, in order.
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// The operator's commands that were begun on the controller so far, in order.
    pub fn commands_here(&self) -> &[Vec<String>] {
        &self.commands_here
    }

    /// What went against the promise so far.
    pub fn breaches(&self) -> &[Breach] {
        &self.breaches
    }

    /// The hosts whose server is not ready now, by the truth and not by what anyone says.
    pub fn unready(&self) -> Vec<String> {
        let unready = |server: &usize| !self.ready(*server);
        (0..self.servers.len()).filter(unready).map(|server| self.servers[server].host.clone()).collect()
    }

    /// Streams that had no leader for a while: nobody could publish to them.
    pub fn dark(&self) -> Vec<Dark> {
        let streams = self.groups.iter().filter(|group| group.kind == Kind::Stream);
        let dark = streams.map(|group| {
            let open = group.leaderless_since.map_or(0, |since| self.now - since);
            Dark { stream: group.named(), replicas: group.members.len(), total_ms: group.dark + open, still: open > 0 }
        });
        dark.filter(|dark| dark.total_ms > 0).collect()
    }

    /// How many processes a host's server has had.
    pub fn processes(&self, host: &str) -> u32 {
        self.place(host).map_or(0, |server| self.servers[server].incarnation)
    }

    /// Whether a host's server has read its configuration since its start.
    pub fn reloaded(&self, host: &str) -> bool {
        let process = self.place(host).and_then(|server| self.servers[server].process.as_ref());
        process.is_some_and(|process| process.loaded > process.started)
    }

    /// The place of a host's server.
    pub(super) fn place(&self, host: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.host == host)
    }

    /// Lets something happen at a time.
    pub(super) fn at(&mut self, at: Ms, what: Happening) {
        self.serial += 1;
        self.queue.push(Reverse((at, self.serial, what)));
    }

    /// Lets something happen after a while.
    pub(super) fn after(&mut self, span: Ms, what: Happening) {
        self.at(self.now + span, what);
    }

    /// Lets everything happen whose time has come.
    pub fn advance(&mut self) {
        let now = Ms::try_from(self.born.elapsed().as_millis()).unwrap_or(Ms::MAX);
        while let Some(Reverse((at, _, what))) = self.queue.peek().copied() {
            if at > now {
                break;
            }
            self.queue.pop();
            self.now = at.max(self.now);
            self.happens(what);
        }
        self.now = now.max(self.now);
    }

    /// When something happens next.
    pub(super) fn next(&self) -> Option<Ms> {
        self.queue.peek().map(|Reverse((at, _, _))| *at)
    }

    fn happens(&mut self, what: Happening) {
        match what {
            Happening::Recovered { server, incarnation } => self.recovered(server, incarnation),
            Happening::Joined { server, incarnation } => self.joined(server, incarnation),
            Happening::Exits { server, incarnation, code } => self.exits(server, incarnation, code),
            Happening::Kill { server, incarnation } => self.stop_took_too_long(server, incarnation),
            Happening::AutoRestart { server, incarnation } => self.auto_restart(server, incarnation),
            Happening::Elect { group, term } => self.elect(group, term),
            Happening::CaughtUp { group, member, incarnation } => self.caught_up(group, member, incarnation),
            Happening::ChangeEnds { server, boot, request } => self.change_ends(server, boot, request),
            Happening::Arrives { request } => self.arrives(request),
            Happening::GoesDown { server, boot } => self.goes_down(server, boot),
            Happening::Booted { server } => self.booted(server),
            Happening::UnitsStart { server, boot } => self.units_start(server, boot),
            Happening::Reconnects { cid, stubborn } => self.reconnects(cid, stubborn),
            Happening::Fault { number } => self.strikes(number),
            Happening::Moved { group } => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.moving_since = None;
                }
            }
        }
    }

    /// A time by a clock that is off by so many milliseconds.
    pub(super) fn clock(&self, at: Ms, off: i64) -> Timestamp {
        let at = i64::try_from(at).unwrap_or(i64::MAX).saturating_add(off);
        let epoch = Timestamp::from_second(EPOCH_SECOND).unwrap_or(Timestamp::UNIX_EPOCH);
        epoch.checked_add(SignedDuration::from_millis(at)).unwrap_or(epoch)
    }

    /// A server's last process: ready for an hour when the world begins.
    fn runs_since_long(&mut self, server: usize) {
        self.starts(server);
        let at = self.now;
        if let Some(process) = &mut self.servers[server].process {
            process.stage = super::server::Stage::Serving;
            process.joined = true;
            process.monitor_at = at;
        }
        self.servers[server].unready_since = None;
    }
}

/// A span as the world counts it.
pub(super) fn ms(span: Duration) -> Ms {
    Ms::try_from(span.as_millis()).unwrap_or(Ms::MAX)
}
