//! Traps for a gate: servers that call themselves healthy, and whose leaders call them current, with something missing.
//!
//! One lab a version; each trap is set for the next stop of the server that has the only copy, and cleared after it.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    time::Duration,
};

use async_nats::{
    ConnectOptions,
    jetstream::{self, consumer::pull, stream::Config},
};
use futures_util::StreamExt;

use crate::{
    harness::{Lab, Options, WIDE, until},
    jetstream::holder,
    process::{Ended, seconds, strings},
};

/// Set where the program runs inside the lab's network; a server's address.
const INSIDE: &str = "ROLLGATE_TEST_FILL";
/// Set to how many small streams are wanted.
const MORE: &str = "ROLLGATE_TEST_MORE";
/// Where the servers keep the streams of the lab's account.
const STREAMS: &str = "/var/lib/nats/jetstream/jetstream/APP/streams";
/// A block has 4 MB (seen, 2.10.26 and 2.15.1), so that these are three.
const MESSAGES: usize = 1400;
const SIZE: usize = 8 << 10;

/// The lab, with the host whose server has the only copy of a stream.
struct Traps {
    lab: Lab,
    inventory: String,
    host: String,
}

impl Traps {
    fn up(nats: &'static str) -> Option<Self> {
        let lab = Lab::up(Options { nats, ..Options::default() })?;
        fill_from_inside(&lab, "");
        let inventory = lab.inventory();
        let host = holder(&lab, &inventory);
        Some(Self { lab, inventory, host })
    }

    /// So many streams more.
    fn inside(&self, more: &str) {
        fill_from_inside(&self.lab, more);
    }

    /// What a root shell does to the store each time that the server has stopped.
    fn set(&self, damage: &str) {
        let unit = format!("[Service]\nExecStopPost=+/bin/sh -c 'cd {STREAMS}; {damage}'\n");
        self.lab.put(&self.host, "/etc/systemd/system/nats-server.service.d/trap.conf", &unit);
        self.lab.root(&self.host, "systemctl daemon-reload");
    }

    /// Sets no trap any more; what a replica has lost its peers give it again when its store of the stream is gone.
    fn clear(&self) {
        let script = format!(
            "rm -f /etc/systemd/system/nats-server.service.d/trap.conf; systemctl daemon-reload; \
             systemctl stop nats-server; rm -rf {STREAMS}/S3; systemctl reset-failed nats-server; systemctl start nats-server"
        );
        self.lab.root(&self.host, &script);
        self.lab.all_healthy();
        let whole = || self.lab.rollgate(&["plan", "-i", &self.inventory, "--allow", "r1-offline"]).status.success();
        until("a cluster that is whole", whole);
    }

    fn watch(&self) -> Watch {
        let mut args = vec!["-c".to_owned(), WATCH.to_owned(), Lab::address(&self.host), self.host.clone()];
        let others = self.lab.hosts().into_iter().filter(|host| *host != self.host);
        args.extend(others.map(|host| format!("{host}={}", Lab::address(&host))));
        let mut command = self.lab.exec("python3", &args.iter().map(String::as_str).collect::<Vec<_>>());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python3");
        let stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let (told, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let mut words = line.split(' ');
                let mut next = || words.next().expect("three words");
                let look = (
                    next().parse().expect("a time"),
                    next().parse().expect("a code"),
                    next().parse().expect("a count"),
                );
                if told.send(look).is_err() {
                    break;
                }
            }
        });
        Watch(child, heard)
    }

    fn roll(&self, playbook: &str) -> Ended {
        let playbook = self.lab.file(playbook);
        let args = ["run", &playbook, "-i", &self.inventory, "--yes", "--host", &self.host, "--allow", "r1-offline"];
        self.lab.rollgate(&args)
    }

    /// Rolls into a trap; the halt's streams.
    fn short(&self, damage: &str, expected: &str) {
        self.set(damage);
        let ended = self.roll("quick.yaml");
        ended.exits(4).journal_is_whole();
        let halt = ended.halt("data-short");
        assert_eq!(halt["host"], *self.host, "{ended}");
        let found = strings(&halt["streams"]);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}, wanted {expected:?}\n{ended}");
        self.clear();
    }

    /// As where a volume is not mounted: its peers fill the replica again within a second.
    fn store_is_gone(&self) {
        self.set("mv /var/lib/nats/jetstream/jetstream /var/lib/nats/away");
        let ended = self.roll("quick.yaml");
        ended.exits(4).journal_is_whole();
        // The diagnosis may see it before the gate's own look at the log does.
        ended.says(&["JetStream cluster bootstrapping", "[store-empty]"]);
        let back =
            "cd /var/lib/nats; systemctl stop nats-server; rm -rf jetstream/jetstream; mv away jetstream/jetstream";
        let trap = "/etc/systemd/system/nats-server.service.d/trap.conf";
        self.lab
            .root(&self.host, &format!("rm -f {trap}; systemctl daemon-reload; {back}; systemctl start nats-server"));
        self.clear();
    }
}

#[test]
fn what_2_15_does_not_notice() {
    let Some(traps) = Traps::up("2.15.1") else { return };
    traps.short("rm S3/msgs/index.db; truncate -s 2000000 S3/msgs/1.blk", "stream APP > S3: ");
    // What its peers gave it again begins with another number.
    traps.short("rm $(ls S3/msgs/*.blk | sort -V | head -n 1)", "stream APP > S3: ");
    traps.short("rm S1/msgs/1.blk", "stream APP > S1: ");
    traps.store_is_gone();

    // 150 streams: the first 200 may come before their leaders call the replicas current; the gate never opens before.
    traps.inside("150");
    let watch = traps.watch();
    let ended = traps.roll("quick.yaml");
    ended.exits(0).journal_is_whole();
    let gate =
        ended.of("step-finished").into_iter().find(|event| event["step"] == "gate").map(seconds).expect("a gate");
    let seen = watch.until(gate + 1.0);
    let early = seen.iter().filter(|(_, code, behind)| *code == 200 && *behind > 0).count();
    println!("150 streams: {early} of {} looks of an observer found 200 too early", seen.len());
    let after: Vec<_> = seen.iter().filter(|(at, ..)| *at >= gate).collect();
    assert!(
        !after.is_empty() && after.iter().all(|(_, code, behind)| (*code, *behind) == (200, 0)),
        "{after:?}\n{ended}"
    );
    assert!(seen.iter().any(|(_, code, _)| *code != 200), "nobody saw it down: {seen:?}");

    // A consumer that can't be loaded holds the gate where it is new …
    traps.set("echo garbage >S1/obs/d/o.dat");
    let ended = traps.roll("short.yaml");
    ended.exits(4).says(&["[consumer-state-corrupt]", "APP > S1 > d", "corrupt state file", "obs/d/o.dat"]);
    ended.halt("doomed");
    // … and does not where it stood before; the plan and the turn say so.
    traps.lab.root(&traps.host, "rm /etc/systemd/system/nats-server.service.d/trap.conf; systemctl daemon-reload");
    let plan = traps.lab.rollgate(&["plan", "-i", &traps.inventory, "--allow", "r1-offline"]);
    plan.exits(0);
    assert!(plan.stdout.contains(&format!("wrong already at {}", traps.host)), "{plan}");
    let ended = traps.roll("quick.yaml");
    ended.exits(0).journal_is_whole();
    let errors = &ended.of("turn-started")[0]["baseline"]["errors"];
    assert_eq!((&errors[0]["type"], &errors[0]["consumer"]), (&"CONSUMER".into(), &"d".into()), "{ended}");

    // 200, and then not any more: the peers lose the server while it settles.
    let playbook = "name: patient\nturn: [stop, start, {gate: {looks: 1, deadline: 20s}}, {settle: {for: 10s, interval: 200ms}}]\n";
    let playbook = traps.lab.write("patient.yaml", playbook);
    let args = ["run", &playbook, "-i", &traps.inventory, "--yes", "--host", &traps.host, "--allow", "r1-offline"];
    let mut roll = traps.lab.spawn(&args);
    roll.event("step-started", |event| event["step"] == "settle");
    let others: Vec<_> = traps.lab.hosts().into_iter().filter(|host| *host != traps.host).collect();
    traps.lab.command("split", &[&traps.host, &others.join(",")]);
    let ended = roll.wait(WIDE);
    traps.lab.command("unsplit", &[]);
    ended.exits(4).journal_is_whole();
    assert_eq!(ended.of("halted")[0]["halt"]["step"], "settle", "{ended}");
}

#[test]
fn what_2_10_does_not_notice() {
    let Some(traps) = Traps::up("2.10.26") else { return };
    // It trusts its index where it has one, and then says that it holds what is gone.
    traps.short("rm S3/msgs/index.db; truncate -s 100000 S3/msgs/1.blk", "stream APP > S3: ");
    // It forgets what was acknowledged, and healthz stays 200.
    traps.short("echo garbage >S1/obs/d/o.dat", "consumer APP > S1 > d: 0 acknowledged on ");
}

fn fill_from_inside(lab: &Lab, more: &str) {
    let this = env::current_exe().expect("this program");
    let mut command = lab.exec(this, &["--exact", "traps::fill", "--nocapture"]);
    let output = command.env(INSIDE, Lab::address("h1")).env(MORE, more).output().expect("this program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Prints its time, the code of a server's healthz, and how many leaders on the others do not call its replica current.
const WATCH: &str = r#"
import json, sys, time, urllib.error, urllib.request
def get(host, path):
    try:
        with urllib.request.urlopen(f"http://{host}:8222{path}", timeout=1) as answer: return answer.status, answer.read()
    except urllib.error.HTTPError as error: return error.code, b"{}"
    except Exception: return 0, b"{}"
target, name, peers = sys.argv[1], sys.argv[2], [peer.split("=") for peer in sys.argv[3:]]
while True:
    at, behind = time.time(), 0
    code, _ = get(target, "/healthz")
    for leader, peer in peers:
        for account in json.loads(get(peer, "/jsz?streams=1&config=1&accounts=1")[1]).get("account_details", []):
            for stream in account.get("stream_detail", []):
                group = stream.get("cluster", {})
                replicas = group.get("replicas", []) if group.get("leader") == leader else []
                behind += any(replica["name"] == name and not replica["current"] for replica in replicas)
    print(at, code, behind, flush=True)
    time.sleep(0.03)
"#;

/// An observer of one server and its leaders.
struct Watch(Child, std::sync::mpsc::Receiver<(f64, u16, usize)>);

impl Watch {
    /// What it saw until that time.
    fn until(self, end: f64) -> Vec<(f64, u16, usize)> {
        let mut seen: Vec<(f64, u16, usize)> = Vec::new();
        while seen.last().is_none_or(|(at, ..)| *at < end) {
            seen.push(self.1.recv_timeout(WIDE).expect("the observer looks"));
        }
        seen
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Does nothing when it is run as a test like others.
#[test]
fn fill() {
    let Some(address) = env::var_os(INSIDE) else { return };
    let url = format!("nats://{}:4222", address.to_string_lossy());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let more = env::var(MORE).ok().and_then(|more| more.parse().ok());
    let work = async {
        match more {
            Some(more) => many(&url, more).await,
            None => streams(&url).await,
        }
    };
    runtime.block_on(async { tokio::time::timeout(WIDE, work).await }).expect("in time");
}

/// Small streams of three replicas.
async fn many(url: &str, count: usize) {
    let jetstream = jetstream::new(ConnectOptions::new().connect(url).await.expect("a client"));
    for number in 0..count {
        let (name, subjects) = (format!("M{number}"), vec![format!("M{number}")]);
        let config = Config { name, subjects, num_replicas: 3, ..Config::default() };
        while jetstream.get_or_create_stream(config.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // Its leader may not have subscribed yet.
        let store = async || jetstream.publish(format!("M{number}"), "x".into()).await.ok()?.await.ok();
        while store().await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn streams(url: &str) {
    let client = ConnectOptions::new().connect(url).await.expect("a client");
    let jetstream = jetstream::new(client);
    for (name, num_replicas) in [("S1", 1), ("S3", 3)] {
        let config =
            Config { name: name.into(), subjects: vec![format!("{name}.>")], num_replicas, ..Config::default() };
        // A cluster that has just come up may elect another meta leader.
        let stream = loop {
            match jetstream.get_or_create_stream(config.clone()).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        for n in 0..MESSAGES {
            let sent = jetstream.publish(format!("{name}.{}", n % 7), vec![b'x'; SIZE].into()).await.expect("sent");
            // A window of unacknowledged messages, so that none is refused.
            if n % 50 == 0 || n + 1 == MESSAGES {
                sent.await.expect("stored");
            }
        }
        let config = pull::Config { durable_name: Some("d".into()), ..pull::Config::default() };
        let consumer = stream.get_or_create_consumer("d", config).await.expect("a consumer");
        let mut messages = consumer.fetch().max_messages(75).messages().await.expect("messages");
        while let Some(message) = messages.next().await {
            message.expect("a message").double_ack().await.expect("acknowledged");
        }
    }
}
