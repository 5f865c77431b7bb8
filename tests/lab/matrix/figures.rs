//! Figures, printed by `make bench`: how soon a cause is told, and what a look at fifty hosts costs.

use std::{
    fmt::Write,
    fs,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use super::{
    fault::{self, Fault},
    hosts, make, undo,
};
use crate::{
    harness::{Lab, WIDE, say},
    process::seconds,
};

/// Faults whose process exits.
const EXITS: [&str; 7] = [
    "client-port-taken",
    "config-unknown-field",
    "tls-key-mismatch",
    "store-of-root",
    "pid-file-of-root",
    "binary-of-another-architecture",
    "resolver-refused",
];
/// Faults that leave a process that runs, with a client port that is closed.
const CLOSED: [&str; 3] = ["recovery-stuck", "recovery-stuck-in-a-block", "recovery-stuck-in-a-consumer"];
/// Limits, in seconds and megabytes.
const EXITS_LIMIT: f64 = 3.0;
const CLOSED_LIMIT: f64 = 8.0;
const FLEET_LIMIT: f64 = 20.0;
const MEMORY_LIMIT: f64 = 100.0;
/// What a careful playbook does after its restart: `uri` until 200, so many retries, so many seconds apart.
const RETRIES: u32 = 12;
const DELAY: Duration = Duration::from_secs(5);

/// Not part of the tests, since it measures: `tests/lab/bench.sh` calls it.
#[test]
#[ignore = "a measurement"]
fn figures() {
    let lab = hosts::up("2.15.1").expect("a lab");
    let inventory = hosts::inventory(&lab);
    let faults = fault::all();
    let of = |name: &&str| faults.iter().find(|fault| fault.fault == **name).expect("a fault").clone();
    let mut text = String::from("\nfrom the start of a doomed server to the root cause in print, nats-server 2.15.1\n");
    let mut kept = true;
    for (what, names, limit) in
        [("process exits", &EXITS[..], EXITS_LIMIT), ("process stays, client port closed", &CLOSED[..], CLOSED_LIMIT)]
    {
        let mut took: Vec<_> = names.iter().map(|name| cause(&lab, &inventory, &of(name), &mut text)).collect();
        took.sort_by(f64::total_cmp);
        let median = took[took.len() / 2];
        kept &= median <= limit;
        let _ = writeln!(text, "{:<44} {median:>6.2} s  median (limit {limit} s)", what);
    }
    careful_playbook(&lab, &of(&EXITS[0]), &mut text);
    kept &= fleet(&lab, &mut text);
    say(&text);
    assert!(kept, "beyond a limit:\n{text}");
}

/// A roll that halts at a fault: seconds from the start of the server to the halt with its cause.
fn cause(lab: &Lab, inventory: &str, fault: &Fault, text: &mut String) -> f64 {
    let host = hosts::ALONE[0];
    make(lab, host, fault);
    let playbook = lab.file("quick.yaml");
    let seen_before = format!("preflight:{}", fault.code);
    let args =
        ["run", &playbook, "-i", inventory, "--host", host, "--yes", "--allow", "r1-offline", "--allow", &seen_before];
    let ended = lab.rollgate(&args);
    undo(lab, host, fault);
    ended.exits(4);
    let steps = ended.of("step-started");
    let start = steps.iter().find(|event| event["step"] == "start").expect("it was started");
    let halt = ended.terminal("halted");
    let found = &halt["halt"]["diagnosis"]["findings"][0];
    assert_eq!(found["code"], fault.code, "{ended}");
    let took = seconds(halt) - seconds(start);
    let _ = writeln!(text, "  {:<42} {took:>6.2} s  {}", fault.fault, found["title"].as_str().unwrap_or_default());
    took
}

/// The same fault, and the wait that playbooks are advised to have.
fn careful_playbook(lab: &Lab, fault: &Fault, text: &mut String) {
    let host = hosts::ALONE[0];
    make(lab, host, fault);
    let began = Instant::now();
    lab.root(host, "timeout 30 systemctl restart nats-server; true");
    let url = format!("http://{}:8222/healthz", Lab::address(host));
    let mut said = String::new();
    for retry in 0..=RETRIES {
        let output = lab.exec("curl", &["-sS", "-f", "-m", "5", &url]).stdin(Stdio::null()).output().expect("curl");
        assert!(!output.status.success(), "the fault did not show");
        said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if retry < RETRIES {
            thread::sleep(DELAY);
        }
    }
    let took = began.elapsed().as_secs_f64();
    undo(lab, host, fault);
    let _ = writeln!(
        text,
        "{:<44} {took:>6.2} s  {said}",
        format!("a playbook's wait, {RETRIES} retries, {} s apart", DELAY.as_secs())
    );
}

/// `check` on fifty hosts: five machines, each under ten names. Whether it kept the limits.
fn fleet(lab: &Lab, text: &mut String) -> bool {
    let config = lab.write("fifty.ssh", &ssh_config(lab));
    let clusters = (0..10).fold(String::new(), |mut clusters, n| {
        let host = |h: u32| format!("{{name: c{n}-h{h}, server_name: h{h}}}");
        let _ = writeln!(clusters, "  c{n}:\n    hosts: [{}, {}, {}]", host(1), host(2), host(3));
        let _ = writeln!(clusters, "  four{n}:\n    hosts: [{}]\n  five{n}:\n    hosts: [{}]", host(4), host(5));
        clusters
    });
    let inventory = lab.write(
        "fifty.yaml",
        &format!(
            "defaults:\n  ssh: {{config: {config}}}\n  service: {{systemd: nats-server}}\n  monitoring: {{url: \"http://{{address}}:8222\", via: direct}}\nclusters:\n{clusters}"
        ),
    );
    let began = Instant::now();
    let mut running = lab.spawn(&["check", "-i", &inventory, "-o", "json"]);
    let pid = running.pid();
    let watch = thread::spawn(move || {
        let mut peak = 0.0_f64;
        while let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
            let ours = status.starts_with("Name:\trollgate");
            peak = peak.max(kilobytes.filter(|_| ours).unwrap_or_default() / 1024.0);
            thread::sleep(Duration::from_millis(20));
            if status.contains("State:\tZ") {
                break;
            }
        }
        peak
    });
    let ended = running.wait(WIDE);
    let took = began.elapsed().as_secs_f64();
    let peak = watch.join().expect("the watch");
    ended.exits(0);
    let _ = writeln!(text, "{:<44} {took:>6.2} s  (limit {FLEET_LIMIT} s)", "check of 50 hosts on 5 machines");
    let _ = writeln!(text, "{:<44} {peak:>6.1} MB (limit {MEMORY_LIMIT} MB)", "its peak memory");
    took <= FLEET_LIMIT && peak > 0.0 && peak < MEMORY_LIMIT
}

fn ssh_config(lab: &Lab) -> String {
    let of_the_lab = fs::read_to_string(lab.path.join("ssh_config")).expect("ssh_config");
    let aliases = lab.hosts().into_iter().fold(String::new(), |mut aliases, host| {
        let address = Lab::address(&host);
        let _ = writeln!(aliases, "Host *-{host}\n  HostName {address}\n  HostKeyAlias {host}");
        aliases
    });
    format!("{aliases}{of_the_lab}")
}
