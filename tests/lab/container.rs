//! A server in a real container: its files are seen through its process, its program is asked by the container's manager.
//! The image has no shell, as that of the project itself.

use rollgate::core::{
    diagnosis::{evidence::Archive, unit::Manager},
    view::Exit,
};
use serde_json::Value;

use crate::harness::{Lab, Options, WIDE};

/// What `diagnose` says, and what it is made of.
fn diagnosed(lab: &Lab, inventory: &str) -> (Value, Archive) {
    let file = lab.file("archive.json");
    let ended = lab.spawn(&["diagnose", "h1", "-i", inventory, "-o", "json", "--save", &file]).wait(WIDE);
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"));
    let archive = std::fs::read_to_string(&file).expect("an archive");
    (answer["hosts"][0]["diagnosis"].clone(), serde_json::from_str(&archive).expect("an archive"))
}

#[test]
fn a_server_in_a_container() {
    let Some(lab) = Lab::up(Options { hosts: 1, ..Options::default() }) else { return };
    lab.command("podman", &["h1"]);
    lab.all_healthy();
    let inventory = lab.inventory_with(|text| text.replace("{systemd: nats-server}", "{podman: nats}"));

    let (diagnosis, archive) = diagnosed(&lab, &inventory);
    assert_eq!(diagnosis["findings"].as_array().map(Vec::len), Some(0), "{diagnosis:#}");
    let unit = archive.unit.as_ref().expect("the container");
    assert_eq!((unit.manager, unit.name.as_str(), unit.user.as_deref()), (Manager::Podman, "nats", Some("nats")));
    let process = archive.process.as_ref().expect("its process").as_ref().expect("one");
    assert_eq!((process.inner_pid, process.user.as_deref()), (Some(1), Some("nats")));
    let ready = |archive: &Archive| archive.log_lines().filter(|(_, line)| line.text == "Server is ready").count();
    assert_eq!(ready(&archive), 1, "{:#?}", archive.journal);
    assert_eq!(archive.binary.as_ref().expect("its program").version.as_deref(), Some("v2.15.1"));
    let test = archive.config_test.as_ref().expect("a test of its configuration");
    assert_eq!((test.exit, test.as_service_user), (Some(Exit::Code(0)), true), "{test:?}");
    let store = archive.path("/data").and_then(|path| path.mount.as_ref()).expect("the store's mount");
    assert_eq!((store.point.as_str(), store.read_only), ("/data", false));

    // Ready to be rolled. (Without control groups of its own, a container that a change begins ends with that change: here it can't
    // be rolled.)
    lab.rollgate(&["check", "-i", &inventory]).exits(0);
    let server = lab.server_id("h1");

    // What can't start is not stopped.
    lab.root("h1", "cp /srv/nats/nats-server.conf /srv/good; echo 'max_connectionz: 9' >>/srv/nats/nats-server.conf");
    let quick = lab.file("quick.yaml");
    let refused = lab.rollgate(&["run", &quick, "-i", &inventory, "--yes", "--allow", "r1-offline"]);
    refused.exits(3);
    refused.says(&["max_connectionz"]);
    assert!(server.is_some() && lab.server_id("h1") == server);
    lab.root("h1", "cat /srv/good >/srv/nats/nats-server.conf");

    // What keeps it from coming up is in its log alone.
    lab.root(
        "h1",
        "podman stop -t 20 nats; systemd-run -q --unit squat-proxy port-squatter 4222
         until ss -ltn | grep -q :4222; do sleep 0.05; done
         podman start nats; until [ \"$(podman inspect -f '{{.State.Status}}' nats)\" = exited ]; do sleep 0.1; done",
    );
    let (diagnosis, _) = diagnosed(&lab, &inventory);
    let root = &diagnosis["findings"][0];
    assert_eq!(root["code"], "port-taken", "{diagnosis:#}");
    assert!(
        root["quotes"][0]["source"].as_str().is_some_and(|source| source.starts_with("podman logs nats")),
        "{root:#}"
    );
    let commands: Vec<&str> =
        root["remedy"]["commands"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!(commands, ["sudo systemctl stop squat-proxy.service", "sudo podman start nats"]);
}
