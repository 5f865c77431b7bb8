//! Hand-made archives for unit tests: a healthy server, to be spoiled by the test.

use jiff::{SignedDuration, Timestamp};

use super::{evidence::*, files::*, unit::*};
use crate::core::{
    testing::{at, cluster},
    view::{Exit, Failure, FailureKind, Phase},
};

/// nats-server under systemd on host n1 of three, healthy for an hour.
pub(crate) fn healthy() -> Archive {
    Archive {
        half_open: Vec::new(),
        v: VERSION,
        host: "n1".into(),
        server_name: Some("n1".into()),
        asked_at: at(0),
        answered_at: at(1),
        machine: Ok(HostFacts {
            addresses: vec!["10.0.0.1".into()],
            hostname: "n1".into(),
            clock: at(0),
            boot_id: Some("boot-1".into()),
            uptime_s: Some(86_400),
            arch: Some("x86_64".into()),
            gathered_by: "root".into(),
            as_root: true,
            memory_total: Some(8_000_000_000),
            memory_available: Some(6_000_000_000),
            swap_total: Some(0),
            swap_free: Some(0),
            clock_synchronized: Some(true),
        }),
        unit: Ok(unit()),
        process: Ok(Some(Process {
            work: None,
            inner_pid: None,
            pid: 100,
            exe: Some("/usr/local/bin/nats-server".into()),
            exe_replaced: false,
            argv: vec!["/usr/local/bin/nats-server".into(), "-c".into(), CONF.into()],
            user: Some("nats".into()),
            started: Some(at(-3600)),
            rss: Some(30_000_000),
            open_files: Some(20),
            open_files_limit: Some(65_536),
            memory_limit: None,
            state: Some('S'),
        })),
        journal: Ok(Log {
            source: JOURNAL.into(),
            lines: vec![
                line(-3600, 100, Some("INF"), "Starting nats-server"),
                line(-3599, 100, Some("INF"), "Server is ready"),
            ],
            cut: false,
        }),
        log_file: Ok(None),
        oom_kills: Ok(vec![]),
        binary: Ok(Binary {
            runs: Some(true),
            script: None,
            path: "/usr/local/bin/nats-server".into(),
            exists: true,
            executable: Some(true),
            arch: Some("x86_64".into()),
            size: Some(17_000_000),
            version: Some("v2.15.1".into()),
            said: None,
        }),
        config: Ok(ConfigText {
            main: CONF.into(),
            files: vec![ConfigFile { path: CONF.into(), text: Ok(TEXT.into()), cut: false, lost_at: None }],
            environment: vec![],
        }),
        config_test: Ok(ConfigTest {
            argv: vec!["nats-server".into(), "-t".into(), "-c".into(), CONF.into()],
            user: "nats".into(),
            as_service_user: true,
            exit: Some(Exit::Code(0)),
            output: vec![format!("nats-server: configuration file {CONF} is valid")],
        }),
        listeners: Ok([4222, 8222, 6222].map(|port| listener(port, 100, "nats-server", "nats-server.service")).into()),
        paths: Ok(vec![
            path(CONF, PathRole::Config, FileKind::File),
            path("/var/lib/nats", PathRole::Store, FileKind::Directory),
            path("/run/nats/nats.pid", PathRole::Pid, FileKind::File),
        ]),
        tls_files: Ok(vec![]),
        tls_blocks: Ok(vec![]),
        store: Ok(Some(StoreShape {
            path: "/var/lib/nats/jetstream".into(),
            exists: true,
            meta: true,
            streams: vec![],
            raft_groups: 1,
            bytes: Some(1_000_000),
            foreign: vec![],
        })),
        reach: Ok(["10.0.0.2", "10.0.0.3"].map(|target| reach(target, Ok(()))).into()),
        view: Some(cluster(&["n1", "n2", "n3"])),
        gaps: vec![],
    }
}

pub(crate) const CONF: &str = "/etc/nats/nats-server.conf";
pub(crate) const JOURNAL: &str = "journalctl -u nats-server.service";
const TEXT: &str = "server_name: n1
port: 4222
http: 8222
jetstream { store_dir: /var/lib/nats }
cluster {
  name: lab
  port: 6222
  routes: [nats://10.0.0.2:6222, nats://10.0.0.3:6222]
}
";

pub(crate) fn unit() -> UnitState {
    UnitState {
        lame_duck_stop: Some(true),
        manager: Manager::Systemd,
        name: "nats-server.service".into(),
        phase: Phase::Running,
        load: Some("loaded".into()),
        active: "active".into(),
        sub: Some("running".into()),
        result: Some("success".into()),
        exit: None,
        restarts: Some(0),
        pid: Some(100),
        enabled: Some("enabled".into()),
        fragment: Some("/etc/systemd/system/nats-server.service".into()),
        drop_ins: vec![],
        needs_daemon_reload: Some(false),
        user: Some("nats".into()),
        group: Some("nats".into()),
        argv: vec!["/usr/local/bin/nats-server".into(), "-c".into(), CONF.into()],
        environment: vec![],
        working_directory: None,
        stop_timeout_ms: Some(150_000),
        open_files_limit: Some(65_536),
        memory_max: None,
        sandbox: vec![],
        requires_mounts_for: vec![],
        started: None,
    }
}

pub(crate) fn line(seconds: i64, pid: u32, level: Option<&str>, text: &str) -> LogLine {
    LogLine {
        at: Some(at(seconds)),
        pid: Some(pid),
        level: level.map(Into::into),
        from: Some("nats-server".into()),
        text: text.into(),
    }
}

pub(crate) fn listener(port: u16, pid: u32, program: &str, unit: &str) -> Listener {
    Listener {
        address: "0.0.0.0".into(),
        port,
        pid: Some(pid),
        program: Some(program.into()),
        user: Some("nats".into()),
        unit: Some(unit.into()),
    }
}

pub(crate) fn path(path: &str, role: PathRole, kind: FileKind) -> PathFacts {
    PathFacts {
        path: path.into(),
        roles: vec![role],
        kind: Some(kind),
        owner: Some("nats".into()),
        group: Some("nats".into()),
        mode: Some(0o750),
        size: None,
        changed: None,
        readable: Ok(true),
        writable: Ok(true),
        write_error: None,
        ancestor: None,
        blocked_by: None,
        mount: Some(Mount {
            point: "/".into(),
            fs_type: "ext4".into(),
            source: "/dev/vda1".into(),
            read_only: false,
            total: Some(100_000_000_000),
            free: Some(50_000_000_000),
            inodes: Some(6_000_000),
            inodes_free: Some(5_000_000),
            expected_not_mounted: None,
        }),
    }
}

pub(crate) fn reach(target: &str, result: Result<(), Failure>) -> Reach {
    Reach { role: ReachRole::Route, target: target.into(), port: 6222, result, plain: None }
}

/// The same server after it was restarted and has died with a line of this level and text.
pub(crate) fn died(level: Option<&str>, text: &str) -> Archive {
    let mut archive = healthy();
    archive.process = Ok(None);
    if let Ok(unit) = &mut archive.unit {
        unit.phase = Phase::AutoRestart;
        unit.active = "activating".into();
        unit.sub = Some("auto-restart".into());
        unit.result = Some("exit-code".into());
        unit.exit = Some(Exit::Code(1));
        unit.pid = None;
    }
    if let Ok(log) = &mut archive.journal {
        log.lines.push(line(-10, 200, level, text));
    }
    if let (Ok(test), true) = (&mut archive.config_test, text.starts_with("nats-server: ")) {
        (test.exit, test.output) = (Some(Exit::Code(1)), vec![text.to_owned()]);
    }
    archive.listeners = Ok(vec![]);
    refuse(&mut archive);
    archive
}

/// The server does not answer the controller.
pub(crate) fn refuse(archive: &mut Archive) {
    let refused = || Failure::new(FailureKind::Refused, "connection refused");
    if let Some(server) = archive.view.as_mut().and_then(|view| view.servers.first_mut()) {
        server.varz = Err(refused());
        server.health = Err(refused());
        server.routes = Err(refused());
        server.client = Err(refused());
    }
}

/// The server runs and says this in its log, and healthz says that.
pub(crate) fn says(log: &[&str], health: &[(&str, &str)]) -> Archive {
    let mut archive = healthy();
    if let Ok(journal) = &mut archive.journal {
        journal.lines.extend(log.iter().map(|text| line(-2, 100, Some("ERR"), text)));
    }
    if !health.is_empty()
        && let Some(server) = archive.view.as_mut().and_then(|view| view.servers.first_mut())
    {
        let errors = health.iter().map(|(kind, error)| crate::core::view::HealthError {
            kind: (*kind).into(),
            error: (*error).into(),
            account: None,
            stream: None,
            consumer: None,
        });
        server.health = Ok(crate::core::view::Health { code: 503, errors: errors.collect() });
    }
    archive
}

/// A `tls` block over three files that are in order, with the certificate's end `days` from now.
pub(crate) fn with_tls(days: i64) -> Archive {
    let mut archive = healthy();
    let certificate = |subject: &str, days: i64| Certificate {
        subject: subject.into(),
        issuer: "CN=ca".into(),
        serial: "01".into(),
        not_before: before(),
        not_after: at(0) + SignedDuration::from_hours(24 * days),
        names: vec!["n1".into()],
        is_ca: subject == "CN=ca",
        key_digest: "aa".into(),
        usages: vec![],
    };
    let file = |path: &str, blocks: &str, certificates, key: Option<&str>| TlsFile {
        path: path.into(),
        read: true,
        blocks: vec![blocks.into()],
        certificates,
        key_digest: Ok(key.map(Into::into)),
    };
    archive.tls_files = Ok(vec![
        file("/etc/nats/n1.pem", "CERTIFICATE", vec![Ok(certificate("CN=n1", days))], None),
        file("/etc/nats/n1.key", "PRIVATE KEY", vec![], Some("aa")),
        file("/etc/nats/ca.pem", "CERTIFICATE", vec![Ok(certificate("CN=ca", 3650))], None),
    ]);
    archive.tls_blocks = Ok(vec![TlsBlock {
        issuer: None,
        block: "tls".into(),
        cert: Some("/etc/nats/n1.pem".into()),
        key: Some("/etc/nats/n1.key".into()),
        ca: Some("/etc/nats/ca.pem".into()),
        verify: false,
        key_matches: Ok(true),
        chain: Ok(Ok(())),
    }]);
    if let Ok(paths) = &mut archive.paths {
        for (file, role) in [("n1.pem", PathRole::TlsCert), ("n1.key", PathRole::TlsKey), ("ca.pem", PathRole::TlsCa)] {
            paths.push(path(&format!("/etc/nats/{file}"), role, FileKind::File));
        }
    }
    archive
}

fn before() -> Timestamp {
    at(0) - SignedDuration::from_hours(24 * 100)
}
