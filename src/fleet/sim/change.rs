//! Changes on a host: asked for, begun at most once, ended, lost with a reboot.

use super::{
    archive::broken,
    fault::{Moment, StopFault, What},
    oracle::Effect,
    server::{AtReboot, Record, Server, Stage},
    times,
    world::{Happening, Request, World, ms},
};
use crate::{
    core::view::Phase,
    fleet::{Action, Command},
};

impl World {
    /// Sends a request on its way; it arrives at its time, whoever still waits for it.
    pub(super) fn send(&mut self, request: Request) -> usize {
        let link = &mut self.servers[request.host].link;
        let mut way = link.one_way(&mut self.rng);
        let up = link.up(self.now);
        if let Some(late) = link.late.take() {
            way += late;
        }
        let twice = link.repeats > 0;
        link.repeats = link.repeats.saturating_sub(1);
        self.requests.push(request);
        let number = self.requests.len() - 1;
        if up {
            self.after(way, Happening::Arrives { request: number });
            if twice {
                let again = self.rng.u64(50..3_000);
                self.after(way + again, Happening::Arrives { request: number });
            }
        }
        number
    }

    /// A request reaches its host.
    pub(super) fn arrives(&mut self, number: usize) {
        let Request { host, change, controller, fence, .. } = self.requests[number].clone();
        // What was under way when the power went is gone; one that is cut off now never arrives.
        if self.servers[host].boot.is_none() || !self.servers[host].link.up(self.now) || !self.servers[host].sudo {
            return;
        }
        let boot = self.servers[host].boot.map(|boot| format!("boot-{boot}"));
        if change.boot.is_some() && change.boot != boot {
            self.requests[number].lost = true;
            return;
        }
        if self.servers[host].changes.contains_key(&change.id) {
            return;
        }
        if !self.lets_in(host, &fence) {
            self.requests[number].refused = true;
            return;
        }
        self.judge_actor(host, controller);
        if change.what == Action::Stop {
            self.strike_in_turn(host);
            if self.servers[host].boot.is_none() {
                return;
            }
        }
        let stops = change.what == Action::Stop;
        let missing = self.servers[host].unit.phase == Phase::Missing;
        let files = match &change.what {
            Action::Place(placement) => self.servers[host].files.place(placement, self.now),
            Action::PutBack(kept) => self.servers[host].files.put_back(kept, self.now),
            _ => "",
        };
        let of_service = matches!(change.what, Action::Stop | Action::Start);
        let missing = missing && of_service;
        let refused =
            missing || (stops && self.servers[host].at_stop.contains(&StopFault::Refused)) || !files.is_empty();
        let output = match (missing, refused) {
            _ if !files.is_empty() => files,
            (true, _) => "Unit nats-server.service not found.",
            (_, true) => "Failed to stop nats-server.service: Connection timed out",
            _ => "",
        };
        let outlives = matches!(change.what, Action::Run { .. } | Action::Put { .. } | Action::Reboot { .. });
        let limit = ms(change.limit);
        let record = Record { began: self.now, ended: None, stops, outlives, cut: false, limit, output };
        self.servers[host].changes.insert(change.id.clone(), record);
        let (at, id, what) = (self.now, change.id.clone(), change.what.clone());
        let boot = self.servers[host].boot.unwrap_or_default();
        if !refused {
            // What the manager would not do had no effect.
            self.effects.push(Effect { at, host: self.servers[host].host.clone(), id, what, boot });
        }
        let job = self.rng.u64(times::JOB);
        if refused {
            self.after(job, Happening::ChangeEnds { server: host, boot, request: number });
            return;
        }
        match change.what {
            Action::Stop => {
                if self.stop(host, controller) {
                    // It ends with the process, or at its own limit.
                    self.after(ms(change.limit), Happening::ChangeEnds { server: host, boot, request: number });
                    return;
                }
            }
            Action::Start => self.start(host),
            // Through its manager it is a signal: what the server has against it is in its log.
            Action::Reload => drop(self.reloads(host)),
            // Done: it is on the disk in one instant.
            Action::Place(_) | Action::PutBack(_) => {}
            Action::Reboot { .. } => {
                self.judge_reboot(host);
                let span = self.rng.u64(times::SHUTDOWN);
                self.after(span, Happening::GoesDown { server: host, boot });
            }
            Action::Put { file, .. } => self.servers[host].files.put(&file),
            Action::Run { command, .. } => {
                if let Some(record) = self.servers[host].changes.get_mut(&change.id) {
                    record.output = ends(&command).1;
                }
                let span = self.rng.u64(times::COMMAND);
                self.after(span, Happening::ChangeEnds { server: host, boot, request: number });
                return;
            }
        }
        self.after(job, Happening::ChangeEnds { server: host, boot, request: number });
    }

    /// SIGHUP, or its likeness over the system account: it is read while the server serves. Or what it has against that.
    pub(super) fn reloads(&mut self, server: usize) -> Result<(), &'static str> {
        const WORDS: &str = "config reload not supported for Port: old=4222, new=4333";
        let now = self.now;
        let Server { process, files, log, .. } = &mut self.servers[server];
        let Some(process) = process.as_mut().filter(|process| process.stage == Stage::Serving) else { return Ok(()) };
        if let Some(words) = broken(files.config()) {
            log.push(format!("[ERR] Failed to reload server configuration: {words}"));
            return Err("the configuration is none");
        }
        if files.config().starts_with("refused-") {
            log.push(format!("[ERR] Failed to reload server configuration: {WORDS}"));
            return Err(WORDS);
        }
        process.loaded = now;
        process.config = files.config().to_owned();
        Ok(())
    }

    /// `systemctl stop`; whether there is a process to wait for.
    fn stop(&mut self, server: usize, controller: usize) -> bool {
        self.judge_stop(server, controller);
        let entry = &mut self.servers[server];
        match (entry.unit.phase, entry.process.is_some()) {
            // Somebody else's stop is joined.
            (Phase::Stopping, true) => {
                entry.ready_at_stop = false;
                entry.down_by_us = true;
                true
            }
            (_, true) => {
                entry.ready_at_stop = entry.unready_since.is_none();
                entry.down_by_us = true;
                if entry.unit.kills {
                    entry.unit.phase = Phase::Stopping;
                    self.judge_kill(server);
                    self.killed(server);
                } else {
                    self.lame_duck(server);
                }
                true
            }
            (_, false) => {
                entry.ready_at_stop = false;
                entry.down_by_us = true;
                entry.unit.phase = Phase::Stopped;
                entry.unit.result = "success";
                false
            }
        }
    }

    /// `systemctl start`.
    fn start(&mut self, server: usize) {
        self.judge_start(server);
        if self.servers[server].process.is_none() {
            let unit = &mut self.servers[server].unit;
            // Not systemd's own restart: it counts from 0 again (`service.c`).
            (unit.restarts, unit.result, unit.exit) = (0, "success", None);
            self.starts(server);
        } else if self.servers[server].unit.phase == Phase::Stopping {
            // Seen: a start on top of a stop cancels it, and the old process lives on.
            self.servers[server].unit.phase = Phase::Running;
        }
    }

    /// The commands that waited for a server's process to end.
    pub(super) fn stops_end(&mut self, server: usize) {
        let end = self.now + self.rng.u64(times::JOB);
        for record in self.servers[server].changes.values_mut() {
            if record.stops && record.ended.is_none() {
                record.ended = Some((end, 0));
            }
        }
    }

    /// A change's command ends by itself, or at its limit.
    pub(super) fn change_ends(&mut self, server: usize, boot: u32, request: usize) {
        let Some(request) = self.requests.get(request) else { return };
        let entry = &mut self.servers[server];
        if entry.boot != Some(boot) {
            return;
        }
        let now = self.now;
        if let Some(record) = entry.changes.get_mut(&request.change.id)
            && record.ended.is_none()
        {
            let timed_out = now >= record.began + record.limit;
            let status = if timed_out { 124 } else { i32::from(!record.output.is_empty()) };
            record.ended = Some((now, status));
        }
    }

    /// The faults that show in a host's own turn.
    fn strike_in_turn(&mut self, server: usize) {
        let host = self.servers[server].host.clone();
        let due: Vec<usize> = (0..self.armed.len())
            .filter(|number| self.armed[*number].host == host && self.armed[*number].after.is_none())
            .collect();
        for number in due {
            self.strikes(number);
        }
    }

    /// A fault happens, once.
    pub(super) fn strikes(&mut self, number: usize) {
        let fault = self.armed[number].clone();
        let Some(server) = self.place(&fault.host) else { return };
        // Struck: it must not come again with the next stop.
        self.armed[number].after = Some(std::time::Duration::MAX);
        let next = (server + 1) % self.servers.len();
        let now = self.now;
        debug_assert_eq!(fault.what.moment(), Moment::Turn);
        let link = &mut self.servers[server].link;
        match fault.what {
            What::SshCut => link.cut_until = now + 20_000,
            What::SshLost => link.cut_until = times::Ms::MAX,
            What::SshSlow => link.slow = 2_000,
            What::ReplyLost => link.lose_replies = 2,
            What::Late => link.late = Some(30_000),
            What::Repeated => link.repeats = 8,
            What::Reboot => {
                let span = self.rng.u64(times::BOOT);
                self.power_cut(server, Some(span));
            }
            What::PowerCut => self.power_cut(server, None),
            What::Crash => self.killed(server),
            What::Freeze => self.freeze(server, 20_000),
            What::ClockBack => self.servers[server].clock -= 3_600_000,
            What::ClockAhead => self.servers[server].clock += 3_600_000,
            What::SudoDenied => {
                self.servers[server].sudo = false;
                self.servers[server].unmanageable_since = Some(now);
            }
            What::UnitMissing => {
                self.servers[server].unit.phase = Phase::Missing;
                self.servers[server].unmanageable_since = Some(now);
            }
            What::NotEnabled => self.servers[server].unit.enabled = false,
            What::StaysOff => self.servers[server].at_reboot = AtReboot::StaysOff,
            What::StaysUp => self.servers[server].at_reboot = AtReboot::StaysUp,
            What::HeldStop => self.held_stop(server, 30_000),
            What::Impostor => {
                self.servers[server].wrong_since = Some(now);
                if let Some(process) = &mut self.servers[server].process {
                    process.name = format!("{}-other", process.name);
                }
            }
            // A server that is alone has no rest to differ from.
            What::OtherCluster if next != server => {
                self.servers[server].wrong_since = Some(now);
                if let Some(process) = &mut self.servers[server].process {
                    process.cluster = "C2";
                }
            }
            What::AccountRefused if self.system_account => self.account_refused = Some(now),
            What::NoRoom => self.servers[server].no_room = true,
            What::NoEvidence => self.servers[server].no_evidence = true,
            What::Silent => self.servers[server].silent = true,
            What::ClientPort => self.servers[server].client_port_lost = Some(now),
            What::ForeignStop => self.stopped_by_others(server, 30_000),
            What::RouteLost if next != server => self.split.push((server, next, now)),
            What::Lagging => self.falls_behind(server, 40_000),
            What::Leaderless => self.leaderless(server, 15_000),
            What::Moving => {
                let moved = (0..self.groups.len()).find(|group| {
                    !self.groups[*group].stream.is_empty() && self.groups[*group].member(server).is_some()
                });
                if let Some(group) = moved {
                    self.groups[group].moving_since = Some(now);
                    self.after(20_000, Happening::Moved { group });
                }
            }
            What::Mistaken if next != server => self.servers[server].answers_as = Some((next, now)),
            What::Stranger => self.stranger = Some((server, now)),
            What::ControllerStops => self.stand_still = true,
            _ => {}
        }
    }

    /// Somebody else's stop, with clients that take their time.
    fn stopped_by_others(&mut self, server: usize, span: times::Ms) {
        if self.servers[server].process.as_ref().is_none_or(|process| process.stage != Stage::Serving) {
            return;
        }
        self.leaves(server, true);
        let entry = &mut self.servers[server];
        entry.unit.phase = Phase::Stopping;
        let incarnation = entry.incarnation;
        if let Some(process) = &mut entry.process {
            process.stage = Stage::LameDuck;
        }
        self.note_readiness();
        self.after(span, Happening::Exits { server, incarnation, code: 0 });
    }

    /// Somebody else's stop, held up before it reaches the server.
    fn held_stop(&mut self, server: usize, span: times::Ms) {
        let entry = &mut self.servers[server];
        if entry.unit.phase == Phase::Running {
            entry.unit.phase = Phase::Stopping;
            entry.busy_since = Some(self.now);
            let incarnation = entry.incarnation;
            self.after(span, Happening::Exits { server, incarnation, code: 0 });
        }
    }

    fn freeze(&mut self, server: usize, span: times::Ms) {
        let until = self.now + span;
        let incarnation = self.servers[server].incarnation;
        self.leaves(server, false);
        if let Some(process) = &mut self.servers[server].process {
            process.frozen_until = until;
        }
        self.note_readiness();
        self.after(span, Happening::Joined { server, incarnation });
    }
}

/// How a command of the operator's ends: what it does is not known here, and it goes well, but for `false`.
pub(super) fn ends(command: &Command) -> (i32, &'static str) {
    if command.argv.first().is_some_and(|program| program == "false") { (1, "it fails") } else { (0, "") }
}
