//! What servers of one cluster can't do together, seen before the restart that would show it.

use serde_json::json;

use crate::{
    harness::{Lab, Options, until},
    jetstream::with_system_account,
    process::Ended,
};

/// A playbook that does not wait for what may pass.
fn plan(lab: &Lab, inventory: &str) -> Ended {
    let now =
        lab.write("now.yaml", "name: now\npolicy: {safety_deadline: 1ms}\nturn: [drain, stop, start, gate, settle]\n");
    lab.rollgate(&["plan", &now, "-i", inventory])
}

#[track_caller]
fn objects(plan: &Ended, texts: &[&str]) {
    plan.exits(3);
    for text in texts {
        assert!(plan.stdout.contains(text), "the plan does not say {text:?}:\n{plan}");
    }
}

/// A stream that only servers of API level 2 (2.12) understand.
fn atomic_stream(lab: &Lab) {
    let config = json!({
        "name": "BATCHES", "subjects": ["batches"], "num_replicas": 3, "storage": "file", "retention": "limits",
        "allow_atomic": true
    })
    .to_string();
    let request = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB reply 1\r\nPUB $JS.API.STREAM.CREATE.BATCHES reply {}\r\n{config}\r\nPING\r\n",
        config.len()
    );
    let script =
        "exec 3<>/dev/tcp/10.77.0.11/4222; printf %s \"$1\" >&3; timeout 20 grep -m 1 stream_create_response <&3";
    until("the stream is made", || {
        let output = lab.exec("bash", &["-c", script, "create", &request]).output().expect("bash");
        String::from_utf8_lossy(&output.stdout).contains("\"BATCHES\"")
    });
}

#[test]
fn a_program_that_others_or_the_data_can_t_stand() {
    let Some(lab) = Lab::up(Options { nats: "2.12.8", ..Options::default() }) else { return };
    let inventory = with_system_account(&lab);
    // The default waits until a young cluster has elected.
    lab.rollgate(&["plan", "-i", &inventory]).exits(0);
    atomic_stream(&lab);
    until("all is well", || plan(&lab, &inventory).status.code() == Some(0));

    // What 2.15 writes into the log of a group by itself makes 2.12 panic.
    lab.command("nats", &["h1", "2.15.1"]);
    objects(&plan(&lab, &inventory), &["[feature-flag]", "js_raft_delete_range", "h2", "h3"]);
    // 2.11 is a way back from 2.12, but not for this stream.
    lab.command("nats", &["h1", "2.11.11"]);
    objects(&plan(&lab, &inventory), &["[api-level]", "BATCHES", "(level 2)"]);
    lab.command("nats", &["h1", "2.12.8"]);
    plan(&lab, &inventory).exits(0);
}

#[test]
fn a_route_pool_of_another_size() {
    let Some(lab) = Lab::up(Options { nats: "2.10.26", ..Options::default() }) else { return };
    let inventory = with_system_account(&lab);
    lab.rollgate(&["plan", "-i", &inventory]).exits(0);
    let conf = lab.root("h3", "cat /etc/nats/nats-server.conf");
    let pool = conf.replacen("cluster {", "cluster {\n  pool_size: 5", 1);
    assert_ne!(conf, pool, "the lab's configuration has another form");
    lab.put("h3", "/etc/nats/nats-server.conf", &pool);
    lab.root("h3", "systemctl restart nats-server");
    // Before 2.11.2 such servers refuse each other's routes: the next restart finds no way back.
    until("it is seen", || plan(&lab, &inventory).stdout.contains("[route-pool]"));
    objects(&plan(&lab, &inventory), &["5 on h3"]);
    let refused = lab.rollgate(&["run", &lab.file("now.yaml"), "-i", &inventory, "--yes"]);
    refused.exits(3).began_nothing();
}
