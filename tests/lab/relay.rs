//! Client and monitoring ports that only the host itself can reach: all of it goes over ssh, the system account too.

use crate::{
    harness::{Lab, Options},
    jetstream::drained,
    logins::Logins,
};

/// A quick turn with a drain.
pub const DRAIN: &str = "name: drain
turn:
  - drain
  - stop
  - start
  - gate: {looks: 2, deadline: 3m}
  - settle: {for: 500ms, interval: 100ms}
";

/// From the controller nothing but ssh gets through; servers reach each other.
fn only_ssh(lab: &Lab) {
    let rules = "table inet only_ssh { chain input { type filter hook input priority 0; \
                 ip saddr 10.77.0.1 tcp dport { 4222, 8222 } drop\n }\n}\n";
    for host in lab.hosts() {
        lab.put(&host, "/etc/only-ssh.nft", rules);
        lab.root(&host, "nft -f /etc/only-ssh.nft");
    }
}

/// The lab's inventory, which leaves the way open, with its system account.
fn inventory(lab: &Lab, nats: &str) -> String {
    lab.inventory_with(|text| {
        let kept: Vec<&str> = text.lines().filter(|line| !line.contains("monitoring:")).collect();
        kept.join("\n").replacen("defaults:\n", &format!("defaults:\n  nats: {{{nats}}}\n"), 1)
    })
}

#[test]
fn leaders_are_moved_over_ssh_where_nothing_else_leads_to_the_servers() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    only_ssh(&lab);
    let password = lab.write("sys.password", "sys\n");
    let inventory = inventory(&lab, &format!("user: sys, password_file: {password}"));
    let playbook = lab.write("drain.yaml", DRAIN);
    let ended = lab.rollgate(&["run", &playbook, "-i", &inventory, "--yes"]);
    ended.exits(0).journal_is_whole();
    let notes = drained(&ended);
    // The meta leader is somewhere, and is asked to move, over a relay that outlives the restart of the server behind it.
    assert!(notes.len() == 3 && notes.iter().any(|note| note.contains("1 leader moved")), "{notes:?}\n{ended}");
    assert!(notes.iter().all(|note| !note.contains("left to")), "{notes:?}\n{ended}");
}

#[test]
fn certificates_are_those_of_the_hosts_although_the_relay_is_local() {
    let Some(lab) = Lab::up(Options { hosts: 1, tls: true, ..Options::default() }) else { return };
    only_ssh(&lab);
    let password = lab.write("sys.password", "sys\n");
    let ca = lab.path.join("ca.pem").display().to_string();
    let nats = format!("user: sys, password_file: {password}, tls: {{ca: {ca}}}");
    let text = std::fs::read_to_string(inventory(&lab, &nats)).expect("the inventory");
    let client =
        |url: &str| text.replacen("defaults:\n", &format!("defaults:\n  client: {{url: \"{url}\", ca: {ca}}}\n"), 1);
    let mut logins = Logins::of(&lab);
    logins
        .inventory("by-default", &text, "ok")
        .inventory("by-url", &client("tls://10.77.0.11:4222"), "ok")
        // The same port by an address that the certificate does not cover.
        .inventory("other-name", &client("tls://127.0.0.2:4222"), "not valid for name")
        .inventory("no-ca", &text.replacen(&format!(", tls: {{ca: {ca}}}"), "", 1), "UnknownIssuer");
    logins.check();
}
