//! `--only-if changed` on real hosts, with a version that tells the digest of its configuration and one that does not.

use std::time::Instant;

use serde_json::Value;

use crate::harness::{Lab, Options, WIDE, until};

/// What the plan says of each host that would get a turn, and who would not.
fn plan(lab: &Lab) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    // A majority that is missed for a moment forbids a plan, and is none of this.
    let late = Instant::now() + WIDE;
    let json: Value = loop {
        let ended = lab.plainly(&["plan", "-i", &lab.inventory(), "--only-if", "changed", "-o", "json"]);
        let json = serde_json::from_str(&ended.stdout).expect("a plan in JSON");
        if ended.status.success() {
            break json;
        }
        assert!(ended.status.code() == Some(3) && Instant::now() < late, "{ended}");
    };
    let plan = &json["plans"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let differences = |turn: &Value| all(&turn["differences"]).iter().map(|one| text(&one["difference"])).collect();
    let mut turns: Vec<_> = all(&plan["turns"]).iter().map(|turn| (text(&turn["host"]), differences(turn))).collect();
    turns.sort();
    (turns, all(&plan["unchanged"]).iter().map(text).collect())
}

fn turns(expected: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
    expected.iter().map(|(host, difference)| ((*host).to_owned(), vec![(*difference).to_owned()])).collect()
}

fn only_what_changed_is_restarted(nats: &'static str, digest: bool) {
    let Some(lab) = Lab::up(Options { nats, ..Options::default() }) else { return };
    assert_eq!(plan(&lab), (vec![], lab.hosts()));
    let before = lab.server_ids();
    let only = ["run", &lab.file("quick.yaml"), "-i", &lab.inventory(), "--yes", "--only-if", "changed"];
    let ended = lab.plainly(&only);
    ended.exits(0).began_nothing().says(&["nothing to do", "unchanged, and left alone: h1, h2, h3"]);

    // A setting in one, another program in one; in one a setting that it was told to reload, and a comment.
    let conf = "/etc/nats/nats-server.conf";
    lab.root("h1", &format!("echo 'write_deadline: \"9s\"' >>{conf}"));
    lab.root("h2", "cp -L /usr/local/bin/nats-server /usr/local/bin/new && echo >>/usr/local/bin/new && mv /usr/local/bin/new /usr/local/bin/nats-server");
    lab.root("h3", &format!("echo 'ping_max: 5' >>{conf}; systemctl kill -s HUP nats-server"));
    let how = if digest { "configuration" } else { "file" };
    until("h3 has reloaded", || plan(&lab) == (turns(&[("h1", how), ("h2", "binary")]), vec!["h3".to_owned()]));
    lab.root("h3", &format!("echo '# nothing' >>{conf}"));
    let with_comment = if digest {
        turns(&[("h1", how), ("h2", "binary")])
    } else {
        turns(&[("h1", how), ("h2", "binary"), ("h3", "file")])
    };
    assert_eq!(plan(&lab).0, with_comment);
    lab.root("h3", "systemctl kill -s HUP nats-server");
    until("h3 has reloaded", || plan(&lab).1 == ["h3"]);

    let ended = lab.plainly(&["plan", "-i", &lab.inventory(), "--only-if", "changed"]);
    ended.exits(0);
    for text in [
        "at h1: configuration changed: ",
        "at h2: binary replaced: another file, both say ",
        "unchanged, and left alone: h3",
    ] {
        assert!(ended.stdout.contains(text), "{text}: {ended}");
    }
    let ended = lab.plainly(&only);
    let mut rolled = ended.exits(0).journal_is_whole().rolled();
    rolled.sort_unstable();
    assert_eq!(rolled, ["h1", "h2"], "{ended}");
    let after = lab.server_ids();
    let same: Vec<bool> = before.iter().zip(&after).map(|(old, new)| old == new).collect();
    assert_eq!(same, [false, false, true], "{ended}");
    assert_eq!(plan(&lab), (vec![], lab.hosts()));
}

#[test]
fn only_what_changed_is_restarted_by_its_digest() {
    only_what_changed_is_restarted("2.15.1", true);
}

#[test]
fn only_what_changed_is_restarted_by_its_time() {
    only_what_changed_is_restarted("2.10.26", false);
}
