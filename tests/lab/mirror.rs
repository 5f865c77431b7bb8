//! Journals and leases in a bucket of another cluster: runners that share no disk.

mod three;
mod trouble;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use async_nats::{
    ConnectOptions,
    jetstream::{self, kv, stream::StorageType},
};
use serde_json::{Value, json};

use crate::{
    harness::{Lab, WIDE, binaries, until},
    process::{Running, strings},
};

/// How to log in to it: what an inventory says, and the same for the tests.
struct Login {
    /// In the server's configuration.
    conf: String,
    /// Beside `bucket` in an inventory.
    inventory: String,
    options: Box<dyn Fn() -> ConnectOptions>,
}

/// A server of its own for the bucket, with JetStream. Killed when dropped.
struct State {
    child: Option<Child>,
    program: PathBuf,
    conf: PathBuf,
    port: u16,
    login: Login,
}

impl State {
    /// With an nkey, by a context of the NATS CLI.
    fn new(lab: &Lab) -> Option<Self> {
        let keys = nkeys::KeyPair::new_user();
        let (public, seed) = (keys.public_key(), keys.seed().expect("a seed"));
        let file = lab.write("ops.nk", &seed);
        Self::with_login(lab, |port| Login {
            conf: format!("authorization: {{users: [{{nkey: {public}}}]}}\n"),
            inventory: context(lab, "ops", &json!({ "url": format!("nats://127.0.0.1:{port}"), "nkey": file })),
            options: Box::new(move || ConnectOptions::with_nkey(seed.clone())),
        })
    }

    fn with_login(lab: &Lab, login: impl FnOnce(u16) -> Login) -> Option<Self> {
        let [port] = free_ports();
        Self::named(lab, "state", port, login(port))
    }

    fn named(lab: &Lab, name: &str, port: u16, login: Login) -> Option<Self> {
        // The oldest: what it can do, all can.
        let program = binaries()?.into_iter().next()?;
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nserver_name: {name}\njetstream: {{store_dir: \"{}\"}}\n{}",
            lab.file(&format!("{name}-store")),
            login.conf
        );
        let conf = PathBuf::from(lab.write(&format!("{name}.conf"), &text));
        Some(Self { child: None, program, conf, port, login })
    }

    fn start(&mut self) {
        self.spawn();
        self.serves();
    }

    fn spawn(&mut self) {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&self.conf).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("nats-server"));
    }

    fn serves(&self) {
        until("JetStream of the state server", || {
            self.with(async |js| js.query_account().await.is_ok()).unwrap_or(false)
        });
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn with<T>(&self, work: impl AsyncFnOnce(jetstream::Context) -> T) -> Option<T> {
        with(&format!("127.0.0.1:{}", self.port), (self.login.options)(), work)
    }

    fn bucket(&self, config: kv::Config) {
        self.with(async |js| js.create_key_value(config).await.expect("a bucket")).expect("a connection");
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports of the loopback that nobody has, all different.
fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    held.each_ref().map(|port| port.local_addr().expect("an address").port())
}

fn with<T>(server: &str, options: ConnectOptions, work: impl AsyncFnOnce(jetstream::Context) -> T) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = options.connect(server).await.ok()?;
        Some(work(jetstream::new(client)).await)
    })
}

/// A context as the NATS CLI keeps it; what an inventory says to use it.
fn context(lab: &Lab, name: &str, content: &Value) -> String {
    fs::create_dir_all(lab.work.path().join("config/nats/context")).expect("a directory");
    lab.write(&format!("config/nats/context/{name}.json"), &content.to_string());
    format!("context: {name}")
}

/// An inventory with a bucket, whose starts are held as long as there is a file.
fn inventory(lab: &Lab, name: &str, login: &str, bucket: &str) -> String {
    let text = fs::read_to_string(lab.inventory()).expect("the lab's inventory");
    let service = lab.path.join("service").display().to_string();
    let (hold, seen) = (lab.file("hold"), lab.file("starting"));
    let script = format!("#!/bin/sh\ntouch {seen}\nwhile [ -e {hold} ]; do sleep 0.05; done\nexec {service} start\n");
    let start = lab.write("held-start", &script);
    let held = text.replace(&format!("start: [{service}, start]"), &format!("start: [sh, {start}]"));
    assert_ne!(held, text);
    lab.write(name, &format!("{held}\nstate: {{kv: {{bucket: {bucket}, {login}}}}}\n"))
}

/// Each on a machine of its own: one that dies, another that knows nothing but the inventory, a third that comes in between.
#[test]
fn another_runner_goes_on() {
    let Some(lab) = Lab::plain() else { return };
    let Some(mut state) = State::new(&lab) else { return };
    let login = state.login.inventory.clone();
    let inventory_of = |bucket: &str| inventory(&lab, &format!("{bucket}.yaml"), &login, bucket);
    let (good, quick) = (inventory_of("rollgate"), lab.file("quick.yaml"));
    let roll = |inventory: &str| ["run", &quick, "-i", inventory, "--yes"].map(str::to_owned);
    let run = |machine: &str, args: &[String]| -> Running {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        lab.elsewhere(machine, &args, None)
    };
    let before = lab.server_ids();

    // What can't keep a journal is refused before anything is touched.
    run("early", &roll(&good)).wait(WIDE).exits(6).began_nothing().says(&["bucket rollgate", "nothing was touched"]);
    state.start();
    run("early", &roll(&good)).wait(WIDE).exits(3).began_nothing().says(&["nats kv add rollgate"]);
    state.bucket(kv::Config { bucket: "short".into(), storage: StorageType::Memory, ..kv::Config::default() });
    run("early", &roll(&inventory_of("short"))).wait(WIDE).exits(3).began_nothing().says(&["in memory"]);
    own_cluster(&lab, &run);
    state.bucket(kv::Config { bucket: "rollgate".into(), ..kv::Config::default() });
    assert_eq!(lab.server_ids(), before);

    // The first dies with a server down, and its machine is gone.
    fs::write(lab.file("hold"), "").expect("a file");
    let mut first = run("a", &roll(&good));
    let host = first.step("start");
    until("the start under way", || Path::new(&lab.file("starting")).exists());
    let late = run("c", &roll(&good)).wait(WIDE);
    late.exits(5).began_nothing().says(&["has the lease in bucket rollgate", "quick of plain"]);
    let died = first.kill();
    drop(first);
    fs::remove_dir_all(lab.work.path().join("a")).expect("its state directory");
    fs::remove_file(lab.file("hold")).expect("the file");

    // Another one finds what it left, and goes on to the same end.
    let status = run("b", &["status", "-i", &good].map(str::to_owned)).wait(WIDE);
    assert!(status.stdout.contains(&format!("go on with it: rollgate resume -i {good} ")), "{status}");
    let json = ["history", "-i", &good, "-o", "json"].map(str::to_owned);
    let history = run("b", &json).wait(WIDE);
    assert!(history.exits(0).stdout.contains("\"open\""), "{history}");
    let resumed = run("b", &["resume", "-i", &good, "--yes"].map(str::to_owned)).wait(WIDE);
    resumed.exits(0).says(&["whether it lives shows within"]);
    let whole: Vec<String> = resumed.events.iter().map(|event| event["event"].to_string()).collect();
    assert_eq!(whole.first().map(String::as_str), Some("\"run-started\""), "{died}\n{resumed}");
    let starts = resumed.of("step-started").into_iter().filter(|e| e["step"] == "stop").count();
    assert_eq!((starts, resumed.rolled().len()), (3, 3), "{died}\n{resumed}");
    assert_eq!(resumed.of("settled")[0]["host"], host.as_str(), "{died}\n{resumed}");
    let after = lab.server_ids();
    assert!(before.iter().zip(&after).all(|(old, new)| new.is_some() && old != new), "{before:?} {after:?}\n{resumed}");
    let id = resumed.run().to_owned();
    let show = ["show", "-i", &good, &id].map(str::to_owned);
    assert!(run("d", &show).wait(WIDE).exits(0).stdout.contains("turn 3 of 3"));
    run("d", &["resume", "-i", &good, "--yes"].map(str::to_owned)).wait(WIDE).exits(2).says(&["left unfinished"]);

    bucket_goes_away(&lab, &mut state, &good, &run);
}

/// The events of a run, as a machine tells that may have nothing of it but the bucket.
fn told(lab: &Lab, machine: &str, inventory: &str, id: &str) -> Vec<Value> {
    let show = lab.elsewhere(machine, &["show", "-i", inventory, id, "-o", "json"], None).wait(WIDE);
    let told: Value = serde_json::from_str(&show.exits(0).stdout).expect("JSON");
    told["events"].as_array().unwrap_or_else(|| panic!("no events: {show}")).clone()
}

type Run<'a> = dyn Fn(&str, &[String]) -> Running + 'a;

/// The bucket must outlive the servers that are rolled.
fn own_cluster(lab: &Lab, run: &Run<'_>) {
    let ssh = fs::read_to_string(lab.path.join("ssh_config")).expect("the lab's ssh configuration");
    let address = ssh.split("Host h1\n  HostName ").nth(1).and_then(|rest| rest.lines().next()).expect("an address");
    let server = format!("{address}:24222");
    let app = ConnectOptions::new().user_and_password("app".into(), "app".into());
    let config = kv::Config { bucket: "own".into(), num_replicas: 3, ..kv::Config::default() };
    with(&server, app, async |js| js.create_key_value(config).await.expect("a bucket")).expect("a connection");
    let file = lab.write("app.password", "app\n");
    let login = format!("servers: [\"nats://{server}\"], user: app, password_file: {file}");
    let own = inventory(lab, "own.yaml", &login, "own");
    let ended = run("early", &["run", &lab.file("quick.yaml"), "-i", &own, "--yes"].map(str::to_owned)).wait(WIDE);
    ended.exits(3).began_nothing().says(&["bucket own is on server", "would go away with it"]);
}

/// It goes away in the middle of a turn: the turn is finished, no other is begun, and the bucket gets what it missed.
fn bucket_goes_away(lab: &Lab, state: &mut State, inventory: &str, run: &Run<'_>) {
    fs::write(lab.file("hold"), "").expect("a file");
    let mut roll = run("e", &["run", &lab.file("quick.yaml"), "-i", inventory, "--yes"].map(str::to_owned));
    let host = roll.step("start");
    state.kill();
    fs::remove_file(lab.file("hold")).expect("the file");
    let halted = roll.wait(WIDE);
    halted.exits(4).journal_is_whole().says(&["the journal is not mirrored", "the bucket lacks the end of it"]);
    let halt = halted.halt("mirror-lost");
    assert_eq!(strings(&halt["done"]), [host.as_str()], "{halted}");
    assert_eq!(strings(&halt["untouched"]).len(), 2, "{halted}");
    let resume = ["resume", "-i", inventory, "--yes"].map(str::to_owned);
    run("e", &resume).wait(WIDE).exits(6).says(&["bucket rollgate"]);
    state.start();
    let resumed = run("e", &resume).wait(WIDE);
    assert_eq!(resumed.exits(0).rolled().len(), 2, "{halted}\n{resumed}");
    let count = halted.events.len() + resumed.events.len();
    assert_eq!(told(lab, "d", inventory, halted.run()).len(), count, "{halted}\n{resumed}");
}
