//! A bucket on three servers, whose leader is killed in the middle of a roll, and in the middle of a change of runners.

use std::{fs, path::Path};

use async_nats::{ConnectOptions, jetstream::kv};
use serde_json::json;

use super::{Login, State, context, free_ports, inventory, told};
use crate::harness::{Lab, WIDE, until};

const NAMES: [&str; 3] = ["s1", "s2", "s3"];

/// The servers of the bucket; a runner knows all of them.
struct Three([State; 3]);

impl Three {
    fn start(lab: &Lab) -> Option<Self> {
        let [a, b, c, d, e, f] = free_ports();
        let (clients, routes) = ([a, b, c], [d, e, f]);
        let urls = |ports: [u16; 3]| ports.map(|port| format!("nats://127.0.0.1:{port}")).join(",");
        let known = context(lab, "three", &json!({ "url": urls(clients), "user": "ops", "password": "ops" }));
        let login = |route: u16| Login {
            conf: format!(
                "authorization: {{user: ops, password: ops}}\n\
                 cluster: {{name: three, listen: \"127.0.0.1:{route}\", routes: [{}]}}\n",
                urls(routes)
            ),
            inventory: known.clone(),
            options: Box::new(|| ConnectOptions::with_user_and_password("ops".into(), "ops".into())),
        };
        let mut three: Vec<State> = Vec::new();
        for (name, (client, route)) in NAMES.iter().zip(clients.into_iter().zip(routes)) {
            three.push(State::named(lab, name, client, login(route))?);
        }
        three.iter_mut().for_each(State::spawn);
        three.iter().for_each(State::serves);
        Some(Self(three.try_into().ok().expect("three")))
    }

    /// Kills the leader of the bucket's stream; which one that was.
    fn kill_leader(&mut self) -> usize {
        let mut leader = None;
        until("a leader of the bucket", || {
            let found = self.0[0].with(async |js| {
                let store = js.get_key_value("rollgate").await.ok()?;
                store.stream.get_info().await.ok()?.cluster?.leader
            });
            leader = found.flatten().and_then(|name| NAMES.iter().position(|one| *one == name));
            leader.is_some()
        });
        let leader = leader.expect("one");
        self.0[leader].kill();
        leader
    }

    fn again(&mut self, server: usize) {
        self.0[server].start();
        until("all copies of the bucket", || {
            let current = self.0[server].with(async |js| {
                let store = js.get_key_value("rollgate").await.ok()?;
                let cluster = store.stream.get_info().await.ok()?.cluster?;
                Some(cluster.leader.is_some() && cluster.replicas.iter().all(|peer| peer.current && !peer.offline))
            });
            current.flatten().unwrap_or(false)
        });
    }
}

#[test]
fn a_bucket_that_elects() {
    let Some(lab) = Lab::plain() else { return };
    let Some(mut three) = Three::start(&lab) else { return };
    three.0[0].bucket(kv::Config { bucket: "rollgate".into(), num_replicas: 3, ..kv::Config::default() });
    let known = inventory(&lab, "three.yaml", &three.0[0].login.inventory, "rollgate");
    let quick = lab.file("quick.yaml");
    let roll = ["run", &quick, "-i", &known, "--yes"];

    // The roll goes on over the election, and the bucket has all of it.
    fs::write(lab.file("hold"), "").expect("a file");
    let mut rolling = lab.elsewhere("a", &roll, None);
    rolling.step("start");
    until("the start under way", || Path::new(&lab.file("starting")).exists());
    let first = three.kill_leader();
    fs::remove_file(lab.file("hold")).expect("the file");
    let ended = rolling.wait(WIDE);
    assert_eq!(ended.exits(0).journal_is_whole().rolled().len(), 3, "{ended}");
    assert_eq!(told(&lab, "b", &known, ended.run()), ended.events, "{ended}");

    // A runner dies with a server down, the leader right after it: another goes on with what the other two have.
    three.again(first);
    fs::write(lab.file("hold"), "").expect("a file");
    fs::remove_file(lab.file("starting")).expect("the file");
    let mut dying = lab.elsewhere("c", &roll, None);
    let host = dying.step("start");
    until("the start under way", || Path::new(&lab.file("starting")).exists());
    let known_of_it = dying.events();
    let died = dying.kill();
    three.kill_leader();
    fs::remove_file(lab.file("hold")).expect("the file");
    let resumed = lab.elsewhere("d", &["resume", "-i", &known, "--yes"], None).wait(WIDE);
    resumed.exits(0).journal_is_whole();
    assert_eq!(resumed.events[..known_of_it.len()], known_of_it, "{died}\n{resumed}");
    let stops = resumed.of("step-started").iter().filter(|event| event["step"] == "stop").count();
    assert_eq!((stops, resumed.rolled().len()), (3, 3), "{died}\n{resumed}");
    assert_eq!(resumed.of("settled")[0]["host"], host.as_str(), "{died}\n{resumed}");
    assert_eq!(told(&lab, "e", &known, resumed.run()), resumed.events, "{resumed}");
}
