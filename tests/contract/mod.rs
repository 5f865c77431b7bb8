//! What every fleet must do, whoever it is: run against the simulator (`tests/sim`) and against real servers (`tests/lab`).
//! Where the two part, the simulator proves nothing.

use std::time::Duration;

use rollgate::{
    core::{
        diagnosis::evidence::Archive,
        gate::{Baseline, Gate, Verdict},
        install::{Placement, Role, StandIn, sha256},
        lock::Claim,
        playbook::Reboot,
        view::{FailureKind, Phase, View},
    },
    fleet::{Action, Change, Changed, Command, Content, Fleet, PutFile},
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The machine may be busy, and an election takes up to 9 s.
const WIDE: Duration = Duration::from_secs(90);

/// Restarts the server on the first of `hosts` and holds the fleet to its contract on the way. `run` makes ids unique.
pub async fn holds<F: Fleet>(fleet: &F, hosts: &[String], run: &str) {
    let host = &hosts[0];
    observed(fleet, hosts).await;
    let view = fleet.observe_assets(std::slice::from_ref(host), TIMEOUT).await;
    let before = view.server(host).expect("the host").clone();
    let mut gate = Gate::new(Baseline::of(&before), 2);
    assert!(!opens(fleet, host, &mut gate).await, "the gate opens for the process from before the restart");

    // Without the lock the host begins nothing.
    let stop = change(run, host, Action::Stop);
    let refused = fleet.change(host, &stop, TIMEOUT).await.expect_err("the lock is not ours");
    assert_eq!(refused.kind, FailureKind::Fenced, "{refused}");
    fleet.lock(&claim(run), TIMEOUT).await.expect("the lock");
    assert_eq!(fleet.record(host, &stop.id, TIMEOUT).await, Ok(None), "nothing was begun");

    // A stop, whose first reply nobody waits for.
    let lost = tokio::time::timeout(Duration::from_millis(30), fleet.change(host, &stop, TIMEOUT)).await;
    assert!(lost.is_err() || matches!(lost, Ok(Ok(_))), "{lost:?}");
    let first = settled(fleet, host, &stop).await;
    assert_eq!(fleet.service(host, TIMEOUT).await.expect("the service").phase, Phase::Stopped);
    assert_eq!(settled(fleet, host, &stop).await, first, "a change that has ended tells the same again");
    let down = fleet.observe(&[], TIMEOUT).await;
    let failure = down.server(host).expect("the host").varz.clone().expect_err("nothing answers");
    assert_eq!(failure.kind, FailureKind::Refused, "{failure}");
    for other in &hosts[1..] {
        let other = down.server(other).expect("the host");
        let routes = other.routes.as_ref().expect("routes");
        assert!(routes.iter().all(|peer| Some(&peer.server_id) != id(&view, host).as_ref()), "{other:?}");
    }

    let start = change(run, host, Action::Start);
    settled(fleet, host, &start).await;
    // The same ids once more: neither has another effect.
    settled(fleet, host, &stop).await;
    settled(fleet, host, &start).await;
    assert_eq!(fleet.service(host, TIMEOUT).await.expect("the service").phase, Phase::Running);
    let began = tokio::time::Instant::now();
    let mut gate = Gate::new(Baseline::of(&before), 2);
    while !opens(fleet, host, &mut gate).await {
        assert!(began.elapsed() < WIDE, "the gate never opens");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = observed(fleet, hosts).await;
    assert_ne!(id(&view, host), id(&after, host), "a new process has a new id");
    let known = fleet.record(host, &stop.id, TIMEOUT).await.expect("the host's records");
    assert_eq!(known, Some(first));
    assert!(fleet.clear(run, TIMEOUT).await.is_empty());
    assert_eq!(fleet.record(host, &stop.id, TIMEOUT).await, Ok(None), "its records are gone");
    fleet.release(TIMEOUT).await;
    assert!(fleet.locks(TIMEOUT).await.iter().all(|(_, lock)| lock.as_ref().is_ok_and(|lock| lock.claim.is_none())));
    for other in &hosts[1..] {
        assert_eq!(id(&view, other), id(&after, other), "nobody touched {other}");
    }
}

/// Puts a file in place of the program of `hosts[0]` and back again, without a restart. `content` is a program whose digest
/// is `sha256`, and whose version `version`.
pub async fn places_files<F: Fleet>(fleet: &F, host: &str, run: &str, program: (Content, &str, &str)) {
    let (content, sha256, version) = program;
    let to = "/usr/local/bin/nats-server";
    let limit = Duration::from_secs(60);
    let before = fleet.digest(host, to, TIMEOUT).await.expect("a digest").expect("a program");
    assert_ne!(before, sha256, "another program is to be put in place");
    assert_eq!(fleet.digest(host, "/nowhere/at/all", TIMEOUT).await, Ok(None));
    let refused = fleet.stage(host, run, sha256, &content, limit).await.expect_err("the lock is not ours");
    assert_eq!(refused.kind, FailureKind::Fenced, "{refused}");
    fleet.lock(&claim(run), TIMEOUT).await.expect("the lock");
    let missing = fleet.stage(host, run, sha256, &Content::Staged, limit).await.expect_err("nothing is staged");
    assert_eq!(missing.kind, FailureKind::Command, "{missing}");
    let place = |run: &str| Placement::new(run, to, sha256);
    let act = |what: Action, id: &str| Change { id: format!("{run}-{host}-{id}"), what, limit, boot: None };
    failed(fleet, host, &act(Action::Place(place(run)), "place-1")).await;
    for content in [&content, &Content::Staged] {
        fleet.stage(host, run, sha256, content, limit).await.expect("staged");
    }
    assert_eq!(fleet.digest(host, to, TIMEOUT).await, Ok(Some(before.clone())), "staging touches nothing");

    // Tried beside the one that it stands in for, which stays as it is.
    let stand_in = |sha256: Option<&str>| StandIn::new(run, sha256.map(str::to_owned), to, Role::Program);
    let tried = |archive: Archive| archive.binary.map(|binary| (binary.path, binary.version)).expect("a program");
    let seen = tried(fleet.prove(host, &[stand_in(Some(sha256))], limit).await);
    assert_eq!(seen, (stand_in(None).beside(), Some(format!("v{version}"))));
    let archive = fleet.prove(host, &[stand_in(None)], limit).await;
    assert!(archive.gaps.iter().any(|gap| gap.what == "stand-in"), "nothing was kept yet: {:?}", archive.gaps);
    assert_eq!(fleet.digest(host, &stand_in(None).beside(), TIMEOUT).await, Ok(None));

    // Twice under different ids: what is kept is what stood there first.
    settled(fleet, host, &act(Action::Place(place(run)), "place-2")).await;
    settled(fleet, host, &act(Action::Place(place(run)), "place-3")).await;
    assert_eq!(fleet.digest(host, to, TIMEOUT).await, Ok(Some(sha256.to_owned())));
    let kept = tried(fleet.prove(host, &[stand_in(None)], limit).await);
    assert_ne!(kept.1, Some(format!("v{version}")), "{kept:?}");
    assert!(fleet.clear(run, TIMEOUT).await.is_empty());
    let gone = fleet.stage(host, run, sha256, &Content::Staged, limit).await;
    assert_eq!(gone.expect_err("what was staged is removed").kind, FailureKind::Command);
    for id in ["back-1", "back-2"] {
        settled(fleet, host, &act(Action::PutBack(place(run).kept()), id)).await;
        assert_eq!(fleet.digest(host, to, TIMEOUT).await, Ok(Some(before.clone())), "what was kept is there again");
    }
    let another = act(Action::PutBack(place("another").kept()), "back-3");
    failed(fleet, host, &another).await;

    // Where nothing stood, nothing stands again.
    let new = Placement { mode: Some("600".into()), ..Placement::new(run, "/var/tmp/contract", sha256) };
    fleet.stage(host, run, sha256, &content, limit).await.expect("staged");
    settled(fleet, host, &act(Action::Place(new.clone()), "new-1")).await;
    assert_eq!(fleet.digest(host, &new.to, TIMEOUT).await, Ok(Some(sha256.to_owned())));
    settled(fleet, host, &act(Action::PutBack(new.kept()), "new-2")).await;
    assert_eq!(fleet.digest(host, &new.to, TIMEOUT).await, Ok(None));
    fleet.clear(run, TIMEOUT).await;
    fleet.release(TIMEOUT).await;
}

/// Has the server on the first of `hosts` reload, in both ways, and carries out commands and files of the operator's, there and
/// here; none of it restarts a server.
pub async fn changes_without_a_restart<F: Fleet>(fleet: &F, hosts: &[String], run: &str) {
    let (host, limit) = (&hosts[0], Duration::from_secs(60));
    let before = observed(fleet, hosts).await;
    let own = id(&before, host).expect("an id");
    let loaded = async || {
        let view = fleet.observe(&[], TIMEOUT).await;
        view.server(host).expect("the host").varz.as_ref().expect("an answer").config_load_time.expect("a time")
    };
    let refused = fleet.reload(&own, TIMEOUT).await.expect_err("the lock is not ours");
    assert_eq!(refused.kind, FailureKind::Fenced, "{refused}");
    fleet.lock(&claim(run), TIMEOUT).await.expect("the lock");
    let first = loaded().await;
    fleet.reload(&own, TIMEOUT).await.expect("it takes what is on its disk");
    let began = tokio::time::Instant::now();
    let second = loop {
        let now = loaded().await;
        if now > first {
            break now;
        }
        assert!(began.elapsed() < WIDE, "told over the system account, it reads nothing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    fleet.reload("NOBODY", Duration::from_secs(1)).await.expect_err("no such server");
    let act = |what: Action, name: &str| Change { id: format!("{run}-{host}-{name}"), what, limit, boot: None };
    settled(fleet, host, &act(Action::Reload, "reload")).await;
    while loaded().await <= second {
        assert!(began.elapsed() < WIDE, "told by its manager, it reads nothing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let command = |program: &str| Command { argv: vec![program.into()], environment: vec![] };
    for privileged in [true, false] {
        let own = |program: &str| Action::Run { command: command(program), privileged };
        let good = act(own("true"), &format!("own-good-{privileged}"));
        let first = settled(fleet, host, &good).await;
        assert_eq!(settled(fleet, host, &good).await, first, "it is not done again");
        failed(fleet, host, &act(own("false"), &format!("own-bad-{privileged}"))).await;
    }
    for (program, status) in [("true", 0), ("false", 1)] {
        assert_eq!(fleet.run_here(&command(program), limit).await.expect("it ends").status, status);
    }
    let content = "of the contract";
    let file = |path: &str, content: Option<&str>| PutFile {
        path: path.into(),
        content: content.map(str::to_owned),
        mode: "600".into(),
        owner: None,
    };
    let path = "/var/tmp/contract-own";
    let put = |content, name: &str| act(Action::Put { file: file(path, content), privileged: true }, name);
    settled(fleet, host, &put(Some(content), "put")).await;
    let there = fleet.digest(host, path, TIMEOUT).await;
    assert_eq!(there, Ok(Some(sha256(content.as_bytes()))));
    settled(fleet, host, &put(None, "remove")).await;
    assert_eq!(fleet.digest(host, path, TIMEOUT).await, Ok(None));
    let here = std::env::temp_dir().join(format!("{run}-{}", std::process::id())).display().to_string();
    for content in [Some(content), None] {
        assert_eq!(fleet.put_here(&file(&here, content), limit).await.expect("it ends").status, 0);
    }
    assert!(fleet.clear(run, TIMEOUT).await.is_empty());
    fleet.release(TIMEOUT).await;
    let after = observed(fleet, hosts).await;
    hosts.iter().for_each(|host| assert_eq!(id(&before, host), id(&after, host), "nothing was restarted"));
}

/// Reboots the first of `hosts`, whose server is stopped: once, however often it is asked for.
pub async fn reboots<F: Fleet>(fleet: &F, hosts: &[String], run: &str) {
    let host = &hosts[0];
    observed(fleet, hosts).await;
    fleet.lock(&claim(run), TIMEOUT).await.expect("the lock");
    let boot = async || fleet.service(host, TIMEOUT).await.ok().and_then(|state| state.boot_id);
    let old = boot().await.expect("a boot");
    settled(fleet, host, &change(run, host, Action::Stop)).await;
    let what = Action::Reboot { command: Reboot::default().command };
    let order = Change { boot: Some(old.clone()), ..change(run, host, what) };
    let began = tokio::time::Instant::now();
    let new = loop {
        assert!(began.elapsed() < WIDE, "it is never rebooted");
        // Nobody else renews the lock meanwhile.
        let _ = fleet.renew(Duration::from_secs(1)).await;
        match boot().await {
            Some(now) if now != old => break now,
            // Where its connection goes is seen by the boot.
            Some(_) => drop(fleet.change(host, &order, Duration::from_secs(1)).await),
            None => {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    // It is there already when its server is: nothing begins anew.
    let again = loop {
        let _ = fleet.renew(Duration::from_secs(1)).await;
        match fleet.change(host, &order, TIMEOUT).await {
            Ok(Changed::Running) | Err(_) => assert!(began.elapsed() < WIDE, "it never ends"),
            Ok(ended) => break ended,
        }
    };
    assert!(matches!(again, Changed::Ended { .. } | Changed::Lost { .. }), "{again:?}");
    observed(fleet, hosts).await;
    assert_eq!(boot().await, Some(new), "it was rebooted again");
    assert!(fleet.clear(run, TIMEOUT).await.is_empty());
    fleet.release(TIMEOUT).await;
}

/// Asks until the change has ended, which it must badly.
async fn failed<F: Fleet>(fleet: &F, host: &str, change: &Change) {
    let began = tokio::time::Instant::now();
    loop {
        match fleet.change(host, change, TIMEOUT).await {
            Ok(Changed::Ended { status, .. }) => break assert_ne!(status, 0, "{}", change.id),
            Ok(Changed::Running) | Err(_) => assert!(began.elapsed() < WIDE, "{} never ends", change.id),
            other => panic!("{}: {other:?}", change.id),
        }
    }
}

/// A change that a host has never heard of is not there, and a host that nobody knows is a failure.
pub async fn refuses_strangers<F: Fleet>(fleet: &F) {
    let stranger = "nobody-knows-this-host";
    assert!(fleet.service(stranger, TIMEOUT).await.is_err());
    assert!(fleet.change(stranger, &change("x", stranger, Action::Stop), TIMEOUT).await.is_err());
    assert!(fleet.look(stranger, TIMEOUT).await.server.varz.is_err());
}

fn claim(run: &str) -> Claim {
    Claim { run: run.into(), seat: "contract".into(), holder: "contract".into(), reason: "contract".into() }
}

fn change(run: &str, host: &str, what: Action) -> Change {
    let name = match &what {
        Action::Stop => "stop",
        Action::Start => "start",
        _ => "reboot",
    };
    let id = format!("{run}-{host}-{name}");
    Change { id, what, limit: Duration::from_secs(60), boot: None }
}

/// Asks until the change has ended well, over as many replies as that takes.
async fn settled<F: Fleet>(fleet: &F, host: &str, change: &Change) -> Changed {
    let began = tokio::time::Instant::now();
    loop {
        match fleet.change(host, change, TIMEOUT).await {
            Ok(ended @ Changed::Ended { status: 0, .. }) => return ended,
            Ok(Changed::Running) | Err(_) => assert!(began.elapsed() < WIDE, "{} never ends", change.id),
            other => panic!("{}: {other:?}", change.id),
        }
    }
}

async fn opens<F: Fleet>(fleet: &F, host: &str, gate: &mut Gate) -> bool {
    let look = fleet.look(host, TIMEOUT).await;
    matches!(gate.judge(&look, Duration::from_millis(500)), Verdict::Open)
}

fn id(view: &View, host: &str) -> Option<String> {
    view.server(host)?.varz.as_ref().ok().map(|varz| varz.server_id.clone())
}

/// Waits until the whole cluster is well; what is seen of it then.
async fn observed<F: Fleet>(fleet: &F, hosts: &[String]) -> View {
    let began = tokio::time::Instant::now();
    loop {
        let view = fleet.observe_assets(&hosts[..1], TIMEOUT).await;
        let routed = |server: &rollgate::core::view::ServerView| {
            server.routes.as_ref().is_ok_and(|peers| {
                let mut names: Vec<_> = peers.iter().map(|peer| &peer.server_id).collect();
                names.sort();
                names.dedup();
                names.len() == hosts.len() - 1
            })
        };
        let led = view.assets.as_ref().is_none_or(|assets| assets.leaderless().next().is_none());
        if led && view.servers.iter().all(|server| server.healthy() && routed(server)) {
            let inspected = view.server(&hosts[0]).expect("the host");
            assert_eq!(inspected.service.as_ref().expect("inspected").phase, Phase::Running);
            assert!(inspected.client.is_ok(), "{:?}", inspected.client);
            for other in view.servers.iter().filter(|server| server.host != hosts[0]) {
                let kind = other.service.as_ref().expect_err("not inspected").kind;
                assert_eq!(kind, FailureKind::NotAsked);
            }
            return view;
        }
        assert!(began.elapsed() < WIDE, "the cluster is never well: {view:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
