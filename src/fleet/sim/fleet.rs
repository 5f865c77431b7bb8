//! One controller's way into a world.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::sleep;

use super::{
    files::no_text,
    locking::Verb,
    request::told,
    times::{self, Ms},
    world::{World, ms},
};
use crate::{
    core::{
        assets::Kind,
        diagnosis::evidence::Archive,
        drain::{Attached, AttachedKind, StepDown},
        gate::{Look, Measure},
        install::StandIn,
        listeners::{Listener, Shown},
        lock::{Claim, HostLock, LockRefusal},
        own_step::Place,
        view::{Failure, FailureKind, Seen, ServerView, ServiceState, View},
    },
    fleet::{
        Change, Changed, Command, Content, Ended, Fleet, PutFile,
        live::lock::{Lease, fenced},
    },
};

/// The margin that the live fleet leaves a change's command beyond its wait.
pub(super) const CHANGE_MARGIN: Duration = Duration::from_secs(10);

/// A controller in a simulated world.
#[derive(Debug, Clone)]
pub struct Sim {
    world: Arc<Mutex<World>>,
    pub(super) number: usize,
    clock: i64,
    pub(super) lease: Arc<Mutex<Option<Lease>>>,
}

impl Sim {
    /// Another controller of a world, with a clock that is off by so many milliseconds.
    pub fn new(world: &Arc<Mutex<World>>, clock: i64) -> Self {
        let number = lock(world).controller();
        Self { world: Arc::clone(world), number, clock, lease: Arc::default() }
    }

    /// The world, as far as it has come.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = lock(&self.world);
        world.advance();
        world
    }

    /// Kills the controller: none of its calls returns, and nothing more of it leaves.
    pub fn kill(&self) {
        self.world().controllers[self.number].dead = true;
    }

    /// Stops the controller for so long, as SIGSTOP or a closed laptop does: what it has sent is on its way.
    pub fn stand_still(&self, span: Duration) {
        let mut world = self.world();
        let until = world.now + ms(span);
        world.controllers[self.number].still_until = until;
    }

    /// Never returns once the controller is dead, and late while it stands still.
    pub(super) async fn alive(&self) {
        loop {
            let span = {
                let world = self.world();
                let own = &world.controllers[self.number];
                if own.dead { None } else { Some(own.still_until.saturating_sub(world.now)) }
            };
            match span {
                None => std::future::pending::<()>().await,
                Some(0) => return,
                Some(span) => sleep(Duration::from_millis(span)).await,
            }
        }
    }

    /// Something takes its way to a host.
    pub(super) async fn travel(&self, server: usize) {
        let way = {
            let mut world = self.world();
            let World { servers, rng, .. } = &mut *world;
            servers[server].link.one_way(rng)
        };
        sleep(Duration::from_millis(way)).await;
    }

    /// A question to one server over the system account.
    async fn ask<T>(&self, server_id: &str, limit: Duration, answer: impl FnOnce(&mut World, usize) -> T) -> Seen<T> {
        let way = self.system(limit).await?;
        sleep(Duration::from_millis(way)).await;
        let asked = {
            let mut world = self.world();
            let of = |server: &usize| {
                let process = world.servers[*server].process.as_ref();
                process.is_some_and(|process| process.id == server_id && process.frozen_until <= world.now)
            };
            let found = (0..world.servers.len()).find(of);
            found.map(|server| answer(&mut world, server))
        };
        match asked {
            Some(answer) => {
                sleep(Duration::from_millis(way)).await;
                Ok(answer)
            }
            None => {
                sleep(limit).await;
                Err(Failure::new(FailureKind::Timeout, format!("server {server_id}: no answer in time")))
            }
        }
    }

    /// Connects to the system account where that is not so already; how long one way takes.
    async fn system(&self, limit: Duration) -> Seen<Ms> {
        self.alive().await;
        let found = {
            let mut world = self.world();
            if !world.system_account {
                return Err(Failure::new(FailureKind::NotAsked, "the inventory names no system account"));
            }
            if world.account_refused.is_some() {
                return Err(Failure::new(FailureKind::Denied, "the system account: authorization violation"));
            }
            let way = world.rng.u64(times::ONE_WAY);
            let now = world.now;
            let open: Vec<usize> = (0..world.servers.len())
                .filter(|server| world.servers[*server].serves(now) && world.reachable(*server).is_ok())
                .collect();
            let kept = world.controllers[self.number].system.filter(|server| open.contains(server));
            if open.is_empty() {
                None
            } else {
                let choice = world.rng.usize(..open.len());
                world.controllers[self.number].system = Some(kept.unwrap_or(open[choice]));
                Some(way)
            }
        };
        match found {
            Some(way) => Ok(way),
            None => {
                sleep(limit).await;
                Err(Failure::new(FailureKind::Unreachable, "the system account: no server answers"))
            }
        }
    }

    fn place(&self, host: &str) -> Seen<usize> {
        let world = self.world();
        let unknown = || Failure::new(FailureKind::NotAsked, format!("{host} is not a host of {}", world.cluster));
        world.place(host).ok_or_else(unknown)
    }

    /// All servers at one time. A host that is out of reach holds the answer up until the timeout.
    async fn look_at_all(&self, inspect: &[String], timeout: Duration, assets: bool) -> View {
        self.alive().await;
        let way = self.world().slowest();
        sleep(Duration::from_millis(way).min(timeout)).await;
        let (view, wait) = {
            let mut world = self.world();
            let servers = (0..world.servers.len())
                .map(|server| {
                    if inspect.contains(&world.servers[server].host) {
                        world.inspected(server, self.clock)
                    } else {
                        world.server_view(server, self.clock)
                    }
                })
                .collect();
            let at = world.clock(world.now, self.clock);
            let mut view = View {
                cluster: world.cluster.clone(),
                at,
                servers,
                system_account: None,
                assets: None,
                preflight: vec![],
                differences: vec![],
            };
            if assets && world.jetstream && view.servers.iter().any(|server| server.varz.is_ok()) {
                view.assets = Some(world.assets(self.clock));
            }
            let slow = world.any_unreachable(0..world.servers.len());
            let mut wait = if slow { ms(timeout) } else { world.slowest() };
            if assets && std::mem::take(&mut world.stand_still) {
                wait += 60_000;
            }
            let now = world.now;
            if assets && let Some(controller) = world.controllers.get_mut(self.number) {
                controller.observed = now;
            }
            (view, wait)
        };
        sleep(Duration::from_millis(wait)).await;
        View { at: view.at.max(self.now().min(view.at)), ..view }
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet for Sim {
    fn now(&self) -> Timestamp {
        let world = self.world();
        world.clock(world.now, self.clock)
    }

    async fn observe(&self, inspect: &[String], timeout: Duration) -> View {
        self.look_at_all(inspect, timeout, false).await
    }

    async fn observe_assets(&self, inspect: &[String], timeout: Duration) -> View {
        let system = if self.has_system_account() { Some(self.system(timeout).await.map(drop)) } else { None };
        let view = self.look_at_all(inspect, timeout, true).await;
        View { system_account: system, ..view }
    }

    fn has_system_account(&self) -> bool {
        self.world().system_account
    }

    async fn attached(&self, server_id: &str, timeout: Duration) -> Seen<Vec<Attached>> {
        let all = |world: &mut World, server: usize| {
            let entry = &world.servers[server];
            let client = |cid: &u64| Attached { cid: Some(*cid), kind: AttachedKind::Client };
            let mut all: Vec<Attached> = entry.clients.iter().chain(&entry.stubborn).map(client).collect();
            all.extend((0..entry.leafnodes).map(|_| Attached { cid: None, kind: AttachedKind::Leafnode }));
            all
        };
        self.ask(server_id, timeout, all).await
    }

    async fn evict(&self, server_id: &str, client: Attached, timeout: Duration) -> Seen<()> {
        let Some(cid) = client.cid else { return Ok(()) };
        self.must_hold().await?;
        self.ask(server_id, timeout, |world, server| {
            world.judge_drain(server, self.number);
            world.evicts(server, cid);
        })
        .await
    }

    async fn reload(&self, server_id: &str, timeout: Duration) -> Seen<()> {
        self.must_hold().await?;
        let told = self.ask(server_id, timeout, |world, server| {
            world.judge_actor(server, self.number);
            world.reloads(server)
        });
        told.await?.map_err(|words| Failure::new(FailureKind::Command, words))
    }

    async fn leave(&self, server_id: &str) {
        self.alive().await;
        let mut world = self.world();
        let on = world.controllers[self.number].system;
        let id = |server: usize| world.servers[server].process.as_ref().map(|process| process.id.as_str());
        if on.and_then(id) == Some(server_id) {
            world.controllers[self.number].system = None;
        }
    }

    async fn step_down(&self, leader: &StepDown, timeout: Duration) -> Seen<()> {
        self.must_hold().await?;
        let way = self.system(timeout).await?;
        sleep(Duration::from_millis(way)).await;
        let answered = {
            let mut world = self.world();
            let same = |number: &usize| {
                let group = &world.groups[*number];
                group.kind == leader.kind
                    && (group.kind == Kind::Meta
                        || (&group.account, &group.stream, &group.consumer)
                            == (&leader.account, &leader.stream, &leader.consumer))
            };
            let found = (0..world.groups.len()).find(same);
            let preferred = world.servers.iter().position(|server| server.name == leader.preferred);
            match found {
                // The API is answered by the meta leader; without one it has nobody to speak.
                Some(number) if world.groups[number].leader.is_some() && world.groups[0].leader.is_some() => {
                    world.steps_down(number, preferred);
                    true
                }
                _ => false,
            }
        };
        if answered {
            sleep(Duration::from_millis(way)).await;
            return Ok(());
        }
        sleep(timeout).await;
        Err(Failure::new(FailureKind::Timeout, "step-down: no answer in time"))
    }

    async fn service(&self, host: &str, timeout: Duration) -> Seen<ServiceState> {
        self.alive().await;
        let server = self.place(host)?;
        self.travel(server).await;
        let state = self.world().service(server);
        match state {
            Ok(state) => {
                self.travel(server).await;
                Ok(state)
            }
            Err(failure) => {
                sleep(timeout).await;
                Err(failure)
            }
        }
    }

    async fn change(&self, host: &str, change: &Change, wait: Duration) -> Result<Changed, Failure> {
        self.alive().await;
        let server = self.place(host)?;
        if let Some(fence) = self.fence(server) {
            match self.request(server, change, fence, wait).await {
                Err(failure) if failure.kind == FailureKind::Fenced => {}
                other => return other,
            }
        }
        // The host was rebooted, was away, or we were: it is told anew who holds the lock.
        self.confirm_twice().await?;
        match self.fence(server) {
            Some(fence) => self.request(server, change, fence, wait).await,
            None => Err(fenced("the host did not answer to the lock")),
        }
    }

    async fn record(&self, host: &str, id: &str, timeout: Duration) -> Seen<Option<Changed>> {
        self.alive().await;
        let server = self.place(host)?;
        self.travel(server).await;
        let seen = {
            let world = self.world();
            world.reachable(server).map(|()| {
                let entry = &world.servers[server];
                entry.changes.get(id).map(|record| told(record, world.now, world.clock(record.began, entry.clock)))
            })
        };
        if seen.is_err() {
            sleep(timeout).await;
        } else {
            self.travel(server).await;
        }
        seen
    }

    async fn stage(&self, host: &str, run: &str, sha256: &str, content: &Content, limit: Duration) -> Seen<()> {
        self.alive().await;
        self.stage_on(self.place(host)?, run, sha256, content, limit).await
    }

    async fn digest(&self, host: &str, path: &str, timeout: Duration) -> Seen<Option<String>> {
        self.alive().await;
        self.digest_on(self.place(host)?, path, timeout).await
    }

    async fn clear(&self, run: &str, timeout: Duration) -> Vec<(String, Failure)> {
        self.alive().await;
        let failures = self.world().clear(run);
        sleep(if failures.is_empty() { Duration::from_millis(40) } else { timeout }).await;
        failures
    }

    async fn lock(&self, claim: &Claim, timeout: Duration) -> Result<(), LockRefusal> {
        self.take_lock(claim, timeout).await
    }

    async fn renew(&self, timeout: Duration) -> Result<(), LockRefusal> {
        self.renew_lock(timeout).await
    }

    async fn release(&self, timeout: Duration) {
        let lease = self.lease().take();
        if let Some(lease) = lease {
            self.round(Verb::Release { claim: lease.claim(), token: lease.token() }, timeout).await;
        }
    }

    async fn locks(&self, timeout: Duration) -> Vec<(String, Seen<HostLock>)> {
        let answers = self.round(Verb::Look, timeout).await;
        let world = self.world();
        let hosts = world.servers.iter().map(|server| server.host.clone());
        hosts.zip(answers.into_iter().map(|answer| answer.map(|answer| answer.lock))).collect()
    }

    async fn break_lock(&self, run: &str, timeout: Duration) -> Vec<(String, Failure)> {
        let answers = self.round(Verb::Break { run }, timeout).await;
        let world = self.world();
        let hosts = world.servers.iter().map(|server| server.host.clone());
        hosts.zip(answers).filter_map(|(host, answer)| answer.err().map(|failure| (host, failure))).collect()
    }

    async fn put_here(&self, file: &PutFile, _: Duration) -> Seen<Ended> {
        self.alive().await;
        let state = if file.content.is_some() { "put" } else { "remove" };
        self.world().commands_here.push([state.to_owned(), file.path.clone()].into());
        Ok(Ended { status: 0, output: String::new() })
    }

    async fn run_here(&self, command: &Command, _: Duration) -> Seen<Ended> {
        self.alive().await;
        let span = {
            let mut world = self.world();
            world.commands_here.push(command.argv.clone());
            world.rng.u64(times::COMMAND)
        };
        sleep(Duration::from_millis(span)).await;
        // Whoever was killed meanwhile never hears of its end.
        self.alive().await;
        let (status, output) = super::change::ends(command);
        Ok(Ended { status, output: output.to_owned() })
    }

    async fn get(&self, _: &str, _: Place, url: &str, _: Duration) -> Seen<(u16, String)> {
        self.alive().await;
        Err(Failure::new(FailureKind::NotAsked, format!("{url}: there is nobody to answer it in a simulation")))
    }

    fn monitoring(&self, host: &str) -> String {
        format!("http://{host}:8222")
    }

    // Its servers have no TLS.
    async fn shown(&self, _: &str, _: &[Listener], _: Duration) -> Vec<Shown> {
        Vec::new()
    }

    async fn recovery(&self, host: &str, timeout: Duration) -> Vec<Measure> {
        self.alive().await;
        let Ok(server) = self.place(host) else { return Vec::new() };
        let (measures, away) = {
            let world = self.world();
            (world.recovery(server), world.any_unreachable(std::iter::once(server)))
        };
        sleep(if away { timeout } else { Duration::from_millis(*times::ONE_WAY.end()) }).await;
        measures
    }

    async fn look(&self, host: &str, timeout: Duration) -> Look {
        self.alive().await;
        let way = self.world().slowest();
        sleep(Duration::from_millis(way).min(timeout)).await;
        let now = self.now();
        let server = match self.place(host) {
            Ok(server) => server,
            Err(failure) => return Look::unknown(host, now, &failure),
        };
        let (look, wait) = {
            let mut world = self.world();
            let not_asked = "its own routes were not asked for";
            let routes = Err(Failure::new(FailureKind::NotAsked, not_asked));
            let seen = ServerView { service: world.service(server), routes, ..world.inspected(server, self.clock) };
            let peers = (0..world.servers.len()).filter(|peer| *peer != server);
            let peers = peers.map(|peer| (world.servers[peer].host.clone(), world.routes(peer))).collect();
            let slow = world.any_unreachable(0..world.servers.len());
            let wait = if slow { ms(timeout) } else { world.slowest() };
            (Look { server: seen, peers }, wait)
        };
        sleep(Duration::from_millis(wait)).await;
        look
    }

    async fn collect(&self, host: &str, _: Option<Timestamp>, timeout: Duration) -> Archive {
        self.alive().await;
        let archive = self.place(host).and_then(|server| {
            let world = self.world();
            world.gathers(server)?;
            Ok(world.archive(server, self.clock))
        });
        self.gathered(host, archive, timeout).await
    }

    async fn lines(&self, _: &str, _: &str, _: &str, _: Duration) -> Seen<Vec<String>> {
        no_text()
    }

    async fn redacted(&self, _: &[u8]) -> Seen<Vec<String>> {
        no_text()
    }

    async fn prove(&self, host: &str, with: &[StandIn], timeout: Duration) -> Archive {
        self.alive().await;
        self.gathered(host, self.place(host).and_then(|server| self.proven(server, self.clock, with)), timeout).await
    }
}
