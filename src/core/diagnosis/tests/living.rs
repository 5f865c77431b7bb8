//! A server that runs: its routes, its meta group, its store.

use super::*;

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
        (&["RAFT [R3X9uyZk - _meta_] Could not load 17 from WAL [{Msgs:5}]: deleted message"], &[], "wal-damaged"),
        (&["RAFT [R3X9uyZk - S-R3F-jlyWGWew] Resetting WAL state"], &[], "wal-damaged"),
        (&[], &[("STREAM", "JetStream stream 'APP > S3' is not current: stream catching up")], "healthz-stream"),
        (&["Unable to lookup account \"SYS2\": account missing", waiting], &[meta], "system-account-differs"),
    ] {
        check(&says(log, health), &[code]);
    }
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
    // Where not even its own port answers, such connections are of before: this host drops the packets.
    let others = std::mem::replace(
        &mut archive.reach,
        Ok(["10.0.0.1", "10.0.0.2"].map(|target| reach(target, fail(FailureKind::Timeout, "no answer"))).into()),
    );
    let diagnosis = check(&archive, &["routes-unreachable"]);
    assert!(diagnosis.root().expect("root").title.contains("a firewall of this host"), "{diagnosis:?}");
    archive.reach = others;
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
fn the_damaged_log_s_group_and_place_are_named() {
    let line = "RAFT [R3X9uyZk - S-R3F-jlyWGWew] Could not load 17 from WAL [{Msgs:5}]: deleted message";
    let diagnosis = check(&says(&[line], &[]), &["wal-damaged"]);
    let finding = &diagnosis.findings[0];
    assert_eq!(finding.title, "the raft log of the group S-R3F-jlyWGWew is damaged");
    assert_eq!(finding.remedy.commands[0], "sudo ls -la '/var/lib/nats/jetstream/$SYS/_js_/S-R3F-jlyWGWew'");
}

#[test]
fn what_stood_before_is_told_as_such_and_what_is_new_as_the_cause() {
    let old = ("STREAM", "JetStream stream '$G > S' could not be recovered");
    let new = ("CONSUMER", "JetStream consumer 'APP > S1 > d1' is not current");
    let archive = says(&[], &[old, new]);
    let errors = archive.view.as_ref().expect("view").servers[0].health.as_ref().expect("health").errors.clone();
    let context = Context { purpose: Purpose::Halt, health_before: vec![errors[0].clone()], ..Context::default() };
    let diagnosis = diagnose(&archive, &context);
    let codes: Vec<_> = diagnosis.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["healthz-consumer", "healthz-before"], "{diagnosis:#?}");
    assert_eq!(diagnosis.findings[1].title, old.1);
}
