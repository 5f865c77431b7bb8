//! The collector on real hosts: with sudo and without, with tools missing, with a full disk and a read-only one.
//!
//! The library has to run inside the lab's network, so this program starts itself there, to run [`inside`] alone.

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use rollgate::{
    config::Inventory,
    core::{
        diagnosis::evidence::{Archive, REDACTED},
        view::FailureKind,
    },
    fleet::{Fleet, live::Live},
};

use crate::harness::{Lab, Options};

/// Set where the program runs inside; the inventory's path.
const INSIDE: &str = "ROLLGATE_TEST_EVIDENCE";
const STORE: &str = "/var/lib/nats/jetstream";

/// The archives of all hosts, gathered in the lab.
fn gather(lab: &Lab) -> Vec<Archive> {
    let this = env::current_exe().expect("this program");
    let out = lab.file("archives.json");
    let mut command = lab.exec(this, &["--exact", "evidence::inside", "--nocapture"]);
    let output = command.env(INSIDE, lab.inventory()).env("OUT", &out).output().expect("this program runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    print!(
        "{}",
        said.lines().filter(|line| line.starts_with("collected")).map(|line| format!("{line}\n")).collect::<String>()
    );
    serde_json::from_slice(&fs::read(out).expect("the archives")).expect("archives")
}

/// Does nothing when it is run as a test like others.
#[test]
fn inside() {
    let Some(path) = env::var_os(INSIDE) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let archives = runtime.block_on(async {
        let inventory = Inventory::load(Path::new(&path)).expect("the inventory");
        let live = Live::new(&inventory.clusters[0]).await.expect("hosts");
        let mut archives = Vec::new();
        for host in live.hosts() {
            host.connect().await.expect("ssh");
            let began = Instant::now();
            let archive = live.collect(host.name(), None, Duration::from_secs(60)).await;
            let size = serde_json::to_vec(&archive).expect("JSON").len();
            println!("collected {} in {:?}, {size} bytes", host.name(), began.elapsed());
            archives.push(archive);
        }
        archives
    });
    fs::write(env::var_os("OUT").expect("OUT"), serde_json::to_vec(&archives).expect("JSON")).expect("a file");
}

#[test]
fn evidence_is_gathered_whatever_the_host_is_like() {
    let Some(lab) = Lab::up(Options { tls: true, ..Options::default() }) else { return };
    // h2: no sudo. h3: nothing to look at keys and ports with.
    lab.root("h2", "mv /etc/sudoers.d/deploy /root/deploy");
    lab.root("h3", "for tool in openssl ss runuser; do mv $(command -v $tool) /root/; done");
    let archives = gather(&lab);
    for archive in &archives {
        assert!(!archive.gaps.iter().any(|gap| gap.what == "collection"), "{:?}", archive.gaps);
        let text = archive.config.as_ref().expect("a configuration").files[0].text.as_ref().expect("its text");
        assert!(text.contains(&format!("user: \"{REDACTED}\", password: \"{REDACTED}\"")), "{text}");
        let mine: Vec<_> = archive.listening_on(4222).collect();
        assert_eq!((mine.len(), mine[0].user.as_deref()), (1, Some("nats")), "{mine:?}");
        assert!(archive.log_lines().count() > 5 || archive.host == "h2", "{:?}", archive.journal);
    }
    let [h1, h2, h3] = archives.as_slice() else { panic!("three hosts") };

    assert!(h1.gaps.is_empty(), "{:?}", h1.gaps);
    assert!(h1.machine.as_ref().is_ok_and(|machine| machine.as_root));
    let block = &h1.tls_blocks.as_ref().expect("blocks")[0];
    assert_eq!((&block.key_matches, &block.chain), (&Ok(true), &Ok(Ok(()))));
    let test = h1.config_test.as_ref().expect("a test");
    assert_eq!((test.user.as_str(), test.as_service_user), ("nats", true));
    assert_eq!(h1.path(STORE).expect("the store").writable, Ok(true));
    assert!(h1.reach.as_ref().is_ok_and(|all| all.len() == 3 && all.iter().all(|reach| reach.result.is_ok())));

    // Without root: less, and it says so.
    assert!(h2.machine.as_ref().is_ok_and(|machine| !machine.as_root));
    assert!(h2.gaps.iter().any(|gap| gap.what == "sudo"), "{:?}", h2.gaps);
    assert!(h2.config_test.as_ref().is_ok_and(|test| !test.as_service_user), "{:?}", h2.config_test);
    assert!(h2.listening_on(4222).all(|listener| listener.pid.is_none()));
    assert!(h2.unit.is_ok() && h2.binary.is_ok());
    let store = h2.path(STORE).expect("the store");
    assert_eq!(store.writable.as_ref().map_err(|failure| failure.kind), Err(FailureKind::Denied));

    // Without tools: the key is judged by nats-server's own test, the user is changed by setpriv.
    assert!(h3.config_test.as_ref().is_ok_and(|test| test.as_service_user), "{:?}", h3.config_test);
    assert_eq!(h3.tls_blocks.as_ref().expect("blocks")[0].key_matches, Ok(true));
    assert!(h3.gaps.iter().all(|gap| gap.what != "collection"));

    // A full store on h1; on h2 a unit that may not write to its store; on h3 nothing at all can be written.
    lab.command("fill-disk", &["h1"]);
    lab.root("h2", "mv /root/deploy /etc/sudoers.d/deploy");
    lab.command("fault", &["h2", "store-readonly"]);
    lab.root("h3", "systemctl stop nats-server; mount -o remount,ro /var/lib/nats && mount --bind -o ro /tmp /tmp && mount -o remount,bind,ro /tmp");
    let archives = gather(&lab);
    let store = |at: usize| archives[at].path(STORE).unwrap_or_else(|| panic!("{:?}", archives[at].paths));
    assert!(store(0).mount.as_ref().is_some_and(|mount| mount.free == Some(0)), "{:?}", store(0));
    for at in [1, 2] {
        assert_eq!(store(at).writable, Ok(false), "{:?}", store(at));
        assert_eq!(store(at).write_error.as_deref(), Some("Read-only file system"), "{:?}", store(at));
    }
    assert!(store(2).mount.as_ref().is_some_and(|mount| mount.read_only));
}
