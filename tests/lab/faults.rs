//! Servers that don't come back: the roll halts there, says why, and leaves the rest alone.

use crate::{
    harness::{Lab, Options},
    process::{Ended, seconds, strings},
};

/// A roll that must halt at the second server of the plan.
struct Halted {
    lab: Lab,
    order: Vec<String>,
    before: Vec<Option<String>>,
    ended: Ended,
}

impl Halted {
    /// Breaks the second server of the plan with one of the lab's faults, and rolls.
    fn by(fault: &str, code: &str, playbook: &str) -> Option<Self> {
        Self::when(code, playbook, |lab, host| {
            lab.command("fault", &[host, fault]);
        })
    }

    /// Breaks the second server of the plan, and rolls. It must halt with `code` for its root cause.
    fn when(code: &str, playbook: &str, breaks: impl FnOnce(&Lab, &str)) -> Option<Self> {
        let lab = Lab::up(Options::default())?;
        let order = lab.plan(&lab.inventory());
        breaks(&lab, &order[1]);
        let before = lab.server_ids();
        // Most of these faults are seen before the restart, which would then be refused.
        let allow = format!("preflight:{code}");
        let roll = ["run", &lab.file(playbook), "-i", &lab.inventory(), "--yes", "--allow", &allow];
        let ended = lab.rollgate(&roll);
        let halted = Self { lab, order, before, ended };
        halted.second_of_three();
        assert_eq!(halted.root(), code, "{}", halted.ended);
        Some(halted)
    }

    /// What every halt at the second of three servers has in common.
    fn second_of_three(&self) {
        let Self { lab, order, before, ended } = self;
        ended.exits(4).journal_is_whole();
        let halt = &ended.terminal("halted")["halt"];
        assert_eq!(halt["host"], order[1], "{ended}");
        assert_eq!(strings(&halt["done"]), [&order[0]], "{ended}");
        assert_eq!(strings(&halt["untouched"]), [&order[2]], "{ended}");
        assert_eq!(strings(&halt["serving"]["not_healthy"]), [&order[1]], "{ended}");
        assert_eq!(halt["serving"]["meta_quorum"], true, "{ended}");
        ended.says(&[
            &format!("halted: {}", order[1]),
            "2 of 3 servers are healthy",
            &format!("go on with: rollgate resume -i {} {}", lab.inventory(), ended.run()),
        ]);
        assert_eq!(ended.section("done"), Some(order[0].as_str()), "{ended}");
        assert_eq!(ended.section("untouched"), Some(order[2].as_str()), "{ended}");
        // The third: the very same process, which nobody told to stop.
        let third = lab.hosts().iter().position(|host| *host == order[2]).expect("a host of the lab");
        assert_eq!(lab.server_id(&order[2]), before[third], "{ended}");
        assert_eq!(lab.stops_and_starts(&order[2]), (0, 1), "{ended}");
        // The second: one stop and one start are ours. What follows is systemd's, after RestartSec.
        let (stops, starts) = lab.stops_and_starts(&order[1]);
        assert!(stops == 1 && starts >= 2, "{stops} stops, {starts} starts: {ended}");
    }

    /// Seconds from the start's announcement to the halt.
    fn seconds_to_halt(&self) -> f64 {
        let mut steps = self.ended.of("step-started").into_iter();
        let start = steps.find(|event| event["host"] == self.order[1] && event["step"] == "start");
        seconds(self.ended.terminal("halted")) - seconds(start.expect("it was started"))
    }

    /// Asserts that the halt came soon, found the process gone, and shows what the server itself said in the end.
    fn soon_with_the_last_words(&self) -> String {
        let cause = self.ended.terminal("halted")["halt"]["cause"].as_str().unwrap_or_default();
        assert!(["crash-loop", "process-gone"].contains(&cause), "{cause}: {}", self.ended);
        assert!(self.seconds_to_halt() < 10.0, "{}", self.ended);
        let log = self.lab.root(&self.order[1], "journalctl -u nats-server -o cat --no-pager _COMM=nats-server");
        let words = log.lines().rfind(|line| line.starts_with("nats-server: ")).unwrap_or_default();
        assert!(!words.is_empty(), "the host's journal has no such line:\n{log}");
        self.ended.says(&[words]);
        words.to_owned()
    }

    /// The code of the root cause.
    fn root(&self) -> &str {
        self.ended.terminal("halted")["halt"]["diagnosis"]["findings"][0]["code"].as_str().unwrap_or_default()
    }
}

#[test]
fn an_unknown_field_halts_within_ten_seconds() {
    let breaks = |lab: &Lab, host: &str| {
        lab.root(host, "echo 'no_such_field: 1' >>/etc/nats/nats-server.conf");
    };
    let Some(halted) = Halted::when("config-unknown-field", "quick.yaml", breaks) else { return };
    let words = halted.soon_with_the_last_words();
    assert!(words.contains("/etc/nats/nats-server.conf:") && words.contains("no_such_field"), "{words}");
}

#[test]
fn broken_configuration_halts_within_ten_seconds() {
    let Some(halted) = Halted::by("bad-config", "config-syntax", "quick.yaml") else { return };
    halted.soon_with_the_last_words();
}

/// The same fault, without consent: it is seen beforehand.
#[test]
fn a_restart_that_is_bound_to_fail_is_refused() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let before = lab.server_ids();
    lab.command("fault", &["h2", "bad-config"]);
    let ended = lab.rollgate(&["restart", "-i", &lab.inventory(), "--yes"]);
    ended.exits(3);
    ended.says(&["h2 could not start again", "[config-syntax]", "nothing was touched"]);
    // Consent to one finding lets no other pass.
    let other = ["restart", "-i", &lab.inventory(), "--yes", "--allow", "preflight:store-not-writable"];
    lab.rollgate(&other).exits(3);
    assert_eq!(lab.server_ids(), before, "{ended}");
    let check = lab.rollgate(&["check", "-i", &lab.inventory()]);
    check.exits(3);
    assert_eq!(check.stdout.matches("[config-syntax]").count(), 1, "{check}");
    let ended = lab.rollgate(&["diagnose", "-i", &lab.inventory(), "h2", "-o", "json"]);
    ended.exits(3);
    lab.command("mend", &["h2", "bad-config"]);
    lab.rollgate(&["diagnose", "-i", &lab.inventory()]).exits(0);
}

#[test]
fn a_taken_client_port_halts() {
    let Some(halted) = Halted::by("port-conflict", "port-taken", "quick.yaml") else { return };
    let cause = halted.ended.terminal("halted")["halt"]["cause"].as_str().unwrap_or_default();
    assert!(["crash-loop", "process-gone"].contains(&cause), "{cause}: {}", halted.ended);
    assert!(halted.seconds_to_halt() < 10.0, "{}", halted.ended);
    halted.ended.says(&["address already in use"]);
}

#[test]
fn a_store_of_another_owner_halts() {
    let Some(halted) = Halted::by("store-owner", "store-not-writable", "short.yaml") else { return };
    halted.ended.says(&["storage directory is not writable"]);
}

/// It runs, it listens, and healthz never turns 200.
#[test]
fn a_wrong_cluster_name_is_never_ready() {
    let Some(halted) = Halted::by("wrong-cluster", "cluster-name-mismatch", "short.yaml") else { return };
    halted.ended.halt("doomed");
    assert!(halted.seconds_to_halt() < 30.0, "{}", halted.ended);
    halted.ended.says(&["503: JetStream is still recovering meta layer", "can't become ready"]);
    // Until it is mended nothing goes on, and nothing is restarted a second time.
    let id = halted.ended.run().to_owned();
    let line = ["resume", "-i", &halted.lab.inventory(), &id, "--yes"];
    let changes = halted.lab.changes(&halted.order[1]);
    let again = halted.lab.rollgate(&line);
    again.exits(4);
    assert_eq!(again.of("settled")[0]["standing"], "back", "{again}");
    assert_eq!(halted.lab.changes(&halted.order[1]), changes, "{again}");
    // Mended by hand, it passes the gate, and the rest goes on with the very command that the halt gives.
    halted.lab.command("mend", &[&halted.order[1], "wrong-cluster"]);
    halted.lab.root(&halted.order[1], "systemctl restart nats-server");
    halted.lab.all_healthy();
    let command = halted.ended.stderr.lines().find_map(|line| line.split_once("go on with: rollgate ")).expect("it");
    let mut args: Vec<&str> = command.1.split(' ').collect();
    args.push("--yes");
    let ended = halted.lab.rollgate(&args);
    ended.exits(0);
    assert_eq!(ended.rolled(), [&halted.order[1], &halted.order[2]], "{ended}");
    assert_eq!(halted.lab.changes(&halted.order[1]), changes, "{ended}");
}
