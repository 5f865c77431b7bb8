//! Each rule is needed: with any one of them taken away, a promise is broken in the world that it is for; with all of them
//! in place, none is.

use std::{collections::BTreeMap, io, sync::Mutex, time::Duration};

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
        view::{Failure, FailureKind, NextStart, Peer, Phase, Seen, ServerView, ServiceState, StopSignal, Varz, View},
    },
    fleet::{
        Change, Changed, Command, Content, Ended, Fleet, PutFile,
        sim::{Sim, Topology},
    },
    journal::Sink,
};

use crate::{
    harness::{Death, Memory, Setup},
    properties::kept,
    upgrade::{TO, upgraded},
    worlds::{Case, GATE, STAGING, cases, plain},
};

/// A fleet that hides from the rules what some of them look for.
struct Blind {
    inner: Sim,
    rules: Vec<&'static str>,
    /// Servers as they were when all was well, by host.
    good: Mutex<BTreeMap<String, ServerView>>,
}

impl Blind {
    /// What a look would be at a server that came back: another process of the same server, and its peers have it.
    fn well(&self, host: &str, look: Look) -> Look {
        let good = self.good.lock().expect("one thread");
        let Some(server) = good.get(host) else { return look };
        let (now, id) = (self.inner.now(), format!("{host}-again"));
        let varz = server.varz.clone().map(|varz| Varz { server_id: id.clone(), start: now, now, ..varz });
        let service = server.service.clone().map(|service| ServiceState { pid: Some(1), ..service });
        let peer = Peer { server_id: id, server_name: Some(server.server_name.clone()) };
        let peers = look.peers.into_iter().map(|(host, _)| (host, Ok(vec![peer.clone()])));
        Look { server: ServerView { at: now, varz, service, ..server.clone() }, peers: peers.collect() }
    }

    fn hide(&self, mut view: View) -> View {
        let now = self.inner.now();
        for server in view.servers.iter().filter(|server| server.service.is_ok() && server.healthy()) {
            self.good.lock().expect("one thread").entry(server.host.clone()).or_insert_with(|| server.clone());
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
                    // As if they were merely out of reach.
                    ("cold-start", Err(failure), _) => failure.kind = FailureKind::Timeout,
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
        let staged = self.inner.stage(host, run, sha256, content, limit).await;
        if self.rules.contains(&STAGING) { Ok(()) } else { staged }
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
        if !self.rules.contains(&STAGING) {
            return self.inner.prove(host, with, timeout).await;
        }
        let mut archive = self.inner.collect(host, None, timeout).await;
        if let (Some(with), Ok(binary)) = (with.first(), &mut archive.binary) {
            (binary.path, binary.version) = (with.beside(), Some(format!("v{TO}")));
        }
        archive
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
        let look = self.inner.look(host, timeout).await;
        if self.rules.contains(&GATE) { self.well(host, look) } else { look }
    }

    async fn collect(&self, host: &str, since: Option<Timestamp>, timeout: Duration) -> Archive {
        self.inner.collect(host, since, timeout).await
    }
}

/// What is consented to where a rule is taken away: of findings each has a name of its own.
fn names(rule: &str) -> Vec<String> {
    let findings = format!("{rule}:");
    Objection::consents().filter(|name| *name == rule || name.starts_with(&findings)).map(str::to_owned).collect()
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
        setup.playbook.policy.allow = rules.iter().flat_map(|rule| names(rule)).collect();
        let played =
            setup.play_as(|inner| Blind { inner, rules: rules.to_vec(), good: Mutex::default() }, |memory| memory);
        played.breaches().iter().any(|breach| breach.promise == case.promise)
    })
}

#[test]
fn every_safety_rule_is_needed() {
    let mut wrong = Vec::new();
    for case in cases() {
        let Case { rule, backed_by, .. } = &case;
        let mut expect = |rules: &[&'static str], expected: bool| {
            if broken(&case, rules) != expected {
                let but = if expected { "nothing is broken" } else { "the promise is broken" };
                wrong.push(format!("{rule}: {but} without {rules:?}"));
            }
        };
        expect(&[], false);
        expect(&[rule], backed_by.is_empty());
        if !backed_by.is_empty() {
            let all: Vec<_> = std::iter::once(*rule).chain(backed_by.iter().copied()).collect();
            expect(&all, true);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

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

/// A host that can't take the program is found before any server is stopped for it, or it stays down by our hand.
#[test]
fn the_staging_is_needed() {
    let left_down = |rules: &[&'static str]| {
        let mut setup = upgraded(Setup::new(1, plain(3)));
        setup.faults = vec!["no-room@n2+1s".parse().expect("a fault")];
        let played =
            setup.play_as(|inner| Blind { inner, rules: rules.to_vec(), good: Mutex::default() }, |memory| memory);
        let world = played.world();
        (world.unready(), world.effects().len())
    };
    assert_eq!(left_down(&[]), (vec![], 0));
    assert_eq!(left_down(&[STAGING]).0, ["n2"], "nothing is broken without it");
}

/// A rule that is added needs a case here.
#[test]
fn no_rule_is_left_out() {
    let cases = cases();
    for name in Objection::NAMES.iter().filter(|name| **name != OF_REBOOTS) {
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
