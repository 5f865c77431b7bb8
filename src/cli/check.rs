//! `check`: can every host be rolled? ssh, host key, sudo, service, monitoring, identity, healthz.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use futures_util::future::join_all;
use serde::Serialize;

use super::{
    Code, Error,
    args::{Format, Target},
    output,
};
use crate::{
    core::{
        halt::health_words,
        view::{ClientPort, Failure, FailureKind, Phase, ServerView},
    },
    fleet::live::{Host, Live},
};

/// One question to a host; the first of them connects.
const LIMIT: Duration = Duration::from_secs(15);

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    target: Target,
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
    let mut hosts = Vec::new();
    for selection in &selections {
        let fleet = Live::new(&selection.cluster).await?;
        let chosen = fleet.hosts().iter().filter(|host| selection.is_rolled(host.name()));
        let checked = join_all(chosen.map(|host| async {
            let cluster = selection.cluster.name.clone();
            HostAnswer { cluster, host: host.name().to_owned(), checks: host_checks(host).await }
        }));
        hosts.extend(checked.await);
    }
    let code = verdict(&hosts);
    match args.output {
        Format::Json => output::print_json(&Answer { schema: "rollgate/check/1", hosts })?,
        Format::Text => output::print(&text(&hosts)),
    }
    Ok(code)
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
    let failed: Vec<&Item> = hosts.iter().flat_map(|host| &host.checks).filter(|item| !item.ok).collect();
    if failed.is_empty() {
        Code::Done
    } else if failed.iter().any(|item| item.kind.is_some_and(FailureKind::is_unreachable)) {
        Code::Unreachable
    } else {
        Code::Refused
    }
}

fn text(hosts: &[HostAnswer]) -> String {
    const GOOD: Style = AnsiColor::Green.on_default();
    const BAD: Style = AnsiColor::Red.on_default().bold();
    let width = hosts.iter().map(|host| host.host.len()).max().unwrap_or(0);
    let mut out = String::new();
    for host in hosts {
        for (number, item) in host.checks.iter().enumerate() {
            let name = if number == 0 { host.host.as_str() } else { "" };
            let mark = if item.ok { format!("{GOOD}ok{GOOD:#}  ") } else { format!("{BAD}FAIL{BAD:#}") };
            out.push_str(&format!("{name:<width$}  {mark}  {:<10}  {}\n", item.check, item.detail));
        }
    }
    let bad = hosts.iter().filter(|host| host.checks.iter().any(|item| !item.ok)).count();
    out.push_str(&match (bad, hosts.len()) {
        (0, 1) => "1 host, ready to be rolled\n".to_owned(),
        (0, all) => format!("{all} hosts, all ready to be rolled\n"),
        (_, all) => format!("failed checks on {bad} of {all} hosts\n"),
    });
    out
}
