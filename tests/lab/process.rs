//! rollgate as a process: what it printed, how it ended, what it left in its journal.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{WIDE, say};

/// rollgate, under way. Killed when dropped.
pub struct Running {
    child: Option<Child>,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    state: PathBuf,
    before: BTreeMap<PathBuf, usize>,
    args: String,
}

impl Running {
    /// Starts a command and reads all that it prints. `state` is rollgate's state directory.
    pub fn start(mut command: Command, state: &Path) -> Self {
        let args = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let before = runs(state);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{args}: {error}"));
        let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
        Self { child: Some(child), stdout, stderr, state: state.to_owned(), before, args }
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it is under way")
    }

    /// Its process id.
    pub fn pid(&mut self) -> u32 {
        self.child().id()
    }

    /// Sends a signal, `INT` for example.
    pub fn signal(&mut self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().is_ok_and(|status| status.success()));
    }

    /// The events in its journal so far.
    pub fn events(&self) -> Vec<Value> {
        journal(&self.state, &self.before)
    }

    /// Waits for an event of that kind that also satisfies `wanted`.
    pub fn event(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + WIDE;
        loop {
            if let Some(event) = self.events().into_iter().find(|event| event["event"] == kind && wanted(event)) {
                return event;
            }
            let over = self.child().try_wait().expect("its status").is_some();
            assert!(!over && Instant::now() < deadline, "no such event `{kind}`:\n{}", self.kill());
            // Close enough together to act within the stop of an idle server.
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the step of a host, or of any host, to begin; which host.
    pub fn step(&mut self, step: &str) -> String {
        let event = self.event("step-started", |event| event["step"] == step);
        event["host"].as_str().expect("a host").to_owned()
    }

    /// Waits for its end.
    pub fn wait(mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child().try_wait().expect("its status") {
                return self.ended(status);
            }
            assert!(Instant::now() < deadline, "it did not end within {limit:?}:\n{}", self.kill());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it as the kernel would, and says what it had printed.
    pub fn kill(&mut self) -> String {
        let _ = self.child().kill();
        let status = self.child().wait().expect("its status");
        self.ended(status).to_string()
    }

    fn ended(&mut self, status: ExitStatus) -> Ended {
        self.child = None;
        let mut said =
            |which: fn(&mut Self) -> &mut Option<JoinHandle<String>>| match which(self).take().map(JoinHandle::join) {
                Some(Ok(text)) => text,
                _ => String::new(),
            };
        let (stdout, stderr) = (said(|s| &mut s.stdout), said(|s| &mut s.stderr));
        Ended { args: self.args.clone(), status, stdout, stderr, events: self.events() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.is_some() {
            let text = self.kill();
            say(&text);
        }
    }
}

/// rollgate, after its end.
pub struct Ended {
    args: String,
    /// How it ended.
    pub status: ExitStatus,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
    /// The journal of its run; empty where it made none.
    pub events: Vec<Value>,
}

impl Ended {
    /// Asserts its exit code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Asserts that it never got as far as a journal: it changed nothing.
    #[track_caller]
    pub fn began_nothing(&self) -> &Self {
        assert!(self.events.is_empty(), "{self}");
        self
    }

    /// Asserts that stderr has each of these texts, however its lines are broken.
    #[track_caller]
    pub fn says(&self, texts: &[&str]) -> &Self {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let stderr = words(&self.stderr);
        for text in texts {
            assert!(stderr.contains(&words(text)), "stderr does not say {text:?}:\n{self}");
        }
        self
    }

    /// What a halt says in the section of that label; none where it has none.
    pub fn section(&self, label: &str) -> Option<&str> {
        let line = |line: &'_ str| line.starts_with(&format!("  {label}  "));
        self.stderr.lines().find(|text| line(text)).map(|line| line[label.len() + 2..].trim())
    }

    /// The run's id.
    #[track_caller]
    pub fn run(&self) -> &str {
        self.events.first().and_then(|event| event["run"].as_str()).unwrap_or_else(|| panic!("no run:\n{self}"))
    }

    /// The events of one kind.
    pub fn of(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == kind).collect()
    }

    /// The one terminal event, which must be of that kind.
    #[track_caller]
    pub fn terminal(&self, kind: &str) -> &Value {
        let terminal = ["finished", "halted", "refused", "interrupted"];
        let found: Vec<_> = self.events.iter().filter(|e| terminal.iter().any(|kind| e["event"] == **kind)).collect();
        assert!(found.len() == 1 && found[0]["event"] == kind, "not one `{kind}`:\n{self}");
        found[0]
    }

    /// The halt, which must have this cause.
    #[track_caller]
    pub fn halt(&self, cause: &str) -> &Value {
        let halt = &self.terminal("halted")["halt"];
        assert_eq!(halt["cause"], cause, "{self}");
        halt
    }

    /// The hosts whose turns ended well, in order.
    pub fn rolled(&self) -> Vec<&str> {
        self.of("turn-finished").iter().filter_map(|event| event["host"].as_str()).collect()
    }

    /// Asserts what holds for every journal of a run that ended by itself: one beginning, one end, no gaps, and each
    /// step announced before it ended.
    #[track_caller]
    pub fn journal_is_whole(&self) -> &Self {
        let kinds: Vec<_> = self.events.iter().filter_map(|event| event["event"].as_str()).collect();
        assert_eq!(kinds.first(), Some(&"run-started"), "{self}");
        assert_eq!(self.of("run-started").len(), 1, "{self}");
        let last = kinds.last().copied().unwrap_or_default();
        self.terminal(last);
        for (place, event) in self.events.iter().enumerate() {
            assert_eq!(event["seq"], place, "a gap before {event}:\n{self}");
            assert_eq!(event["v"], 2, "{event}");
            assert_eq!(event["run"], self.events[0]["run"], "{event}");
        }
        for (place, event) in self.events.iter().enumerate().filter(|(_, event)| event["event"] == "step-finished") {
            let announced = self.events[..place].iter().any(|earlier| {
                earlier["event"] == "step-started"
                    && earlier["host"] == event["host"]
                    && earlier["step"] == event["step"]
            });
            assert!(announced, "not announced: {event}\n{self}");
        }
        self
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "---- {} ended with {}", self.args, self.status)?;
        writeln!(f, "---- stdout\n{}\n---- stderr\n{}\n---- journal", self.stdout, self.stderr)?;
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

/// A list of strings in JSON.
pub fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// When an event was recorded, in seconds since 1970.
pub fn seconds(event: &Value) -> f64 {
    let at: jiff::Timestamp = event["at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    at.as_duration().as_secs_f64()
}

fn drain(stream: Option<impl Read + Send + 'static>) -> Option<JoinHandle<String>> {
    let mut stream = stream?;
    Some(thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }))
}

/// The runs that left a directory, and how many events each has.
fn runs(state: &Path) -> BTreeMap<PathBuf, usize> {
    let entries = std::fs::read_dir(state.join("runs")).into_iter().flatten().flatten();
    entries.map(|entry| (entry.path(), lines(&entry.path()).len())).collect()
}

/// What the command recorded: the journal of the run that was not there `before`, or what it added to one that was.
fn journal(state: &Path, before: &BTreeMap<PathBuf, usize>) -> Vec<Value> {
    let now = runs(state);
    if let Some(run) = now.keys().find(|run| !before.contains_key(*run)) {
        return lines(run).iter().map(|line| parse(line)).collect();
    }
    let grown = now.iter().find_map(|(run, count)| before.get(run).filter(|old| *old < count).map(|old| (run, *old)));
    let Some((run, old)) = grown else { return Vec::new() };
    lines(run).iter().skip(old).map(|line| parse(line)).collect()
}

/// The whole lines of a run's journal. A last line without its end is one that is being written.
fn lines(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("journal.ndjson")).unwrap_or_default();
    text.rsplit_once('\n').map_or("", |(whole, _)| whole).lines().map(str::to_owned).collect()
}

/// An event without its checksum.
pub fn parse(line: &str) -> Value {
    let mut event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the journal: {line}"));
    let sum = event.as_object_mut().and_then(|fields| fields.remove("crc"));
    assert!(sum.is_some(), "no checksum: {line}");
    event
}
