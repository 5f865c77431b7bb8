//! The independent observer (`witness.rs`), put on a lab's servers for as long as a test wants.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

use crate::harness::{Lab, ROLLGATE};

/// A witness that watches.
pub struct Witness {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Witness {
    /// Begins to watch, and to publish; returns once it does.
    pub fn of(lab: &Lab) -> Self {
        Self::with(lab, &[])
    }

    /// The same with options of its own.
    pub fn with(lab: &Lab, options: &[&str]) -> Self {
        let program = built();
        let servers = lab.hosts().iter().map(|host| Lab::address(host)).collect::<Vec<_>>().join(",");
        let mut command = lab.exec(program, &["--servers", &servers]);
        command.args(options);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the witness");
        let mut stderr = BufReader::new(child.stderr.take().expect("its stderr"));
        let mut said = String::new();
        while !said.ends_with("ready\n") {
            let read = stderr.read_line(&mut said).expect("its stderr");
            assert!(read > 0, "the witness ended early: {said}");
        }
        Self { child, stderr }
    }

    /// Ends it; what it saw.
    pub fn report(mut self) -> Report {
        // It ends with its stdin.
        drop(self.child.stdin.take());
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.child.stdout.take().expect("its stdout").read_to_string(&mut stdout).expect("text");
        self.stderr.read_to_string(&mut stderr).expect("text");
        self.child.wait().expect("its status");
        Report(serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The witness's program. `cargo test` builds an example that has tests of its own as a test only, so it is asked for.
fn built() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let program = Path::new(ROLLGATE).with_file_name("examples/witness");
        let release = program.components().any(|part| part.as_os_str() == "release");
        let profile = if release { "release" } else { "test" };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "witness", "--profile", profile]);
        assert!(cargo.status().is_ok_and(|status| status.success()), "the witness can't be built");
        program
    })
}

/// What a witness saw.
pub struct Report(pub Value);

impl Report {
    /// Asserts that clients noticed nothing that retries don't mend, and never saw two servers unready at once.
    #[track_caller]
    pub fn nobody_was_harmed(&self) -> &Self {
        let Self(seen) = self;
        assert!(seen["most_not_ready_at_once"].as_u64().is_some_and(|most| most <= 1), "{seen:#}");
        self.nothing_was_lost()
    }

    /// Asserts that no publish failed for good, none is missing, and every client is connected.
    #[track_caller]
    pub fn nothing_was_lost(&self) -> &Self {
        let Self(seen) = self;
        let publisher = &seen["publisher"];
        assert!(publisher["acked"].as_u64().is_some_and(|acked| acked > 100), "hardly a publish:\n{seen:#}");
        assert_eq!(publisher["failed"], 0, "publishes failed for good:\n{seen:#}");
        assert_eq!(publisher["verified"], true, "acknowledged messages are missing:\n{seen:#}");
        assert_eq!(seen["clients"]["connected_at_end"], seen["clients"]["opened"], "{seen:#}");
        self
    }

    /// Asserts how often each server was restarted.
    #[track_caller]
    pub fn restarts(&self, expected: &[u64]) -> &Self {
        let servers = self.0["servers"].as_array().expect("servers");
        let found: Vec<_> = servers.iter().filter_map(|server| server["restarts"].as_u64()).collect();
        assert_eq!(found, expected, "{:#}", self.0);
        self
    }
}
