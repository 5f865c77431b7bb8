//! The very plan, carried out in a simulated world.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;

use super::{Outcome, Recorder, Run, RunError, approval::Answer, roll, shutdown};
use crate::{
    core::{
        event::Envelope,
        install::Source,
        lock::Claim,
        own_step::{Pause, Until},
        plan::Plan,
        playbook::Step,
    },
    fleet::{
        Fleet,
        sim::{self, Breach, Dark, Fault, Sim, Topology, World},
    },
    journal::Sink,
};

/// One round of the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// What becomes of a plan in one simulated world.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rehearsed {
    /// The number that the world was made from.
    pub seed: u64,
    /// What went wrong in it, as on the command line.
    pub faults: Vec<String>,
    /// `finished`, `refused`, or `halted` with its code.
    pub end: String,
    /// How long the roll would take, in milliseconds.
    pub took_ms: u64,
    /// Hosts whose server is not ready at the end.
    pub unready: Vec<String>,
    /// Streams that nobody could publish to for a while.
    pub dark: Vec<Dark>,
    /// Promises that rollgate broke: always a bug.
    pub broken: Vec<String>,
    /// Every event of the run, unless it is one of many.
    pub events: Vec<Envelope>,
}

/// A journal in memory: a rehearsal leaves nothing behind.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<Envelope>>>);

impl Sink for Memory {
    fn append(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(envelope.clone());
        Ok(())
    }
}

/// Plays a plan in a runtime of its own, whose clock stands still while there is work: an hour takes no time. Not to be
/// called from within a runtime.
///
/// # Errors
/// There can be no runtime, or the runner failed: a bug.
pub fn rehearse(plan: &Plan, topology: &Topology, faults: &[Fault], seed: u64) -> io::Result<Rehearsed> {
    // backon's jitter draws from the thread's own numbers.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(rehearse_in(plan, topology, faults, seed)).map_err(io::Error::other)
}

/// What the operator's own checks ask for is not simulated: in their places stands a step of the same name, which goes well.
/// Whatever brings a program: in a simulation it is its version.
fn stand_in(step: &mut Step) {
    match step {
        Step::Http(http) => {
            *step = Step::Pause(Pause { name: http.name.clone(), until: Until::Over(Duration::ZERO) });
        }
        Step::Install(install) => {
            install.from = Source::Controller("nats-server".into());
            install.sha256 = Some(sim::program(&install.version));
        }
        _ => {}
    }
}

/// The same in the caller's runtime. The operator's own steps go well, before and after the roll and on halt too. The runtime's clock must be paused; many can be under way at once.
///
/// # Errors
/// The runner failed: a bug.
pub async fn rehearse_in(plan: &Plan, topology: &Topology, faults: &[Fault], seed: u64) -> Result<Rehearsed, RunError> {
    let mut world = World::new(topology, seed);
    for fault in faults {
        world.plan_fault(fault.clone());
    }
    let world = Arc::new(Mutex::new(world));
    let sim = Sim::new(&world, 0);
    let memory = Memory::default();
    let mut recorder = Recorder::new(format!("rehearsal-{seed}"), Box::new(memory.clone()), vec![]);
    let mut plan = plan.clone();
    let hooks = &mut plan.hooks;
    let hooks = hooks.before.iter_mut().chain(&mut hooks.after).chain(&mut hooks.on_halt);
    plan.steps.iter_mut().chain(hooks).for_each(stand_in);
    // In a simulation a file is its digest.
    let files = plan.turns.iter().flat_map(|turn| &turn.files).flat_map(|of| &of.files);
    let contents = files.map(|file| (file.sha256.clone(), Arc::from(&[][..]))).collect();
    let run = Run {
        plan: plan.clone(),
        inventory: "rehearsal".into(),
        cluster_key: "rehearsal".into(),
        resume: None,
        back: None,
        contents,
        go_on: format!("rollgate resume rehearsal-{seed}"),
        again: format!("rollgate rehearse --cluster {}", plan.cluster),
        status: format!("rollgate status --cluster {}", plan.cluster),
        ask: Box::new(|_| Box::pin(async { Answer::Yes })),
    };
    let began = tokio::time::Instant::now();
    let claim = Claim {
        run: format!("rehearsal-{seed}"),
        seat: "rehearsal".into(),
        holder: "rehearsal".into(),
        reason: plan.playbook.clone(),
    };
    // Without it the roll halts, and says so.
    let _ = sim.lock(&claim, LOCK_TIMEOUT).await;
    let outcome = roll(&sim, run, &mut recorder, shutdown::never()).await?;
    let took = began.elapsed();
    drop(recorder);
    let world = sim.world();
    let events = std::mem::take(&mut *memory.0.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Rehearsed {
        seed,
        faults: faults.iter().map(ToString::to_string).collect(),
        end: end(&outcome),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        unready: world.unready(),
        dark: world.dark(),
        broken: world.breaches().iter().map(broken).collect(),
        events,
    })
}

fn end(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Finished => "finished".into(),
        Outcome::Refused(halt) => format!("refused ({})", halt.cause.code()),
        Outcome::Halted(halt) => format!("halted at the {} ({})", halt.step, halt.cause.code()),
        Outcome::Interrupted => "interrupted".into(),
    }
}

fn broken(breach: &Breach) -> String {
    format!("{:?} at {}, after {:?}: {}", breach.promise, breach.host, Duration::from_millis(breach.at), breach.detail)
}
