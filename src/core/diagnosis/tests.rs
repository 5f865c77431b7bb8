//! Every rule, on archives made by hand.

use jiff::SignedDuration;

use super::{
    catalogue,
    evidence::{Archive, ReachRole, Work},
    files::{FileKind, PathFacts, PathRole},
    testing::*,
    *,
};
use crate::core::{
    testing::at,
    view::{Exit, Failure, FailureKind, Meta, Peer, Phase},
};

/// What is done to a healthy part, and the code that must come of it.
type Spoiled<T> = (fn(&mut T), &'static str);

#[track_caller]
fn check_as(purpose: Purpose, archive: &Archive, expected: &[&str]) -> Diagnosis {
    let context = Context { purpose, had_state: true, ..Context::default() };
    let diagnosis = diagnose(archive, &context);
    let codes: Vec<&str> = diagnosis.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, expected, "{diagnosis:#?}");
    for finding in &diagnosis.findings {
        assert!(!finding.quotes.is_empty(), "no proof: {finding:?}");
        assert!(!finding.remedy.text.is_empty());
    }
    diagnosis
}

/// The codes of the causes, first the root.
#[track_caller]
fn check(archive: &Archive, expected: &[&str]) -> Diagnosis {
    check_as(Purpose::Halt, archive, expected)
}

#[track_caller]
fn check_died(level: Option<&str>, text: &str, expected: &str) -> Diagnosis {
    let diagnosis = check(&died(level, text), &[expected]);
    let root = diagnosis.root().expect("a root cause");
    assert!(root.quotes[0].text.contains(text), "the fatal line is quoted first: {root:?}");
    let under: Vec<&str> = root.consequences.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(under.first(), Some(&"crash-loop"), "what follows stands below: {under:?}");
    diagnosis
}

fn path_mut(archive: &mut Archive, role: PathRole) -> &mut PathFacts {
    let paths = archive.paths.as_mut().expect("paths");
    paths.iter_mut().find(|path| path.roles.contains(&role)).expect("the path")
}

#[test]
fn a_healthy_server_has_no_finding() {
    for purpose in [Purpose::Look, Purpose::Halt, Purpose::Preflight] {
        let diagnosis = check_as(purpose, &healthy(), &[]);
        assert!(diagnosis.unidentified.is_empty());
        check_as(purpose, &with_tls(365), &[]);
    }
}

#[test]
fn fatal_lines_have_names() {
    let ftl = Some("FTL");
    for (text, code) in [
        (
            r#"Error listening on port: 0.0.0.0:4222, "listen tcp 0.0.0.0:4222: bind: address already in use""#,
            "port-taken",
        ),
        (
            "Can't start monitoring: can't listen to the monitor port: listen tcp 0.0.0.0:8222: bind: address already in use",
            "port-taken",
        ),
        ("Error listening on router port: 6222 - listen tcp 0.0.0.0:6222: bind: address already in use", "port-taken"),
        (
            "Error listening on leafnode port: 7422 - listen tcp 0.0.0.0:7422: bind: address already in use",
            "port-taken",
        ),
        ("Unable to listen for MQTT connections: listen tcp 0.0.0.0:1883: bind: address already in use", "port-taken"),
        (
            r#"Error listening on port: 192.0.2.10:4222, "listen tcp 192.0.2.10:4222: bind: cannot assign requested address""#,
            "address-not-local",
        ),
        (
            r#"Error listening on port: 0.0.0.0:222, "listen tcp 0.0.0.0:222: bind: permission denied""#,
            "port-privileged",
        ),
        (
            r#"Error listening on port: nowhere.invalid:4222, "listen tcp: lookup nowhere.invalid on 127.0.0.53:53: no such host""#,
            "listen-name-unresolved",
        ),
        (
            "Can't start JetStream: could not create storage directory - mkdir /var/lib/nats/jetstream: permission denied",
            "store-not-writable",
        ),
        (
            "Can't start JetStream: could not create storage directory - mkdir /var/lib/nats/jetstream: read-only file system",
            "store-read-only",
        ),
        ("Can't start JetStream: write /var/lib/nats/x/meta.inf: no space left on device", "disk-full"),
        ("Can't start JetStream: raft: snapshot corrupt", "meta-snapshot-corrupt"),
        ("Can't start JetStream: something new", "jetstream-failed"),
        ("Could not write pidfile: open /run/nats/nats.pid: permission denied", "pid-file-unwritable"),
        ("Not allowed to enable JetStream on the system account", "system-account-jetstream"),
        (
            r#"Error listening on port: 0.0.0.0:4222, "listen tcp 0.0.0.0:4222: socket: too many open files""#,
            "too-few-files",
        ),
    ] {
        check_died(ftl, text, code);
    }
}

#[test]
fn configuration_errors_have_names() {
    for (text, code) in [
        ("nats-server: Parse error on line 6: 'Unexpected EOF processing map.'", "config-syntax"),
        (r#"nats-server: /etc/nats/nats-server.conf:3:1: unknown field "max_connectionz""#, "config-unknown-field"),
        (
            "nats-server: error parsing include file './nope.conf', open /etc/nats/nope.conf: no such file or directory",
            "config-include",
        ),
        ("nats-server: variable reference for 'NOPE' on line 5 can not be found", "config-variable"),
        ("nats-server: jetstream cluster requires `server_name` to be set", "cluster-requirement"),
        ("nats-server: invalid lame_duck_duration of 5s, minimum is 30 seconds", "lame-duck-values"),
        ("nats-server: max_payload (67108864) cannot be higher than max_pending (1048576)", "config-invalid"),
        ("nats-server: open /etc/nats/nats-server.conf: permission denied", "config-unreadable"),
        (
            "nats-server: /etc/nats/nats-server.conf:5:1: error parsing X509 certificate/key pair: open /etc/nats/n1.pem: no such file or directory",
            "tls-file-missing",
        ),
        (
            "nats-server: /etc/nats/nats-server.conf:5:1: error parsing X509 certificate/key pair: open /etc/nats/n1.key: permission denied",
            "tls-file-unreadable",
        ),
        (
            "nats-server: /etc/nats/nats-server.conf:5:1: error parsing X509 certificate/key pair: tls: private key does not match public key",
            "tls-key-mismatch",
        ),
        (
            "nats-server: /etc/nats/nats-server.conf:5:1: error parsing X509 certificate/key pair: tls: failed to find any PEM data in certificate input",
            "tls-file-malformed",
        ),
        ("nats-server: /etc/nats/nats-server.conf:5:1: failed to parse root ca certificate", "tls-ca-malformed"),
        (
            r#"nats-server: could not fetch <"http://127.0.0.1:9091/jwt/v1/accounts/">: Get "x": dial tcp 127.0.0.1:9091: connect: connection refused"#,
            "resolver-unreachable",
        ),
        (
            r#"nats-server: could not fetch <"http://127.0.0.1:9091/jwt/v1/accounts/">: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"#,
            "resolver-timeout",
        ),
        (
            r#"nats-server: could not fetch <"http://127.0.0.1:9091/jwt/v1/accounts/">: 404 Not Found"#,
            "resolver-wrong-answer",
        ),
        ("nats-server: /etc/nats/nats-server.conf:6:1: mkdir /var/lib/jwt: permission denied", "resolver-directory"),
        (
            "nats-server: error parsing operator JWT: open /etc/nats/op.jwt: no such file or directory",
            "operator-invalid",
        ),
        ("nats-server: error resolving system account: account missing", "system-account-missing"),
        (
            "2026/11/22 15:50:16 error opening file: open /var/log/nats/nats.log: permission denied",
            "log-file-unwritable",
        ),
        ("panic: JetStream Cluster Unknown meta entry op type 17", "binary-too-old"),
        ("panic: runtime error: index out of range", "server-panic"),
    ] {
        check_died(None, text, code);
    }
}

#[test]
fn a_missing_ca_is_told_from_its_file() {
    let text = "nats-server: /etc/nats/nats-server.conf:5:1: open /etc/nats/ca.pem: no such file or directory";
    let mut archive = with_tls(365);
    let dead = died(None, text);
    (archive.process, archive.unit, archive.journal) = (dead.process, dead.unit, dead.journal);
    (archive.view, archive.listeners) = (dead.view, dead.listeners);
    path_mut(&mut archive, PathRole::TlsCa).kind = None;
    let diagnosis = check(&archive, &["tls-ca-missing"]);
    assert_eq!(diagnosis.root().expect("root").title, "/etc/nats/ca.pem is missing (tls)");
}

#[test]
fn the_line_of_the_configuration_is_quoted() {
    let diagnosis =
        check_died(None, "nats-server: /etc/nats/nats-server.conf:3:1: unknown field \"http\"", "config-unknown-field");
    let root = diagnosis.root().expect("root");
    assert!(
        root.quotes.iter().any(|quote| quote.source == "/etc/nats/nats-server.conf:3" && quote.text == "http: 8222")
    );
    assert!(root.remedy.commands.contains(&"sudoedit +3 /etc/nats/nats-server.conf".to_owned()), "{root:?}");
    assert_eq!(root.remedy.commands.last().expect("a command"), "sudo systemctl start nats-server.service");
}

#[test]
fn the_holder_of_a_port_is_named() {
    let text = r#"Error listening on port: 0.0.0.0:4222, "listen tcp 0.0.0.0:4222: bind: address already in use""#;
    let mut archive = died(Some("FTL"), text);
    archive.listeners = Ok(vec![listener(4222, 812, "nc", "port-squatter.service")]);
    let diagnosis = check(&archive, &["port-taken"]);
    let root = diagnosis.root().expect("root");
    assert_eq!(root.title, "the client port 4222 is held by nc (pid 812, user nats, port-squatter.service)");
    assert_eq!(
        root.remedy.commands,
        ["sudo systemctl stop port-squatter.service", "sudo systemctl start nats-server.service"]
    );
    archive.listeners = Ok(vec![listener(4222, 813, "nats-server", "session-3.scope")]);
    let diagnosis = check(&archive, &["old-server-alive"]);
    assert_eq!(diagnosis.root().expect("root").remedy.commands[0], "sudo kill 813");
}

#[test]
fn what_certificates_say() {
    let expired = check(&with_tls(-3), &["tls-expired"]);
    let root = expired.root().expect("root");
    assert!(root.reload_enough && !root.restart_helps);
    assert_eq!(root.remedy.commands.last().expect("a command"), "sudo kill -HUP 100");
    check(&with_tls(10), &["tls-expires-soon"]);

    let tls = |spoil: fn(&mut Archive)| {
        let mut archive = with_tls(365);
        spoil(&mut archive);
        archive
    };
    let block = |archive: &mut Archive, spoil: fn(&mut files::TlsBlock)| {
        spoil(&mut archive.tls_blocks.as_mut().expect("blocks")[0])
    };
    let mut archive = tls(|_| ());
    block(&mut archive, |block| block.key_matches = Ok(false));
    check(&archive, &["tls-key-mismatch"]);
    let mut archive = tls(|_| ());
    block(&mut archive, |block| block.chain = Ok(Err(files::ChainFault::UnknownIssuer)));
    check(&archive, &["tls-ca-wrong"]);
    if let Ok(files) = &mut archive.tls_files {
        files[0].certificates[0].as_mut().expect("one").issuer = "CN=between".into();
    }
    check(&archive, &["tls-chain-incomplete"]);
    check(&tls(|archive| path_mut(archive, PathRole::TlsKey).readable = Ok(false)), &["tls-file-unreadable"]);
    check(&tls(|archive| path_mut(archive, PathRole::TlsCert).kind = None), &["tls-file-missing"]);
    check(&tls(|archive| archive.tls_files.as_mut().expect("files")[2].blocks.clear()), &["tls-ca-malformed"]);
    check(&tls(|archive| archive.tls_files.as_mut().expect("files")[1].blocks.clear()), &["tls-file-malformed"]);
    let archive = tls(|archive| {
        let certificate = archive.tls_files.as_mut().expect("files")[0].certificates[0].as_mut().expect("one");
        certificate.not_before = at(86_400);
    });
    check(&archive, &["tls-not-yet-valid"]);
}

#[test]
fn what_paths_say() {
    let store = |spoil: fn(&mut PathFacts)| {
        let mut archive = healthy();
        spoil(path_mut(&mut archive, PathRole::Store));
        archive
    };
    let pre = Purpose::Preflight;
    let denied = |path: &mut PathFacts| {
        path.writable = Ok(false);
        path.owner = Some("root".into());
        path.write_error = Some("Permission denied".into());
    };
    let diagnosis = check_as(pre, &store(denied), &["store-not-writable"]);
    let root = diagnosis.root().expect("root");
    assert_eq!(root.title, "nats can't write the store /var/lib/nats, which belongs to root");
    assert_eq!(root.remedy.commands, ["sudo chown -R nats:nats /var/lib/nats"]);
    check_as(pre, &store(|path| path.kind = Some(FileKind::File)), &["store-not-a-directory"]);
    check_as(pre, &store(|path| path.mount.as_mut().expect("mount").read_only = true), &["store-read-only"]);
    check_as(pre, &store(|path| path.mount.as_mut().expect("mount").free = Some(0)), &["disk-full"]);
    check_as(pre, &store(|path| path.mount.as_mut().expect("mount").inodes_free = Some(0)), &["inodes-exhausted"]);
    let unmounted =
        |path: &mut PathFacts| path.mount.as_mut().expect("mount").expected_not_mounted = Some("/var/lib/nats".into());
    let diagnosis = check_as(pre, &store(unmounted), &["store-not-mounted"]);
    assert_eq!(diagnosis.root().expect("root").remedy.commands.last().expect("one"), "sudo mount /var/lib/nats");
    let mut archive = healthy();
    denied(path_mut(&mut archive, PathRole::Pid));
    check_as(pre, &archive, &["pid-file-unwritable"]);
    let mut archive = healthy();
    archive.paths.as_mut().expect("paths").push(path("/var/log/nats/nats.log", PathRole::Log, FileKind::File));
    denied(path_mut(&mut archive, PathRole::Log));
    check_as(pre, &archive, &["log-file-unwritable"]);
    let mut archive = healthy();
    archive.store.as_mut().expect("store").as_mut().expect("one").foreign = vec!["/var/lib/nats/jetstream/APP".into()];
    check_as(pre, &archive, &["store-not-writable"]);
}

#[test]
fn what_the_unit_and_the_program_say() {
    let stopped = |spoil: fn(&mut Archive)| {
        let mut archive = healthy();
        archive.process = Ok(None);
        archive.listeners = Ok(vec![]);
        refuse(&mut archive);
        if let Ok(unit) = &mut archive.unit {
            unit.phase = Phase::Failed;
            unit.active = "failed".into();
            unit.pid = None;
        }
        spoil(&mut archive);
        archive
    };
    let unit = |archive: &mut Archive, spoil: fn(&mut unit::UnitState)| spoil(archive.unit.as_mut().expect("unit"));
    let cases: [Spoiled<unit::UnitState>; 7] = [
        (|unit| (unit.load, unit.phase) = (Some("not-found".into()), Phase::Missing), "unit-missing"),
        (|unit| (unit.load, unit.phase) = (Some("masked".into()), Phase::Missing), "unit-masked"),
        (|unit| unit.load = Some("bad-setting".into()), "unit-invalid"),
        (|unit| unit.result = Some("oom-kill".into()), "oom-killed"),
        (|unit| (unit.result, unit.exit) = (Some("signal".into()), Some(Exit::Signal(9))), "killed-by-signal"),
        (|unit| (unit.result, unit.exit) = (Some("timeout".into()), Some(Exit::Signal(9))), "stop-timeout"),
        (|unit| unit.result = Some("start-limit-hit".into()), "start-limit-hit"),
    ];
    for (spoil, code) in cases {
        let mut archive = stopped(|_| ());
        unit(&mut archive, spoil);
        check(&archive, &[code]);
    }
    let binary: [Spoiled<evidence::Binary>; 4] = [
        (|binary| binary.exists = false, "binary-missing"),
        (|binary| binary.executable = Some(false), "binary-not-executable"),
        (|binary| binary.arch = Some("aarch64".into()), "binary-wrong-architecture"),
        (|binary| (binary.arch, binary.version) = (None, None), "binary-damaged"),
    ];
    for (spoil, code) in binary {
        let mut archive = stopped(|_| ());
        spoil(archive.binary.as_mut().expect("binary"));
        check(&archive, &[code]);
        let mut archive = healthy();
        spoil(archive.binary.as_mut().expect("binary"));
        check_as(Purpose::Preflight, &archive, &[code]);
    }
    let mut archive = healthy();
    unit(&mut archive, |unit| unit.enabled = Some("disabled".into()));
    check(&archive, &["unit-not-enabled"]);
    check(&stopped(|_| ()), &["process-exited"]);
}

#[test]
fn what_a_server_that_lives_says() {
    let meta = ("JETSTREAM", "JetStream is still recovering meta layer");
    let waiting = "Waiting for routing to be established...";
    for (log, health, code) in [
        (
            &[r#"Route Error 'Rejecting connection, cluster name "C2" does not match "C1"'"#, waiting][..],
            &[meta][..],
            "cluster-name-mismatch",
        ),
        (&["10.0.0.2:6222 - rid:16 - Route Error 'Authorization Violation'", waiting], &[meta], "route-authorization"),
        (
            &["10.0.0.2:6222 - rid:9 - TLS route handshake error: remote error: tls: bad certificate", waiting],
            &[meta],
            "route-tls",
        ),
        (
            &["TLS route handshake error: tls: first record does not look like a TLS handshake", waiting],
            &[meta],
            "route-tls-one-sided",
        ),
        (&[r#"10.0.0.2:6222 - rid:7 - Remote server has a duplicate name: "n2""#], &[], "duplicate-server-name"),
        (
            &["JetStream out of File resources, will be DISABLED"],
            &[("JETSTREAM", "JetStream not enabled (10076)")],
            "jetstream-disabled",
        ),
        (
            &["Error adding consumer 'APP > S1 > d1': corrupt state file (10104)"],
            &[(
                "CONSUMER",
                "JetStream consumer 'APP > S1 > d1' is not current: consumer assignment error: error creating store for consumer",
            )],
            "consumer-state-corrupt",
        ),
        (
            &["Error reading metafile \"/x/meta.inf\": open /x/meta.inf: permission denied"],
            &[(
                "STREAM",
                "JetStream stream 'APP > S1' is not current: stream assignment error: error creating store for stream",
            )],
            "store-directory-unreadable",
        ),
        (&[], &[("STREAM", "JetStream stream '$G > S' could not be recovered")], "stream-unrecovered"),
        (
            &["Filestore [S] Critical write error"],
            &[("STREAM", "JetStream stream '$G > S' write error: write 6.blk: no space left on device")],
            "stream-write-error",
        ),
        (&[waiting], &[meta], "server-alone"),
        (&[], &[("ACCOUNT", "JetStream account 'AXY' could not be resolved")], "account-unresolved"),
        (&["server was removed from the cluster"], &[meta], "peer-removed"),
        (&["JetStream cluster bootstrapping"], &[], "store-empty"),
        (&["Filestore [S1] indexCacheBuf corrupt record state in 1.blk"], &[], "message-blocks-damaged"),
        (&["Missing stream metafile for 'APP > S1'"], &[], "stream-metadata-damaged"),
        (&[], &[("STREAM", "JetStream stream 'APP > S3' is not current: stream catching up")], "healthz-stream"),
        (&["Unable to lookup account \"SYS2\": account missing", waiting], &[meta], "system-account-differs"),
    ] {
        check(&says(log, health), &[code]);
    }
}

#[test]
fn what_was_said_long_ago_is_of_the_past() {
    let mut archive = healthy();
    archive
        .journal
        .as_mut()
        .expect("journal")
        .lines
        .insert(0, line(-3700, 90, Some("FTL"), "Can't start JetStream: x"));
    let lines = [line(-3598, 100, Some("ERR"), "Error trying to connect to route (attempt 1): dial tcp: refused")];
    archive.journal.as_mut().expect("journal").lines.extend(lines);
    check(&archive, &[]);
}

#[test]
fn routes_that_lead_nowhere() {
    let mut archive = says(
        &["Waiting for routing to be established..."],
        &[("JETSTREAM", "JetStream is still recovering meta layer")],
    );
    let fail = |kind, text: &str| Err(Failure::new(kind, text));
    archive.reach = Ok(["10.0.0.2", "10.0.0.3"]
        .map(|target| reach(target, fail(FailureKind::Refused, "connection refused")))
        .into());
    // Peers that see it would make it join; here they don't.
    for server in &mut archive.view.as_mut().expect("view").servers {
        server.routes = Ok(vec![]);
    }
    let diagnosis = check(&archive, &["routes-unreachable"]);
    assert_eq!(diagnosis.root().expect("root").consequences[0].code, "server-alone");
    archive.reach =
        Ok(["10.0.0.2", "10.0.0.3"].map(|target| reach(target, fail(FailureKind::Timeout, "no answer"))).into());
    check(&archive, &["routes-unreachable"]);
    // The peers' packets come, and our answers to them bring nothing.
    archive.half_open = vec![6222];
    check(&archive, &["isolated-one-way"]);
    // A route to the process before is none to this one.
    archive.half_open = vec![];
    let old = Peer { server_id: "NBEFORE".into(), server_name: Some("n1".into()) };
    archive.view.as_mut().expect("view").servers[1].routes = Ok(vec![old]);
    check(&archive, &["routes-unreachable"]);
    // Peers that are down are not firewalled.
    archive.reach = Ok(["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        .map(|target| match target {
            "10.0.0.1" => reach(target, Ok(())),
            _ => reach(target, fail(FailureKind::Refused, "connection refused")),
        })
        .into());
    for server in archive.view.as_mut().expect("view").servers.iter_mut().skip(1) {
        server.varz = Err(Failure::new(FailureKind::Refused, "connection refused"));
        server.health = Err(Failure::new(FailureKind::Refused, "connection refused"));
    }
    archive.view.as_mut().expect("view").servers[0].varz.as_mut().expect("varz").meta =
        Some(Meta { leader: None, size: 3, members: vec![] });
    let diagnosis = check(&archive, &["no-meta-leader"]);
    assert_eq!(diagnosis.root().expect("root").remedy.commands, ["rollgate diagnose n2 n3"]);
}

#[test]
fn a_route_list_of_itself_is_told() {
    let mut archive = healthy();
    archive.reach = Ok(vec![reach("10.0.0.1", Ok(())), reach("n1", Ok(()))]);
    check(&archive, &["route-to-self"]);
}

#[test]
fn the_meta_leader_s_list_is_held_against_the_server() {
    let listed = |archive: &mut Archive, members: &[&str]| {
        for server in &mut archive.view.as_mut().expect("view").servers {
            let varz = server.varz.as_mut().expect("varz");
            let leads = varz.server_name == "n2";
            let members = if leads { members.iter().map(|name| (*name).to_owned()).collect() } else { vec![] };
            varz.meta = Some(Meta { leader: Some("n2".into()), size: 3, members });
        }
    };
    let mut archive = healthy();
    listed(&mut archive, &["n1", "n2", "n3"]);
    check(&archive, &[]);
    listed(&mut archive, &["n3", "n2"]);
    let diagnosis = check(&archive, &["peer-removed"]);
    assert!(diagnosis.findings[0].quotes[0].text.contains("n3, n2"), "{diagnosis:?}");
}

#[test]
fn an_error_of_an_earlier_start_is_of_the_past() {
    let words = "nats-server: /etc/nats/nats-server.conf:3:1: unknown field \"http\"";
    let mut archive = died(None, words);
    archive.config_test = healthy().config_test;
    let unit = archive.unit.as_mut().expect("unit");
    (unit.phase, unit.active, unit.result) = (Phase::Failed, "failed".into(), Some("start-limit-hit".into()));
    let diagnosis = check(&archive, &["start-limit-hit"]);
    assert!(diagnosis.root().expect("root").remedy.commands.iter().any(|c| c.contains("reset-failed")));
}

#[test]
fn a_stop_that_cuts_lame_duck_short_is_told() {
    let mut archive = healthy();
    archive.unit.as_mut().expect("unit").stop_timeout_ms = Some(20_000);
    check(&archive, &["lame-duck-values"]);
    archive.unit.as_mut().expect("unit").lame_duck_stop = Some(false);
    check(&archive, &[]);
}

#[test]
fn the_host_itself() {
    let failure = |kind, text: &str| Failure::new(kind, text);
    check(
        &Archive::unknown("n1", at(0), &failure(FailureKind::Unreachable, "no route to host")),
        &["host-unreachable"],
    );
    check(&Archive::unknown("n1", at(0), &failure(FailureKind::Sudo, "a password is required")), &["sudo-lost"]);
    let mut archive = healthy();
    archive.machine.as_mut().expect("machine").clock = at(0) + SignedDuration::from_mins(10);
    if let Ok(Some(process)) = &mut archive.process {
        process.started = Some(at(-3000));
    }
    check(&archive, &["clock-skew"]);
    let context = Context { boot_before: Some("boot-0".into()), ..Context::default() };
    assert_eq!(diagnose(&healthy(), &context).findings[0].code, "host-rebooted");
}

#[test]
fn recovery_is_told_from_being_stuck() {
    let mut archive = says(
        &["Starting restore for stream 'APP > S1'"],
        &[("CONNECTION", "failed to be ready for connections after 1ms: server")],
    );
    let lines = &mut archive.journal.as_mut().expect("journal").lines;
    lines.remove(1);
    let diagnosis = check(&archive, &["store-recovering"]);
    // Waiting mends it.
    assert_eq!(diagnosis.hopeless(true), None);
    let work = |archive: &mut Archive, bytes, ticks| {
        let process = archive.process.as_mut().expect("process").as_mut().expect("one");
        process.work = Some(Work { bytes, ticks, seconds: 3 });
    };
    work(&mut archive, 9_000_000, 2);
    check(&archive, &["store-recovering"]);
    work(&mut archive, 4000, 1);
    let diagnosis = check(&archive, &["store-recovery-stuck"]);
    let root = diagnosis.root().expect("root");
    assert!(root.quotes.iter().any(|quote| quote.text.contains("1 ticks of the processor in 3 s")), "{root:?}");
    assert!(root.remedy.commands[0].contains("/APP/streams/S1"), "{root:?}");
}

#[test]
fn data_that_is_short_is_the_root_where_nothing_else_is() {
    let context =
        Context { data_short: vec!["APP > S1 has 0 of 12060 messages".into()], had_state: true, ..Context::default() };
    let archive = says(&["JetStream cluster bootstrapping"], &[]);
    let diagnosis = diagnose(&archive, &context);
    assert_eq!(diagnosis.findings[0].code, "store-empty");
    assert_eq!(diagnosis.findings[0].consequences[0].code, "data-short");
    assert_eq!(diagnose(&healthy(), &context).findings[0].code, "data-short");
}

#[test]
fn two_faults_are_both_found_and_the_blocking_one_is_first() {
    let mut archive = died(Some("FTL"), "Could not write pidfile: open /run/nats/nats.pid: permission denied");
    archive.unit.as_mut().expect("unit").enabled = Some("disabled".into());
    path_mut(&mut archive, PathRole::Store).mount.as_mut().expect("mount").free = Some(0);
    check(&archive, &["pid-file-unwritable", "disk-full", "unit-not-enabled"]);
}

#[test]
fn what_is_not_known_is_not_guessed() {
    let mut archive = healthy();
    refuse(&mut archive);
    archive.view.as_mut().expect("view").servers[0].health =
        Ok(crate::core::testing::healthz_error(503, "something new"));
    archive.view.as_mut().expect("view").servers[0].health.as_mut().expect("health").errors.clear();
    let diagnosis = check(&archive, &["healthz-other"]);
    assert!(diagnosis.unidentified.is_empty());
    let mut archive = healthy();
    archive.view = None;
    let diagnosis = diagnose(&archive, &Context { purpose: Purpose::Halt, ..Context::default() });
    assert!(diagnosis.findings.is_empty() && !diagnosis.unidentified.is_empty());
}

#[test]
fn the_catalogue_is_well_formed() {
    let mut seen = Vec::new();
    for (subject, pages) in catalogue::subjects() {
        assert!(!pages.is_empty(), "{subject}");
        for page in pages {
            assert!(!seen.contains(&page.code), "twice: {}", page.code);
            seen.push(page.code);
            assert!(page.code.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", page.code);
            for text in [page.title, page.why, page.proof, page.remedy] {
                assert!(text.len() > 10, "{}: {text:?}", page.code);
            }
        }
    }
    for (_, pages) in catalogue::subjects() {
        for code in pages.iter().flat_map(|page| page.follows).filter(|code| **code != "*") {
            assert!(seen.contains(code), "follows an unknown code: {code}");
        }
    }
}

#[test]
fn resolvers_are_tried() {
    let mut archive = healthy();
    let mut resolver = reach("10.0.0.9", Err(Failure::new(FailureKind::Timeout, "no answer in 2 s")));
    resolver.role = ReachRole::Resolver;
    archive.reach.as_mut().expect("reach").push(resolver);
    check_as(Purpose::Preflight, &archive, &["resolver-timeout"]);
}
