//! `rollgate preflight` where it is meant to stand: in a unit's `ExecStartPre=`, as the service's user, without ssh.

use serde_json::Value;

use crate::harness::{Lab, Options, ROLLGATE, until};

const CONF: &str = "/etc/nats/nats-server.conf";

#[test]
fn a_unit_that_asks_first() {
    let Some(lab) = Lab::up(Options { hosts: 1, ..Options::default() }) else { return };
    let ssh = format!(
        "ssh -F {} h1 'sudo tee /usr/local/bin/rollgate >/dev/null' <{ROLLGATE}",
        lab.path.join("ssh_config").display()
    );
    assert!(lab.exec("sh", &["-c", &ssh]).status().expect("ssh").success());
    lab.put(
        "h1",
        "/etc/systemd/system/nats-server.service.d/preflight.conf",
        &format!("[Service]\nExecStartPre=/usr/local/bin/rollgate preflight --config {CONF}\n"),
    );
    lab.root("h1", "chmod 755 /usr/local/bin/rollgate; systemctl daemon-reload; systemctl restart nats-server");
    lab.all_healthy();

    let refused = |make: &str, line: &str| {
        lab.root("h1", &format!("cp -p {CONF} /root/good; {make}\nsystemctl restart nats-server || true"));
        until(&format!("the journal has {line:?}"), || {
            lab.root("h1", "journalctl -u nats-server -o cat --no-pager -n 50").contains(line)
        });
        lab.root("h1", &format!("cat /root/good >{CONF}; systemctl stop squat-proxy nats-server || true"));
    };
    refused(&format!("echo 'max_connectionz: 9' >>{CONF}"), "unknown field \"max_connectionz\" [config-unknown-field]");
    refused(
        "systemctl stop nats-server; systemd-run -q --unit squat-proxy port-squatter 4222; until ss -ltn | grep -q :4222; do sleep 0.05; done",
        "blocking: the client port 4222 is held by",
    );
    lab.root("h1", "systemctl start nats-server");
    lab.all_healthy();

    // Its answers, and its exit codes.
    let asked = |args: &str| {
        let said = lab.root("h1", &format!("rollgate preflight {args} 2>&1; echo \"exit $?\""));
        let (said, code) =
            said.trim_end().rsplit_once("exit ").map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a code");
        (code, said)
    };
    let other = format!(
        "sed 's/4222/14222/; s/8222/18222/; s/6222/16222/; s|/var/lib/nats/jetstream|/tmp/js|' {CONF} >/tmp/other.conf"
    );
    lab.root("h1", &other);
    assert_eq!(asked("--config /tmp/other.conf"), ("0".to_owned(), String::new()));
    let (code, said) = asked("--config /tmp/nowhere.conf -o json");
    let answer: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(
        (code.as_str(), &answer["diagnosis"]["findings"][0]["code"]),
        ("3", &Value::from("config-missing")),
        "{said}"
    );
    let (code, said) = asked("--config /tmp/other.conf --binary /tmp/nats-server");
    assert_eq!((code.as_str(), said.trim_end()), ("3", "blocking: /tmp/nats-server is missing [binary-missing]"));
    lab.root("h1", "mv /usr/local/bin/nats-server /root/nats-server");
    let (code, said) = asked("--config /tmp/other.conf");
    assert!(code == "2" && said.contains("there is no nats-server in PATH"), "{code}: {said}");
}
