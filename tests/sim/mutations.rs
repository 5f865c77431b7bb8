//! Each rule is needed: with any one of them taken away, a promise is broken in the world that it is for; with all of them
//! in place, none is.

use std::{io, time::Duration};

use jiff::Timestamp;
use rollgate::{
    config::Playbook,
    core::{
        diagnosis::evidence::Archive,
        drain::{Attached, StepDown},
        event::Envelope,
        gate::{Look, Measure},
        install::StandIn,
        listeners::{Listener, Shown},
        lock::{Claim, HostLock, LockRefusal},
        own_step::Place,
        safety::Objection,
        view::{Failure, NextStart, Phase, Seen, ServiceState, StopSignal, View},
    },
    fleet::{
        Change, Changed, Command, Content, Ended, Fleet, PutFile,
        sim::{AssetSpec, Promise, Sim, Topology},
    },
    journal::Sink,
};

use crate::{
    harness::{Death, Memory, Setup},
    properties::kept,
};

/// A world in which one rule is all that stands between the roll and a broken promise.
struct Case {
    rule: &'static str,
    promise: Promise,
    topology: Topology,
    faults: &'static [&'static str],
    /// Rules that see the same from another side: only without them too is the promise broken.
    backed_by: &'static [&'static str],
}

fn plain(servers: usize) -> Topology {
    let mut topology = Topology::of(servers);
    topology.jetstream = false;
    for server in &mut topology.servers {
        server.clients = 4;
    }
    topology
}

fn with_stream(on: &[&str], memory: bool) -> Topology {
    let mut topology = Topology::of(3);
    topology.assets.push(AssetSpec {
        account: "APP".into(),
        stream: "S".into(),
        consumer: None,
        on: on.iter().map(|host| (*host).to_owned()).collect(),
        memory,
        in_use: true,
        messages: 100,
        subjects: vec!["s.>".into()],
    });
    topology
}

const ALL: [&str; 3] = ["n3", "n1", "n2"];

fn cases() -> Vec<Case> {
    let case = |rule, promise, topology, faults| Case { rule, promise, topology, faults, backed_by: &[] };
    let mut slow = plain(2);
    slow.servers[1].recovery_ms = Some(4_500);
    vec![
        case("server-unreachable", Promise::OtherUnready, plain(3), &["power-cut@n3+1s"]),
        case("server-not-healthy", Promise::OtherUnready, slow, &["crash@n2+1s"]),
        case("server-lame-duck", Promise::OtherUnready, plain(3), &["foreign-stop@n3+1s"]),
        case("missing-route", Promise::Routes, plain(3), &["route-lost@n2+1s"]),
        case("not-in-inventory", Promise::Stranger, plain(3), &["stranger@n2+1s"]),
        Case {
            backed_by: &["group-without-leader"],
            ..case("no-meta-leader", Promise::Leader, with_stream(&ALL, false), &["leaderless@n3+1s"])
        },
        Case {
            backed_by: &["group-without-leader"],
            ..case("meta-leader-disputed", Promise::Leader, with_stream(&ALL, false), &["leaderless@n3+1s"])
        },
        case("group-without-leader", Promise::Leader, with_stream(&ALL, false), &["leaderless@n3+1s"]),
        case("group-majority", Promise::Majority, with_stream(&ALL, false), &["lagging@n2+1s"]),
        case("r1-offline", Promise::OnlyCopy, with_stream(&["n1"], false), &[]),
        case("memory-last-copy", Promise::Memory, with_stream(&["n1"], true), &[]),
        case("pending-change", Promise::Moving, with_stream(&ALL, false), &["moving@n3+1s"]),
        case("system-account", Promise::Drained, plain(3), &["account-refused@n1+1s"]),
        case("assets-unknown", Promise::OnlyCopy, with_stream(&["n1"], false), &["silent@n1+1s"]),
        case("client-port", Promise::Gate, plain(3), &["client-port@n1+1s"]),
        case("wrong-server", Promise::Mistaken, plain(3), &["impostor@n2+1s"]),
        Case {
            // The server that nobody looks at is a stranger.
            backed_by: &["not-in-inventory"],
            ..case("duplicate-server", Promise::Mistaken, Topology { unnamed: true, ..plain(2) }, &["mistaken@n2+1s"])
        },
        case("different-clusters", Promise::Mistaken, plain(2), &["other-cluster@n2+1s"]),
        case("host-unusable", Promise::Manageable, plain(3), &["sudo-denied@n1+1s"]),
        case("service-missing", Promise::Manageable, plain(3), &["unit-missing@n1+1s"]),
        case("service-busy", Promise::Busy, plain(3), &["held-stop@n1+1s"]),
        case("stale", Promise::OtherUnready, plain(3), &["controller-stops@n1+1s", "power-cut@n3+20s"]),
    ]
}

/// A fleet that hides from the rules what some of them look for.
struct Blind {
    inner: Sim,
    rules: Vec<&'static str>,
}

impl Blind {
    fn hide(&self, mut view: View) -> View {
        let now = self.inner.now();
        if self.rules.iter().any(|rule| matches!(*rule, "host-unusable" | "service-missing")) {
            view.preflight.clear();
        }
        for server in &mut view.servers {
            for rule in &self.rules {
                match (*rule, &mut server.varz, &mut server.service) {
                    ("wrong-server", Ok(varz), _) => varz.server_name.clone_from(&server.server_name),
                    ("duplicate-server", Ok(varz), _) => varz.server_name.clone_from(&server.host),
                    ("different-clusters", Ok(varz), _) => varz.cluster = Some("C1".into()),
                    ("service-missing" | "service-busy", _, Ok(service)) => service.phase = Phase::Running,
                    ("host-unusable", _, service @ Err(_)) => {
                        *service = Ok(ServiceState {
                            phase: Phase::Running,
                            words: String::new(),
                            result: String::new(),
                            exit: None,
                            restarts: None,
                            pid: None,
                            boot_id: None,
                            stop_timeout_ms: None,
                            enabled: None,
                            stop_signals: vec![StopSignal::LameDuck],
                            next: NextStart::default(),
                            by_hand: String::new(),
                        });
                    }
                    ("stale", _, _) => server.at = now,
                    _ => {}
                }
            }
        }
        view
    }
}

impl Fleet for Blind {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    async fn observe(&self, inspect: &[String], timeout: Duration) -> View {
        self.hide(self.inner.observe(inspect, timeout).await)
    }

    async fn observe_assets(&self, inspect: &[String], timeout: Duration) -> View {
        self.hide(self.inner.observe_assets(inspect, timeout).await)
    }

    fn has_system_account(&self) -> bool {
        self.inner.has_system_account()
    }

    async fn attached(&self, server_id: &str, timeout: Duration) -> Seen<Vec<Attached>> {
        self.inner.attached(server_id, timeout).await
    }

    async fn evict(&self, server_id: &str, client: Attached, timeout: Duration) -> Seen<()> {
        self.inner.evict(server_id, client, timeout).await
    }

    async fn leave(&self, server_id: &str) {
        self.inner.leave(server_id).await;
    }

    async fn step_down(&self, leader: &StepDown, timeout: Duration) -> Seen<()> {
        self.inner.step_down(leader, timeout).await
    }

    async fn reload(&self, server_id: &str, timeout: Duration) -> Seen<()> {
        self.inner.reload(server_id, timeout).await
    }

    async fn service(&self, host: &str, timeout: Duration) -> Seen<ServiceState> {
        self.inner.service(host, timeout).await
    }

    async fn change(&self, host: &str, change: &Change, wait: Duration) -> Result<Changed, Failure> {
        self.inner.change(host, change, wait).await
    }

    async fn record(&self, host: &str, id: &str, timeout: Duration) -> Seen<Option<Changed>> {
        self.inner.record(host, id, timeout).await
    }

    async fn stage(&self, host: &str, run: &str, sha256: &str, content: &Content, limit: Duration) -> Seen<()> {
        self.inner.stage(host, run, sha256, content, limit).await
    }

    async fn digest(&self, host: &str, path: &str, timeout: Duration) -> Seen<Option<String>> {
        self.inner.digest(host, path, timeout).await
    }

    async fn lines(&self, host: &str, path: &str, key: &str, timeout: Duration) -> Seen<Vec<String>> {
        self.inner.lines(host, path, key, timeout).await
    }

    async fn redacted(&self, content: &[u8]) -> Seen<Vec<String>> {
        self.inner.redacted(content).await
    }

    async fn prove(&self, host: &str, with: &[StandIn], timeout: Duration) -> Archive {
        self.inner.prove(host, with, timeout).await
    }

    async fn clear(&self, run: &str, timeout: Duration) -> Vec<(String, Failure)> {
        self.inner.clear(run, timeout).await
    }

    async fn lock(&self, claim: &Claim, timeout: Duration) -> Result<(), LockRefusal> {
        self.inner.lock(claim, timeout).await
    }

    async fn renew(&self, timeout: Duration) -> Result<(), LockRefusal> {
        self.inner.renew(timeout).await
    }

    async fn release(&self, timeout: Duration) {
        self.inner.release(timeout).await;
    }

    async fn locks(&self, timeout: Duration) -> Vec<(String, Seen<HostLock>)> {
        self.inner.locks(timeout).await
    }

    async fn break_lock(&self, run: &str, timeout: Duration) -> Vec<(String, Failure)> {
        self.inner.break_lock(run, timeout).await
    }

    async fn put_here(&self, file: &PutFile, limit: Duration) -> Seen<Ended> {
        self.inner.put_here(file, limit).await
    }

    async fn run_here(&self, command: &Command, limit: Duration) -> Seen<Ended> {
        self.inner.run_here(command, limit).await
    }

    async fn get(&self, host: &str, from: Place, url: &str, timeout: Duration) -> Seen<(u16, String)> {
        self.inner.get(host, from, url, timeout).await
    }

    fn monitoring(&self, host: &str) -> String {
        self.inner.monitoring(host)
    }

    async fn shown(&self, host: &str, listeners: &[Listener], timeout: Duration) -> Vec<Shown> {
        self.inner.shown(host, listeners, timeout).await
    }

    async fn recovery(&self, host: &str, timeout: Duration) -> Vec<Measure> {
        self.inner.recovery(host, timeout).await
    }

    async fn look(&self, host: &str, timeout: Duration) -> Look {
        self.inner.look(host, timeout).await
    }

    async fn collect(&self, host: &str, since: Option<Timestamp>, timeout: Duration) -> Archive {
        self.inner.collect(host, since, timeout).await
    }
}

/// Whether the promise is broken in one of a few seeds, with these rules taken away.
fn broken(case: &Case, rules: &[&'static str]) -> bool {
    (0..20).any(|seed| {
        let mut setup = Setup::new(seed, case.topology.clone());
        setup.faults = case.faults.iter().map(|text| text.parse().expect("a fault")).collect();
        if case.rule == "stale" {
            // What is looked at again after a drain is fresh.
            setup.playbook.turn.retain(|step| step.name() != "drain");
        }
        setup.playbook.policy.allow = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let played = setup.play_as(|inner| Blind { inner, rules: rules.to_vec() }, |memory| memory);
        played.breaches().iter().any(|breach| breach.promise == case.promise)
    })
}

#[test]
fn every_safety_rule_is_needed() {
    for case in cases() {
        let Case { rule, backed_by, .. } = &case;
        assert!(!broken(&case, &[]), "{rule}: the promise is broken with all rules in place");
        if backed_by.is_empty() {
            assert!(broken(&case, &[rule]), "{rule}: nothing is broken without it");
        } else {
            assert!(!broken(&case, &[rule]), "{rule}: it is needed by itself, so nothing backs it");
            let all: Vec<_> = std::iter::once(*rule).chain(backed_by.iter().copied()).collect();
            assert!(broken(&case, &all), "{rule}: nothing is broken without it and {backed_by:?}");
        }
    }
}

/// Rules on what stands on a host's disk, which the simulator has not: programs, units, configuration. And a cluster that is
/// down as a whole has nothing to break.
const NOT_SIMULATED: [&str; 9] = [
    "preflight",
    "preflight-unknown",
    "cold-start",
    "version-jump",
    "api-level",
    "feature-flag",
    "route-pool",
    "lame-duck-cut",
    "unit-kills",
];
/// It has a test of its own: only a reboot has need of it.
const OF_REBOOTS: &str = "not-enabled";

/// A host whose boot does not start its server is not rebooted, or its server stays down by our hand.
#[test]
fn the_rule_on_what_a_boot_starts_is_needed() {
    let left_down = |allow: &[&str]| {
        let playbook = Playbook::embedded("reboot").expect("it is built in");
        let mut setup = Setup { playbook, ..Setup::new(1, plain(3)) };
        setup.faults = vec!["not-enabled@n1+1s".parse().expect("a fault")];
        setup.playbook.policy.allow = allow.iter().map(|rule| (*rule).to_owned()).collect();
        let played = setup.play();
        kept(&played).expect("no promise broken");
        let world = played.world();
        (world.unready(), world.effects().len())
    };
    assert_eq!(left_down(&[]), (vec![], 0));
    assert_eq!(left_down(&[OF_REBOOTS]).0, ["n1"], "nothing is broken without it");
}

/// A rule that is added needs a case here.
#[test]
fn no_rule_is_left_out() {
    let cases = cases();
    for name in Objection::NAMES.iter().filter(|name| !NOT_SIMULATED.contains(name) && **name != OF_REBOOTS) {
        assert!(cases.iter().any(|case| case.rule == *name), "no world in which `{name}` is needed");
    }
}

/// A journal that is told of steps, and keeps them only with the event after.
struct Late {
    inner: Memory,
    kept: Option<Envelope>,
}

impl Sink for Late {
    fn append(&mut self, envelope: &Envelope) -> io::Result<()> {
        match self.kept.replace(envelope.clone()) {
            Some(kept) => self.inner.append(&kept),
            None => Ok(()),
        }
    }
}

/// The write-ahead: an effect that the journal did not announce can't be settled afterwards.
#[test]
fn the_write_ahead_is_needed() {
    let setup = |seed, death| Setup { death: Some(death), ..Setup::new(seed, Topology::of(3)) };
    let deaths = || (0..200).map(|n| Death::At(Duration::from_millis(n * 100)));
    for death in deaths() {
        kept(&setup(1, death).play()).expect("the journal announces what happens");
    }
    let lost =
        deaths().any(|death| kept(&setup(1, death).play_as(|sim| sim, |inner| Late { inner, kept: None })).is_err());
    assert!(lost, "a journal that lags behind goes unnoticed");
}
