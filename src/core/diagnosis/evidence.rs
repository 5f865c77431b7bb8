//! The evidence archive: everything that was gathered on and about one host at one time.
//!
//! Every section is a [`Seen`]: what was found, or why it is not known. What a section had to leave out stands in
//! [`Archive::gaps`]. Secrets were taken out on the host, before anything left it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    files::{PathFacts, TlsBlock, TlsFile},
    unit::UnitState,
};
use crate::core::{
    conf::clean,
    view::{Exit, Failure, FailureKind, Seen, View},
};

/// The version of the archive's format. Readers refuse a newer one.
pub const VERSION: u32 = 1;

/// What stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

/// What was gathered on and about one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Archive {
    /// [`VERSION`] of who wrote it.
    pub v: u32,
    /// The host's name in the inventory, or its own where there is no inventory.
    pub host: String,
    /// The server name that the inventory expects.
    pub server_name: Option<String>,
    /// The controller's clock when it asked.
    pub asked_at: Timestamp,
    /// The controller's clock when the answer was whole. With [`HostFacts::clock`] it bounds the clock's skew.
    pub answered_at: Timestamp,
    /// The host itself.
    pub machine: Seen<HostFacts>,
    /// The service as its manager sees it.
    pub unit: Seen<UnitState>,
    /// The server's process; none where none runs.
    pub process: Seen<Option<Process>>,
    /// What the service manager kept of the server's output: configuration errors are only here.
    pub journal: Seen<Log>,
    /// The file that `log_file` names: fatal lines are only here where there is one. None where none is configured.
    pub log_file: Seen<Option<Log>>,
    /// What the kernel's log tells of processes that it killed for want of memory.
    pub oom_kills: Seen<Vec<LogLine>>,
    /// The server's program.
    pub binary: Seen<Binary>,
    /// The server's configuration, secrets taken out.
    pub config: Seen<ConfigText>,
    /// `nats-server -t` as the service's user.
    pub config_test: Seen<ConfigTest>,
    /// All TCP listeners in the server's network.
    pub listeners: Seen<Vec<Listener>>,
    /// Ports here at which connections are half open: the other side's first packet came, and our answer brought none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub half_open: Vec<u16>,
    /// Every path that the configuration and the unit name.
    pub paths: Seen<Vec<PathFacts>>,
    /// The certificates in the TLS files.
    pub tls_files: Seen<Vec<TlsFile>>,
    /// Each `tls` block of the configuration, its files held against each other.
    pub tls_blocks: Seen<Vec<TlsBlock>>,
    /// What is in the JetStream store; none where the configuration has no store.
    pub store: Seen<Option<StoreShape>>,
    /// Routes and resolvers, tried from the host.
    pub reach: Seen<Vec<Reach>>,
    /// What the controller saw of the whole cluster at about the same time, the peers' answers among it.
    pub view: Option<View>,
    /// What could not be gathered, or was cut short.
    pub gaps: Vec<Gap>,
}

impl Archive {
    /// An archive in which nothing is known, for one reason.
    pub fn unknown(host: &str, at: Timestamp, failure: &Failure) -> Self {
        Self {
            v: VERSION,
            host: host.to_owned(),
            server_name: None,
            asked_at: at,
            answered_at: at,
            machine: Err(failure.clone()),
            unit: Err(failure.clone()),
            process: Err(failure.clone()),
            journal: Err(failure.clone()),
            log_file: Err(failure.clone()),
            oom_kills: Err(failure.clone()),
            binary: Err(failure.clone()),
            config: Err(failure.clone()),
            config_test: Err(failure.clone()),
            listeners: Err(failure.clone()),
            half_open: Vec::new(),
            paths: Err(failure.clone()),
            tls_files: Err(failure.clone()),
            tls_blocks: Err(failure.clone()),
            store: Err(failure.clone()),
            reach: Err(failure.clone()),
            view: None,
            gaps: Vec::new(),
        }
    }

    /// Why nothing is known, where the host could not be reached.
    pub fn lost(&self) -> Option<&Failure> {
        self.machine.as_ref().err().filter(|failure| failure.kind.is_unreachable())
    }

    /// All log lines, the manager's and the file's, each with where it stands.
    pub fn log_lines(&self) -> impl Iterator<Item = (&str, &LogLine)> {
        let file = self.log_file.as_ref().ok().and_then(Option::as_ref);
        let logs = self.journal.as_ref().ok().into_iter().chain(file);
        logs.flat_map(|log| log.lines.iter().map(move |line| (log.source.as_str(), line)))
    }

    /// What is known of a path of the configuration, however it is written there.
    pub fn path(&self, path: &str) -> Option<&PathFacts> {
        let wanted = clean(path);
        self.paths.as_ref().ok()?.iter().find(|facts| clean(&facts.path) == wanted)
    }

    /// A path as the server's configuration writes it, where it names it.
    pub fn as_written(&self, path: &str) -> Option<&str> {
        let wanted = clean(path);
        let files = self.config.iter().flat_map(|config| &config.files).map(|file| file.path.as_str());
        let paths = self.paths.iter().flatten().map(|facts| facts.path.as_str());
        files.chain(paths).find(|written| clean(written) == wanted)
    }

    /// Who listens on a port.
    pub fn listening_on(&self, port: u16) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().flatten().filter(move |listener| listener.port == port)
    }
}

/// The failure of a section that nothing was said about.
pub fn not_asked(why: &str) -> Failure {
    Failure::new(FailureKind::NotAsked, why)
}

/// Something that could not be gathered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The section or the tool.
    pub what: String,
    /// The reason.
    pub why: String,
}

/// The host itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// What it calls itself.
    pub hostname: String,
    /// Its own addresses, without the loopback's; empty where they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Its clock when it was asked.
    pub clock: Timestamp,
    /// The boot, which tells a reboot from a restart.
    pub boot_id: Option<String>,
    /// Seconds since it booted.
    pub uptime_s: Option<u64>,
    /// The kernel's word for the machine, such as `x86_64`.
    pub arch: Option<String>,
    /// The user that gathered, and whether that was root: without root less can be seen.
    pub gathered_by: String,
    /// Whether it was root.
    pub as_root: bool,
    /// Bytes of memory.
    pub memory_total: Option<u64>,
    /// Bytes of memory that a new process could have.
    pub memory_available: Option<u64>,
    /// Swap: bytes in all.
    pub swap_total: Option<u64>,
    /// Swap: bytes free.
    pub swap_free: Option<u64>,
    /// Whether systemd-timesyncd has set the clock; none where another keeps it, or none.
    pub clock_synchronized: Option<bool>,
}

/// The server's process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its id in its container, which its own log lines have; none where it runs in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner_pid: Option<u32>,
    /// Its program.
    pub exe: Option<String>,
    /// The program on disk is not the one that runs: it was replaced.
    pub exe_replaced: bool,
    /// Its command line, secrets taken out.
    pub argv: Vec<String>,
    /// The user it runs as.
    pub user: Option<String>,
    /// When it started, by the host's clock.
    pub started: Option<Timestamp>,
    /// Bytes of memory it uses.
    pub rss: Option<u64>,
    /// Files and sockets that it has open.
    pub open_files: Option<u64>,
    /// How many it may open; none when unlimited or unknown.
    pub open_files_limit: Option<u64>,
    /// Its cgroup's memory limit; none when unlimited or unknown.
    pub memory_limit: Option<u64>,
    /// The kernel's state letter: `T` is stopped, `D` waits for a disk.
    pub state: Option<char>,
    /// What it did while it was looked at; only of a server that has not opened its client port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
}

/// What a process did between two looks (`/proc/PID/io`, `/proc/PID/stat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Bytes that it read, by system calls or from disks, whichever is more.
    pub bytes: u64,
    /// Ticks of the processor, a hundred a second.
    pub ticks: u64,
    /// Seconds between the looks.
    pub seconds: u64,
}

/// Some lines of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// The command or the file that they came from.
    pub source: String,
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// Older lines were left out.
    pub cut: bool,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was logged, where the line says so.
    pub at: Option<Timestamp>,
    /// The process that logged it.
    pub pid: Option<u32>,
    /// nats-server's level: `INF`, `WRN`, `ERR`, `FTL` …; none for anything else, such as a configuration error.
    pub level: Option<String>,
    /// Who said it in the journal, such as `nats-server`, `systemd` or `kernel`.
    pub from: Option<String>,
    /// The text without what stands above.
    pub text: String,
}

/// A program file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Binary {
    /// Its path.
    pub path: String,
    /// It exists.
    pub exists: bool,
    /// The service's user may execute it.
    pub executable: Option<bool>,
    /// Its machine by its ELF header, in the kernel's words (`x86_64`, `aarch64` …); none where it is no ELF program.
    pub arch: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// What runs is this file, or has the same content; none where that could not be compared, or nothing runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<bool>,
    /// It is a script, which starts the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<bool>,
    /// `v2.15.1`, as it says itself.
    pub version: Option<String>,
    /// What it printed when asked for its version, where it gave none.
    pub said: Option<String>,
}

/// The configuration's files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigText {
    /// The main file, from the command line of the service.
    pub main: String,
    /// Every file that was read, the main file first, then includes in their order.
    pub files: Vec<ConfigFile>,
    /// Environment variables that the configuration refers to.
    pub environment: Vec<EnvironmentVariable>,
}

/// An environment variable that the configuration refers to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentVariable {
    /// Its name.
    pub name: String,
    /// Whether the service has it.
    pub set: bool,
    /// Its value, only where nothing but harmless settings refer to it.
    pub value: Option<String>,
}

/// One file of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Its path; an include's in the clean form that nats-server gives it.
    pub path: String,
    /// Its text with [`REDACTED`] for each value that may be a secret; lines stand where they stood.
    pub text: Seen<String>,
    /// Only the first part was read.
    pub cut: bool,
    /// From this line on nothing is told, since the collector could not tell secrets from the rest there.
    pub lost_at: Option<u32>,
}

/// What `nats-server -t` said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigTest {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The user it ran as.
    pub user: String,
    /// Whether that is the service's user.
    pub as_service_user: bool,
    /// How it ended; none where it was ended for taking too long.
    pub exit: Option<Exit>,
    /// What it printed, secrets taken out.
    pub output: Vec<String>,
}

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// The address, `0.0.0.0` or `::` for any.
    pub address: String,
    /// The port.
    pub port: u16,
    /// The process; none where we may not see it.
    pub pid: Option<u32>,
    /// Its program's name.
    pub program: Option<String>,
    /// The user it runs as.
    pub user: Option<String>,
    /// The systemd unit that it belongs to.
    pub unit: Option<String>,
}

/// What is in a JetStream store: the shape of `jetstream/ACCOUNT/streams/STREAM` below `store_dir`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreShape {
    /// `store_dir` with the `jetstream` that nats-server adds.
    pub path: String,
    /// It exists.
    pub exists: bool,
    /// The meta group's directory is there: this server was part of a cluster.
    pub meta: bool,
    /// Streams on disk.
    pub streams: Vec<StreamShape>,
    /// Raft groups on disk.
    pub raft_groups: u64,
    /// Bytes used; none where counting took too long.
    pub bytes: Option<u64>,
    /// Files and directories below it that do not belong to the service's user, at most a few.
    pub foreign: Vec<String>,
}

/// A stream's directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamShape {
    /// Its account's directory.
    pub account: String,
    /// Its directory's name.
    pub name: String,
    /// `meta.inf` is there.
    pub meta: bool,
    /// `msgs` is there.
    pub messages: bool,
    /// Message blocks.
    pub blocks: u64,
    /// Consumers on disk.
    pub consumers: u64,
}

/// A target tried from the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    /// What it is.
    pub role: ReachRole,
    /// The host, without user and password.
    pub target: String,
    /// The port.
    pub port: u16,
    /// Connected, or why not.
    pub result: Seen<()>,
    /// Of a route: whether the other side speaks without TLS, as nats-server does first where the port has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<bool>,
}

/// Why a target was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReachRole {
    /// A route of the cluster.
    Route,
    /// A gateway.
    Gateway,
    /// A remote leafnode server.
    Leafnode,
    /// The account resolver.
    Resolver,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_survives_json() {
        let failure = Failure::new(FailureKind::Unreachable, "ssh n1: no route to host");
        let mut archive = Archive::unknown("n1", Timestamp::UNIX_EPOCH, &failure);
        archive.log_file = Ok(None);
        archive.reach = Ok(vec![Reach {
            role: ReachRole::Route,
            target: "n2".into(),
            port: 6222,
            result: Err(Failure::new(FailureKind::Refused, "Connection refused")),
            plain: None,
        }]);
        let text = serde_json::to_string(&archive).unwrap();
        assert_eq!(serde_json::from_str::<Archive>(&text).unwrap(), archive);
    }
}
