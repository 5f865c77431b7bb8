//! `status`: the cluster as it is now, who has its lock, and which runs were left.

use clap::Args;
use serde::Serialize;

use super::{
    Code, Error,
    args::{Format, Target},
    mirror::Buckets,
    output,
    unfinished::{self, Unfinished},
};
use crate::{
    config::{Inventory, inventory::Selection},
    core::{
        halt::{Serving, health_words},
        lock::{HostLock, holder},
        view::{Failure, Seen, ServerView, View},
    },
    fleet::{Fleet, live::Live},
    journal::StateDir,
    report::span,
    run::OBSERVE_TIMEOUT,
};

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    target: Target,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    clusters: Vec<ClusterAnswer>,
}

#[derive(Serialize)]
struct ClusterAnswer {
    serving: Serving,
    view: View,
    lock: LockAnswer,
    /// Runs that were left, and the one that is under way.
    runs: Vec<Unfinished>,
    /// Why there may be more of them than are known here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    runs_unknown: Vec<String>,
}

#[derive(Serialize)]
struct LockAnswer {
    /// Who has it, on any host that was heard.
    holder: Option<HostLock>,
    /// A run can have it: too few hosts were heard to say that none has.
    in_doubt: bool,
    /// Hosts that were not heard.
    unknown: Vec<Unheard>,
}

#[derive(Serialize)]
struct Unheard {
    host: String,
    failure: Failure,
}

impl LockAnswer {
    fn of(answers: Vec<(String, Seen<HostLock>)>) -> Self {
        let (holder, of) = (holder(&answers).cloned(), answers.len());
        let unheard = |(host, answer): (String, Seen<HostLock>)| Some(Unheard { host, failure: answer.err()? });
        let unknown: Vec<Unheard> = answers.into_iter().filter_map(unheard).collect();
        // A run has it on more than half of the hosts.
        let in_doubt = holder.is_none() && unknown.len() * 2 > of;
        Self { holder, in_doubt, unknown }
    }

    /// The run that has it.
    fn run(&self) -> Option<&str> {
        self.holder.as_ref()?.claim.as_ref().map(|claim| claim.run.as_str())
    }

    fn text(&self) -> String {
        let holder = match &self.holder {
            Some(holder) => holder.to_string(),
            None if self.in_doubt => "whether a run has it is not known".into(),
            None => "nobody has it".into(),
        };
        let unknown =
            self.unknown.iter().map(|unheard| format!("; {} was not heard: {}", unheard.host, unheard.failure));
        format!("lock on the hosts: {holder}{}\n", unknown.collect::<String>())
    }
}

/// Prints the state of the selected clusters. The exit code is about their servers.
///
/// # Errors
/// The configuration has mistakes.
pub async fn run(args: Status) -> Result<Code, Error> {
    let (inventory, selections) = args.target.load()?;
    let state = StateDir::of_user().map_err(Error::internal)?;
    let (buckets, bucket_unknown) = match Buckets::look(&inventory).await {
        Ok(buckets) => (buckets, None),
        Err(error) => (Buckets::none(), Some(error.message())),
    };
    let mut clusters = Vec::new();
    for selection in &selections {
        let known = Known { state: &state, buckets: &buckets, inventory: &inventory };
        let mut answer = known.look(selection).await?;
        answer.runs_unknown.extend(bucket_unknown.clone());
        clusters.push(answer);
    }
    let servers = clusters.iter().flat_map(|cluster| &cluster.view.servers);
    let code = match servers.filter(|server| !server.healthy()).collect::<Vec<_>>().as_slice() {
        [] => Code::Done,
        unwell if unwell.iter().all(|server| server.varz.is_err()) => Code::Unreachable,
        _ => Code::Refused,
    };
    match args.output {
        Format::Json => output::print_json(&Answer { schema: "rollgate/status/1", clusters })?,
        Format::Text => clusters.iter().for_each(|cluster| output::print(&text(cluster))),
    }
    Ok(code)
}

/// What is known of runs.
struct Known<'a> {
    state: &'a StateDir,
    buckets: &'a Buckets,
    inventory: &'a Inventory,
}

impl Known<'_> {
    async fn look(&self, selection: &Selection) -> Result<ClusterAnswer, Error> {
        let fleet = Live::new(&selection.cluster).await?;
        let (mut view, locks) =
            tokio::join!(fleet.observe(&selection.roll, OBSERVE_TIMEOUT), fleet.locks(OBSERVE_TIMEOUT));
        let serving = Serving::of(&view);
        view.servers.retain(|server| selection.roll.contains(&server.host));
        let lock = LockAnswer::of(locks);
        let path = &self.inventory.path;
        let runs = unfinished::of_cluster(self.state, self.buckets, &selection.cluster, path, lock.run()).await;
        let (runs, runs_unknown) = match runs {
            Ok(runs) => (runs, Vec::new()),
            Err(error) => (Vec::new(), vec![error.message()]),
        };
        Ok(ClusterAnswer { serving, view, lock, runs, runs_unknown })
    }
}

fn text(cluster: &ClusterAnswer) -> String {
    let rows = cluster.view.servers.iter().map(row);
    let table =
        output::table(&["host", "server", "version", "zone", "up", "clients", "routes", "service", "healthz"], rows);
    let mut text = format!("{}: {}\n{table}{}", cluster.view.cluster, cluster.serving, cluster.lock.text());
    cluster.runs.iter().for_each(|run| text.push_str(&run.text()));
    cluster.runs_unknown.iter().for_each(|why| text.push_str(&format!("there may be more runs: {why}\n")));
    text
}

fn row(server: &ServerView) -> Vec<String> {
    let varz = server.varz.as_ref().ok();
    let unknown = || "?".to_owned();
    let up = |varz: &crate::core::view::Varz| {
        let up = varz.now.duration_since(varz.start).unsigned_abs();
        span(u64::try_from(up.as_millis()).unwrap_or(u64::MAX))
    };
    let name = varz.map_or_else(|| server.server_name.clone(), |varz| varz.server_name.clone());
    vec![
        server.host.clone(),
        if server.leads_meta() { format!("{name} (meta leader)") } else { name },
        varz.map_or_else(unknown, |varz| varz.version.clone()),
        server.zone.clone().unwrap_or_else(|| "-".into()),
        varz.map_or_else(unknown, up),
        varz.map_or_else(unknown, |varz| varz.connections.to_string()),
        server.routes.as_ref().map_or_else(|_| unknown(), |routes| routes.len().to_string()),
        server.service.as_ref().map_or_else(ToString::to_string, |service| service.summary()),
        health_words(server),
    ]
}
