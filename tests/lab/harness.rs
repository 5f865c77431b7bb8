//! A lab for one test: brought up under a name of its own, taken down whatever becomes of the test.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Ended, Running};

/// The program under test.
pub const ROLLGATE: &str = env!("CARGO_BIN_EXE_rollgate");
/// As wide as it is since the machine may be busy: a test that hangs is worse than one that is late.
pub const WIDE: Duration = Duration::from_secs(120);
/// One command of the lab.
const COMMAND: Duration = Duration::from_secs(60);
/// A turn in a second or two. What the embedded playbook adds to it is time, which the clean rolls test.
const QUICK: &str = "name: quick
turn:
  - stop
  - start
  - gate: {looks: 2, deadline: 3m}
  - settle: {for: 500ms, interval: 100ms}
";
/// As [`QUICK`], for a server that will never be ready.
const SHORT: &str = "name: short
turn:
  - stop
  - start
  - gate: {looks: 2, deadline: 8s}
  - settle: {for: 500ms, interval: 100ms}
";

/// What lab to bring up.
#[derive(Clone, Copy)]
pub struct Options {
    pub hosts: usize,
    pub nats: &'static str,
    pub tls: bool,
    pub monitor_localhost: bool,
    /// Don't wait for nats-server: the test configures it first.
    pub ssh_only: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { hosts: 3, nats: "2.15.1", tls: false, monitor_localhost: false, ssh_only: false }
    }
}

/// A lab that is up.
pub struct Lab {
    name: String,
    plain: bool,
    options: Options,
    /// What the lab keeps of itself.
    pub path: PathBuf,
    /// For files of the test, and rollgate's state directory.
    pub work: TempDir,
}

impl Lab {
    /// Hosts with systemd; none, said aloud, where there can be none.
    pub fn up(options: Options) -> Option<Self> {
        if !is_root() {
            return skipped("it needs root");
        }
        let mut args = vec!["--hosts".to_owned(), options.hosts.to_string(), "--nats".into(), options.nats.into()];
        args.extend(options.tls.then(|| "--tls".into()));
        args.extend(options.monitor_localhost.then(|| "--monitor-localhost".into()));
        args.extend(options.ssh_only.then(|| ["--wait".into(), "ssh".into()]).into_iter().flatten());
        Self::begin(options, false, &args)
    }

    /// Three servers on loopback addresses behind `service: {command: …}`.
    pub fn plain() -> Option<Self> {
        Self::begin(Options::default(), true, &[])
    }

    fn begin(options: Options, plain: bool, args: &[String]) -> Option<Self> {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let name = new_name();
        let verb = if plain { "plain-up" } else { "up" };
        let up = tool([verb, &name].into_iter().chain(args.iter().map(String::as_str)), None, WIDE);
        if !up.status.success() {
            return skipped(&format!("`lab {verb}` failed:\n{}", text(&up)));
        }
        let path = if plain {
            let list = tool(["plain-list"], None, COMMAND);
            let line = text(&list).lines().find(|line| line.starts_with(&format!("{name} "))).map(str::to_owned);
            let inventory = line.unwrap_or_default().rsplit(' ').next().unwrap_or_default().to_owned();
            Path::new(&inventory).parent().expect("the plain lab's directory").to_owned()
        } else {
            PathBuf::from(text(&tool(["path", &name], None, COMMAND)).trim())
        };
        let work = tempfile::tempdir().expect("a directory for the test");
        let lab = Self { name, plain, options, path, work };
        lab.write("quick.yaml", QUICK);
        lab.write("short.yaml", SHORT);
        Some(lab)
    }

    /// The inventory that the lab wrote.
    pub fn inventory(&self) -> String {
        self.path.join("inventory.yaml").display().to_string()
    }

    /// An inventory of the test's own, made from the lab's.
    pub fn inventory_with(&self, edit: impl FnOnce(String) -> String) -> String {
        let text = std::fs::read_to_string(self.inventory()).expect("the lab's inventory");
        self.write("inventory.yaml", &edit(text))
    }

    /// A file of the test; its path.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.work.path().join(name);
        std::fs::write(&path, content).expect("a file of the test");
        path.display().to_string()
    }

    /// The path of a file of the test.
    pub fn file(&self, name: &str) -> String {
        self.work.path().join(name).display().to_string()
    }

    /// The hosts' names.
    pub fn hosts(&self) -> Vec<String> {
        (1..=self.options.hosts).map(|n| format!("h{n}")).collect()
    }

    /// A host's address. Every lab has a network of its own, so they have the same ones.
    pub fn address(host: &str) -> String {
        let number: u32 = host.trim_start_matches('h').parse().expect("a host's name");
        format!("10.77.0.{}", 10 + number)
    }

    /// A command of the lab, which must succeed; what it printed.
    pub fn command(&self, verb: &str, args: &[&str]) -> String {
        self.command_with(verb, args, None)
    }

    fn command_with(&self, verb: &str, args: &[&str], stdin: Option<&str>) -> String {
        let output = tool([verb, &self.name].into_iter().chain(args.iter().copied()), stdin, COMMAND);
        assert!(output.status.success(), "lab {verb} {args:?} failed:\n{}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A shell script as root on a host, past ssh; what it printed.
    pub fn root(&self, host: &str, script: &str) -> String {
        self.command("root", &[host, "--", "sh", "-c", script])
    }

    /// Makes a file on a host.
    pub fn put(&self, host: &str, path: &str, content: &str) {
        self.command_with("put", &[host, path], Some(content));
    }

    /// Runs rollgate in the lab's network to its end.
    pub fn rollgate(&self, args: &[&str]) -> Ended {
        self.spawn(args).wait(WIDE)
    }

    /// Runs rollgate and leaves it to the test. It has no terminal. What an earlier roll of the test left is closed by a
    /// new one.
    pub fn spawn(&self, args: &[&str]) -> Running {
        let rolls = ["run", "restart", "upgrade", "reload", "reboot"].contains(args.first().unwrap_or(&""));
        let more: &[&str] = if rolls { &["--close-unfinished"] } else { &[] };
        Running::start(self.rollgate_command(&[args, more].concat()), &self.state())
    }

    /// Runs rollgate to its end with these arguments and no others.
    pub fn plainly(&self, args: &[&str]) -> Ended {
        Running::start(self.rollgate_command(args), &self.state()).wait(WIDE)
    }

    /// The command line of rollgate in the lab's network; of another build where `ROLLGATE` names one, as for figures.
    pub fn rollgate_command(&self, args: &[&str]) -> Command {
        let program = std::env::var("ROLLGATE").unwrap_or_else(|_| ROLLGATE.to_owned());
        let mut command = self.exec(&program, args);
        command.env("XDG_STATE_HOME", self.work.path().join("state")).env_remove("ROLLGATE_INVENTORY");
        command.env("XDG_CONFIG_HOME", self.work.path().join("config"));
        command
    }

    /// A controller on a machine of its own: it shares no state directory with others, only the hosts. It stops at
    /// `pause`, an instant of its journal (`after-stop`), if there is one.
    pub fn elsewhere(&self, machine: &str, args: &[&str], pause: Option<&str>) -> Running {
        let mut command = self.rollgate_command(args);
        let state = self.work.path().join(machine);
        command.env("XDG_STATE_HOME", &state);
        if let Some(instant) = pause {
            command.env("ROLLGATE_TEST_PAUSE_AT", instant);
        }
        Running::start(command, &state.join("rollgate"))
    }

    /// A command in the lab's network. As root the lab becomes that command, so its pid is the command's.
    pub fn exec(&self, program: impl AsRef<OsStr>, args: &[&str]) -> Command {
        if self.plain {
            let mut command = Command::new(program);
            command.args(args);
            return command;
        }
        let mut command = Command::new(script());
        command.args(["exec", &self.name, "--"]).arg(program).args(args);
        command
    }

    /// rollgate's state directory.
    pub fn state(&self) -> PathBuf {
        self.work.path().join("state/rollgate")
    }

    /// The hosts in the order of the plan.
    pub fn plan(&self, inventory: &str) -> Vec<String> {
        let plan = self.rollgate(&["plan", "-i", inventory, "-o", "json"]);
        plan.exits(0);
        let json: Value = serde_json::from_str(&plan.stdout).expect("a plan in JSON");
        let turns = json["plans"][0]["turns"].as_array().expect("turns");
        turns.iter().map(|turn| turn["host"].as_str().expect("a host").to_owned()).collect()
    }

    /// The id of the server that runs on a host; none where none answers.
    pub fn server_id(&self, host: &str) -> Option<String> {
        self.monitored(host, "/varz")?["server_id"].as_str().map(str::to_owned)
    }

    /// A server's `/varz`; null where none answers.
    pub fn varz(&self, host: &str) -> Value {
        self.monitored(host, "/varz").unwrap_or_default()
    }

    /// The ids of all servers.
    pub fn server_ids(&self) -> Vec<Option<String>> {
        self.hosts().iter().map(|host| self.server_id(host)).collect()
    }

    /// What a server's monitoring port answers, asked without rollgate.
    pub fn monitored(&self, host: &str, path: &str) -> Option<Value> {
        let output = if self.plain {
            let inventory = std::fs::read_to_string(self.path.join("ssh_config")).ok()?;
            let address = inventory.split(&format!("Host {host}\n  HostName ")).nth(1)?.lines().next()?.to_owned();
            curl(&mut Command::new("curl"), &format!("http://{address}:28222{path}"))
        } else if self.options.monitor_localhost {
            let mut command = Command::new(script());
            command.args(["root", &self.name, host, "--", "curl"]);
            curl(&mut command, &format!("http://127.0.0.1:8222{path}"))
        } else {
            curl(&mut self.exec("curl", &[]), &format!("http://{}:8222{path}", Self::address(host)))
        };
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Waits until every server is healthy, asked without rollgate.
    pub fn all_healthy(&self) {
        for host in self.hosts() {
            until(&format!("{host} healthy"), || self.is_healthy(&host));
        }
    }

    /// Waits until every server has called itself healthy for some seconds: the first 200 of a cluster is often not the last.
    pub fn all_settled(&self) {
        let mut since = Instant::now();
        until("all healthy for three seconds", || {
            if !self.hosts().iter().all(|host| self.is_healthy(host)) {
                since = Instant::now();
            }
            since.elapsed() > Duration::from_secs(3)
        });
    }

    fn is_healthy(&self, host: &str) -> bool {
        self.monitored(host, "/healthz").is_some_and(|answer| answer["status"].as_str() == Some("ok"))
    }

    /// How often the service on a host was stopped and started by its manager, ever: `(stopped, started)`.
    pub fn stops_and_starts(&self, host: &str) -> (usize, usize) {
        let log = self.root(host, "journalctl -u nats-server -o cat --no-pager _PID=1");
        let count = |prefix: &str| log.lines().filter(|line| line.starts_with(prefix)).count();
        (count("Stopping nats-server.service"), count("Started nats-server.service"))
    }

    /// How many changes rollgate has begun on a host: each is a unit of its own there. A second stop of a server that is
    /// down already would show only here.
    pub fn changes(&self, host: &str) -> usize {
        let log = self.root(host, "journalctl -o cat --no-pager _PID=1");
        log.lines().filter(|line| line.starts_with("Started rollgate-")).count()
    }

    /// When the service manager began its stops of the server, in seconds since 1970: the machine's clock is the host's.
    pub fn stop_times(&self, host: &str) -> Vec<f64> {
        let log = self.root(host, "journalctl -u nats-server -o short-unix --no-pager _PID=1");
        let stops = log.lines().filter(|line| line.contains(": Stopping nats-server.service"));
        stops.map(|line| line.split(' ').next().and_then(|time| time.parse().ok()).expect("a time")).collect()
    }

    /// From now on a stop of the server on `host` does not end before [`release`](Self::release): time for a test to
    /// act in the middle of it, however slow the machine is. The server serves meanwhile.
    pub fn hold_stops(&self, host: &str) {
        let unit = "[Service]\nExecStop=\nExecStop=+/bin/sh -c 'touch /run/stopping; while [ -e /run/hold ]; do sleep 0.05; done'\nExecStop=/bin/kill -s SIGUSR2 $MAINPID\n";
        self.put(host, "/etc/systemd/system/nats-server.service.d/hold.conf", unit);
        self.root(host, "rm -f /run/stopping; touch /run/hold; systemctl daemon-reload");
    }

    /// Waits until a held stop is under way on the host.
    pub fn stop_is_held(&self, host: &str) {
        until(&format!("the stop of {host} under way"), || {
            self.root(host, "test -e /run/stopping && echo yes || true").contains("yes")
        });
    }

    /// Lets a held stop go on.
    pub fn release(&self, host: &str) {
        self.root(host, "rm -f /run/hold");
    }

    /// As [`hold_stops`](Self::hold_stops), for the next start; [`let_start`](Self::let_start) ends it.
    pub fn hold_starts(&self, host: &str) {
        let unit = "[Service]\nExecStartPre=+/bin/sh -c 'touch /run/starting; while [ -e /run/hold-start ]; do sleep 0.05; done'\n";
        self.put(host, "/etc/systemd/system/nats-server.service.d/hold-start.conf", unit);
        self.root(host, "rm -f /run/starting; touch /run/hold-start; systemctl daemon-reload");
    }

    /// Waits until a held start is under way on the host.
    pub fn start_is_held(&self, host: &str) {
        until(&format!("the start of {host} under way"), || {
            self.root(host, "test -e /run/starting && echo yes || true").contains("yes")
        });
    }

    /// Lets a held start go on.
    pub fn let_start(&self, host: &str) {
        self.root(host, "rm -f /run/hold-start");
    }

    /// What runs left on a host: records of changes, units, files of a lock that somebody has, temporary files.
    pub fn traces(&self, host: &str) -> String {
        let script = "find /run/rollgate /var/lib/rollgate/steps -mindepth 1 2>/dev/null; \
            grep -h '^run=.' /var/lib/rollgate/locks/*/state 2>/dev/null; \
            find /var/lib/rollgate -name '*.new' -o -name '*.tmp' 2>/dev/null; \
            find /tmp /var/tmp /etc /run/systemd/transient /run/systemd/system -iname '*rollgate*' 2>/dev/null; \
            systemctl list-units --all --plain --no-legend 'rollgate-*'; true";
        self.root(host, script)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Masters of a rollgate that was killed would keep the lab's network until their minute is over.
        for pid in self.ssh_in_network() {
            let _ = Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
        let down = tool([if self.plain { "plain-down" } else { "down" }, &self.name], None, WIDE);
        if !down.status.success() {
            say(&format!("lab {} is not down:\n{}", self.name, text(&down)));
        }
    }
}

impl Lab {
    /// ssh processes in the lab's own network: nobody but the test's rollgate can have started them.
    pub fn ssh_in_network(&self) -> Vec<u32> {
        let Ok(network) = std::fs::read_to_string(self.path.join("netns")) else { return Vec::new() };
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let of = std::fs::read_link(format!("/proc/{pid}/ns/net"));
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            of.is_ok_and(|of| of.to_string_lossy() == network.trim()) && comm.is_ok_and(|comm| comm.trim() == "ssh")
        })
        .collect()
    }
}

/// Polls a condition until it holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + WIDE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The nats-server programs of the lab, the oldest version first.
pub fn binaries() -> Option<Vec<PathBuf>> {
    let home = std::env::var("HOME").map(|home| format!("{home}/.cache"));
    let cache = std::env::var("XDG_CACHE_HOME").or(home).unwrap_or_default();
    let directory = std::env::var("ROLLGATE_LAB_DIR").unwrap_or_else(|_| format!("{cache}/rollgate-lab"));
    let mut found: Vec<PathBuf> = std::fs::read_dir(format!("{directory}/bin"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nats-server-")))
        .collect();
    found.sort();
    if found.is_empty() { skipped(&format!("no nats-server in {directory}/bin")) } else { Some(found) }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab")
}

fn curl(command: &mut Command, url: &str) -> Output {
    command.args(["-s", "-m", "5", url]).stdin(Stdio::null()).output().expect("curl")
}

/// Runs the lab's tool, bounded by coreutils' timeout.
fn tool<'a>(args: impl IntoIterator<Item = &'a str>, stdin: Option<&str>, limit: Duration) -> Output {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", &limit.as_secs().to_string()]).arg(script()).args(args);
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the lab's tool");
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        pipe.write_all(text.as_bytes()).expect("the tool reads");
    }
    child.wait_with_output().expect("the lab's tool")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

fn skipped<T>(why: &str) -> Option<T> {
    let test = thread::current().name().unwrap_or("?").to_owned();
    assert!(std::env::var_os("ROLLGATE_REQUIRE_LAB").is_none_or(|v| v != "1"), "{test}: no lab: {why}");
    say(&format!("SKIPPED (no lab): {test}: {why}"));
    None
}

/// Prints past the test runner, which keeps what a test that passes has said.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// `t-<test>-<pid>-<n>`: by the test's name a leftover tells where it is from.
fn new_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let test = thread::current().name().unwrap_or("lab").to_lowercase();
    let test: String = test.rsplit("::").next().unwrap_or_default().replace('_', "-").chars().take(22).collect();
    format!("t-{test}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Takes down labs of test processes that are no more: a test run that was killed could not.
fn sweep() {
    let list = text(&tool(["list"], None, COMMAND));
    for name in list.lines().filter_map(|line| line.split(' ').next()).filter(|name| name.starts_with("t-")) {
        let pid = name.rsplit('-').nth(1).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            tool(["down", name], None, WIDE);
        }
    }
}
