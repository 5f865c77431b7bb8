//! Certificates and paths.

use super::*;

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
