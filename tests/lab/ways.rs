//! Ways to a server's ports: monitoring through ssh, by curl on the host, and a client port that demands TLS.

use crate::{
    harness::{Lab, Options},
    process::strings,
};

/// Monitoring is bound to localhost, as nats-server's documentation recommends.
#[test]
fn monitoring_through_ssh() {
    let Some(lab) = Lab::up(Options { monitor_localhost: true, ..Options::default() }) else { return };
    let quick = lab.file("quick.yaml");
    for via in ["ssh", "auto"] {
        let inventory = lab.inventory_with(|text| text.replace("via: ssh", &format!("via: {via}")));
        let check = lab.rollgate(&["check", "-i", &inventory]);
        check.exits(0);
        assert_eq!(check.stdout.matches("http://127.0.0.1:8222/ via ssh").count(), 3, "{check}");
        let before = lab.server_ids();
        let ended = lab.rollgate(&["run", &quick, "-i", &inventory, "--yes"]);
        ended.exits(0).journal_is_whole();
        assert!(before.iter().zip(lab.server_ids()).all(|(old, new)| *old != new), "{ended}");
    }
    // Where the inventory gives no url at all, `auto` finds the way.
    let inventory = lab.inventory_with(|text| text.replace("url: http://127.0.0.1:8222, via: ssh", "via: auto"));
    lab.rollgate(&["plan", "-i", &inventory]).exits(0);
}

/// sshd that forbids forwarding leaves curl on the host.
#[test]
fn monitoring_without_forwarding() {
    let Some(lab) = Lab::up(Options { monitor_localhost: true, ..Options::default() }) else { return };
    for host in lab.hosts() {
        lab.put(&host, "/etc/ssh/sshd_config.d/no-forwarding.conf", "AllowTcpForwarding no\n");
        lab.root(&host, "systemctl reload ssh 2>/dev/null || systemctl reload sshd");
    }
    let (inventory, short) = (lab.inventory(), lab.file("short.yaml"));
    let status = lab.rollgate(&["status", "-i", &inventory]);
    status.exits(0);
    assert!(status.stdout.contains("3 of 3 servers are healthy"), "{status}");
    let check = lab.rollgate(&["check", "-i", &inventory]);
    check.exits(3);
    assert_eq!(check.stdout.matches("via curl on the host").count(), 3, "{check}");
    assert_eq!(check.stdout.matches("AllowTcpForwarding").count(), 3, "{check}");
    // A gate that could not open is known before anything is stopped for it.
    let before = lab.server_ids();
    let ended = lab.rollgate(&["run", &short, "-i", &inventory, "--yes"]);
    ended.exits(3).began_nothing().says(&["[client-port]", "AllowTcpForwarding", "nothing was touched"]);
    assert_eq!(lab.server_ids(), before, "{ended}");
    // The client port has no such way, but it need not go through ssh.
    let inventory = lab.inventory_with(|text| {
        text.replacen("defaults:\n", "defaults:\n  client: {url: \"nats://{address}:4222\"}\n", 1)
    });
    let before = lab.server_ids();
    let ended = lab.rollgate(&["run", &lab.file("quick.yaml"), "-i", &inventory, "--yes"]);
    ended.exits(0).journal_is_whole();
    assert!(before.iter().zip(lab.server_ids()).all(|(old, new)| *old != new), "{ended}");
}

/// The gate speaks TLS to a client port that demands it, and only to a certificate that the inventory trusts.
#[test]
fn a_client_port_with_tls() {
    let Some(lab) = Lab::up(Options { tls: true, ..Options::default() }) else { return };
    let ca = |ca: &str| {
        let line = format!("defaults:\n  client: {{ca: {ca}}}\n");
        lab.inventory_with(|text| text.replacen("defaults:\n", &line, 1))
    };
    let inventory = ca(&lab.path.join("ca.pem").display().to_string());
    lab.rollgate(&["run", &lab.file("quick.yaml"), "-i", &inventory, "--yes"]).exits(0).journal_is_whole();

    let other = lab.file("other.pem");
    let made = lab
        .exec("openssl", &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", "/CN=other", "-days", "2", "-keyout", "/dev/null", "-out", &other])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let before = lab.server_ids();
    let short = lab.file("short.yaml");
    let ended = lab.rollgate(&["run", &short, "-i", &ca(&other), "--yes"]);
    ended.exits(3).began_nothing().says(&["[client-port]", "TLS", "`client: {ca: FILE}`", "nothing was touched"]);
    assert_eq!(lab.server_ids(), before, "{ended}");

    // A certificate that nobody trusts and that only the next start reads: it shows in the gate.
    let inventory = ca(&lab.path.join("ca.pem").display().to_string());
    let order = lab.plan(&inventory);
    let renew = "cd /etc/nats/tls && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x \
        -days 2 -keyout server.key -out server.pem 2>/dev/null && chown nats:nats server.key";
    lab.root(&order[0], renew);
    let ended = lab.rollgate(&["run", &short, "-i", &inventory, "--yes"]);
    ended.exits(4).journal_is_whole();
    let halt = ended.halt("not-ready");
    assert_eq!(strings(&halt["untouched"]), order[1..], "{ended}");
    let waiting = halt["waiting"].as_array().expect("what it waited for");
    assert!(waiting.iter().any(|one| one["condition"] == "client-port"), "{ended}");
    ended.says(&["client-port", "TLS"]);
    for (place, host) in lab.hosts().iter().enumerate().filter(|(_, host)| **host != order[0]) {
        assert_eq!(lab.server_id(host), before[place], "{host}: {ended}");
    }
}
