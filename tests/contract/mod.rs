//! What every fleet must do, whoever it is: run against the simulator (`tests/sim`) and against real servers (`tests/lab`).
//! Where the two part, the simulator proves nothing.

use std::time::Duration;

use rollgate::{
    core::{
        diagnosis::evidence::Archive,
        gate::{Baseline, Gate, Verdict},
        install::{Placement, Role, StandIn},
        lock::Claim,
        view::{FailureKind, Phase, View},
    },
    fleet::{Action, Change, Changed, Content, Fleet},
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
    let id = format!("{run}-{host}-{}", if what == Action::Stop { "stop" } else { "start" });
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
            for other in &view.servers[1..] {
                let kind = other.service.as_ref().expect_err("not inspected").kind;
                assert_eq!(kind, FailureKind::NotAsked);
            }
            return view;
        }
        assert!(began.elapsed() < WIDE, "the cluster is never well: {view:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
