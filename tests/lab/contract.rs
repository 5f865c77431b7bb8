//! Real servers keep the contract of every fleet (`tests/contract`), as the simulator does (`tests/sim/contract.rs`).

use std::{env, path::Path};

use rollgate::{config::Inventory, fleet::live::Live};

use crate::harness::{Lab, Options};

#[path = "../contract/mod.rs"]
mod fleets;

/// The inventory for the part of the test that runs in the lab's network.
const INSIDE: &str = "ROLLGATE_TEST_CONTRACT";

#[test]
fn real_hosts_keep_the_contract() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    lab.all_healthy();
    let this = env::current_exe().expect("this program");
    let mut command = lab.exec(this, &["--exact", "contract::inside", "--nocapture"]);
    let output = command.env(INSIDE, lab.inventory()).output().expect("this program runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("contract kept"), "{said}");
    // One unit for the stop and one for the start, however often they were asked for.
    assert_eq!(lab.changes("h1"), 2);
    assert_eq!(lab.stops_and_starts("h1"), (1, 2));
    assert_eq!(lab.stops_and_starts("h2"), (0, 1));
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
    });
    println!("contract kept");
}
