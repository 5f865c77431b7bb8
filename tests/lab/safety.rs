//! Safety on real servers: each case breaks one thing, sees the plan refuse or warn by name, and mends it.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::{
    harness::{Lab, Options, until},
    process::Ended,
};

fn plan(lab: &Lab, inventory: &str, more: &[&str]) -> Ended {
    lab.rollgate(&[&["plan", &lab.file("now.yaml"), "-i", inventory], more].concat())
}

#[track_caller]
fn tells(plan: &Ended, code: i32, texts: &[&str]) {
    plan.exits(code);
    for text in texts {
        assert!(plan.stdout.contains(text), "the plan does not say {text:?}:\n{plan}");
    }
}

/// From now on the unit of h1 has these lines too.
fn unit(lab: &Lab, lines: &str) {
    lab.put("h1", "/etc/systemd/system/nats-server.service.d/test.conf", &format!("[Service]\n{lines}\n"));
    lab.root("h1", "systemctl daemon-reload");
}

/// Begins a restore that nobody goes on with, as a client would whose backup is slow.
fn begin_restore(lab: &Lab) {
    let config =
        json!({"name": "BACK", "subjects": ["BACK.>"], "num_replicas": 3, "storage": "file", "retention": "limits"});
    let state = json!({"messages": 1, "bytes": 10, "first_seq": 1, "last_seq": 1, "consumer_count": 0});
    let body = json!({"config": config, "state": state}).to_string();
    let request = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB reply 1\r\nPUB $JS.API.STREAM.RESTORE.BACK reply {}\r\n{body}\r\nPING\r\n",
        body.len()
    );
    let script = "exec 3<>/dev/tcp/10.77.0.11/4222; printf %s \"$1\" >&3; timeout 20 grep -m 1 deliver_subject <&3";
    let output = lab.exec("bash", &["-c", script, "restore", &request]).output().expect("bash");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("$JS.SNAPSHOT.RESTORE.BACK"), "{said}");
}

#[test]
fn what_makes_a_restart_unsafe_is_told_by_name() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let inventory = lab.inventory();
    let password = lab.write("sys.password", "sys\n");
    let text = std::fs::read_to_string(&inventory).expect("the lab's inventory");
    let line = format!("defaults:\n  nats: {{user: sys, password_file: {password}}}\n");
    let with_account = lab.write("with-account.yaml", &text.replacen("defaults:\n", &line, 1));
    // It does not wait for what may pass.
    let now = "name: now\npolicy: {safety_deadline: 1ms}\nturn: [drain, stop, start, gate, settle]\n";
    lab.write("now.yaml", now);

    // The default waits until a young cluster has elected; then there is nothing to say.
    lab.rollgate(&["plan", "-i", &inventory]).exits(0);
    let healthy = plan(&lab, &inventory, &["-o", "json"]);
    healthy.exits(0);
    let answer: Value = serde_json::from_str(&healthy.stdout).expect("a plan");
    let turns = answer["plans"][0]["turns"].as_array().expect("turns").clone();
    let leaders = turns.iter().filter(|turn| turn["effect"]["leads_meta"] == true).count();
    assert_eq!(leaders, 1, "{healthy}");
    assert!(turns.iter().all(|turn| turn["warnings"].is_null() && turn["effect"]["bare"]["count"] == 1), "{healthy}");

    // Less time than the 30 s of the lab's lame duck.
    unit(&lab, "TimeoutStopSec=20");
    tells(&plan(&lab, &inventory, &[]), 3, &["lame-duck-cut", "up to 30 s", "gives it 20 s"]);
    tells(&plan(&lab, &inventory, &["--allow", "lame-duck-cut"]), 0, &["by consent, at h1"]);
    tells(&plan(&lab, &with_account, &[]), 0, &["clients are moved first [lame-duck-cut]"]);
    // The unit that came with 2.10.2, and one that kills.
    unit(&lab, "ExecStop=\nExecStop=/bin/kill -s SIGINT $MAINPID\nKillSignal=SIGUSR2");
    tells(&plan(&lab, &inventory, &[]), 0, &["without a lame duck (SIGINT)", "[no-lame-duck]"]);
    unit(&lab, "ExecStop=\nKillSignal=SIGKILL");
    tells(&plan(&lab, &with_account, &[]), 3, &["[unit-kills]"]);
    unit(&lab, "");

    lab.command("nats", &["h1", "2.10.26"]);
    tells(&plan(&lab, &inventory, &[]), 3, &["2.15.1 to 2.10.26", "[version-jump]", "[version-change]"]);
    lab.command("nats", &["h1", "2.15.1"]);
    plan(&lab, &inventory, &[]).exits(0);

    begin_restore(&lab);
    until("the restore is seen", || {
        let ended = plan(&lab, &inventory, &[]);
        ended.status.code() == Some(3) && format!("{ended}").contains("is restored or made on")
    });

    // A client makes a lame duck last.
    let stays =
        "exec 3<>/dev/tcp/10.77.0.12/4222; printf 'CONNECT {}\\r\\nPING\\r\\n' >&3; head -n 2 <&3; cat <&3 >/dev/null";
    let mut client = lab.exec("bash", &["-c", stays]).stdout(Stdio::null()).spawn().expect("bash");
    until("the client is there", || lab.root("h2", "curl -s http://10.77.0.12:8222/connz").contains("\"cid\""));
    lab.root("h2", "systemctl stop --no-block nats-server");
    until("the lame duck is seen", || {
        let ended = plan(&lab, &inventory, &["--host", "h1"]);
        ended.status.code() == Some(3) && ended.stdout.contains("[server-lame-duck]")
    });
    let _ = client.kill();
    let _ = client.wait();

    for host in lab.hosts() {
        lab.root(&host, "systemctl stop nats-server");
    }
    let start = "`ssh h1 sudo systemctl start nats-server.service`, `ssh h2 sudo systemctl start nats-server.service`";
    tells(&plan(&lab, &inventory, &[]), 3, &["a cold start: h1, h2, h3 are not running", "[cold-start]", start]);
    let refused = lab.rollgate(&["restart", "-i", &inventory, "--yes"]);
    refused.exits(3).began_nothing().says(&["[cold-start]"]);
    for host in lab.hosts() {
        lab.root(&host, "systemctl start nats-server");
    }
}
