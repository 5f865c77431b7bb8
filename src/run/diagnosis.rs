//! Gathering evidence during a run, and having it judged: why a server is not back, and whether one could come back.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::OBSERVE_TIMEOUT;
use crate::{
    core::{
        diagnosis::{Context, Diagnosis, Purpose, diagnose, evidence::Archive},
        difference::differences,
        halt::Cause,
        install::{StandIn, not_beside},
        safety::read_includes,
        view::{HealthError, View},
    },
    fleet::Fleet,
};

/// Evidence is worth a wait, but the operator waits too.
const EVIDENCE_TIMEOUT: Duration = Duration::from_secs(15);
/// In a healthy host it is over in less than a second; the view that it belongs to must not become stale
/// ([`MAX_AGE`](crate::core::safety::MAX_AGE)).
const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(8);
/// Hosts that are looked at at once, of whatever clusters: each answer has some hundred kilobytes, and its ssh a process
/// of its own.
const AT_ONCE: usize = 10;
static LOOKING: Semaphore = Semaphore::const_new(AT_ONCE);

/// What was true of a server before it was touched, as far as a diagnosis wants it.
#[derive(Debug, Clone, Default)]
pub(super) struct Before {
    health: Vec<HealthError>,
    boot: Option<String>,
    had_state: bool,
    looks: bool,
}

impl Before {
    /// What `view` says of `host`.
    pub(super) fn of(view: &View, host: &str) -> Self {
        let Some(server) = view.server(host) else { return Self::default() };
        let health = server.health.as_ref().map(|health| health.errors.clone()).unwrap_or_default();
        let boot = server.service.as_ref().ok().and_then(|service| service.boot_id.clone());
        let member =
            |group: &crate::core::assets::Group| group.members.iter().any(|one| one.server == server.server_name);
        let had_state = view.assets.as_ref().is_some_and(|assets| assets.groups.iter().any(member));
        Self { health, boot, had_state, looks: false }
    }

    /// The same where nothing is going to be touched: what its last start was like does not matter.
    pub(super) fn looked_at(self) -> Self {
        Self { looks: true, had_state: false, ..self }
    }

    /// The same on a host that we have rebooted: what is found there is not blamed on that.
    pub(super) fn in_boot(self, boot: &str) -> Self {
        Self { boot: Some(boot.to_owned()), ..self }
    }

    fn context(&self, since: Option<Timestamp>) -> Context {
        Context {
            purpose: if self.looks { Purpose::Look } else { Purpose::Halt },
            health_before: self.health.clone(),
            boot_before: self.boot.clone(),
            started: since,
            had_state: self.had_state,
            ..Context::default()
        }
    }
}

/// Why a server is not back, unless the cause has nothing to do with it, and the cluster around it, both bounded in time.
pub(super) async fn of_halt<F: Fleet>(
    fleet: &F,
    host: &str,
    since: Option<Timestamp>,
    cause: &Cause,
    before: &Before,
) -> (Option<Diagnosis>, View) {
    if cause.is_the_operators() {
        return (None, fleet.observe(&[], OBSERVE_TIMEOUT).await);
    }
    let (archive, view) = evidence(fleet, host, since).await;
    let data_short = match cause {
        Cause::DataShort { streams } => streams.clone(),
        _ => Vec::new(),
    };
    let context = Context { data_short, ..before.context(since) };
    (Some(diagnose(&archive, &context)), view)
}

/// The same while it is still waited for.
pub(super) async fn of_wait<F: Fleet>(
    fleet: &F,
    host: &str,
    since: Option<Timestamp>,
    before: &Before,
) -> (Diagnosis, View) {
    let (archive, view) = evidence(fleet, host, since).await;
    (diagnose(&archive, &before.context(since)), view)
}

async fn evidence<F: Fleet>(fleet: &F, host: &str, since: Option<Timestamp>) -> (Archive, View) {
    let (mut archive, view) =
        tokio::join!(fleet.collect(host, since, EVIDENCE_TIMEOUT), fleet.observe(&[], OBSERVE_TIMEOUT));
    archive.view = Some(view.clone());
    (archive, view)
}

/// Observes the cluster, and whether the servers of `hosts` could start again with the configuration, program, files and
/// ports that they would meet now, and whether those are what they run with; with the files of `stand_ins` where those will be
/// others. Nothing is touched.
pub async fn observe<F: Fleet>(fleet: &F, hosts: &[String], stand_ins: impl Fn(&str) -> Vec<StandIn>) -> View {
    let context = Context { purpose: Purpose::Preflight, ..Context::default() };
    let (archives, mut view) =
        tokio::join!(collect(fleet, hosts, PREFLIGHT_TIMEOUT, stand_ins), fleet.observe_assets(hosts, OBSERVE_TIMEOUT));
    let judge = |archive: Archive| {
        let diagnosis = diagnose(&archive, &context);
        let unknown = diagnosis.unknown.or(not_beside(&archive));
        let differences = differences(&archive);
        (archive, Diagnosis { unknown, ..diagnosis }, differences)
    };
    let found: Vec<_> = judged(archives, &view).map(judge).collect();
    for (archive, diagnosis, differences) in found {
        read_includes(&mut view, &archive);
        view.preflight.push((archive.host.clone(), diagnosis));
        view.differences.push((archive.host, differences));
    }
    view
}

/// What was found on one host, and what it was concluded from.
#[derive(Debug, Clone)]
pub struct Looked {
    /// All that was gathered.
    pub archive: Archive,
    /// What follows from it.
    pub diagnosis: Diagnosis,
}

/// Looks at hosts as they are now, in parallel: what is wrong with each, and the cluster around them.
pub async fn look<F: Fleet>(fleet: &F, hosts: &[String], context: &Context) -> (View, Vec<Looked>) {
    let (archives, view) =
        tokio::join!(collect(fleet, hosts, EVIDENCE_TIMEOUT, |_| Vec::new()), fleet.observe(&[], OBSERVE_TIMEOUT));
    let looked = judged(archives, &view).map(|archive| Looked { diagnosis: diagnose(&archive, context), archive });
    let looked = looked.collect();
    (view, looked)
}

async fn collect<F: Fleet>(
    fleet: &F,
    hosts: &[String],
    limit: Duration,
    stand_ins: impl Fn(&str) -> Vec<StandIn>,
) -> Vec<Archive> {
    let collecting = hosts.iter().map(|host| {
        let with = stand_ins(host);
        async move {
            // Never closed, and were it so, too many at once do no harm.
            let _permit = LOOKING.acquire().await;
            if with.is_empty() { fleet.collect(host, None, limit).await } else { fleet.prove(host, &with, limit).await }
        }
    });
    join_all(collecting).await
}

/// Each archive with the cluster around it: cloned one by one, since a view of many servers is large.
fn judged<'a>(archives: Vec<Archive>, view: &'a View) -> impl Iterator<Item = Archive> + 'a {
    archives.into_iter().map(|archive| Archive { view: Some(view.clone()), ..archive })
}
