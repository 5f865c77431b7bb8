//! A bucket that takes short values only, behind TLS and credentials: what becomes of runs there when things go wrong.

use std::{fs, path::Path, process::Command};

use async_nats::{ConnectOptions, jetstream::kv};
use rollgate::{
    core::event::{Envelope, Event},
    journal::{encode, read},
};

use super::{Login, State, inventory};
use crate::{
    accounts::Operator,
    harness::{Lab, WIDE, until},
    process::Running,
};

/// TLS by a CA of its own, and users in operator mode.
fn secured(lab: &Lab, operator: &Operator) -> Option<State> {
    let files = ["ca.pem", "ca.key", "state.pem", "state.key"].map(|name| lab.file(name));
    let [ca, ca_key, cert, key] = &files;
    let script = format!(
        "openssl ecparam -genkey -name prime256v1 -noout -out {ca_key} && \
         openssl req -x509 -new -key {ca_key} -subj /CN=ca -days 30 -out {ca} && \
         openssl ecparam -genkey -name prime256v1 -noout | openssl pkcs8 -topk8 -nocrypt -out {key} && \
         openssl req -new -key {key} -subj /CN=state | openssl x509 -req -CA {ca} -CAkey {ca_key} -CAcreateserial \
         -days 30 -out {cert} -extfile <(echo subjectAltName=IP:127.0.0.1)"
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let creds = lab.write("app.creds", operator.creds("app"));
    State::with_login(lab, |port| {
        let (root, text) = (ca.clone(), operator.creds("app").to_owned());
        Login {
            conf: format!("tls {{cert_file: \"{cert}\", key_file: \"{key}\"}}\n{}", operator.config),
            inventory: format!("servers: [\"tls://127.0.0.1:{port}\"], creds: {creds}, tls: {{ca: {ca}}}"),
            options: Box::new(move || {
                let options = ConnectOptions::with_credentials(&text).expect("credentials");
                options.add_root_certificates(root.clone().into()).require_tls(true)
            }),
        }
    })
}

/// What other than that it was begun is not there is told, and nothing that somebody else wrote is written over.
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
    let (quick, before) = (lab.write("long.yaml", &format!("{text}{note}")), lab.server_ids());
    let roll = ["run", &quick, "-i", &good, "--yes"];

    // Neither without the right user nor without the right CA.
    let foreign = lab.write("foreign.creds", Operator::new().creds("app"));
    let other_user = state.login.inventory.replace(&lab.file("app.creds"), &foreign);
    let no_ca = state.login.inventory.split(", tls:").next().expect("the rest").to_owned();
    for (name, login, says) in [("user", &other_user, "did not take the login"), ("ca", &no_ca, "nknownIssuer")] {
        let wrong = inventory(&lab, &format!("{name}.yaml"), login, "rollgate");
        let refused = run("early", &["run", &quick, "-i", &wrong, "--yes"]).wait(WIDE);
        assert!(!refused.status.success(), "{refused}");
        refused.began_nothing().says(&["bucket rollgate", says]);
    }
    assert_eq!(lab.server_ids(), before);

    // One dies with a server down.
    fs::write(lab.file("hold"), "").expect("a file");
    let mut first = run("a", &roll);
    first.step("start");
    until("the start under way", || Path::new(&lab.file("starting")).exists());
    let id = first.events()[0]["run"].as_str().expect("an id").to_owned();
    drop(first.kill());
    fs::remove_file(lab.file("hold")).expect("the file");
    let keys = state.with(async |js| {
        let store = js.get_key_value("rollgate").await.expect("the bucket");
        let info = store.stream.info_with_subjects("$KV.rollgate.piece.>").await.expect("its keys");
        futures_util::TryStreamExt::try_collect::<Vec<_>>(info).await.expect("its keys").len()
    });
    assert!(keys.expect("a connection") > 1, "no event was long enough for pieces");

    // Its own journal goes another way than the one in the bucket: nobody says which is right, but both say how long.
    let own = lab.work.path().join("a/rollgate/runs").join(&id);
    let path = own.join("journal.ndjson");
    let mut events = read(&path).expect("a journal").events;
    let last = events.pop().expect("an event");
    let paused = |seq: u64| Envelope { seq, event: Event::Paused { for_ms: 1 }, ..last.clone() };
    let (from, there) = (events.len(), events.len() + 1);
    events.extend([paused(from as u64), paused(from as u64 + 1)]);
    let lines: Vec<Vec<u8>> = events.iter().map(|event| encode(event).expect("a line")).collect();
    fs::write(&path, lines.concat()).expect("the journal");
    let apart = run("a", &["resume", "-i", &good, &id, "--yes"]).wait(WIDE);
    apart.exits(3).says(&[
        &format!("tell different stories from event {from} on"),
        &format!("{} events here, {there} there", there + 1),
    ]);
    assert_eq!(read(&path).expect("a journal").events.len(), there + 1, "{apart}");

    // A machine that knows nothing of it closes it, and reads the event in pieces for that.
    let status = run("b", &["status", "-i", &good]).wait(WIDE);
    assert!(status.stdout.contains(&format!("go on with it: rollgate resume -i {good} {id}")), "{status}");
    let aborted = run("b", &["abort", "-i", &good, &id]).wait(WIDE);
    aborted.exits(0).says(&["is closed"]);
    let known = read(&lab.work.path().join("b/rollgate/runs").join(&id).join("journal.ndjson")).expect("a journal");
    assert_eq!(known.events.len(), there + 1, "{aborted}");
    assert!(matches!(known.events[there].event, Event::Aborted { .. }), "{aborted}");
    let history = run("c", &["history", "-i", &good, "-o", "json"]).wait(WIDE);
    assert!(history.exits(0).stdout.contains("\"aborted\""), "{history}");
    run("c", &["resume", "-i", &good, &id, "--yes"]).wait(WIDE).exits(2).says(&["aborted"]);
    lab.all_healthy();

    goes_away_and_comes_back(&lab, &mut state, &good, &roll);
    state.kill();
    let status = run("e", &["status", "-i", &good]).wait(WIDE);
    assert!(status.stdout.contains("there may be more runs: bucket rollgate"), "{status}");
}

/// For less long than a journal waits for it: the roll goes on as if nothing had been.
fn goes_away_and_comes_back(lab: &Lab, state: &mut State, inventory: &str, roll: &[&str]) {
    fs::write(lab.file("hold"), "").expect("a file");
    let mut rolling = lab.elsewhere("e", roll, None);
    let host = rolling.step("start");
    state.kill();
    fs::remove_file(lab.file("hold")).expect("the file");
    // It is on this machine's disk, and waits for the bucket.
    rolling.event("step-finished", |event| event["step"] == "start" && event["host"] == host.as_str());
    state.start();
    let ended = rolling.wait(WIDE);
    assert_eq!(ended.exits(0).rolled().len(), 3, "{ended}");
    let show = lab.elsewhere("d", &["show", "-i", inventory, ended.run(), "-o", "json"], None).wait(WIDE);
    let told: serde_json::Value = serde_json::from_str(&show.exits(0).stdout).expect("JSON");
    assert_eq!(told["events"].as_array().map(Vec::len), Some(ended.events.len()), "{show}\n{ended}");
}
