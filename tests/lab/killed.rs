//! Runs of every playbook that changes something, killed before and after the events of their journal and gone on with: each ends
//! where an undisturbed one would have ended.
//!
//! Of each playbook the events are tried that announce something. `ROLLGATE_CRASH=all` tries every event, `ROLLGATE_CRASH=2/5` the
//! second fifth of them; with `ROLLGATE_CRASH_ONLY=configure` only those whose name begins so.

use std::{fs, time::Instant};

use serde_json::Value;

use crate::{
    crash::{dies, part_of},
    harness::{Lab, Options, say},
    jetstream::with_system_account,
    process::Ended,
    reboot::{boots, count_boots},
    watched::Witness,
};

const LINK: &str = "/opt/nats/nats-server-2.14.6\n";
/// The lab's configuration includes it: the file that is pushed, or written by hand before a reload.
const LIMITS: &str = "/etc/nats/limits.conf";
/// What a turn ends with, in little time.
const END: &str = "  - gate: {looks: 2, deadline: 3m}\n  - settle: {for: 300ms, interval: 100ms}\n";

/// When the next controllers die.
struct Death<'a> {
    /// The first one, in the form of `ROLLGATE_TEST_DIE_AT`.
    at: &'a str,
    /// The one that goes on, if it gets there.
    again: &'static str,
    host: &'a str,
}

/// One run that was killed and gone on with.
struct Round {
    id: String,
    /// Whether its controller died: it does not where the run has no such instant.
    died: bool,
    /// Whether a reload was proved in it.
    proved: bool,
}

struct Killed<'a> {
    lab: &'a Lab,
    inventory: String,
    /// Where to begin among all instants, and by how many to go on; none: those that are named.
    part: Option<(usize, usize)>,
    /// How often each server was restarted by now.
    restarts: [u64; 3],
    /// A new value each time.
    payload: u64,
}

#[test]
fn every_playbook_is_gone_on_with_wherever_its_controller_dies() {
    let Some(lab) = Lab::up(Options { nats: "2.14.6", ..Options::default() }) else { return };
    for host in lab.hosts() {
        lab.put(&host, LIMITS, "max_payload: 1000000\n");
        lab.root(&host, "echo 'include ./limits.conf' >>/etc/nats/nats-server.conf; systemctl reload nats-server");
    }
    count_boots(&lab);
    lab.all_settled();
    let inventory = with_system_account(&lab);
    let part = std::env::var("ROLLGATE_CRASH").ok().map(|text| part_of(&text));
    let witness = Witness::with(&lab, &["--clients-per-server", "2", "--rate", "50"]);
    let mut killed = Killed { lab: &lab, inventory, part, restarts: [0; 3], payload: 1_000_000 };
    killed.upgrade_and_rollback();
    killed.configure_by_restart();
    killed.configure_by_reload();
    killed.reload();
    killed.reboot();
    witness.report().nobody_was_harmed().restarts(&killed.restarts);
}

impl Killed<'_> {
    /// Has `round` done with the controller dying at each of the instants, on the hosts by turns. `round` tells whether it died.
    fn each(&mut self, what: &str, named: &[&str], mut round: impl FnMut(&mut Self, &Death<'_>) -> bool) {
        if !what.starts_with(&std::env::var("ROLLGATE_CRASH_ONLY").unwrap_or_default()) {
            return;
        }
        let began = Instant::now();
        let hosts = self.lab.hosts();
        let every = (0..).flat_map(|seq| [format!("before-{seq}"), format!("after-{seq}")]);
        let instants: Box<dyn Iterator<Item = String>> = match self.part {
            Some((first, step)) => Box::new(every.skip(first).step_by(step)),
            None => Box::new(named.iter().map(|name| (*name).to_owned())),
        };
        let mut count = 0;
        for (place, at) in instants.enumerate() {
            let again = ["never", "after-resumed", "after-settled", "after-start"][(place / 2) % 4];
            let instant = Death { at: &at, again, host: &hosts[place % hosts.len()] };
            if self.part.is_some() {
                say(&format!("{what}: {at}, then {again}"));
            }
            if !round(self, &instant) {
                assert!(self.part.is_some_and(|(_, step)| (place + 1) * step > 20), "{what}: nobody died at {at}");
                break;
            }
            count += 1;
        }
        say(&format!("{what}: killed at {count} instants, {:.0} s", began.elapsed().as_secs_f64()));
    }

    /// One run on one host that is killed and gone on with. Its server was stopped and started `restarts` times by then, and no host
    /// has anything of it.
    fn run(&mut self, args: &[&str], instant: &Death<'_>, restarts: usize) -> Round {
        let (lab, Death { at, again, host }) = (self.lab, instant);
        let before = lab.stops_and_starts(host);
        let mut all = vec![dies(lab, args, at)];
        let dead = all[0].status.code().is_none();
        let resume = ["resume", "-i", &self.inventory, "--yes"];
        match all[0].events.last().map(|event| event["event"].as_str().expect("a kind")) {
            _ if !dead => {}
            // It announced nothing.
            None => all.push(lab.plainly(args)),
            Some("finished") => drop(lab.plainly(&resume).exits(2)),
            Some(_) => {
                all.push(dies(lab, &resume, again));
                if all[1].status.code().is_none() {
                    all.push(lab.plainly(&resume));
                }
            }
        }
        let told = || format!("{at}, then {again}:\n{}", all.iter().map(Ended::to_string).collect::<String>());
        let last = all.last().expect("one");
        assert!(last.status.success() || (all.len() == 1 && dead), "{}", told());
        let turns: Vec<_> = all.iter().flat_map(Ended::rolled).collect();
        assert_eq!(turns, [*host], "{}", told());
        let after = lab.stops_and_starts(host);
        assert_eq!((after.0 - before.0, after.1 - before.1), (restarts, restarts), "{}", told());
        let number = lab.hosts().iter().position(|one| one == host).expect("a host");
        self.restarts[number] += restarts as u64;
        // What one leaves that dies after its last event, the next run on the cluster clears.
        if !matches!(all.as_slice(), [only] if dead && only.events.last().is_some_and(|event| event["event"] == "finished"))
        {
            self.nothing_lies_about(&told);
        }
        lab.all_healthy();
        let id = all.iter().find(|ended| !ended.events.is_empty()).expect("a run").run().to_owned();
        let proof = |event: &&Value| {
            event["step"] == "reload" && event["note"].as_str().is_some_and(|note| note.contains("configuration "))
        };
        let proved = all.iter().any(|ended| ended.of("step-finished").iter().any(proof));
        Round { id, died: dead, proved }
    }

    /// Whether there was such an instant in either of a run and its rollback; one that is named must be in both.
    fn both(&self, there: &Round, back: &Round, at: &str) -> bool {
        assert!(self.part.is_some() || (there.died && back.died), "{at}: {} {}", there.died, back.died);
        there.died || back.died
    }

    fn nothing_lies_about(&self, told: &impl Fn() -> String) {
        let script = "ls -A /usr/local/bin /etc/nats | grep rollgate; \
            find /var/lib/rollgate/stage -type f ! -name 'kept-*' 2>/dev/null; true";
        for host in self.lab.hosts() {
            assert_eq!(self.lab.root(&host, script) + &self.lab.traces(&host), "", "{host}: {}", told());
        }
    }

    fn playbook(&self, name: &str, steps: &str) -> String {
        self.lab.write(&format!("{name}.yaml"), &format!("name: {name}\nturn:\n{steps}"))
    }

    /// The version that runs, and where the program's link leads; the digest of one that is no link.
    fn program(&self, host: &str) -> (String, String) {
        let version = self.lab.varz(host)["version"].as_str().unwrap_or("?").to_owned();
        (version, self.lab.root(host, "cd /usr/local/bin; readlink nats-server || sha256sum <nats-server"))
    }

    fn takes_payload(&self, host: &str) {
        assert_eq!(self.lab.varz(host)["max_payload"], self.payload, "{host}");
    }

    fn upgrade_and_rollback(&mut self) {
        let steps = format!(
            "  - drain\n  - stop\n  - install: {{binary: /opt/nats/nats-server-2.15.1, on: host, version: 2.15.1}}\n  - start\n{END}  \
             - canary: {{for: 600ms, interval: 100ms}}\n"
        );
        let (playbook, inventory) = (self.playbook("upgrade-quick", &steps), self.inventory.clone());
        let named = [
            "after-staged",
            "after-turn-started",
            "after-drain",
            "after-stop",
            "after-install",
            "after-start",
            "after-gate",
            "after-canary",
            "after-finished",
        ];
        self.each("upgrade and rollback", &named, |killed, instant| {
            let Death { at, host, again } = *instant;
            let new = killed.lab.root(host, "sha256sum </opt/nats/nats-server-2.15.1");
            let up = ["run", &playbook, "-i", &inventory, "--yes", "--host", host];
            let there = killed.run(&up, instant, 1);
            assert_eq!(killed.program(host), ("2.15.1".into(), new), "{at}");
            // It stages nothing, and has no canary.
            let at = at.replace("staged", "run-started").replace("install", "put-back").replace("canary", "settle");
            let back = ["rollback", "-i", &inventory, &there.id, "--all", "--yes"];
            let back = killed.run(&back, &Death { at: &at, host, again }, 1);
            assert_eq!(killed.program(host), ("2.14.6".into(), LINK.into()), "{at}");
            // 20 MB a run, of which the lab's hosts have no room for many.
            killed.lab.root(host, "rm -rf /var/lib/rollgate/stage/*");
            killed.both(&there, &back, &at)
        });
    }

    /// Writes the file that is to be pushed, which differs from the last one.
    fn next_limits(&mut self) -> String {
        self.payload += 1;
        self.lab.write("limits.conf", &format!("max_payload: {}\n", self.payload))
    }

    fn on_disk(&self, host: &str) -> String {
        self.lab.root(host, &format!("cat {LIMITS}; stat -c %U:%a {LIMITS}"))
    }

    fn configure_by_restart(&mut self) {
        let from = self.lab.file("limits.conf");
        let configure = format!("  - configure: {{files: [{{from: {from}, to: {LIMITS}}}], how: restart}}\n");
        let playbook = self.playbook("configure-quick", &format!("  - drain\n  - stop\n{configure}  - start\n{END}"));
        let inventory = self.inventory.clone();
        let named = ["after-files-staged", "after-stop", "after-configure", "after-start", "after-gate"];
        self.each("configure by restart, and rollback", &named, |killed, instant| {
            let Death { at, host, again } = *instant;
            let before = killed.on_disk(host);
            let (text, payload) = (fs::read_to_string(killed.next_limits()).expect("a file"), killed.payload);
            let run = ["run", &playbook, "-i", &inventory, "--yes", "--host", host];
            let there = killed.run(&run, instant, 1);
            killed.takes_payload(host);
            assert!(killed.on_disk(host).starts_with(&text), "{at}: {}", killed.on_disk(host));
            let at = at.replace("files-staged", "run-started").replace("configure", "put-back");
            let back = ["rollback", "-i", &inventory, &there.id, "--all", "--yes"];
            let back = killed.run(&back, &Death { at: &at, host, again }, 1);
            assert_eq!(killed.on_disk(host), before, "{at}");
            assert_ne!(killed.lab.varz(host)["max_payload"], payload, "{at}");
            killed.both(&there, &back, &at)
        });
    }

    fn configure_by_reload(&mut self) {
        let from = self.lab.file("limits.conf");
        let configure = format!("  - configure: {{files: [{{from: {from}, to: {LIMITS}}}]}}\n");
        let steps = format!("  - drain\n  - stop\n{configure}  - start\n  - reload\n{END}");
        let (playbook, inventory) = (self.playbook("configure-auto", &steps), self.inventory.clone());
        let ids = self.lab.server_ids();
        self.each(
            "configure by reload",
            &["after-files-staged", "after-configure", "after-reload", "after-gate"],
            |killed, instant| {
                let text = fs::read_to_string(killed.next_limits()).expect("a file");
                let run = ["run", &playbook, "-i", &inventory, "--yes", "--host", instant.host];
                let round = killed.run(&run, instant, 0);
                killed.takes_payload(instant.host);
                assert!(killed.on_disk(instant.host).starts_with(&text), "{}", instant.at);
                assert!(round.proved, "{}", instant.at);
                round.died
            },
        );
        assert_eq!(self.lab.server_ids(), ids);
    }

    /// Told by turns over the system account and through the service manager.
    fn reload(&mut self) {
        let ways = ["system-account", "service"].map(|through| {
            self.playbook(&format!("reload-{through}"), &format!("  - reload: {{through: {through}}}\n{END}"))
        });
        let inventory = self.inventory.clone();
        let ids = self.lab.server_ids();
        // By turns, each before and after what happens.
        let each = if self.part.is_some() { 2 } else { 1 };
        let mut ways = ways.iter().flat_map(|way| std::iter::repeat_n(way, each)).cycle();
        self.each(
            "reload",
            &["after-turn-started", "after-turn-started", "after-reload", "after-reload", "after-gate"],
            |killed, instant| {
                killed.payload += 1;
                killed.lab.put(instant.host, LIMITS, &format!("max_payload: {}\n", killed.payload));
                let run = ["run", ways.next().expect("endless"), "-i", &inventory, "--yes", "--host", instant.host];
                let round = killed.run(&run, instant, 0);
                killed.takes_payload(instant.host);
                assert!(round.proved, "{}", instant.at);
                round.died
            },
        );
        assert_eq!(self.lab.server_ids(), ids);
    }

    fn reboot(&mut self) {
        let (playbook, inventory) =
            (self.playbook("reboot-quick", &format!("  - stop\n  - reboot\n{END}")), self.inventory.clone());
        self.each("reboot", &["after-stop", "after-reboot", "after-gate"], |killed, instant| {
            let host = instant.host;
            let (before, id) = (boots(killed.lab, host), killed.lab.server_id(host));
            let round = killed.run(&["run", &playbook, "-i", &inventory, "--yes", "--host", host], instant, 1);
            assert_eq!(boots(killed.lab, host), before + 1, "{}", instant.at);
            assert_ne!(killed.lab.server_id(host), id, "{}", instant.at);
            round.died
        });
    }
}
