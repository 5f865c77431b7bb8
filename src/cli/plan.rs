//! `plan`: what would happen. The same plan that a run would carry out.

use std::{fmt::Write, time::Duration};

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    Code, Error,
    args::{Format, Limits, Parameters, Target},
    changes, output,
};
use crate::{
    config::{Playbook, duration, inventory::Selection},
    core::{
        configure, count_of,
        drain::WITHOUT_SYSTEM_ACCOUNT,
        install::{self, AllStaged, Source},
        own_step::{self, Place, Until},
        plan::{self, Few, Plan, Turn},
        playbook::{Policy, Step},
        safety::Objection,
        view::View,
    },
    fleet::{Fleet, live::Live},
    run::{
        configure::{Compared, Contents},
        diagnosis,
    },
};

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    limits: Limits,
    /// Plan this playbook instead of a restart: a file, or the name of one that is built in.
    #[arg(value_name = "PLAYBOOK")]
    playbook: Option<std::path::PathBuf>,
    #[command(flatten)]
    parameters: Parameters,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Answer<'a> {
    schema: &'static str,
    plans: &'a [Plan],
}

/// Prints the plans of the selected clusters.
///
/// # Errors
/// The configuration has mistakes.
pub async fn run(args: PlanArgs) -> Result<Code, Error> {
    let (_, selections) = args.target.load()?;
    let playbook = args.limits.apply(args.parameters.playbook(args.playbook.as_deref())?);
    let mut plans = Vec::new();
    for selection in &selections {
        let fleet = Live::new(&selection.cluster).await?;
        plans.push(make(&fleet, selection, &playbook, output::note).await?.0);
    }
    match args.output {
        Format::Json => output::print_json(&Answer { schema: "rollgate/plan/1", plans: &plans })?,
        Format::Text => plans.iter().for_each(|plan| output::print(&text(plan))),
    }
    Ok(plans.iter().map(verdict).find(|code| *code != Code::Done).unwrap_or(Code::Done))
}

/// Between two looks at a cluster that is not safe yet: elections take 4–9 s, so a shorter time only makes noise.
const INTERVAL: Duration = Duration::from_secs(1);

/// Observes a cluster and plans its roll. Every host to be rolled is inspected: ssh, sudo, service, and
/// whether its server could start again. While nothing but what may
/// pass by itself speaks against it, such as an election, it looks again, for as long as a turn would; `tell` hears what it
/// waits for.
///
/// # Errors
/// Files that are put in place can't be made or compared.
pub async fn make(
    fleet: &impl Fleet,
    selection: &Selection,
    playbook: &Playbook,
    tell: impl FnMut(&str),
) -> Result<(Plan, Contents), Error> {
    let (policy, steps) = (playbook.policy.clone(), playbook.turn.clone());
    let prepared = changes::prepare(fleet, &steps, &selection.cluster, &selection.roll).await?;
    let (compared, contents) = prepared.map_or((None, Contents::new()), |(compared, made)| (Some(compared), made));
    let plan = of(fleet, selection, &playbook.name, policy, (steps, compared.as_ref()), tell).await;
    Ok((Plan { hooks: playbook.hooks.clone(), ..plan }, contents))
}

/// The same for steps that stand in no playbook, with the files that they put in place.
pub async fn of(
    fleet: &impl Fleet,
    selection: &Selection,
    name: &str,
    policy: Policy,
    (steps, files): (Vec<Step>, Option<&Compared>),
    mut tell: impl FnMut(&str),
) -> Plan {
    let deadline = Instant::now() + policy.safety_deadline;
    let mut told = Vec::new();
    loop {
        let stand_ins = |host: &str| install::stand_ins(&steps, &AllStaged::new(), "", host);
        let view = diagnosis::observe(fleet, &selection.roll, stand_ins).await;
        let plan = of_view(view, selection, name, policy.clone(), (steps.clone(), files));
        if !plan.may_become_safe() || Instant::now() + INTERVAL > deadline {
            return plan;
        }
        let names: Vec<&str> = plan.objections().into_iter().map(Objection::name).collect();
        if names != told {
            let words: Vec<_> = plan.objections().into_iter().map(ToString::to_string).collect();
            tell(&format!("{}: not safe yet, waiting: {}", plan.cluster, words.join("; ")));
            told = names;
        }
        sleep(INTERVAL).await;
    }
}

/// The plan of a cluster that was observed.
pub fn from_view(view: View, selection: &Selection, playbook: &Playbook, files: Option<&Compared>) -> Plan {
    let steps = (playbook.turn.clone(), files);
    let plan = of_view(view, selection, &playbook.name, playbook.policy.clone(), steps);
    Plan { hooks: playbook.hooks.clone(), ..plan }
}

fn of_view(
    mut view: View,
    selection: &Selection,
    name: &str,
    policy: Policy,
    (steps, files): (Vec<Step>, Option<&Compared>),
) -> Plan {
    install::without_the_old_program(&steps, &mut view);
    configure::without_the_old_files(&steps, &mut view);
    let hosts = install::to_upgrade(&steps, &view, &selection.roll);
    let Some(files) = files else { return plan::plan(&view, &hosts, name, policy, steps) };
    let (hosts, unchanged): (Vec<_>, Vec<_>) = hosts.into_iter().partition(|host| files.files.contains_key(host));
    let mut plan = plan::with_files(&view, &hosts, name, policy, steps, &files.files);
    plan.unchanged.extend(unchanged);
    plan.changes.clone_from(&files.changes);
    plan
}

/// The exit code of a plan: whether a run would start.
pub fn verdict(plan: &Plan) -> Code {
    let objections = plan.objections();
    if objections.is_empty() {
        Code::Done
    } else if objections.iter().all(|objection| objection.is_unreachable()) {
        Code::Unreachable
    } else {
        Code::Refused
    }
}

/// A plan as a person reads it.
pub fn text(plan: &Plan) -> String {
    const BOLD: Style = Style::new().bold();
    const BAD: Style = AnsiColor::Red.on_default().bold();
    const WARN: Style = AnsiColor::Yellow.on_default();
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(out, "{BOLD}{} of {}{BOLD:#}: {}", plan.playbook, plan.cluster, turns(plan));
    let rows = plan.turns.iter().enumerate().map(|(index, turn)| {
        let why: Vec<_> = turn.why.iter().map(ToString::to_string).collect();
        let left = if index < plan.turns_allowed() { (index + 1).to_string() } else { "later".into() };
        let number = |n: Option<u64>| n.map_or_else(|| "?".into(), |n| n.to_string());
        vec![
            left,
            turn.host.clone(),
            turn.version.clone().unwrap_or_else(|| "?".into()),
            turn.zone.clone().unwrap_or_else(|| "-".into()),
            number(turn.connections),
            number(turn.leafnodes),
            why.join(", "),
        ]
    });
    let head = ["#", "host", "version", "zone", "clients", "leafnodes", "why here"];
    let _ = write!(out, "{}", output::table(&head, rows));
    for turn in &plan.turns {
        for difference in &turn.differences {
            let _ = writeln!(out, "at {}: {difference}", turn.host);
        }
    }
    if !plan.unchanged.is_empty() {
        let _ = writeln!(out, "unchanged, and left alone: {}", plan.unchanged.join(", "));
    }
    out.push_str(&changes::text(plan));
    plan.turns.iter().for_each(|turn| effect(&mut out, turn));
    for (label, steps) in [
        ("before", &plan.hooks.before),
        ("each", &plan.steps),
        ("after", &plan.hooks.after),
        ("on halt", &plan.hooks.on_halt),
    ] {
        if !steps.is_empty() {
            let _ = writeln!(out, "{label}: {}", steps.iter().map(step).collect::<Vec<_>>().join(" → "));
        }
    }
    if !plan.system_account && plan.steps.iter().any(|step| matches!(step, Step::Drain(_))) {
        let _ = writeln!(out, "no drain: {WITHOUT_SYSTEM_ACCOUNT}");
    }
    if !plan.policy.pause.is_zero() {
        let _ = writeln!(out, "between: a pause of {}", duration::format(plan.policy.pause));
    }
    out.push_str(&program(plan));
    let only: Vec<&str> =
        plan.bystanders.iter().filter(|host| !plan.unchanged.contains(host)).map(String::as_str).collect();
    if !only.is_empty() {
        let _ = writeln!(out, "observed only: {}", only.join(", "));
    }
    for turn in plan.turns.iter().filter(|turn| !turn.waived.is_empty()) {
        let _ = writeln!(out, "wrong already at {}, and not waited for:", turn.host);
        for error in &turn.waived {
            let _ = writeln!(out, "  {}", error.error);
        }
    }
    for turn in plan.turns.iter().filter(|turn| !turn.consented.is_empty()) {
        let _ = writeln!(out, "by consent, at {}:", turn.host);
        out.push_str(&objections_text(&turn.consented.iter().collect::<Vec<_>>()));
    }
    for warning in plan.warnings() {
        let _ = writeln!(out, "{WARN}warning{WARN:#}: {warning} [{}]", warning.name());
    }
    let objections = plan.objections();
    if !objections.is_empty() {
        let _ = writeln!(out, "\n{BAD}not safe{BAD:#}: a run would be refused");
        out.push_str(&objections_text(&objections));
    }
    out
}

/// Where the program comes from, and when it is tried.
fn program(plan: &Plan) -> String {
    let Some(install) = install::install(&plan.steps) else { return String::new() };
    let sum = install.sha256.as_deref().map(|sum| format!(", sha256 {sum}")).unwrap_or_default();
    match &install.from {
        Source::Controller(path) => {
            format!("program: {path}{sum}; staged and tried on every host before the first server is touched\n")
        }
        Source::Host(path) => {
            format!("program: {path} of each host{sum}; tried on every host before the first server is touched\n")
        }
        Source::Command(command) => format!("program: installed by `{command}`, which can't be tried before\n"),
    }
}

/// What a turn means for JetStream, where it means something.
fn effect(out: &mut String, turn: &Turn) {
    let Some(effect) = &turn.effect else { return };
    let mut lines: Vec<(&str, String)> = Vec::new();
    let leads = [
        effect.leads_meta.then(|| "meta".to_owned()),
        (effect.leads_streams > 0).then(|| count_of(effect.leads_streams, "stream")),
        (effect.leads_consumers > 0).then(|| count_of(effect.leads_consumers, "consumer")),
    ];
    let leads: Vec<String> = leads.into_iter().flatten().collect();
    if !leads.is_empty() {
        lines.push(("leads", leads.join(", ")));
    }
    if effect.bare.count > 0 {
        lines.push(("bare majority", format!("{}: {}", count_of(effect.bare.count, "group"), few(&effect.bare))));
    }
    if effect.offline_streams.count > 0 {
        lines.push(("offline", format!("only copies: {}", few(&effect.offline_streams))));
    }
    if effect.offline_consumers > 0 {
        lines.push(("offline", format!("{} with no other copy", count_of(effect.offline_consumers, "consumer"))));
    }
    if lines.is_empty() {
        return;
    }
    let server = if turn.server_name == turn.host { String::new() } else { format!(" ({})", turn.server_name) };
    let _ = writeln!(out, "at {}{server}", turn.host);
    for (label, text) in lines {
        let _ = writeln!(out, "  {label:<13}  {text}");
    }
}

/// Names for a line of text; `-o json` has more of them.
const NAMES: usize = 3;

fn few(few: &Few) -> String {
    let mut text = few.first.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
    let more = few.count.saturating_sub(few.first.len().min(NAMES));
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// Objections with what to do about each.
pub fn objections_text(objections: &[&Objection]) -> String {
    let mut out = String::new();
    for objection in objections {
        let _ = writeln!(out, "  {objection} [{}]", objection.consent());
        let _ = writeln!(out, "    {}", objection.remedy());
    }
    out
}

fn turns(plan: &Plan) -> String {
    let (allowed, all) = (plan.turns_allowed(), plan.turns.len());
    let noun = if all == 1 { "server" } else { "servers" };
    if allowed < all {
        format!("{allowed} of {all} {noun}, one at a time")
    } else {
        format!("{all} {noun}, one at a time")
    }
}

fn step(step: &Step) -> String {
    match step {
        Step::Drain(_) => "drain".into(),
        Step::Stop(stop) => format!("stop (at most {})", duration::format(stop.deadline)),
        Step::Install(install) => format!("install {}", install.version),
        Step::Configure(_) => "configure".into(),
        Step::PutBack(_) => "put back".into(),
        Step::Start(_) => "start".into(),
        Step::Reboot(reboot) => format!("reboot (at most {})", duration::format(reboot.deadline)),
        Step::Gate(gate) => format!("gate ({} good looks within {})", gate.looks, duration::format(gate.deadline)),
        Step::Reload(reload) => format!("reload (proved within {})", duration::format(reload.deadline)),
        Step::Run(own_step::Run { on: Place::Host, name, .. }) => name.clone(),
        Step::Run(own_step::Run { on: Place::Controller, name, .. }) => format!("{name} (here)"),
        Step::File(own_step::File { on: Place::Host, name, .. }) => name.clone(),
        Step::File(own_step::File { on: Place::Controller, name, .. }) => format!("{name} (here)"),
        Step::Http(own_step::Http { name, .. }) => name.clone(),
        Step::Pause(own_step::Pause { until: Until::Over(time), .. }) => format!("pause {}", duration::format(*time)),
        Step::Pause(own_step::Pause { name, .. }) => format!("{name} (asks you)"),
        Step::Settle(settle) => format!("settle {}", duration::format(settle.hold)),
        Step::Canary(canary) => format!("canary {} (first server only)", duration::format(canary.hold)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        testing::{cluster, healthz_error},
        view::{Failure, FailureKind},
    };

    fn check(view: &View, hosts: &[&str]) -> (String, Code) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).into()).collect();
        let playbook = Playbook::restart();
        let plan = plan::plan(view, &hosts, &playbook.name, playbook.policy, playbook.turn);
        (anstream::adapter::strip_str(&text(&plan)).to_string(), verdict(&plan))
    }

    #[test]
    fn a_plan_tells_the_order_and_why() {
        let mut view = cluster(&["n1", "n2", "n3", "n4", "n5"]);
        for (server, zone) in view.servers.iter_mut().zip(["b", "a", "b", "a", "b"]) {
            server.zone = Some(zone.into());
        }
        view.servers[3].health = Ok(healthz_error(503, "JetStream is not current with the meta leader"));
        let (text, code) = check(&view, &["n1", "n2", "n3", "n4", "n5"]);
        insta::assert_snapshot!(text);
        assert_eq!(code, Code::Done);
    }

    #[test]
    fn a_plan_tells_what_speaks_against_it() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[2].routes = Ok(vec![]);
        view.servers[0].service = Err(Failure::new(FailureKind::Sudo, "sudo: a password is required"));
        let (text, code) = check(&view, &["n1", "n2"]);
        insta::assert_snapshot!(text);
        assert_eq!(code, Code::Refused);
    }

    #[test]
    fn what_can_t_be_reached_has_its_own_exit_code() {
        let mut view = cluster(&["n1", "n2", "n3"]);
        view.servers[2].varz = Err(Failure::new(FailureKind::Timeout, "no answer"));
        view.servers[2].health = Err(Failure::new(FailureKind::Timeout, "no answer"));
        assert_eq!(check(&view, &["n1"]).1, Code::Unreachable);
    }
}
