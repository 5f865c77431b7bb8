//! The matrix: every fault of `tests/lab/matrix/faults` is made for real, met by a real server, and must be found at
//! first sight, with its proof and the remedy's values.
//!
//! Without further words a selection is made, so that it takes its minutes beside the other tests. `ROLLGATE_MATRIX=all`
//! makes them all, `ROLLGATE_MATRIX=NAME,…` these faults alone. `ROLLGATE_SAVE_ARCHIVES=1` keeps what was gathered in
//! `tests/archives`, from which `tests/matrix.rs` asks the rules again without a lab.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Lab, say, until};

#[allow(dead_code)] // what the table takes
mod fault;
mod figures;
mod hosts;
#[allow(dead_code)] // what reading takes
mod kept;
mod outcome;

use fault::{Fault, How, Role, Then};
use hosts::{ALONE, CLUSTER, on_host};
use outcome::Diagnosed;

/// How long a server that stays up unready is left to itself before it is looked at: its routes fail within a second, and
/// it has said so twice by then.
const UNREADY_FOR: Duration = Duration::from_secs(3);

/// What is made where nobody asks for more: of each way to fail one or two, and where the versions differ.
const SELECTED: [&[&str]; 2] = [
    &[
        "cluster-name-wrong",
        "disk-full",
        "client-port-taken",
        "config-unknown-field",
        "store-of-root",
        "tls-certificate-expired",
    ],
    &[
        "cluster-name-wrong",
        "route-tls-of-another-ca",
        "removed-from-the-cluster",
        "client-port-taken",
        "config-unknown-field",
        "stream-metadata-missing",
        "recovery-stuck",
        "tls-name-wrong",
        "two-store-and-port",
        "start-limit-hit-alone",
        "killed",
        "block-truncated",
    ],
];

#[test]
fn faults_of_2_10() {
    run(0);
}

#[test]
fn faults_of_2_15() {
    run(1);
}

/// Which faults are asked for; none for the selection.
fn asked() -> Option<String> {
    env::var("ROLLGATE_MATRIX").ok().filter(|asked| !asked.is_empty())
}

fn whole() -> bool {
    asked().is_some_and(|asked| asked == "all")
}

/// A lab of one version: no finding while all is well; then the faults, by three workers, one for the cluster, one for each
/// server that is alone.
fn run(number: usize) {
    let (version, asked) = (fault::VERSIONS[number], asked());
    let wanted = |fault: &Fault| match asked.as_deref() {
        None => SELECTED[number].contains(&fault.fault.as_str()),
        Some("all") => true,
        Some(asked) => asked.split(',').any(|name| name == fault.fault),
    };
    let faults: Vec<_> = fault::all().iter().filter_map(|fault| fault.of(version)).filter(wanted).collect();
    if faults.is_empty() {
        return;
    }
    let Some(lab) = hosts::up(version) else { return };
    let inventory = hosts::inventory(&lab);
    if asked.is_none() || whole() {
        well(&lab, &inventory, version);
    }
    let (mut clustered, alone): (Vec<_>, Vec<_>) =
        faults.into_iter().partition(|fault| fault.server == Role::Clustered);
    clustered.sort_by_key(|fault| fault.last);
    let alone = Mutex::new(alone.into_iter());
    let clustered = Mutex::new(clustered.into_iter());
    let failures = Mutex::new(Vec::new());
    let began = Instant::now();
    thread::scope(|scope| {
        for (host, queue) in [(CLUSTER[2], &clustered), (ALONE[0], &alone), (ALONE[1], &alone)] {
            let (lab, inventory, failures) = (&lab, &inventory, &failures);
            scope.spawn(move || {
                loop {
                    let Some(fault) = queue.lock().expect("no worker panics").next() else { break };
                    if let Err(why) = one(lab, inventory, version, host, &fault) {
                        say(&format!("---- {} on {version}: {why}", fault.fault));
                        failures.lock().expect("no worker panics").push(fault.fault);
                    }
                }
            });
        }
    });
    say(&format!("nats-server {version}: the matrix took {:?}", began.elapsed()));
    let failures = failures.into_inner().expect("no worker panics");
    assert!(failures.is_empty(), "{version}: {} faults: {}", failures.len(), failures.join(","));
}

/// One fault: made, met, diagnosed, undone.
fn one(lab: &Lab, inventory: &str, version: &str, host: &str, fault: &Fault) -> Result<(), String> {
    let caught = |step: &dyn Fn()| {
        catch_unwind(AssertUnwindSafe(step)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
        })
    };
    let found = caught(&|| {
        make(lab, host, fault);
        let began = Instant::now();
        let diagnosed = meet(lab, inventory, host, fault);
        let took = began.elapsed();
        diagnosed.keep(version, &fault.fault, took);
        diagnosed.check(host, fault);
    });
    let undone = caught(&|| undo(lab, host, fault));
    found.and(undone.map_err(|why| format!("not whole again: {why}")))
}

fn make(lab: &Lab, host: &str, fault: &Fault) {
    if let Some(script) = &fault.make {
        on_host(lab, host, script);
    }
    if let Some(script) = &fault.peers {
        for peer in &CLUSTER[..2] {
            on_host(lab, peer, script);
        }
    }
    of_the_lab(lab, host, &fault.lab);
}

fn of_the_lab(lab: &Lab, host: &str, commands: &[String]) {
    for command in commands {
        let command = command.replace("HOST", host);
        let (verb, args) = command.split_once(' ').unwrap_or((&command, ""));
        lab.command(verb, &args.split(' ').filter(|arg| !arg.is_empty()).collect::<Vec<_>>());
        if verb == "reboot" {
            back(lab, host);
        }
    }
}

/// Waits until a host that reboots is another boot: what was in its /run is gone.
fn back(lab: &Lab, host: &str) {
    let config = lab.path.join("ssh_config").display().to_string();
    until(&format!("{host} is back"), || {
        let mut ssh = lab.exec("ssh", &["-F", &config, host, "test ! -e /run/before"]);
        ssh.output().is_ok_and(|output| output.status.success())
    });
}

/// Restarts the server where that is the story, waits until the fault shows, and asks rollgate.
fn meet(lab: &Lab, inventory: &str, host: &str, fault: &Fault) -> Diagnosed {
    match fault.how {
        How::Roll => return Diagnosed::by_a_roll(lab, inventory, host),
        How::Restart => {
            lab.root(host, "timeout 30 systemctl restart nats-server 2>/dev/null; true");
        }
        How::None => {}
    }
    match fault.then {
        Then::Exits => on_host(lab, host, "within 30 stopped"),
        Then::Unready => {
            thread::sleep(UNREADY_FOR);
            on_host(lab, host, "! healthy && ! stopped")
        }
        Then::Ready if fault.server == Role::Clustered => on_host(lab, host, "within 60 steady"),
        Then::Ready => on_host(lab, host, "within 60 healthy"),
        Then::Gone => String::new(),
    };
    Diagnosed::now(lab, inventory, host)
}

fn undo(lab: &Lab, host: &str, fault: &Fault) {
    of_the_lab(lab, host, &fault.heal);
    if let Some(script) = &fault.undo {
        on_host(lab, host, &format!("{script}\ntrue"));
    }
    if fault.peers.is_some() {
        for peer in &CLUSTER[..2] {
            on_host(lab, peer, "systemctl start nats-server");
        }
    }
    if !fault.last {
        on_host(lab, host, if fault.server == Role::Clustered { "restore" } else { "restore store" });
    }
}

/// No finding on servers that are well: three of a cluster, and two that are alone.
fn well(lab: &Lab, inventory: &str, version: &str) {
    lab.all_settled();
    for host in CLUSTER.iter().chain(&ALONE) {
        let diagnosed = Diagnosed::now(lab, inventory, host);
        assert!(diagnosed.codes().is_empty(), "{host} with {version} is well: {:#}", diagnosed.diagnosis);
        diagnosed.keep(version, &format!("healthy-{host}"), Duration::ZERO);
    }
    let check = lab.rollgate(&["check", "-i", inventory]);
    check.exits(0);
    assert!(!check.stdout.contains("finding"), "{check}");
}

/// The versions between; those of the matrix are looked at there.
#[test]
fn healthy_servers_of_the_versions_between() {
    let versions = if whole() { &["2.11.11", "2.12.8", "2.14.6"][..] } else { &["2.12.8"] };
    for version in versions {
        let Some(lab) = hosts::up(version) else { return };
        well(&lab, &hosts::inventory(&lab), version);
    }
}
