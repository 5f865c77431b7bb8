//! The certificate of every TLS listener is looked at by handshake, and connections to other clusters are counted.

use serde_json::Value;

use crate::{
    drain::Attached,
    harness::{Lab, Options},
    process::{Ended, strings},
};

/// TLS on every listener but monitoring, routes among them; leafnodes have a certificate file of their own. The other cluster is a server on
/// the controller's side.
const LISTENERS: &str = "
leafnodes { listen: 0.0.0.0:7422, tls { cert_file: /etc/nats/tls/leaf.pem, key_file: /etc/nats/tls/server.key } }
websocket { listen: 0.0.0.0:8443, tls { cert_file: /etc/nats/tls/server.pem, key_file: /etc/nats/tls/server.key } }
mqtt { listen: 0.0.0.0:8883, tls { cert_file: /etc/nats/tls/server.pem, key_file: /etc/nats/tls/server.key } }
gateway {
  name: lab, listen: 0.0.0.0:7222
  tls { cert_file: /etc/nats/tls/server.pem, key_file: /etc/nats/tls/server.key, ca_file: /etc/nats/tls/ca.pem }
  gateways: [ { name: edge, urls: [ \"nats://10.77.0.1:7333\" ] } ]
}
";

const ROUTES: &str =
    "tls { cert_file: /etc/nats/tls/server.pem, key_file: /etc/nats/tls/server.key, ca_file: /etc/nats/tls/ca.pem }";

/// A certificate of the lab's CA, by its own key in NAME.key; `subject alternative name`, then `-days` or dates.
const SIGN: &str = r#"
set -e
: >index
printf '[ca]\ndefault_ca=c\n[c]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=%s\n' "$3" >"$1.cnf"
openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
openssl ca -batch -notext -config "$1.cnf" -extensions x -startdate 20200101000000Z -enddate "$4" -cert "$2/ca.pem" -keyfile "$2/ca.key" -in "$1.csr" -out "$1.pem"
"#;

fn sign(lab: &Lab, name: &str, key: &str, san: &str, until: &str) -> String {
    let directory = lab.state();
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join(format!("{name}.key")), key).expect("a key");
    let run = lab.path.display().to_string();
    let mut command = lab.exec("sh", &["-c", SIGN, "sh", name, &run, san, until]);
    let output = command.current_dir(&directory).output().expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(directory.join(format!("{name}.pem"))).expect("a certificate")
}

fn shown(ended: &Ended) -> Vec<(String, bool)> {
    let shown = &ended.of("turn-started")[0]["baseline"]["shown"][1];
    let one = |one: &Value| {
        let certificate = &one["certificate"]["Ok"];
        (one["listener"]["kind"].as_str().expect("a kind").to_owned(), certificate["serial"].is_string())
    };
    shown.as_array().unwrap_or_else(|| panic!("nothing was shown\n{ended}")).iter().map(one).collect()
}

fn every_listener(nats: &'static str) {
    let Some(lab) = Lab::up(Options { nats, tls: true, ..Options::default() }) else { return };
    let key = lab.root("h1", "cat /etc/nats/tls/server.key");
    let edge = sign(&lab, "edge", &key, "IP:10.77.0.1", "20991231000000Z");
    let at = |name: &str| lab.state().join(name).display().to_string();
    let conf = format!(
        "listen: 127.0.0.1:4333\nserver_name: edge\ngateway {{ name: edge, listen: \"10.77.0.1:7333\"\n tls {{ cert_file: \"{}\", \
         key_file: \"{}\", ca_file: \"{}\" }} }}\n",
        at("edge.pem"),
        at("edge.key"),
        lab.path.join("ca.pem").display()
    );
    assert!(edge.contains("BEGIN CERTIFICATE"));
    let server = lab.path.join(format!("../../bin/nats-server-{nats}"));
    let conf = lab.write("edge.conf", &conf);
    let _edge = Attached::of(lab.exec(server, &["-c", &conf]), "Server is ready");
    for host in lab.hosts() {
        let conf =
            lab.root(&host, "cp /etc/nats/tls/server.pem /etc/nats/tls/leaf.pem; cat /etc/nats/nats-server.conf");
        let conf = conf.replace("cluster {", &format!("cluster {{\n  {ROUTES}"));
        lab.put(&host, "/etc/nats/nats-server.conf", &format!("{conf}\n{LISTENERS}"));
        lab.root(&host, "systemctl restart nats-server");
    }
    lab.all_healthy();

    let ca = lab.path.join("ca.pem").display().to_string();
    let line = format!("defaults:\n  client: {{ca: {ca}}}\n");
    let inventory = lab.inventory_with(|text| text.replacen("defaults:\n", &line, 1));
    let roll = |playbook: &str, more: &[&str]| {
        let playbook = lab.file(playbook);
        lab.rollgate(&[&["run", &playbook, "-i", &inventory, "--yes", "--host", "h1"], more].concat())
    };
    let ended = roll("quick.yaml", &[]);
    ended.exits(0).journal_is_whole();
    let all = ["client", "leafnode", "gateway", "websocket", "mqtt"].map(|kind| (kind.to_owned(), true));
    assert_eq!(shown(&ended), all, "{ended}");
    // Each server has one to the other cluster, and that one has one back.
    let gateways = ended.of("turn-started")[0]["baseline"]["attachments"]["gateways"].as_u64();
    assert_eq!(gateways, Some(4), "{ended}");

    crate::reload::certificates_and_settings(&lab, &inventory);

    // A certificate that is expired when the server starts again. It could be known before …
    let key = lab.root("h1", "cat /etc/nats/tls/server.key");
    let expired = sign(&lab, "leaf", &key, "IP:10.77.0.11", "20240101000000Z");
    lab.put("h1", "/etc/nats/tls/leaf.pem", &expired);
    roll("short.yaml", &[]).exits(3).began_nothing().says(&["/etc/nats/tls/leaf.pem", "expired"]);
    // … and healthz does not tell it after.
    let ended = roll("short.yaml", &["--allow", "preflight:tls-expired"]);
    ended.exits(4).journal_is_whole().says(&["leafnode port 7422: the certificate of CN=leaf expired at 2024-01-01"]);
    let halt = ended.halt("not-ready");
    assert_eq!(halt["waiting"][0]["condition"], "certificates", "{ended}");
    assert_eq!(halt["waiting"].as_array().map(Vec::len), Some(1), "{ended}");
    assert_eq!(strings(&halt["done"]).len(), 0, "{ended}");
    // One that stood before is not waited for.
    let ended = roll("quick.yaml", &["--allow", "preflight:tls-expired"]);
    ended.exits(0).says(&["faults of its certificates that stood before, not waited for: 1"]);

    // A server that waits for the handshake before it says a word.
    let first = "sed -i '/^tls {/a\\  handshake_first: true' /etc/nats/nats-server.conf; \
                 cp /etc/nats/tls/server.pem /etc/nats/tls/leaf.pem; systemctl restart nats-server";
    lab.root("h1", first);
    lab.all_healthy();
    let ended = roll("quick.yaml", &[]);
    ended.exits(0).journal_is_whole();
    assert_eq!(shown(&ended), all, "{ended}");
}

#[test]
fn every_listener_2_10() {
    every_listener("2.10.26");
}

#[test]
fn every_listener_2_15() {
    every_listener("2.15.1");
}
