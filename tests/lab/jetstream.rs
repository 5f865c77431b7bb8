//! JetStream's assets in a roll: leaders and clients are moved before the stop, an only copy needs consent, and data that is
//! not there afterwards halts.

use serde_json::Value;

use crate::{
    harness::{Lab, Options},
    process::Ended,
    watched::Witness,
};

/// The lab's inventory with its system account.
pub fn with_system_account(lab: &Lab) -> String {
    let password = lab.write("sys.password", "sys\n");
    let line = format!("defaults:\n  nats: {{user: sys, password_file: {password}}}\n");
    lab.inventory_with(|text| text.replacen("defaults:\n", &line, 1))
}

pub fn drained(ended: &Ended) -> Vec<&str> {
    let drains = ended.of("step-finished").into_iter().filter(|event| event["step"] == "drain");
    drains.map(|event| event["note"].as_str().expect("a note")).collect()
}

#[test]
fn leaders_and_clients_are_moved_before_the_stop() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let inventory = with_system_account(&lab);
    let witness = Witness::of(&lab);
    let ended = lab.rollgate(&["restart", "-i", &inventory, "--yes"]);
    let report = witness.report();
    ended.exits(0).journal_is_whole();
    report.nobody_was_harmed().restarts(&[1, 1, 1]);
    let notes = drained(&ended);
    assert_eq!(notes.len(), 3, "{ended}");
    // A client that picks the same server again and again by chance is no fault.
    let emptied = notes.iter().filter(|note| note.contains(" 0 left") || note.contains("no clients")).count();
    assert!(emptied >= 2, "{notes:?}\n{ended}");
    // Three leaders there are: of the stream, and of the meta group, which the last server has.
    assert!(
        notes.iter().any(|note| note.contains("leader moved") || note.contains("leaders moved")),
        "{notes:?}\n{ended}"
    );
}

#[test]
fn before_2_11_leaders_are_left_to_the_server() {
    let Some(lab) = Lab::up(Options { nats: "2.10.26", ..Options::default() }) else { return };
    let inventory = with_system_account(&lab);
    let witness = Witness::of(&lab);
    let ended = lab.rollgate(&["restart", "-i", &inventory, "--yes"]);
    let report = witness.report();
    ended.exits(0).journal_is_whole();
    report.nobody_was_harmed().restarts(&[1, 1, 1]);
    let notes = drained(&ended);
    assert!(notes.iter().all(|note| !note.contains(" moved")), "{notes:?}\n{ended}");
    assert!(notes.iter().any(|note| note.contains("left to the server")), "{notes:?}\n{ended}");
}

#[test]
fn a_system_account_that_refuses_us_refuses_the_roll() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let password = lab.write("app.password", "app\n");
    // A user that exists, of another account.
    let line = format!("defaults:\n  nats: {{user: app, password_file: {password}}}\n");
    let inventory = lab.inventory_with(|text| text.replacen("defaults:\n", &line, 1));
    let before = lab.server_ids();
    let ended = lab.rollgate(&["restart", "-i", &inventory, "--yes"]);
    ended.exits(3).says(&["system-account", "no user of the system account"]);
    assert!(!ended.stderr.contains("app\n\n"), "{ended}");
    assert_eq!(before, lab.server_ids(), "{ended}");
}

/// The host whose server has the only copy, by the plan's objections.
pub fn holder(lab: &Lab, inventory: &str) -> String {
    let plan = lab.rollgate(&["plan", "-i", inventory, "-o", "json"]);
    plan.exits(3);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("a plan");
    let turns = plan["plans"][0]["turns"].as_array().expect("turns");
    let holds = |turn: &&Value| {
        turn["objections"].as_array().is_some_and(|all| all.iter().any(|objection| objection["reason"] == "r1-offline"))
    };
    turns.iter().find(holds).expect("a server with the only copy")["host"].as_str().expect("a name").to_owned()
}

#[test]
fn an_only_copy_needs_consent_and_its_loss_halts() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let inventory = lab.inventory();
    let witness = Witness::with(&lab, &["--replicas", "1", "--stream", "ONLY", "--keep-stream", "--rate", "50"]);
    let before = lab.server_ids();
    let refused = lab.rollgate(&["restart", "-i", &inventory, "--yes"]);
    refused.exits(3).says(&["r1-offline", "stream APP > ONLY on ONLY.>", "--allow r1-offline"]);
    assert_eq!(before, lab.server_ids(), "{refused}");
    drop(witness.report());

    let host = holder(&lab, &inventory);
    let args = ["run", &lab.file("quick.yaml"), "-i", &inventory, "--yes", "--host", &host, "--allow", "r1-offline"];
    let consented = lab.rollgate(&args);
    consented.exits(0).journal_is_whole();
    let turn = consented.of("turn-started")[0];
    assert_eq!(turn["consented"][0]["reason"], "r1-offline", "{consented}");

    // Now the store goes away while the server is down, as when a volume is not mounted: healthz will say 200.
    let drop_in = "[Service]\nExecStopPost=+/bin/sh -c 'rm -rf /var/lib/nats/jetstream/*'\n";
    lab.root(&host, "mkdir -p /etc/systemd/system/nats-server.service.d");
    lab.put(&host, "/etc/systemd/system/nats-server.service.d/wipe.conf", drop_in);
    lab.root(&host, "systemctl daemon-reload");
    let halted = lab.rollgate(&args);
    halted.exits(4).journal_is_whole();
    let halt = halted.halt("store-empty");
    assert_eq!(halt["host"], *host, "{halted}");
    halted.says(&["root cause [store-empty]"]);
}
