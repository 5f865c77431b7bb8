//! The reboot of a host: ordered once a boot, and waited for until another boot is there and has started the server.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    roll::{Roller, Stop},
    turn::{self, Passage, SERVICE_TIMEOUT},
};
use crate::{
    core::{
        halt::Cause,
        playbook::{Reboot, boot_starts},
        view::{Failure, FailureKind, Phase, ServiceState},
    },
    fleet::{Action, Change, Changed, Ended, Fleet},
};

/// The order is a message to the service manager. What takes longer waits for something, and the reboot with it.
const ORDER_LIMIT: Duration = Duration::from_secs(60);
/// One request for the order: what it has printed by then is known, and a host that is going down need not answer.
const ORDER_POLL: Duration = Duration::from_secs(5);
/// Between two looks at a host that is away: its boot takes a minute, and a server that waits costs nobody anything.
const AGAIN: Duration = Duration::from_secs(1);
/// A unit that its manager does not start at boot gets this long all the same: something else may start it.
const DISABLED_FOR: Duration = Duration::from_secs(10);
/// One that it does, this long: units after the network wait up to two minutes for it (systemd-networkd-wait-online(8)).
const ENABLED_FOR: Duration = Duration::from_secs(150);

/// What is known of a reboot so far.
#[derive(Default)]
struct Seen {
    /// The host has begun it.
    ordered: bool,
    /// How its command ended, if it failed.
    failed: Option<(i32, String)>,
    /// The last failure to reach it, since it was last reached.
    away: Option<Failure>,
    /// It was away at all.
    was_away: bool,
    /// Since when another boot is there.
    back: Option<Instant>,
    /// The service there.
    service: Option<ServiceState>,
}

/// Reboots the host unless it has another boot than at the begin of its turn already; what there is to say of it.
pub(super) async fn reboot<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &Reboot,
    id: String,
) -> Result<Option<String>, Stop> {
    let Some(before) = passage.gate.baseline().boot_id.clone() else {
        let detail = "it was not known when its turn began, so a reboot could not be told from none".to_owned();
        return Err(turn::halt(roller, passage, "reboot", Cause::NotRebooted { detail }).await);
    };
    let what = Action::Reboot { command: step.command.clone() };
    let order = Change { id, what, limit: ORDER_LIMIT, boot: Some(before.clone()) };
    let (fleet, host) = (roller.fleet, passage.host.clone());
    let until = passage.step_began + step.deadline;
    let waits = boot_starts(&roller.run.plan.steps);
    let mut seen = Seen::default();
    let cause = loop {
        match roller.attend(fleet.service(&host, SERVICE_TIMEOUT)).await? {
            Ok(state) if state.boot_id.as_ref().is_some_and(|now| *now != before) => {
                let boot = state.boot_id.clone().unwrap_or_default();
                roller.before = roller.before.clone().in_boot(&boot);
                let back = *seen.back.get_or_insert_with(Instant::now);
                let gone = state.phase == Phase::Stopped;
                if !waits || !gone {
                    return Ok(Some(note(&seen, passage, back)));
                }
                let allowed = if is_disabled(&state) { DISABLED_FOR } else { ENABLED_FOR };
                (seen.away, seen.service) = (None, Some(state));
                if back.elapsed() >= allowed {
                    break over(&seen);
                }
            }
            Ok(_) => {
                seen.away = None;
                if let Err(cause) = ordered(roller, passage, &order, &mut seen).await? {
                    break cause;
                }
            }
            Err(failure) => (seen.away, seen.was_away) = (Some(failure), true),
        }
        if Instant::now() >= until {
            break over(&seen);
        }
        roller.attend(sleep(AGAIN)).await?;
    };
    Err(turn::halt(roller, passage, "reboot", cause).await)
}

/// Has the host begin the reboot, unless it did. The inner error is why it will not.
async fn ordered<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    order: &Change,
    seen: &mut Seen,
) -> Result<Result<(), Cause>, Stop> {
    if seen.ordered {
        return Ok(Ok(()));
    }
    let fleet = roller.fleet;
    let began = match roller.attend(fleet.change(&passage.host, order, ORDER_POLL)).await? {
        Ok(Changed::Ended { status, output, began }) => {
            // 128 and more is a signal: the shutdown ends the very command that ordered it.
            if (1..128).contains(&status) && status != Ended::TIMED_OUT {
                return Ok(Err(Cause::ChangeFailed { status: Some(status), output }));
            }
            seen.failed = (status != 0).then_some((status, output));
            began
        }
        Ok(Changed::Running | Changed::Lost { .. }) => None,
        Err(failure) => {
            return Ok(match failure.kind {
                FailureKind::Sudo | FailureKind::Command | FailureKind::NotAsked => {
                    Err(Cause::ChangeFailed { status: None, output: failure.detail })
                }
                // Whether it has begun will be seen: asked again, it is not done again.
                _ => {
                    (seen.away, seen.was_away) = (Some(failure), true);
                    Ok(())
                }
            });
        }
    };
    seen.ordered = true;
    passage.started = began.or(passage.started);
    Ok(Ok(()))
}

fn is_disabled(state: &ServiceState) -> bool {
    matches!(state.enabled.as_deref(), Some("disabled" | "masked" | "enabled-runtime"))
}

/// Why waiting was of no use.
fn over(seen: &Seen) -> Cause {
    match (&seen.away, &seen.service) {
        (Some(failure), _) if failure.kind == FailureKind::Fenced => Cause::LockLost { detail: failure.to_string() },
        (Some(failure), _) => Cause::HostNotBack { failure: failure.clone() },
        (None, Some(state)) => Cause::NotStartedAtBoot { service: state.summary(), enabled: state.enabled.clone() },
        (None, None) => {
            let detail = match (&seen.failed, seen.was_away) {
                (Some((status, output)), _) => format!("its command ended with status {status}: {output}"),
                (None, true) => "it was out of reach meanwhile, and is not a new boot".to_owned(),
                (None, false) => "it never went away".to_owned(),
            };
            Cause::NotRebooted { detail }
        }
    }
}

fn note(seen: &Seen, passage: &Passage, back: Instant) -> String {
    if seen.ordered || seen.was_away {
        format!("another boot was there after {} s", back.duration_since(passage.step_began).as_secs())
    } else {
        "the host was rebooted already".to_owned()
    }
}
