//! `status`: the cluster as it is now.

use clap::Args;
use serde::Serialize;

use super::{
    Code, Error,
    args::{Format, Target},
    output,
};
use crate::{
    core::{
        halt::{Serving, health_words},
        view::{ServerView, View},
    },
    fleet::{Fleet, live::Live},
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
}

/// Prints the state of the selected clusters.
///
/// # Errors
/// The configuration has mistakes.
pub async fn run(args: Status) -> Result<Code, Error> {
    let (_, selections) = args.target.load()?;
    let mut clusters = Vec::new();
    for selection in &selections {
        let fleet = Live::new(&selection.cluster).await?;
        let mut view = fleet.observe(&selection.roll, OBSERVE_TIMEOUT).await;
        let serving = Serving::of(&view);
        view.servers.retain(|server| selection.roll.contains(&server.host));
        clusters.push(ClusterAnswer { serving, view });
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

fn text(cluster: &ClusterAnswer) -> String {
    let rows = cluster.view.servers.iter().map(row);
    let table =
        output::table(&["host", "server", "version", "zone", "up", "clients", "routes", "service", "healthz"], rows);
    format!("{}: {}\n{table}", cluster.view.cluster, cluster.serving)
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
