//! A reload in a turn: what is on disk is tested, the server is told, and has to prove that it took it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    contact::Contact,
    roll::{Roller, Stop},
    turn::{self, Passage},
};
use crate::{
    core::{
        halt::Cause,
        playbook::{Reload, Through},
        reload::{self, Refusal, Told, Verdict},
        view::FailureKind,
    },
    fleet::{Action, Change, Ended, Fleet},
};

/// All that is on a host, its configuration's test among it.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Through the service manager it is a signal; over the system account the server answers when it has reloaded.
const LIMIT: Duration = Duration::from_secs(20);
/// One handshake with a listener, or one answer of the server.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks: each opens a connection to every listener, which its log may mention.
const AGAIN: Duration = Duration::from_secs(1);

/// The id under which the host records it; none where the server is told over the system account.
pub(super) fn change_id<F: Fleet>(roller: &Roller<'_, F>, host: &str, step: &Reload) -> Option<String> {
    let by_service = match step.through {
        Through::Auto => !roller.fleet.has_system_account(),
        Through::SystemAccount => false,
        Through::Service => true,
    };
    by_service.then(|| turn::change_id(roller, host, "reload"))
}

/// Tests, tells, and waits for the proof; what it was. A turn that was left is begun anew, and the server told again: done
/// twice it does what it does once.
pub(super) async fn reload<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    step: &Reload,
    change: Option<String>,
) -> Result<String, Stop> {
    let fleet = roller.fleet;
    let host = passage.host.clone();
    let (archive, look, _) = Contact::new()
        .evidence(roller, &host, "reload", || async {
            tokio::join!(fleet.collect(&host, None, COLLECT_TIMEOUT), fleet.look(&host, LOOK_TIMEOUT))
        })
        .await?;
    let why = reload::unusable(&archive, &roller.run.plan.policy.allow);
    if !why.is_empty() {
        return Err(turn::halt(roller, passage, "reload", Cause::Unusable { why }).await);
    }
    let varz = look.server.varz.ok();
    let mut told = Told {
        at: archive.machine.as_ref().map_or(archive.answered_at, |machine| machine.clock),
        loaded: varz.as_ref().and_then(|varz| varz.config_load_time),
        server_id: varz.map(|varz| varz.server_id).or_else(|| passage.server_id.clone()),
    };
    let unsure = match change {
        Some(id) => by_service(roller, passage, id, &mut told).await?,
        None => by_system_account(roller, passage, told.server_id.as_deref()).await?,
    };
    prove(roller, passage, &told, unsure, Instant::now() + step.deadline).await
}

/// Has the service manager tell it; why that is not sure to have worked, where it is not.
async fn by_service<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &Passage,
    id: String,
    told: &mut Told,
) -> Result<Option<String>, Stop> {
    let change = Change { id, what: Action::Reload, limit: LIMIT, boot: None };
    let (began, ended) = turn::attempt(roller, &passage.host, Some(passage), &change).await?;
    told.at = began.unwrap_or(told.at).max(told.at);
    match ended.map(|ended| ended.map(Ended::fault)) {
        Ok(Some(None)) => Ok(None),
        Ok(None) => Ok(Some("the command that told it died without leaving a result".into())),
        Ok(Some(Some(cause))) | Err(cause) => Err(turn::halt(roller, passage, "reload", cause).await),
    }
}

/// The same over the system account. An answer can be lost with the connection: a change of users ends it.
async fn by_system_account<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &Passage,
    server_id: Option<&str>,
) -> Result<Option<String>, Stop> {
    let fleet = roller.fleet;
    let cause = match server_id {
        None => Cause::Unusable { why: vec!["its id is not known, by which the system account reaches it".into()] },
        Some(server_id) => match roller.attend(fleet.reload(server_id, LIMIT)).await? {
            Ok(()) => return Ok(None),
            Err(failure) => match failure.kind {
                FailureKind::Command => refusal(reload::refused(&failure.detail)),
                FailureKind::Fenced => Cause::LockLost { detail: failure.to_string() },
                FailureKind::Denied | FailureKind::NotAsked => {
                    Cause::ChangeFailed { status: None, output: failure.detail }
                }
                _ => return Ok(Some(failure.to_string())),
            },
        },
    };
    Err(turn::halt(roller, passage, "reload", cause).await)
}

fn refusal(refusal: Refusal) -> Cause {
    match refusal {
        Refusal::NotReloadable(setting) => Cause::NotReloadable { setting },
        Refusal::Refused(line) => Cause::ReloadRefused { line },
    }
}

async fn prove<F: Fleet>(
    roller: &mut Roller<'_, F>,
    passage: &mut Passage,
    told: &Told,
    unsure: Option<String>,
    mut deadline: Instant,
) -> Result<String, Stop> {
    let fleet = roller.fleet;
    let host = passage.host.clone();
    let mut contact = Contact::new();
    loop {
        let look = || async {
            let archive = fleet.collect(&host, Some(told.at), COLLECT_TIMEOUT).await;
            let wanted = reload::tls_listeners(&archive);
            let asked: Vec<_> = wanted.iter().flatten().map(|one| one.listener.clone()).collect();
            let (look, shown) = tokio::join!(fleet.look(&host, LOOK_TIMEOUT), fleet.shown(&host, &asked, LOOK_TIMEOUT));
            (archive, (wanted, look, shown))
        };
        let (archive, (wanted, look, shown), away) = contact.evidence(roller, &host, "reload", look).await?;
        deadline += away;
        let verdict = match wanted {
            Err(unknown) => Verdict::Wait(vec![unknown]),
            Ok(wanted) => reload::judge(told, &look.server.varz, &archive, &wanted, &shown),
        };
        let cause = match verdict {
            Verdict::Taken(proof) => return Ok(proof),
            Verdict::Wait(mut missing) if Instant::now() >= deadline => {
                missing.extend(unsure);
                Cause::NotReloaded { missing }
            }
            Verdict::Wait(_) => {
                roller.attend(sleep(AGAIN)).await?;
                continue;
            }
            Verdict::Refused(refused) => refusal(refused),
        };
        return Err(turn::halt(roller, passage, "reload", cause).await);
    }
}
