//! A bucket that takes short values only, behind TLS and credentials: what becomes of runs there when things go wrong.

use std::{fs, path::Path, process::Command};

use async_nats::{ConnectOptions, jetstream::kv};
use serde_json::{Value, json};

use super::{Login, State, context, inventory, told};
use crate::{
    accounts::Operator,
    harness::{Lab, WIDE, until},
    process::Running,
};

/// TLS by a CA of its own, and users in operator mode; by a context of the NATS CLI.
fn secured(lab: &Lab, operator: &Operator) -> Option<State> {
    let [ca, ca_key, cert, key] = ["ca.pem", "ca.key", "state.pem", "state.key"].map(|name| lab.file(name));
    let script = format!(
        "set -e; openssl ecparam -genkey -name prime256v1 -noout -out {ca_key}
        openssl req -x509 -new -key {ca_key} -subj /CN=ca -days 30 -out {ca}
        openssl ecparam -genkey -name prime256v1 -noout -out {key}
        openssl req -new -key {key} -subj /CN=state | openssl x509 -req -CA {ca} -CAkey {ca_key} -CAcreateserial \
         -days 30 -out {cert} -extfile <(echo subjectAltName=IP:127.0.0.1)"
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let creds = lab.write("app.creds", operator.creds("app"));
    State::with_login(lab, |port| {
        let (root, text) = (ca.clone(), operator.creds("app").to_owned());
        let url = format!("tls://127.0.0.1:{port}");
        Login {
            conf: format!("tls {{cert_file: \"{cert}\", key_file: \"{key}\"}}\n{}", operator.config),
            inventory: context(lab, "secured", &json!({ "url": url, "creds": creds, "ca": ca })),
            options: Box::new(move || {
                let options = ConnectOptions::with_credentials(&text).expect("credentials");
                options.add_root_certificates(root.clone().into()).require_tls(true)
            }),
        }
    })
}

/// Who may not log in to the bucket's cluster, or does not know it, touches nothing.
fn strangers(lab: &Lab, state: &State, roll: &dyn Fn(&str) -> Running) {
    let (ca, ours) = (lab.file("ca.pem"), lab.file("app.creds"));
    let foreign = lab.write("foreign.creds", Operator::new().creds("app"));
    let url = format!("tls://127.0.0.1:{}", state.port);
    for (name, json, says) in [
        ("stranger", json!({ "url": url, "creds": foreign, "ca": ca }), "did not take the login"),
        ("no-ca", json!({ "url": url, "creds": ours }), "nknownIssuer"),
    ] {
        let wrong = inventory(lab, &format!("{name}.yaml"), &context(lab, name, &json), "rollgate");
        let refused = roll(&wrong).wait(WIDE);
        assert!(!refused.status.success(), "{refused}");
        refused.began_nothing().says(&["bucket rollgate", says]);
    }
}

/// One controller is stopped (SIGSTOP) in the middle of a turn for so long that another closes its run, from a machine that
/// knows nothing of it. When it goes on it is too late: nothing that it wants to do is done, and nothing that the other wrote is
/// written over.
#[test]
fn a_bucket_in_trouble() {
    let Some(lab) = Lab::plain() else { return };
    let operator = Operator::new();
    let Some(mut state) = secured(&lab, &operator) else { return };
    state.start();
    // The least that is taken. The first event, which has the plan with a long command, is longer.
    let config = kv::Config { bucket: "rollgate".into(), max_value_size: 5 << 10, ..kv::Config::default() };
    state.bucket(config);
    let good = inventory(&lab, "good.yaml", &state.login.inventory, "rollgate");
    let run = |machine: &str, args: &[&str]| -> Running { lab.elsewhere(machine, args, None) };
    let text = fs::read_to_string(lab.file("quick.yaml")).expect("a playbook");
    let note = format!("before:\n  - run: {{name: note, command: [\"true\", \"{}\"]}}\n", "x".repeat(6_000));
    let (long, before) = (lab.write("long.yaml", &format!("{text}{note}")), lab.server_ids());
    let roll = ["run", &long, "-i", &good, "--yes"];

    strangers(&lab, &state, &|inventory| run("early", &["run", &long, "-i", inventory, "--yes"]));
    assert_eq!(lab.server_ids(), before);

    // Stopped with a server down: its start is announced, there too.
    let mut first = lab.elsewhere("a", &roll, Some("after-start"));
    let host = first.step("start");
    let pid = first.pid();
    until("the controller stopped", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") T ")
    });
    let known = first.events();
    let id = known[0]["run"].as_str().expect("an id").to_owned();
    assert!(pieces(&state) > 1, "no event was long enough for pieces");

    // Another machine finds it, and closes it when nobody has been heard of for as long as a lease lasts.
    let status = run("b", &["status", "-i", &good]).wait(WIDE);
    assert!(status.stdout.contains(&format!("go on with it: rollgate resume -i {good} {id}")), "{status}");
    let aborted = run("b", &["abort", "-i", &good, &id]).wait(WIDE);
    aborted.exits(0).says(&["whether it lives shows within", "is closed"]);
    assert_eq!(aborted.events[..known.len()], known, "{aborted}");
    let whole = known.len() + 1;
    assert_eq!((aborted.events.len(), &aborted.events[whole - 1]["event"]), (whole, &"aborted".into()), "{aborted}");

    // The first goes on, and its host does not do what it says.
    first.signal("CONT");
    let stale = first.wait(WIDE);
    stale.exits(4).halt("lock-lost");
    stale.says(&["the bucket lacks the end of it", "was written by another runner"]);
    assert_eq!(lab.server_id(&host), None, "{stale}");

    // The two journals of the run tell different stories. Nobody says which is right, but both say how long they are.
    let apart = run("a", &["resume", "-i", &good, &id, "--yes"]).wait(WIDE);
    apart.exits(3).began_nothing().says(&[
        &format!("tell different stories from event {} on", known.len()),
        &format!("({} events here, {whole} there)", stale.events.len()),
    ]);
    assert_eq!(lab.server_id(&host), None, "{apart}");
    assert_eq!(history(&lab, "c", &good, &id)["state"], "aborted");
    run("c", &["resume", "-i", &good, &id, "--yes"]).wait(WIDE).exits(2).says(&["aborted"]);
    run("a", &["abort", "-i", &good, &id]).wait(WIDE).exits(0).says(&["it is kept as it is", "is closed"]);

    goes_away_and_comes_back(&lab, &mut state, &good, &roll, &host);
    state.kill();
    let status = run("e", &["status", "-i", &good]).wait(WIDE);
    assert!(status.stdout.contains("there may be more runs: bucket rollgate"), "{status}");
}

/// How many values are pieces of events.
fn pieces(state: &State) -> usize {
    let keys = state.with(async |js| {
        let store = js.get_key_value("rollgate").await.expect("the bucket");
        let info = store.stream.info_with_subjects("$KV.rollgate.piece.>").await.expect("its keys");
        futures_util::TryStreamExt::try_collect::<Vec<_>>(info).await.expect("its keys").len()
    });
    keys.expect("a connection")
}

/// A run's row, as a machine that has no files of it tells.
fn history(lab: &Lab, machine: &str, inventory: &str, id: &str) -> Value {
    let history = lab.elsewhere(machine, &["history", "-i", inventory, "-o", "json"], None).wait(WIDE);
    let rows: Value = serde_json::from_str(&history.exits(0).stdout).expect("JSON");
    let row = rows["runs"].as_array().expect("runs").iter().find(|row| row["run"] == id);
    row.unwrap_or_else(|| panic!("no {id}: {history}")).clone()
}

/// For less long than a journal waits for it: the roll goes on as if nothing had been, and the bucket has all of it.
fn goes_away_and_comes_back(lab: &Lab, state: &mut State, inventory: &str, roll: &[&str], down: &str) {
    fs::write(lab.file("hold"), "").expect("a file");
    let mut rolling = lab.elsewhere("e", roll, None);
    // What the closed run left down goes first.
    assert_eq!(rolling.step("start"), down);
    until("the start under way", || Path::new(&lab.file("starting")).exists());
    state.kill();
    fs::remove_file(lab.file("hold")).expect("the file");
    // It is on this machine's disk, and waits for the bucket.
    rolling.event("step-finished", |event| event["step"] == "start");
    state.start();
    let ended = rolling.wait(WIDE);
    ended.exits(0).journal_is_whole();
    assert_eq!(ended.rolled().len(), 3, "{ended}");
    assert_eq!(told(lab, "d", inventory, ended.run()).len(), ended.events.len(), "{ended}");
}
