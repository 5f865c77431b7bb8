//! A real collection, and damaged ones.

use proptest::prelude::*;

use super::*;
use crate::core::{
    diagnosis::files::{FileKind, PathRole},
    view::Phase,
};

/// What the collector printed of a host of the lab, with a certificate.
const HEALTHY: &str = include_str!("healthy.txt");

fn read(output: &[u8]) -> Archive {
    let at = Timestamp::from_second(1_795_384_824).unwrap();
    let asked = Asked { host: "h1".into(), server_name: Some("h1".into()), asked_at: at, answered_at: at, since: None };
    archive(&asked, output)
}

#[test]
fn a_real_collection_is_read_whole() {
    let archive = read(HEALTHY.as_bytes());
    assert_eq!(archive.gaps, []);
    let unit = archive.unit.as_ref().unwrap();
    assert_eq!((unit.phase, unit.user.as_deref(), unit.pid), (Phase::Running, Some("nats"), Some(62)));
    assert_eq!(unit.argv, ["/usr/local/bin/nats-server", "-c", "/etc/nats/nats-server.conf"]);
    assert_eq!(unit.environment, ["GOMEMLIMIT"]);
    let process = archive.process.as_ref().unwrap().as_ref().unwrap();
    assert_eq!((process.pid, process.open_files_limit, process.state), (62, Some(20_000), Some('S')));
    let journal = archive.journal.as_ref().unwrap();
    assert!(journal.lines.iter().any(|line| line.level.as_deref() == Some("INF") && line.text == "Server is ready"));
    assert!(journal.lines.iter().all(|line| line.at.is_some()));
    let binary = archive.binary.as_ref().unwrap();
    assert_eq!((binary.version.as_deref(), binary.arch.as_deref()), (Some("v2.15.1"), Some("x86_64")));
    assert_eq!((binary.exists, binary.executable), (true, Some(true)));
    let test = archive.config_test.as_ref().unwrap();
    assert_eq!((test.exit, test.as_service_user), (Some(Exit::Code(0)), true));
    let ports: Vec<_> = archive.listeners.as_ref().unwrap().iter().map(|one| (one.port, one.pid)).collect();
    assert!(ports.contains(&(4222, Some(62))) && ports.contains(&(6222, Some(62))), "{ports:?}");
    let store = archive.path("/var/lib/nats/jetstream").unwrap();
    assert_eq!((store.roles.as_slice(), store.kind), (&[PathRole::Store][..], Some(FileKind::Directory)));
    assert_eq!((&store.readable, &store.writable, store.mode), (&Ok(true), &Ok(true), Some(0o750)));
    let mount = store.mount.as_ref().unwrap();
    assert_eq!((mount.point.as_str(), mount.fs_type.as_str(), mount.read_only), ("/var/lib/nats", "ext4", false));
    assert!(mount.free.unwrap() <= mount.total.unwrap() && mount.inodes_free.unwrap() > 0);
    let key = archive.path("/etc/nats/tls/server.key").unwrap();
    assert_eq!((&key.readable, key.owner.as_deref(), key.mode), (&Ok(true), Some("nats"), Some(0o400)));
    let block = &archive.tls_blocks.as_ref().unwrap()[0];
    assert_eq!((block.block.as_str(), &block.key_matches, &block.chain), ("tls", &Ok(true), &Ok(Ok(()))));
    let files = archive.tls_files.as_ref().unwrap();
    let certificate = files[0].certificates[0].as_ref().unwrap();
    assert_eq!((certificate.subject.as_str(), certificate.issuer.as_str()), ("CN=h1", "CN=rollgate-lab-ca"));
    assert_eq!(certificate.names, ["h1", "localhost", "127.0.0.1", "10.77.0.11"]);
    assert!(archive.reach.as_ref().unwrap().iter().all(|reach| reach.result.is_ok()));
    let shape = archive.store.as_ref().unwrap().as_ref().unwrap();
    assert_eq!((shape.exists, shape.meta, shape.raft_groups), (true, true, 1));
    assert_eq!(archive.log_file, Ok(None));
}

#[test]
fn ports_half_open_are_as_the_kernel_writes_them() {
    assert_eq!(read(b"lh\t184E\nlh\t1F92\nlh\twhat\nend\n").half_open, [6222, 8082]);
}

#[test]
fn a_collection_that_was_cut_short_says_so() {
    let archive = read(&HEALTHY.as_bytes()[..2000]);
    assert!(archive.machine.is_ok() && archive.listeners.is_err() && archive.paths.is_err());
    assert!(archive.gaps.iter().any(|gap| gap.what == "collection"), "{:?}", archive.gaps);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300.max(ProptestConfig::default().cases), ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_make_an_archive(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        read(&bytes);
    }

    #[test]
    fn a_damaged_collection_makes_an_archive(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = HEALTHY.as_bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let archive = read(&bytes);
        serde_json::to_string(&archive).unwrap();
    }

    #[test]
    fn any_values_of_known_tags_make_an_archive(
        lines in prop::collection::vec(("(v|m|u|p|j|l|L|b|t|to|pu|li|f|x|s|st|r|c|cf|ce|cl|cv|g|fr)", "[a-z0-9.:/+|=\\t-]{0,40}"), 0..60),
    ) {
        let text: String = lines.iter().map(|(tag, rest)| format!("{tag}\t{rest}\n")).collect();
        read(text.as_bytes());
    }
}
