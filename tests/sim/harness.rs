//! One simulated roll: a world, what goes wrong in it, the real runner, and what became of it.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rollgate::{
    config::Playbook,
    core::{
        configure::{self, HostFiles},
        event::{Envelope, Event},
        install::{self, PutBack},
        lock::Claim,
        plan,
        playbook::Policy,
        progress::Progress,
    },
    fleet::{
        Fleet,
        sim::{Breach, Fault, Sim, Topology, World},
    },
    journal::Sink,
    run::{self, OBSERVE_TIMEOUT, Outcome, Recorder, Resume, Run, RunError, approval, shutdown::Wish},
};
use tokio::sync::{Notify, watch};

/// One round of the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between the plan and the roll.
const READING: Duration = Duration::from_secs(5);

/// What to play.
#[derive(Debug, Clone)]
pub struct Setup {
    pub seed: u64,
    pub topology: Topology,
    pub faults: Vec<Fault>,
    pub playbook: Playbook,
    /// The operator's signals, and when.
    pub signals: Vec<Duration>,
    /// Where the controller dies.
    pub death: Option<Death>,
    /// Hosts' clocks, in milliseconds.
    pub clocks: Vec<i64>,
    /// The files that hosts get.
    pub files: BTreeMap<String, HostFiles>,
}

/// Where a controller dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Before this event is on disk: what it tells has happened.
    Before(u64),
    /// After this event is on disk: what it announces has not happened.
    After(u64),
    /// At this time, whatever is under way.
    At(Duration),
}

/// A journal in memory.
#[derive(Clone, Default)]
pub struct Memory(pub Arc<Mutex<Vec<Envelope>>>);

impl Memory {
    pub fn events(&self) -> Vec<Envelope> {
        self.0.lock().expect("one thread").clone()
    }
}

impl Sink for Memory {
    fn append(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.0.lock().expect("one thread").push(envelope.clone());
        Ok(())
    }
}

/// A sink that kills the controller at its place.
struct Deadly<S> {
    inner: S,
    death: Option<Death>,
    sim: Sim,
    dies: Arc<Notify>,
    dead: Arc<AtomicBool>,
}

impl<S: Sink> Sink for Deadly<S> {
    fn append(&mut self, envelope: &Envelope) -> io::Result<()> {
        let before = self.death == Some(Death::Before(envelope.seq));
        if !before && !self.dead.load(Ordering::Relaxed) {
            self.inner.append(envelope)?;
        }
        if before || self.death == Some(Death::After(envelope.seq)) {
            // What it does until it next waits for something is nothing to the world.
            self.dead.store(true, Ordering::Relaxed);
            self.sim.kill();
            self.dies.notify_one();
        }
        Ok(())
    }
}

/// What became of it.
pub struct Played {
    /// None where the controller died.
    pub outcome: Option<Result<Outcome, RunError>>,
    pub events: Vec<Envelope>,
    pub world: Arc<Mutex<World>>,
}

impl Played {
    pub fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().expect("one thread")
    }

    pub fn breaches(&self) -> Vec<Breach> {
        self.world().breaches().to_vec()
    }

    pub fn terminal(&self) -> Option<&Event> {
        self.events.last().map(|envelope| &envelope.event).filter(|event| event.is_terminal())
    }

    /// The end in a few words.
    pub fn end(&self) -> String {
        match &self.outcome {
            // Its end was on disk already, where there is one.
            None => self.terminal().map_or("died", Event::kind).into(),
            Some(Err(error)) => format!("{error}"),
            Some(Ok(Outcome::Finished)) => "finished".into(),
            Some(Ok(Outcome::Halted(halt))) => format!("halted {} {} {}", halt.host, halt.step, halt.cause.code()),
            Some(Ok(Outcome::Refused(halt))) => format!("refused {} {}", halt.host, halt.cause.code()),
            Some(Ok(Outcome::Interrupted)) => "interrupted".into(),
        }
    }
}

pub fn claim(run: &str, seat: &str) -> Claim {
    Claim { run: run.into(), seat: seat.into(), holder: "test".into(), reason: "restart".into() }
}

/// What a runner needs besides its fleet.
pub fn run_of(plan: plan::Plan, resume: Option<Resume>) -> Run {
    // Nobody looks into them.
    let files = plan.turns.iter().flat_map(|turn| &turn.files).flat_map(|of| &of.files);
    let contents = files.map(|file| (file.sha256.clone(), Arc::from(&[][..]))).collect();
    Run {
        plan,
        inventory: "sim".into(),
        cluster_key: "sim".into(),
        resume,
        again: "rollgate restart -i inventory.yaml".into(),
        back: None,
        go_on: "rollgate resume -i inventory.yaml".into(),
        status: "rollgate status -i inventory.yaml".into(),
        ask: approval::nobody(),
        contents,
    }
}

/// The playbook of `rollgate restart`, read once: it is the same for all of thousands.
pub fn restart() -> Playbook {
    static RESTART: LazyLock<Playbook> = LazyLock::new(Playbook::restart);
    RESTART.clone()
}

impl Setup {
    pub fn new(seed: u64, topology: Topology) -> Self {
        let clocks = vec![0; topology.servers.len()];
        let (playbook, files) = (restart(), BTreeMap::new());
        Self { seed, topology, faults: Vec::new(), playbook, signals: Vec::new(), death: None, clocks, files }
    }

    /// Everything from one number.
    pub fn random(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let topology = Topology::random(&mut rng);
        let hosts = topology.hosts();
        let mut setup = Self::new(seed, topology);
        let faults = [0, 0, 1, 1, 1, 1, 2, 2, 3][rng.usize(..9)];
        setup.faults = (0..faults).map(|_| Fault::random(&hosts, &mut rng)).collect();
        setup.clocks = hosts.iter().map(|_| if rng.bool() { 0 } else { rng.i64(-90_000..90_000) }).collect();
        if rng.u8(..10) == 0 {
            let first = Duration::from_millis(rng.u64(..60_000));
            setup.signals.push(first);
            if rng.bool() {
                setup.signals.push(first + Duration::from_millis(rng.u64(..10_000)));
            }
        }
        setup
    }

    /// Plays it, in a runtime of its own whose clock stands still while there is work.
    pub fn play(&self) -> Played {
        self.play_as(|sim| sim, |memory| memory)
    }

    /// Plays it until it halts, and then puts the program of the server that failed back, in a run of its own, whose controller dies;
    /// whether it did.
    pub fn play_and_roll_back(&self, edit: impl FnOnce(&mut World), death: Death) -> (Played, Played, bool) {
        fastrand::seed(self.seed);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let halted = self.play_in_world(|sim| sim, |memory| memory, edit).await;
            let Some(Event::Halted { halt }) = halted.terminal() else { panic!("{}", halted.end()) };
            let (host, run) = (halt.host.clone(), format!("b{}", self.seed));
            let kept = install::replaced(&halted.events);
            let (run_kept, files) = (format!("r{}", self.seed), configure::placed(&halted.events));
            let back = PutBack { run: run_kept, kept, files, deadline: install::BACK_WITHIN };
            let steps = install::put_back_steps(&self.playbook.turn, back);
            let world = Arc::clone(&halted.world);
            let sim = Sim::new(&world, 0);
            sim.world().may_be_restarted(&host);
            let view = sim.observe_assets(&self.topology.hosts(), OBSERVE_TIMEOUT).await;
            let plan = plan::plan(&view, &[host], "rollback", Policy::default(), steps);
            let (memory, dies) = (Memory::default(), Arc::new(Notify::new()));
            let dead = Arc::new(AtomicBool::new(false));
            let death = Some(death);
            let sink =
                Deadly { inner: memory.clone(), death, sim: sim.clone(), dies: dies.clone(), dead: dead.clone() };
            let _ = sim.lock(&claim(&run, "seat"), LOCK_TIMEOUT).await;
            let mut recorder = Recorder::new(run.clone(), Box::new(sink), vec![]);
            let (_sender, wishes) = watch::channel(Wish::GoOn);
            let outcome = tokio::select! {
                biased;
                () = dies.notified() => None,
                outcome = run::roll(&sim, run_of(plan, None), &mut recorder, wishes) => Some(outcome),
            };
            let outcome = outcome.filter(|_| !dead.load(Ordering::Relaxed));
            let died = outcome.is_none();
            let mut back = Played { outcome, events: memory.events(), world };
            if died {
                back.resume_in(&run, 1, None).await;
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(Sim::new(&back.world, 0).world());
            (halted, back, died)
        })
    }

    /// The same with a fleet or a journal that is not as it should be.
    pub fn play_as<F: Fleet, S: Sink + 'static>(
        &self,
        fleet: impl FnOnce(Sim) -> F,
        journal: impl FnOnce(Memory) -> S,
    ) -> Played {
        // backon's jitter.
        fastrand::seed(self.seed);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(self.play_in(fleet, journal))
    }

    async fn play_in<F: Fleet, S: Sink + 'static>(
        &self,
        fleet: impl FnOnce(Sim) -> F,
        journal: impl FnOnce(Memory) -> S,
    ) -> Played {
        self.play_in_world(fleet, journal, |_| {}).await
    }

    async fn play_in_world<F: Fleet, S: Sink + 'static>(
        &self,
        fleet: impl FnOnce(Sim) -> F,
        journal: impl FnOnce(Memory) -> S,
        edit: impl FnOnce(&mut World),
    ) -> Played {
        let began = tokio::time::Instant::now();
        let mut world = World::new(&self.topology, self.seed);
        edit(&mut world);
        let hosts = self.topology.hosts();
        for (host, off) in hosts.iter().zip(&self.clocks) {
            world.set_clock(host, *off);
        }
        for fault in &self.faults {
            world.plan_fault(fault.clone());
        }
        let world = Arc::new(Mutex::new(world));
        let sim = Sim::new(&world, 0);
        let (memory, dies) = (Memory::default(), Arc::new(Notify::new()));
        let dead = Arc::new(AtomicBool::new(false));
        let sink = Deadly {
            inner: journal(memory.clone()),
            death: self.death,
            sim: sim.clone(),
            dies: dies.clone(),
            dead: dead.clone(),
        };
        let fleet = fleet(sim.clone());
        let view = fleet.observe_assets(&hosts, OBSERVE_TIMEOUT).await;
        let Playbook { name, policy, turn, hooks, .. } = self.playbook.clone();
        let plan = plan::Plan { hooks, ..plan::with_files(&view, &hosts, &name, policy, turn, &self.files) };
        let mut recorder = Recorder::new(format!("r{}", self.seed), Box::new(sink), vec![]);
        let run = run_of(plan, None);
        // Without it the roll halts, and says so.
        let _ = fleet.lock(&claim(&format!("r{}", self.seed), "seat"), LOCK_TIMEOUT).await;
        let (sender, wishes) = watch::channel(Wish::GoOn);
        let signals = async {
            for (number, at) in self.signals.iter().enumerate() {
                tokio::time::sleep_until(began + *at).await;
                let wish = if number == 0 { Wish::Soon { signal: "SIGINT" } } else { Wish::Now { signal: "SIGINT" } };
                let _ = sender.send(wish);
            }
            std::future::pending::<()>().await;
        };
        let death = async {
            match self.death {
                Some(Death::At(at)) => tokio::time::sleep_until(began + at).await,
                _ => std::future::pending().await,
            }
        };
        // The operator reads the plan, and the world goes on.
        tokio::time::sleep(READING).await;
        let outcome = tokio::select! {
            biased;
            () = dies.notified() => None,
            () = death => None,
            () = signals => None,
            outcome = run::roll(&fleet, run, &mut recorder, wishes) => Some(outcome),
        };
        let outcome = outcome.filter(|_| !dead.load(Ordering::Relaxed));
        // What is on its way arrives, and what is under way ends.
        let rest = if self.death.is_some() { Duration::from_secs(self.seed % 40) } else { Duration::from_secs(120) };
        tokio::time::sleep(rest).await;
        drop(sim.world());
        Played { outcome, events: memory.events(), world }
    }
}

impl Played {
    /// A new controller goes on with what is left, until it ends or dies again.
    async fn resume_in(&mut self, run: &str, number: u32, death: Option<Death>) {
        let world = Arc::clone(&self.world);
        let sim = Sim::new(&world, 0);
        let progress = Progress::fold(self.events.iter().map(|envelope| &envelope.event)).expect("a legal journal");
        // A run that is over is not resumed (`rollgate resume` says so).
        let Some(plan) = progress.plan.clone().filter(|_| !progress.closed()) else { return };
        let (left, turn) = (progress.ended.map(str::to_owned), progress.turn.clone());
        let down_at = self.events.iter().rev().find_map(|envelope| match &envelope.event {
            Event::StepStarted { host, step, .. }
                if step == "stop" && turn.as_ref().is_some_and(|t| t.host == *host) =>
            {
                Some(envelope.at)
            }
            _ => None,
        });
        let memory = Memory(Arc::new(Mutex::new(self.events.clone())));
        let (dies, dead) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let sink = Deadly { inner: memory.clone(), death, sim: sim.clone(), dies: dies.clone(), dead: dead.clone() };
        // The same seat: the one before it is dead.
        let _ = sim.lock(&claim(run, "seat"), LOCK_TIMEOUT).await;
        let seq = u64::try_from(self.events.len()).expect("few");
        let mut recorder = Recorder::resume(run.to_owned(), seq, progress, Box::new(sink), vec![]);
        let run = run_of((*plan).clone(), Some(Resume { left, replanned: false, down_at }));
        let (_sender, wishes) = watch::channel(Wish::GoOn);
        let began = tokio::time::Instant::now();
        let deadline = async {
            match death {
                Some(Death::At(at)) => tokio::time::sleep_until(began + at).await,
                _ => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            biased;
            () = dies.notified() => None,
            () = deadline => None,
            outcome = run::roll(&sim, run, &mut recorder, wishes) => Some(outcome),
        };
        sim.kill();
        self.outcome = outcome.filter(|_| !dead.load(Ordering::Relaxed));
        self.events = memory.events();
        tokio::time::sleep(Duration::from_secs(5 * u64::from(number))).await;
    }
}

impl Setup {
    /// Plays it, and has each death followed by another controller that goes on; the last one does not die.
    pub fn play_and_resume(&self, deaths: &[Death]) -> Played {
        fastrand::seed(self.seed);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let mut played = self.play_in(|sim| sim, |memory| memory).await;
            for (number, death) in deaths.iter().map(|death| Some(*death)).chain([None]).enumerate() {
                if played.outcome.is_some() {
                    break;
                }
                played.resume_in(&format!("r{}", self.seed), u32::try_from(number).expect("few"), death).await;
            }
            tokio::time::sleep(Duration::from_secs(120)).await;
            drop(Sim::new(&played.world, 0).world());
            played
        })
    }
}
