//! What is gathered on a simulated host: a host in order, with the unit, the process and the log that it has now.

use jiff::Timestamp;

use super::{fault::StartFault, server::Server, world::World};
use crate::core::{
    diagnosis::{
        evidence::{
            Archive, Binary, ConfigFile, ConfigTest, ConfigText, HostFacts, Listener, Log, LogLine, Process,
            StoreShape, VERSION,
        },
        files::{FileKind, PathFacts, PathRole},
        unit::{Manager, UnitState},
    },
    view::{Exit, Failure, FailureKind, Seen},
};

pub(super) const PROGRAM: &str = "/usr/local/bin/nats-server";
pub(super) const CONF: &str = "/etc/nats/nats-server.conf";
const UNIT: &str = "nats-server.service";

impl World {
    /// Whether anything comes of gathering evidence on a host.
    pub(super) fn gathers(&self, server: usize) -> Seen<()> {
        self.reachable(server)?;
        if !self.servers[server].sudo {
            return Err(Failure::new(FailureKind::Sudo, "sudo: a password is required (exit status 1)"));
        }
        if self.servers[server].no_evidence {
            return Err(Failure::new(FailureKind::Timeout, "the collector did not end in time"));
        }
        Ok(())
    }

    /// The archive of a host that can be reached and used.
    pub(super) fn archive(&self, server: usize, clock: i64) -> Archive {
        let entry = &self.servers[server];
        let argv: Vec<String> = [PROGRAM, "-c", CONF].map(str::to_owned).into();
        let now = self.clock(self.now, entry.clock);
        let asked = self.clock(self.now, clock);
        let process = entry.process.as_ref().map(|process| Process {
            inner_pid: None,
            work: None,
            pid: process.pid,
            exe: Some(PROGRAM.into()),
            exe_replaced: false,
            argv: argv.clone(),
            user: Some("nats".into()),
            started: Some(self.clock(process.started, entry.clock)),
            rss: Some(30_000_000),
            open_files: Some(40),
            open_files_limit: Some(65_536),
            memory_limit: None,
            state: Some('S'),
        });
        Archive {
            half_open: Vec::new(),
            v: VERSION,
            host: entry.host.clone(),
            server_name: Some(entry.name.clone()),
            asked_at: asked,
            answered_at: asked,
            machine: Ok(HostFacts {
                addresses: Vec::new(),
                hostname: entry.host.clone(),
                clock: now,
                boot_id: entry.boot.map(|boot| format!("boot-{boot}")),
                uptime_s: Some(self.now.saturating_sub(entry.booted) / 1_000),
                arch: Some("x86_64".into()),
                gathered_by: "root".into(),
                as_root: true,
                memory_total: Some(8_000_000_000),
                memory_available: Some(6_000_000_000),
                swap_total: Some(0),
                swap_free: Some(0),
                clock_synchronized: Some(true),
            }),
            unit: Ok(unit(entry, argv)),
            listeners: Ok(process.as_ref().map(|process| listeners(process.pid)).unwrap_or_default()),
            process: Ok(process),
            journal: Ok(Log { source: format!("journalctl -u {UNIT}"), lines: lines(entry), cut: false }),
            log_file: Ok(None),
            oom_kills: Ok(Vec::new()),
            binary: Ok(Binary {
                runs: Some(true),
                script: None,
                path: PROGRAM.into(),
                exists: true,
                executable: Some(true),
                arch: Some("x86_64".into()),
                size: Some(17_000_000),
                version: Some(format!("v{}", entry.files.version())),
                said: None,
            }),
            config: Ok(self.config(server)),
            config_test: Ok(tested(entry, entry.files.config())),
            paths: Ok(entry.files.changed.map(|at| conf(self.clock(at, entry.clock))).into_iter().collect()),
            tls_files: Ok(Vec::new()),
            tls_blocks: Ok(Vec::new()),
            store: Ok(self.jetstream.then(|| StoreShape {
                path: "/var/lib/nats/jetstream".into(),
                exists: true,
                meta: self.servers.len() > 1,
                streams: Vec::new(),
                raft_groups: 1,
                bytes: Some(1_000_000),
                foreign: Vec::new(),
            })),
            reach: Ok(Vec::new()),
            view: None,
            gaps: Vec::new(),
        }
    }

    fn config(&self, server: usize) -> ConfigText {
        let entry = &self.servers[server];
        let mut text = format!("server_name: {}\nport: 4222\nhttp: 8222\n", entry.name);
        if self.jetstream {
            text.push_str("jetstream { store_dir: /var/lib/nats }\n");
        }
        let routes: Vec<String> = (0..self.servers.len())
            .filter(|other| *other != server)
            .map(|other| format!("nats://{}:6222", self.servers[other].host))
            .collect();
        if !routes.is_empty() {
            text.push_str(&format!("cluster {{\n  name: C1\n  port: 6222\n  routes: [{}]\n}}\n", routes.join(", ")));
        }
        let file = ConfigFile { path: CONF.into(), text: Ok(text), cut: false, lost_at: None };
        ConfigText { main: CONF.into(), files: vec![file], environment: Vec::new() }
    }
}

/// The configuration file as it lies there since it was put in place.
fn conf(changed: Timestamp) -> PathFacts {
    PathFacts {
        path: CONF.into(),
        roles: vec![PathRole::Config],
        kind: Some(FileKind::File),
        owner: Some("root".into()),
        group: Some("root".into()),
        mode: Some(0o644),
        size: Some(1_000),
        changed: Some(changed),
        readable: Ok(true),
        writable: Ok(false),
        write_error: None,
        ancestor: None,
        blocked_by: None,
        mount: None,
    }
}

/// What nats-server has against the configuration of that digest, if anything.
pub(super) fn broken(config: &str) -> Option<String> {
    config.starts_with("broken-").then(|| format!("nats-server: {CONF}:3:1: unknown field \"prot\""))
}

/// How the configuration of that digest is tested.
pub(super) fn tested(entry: &Server, config: &str) -> ConfigTest {
    let broken = broken(config);
    let refused = refused(entry).or(broken);
    ConfigTest {
        argv: [PROGRAM, "-t", "-c", CONF].map(str::to_owned).into(),
        user: "nats".into(),
        as_service_user: true,
        exit: Some(Exit::Code(i32::from(refused.is_some()))),
        output: vec![refused.unwrap_or_else(|| {
            let digest = if entry.at_least(2, 11) { format!(" (sha256:{config})") } else { String::new() };
            format!("nats-server: configuration file {CONF} is valid{digest}")
        })],
    }
}

/// What the configuration is refused for, since a start has met it: `-t` says the same.
fn refused(entry: &Server) -> Option<String> {
    let met = |fault: &StartFault| match fault {
        StartFault::Exits { words, .. } if words.starts_with("nats-server: ") => {
            entry.log.iter().any(|line| line == words).then(|| (*words).to_owned())
        }
        _ => None,
    };
    entry.at_start.iter().find_map(met)
}

fn unit(entry: &Server, argv: Vec<String>) -> UnitState {
    let words = entry.words();
    let (active, sub) = words.split_once(" (").unwrap_or((&words, ""));
    UnitState {
        lame_duck_stop: None,
        manager: Manager::Systemd,
        name: UNIT.into(),
        phase: entry.unit.phase,
        load: Some(if entry.unit.phase == crate::core::view::Phase::Missing { "not-found" } else { "loaded" }.into()),
        active: active.into(),
        sub: Some(sub.trim_end_matches(')').into()),
        result: Some(entry.unit.result.into()),
        exit: entry.unit.exit,
        restarts: Some(entry.unit.restarts),
        pid: entry.process.as_ref().map(|process| process.pid),
        enabled: Some(entry.unit.enabled()),
        fragment: Some(format!("/etc/systemd/system/{UNIT}")),
        drop_ins: Vec::new(),
        needs_daemon_reload: Some(false),
        user: Some("nats".into()),
        group: Some("nats".into()),
        argv,
        environment: Vec::new(),
        working_directory: None,
        stop_timeout_ms: Some(entry.unit.stop_timeout),
        open_files_limit: Some(65_536),
        memory_max: None,
        sandbox: Vec::new(),
        requires_mounts_for: Vec::new(),
        started: None,
    }
}

fn listeners(pid: u32) -> Vec<Listener> {
    let listener = |port| Listener {
        address: "0.0.0.0".into(),
        port,
        pid: Some(pid),
        program: Some("nats-server".into()),
        user: Some("nats".into()),
        unit: Some(UNIT.into()),
    };
    [4222, 8222, 6222].map(listener).into()
}

/// The log, each line with its level apart.
fn lines(entry: &Server) -> Vec<LogLine> {
    let line = |text: &String| {
        let level = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        LogLine {
            at: None,
            pid: entry.process.as_ref().map(|process| process.pid),
            level: level.map(|(level, _)| level.to_owned()),
            from: Some(if text.starts_with(UNIT) { "systemd" } else { "nats-server" }.into()),
            text: level.map_or(text.as_str(), |(_, rest)| rest).to_owned(),
        }
    };
    entry.log.iter().map(line).collect()
}
