//! `rehearse`: what would happen. The operator's real cluster as it is now, the very plan, and a simulated world that things
//! go wrong in.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

use clap::Args;
use serde::Serialize;

use super::{
    Code, Error,
    args::{Format, Limits, Parameters, Target},
    changes, output, plan,
};
use crate::{
    core::{event::Event, plan::Plan, view::View},
    fleet::{
        Fleet,
        live::Live,
        sim::{Dark, Fault, Topology, What},
    },
    report::{event_line, render_halt, span},
    run::{
        diagnosis,
        rehearse::{Rehearsed, rehearse},
    },
};

/// Arguments of `rehearse`.
#[derive(Debug, Args)]
#[command(after_long_help = faults())]
pub struct RehearseArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    limits: Limits,
    /// Rehearse this playbook instead of a restart: a file, or the name of one that is built in.
    #[arg(value_name = "PLAYBOOK")]
    playbook: Option<PathBuf>,
    #[command(flatten)]
    parameters: Parameters,
    /// Let this go wrong in the host's turn, or after a time: `crash@n2+30s`; may be repeated.
    #[arg(long, value_name = "NAME@HOST")]
    fault: Vec<Fault>,
    /// Rehearse so many times, each with faults at random, and tell how they ended.
    #[arg(long, value_name = "N", conflicts_with_all = ["fault", "seed"], value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seeds: Option<u64>,
    /// The number that the simulated world is made from. Without `--fault` it has faults at random, as with `--seeds`.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

fn faults() -> String {
    let mut text = "Faults:\n".to_owned();
    for what in What::ALL {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {:<18}{}", what.name(), what.about());
    }
    text
}

#[derive(Serialize)]
struct Answer<'a> {
    schema: &'static str,
    clusters: &'a [Cluster],
}

#[derive(Serialize)]
struct Cluster {
    plan: Plan,
    topology: Topology,
    rehearsals: Vec<Rehearsed>,
}

/// Observes the selected clusters, and plays their plans.
///
/// # Errors
/// The configuration has mistakes, or a fault names a host that no cluster has.
pub fn run(args: &RehearseArgs) -> Result<Code, Error> {
    let mut clusters = Vec::new();
    let mut code = Code::Done;
    for (plan, topology) in super::block_on(observe(args))? {
        let refused = plan::verdict(&plan);
        let mut rehearsals = Vec::new();
        if refused == Code::Done {
            rehearsals = play(args, &plan, &topology)?;
        } else {
            code = refused;
        }
        clusters.push(Cluster { plan, topology, rehearsals });
    }
    match args.output {
        Format::Json => output::print_json(&Answer { schema: "rollgate/rehearsal/1", clusters: &clusters })?,
        Format::Text => clusters.iter().for_each(|cluster| output::print(&text(args, cluster))),
    }
    let broken = clusters.iter().flat_map(|cluster| &cluster.rehearsals).any(|one| !one.broken.is_empty());
    Ok(if broken { Code::Internal } else { code })
}

/// Each selected cluster as it is now: its plan, and the world to play it in.
async fn observe(args: &RehearseArgs) -> Result<Vec<(Plan, Topology)>, Error> {
    let (_, selections) = args.target.load()?;
    let known = |host: &str| selections.iter().any(|selection| selection.cluster.hosts.iter().any(|h| h.name == host));
    if let Some(fault) = args.fault.iter().find(|fault| !known(&fault.host)) {
        return Err(Error::plain(
            Code::Usage,
            format!("`--fault {fault}`: no selected cluster has a host {}", fault.host),
        ));
    }
    let playbook = args.limits.apply(args.parameters.playbook(args.playbook.as_deref())?);
    let mut observed = Vec::new();
    for selection in &selections {
        let fleet = Live::new(&selection.cluster).await?;
        let prepared = changes::prepare(&fleet, &playbook.turn, &selection.cluster, &selection.roll).await?;
        let files = prepared.as_ref().map(|(compared, _)| compared);
        let view: View = diagnosis::observe(&fleet, &selection.roll, |_| Vec::new()).await;
        let topology = Topology::observed(&view, fleet.has_system_account());
        observed.push((plan::from_view(view, selection, &playbook, files), topology));
    }
    Ok(observed)
}

fn play(args: &RehearseArgs, plan: &Plan, topology: &Topology) -> Result<Vec<Rehearsed>, Error> {
    let hosts = topology.hosts();
    let random = |seed: u64| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = rng.usize(1..=2);
        (0..count).map(|_| Fault::random(&hosts, &mut rng)).collect::<Vec<_>>()
    };
    let one = |faults: &[Fault], seed| rehearse(plan, topology, faults, seed).map_err(Error::internal);
    match (args.seeds, args.seed) {
        // Of many their ends are told: the events of each can be had by its seed.
        (Some(seeds), _) => {
            let many = (1..=seeds).map(|seed| Ok(Rehearsed { events: Vec::new(), ..one(&random(seed), seed)? }));
            many.collect()
        }
        (None, Some(seed)) if args.fault.is_empty() => Ok(vec![one(&random(seed), seed)?]),
        (None, seed) => Ok(vec![one(&args.fault, seed.unwrap_or_default())?]),
    }
}

fn text(args: &RehearseArgs, cluster: &Cluster) -> String {
    let mut out = plan::text(&cluster.plan);
    match cluster.rehearsals.as_slice() {
        [] => out.push_str("\nnothing to rehearse: a run would be refused\n"),
        [only] if args.seeds.is_none() => story(&mut out, only),
        many => table(&mut out, many),
    }
    out
}

/// One rehearsal from its first event to its last.
fn story(out: &mut String, one: &Rehearsed) {
    let faults = if one.faults.is_empty() { "nothing goes wrong".to_owned() } else { one.faults.join(", ") };
    let _ = writeln!(out, "\nrehearsed, nothing was touched (seed {}): {faults}\n", one.seed);
    let began = one.events.first().map(|envelope| envelope.at);
    for envelope in &one.events {
        let Some((_, host, text)) = event_line(&envelope.event) else { continue };
        let at = began.map_or(0.0, |began| envelope.at.duration_since(began).as_secs_f64());
        let host = if host.is_empty() { host } else { format!("{host}  ") };
        let _ = writeln!(out, "{at:>8.1} s  {host}{text}");
    }
    if let Some(Event::Halted { halt } | Event::Refused { halt }) = one.events.last().map(|envelope| &envelope.event) {
        let _ = writeln!(out, "\n{}", render_halt(halt));
    }
    let _ = writeln!(out, "it would be {} after {}", one.end, span(one.took_ms));
    if !one.unready.is_empty() {
        let _ = writeln!(out, "not ready at the end: {}", one.unready.join(", "));
    }
    for dark in &one.dark {
        let _ = writeln!(out, "dark: {}", dark_words(dark));
    }
    broken(out, std::slice::from_ref(one));
}

fn dark_words(dark: &Dark) -> String {
    let still = if dark.still { ", and still is" } else { "" };
    let noun = if dark.replicas == 1 { "replica" } else { "replicas" };
    format!("stream {} ({} {noun}) for {}{still}", dark.stream, dark.replicas, span(dark.total_ms))
}

/// Many rehearsals by how they ended.
fn table(out: &mut String, many: &[Rehearsed]) {
    let mut ends: BTreeMap<&str, Vec<&Rehearsed>> = BTreeMap::new();
    for one in many {
        ends.entry(&one.end).or_default().push(one);
    }
    let mut ends: Vec<_> = ends.into_iter().collect();
    ends.sort_by_key(|(_, all)| std::cmp::Reverse(all.len()));
    let _ = writeln!(out, "\n{} rehearsals with faults at random, nothing was touched:", many.len());
    let rows = ends.iter().map(|(end, all)| {
        let longest = all.iter().map(|one| one.took_ms).max().unwrap_or_default();
        let example = all.first().map(|one| format!("--seed {}: {}", one.seed, one.faults.join(", ")));
        vec![all.len().to_string(), (*end).to_owned(), span(longest), example.unwrap_or_default()]
    });
    out.push_str(&output::table(&["times", "end", "at most", "for example"], rows));
    let worst = many.iter().flat_map(|one| &one.dark).filter(|dark| !dark.still).max_by_key(|dark| dark.total_ms);
    if let Some(dark) = worst {
        let _ = writeln!(out, "darkest: {}", dark_words(dark));
    }
    broken(out, many);
}

fn broken(out: &mut String, all: &[Rehearsed]) {
    for one in all {
        for broken in &one.broken {
            let _ = writeln!(out, "PROMISE BROKEN, please report this: --seed {}: {broken}", one.seed);
        }
    }
}
