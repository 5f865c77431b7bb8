//! One server's passage: the steps of the playbook, in order.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{
    configure,
    contact::Contact,
    drain, gate, install, own_step, reboot, reload,
    roll::{Roller, Stop},
};
use crate::{
    core::{
        assets::Assets,
        event::Event,
        gate::{Baseline, Gate},
        halt::Cause,
        install::next_version,
        listeners::Listener,
        millis,
        plan::Turn,
        playbook::{Settle, Step},
        progress,
        view::{Failure, FailureKind, Phase, ServiceState},
        witness::Witness,
    },
    fleet::{Action, Change, Changed, Ended, Fleet},
};

/// One request to the host waits this long for the change's end before it is asked again, so that a frozen link is
/// noticed long before a lame duck of minutes would have ended.
const CHANGE_POLL: Duration = Duration::from_secs(20);
/// What the host's own limit leaves to us for noticing it.
const LIMIT_MARGIN: Duration = Duration::from_secs(15);
/// One question to a host's service manager.
pub(super) const SERVICE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the steps of a turn hand on to each other.
pub(super) struct Passage {
    /// The host.
    pub(super) host: String,
    /// The server's name.
    pub(super) server_name: String,
    /// The process that runs before the turn.
    pub(super) server_id: Option<String>,
    /// Its version then.
    pub(super) version_before: Option<String>,
    /// JetStream's assets before the turn.
    pub(super) assets: Option<Assets>,
    /// What was on the server before; none without JetStream.
    pub(super) witness: Option<Witness>,
    /// The gate, which remembers across gate and settle.
    pub(super) gate: Gate,
    /// When the step under way began.
    pub(super) step_began: Instant,
    /// When the server was told to stop.
    pub(super) down_since: Option<Instant>,
    /// The first good look of the streak that opened the gate.
    pub(super) ready_at: Option<Instant>,
    /// Since when nothing bad was seen of it, by its own looks or by its peers'.
    pub(super) good_since: Option<Instant>,
    /// When the start began, by the host's clock.
    pub(super) started: Option<Timestamp>,
    /// When the gate must have opened, and the server have settled.
    pub(super) deadline: Option<Instant>,
    /// The longest that one look may take.
    pub(super) look_timeout: Duration,
    /// What runs now.
    pub(super) version: Option<String>,
    /// The digest of its configuration.
    pub(super) config_digest: Option<String>,
    /// Its TLS listeners.
    pub(super) listeners: Vec<Listener>,
    /// The service's state after a stop that ended in SIGKILL.
    pub(super) killed: Option<ServiceState>,
    /// Another controller began the turn.
    left: bool,
    /// The host was rebooted during the stop.
    rebooted: bool,
}

impl Passage {
    /// What is on the server right before it stops: the later, the less can happen until it is back. Where it can't be seen now,
    /// what was seen when the turn began has to do.
    fn at_stop(&mut self, assets: Option<Assets>) {
        if let Some((witness, assets)) = self.witness.as_mut().zip(assets.filter(|assets| assets.gaps.is_empty())) {
            witness.at_stop(assets);
        }
    }
}

/// Takes one turn.
pub(super) async fn take<F: Fleet>(
    roller: &mut Roller<'_, F>,
    turn: &Turn,
    baseline: Baseline,
    assets: Option<Assets>,
) -> Result<(), Stop> {
    let passage = passage(roller, turn.host.clone(), baseline, turn.version.clone(), assets);
    let done = own_step::done(roller, &passage.host);
    steps(roller, passage, &done).await
}

/// Goes on with a turn that was left after its stop was announced.
pub(super) async fn go_on<F: Fleet>(
    roller: &mut Roller<'_, F>,
    left: progress::Turn,
    down_at: Option<Timestamp>,
) -> Result<(), Stop> {
    let assets = left.before.map(|assets| (*assets).clone());
    let mut passage = passage(roller, left.host, left.baseline, None, assets);
    let down = down_at.and_then(|at| Duration::try_from(roller.fleet.now().duration_since(at)).ok());
    passage.down_since = down.and_then(|down| Instant::now().checked_sub(down));
    passage.left = true;
    steps(roller, passage, &left.finished).await
}

/// The id under which a host records a change: a turn that was left untouched and is begun anew asks for new changes.
pub(super) fn change_id<F: Fleet>(roller: &Roller<'_, F>, host: &str, step: &str) -> String {
    let run = roller.recorder.run();
    match roller.recorder.progress().attempts.get(host) {
        None | Some(0 | 1) => format!("{run}-{host}-{step}"),
        Some(attempt) => format!("{run}-{host}-{step}-{attempt}"),
    }
}

/// The id of a change that is asked for anew by each controller: what was done already shows otherwise, and what failed is to
/// be tried again.
fn anew<F: Fleet>(roller: &Roller<'_, F>, id: String) -> String {
    match roller.recorder.progress().resumed {
        0 => id,
        times => format!("{id}-r{times}"),
    }
}

fn passage<F: Fleet>(
    roller: &Roller<'_, F>,
    host: String,
    baseline: Baseline,
    version_before: Option<String>,
    assets: Option<Assets>,
) -> Passage {
    let steps = roller.run.plan.steps_of(&host);
    let looks = steps.iter().find_map(|step| match step {
        Step::Gate(gate) => Some(gate.looks),
        _ => None,
    });
    let stops = steps.iter().any(|step| matches!(step, Step::Stop(_)));
    Passage {
        host,
        server_name: baseline.server_name.clone(),
        server_id: baseline.server_id.clone(),
        version_before,
        witness: assets.clone().map(|assets| Witness::new(&baseline.server_name, assets, baseline.errors.clone())),
        assets,
        gate: Gate::new(if stops { baseline } else { baseline.of_any_process() }, looks.unwrap_or(1)),
        step_began: Instant::now(),
        down_since: None,
        ready_at: None,
        good_since: None,
        started: None,
        deadline: None,
        look_timeout: Duration::from_secs(3),
        version: None,
        config_digest: None,
        listeners: Vec::new(),
        killed: None,
        left: false,
        rebooted: false,
    }
}

/// The steps of a turn that are not finished yet.
async fn steps<F: Fleet>(roller: &mut Roller<'_, F>, mut passage: Passage, finished: &[String]) -> Result<(), Stop> {
    let began = Instant::now();
    for step in roller.run.plan.steps_of(&passage.host) {
        let first = roller.recorder.progress().done.is_empty();
        if finished.iter().any(|name| name == step.name()) || (matches!(step, Step::Canary(_)) && !first) {
            continue;
        }
        let first_stop = roller.recorder.progress().turn.as_ref().is_some_and(|t| !t.finished.is_empty() && !t.stopped);
        if matches!(step, Step::Stop(_)) && first_stop {
            let view = roller.still_safe(&passage.host).await?;
            passage.at_stop(view.assets);
            if let Some(server_id) = &passage.server_id {
                // Asking may have connected us to the very server that is to stop.
                roller.fleet.leave(server_id).await;
            }
        }
        let step_began = Instant::now();
        passage.step_began = step_began;
        let change = match &step {
            Step::Stop(_) | Step::Start(_) => Some(change_id(roller, &passage.host, step.name())),
            Step::Install(step) if install::command(step).is_some() => {
                Some(own_step::change_id(roller, &passage.host, "install"))
            }
            Step::Install(_) | Step::Configure(_) | Step::PutBack(_) => {
                Some(install::change_id(roller, &passage.host, step.name()))
            }
            Step::Reload(reload) => reload::change_id(roller, &passage.host, reload),
            step if step.is_own_on_host() => Some(own_step::change_id(roller, &passage.host, step.name())),
            Step::Reboot(_) => Some(anew(roller, change_id(roller, &passage.host, step.name()))),
            Step::Drain(_) | Step::Gate(_) | Step::Settle(_) | Step::Canary(_) => None,
            Step::Run(_) | Step::File(_) | Step::Http(_) | Step::Pause(_) => None,
        };
        let down = roller.recorder.progress().turn.as_ref().is_some_and(|turn| turn.stopped);
        roller.record(Event::StepStarted {
            host: passage.host.clone(),
            step: step.name().into(),
            change: change.clone(),
        })?;
        if !down {
            roller.must_be_mirrored()?;
        }
        let (mut note, mut restarts) = (None, None);
        match (&step, change) {
            (Step::Drain(step), _) => note = Some(drain::drain(roller, &passage, step).await?),
            (Step::Stop(stop), Some(id)) => {
                passage.down_since.get_or_insert_with(Instant::now);
                let boot = passage.gate.baseline().boot_id.clone();
                let change = Change { id, what: Action::Stop, limit: stop.deadline, boot };
                carry_out(roller, &mut passage, &change, "stop").await?;
                let state = stopped(roller, &passage, step_began, stop.deadline).await?;
                passage.rebooted = another_boot(&passage, &state);
                if !passage.rebooted {
                    restarts = state.restarts;
                    passage.gate.is_down(restarts);
                }
                note = passage.rebooted.then(|| "the host was rebooted meanwhile".to_owned());
                // A process that was gone before is not one that this stop has killed, nor is one that went with its host.
                let ours = passage.server_id.is_some() && note.is_none();
                passage.killed = Some(state).filter(|state| ours && state.was_killed());
                note = note.or(passage.killed.as_ref().map(|s| format!("killed by its manager: {}", s.summary())));
            }
            (Step::Start(start), Some(id)) => {
                let change = Change { id, what: Action::Start, limit: start.deadline, boot: None };
                carry_out(roller, &mut passage, &change, "start").await?;
            }
            (Step::Install(step), Some(id)) => note = install::install(roller, &mut passage, step, id).await?,
            (Step::Configure(step), Some(id)) => note = configure::place(roller, &mut passage, step, id).await?,
            (Step::PutBack(step), Some(id)) => note = install::put_back(roller, &mut passage, step, id).await?,
            (Step::Reboot(step), Some(id)) => note = reboot::reboot(roller, &mut passage, step, id).await?,
            (Step::Gate(step), _) => {
                note = gate::wait(roller, &mut passage, step).await?;
                let steps = roller.run.plan.steps.clone();
                install::is_meant(roller, &passage, next_version(&steps, &passage.host)).await?;
                configure::is_taken(roller, &passage).await?;
            }
            (Step::Settle(step), _) => gate::settle(roller, &mut passage, step, "settle").await?,
            (Step::Canary(step), _) => {
                let settle = Settle { hold: step.hold, interval: step.interval };
                gate::settle(roller, &mut passage, &settle, "canary").await?;
            }
            (Step::Reload(step), change) => match reload::reload(roller, &mut passage, step, change).await {
                Ok(proof) => note = Some(proof),
                Err(stop) => return Err(configure::not_taken(roller, &mut passage, stop).await),
            },
            (Step::Run(step), change) => own_step::run(roller, &mut passage, step, change).await?,
            (Step::File(step), change) => own_step::file(roller, &mut passage, step, change).await?,
            (Step::Http(step), _) => own_step::http(roller, &mut passage, step).await?,
            (Step::Pause(step), _) => own_step::pause(roller, &mut passage, step).await?,
            (Step::Stop(_) | Step::Start(_) | Step::Reboot(_), None) => {}
            (Step::Install(_) | Step::Configure(_) | Step::PutBack(_), None) => {}
        }
        let took_ms = millis::of(step_began.elapsed());
        let (host, step) = (passage.host.clone(), step.name().into());
        roller.record(Event::StepFinished { host, step, took_ms, note, restarts })?;
    }
    let unready = passage.down_since.zip(passage.ready_at).map(|(down, ready)| ready.duration_since(down));
    roller.record(Event::TurnFinished {
        host: passage.host.clone(),
        took_ms: millis::of(began.elapsed()),
        unready_ms: millis::of(unready.unwrap_or_default()),
        version: passage.version,
    })?;
    match passage.killed {
        // Not before: a server that was killed must not be left down too.
        Some(state) => {
            let cause = Cause::Killed { state: state.summary() };
            Err(roller.halt(&passage.host, "stop", cause, passage.started, began.elapsed()).await)
        }
        None => Ok(()),
    }
}

/// Begins a change of the service and waits for its end.
async fn carry_out<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    change: &Change,
    step: &str,
) -> Result<(), Stop> {
    let (began, ended) = attempt(roller, &passage.host, Some(&*passage), change).await?;
    passage.started = began;
    match ended.map(|ended| ended.and_then(Ended::fault)) {
        // A lost change is judged by what follows: the service's state after a stop, the gate after a start.
        Ok(None) => Ok(()),
        Ok(Some(cause)) | Err(cause) => Err(halt(roller, passage, step, cause).await),
    }
}

/// When a change began by the host's clock, and how it ended: none where it was begun and lost. The cause is that of not
/// knowing more.
pub(super) type Attempt = (Option<Timestamp>, Result<Option<Ended>, Cause>);

/// Begins a change and waits for its end, over as many connections as it takes. Outside a turn there is no passage.
pub(super) async fn attempt<F: Fleet>(
    roller: &mut Roller<'_, F>,
    host: &str,
    passage: Option<&Passage>,
    change: &Change,
) -> Result<Attempt, Stop> {
    let fleet = roller.fleet;
    let begun = Instant::now();
    let mut contact = Contact::new();
    // A turn that was left may have asked for it before, and a boot starts what is enabled.
    let mut asked = passage.is_some_and(|passage| passage.left || passage.rebooted);
    let cause = loop {
        let again = std::mem::replace(&mut asked, true);
        let may_begin = match passage {
            Some(passage) if again => asked_again(roller, passage, change).await?,
            // Of a command of the operator's the host itself knows whether it was begun, over a reboot too.
            _ => Ok(true),
        };
        let changed = match may_begin {
            Ok(true) => roller.attend(fleet.change(host, change, CHANGE_POLL.min(change.limit))).await?,
            Ok(false) => return Ok((None, Ok(None))),
            Err(failure) => Err(failure),
        };
        match changed {
            Ok(Changed::Lost { began }) => return Ok((began, Ok(None))),
            Ok(Changed::Ended { status, output, began }) => return Ok((began, Ok(Some(Ended { status, output })))),
            Ok(Changed::Running) if begun.elapsed() > change.limit + LIMIT_MARGIN => break Cause::ChangeTimedOut,
            Ok(Changed::Running) => contact.found(),
            Err(failure)
                if matches!(failure.kind, FailureKind::Sudo | FailureKind::Command | FailureKind::NotAsked) =>
            {
                break Cause::ChangeFailed { status: None, output: failure.detail };
            }
            Err(failure) => match contact.lost(failure) {
                Ok(delay) => roller.attend(sleep(delay)).await?,
                Err(cause) => break cause,
            },
        }
    };
    Ok((None, Err(cause)))
}

/// A halt at a step of this turn.
pub(super) async fn halt<F: Fleet>(roller: &mut Roller<'_, F>, passage: &Passage, step: &str, cause: Cause) -> Stop {
    roller.halt(&passage.host, step, cause, passage.started, passage.step_began.elapsed()).await
}

/// Whether a change that was asked for before may be asked for again; if not it was lost. The inner error is why that can't be
/// told. A host that has no record of it would begin it now: the first request never arrived, or the host was rebooted since.
async fn asked_again<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &Passage,
    change: &Change,
) -> Result<Result<bool, Failure>, Stop> {
    let fleet = roller.fleet;
    let asking = async {
        let record = fleet.record(&passage.host, &change.id, SERVICE_TIMEOUT).await?;
        Ok((record, fleet.service(&passage.host, SERVICE_TIMEOUT).await?))
    };
    let service = match roller.attend(asking).await? {
        Err(failure) => return Ok(Err(failure)),
        Ok((Some(_), _)) => return Ok(Ok(true)),
        Ok((None, service)) => service,
    };
    let rebooted = another_boot(passage, &service);
    Ok(Ok(match change.what {
        // The boot has ended the old process: what runs now is not to be stopped again.
        Action::Stop if rebooted => false,
        Action::Stop => {
            // What was safe then need not be now (found by the simulator: a stop that began anew 54 s later, when the host was
            // up again and another one had lost its power).
            roller.still_safe(&passage.host).await?;
            true
        }
        // Its manager has started it at the boot: whether that went well is for the gate, and not to be tried again.
        Action::Start => !rebooted || service.phase == Phase::Stopped,
        // Whatever became of it: again is no harm.
        Action::Place(_) | Action::PutBack(_) | Action::Put { .. } => true,
        // It may have taken effect before the boot, or be what caused it.
        Action::Run { .. } | Action::Reboot { .. } => !rebooted,
        // Done twice it does what it does once.
        Action::Reload => true,
    }))
}

/// Whether the host was rebooted since its turn began: that has ended the old process, whatever became of its stop.
fn another_boot(passage: &Passage, state: &ServiceState) -> bool {
    let before = passage.gate.baseline().boot_id.as_ref();
    before.zip(state.boot_id.as_ref()).is_some_and(|(before, now)| before != now)
}

/// A stop that ended must have stopped something: the process is asked for, not the stop's exit status. A start on top of
/// a stop that is still under way would cancel it (seen: systemd answers `Job canceled`, the old process lives on).
async fn stopped<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &Passage,
    began: Instant,
    limit: Duration,
) -> Result<ServiceState, Stop> {
    let fleet = roller.fleet;
    let mut contact = Contact::new();
    let cause = loop {
        let delay = match roller.attend(fleet.service(&passage.host, SERVICE_TIMEOUT)).await? {
            Ok(state) if another_boot(passage, &state) => return Ok(state),
            Ok(state) => match state.phase {
                Phase::Stopped | Phase::Failed | Phase::Missing => return Ok(state),
                Phase::Stopping if began.elapsed() > limit => break Cause::ChangeTimedOut,
                Phase::Stopping => contact.still_at_work(),
                Phase::Running | Phase::Starting | Phase::AutoRestart => break Cause::StillRunning,
            },
            Err(failure) => match contact.lost(failure) {
                Ok(delay) => delay,
                Err(cause) => break cause,
            },
        };
        roller.attend(sleep(delay)).await?;
    };
    Err(roller.halt(&passage.host, "stop", cause, passage.started, began.elapsed()).await)
}
