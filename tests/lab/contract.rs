//! Real servers keep the contract of every fleet (`tests/contract`), as the simulator does (`tests/sim/contract.rs`).

use std::{env, path::Path};

use rollgate::{
    config::Inventory,
    core::install::sha256,
    fleet::{Content, live::Live},
};
use serde_json::Value;

use crate::{
    harness::{Lab, Options, binaries},
    jetstream::with_system_account,
};

#[path = "../contract/mod.rs"]
mod fleets;

/// The inventory for the part of the test that runs in the lab's network.
const INSIDE: &str = "ROLLGATE_TEST_CONTRACT";

#[test]
fn real_hosts_keep_the_contract() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    lab.all_healthy();
    a_rehearsal_plays_the_plan_of_this_cluster(&lab);
    let this = env::current_exe().expect("this program");
    let mut command = lab.exec(this, &["--exact", "contract::inside", "--nocapture"]);
    let output = command.env(INSIDE, with_system_account(&lab)).output().expect("this program runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("contract kept"), "{said}");
    // One unit for the stop and one for the start, however often they were asked for.
    let of_contract =
        lab.root("h1", "journalctl -o cat --no-pager _PID=1 | grep -c '^Started rollgate-contract-' || true");
    assert_eq!(of_contract.trim(), "2");
    assert_eq!(lab.stops_and_starts("h1"), (1, 2));
    assert_eq!(lab.stops_and_starts("h2"), (0, 1));
    // A link came back as one, and what it leads to was never touched; nothing lies about.
    for host in ["h1", "h2"] {
        let found = lab.root(
            host,
            "readlink /usr/local/bin/nats-server; /usr/local/bin/nats-server --version; ls -A /usr/local/bin /var/tmp",
        );
        assert!(found.starts_with("/opt/nats/nats-server-2.15.1\nnats-server: v2.15.1\n"), "{host}: {found}");
        assert!(!found.contains(".rollgate") && !found.contains("contract"), "{host}: {found}");
    }
}

/// The same plan as `plan` makes, in a world of these servers; and the cluster itself is not touched.
fn a_rehearsal_plays_the_plan_of_this_cluster(lab: &Lab) {
    let (before, inventory) = (lab.server_ids(), lab.inventory());
    let rehearse = |more: &[&str]| lab.rollgate(&[&["rehearse", "-i", &inventory], more].concat());
    let well = rehearse(&["-o", "json"]);
    let answer: Value = serde_json::from_str(&well.exits(0).stdout).expect("JSON");
    let cluster = &answer["clusters"][0];
    let turns = cluster["plan"]["turns"].as_array().expect("turns").iter().map(|turn| turn["host"].as_str());
    let rolled = cluster["rehearsals"][0]["events"].as_array().expect("events").iter();
    let rolled = rolled.filter(|event| event["event"] == "turn-finished").map(|event| event["host"].as_str());
    let planned: Vec<_> = turns.collect();
    assert_eq!(rolled.collect::<Vec<_>>(), planned, "{well}");
    assert_eq!(planned.iter().flatten().copied().collect::<Vec<_>>(), lab.plan(&inventory));
    assert_eq!(cluster["rehearsals"][0]["end"], "finished", "{well}");
    let says = |more: &[&str], texts: &[&str]| {
        let ended = rehearse(more);
        ended.exits(0);
        texts.iter().for_each(|text| assert!(ended.stdout.contains(text), "no `{text}`: {ended}"));
    };
    says(
        &["--fault", "port-conflict@h2"],
        &["root cause [port-taken]", "it would be halted at the gate (crash-loop)", "not ready at the end: h2"],
    );
    says(&["--seeds", "50"], &["50 rehearsals with faults at random, nothing was touched", "finished"]);
    rehearse(&["--fault", "port-conflict@h9"]).exits(2).says(&["no selected cluster has a host h9"]);
    assert_eq!(lab.server_ids(), before, "a rehearsal touched the cluster");
}

/// Does nothing when it is run as a test like others.
#[test]
fn inside() {
    let Some(inventory) = env::var_os(INSIDE) else { return };
    // A provider that is set already is ring too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let inventory = Inventory::load(Path::new(&inventory)).expect("the inventory");
    let cluster = &inventory.clusters[0];
    let hosts: Vec<String> = cluster.hosts.iter().map(|host| host.name.clone()).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let live = Live::new(cluster).await.expect("hosts");
        fleets::holds(&live, &hosts, "contract").await;
        fleets::refuses_strangers(&live).await;
        let older = binaries().expect("programs").into_iter().find(|path| path.ends_with("nats-server-2.14.6"));
        let path = older.expect("2.14.6");
        let digest = sha256(&std::fs::read(&path).expect("a program"));
        // From here, and from what is on the host.
        fleets::places_files(&live, &hosts[0], "c2", (Content::File(path), &digest, "2.14.6")).await;
        let there = Content::OnHost("/opt/nats/nats-server-2.14.6".into());
        fleets::places_files(&live, &hosts[1], "c3", (there, &digest, "2.14.6")).await;
        fleets::changes_without_a_restart(&live, &hosts, "c4").await;
        let mut others = hosts.clone();
        others.rotate_left(2);
        fleets::reboots(&live, &others, "c5").await;
    });
    println!("contract kept");
}
