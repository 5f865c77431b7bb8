//! What a server says as it dies, and its configuration.

use super::*;

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
fn resolvers_are_tried() {
    let mut archive = healthy();
    let mut resolver = reach("10.0.0.9", Err(Failure::new(FailureKind::Timeout, "no answer in 2 s")));
    resolver.role = ReachRole::Resolver;
    archive.reach.as_mut().expect("reach").push(resolver);
    check_as(Purpose::Preflight, &archive, &["resolver-timeout"]);
}
