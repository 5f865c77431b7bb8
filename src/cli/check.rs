//! `check`: can every host be rolled? ssh, host key, sudo, service, monitoring, identity, healthz; and what is wrong with each
//! server, or would keep it from coming back.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use futures_util::{
    StreamExt,
    future::join_all,
    stream::{self, TryStreamExt},
};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::{
    Code, Error,
    args::{Expiring, Format, Target},
    diagnose, output,
};
use crate::{
    config::inventory::Selection,
    core::{
        diagnosis::{Context, Diagnosis, Finding, Purpose, Severity},
        halt::health_words,
        view::{ClientPort, Failure, FailureKind, Phase, ServerView},
    },
    fleet::live::{Host, Live},
    run::diagnosis,
};

/// One question to a host; the first of them connects.
const LIMIT: Duration = Duration::from_secs(15);
/// Hosts that are asked at once, and clusters: each connection is a process of its own here.
const AT_ONCE: usize = 10;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    expiring: Expiring,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    hosts: Vec<HostAnswer>,
}

#[derive(Serialize)]
struct HostAnswer {
    cluster: String,
    host: String,
    checks: Vec<Item>,
    diagnosis: Diagnosis,
}

impl HostAnswer {
    /// Nothing is in the way of a roll.
    fn passes(&self) -> bool {
        self.checks.iter().all(|item| item.ok) && diagnose::verdict([&self.diagnosis].into_iter()) == Code::Done
    }
}

/// One thing that was checked.
#[derive(Serialize)]
struct Item {
    check: &'static str,
    ok: bool,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<FailureKind>,
}

impl Item {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, ok: true, detail: detail.into(), kind: None }
    }

    fn bad(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, ok: false, detail: detail.into(), kind: None }
    }

    fn of(check: &'static str, result: Result<String, Failure>) -> Self {
        match result {
            Ok(detail) => Self::ok(check, detail),
            Err(failure) => Self { check, ok: false, detail: failure.detail, kind: Some(failure.kind) },
        }
    }
}

/// Checks the selected hosts.
///
/// # Errors
/// The configuration has mistakes.
pub async fn run(args: Check) -> Result<Code, Error> {
    let (_, selections) = args.target.load()?;
    let context = args.expiring.context(Purpose::Check);
    let asking = Semaphore::new(AT_ONCE);
    let clusters = selections.iter().map(|selection| cluster(selection, &context, &asking));
    let answers: Vec<Vec<HostAnswer>> = stream::iter(clusters).buffered(AT_ONCE).try_collect().await?;
    let hosts: Vec<HostAnswer> = answers.into_iter().flatten().collect();
    let code = verdict(&hosts);
    match args.output {
        Format::Json => output::print_json(&Answer { schema: "rollgate/check/1", hosts })?,
        Format::Text => output::print(&text(&hosts)),
    }
    Ok(code)
}

/// The selected hosts of one cluster, with the cluster around them.
async fn cluster(selection: &Selection, context: &Context, asking: &Semaphore) -> Result<Vec<HostAnswer>, Error> {
    let fleet = Live::new(&selection.cluster).await?;
    let chosen = fleet.hosts().iter().filter(|host| selection.is_rolled(host.name()));
    let asked = join_all(chosen.map(|host| async move {
        // Never closed, and were it so, too many at once do no harm.
        let _permit = asking.acquire().await;
        (host.name().to_owned(), host_checks(host).await)
    }));
    let (asked, (_, mut looked)) = tokio::join!(asked, diagnosis::look(&fleet, &selection.roll, context));
    let answer = |(host, checks): (String, Vec<Item>)| {
        let found = looked.iter_mut().find(|one| one.archive.host == host);
        let diagnosis = found.map(|one| std::mem::take(&mut one.diagnosis)).unwrap_or_default();
        HostAnswer { cluster: selection.cluster.name.clone(), host, checks, diagnosis }
    };
    Ok(asked.into_iter().map(answer).collect())
}

async fn host_checks(host: &Host) -> Vec<Item> {
    let connected = host.connect().await;
    let reached = connected.is_ok();
    let destination = host.inventory().ssh.to_string();
    let mut checks = vec![Item::of("ssh", connected.map(|()| format!("{destination}, host key known")))];
    if reached {
        let (sudo, service) = tokio::join!(host.sudo(LIMIT), host.service(LIMIT));
        checks.push(Item::of("sudo", sudo.map(|()| "allowed without a password, or not needed".into())));
        checks.push(match service {
            Ok(state) if state.phase == Phase::Running => Item::ok("service", state.summary()),
            Ok(state) => Item::bad("service", state.summary()),
            Err(failure) => Item::of("service", Err(failure)),
        });
    }
    let server = host.server(LIMIT).await;
    checks.extend(server_checks(host, &server));
    if server.healthy() {
        let client = host.client_port(&server, LIMIT).await;
        checks.push(Item::of("client", client.map(|answer| words(&answer).to_owned())));
    }
    checks
}

fn words(answer: &ClientPort) -> &'static str {
    match answer {
        ClientPort::Pong => "INFO and PONG",
        ClientPort::AsksCredentials => "INFO; it asks for credentials",
    }
}

fn server_checks(host: &Host, server: &ServerView) -> Vec<Item> {
    let varz = match &server.varz {
        Ok(varz) => varz,
        Err(failure) => return vec![Item::of("monitoring", Err(failure.clone()))],
    };
    let mut checks = vec![Item::ok("monitoring", host.monitored_by())];
    let says = format!("{} {}, {}", varz.server_name, varz.version, varz.server_id);
    checks.push(if !varz.named() {
        Item::ok("identity", format!("no server_name configured, {}", varz.server_id))
    } else if varz.server_name == server.server_name {
        Item::ok("identity", says)
    } else {
        Item::bad("identity", format!("{says}; the inventory says {}", server.server_name))
    });
    let health = health_words(server);
    checks.push(if server.healthy() { Item::ok("healthz", health) } else { Item::bad("healthz", health) });
    checks
}

/// Unreachable outweighs the rest: nothing else is known of such a host.
fn verdict(hosts: &[HostAnswer]) -> Code {
    let found = diagnose::verdict(hosts.iter().map(|host| &host.diagnosis));
    if hosts.iter().any(|host| unreachable(&host.checks)) {
        Code::Unreachable
    } else if hosts.iter().flat_map(|host| &host.checks).all(|item| item.ok) || found == Code::Unreachable {
        found
    } else {
        Code::Refused
    }
}

/// Whether a host, or the server that runs there, can't be reached. A monitoring port that is closed because the server does
/// not run, as in a cold start, is another matter.
fn unreachable(checks: &[Item]) -> bool {
    let down = checks.iter().any(|item| item.check == "service" && !item.ok && item.kind.is_none());
    let in_order = |item: &Item| item.ok || down && item.check == "monitoring";
    checks.iter().any(|item| !in_order(item) && item.kind.is_some_and(FailureKind::is_unreachable))
}

const GOOD: Style = AnsiColor::Green.on_default();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

fn text(hosts: &[HostAnswer]) -> String {
    let width = hosts.iter().map(|host| host.host.len()).max().unwrap_or(0);
    let mut out = String::new();
    for host in hosts {
        for (number, line) in lines(host).into_iter().enumerate() {
            let name = if number == 0 { host.host.as_str() } else { "" };
            out.push_str(&format!("{name:<width$}  {line}\n"));
        }
    }
    let bad = hosts.iter().filter(|host| !host.passes()).count();
    out.push_str(&match (bad, hosts.len()) {
        (0, 1) => "1 host, ready to be rolled\n".to_owned(),
        (0, all) => format!("{all} hosts, all ready to be rolled\n"),
        (_, all) => format!("failed checks on {bad} of {all} hosts\n"),
    });
    out
}

fn lines(host: &HostAnswer) -> Vec<String> {
    let good = format!("{GOOD}ok{GOOD:#}  ");
    let bad = format!("{BAD}FAIL{BAD:#}");
    let mut lines = Vec::new();
    for item in &host.checks {
        lines.push(format!("{}  {:<10}  {}", if item.ok { &good } else { &bad }, item.check, item.detail));
    }
    let failed = host.checks.iter().any(|item| !item.ok);
    let Diagnosis { findings, unidentified, unknown, .. } = &host.diagnosis;
    // What a check says itself is not said again.
    let told = |code: &str| failed && matches!(code, "host-unreachable" | "sudo-lost");
    for finding in findings.iter().filter(|finding| !told(&finding.code)) {
        let mark = if finding.severity == Severity::Blocking { bad.clone() } else { format!("{WARN}warn{WARN:#}") };
        lines.push(format!("{mark}  {:<10}  {} [{}]", "finding", finding.title, finding.code));
        lines.extend(commands(finding).map(|command| format!("{:<16}  {command}", "")));
    }
    // Where a check failed it has said so already.
    if !failed && let Some(why) = unknown {
        lines.push(format!("{bad}  {:<10}  nothing could be gathered: {why}", "finding"));
    } else if !unidentified.is_empty() && !findings.iter().any(|one| one.severity == Severity::Blocking) {
        lines.push(format!("{bad}  {:<10}  not identified: rollgate diagnose {}", "finding", host.host));
    }
    lines
}

fn commands(finding: &Finding) -> impl Iterator<Item = &str> {
    finding.remedy.commands.iter().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(items: Vec<Item>, expected: Code) {
        let checks = items.iter().map(|item| format!("{} {}", item.check, item.ok)).collect::<Vec<_>>().join(", ");
        let host =
            HostAnswer { cluster: "lab".into(), host: "h1".into(), checks: items, diagnosis: Diagnosis::default() };
        assert_eq!(verdict(&[host]), expected, "{checks}");
    }

    #[test]
    fn a_host_that_is_away_is_not_a_server_that_is_down() {
        let refused = || Item::of("monitoring", Err(Failure::new(FailureKind::Refused, "connection refused")));
        let (reached, runs) = (|| Item::ok("ssh", "h1"), || Item::ok("service", "active (running)"));
        check(vec![reached(), runs()], Code::Done);
        check(vec![reached(), Item::bad("service", "inactive (dead)"), refused()], Code::Refused);
        check(vec![reached(), runs(), refused()], Code::Unreachable);
        let away = Item::of("ssh", Err(Failure::new(FailureKind::Unreachable, "timed out")));
        check(vec![away, refused()], Code::Unreachable);
    }
}
