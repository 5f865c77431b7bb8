//! The service as its manager sees it, with what decides how the server is run.

use serde::{Deserialize, Serialize};

use crate::core::view::{Exit, Phase};

/// The service of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitState {
    /// Which manager this is from.
    pub manager: Manager,
    /// The unit, the container, or the status command.
    pub name: String,
    /// The state, in words common to all managers.
    pub phase: Phase,
    /// systemd: `loaded`, `not-found`, `masked`, `bad-setting`, `error`.
    pub load: Option<String>,
    /// systemd's ActiveState, a container's status.
    pub active: String,
    /// systemd's SubState.
    pub sub: Option<String>,
    /// systemd's Result (`exit-code`, `start-limit-hit`, `oom-kill`, `signal`, `timeout` …).
    pub result: Option<String>,
    /// How the main process last ended.
    pub exit: Option<Exit>,
    /// Restarts by the manager itself.
    pub restarts: Option<u32>,
    /// The main process.
    pub pid: Option<u32>,
    /// Whether it is started at boot: `enabled`, `disabled`, `masked` …
    pub enabled: Option<String>,
    /// The unit file.
    pub fragment: Option<String>,
    /// Files that change the unit.
    pub drop_ins: Vec<String>,
    /// The unit file changed on disk since systemd read it.
    pub needs_daemon_reload: Option<bool>,
    /// The user that the server runs as; `root` where the unit names none.
    pub user: Option<String>,
    /// Its group, where the unit names one.
    pub group: Option<String>,
    /// The command line of the start, secrets taken out.
    pub argv: Vec<String>,
    /// Names of the environment variables that the manager sets; never values.
    pub environment: Vec<String>,
    /// `WorkingDirectory=`: relative paths start there.
    pub working_directory: Option<String>,
    /// How long a stop may take before the process is killed; none when unlimited or unknown.
    pub stop_timeout_ms: Option<u64>,
    /// Whether a stop is a lame duck, which takes `lame_duck_duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lame_duck_stop: Option<bool>,
    /// `LimitNOFILE=`; none when unlimited or unknown.
    pub open_files_limit: Option<u64>,
    /// `MemoryMax=` in bytes; none when unlimited or unknown.
    pub memory_max: Option<u64>,
    /// Settings that narrow what the server sees of the file system, as systemd prints them.
    pub sandbox: Vec<(String, String)>,
    /// Mount units that it requires (`RequiresMountsFor=`).
    pub requires_mounts_for: Vec<String>,
    /// When the manager last started the main process, by the host's clock, in its own words.
    pub started: Option<String>,
}

/// Who runs the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// systemd.
    Systemd,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// The operator's own commands.
    Command,
    /// Nobody: a configuration file alone was looked at (`preflight --config`).
    None,
}
