//! The life of a server: start, recovery, routes, lame duck, end; and its host's power.

use crate::core::{
    version::Version,
    view::{Exit, Phase},
};

use super::{
    fault::{StartFault, StopFault},
    server::{AtReboot, Process, Reads, Stage},
    times::{self, Ms},
    world::{Happening, World},
};

impl World {
    /// The unit starts a process.
    pub(super) fn starts(&mut self, server: usize) {
        let (now, opens) = (self.now, self.rng.u64(times::MONITOR_OPENS));
        let entry = &mut self.servers[server];
        entry.incarnation += 1;
        entry.version = entry.files.version().to_owned();
        entry.release = Version::of(&entry.version).unwrap_or(Version(0, 0, 0));
        entry.wrong_since = None;
        let incarnation = entry.incarnation;
        entry.unit.phase = Phase::Running;
        let renamed = entry.at_start.contains(&StartFault::Renamed);
        let id = format!("N{}X{incarnation}", entry.name.to_uppercase());
        let name = match (renamed, self.unnamed) {
            (true, _) => format!("{}-new", entry.name),
            (false, true) => id.clone(),
            (false, false) => entry.name.clone(),
        };
        let process = Process {
            id,
            incarnation,
            ours: entry.down_by_us && entry.ready_at_stop && !entry.failed_after_start,
            name,
            cluster: if entry.at_start.contains(&StartFault::WrongCluster) { "C2" } else { "C1" },
            pid: 1_000 + incarnation,
            started: now,
            loaded: now,
            config: entry.files.config().to_owned(),
            monitor_at: now + opens,
            stage: Stage::Recovering,
            reads: Reads { took: 0, stuck: None },
            joined: false,
            frozen_until: 0,
            sick_at: None,
            lame_duck_ends: None,
        };
        entry.process = Some(process);
        entry.log.push(format!("[INF] Starting nats-server, version {}", entry.version));
        self.opens_store(server);
        if incarnation > 1 {
            self.judge_program(server);
            self.meets_start_faults(server, incarnation);
        }
    }

    fn meets_start_faults(&mut self, server: usize, incarnation: u32) {
        let mut recovery = self.servers[server].recovery.unwrap_or_else(|| self.rng.u64(times::RECOVERY));
        let down = self.servers[server].files.config().starts_with("down-");
        if let Some((words, code)) = self.ends_at_once(server) {
            self.servers[server].log.push(words);
            let fails = self.rng.u64(times::START_FAILS);
            self.after(fails, Happening::Exits { server, incarnation, code });
            return;
        }
        if down || self.broken.contains(&self.servers[server].version) {
            self.servers[server].log.push("[FTL] it does not come up".into());
            let fails = self.rng.u64(times::START_FAILS);
            self.after(fails, Happening::Exits { server, incarnation, code: 1 });
            return;
        }
        let faults = self.servers[server].at_start.clone();
        let mut stuck = None;
        for fault in &faults {
            match fault {
                StartFault::Slow(took) => recovery += took,
                StartFault::Stuck(after) => stuck = Some(*after),
                _ => {}
            }
        }
        if let Some(after) = stuck {
            recovery = recovery.max(after.saturating_mul(2));
        }
        if let Some(process) = &mut self.servers[server].process {
            process.reads = Reads { took: recovery, stuck };
        }
        for fault in &faults {
            if let StartFault::Exits { words, again, after_recovery } = fault {
                let entry = &mut self.servers[server];
                entry.log.push((*words).to_owned());
                entry.unit.auto_restart = *again;
                let fails = self.rng.u64(times::START_FAILS) + if *after_recovery { recovery } else { 0 };
                self.after(fails, Happening::Exits { server, incarnation, code: 1 });
                return;
            }
        }
        if stuck.is_none() {
            self.after(recovery, Happening::Recovered { server, incarnation });
        }
    }

    fn is(&self, server: usize, incarnation: u32) -> bool {
        self.servers[server].process.as_ref().is_some_and(|process| process.incarnation == incarnation)
    }

    /// All listeners are open.
    pub(super) fn recovered(&mut self, server: usize, incarnation: u32) {
        if !self.is(server, incarnation) {
            return;
        }
        let routes = self.rng.u64(times::ROUTES);
        let entry = &mut self.servers[server];
        if let Some(process) = &mut entry.process
            && process.stage == Stage::Recovering
        {
            process.stage = Stage::Serving;
            entry.log.push("[INF] Server is ready".into());
            if !entry.at_start.contains(&StartFault::WrongCluster) && !self.alone(server) {
                self.after(routes, Happening::Joined { server, incarnation });
            }
        }
        self.note_readiness();
    }

    /// It has routes, and its raft groups run.
    pub(super) fn joined(&mut self, server: usize, incarnation: u32) {
        let now = self.now;
        if !self.is(server, incarnation) {
            return;
        }
        let faults = self.servers[server].at_start.clone();
        if let Some(process) = &mut self.servers[server].process {
            if process.stage != Stage::Serving {
                return;
            }
            process.joined = true;
            if faults.contains(&StartFault::Flaps) {
                process.sick_at = Some(now + 3_000);
            }
        }
        if faults.contains(&StartFault::DiesLater) {
            self.servers[server].log.push("[FTL] panic: runtime error: index out of range".into());
            self.after(4_000, Happening::Exits { server, incarnation, code: 2 });
        }
        self.takes_part(server, incarnation);
    }

    /// The unit's stop: lame duck, as the published unit does it.
    pub(super) fn lame_duck(&mut self, server: usize) {
        let led = self.groups.iter().any(|group| group.leader == Some(server) && !group.single());
        let ours = self.controllers.iter().filter(|controller| controller.system == Some(server)).count();
        let clients = Ms::try_from(self.servers[server].attached() + ours).unwrap_or(Ms::MAX);
        let empty = self.rng.u64(times::LAME_DUCK_EMPTY);
        let faults = self.servers[server].at_stop.clone();
        let entry = &mut self.servers[server];
        entry.unit.phase = Phase::Stopping;
        let (limit, lame_duck) = (entry.unit.stop_timeout, entry.lame_duck);
        let Some(process) = &mut entry.process else { return };
        let incarnation = process.incarnation;
        // Not heeded while stores are recovered: only the unit's limit ends it then (seen: SIGUSR2 is ignored).
        let heeds = process.stage == Stage::Serving;
        if heeds {
            process.stage = Stage::LameDuck;
            entry.log.push("[INF] Entering lame duck mode, stop accepting new clients".into());
            self.leaves(server, true);
        }
        self.after(limit, Happening::Kill { server, incarnation });
        if faults.contains(&StopFault::Hangs) || !heeds {
            return;
        }
        let closing = lame_duck.saturating_sub(times::LAME_DUCK_GRACE);
        let wait = match clients {
            0 if led => empty + times::LAME_DUCK_LED,
            0 => empty,
            n => times::LAME_DUCK_GRACE + n.saturating_mul(times::LAME_DUCK_PER_CLIENT).min(closing),
        };
        if let Some(process) = &mut self.servers[server].process {
            process.lame_duck_ends = Some(self.now + wait);
        }
        self.after(wait, Happening::Exits { server, incarnation, code: 0 });
    }

    /// A process ends by itself.
    pub(super) fn exits(&mut self, server: usize, incarnation: u32, code: i32) {
        if self.is(server, incarnation) {
            if code == 0 {
                self.takes_snapshots(server);
            }
            self.gone(server, Exit::Code(code));
        }
    }

    /// The unit's own limit for a stop.
    pub(super) fn stop_took_too_long(&mut self, server: usize, incarnation: u32) {
        if self.is(server, incarnation) && self.servers[server].unit.phase == Phase::Stopping {
            self.servers[server].unit.result = "timeout";
            self.judge_kill(server);
            self.gone(server, Exit::Signal(9));
        }
    }

    /// Somebody kills it.
    pub(super) fn killed(&mut self, server: usize) {
        if self.servers[server].process.is_some() {
            self.gone(server, Exit::Signal(9));
        }
    }

    fn gone(&mut self, server: usize, exit: Exit) {
        self.leaves(server, false);
        let entry = &mut self.servers[server];
        let incarnation = entry.incarnation;
        entry.process = None;
        entry.unit.exit = Some(exit);
        entry.log.push(format!("nats-server.service: Main process ended, {exit}"));
        let stopping = entry.unit.phase == Phase::Stopping;
        if stopping && exit != Exit::Signal(9) {
            entry.unit.phase = Phase::Stopped;
            entry.unit.result = "success";
        } else if stopping {
            entry.unit.phase = Phase::Failed;
            if entry.unit.result != "timeout" {
                entry.unit.result = "signal";
            }
        } else if entry.unit.phase != Phase::Missing {
            entry.unit.result = if matches!(exit, Exit::Code(_)) { "exit-code" } else { "signal" };
            entry.unit.phase = if entry.unit.auto_restart { Phase::AutoRestart } else { Phase::Failed };
        }
        // A start of ours that ended so must not be repeated.
        if !stopping && entry.down_by_us {
            entry.failed_after_start = true;
        }
        if entry.unit.phase == Phase::AutoRestart {
            self.after(times::AUTO_RESTART, Happening::AutoRestart { server, incarnation });
        }
        self.scatter(server);
        self.stops_end(server);
        self.note_readiness();
    }

    /// The manager tries again by itself.
    pub(super) fn auto_restart(&mut self, server: usize, incarnation: u32) {
        let entry = &mut self.servers[server];
        if entry.unit.phase == Phase::AutoRestart && entry.incarnation == incarnation && entry.boot.is_some() {
            entry.unit.restarts += 1;
            self.starts(server);
        }
    }

    /// The host loses its power; it comes back after `boot`, if at all.
    pub(super) fn power_cut(&mut self, server: usize, boot: Option<Ms>) {
        self.leaves(server, false);
        let entry = &mut self.servers[server];
        entry.process = None;
        entry.boot = None;
        // What root keeps in /run is gone with the boot.
        entry.changes.retain(|_, record| record.outlives);
        for record in entry.changes.values_mut().filter(|record| record.ended.is_none()) {
            record.cut = true;
        }
        // A unit whose file is gone is still gone after a boot.
        if entry.unit.phase != Phase::Missing {
            entry.unit.phase = Phase::Stopped;
        }
        entry.unit.result = "success";
        entry.unit.exit = None;
        entry.unit.restarts = 0;
        self.scatter(server);
        self.note_readiness();
        if let Some(span) = boot {
            self.after(span, Happening::Booted { server });
        }
    }

    /// sshd answers again.
    pub(super) fn booted(&mut self, server: usize) {
        let entry = &mut self.servers[server];
        entry.boots += 1;
        entry.boot = Some(entry.boots);
        entry.booted = self.now;
        let boot = entry.boots;
        let span = self.rng.u64(times::BOOT_UNITS);
        self.after(span, Happening::UnitsStart { server, boot });
    }

    /// The host goes down, as it was told to.
    pub(super) fn goes_down(&mut self, server: usize, boot: u32) {
        if self.servers[server].boot != Some(boot) {
            return;
        }
        let span = match self.servers[server].at_reboot {
            AtReboot::StaysUp => return,
            AtReboot::StaysOff => None,
            AtReboot::ComesBack => Some(self.rng.u64(times::BOOT)),
        };
        self.power_cut(server, span);
    }

    /// Units start that are enabled.
    pub(super) fn units_start(&mut self, server: usize, boot: u32) {
        let entry = &self.servers[server];
        // A stop that came first cancels the start.
        let cancelled = entry.changes.values().any(|record| record.stops);
        if entry.boot == Some(boot)
            && entry.process.is_none()
            && entry.unit.phase == Phase::Stopped
            && entry.unit.enabled
            && !cancelled
        {
            self.starts(server);
        }
    }

    /// Clients of a server that is gone attach to others.
    fn scatter(&mut self, server: usize) {
        let clients = std::mem::take(&mut self.servers[server].clients);
        for cid in clients {
            let span = self.rng.u64(times::RECONNECT);
            self.after(span, Happening::Reconnects { cid, stubborn: None });
        }
        let stubborn = std::mem::take(&mut self.servers[server].stubborn);
        for cid in stubborn {
            let span = self.rng.u64(times::RECONNECT);
            self.after(span, Happening::Reconnects { cid, stubborn: Some(server) });
        }
        for controller in &mut self.controllers {
            if controller.system == Some(server) {
                controller.system = None;
            }
        }
    }

    /// A client finds a server that takes it, or tries again.
    pub(super) fn reconnects(&mut self, cid: u64, stubborn: Option<usize>) {
        let now = self.now;
        self.cids += 1;
        let new = self.cids;
        if let Some(server) = stubborn {
            if self.servers[server].serves(now) {
                self.servers[server].stubborn.push(new);
            } else {
                self.after(2_000, Happening::Reconnects { cid, stubborn });
            }
            return;
        }
        let open: Vec<usize> = (0..self.servers.len()).filter(|server| self.servers[*server].serves(now)).collect();
        if open.is_empty() {
            self.after(2_000, Happening::Reconnects { cid, stubborn });
        } else {
            let server = open[self.rng.usize(..open.len())];
            self.servers[server].clients.push(new);
        }
    }

    /// A client is told to go: most find another server, 15 to 40 % come back to this one (measured with async-nats).
    pub(super) fn evicts(&mut self, server: usize, cid: u64) {
        let back = self.rng.u64(15..=40) > self.rng.u64(..100);
        let entry = &mut self.servers[server];
        if let Some(place) = entry.clients.iter().position(|client| *client == cid) {
            entry.clients.remove(place);
            if back {
                self.cids += 1;
                let cid = self.cids;
                self.servers[server].clients.push(cid);
            } else {
                let others: Vec<usize> = (0..self.servers.len())
                    .filter(|other| *other != server && self.servers[*other].serves(self.now))
                    .collect();
                self.cids += 1;
                let cid = self.cids;
                match others.as_slice() {
                    [] => self.servers[server].clients.push(cid),
                    others => {
                        let other = others[self.rng.usize(..others.len())];
                        self.servers[other].clients.push(cid);
                    }
                }
            }
        } else if let Some(place) = entry.stubborn.iter().position(|client| *client == cid) {
            self.cids += 1;
            self.servers[server].stubborn[place] = self.cids;
        }
    }
}
