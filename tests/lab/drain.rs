//! What a drain does with everything that can be attached to a server, and what a stop that ends in SIGKILL leads to.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    harness::{Lab, Options, until},
    jetstream::{drained, with_system_account},
    relay::DRAIN,
    watched::Witness,
};

/// A process in the lab's network that ends with the test.
pub struct Attached(Child);

impl Attached {
    /// Starts it, and waits until it says that it is attached.
    pub fn of(mut command: Command, says: &str) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
        let (stdout, stderr) = (child.stdout.take().expect("stdout"), child.stderr.take().expect("stderr"));
        let (told, heard) = std::sync::mpsc::channel();
        let read = |stream: Box<dyn std::io::Read + Send>, told: std::sync::mpsc::Sender<String>| {
            std::thread::spawn(move || {
                BufReader::new(stream).lines().map_while(Result::ok).for_each(|line| drop(told.send(line)));
            })
        };
        read(Box::new(stdout), told.clone());
        read(Box::new(stderr), told);
        let attached = Self(child);
        let mut said = Vec::new();
        until(&format!("{says:?} of what is attached"), || {
            said.extend(heard.try_iter());
            said.iter().any(|line: &String| line.contains(says))
        });
        attached
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One of each kind on the first server; all are counted, and none keeps it from stopping at once.
fn everything_attached(nats: &'static str) {
    let Some(lab) = Lab::up(Options { nats, ..Options::default() }) else { return };
    let more = "leafnodes { listen: 0.0.0.0:7422 }\nmqtt { listen: 0.0.0.0:1883 }\nwebsocket { listen: 0.0.0.0:8080, no_tls: true }\n";
    for host in lab.hosts() {
        let conf = lab.root(&host, "cat /etc/nats/nats-server.conf");
        lab.put(&host, "/etc/nats/nats-server.conf", &format!("{conf}\n{more}"));
        lab.root(&host, "systemctl restart nats-server");
    }
    lab.all_healthy();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/attach.py");
    let attach = |kind: &str, port: u16| {
        let mut command = lab.exec("python3", &[]);
        command.arg(&script).arg(kind).args((1..=3).map(|n| format!("10.77.0.1{n}:{port}")));
        Attached::of(command, "on 10.77.0.11:")
    };
    let _mqtt = attach("mqtt", 1883);
    let _websocket = attach("websocket", 8080);
    let leaf = lab.write(
        "leaf.conf",
        &format!(
            "listen: 127.0.0.1:4333\nserver_name: edge\nleafnodes {{ remotes: [ {{ urls: [ \"nats://app:app@10.77.0.11:7422\" ] }} ] }}\n# {nats}\n"
        ),
    );
    let server = lab.path.join(format!("../../bin/nats-server-{nats}"));
    let _leaf = Attached::of(lab.exec(server, &["-c", &leaf]), "Leafnode connection created");

    let inventory = with_system_account(&lab);
    let playbook = lab.write("drain.yaml", DRAIN);
    let ended = lab.rollgate(&["run", &playbook, "-i", &inventory, "--yes", "--host", "h1"]);
    ended.exits(0).journal_is_whole();
    let note = drained(&ended)[0].to_owned();
    let step = |name: &str| {
        let steps = ended.of("step-finished");
        steps.iter().find(|event| event["step"] == name).and_then(|event| event["took_ms"].as_u64()).expect("a step")
    };
    println!("{nats}: {note}; stopped in {} ms", step("stop"));
    assert!(note.contains("0 left (at first 1 over websocket, 1 over MQTT, 1 leafnodes"), "{note}\n{ended}");
    // With a client left lame duck takes up to 30 s in this lab. A leafnode is not waited for up to 2.14, and from 2.15 for the
    // grace period, which is 2 s here.
    assert!(step("stop") < 10_000, "{note}: stopped in {} ms\n{ended}", step("stop"));
}

#[test]
fn everything_attached_2_10() {
    everything_attached("2.10.26");
}

#[test]
fn everything_attached_2_15() {
    everything_attached("2.15.1");
}

/// The unit gives the server less time than its lame duck takes, and a client won't leave.
#[test]
fn a_stop_that_ends_in_sigkill_is_told_and_not_repeated() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let witness = Witness::of(&lab);
    for host in lab.hosts() {
        lab.put(&host, "/etc/systemd/system/nats-server.service.d/hasty.conf", "[Service]\nTimeoutStopSec=1\n");
        lab.root(&host, "systemctl daemon-reload");
    }
    let inventory = lab.inventory();
    let playbook = lab.file("quick.yaml");
    let ended = lab.rollgate(&["run", &playbook, "-i", &inventory, "--yes", "--allow", "lame-duck-cut"]);
    let report = witness.report();
    ended.exits(4).journal_is_whole();
    let halt = ended.halt("killed");
    // It is back, and the others were not touched.
    assert_eq!(ended.rolled().len(), 1, "{ended}");
    assert_eq!(halt["done"], serde_json::json!(ended.rolled()), "{ended}");
    assert_eq!(halt["untouched"].as_array().map(Vec::len), Some(2), "{ended}");
    let note = ended.of("step-finished").into_iter().find(|event| event["step"] == "stop").expect("a stop")["note"]
        .to_string();
    assert!(note.contains("killed by its manager") && note.contains("SIGKILL"), "{ended}");
    ended.says(&["was killed by its service manager", "TimeoutStopSec"]);
    lab.all_healthy();
    report.nobody_was_harmed();
}

/// Without the system account a drain does nothing, and says what that costs.
#[test]
fn without_a_system_account_the_cost_is_told() {
    let Some(lab) = Lab::up(Options { hosts: 1, ..Options::default() }) else { return };
    let (inventory, playbook) = (lab.inventory(), lab.write("drain.yaml", DRAIN));
    let ended = lab.rollgate(&["run", &playbook, "-i", &inventory, "--yes"]);
    ended.exits(0);
    // The plan tells the cost once, the turns only that it is so.
    ended.says(&["lame duck, which takes JetStream away first"]);
    assert!(drained(&ended)[0].contains("no system account"), "{ended}");
}

/// A drain that is cut short, by a controller that is killed, leaves a cluster that serves and can be rolled.
#[test]
fn a_drain_that_is_interrupted_leaves_nothing_behind() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let inventory = with_system_account(&lab);
    // Two clients a second: the drain is under way for as long as the test needs.
    let slow = lab.write("slow.yaml", &DRAIN.replace("- drain", "- drain: {rate: 2}"));
    let witness = Witness::with(&lab, &["--clients-per-server", "10"]);
    let before = lab.server_ids();
    let mut roll = lab.spawn(&["run", &slow, "-i", &inventory, "--yes"]);
    roll.step("drain");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    roll.kill();
    lab.all_healthy();
    assert_eq!(before, lab.server_ids(), "nothing was stopped");
    for host in lab.hosts() {
        assert_eq!(lab.changes(&host), 0, "nothing was begun on {host}");
    }
    let playbook = lab.write("drain.yaml", DRAIN);
    let ended = lab.rollgate(&["run", &playbook, "-i", &inventory, "--yes"]);
    let report = witness.report();
    ended.exits(0).journal_is_whole();
    report.nobody_was_harmed().restarts(&[1, 1, 1]);
}
