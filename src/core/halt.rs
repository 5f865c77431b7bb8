//! A halt: what stopped the roll, what was seen, where the roll stands, and what to do next.

use serde::{Deserialize, Serialize};

pub use super::serving::Serving;
use super::{
    diagnosis::Diagnosis,
    gate::Waiting,
    own_step::When,
    safety::Objection,
    view::{Failure, ServerView},
};

/// Why a roll halted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Cause {
    /// The restart of the next server was not safe, and did not become so in time.
    Unsafe {
        /// What spoke against it at the end.
        objections: Vec<Objection>,
    },
    /// The service manager could not stop or start the server.
    ChangeFailed {
        /// The exit status of its command; none where a signal ended it.
        status: Option<i32>,
        /// What it printed, shortened.
        output: String,
    },
    /// The stop or start did not end within its deadline. It was not forced.
    ChangeTimedOut,
    /// The stop ended, but the process still runs.
    StillRunning,
    /// The stop took longer than the service manager allows, and it killed the server. That one was started again and is
    /// back; the next would be killed too.
    Killed {
        /// What the manager said of it.
        state: String,
    },
    /// Contact with the host was lost in the middle of a change, and not found again.
    HostLost {
        /// The last failure.
        failure: Failure,
    },
    /// The host was told to reboot, and is not back.
    HostNotBack {
        /// Why it can't be reached.
        failure: Failure,
    },
    /// The host was told to reboot, and its boot is the same.
    NotRebooted {
        /// Whether it was away meanwhile, or since when it has been up.
        detail: String,
    },
    /// The host is back from its reboot, which has not started its server.
    NotStartedAtBoot {
        /// The service, in its manager's words.
        service: String,
        /// Whether the manager starts it at boot, in its own words; none where it does not say.
        enabled: Option<String>,
    },
    /// The cluster's lock is not with this run any more: it touches nothing more.
    LockLost {
        /// Who has it, or why it could not be confirmed.
        detail: String,
    },
    /// The journal found no room: it has what was kept for this halt, and no more.
    JournalFull {
        /// What its writing said.
        detail: String,
    },
    /// The journal could not be mirrored for other runners, as the inventory wants it.
    MirrorLost {
        /// What its writing said.
        detail: String,
    },
    /// The restarted process is gone.
    ProcessGone,
    /// The restarted process died and its manager starts it again and again.
    CrashLoop,
    /// The server that came back has another name.
    Renamed {
        /// The name it had.
        expected: String,
        /// The name it has.
        found: String,
    },
    /// The server did not become ready within the deadline.
    NotReady {
        /// The conditions that did not hold at the end.
        waiting: Vec<Waiting>,
    },
    /// The server is not ready, and has a fault that no waiting mends.
    Doomed {
        /// The code of the root cause.
        finding: String,
        /// The root cause in words.
        title: String,
    },
    /// The server is ready, and data that it had is not there.
    DataShort {
        /// The streams, with their counts.
        streams: Vec<String>,
    },
    /// The server started with an empty store, where it had one before.
    StoreEmpty {
        /// The line of its log that says so.
        line: String,
    },
    /// Servers did not pass what was looked at; nothing was changed. Each has told its own finding.
    NotPassed {
        /// Their hosts.
        hosts: Vec<String>,
        /// How many were looked at.
        of: usize,
    },
    /// What was to be put in place is not fit for these hosts. None was touched.
    NotProven {
        /// What is wrong, by host.
        hosts: Vec<NotProven>,
    },
    /// The server came back with another version than the one that was put in place.
    OtherVersion {
        /// The version that was put in place.
        expected: String,
        /// The one that runs.
        found: String,
    },
    /// The configuration or the certificates on the host can't be used, or could not be tested. The server was not told.
    Unusable {
        /// Why.
        why: Vec<String>,
    },
    /// The server would not reload: it goes on with what it had.
    ReloadRefused {
        /// The line of its log, or its answer.
        line: String,
    },
    /// A setting changed that no reload can change: the server goes on with what it had.
    NotReloadable {
        /// The setting in nats-server's words; what it says of its values is left out.
        setting: String,
    },
    /// The server would not take the files that were put in place by a reload. What stood there before is back, and it goes on
    /// as it was.
    FilesRefused {
        /// What it has against them.
        why: String,
    },
    /// The server came back and does not run with the files that were put in place: its host was rebooted before they were, or
    /// somebody started it.
    FilesNotTaken {
        /// What it does not run with.
        different: Vec<String>,
    },
    /// The server was told to reload, and what it does is not what is on disk.
    NotReloaded {
        /// What was not seen.
        missing: Vec<String>,
    },
    /// A step of the operator's own failed.
    OwnStepFailed {
        /// What failed.
        failed: String,
        /// The end of what it printed or was answered.
        output: String,
    },
    /// A step of the operator's that belongs to no turn failed.
    HookFailed {
        /// When it was done.
        when: When,
        /// What failed.
        failed: String,
        /// The end of what it printed or was answered.
        output: String,
    },
    /// A step asks for the operator's approval, and there is no terminal to ask on.
    NobodyToAsk {
        /// What would have been asked.
        question: String,
    },
    /// The server was ready, but did not stay so.
    NotSettled {
        /// The conditions that did not hold at the end.
        waiting: Vec<Waiting>,
    },
}

/// A host where what was to be put in place did not prove itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotProven {
    /// The host.
    pub host: String,
    /// What is wrong, one line each.
    pub why: Vec<String>,
}

impl Cause {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsafe { .. } => "unsafe",
            Self::ChangeFailed { .. } => "change-failed",
            Self::ChangeTimedOut => "change-timed-out",
            Self::StillRunning => "still-running",
            Self::Killed { .. } => "killed",
            Self::HostLost { .. } => "host-lost",
            Self::HostNotBack { .. } => "host-not-back",
            Self::NotRebooted { .. } => "not-rebooted",
            Self::NotStartedAtBoot { .. } => "not-started-at-boot",
            Self::LockLost { .. } => "lock-lost",
            Self::JournalFull { .. } => "journal-full",
            Self::MirrorLost { .. } => "mirror-lost",
            Self::ProcessGone => "process-gone",
            Self::CrashLoop => "crash-loop",
            Self::Renamed { .. } => "server-renamed",
            Self::NotReady { .. } => "not-ready",
            Self::Doomed { .. } => "doomed",
            Self::DataShort { .. } => "data-short",
            Self::StoreEmpty { .. } => "store-empty",
            Self::Unusable { .. } => "unusable",
            Self::ReloadRefused { .. } => "reload-refused",
            Self::NotReloadable { .. } => "not-reloadable",
            Self::NotReloaded { .. } => "not-reloaded",
            Self::FilesRefused { .. } => "files-refused",
            Self::FilesNotTaken { .. } => "files-not-taken",
            Self::NotPassed { .. } => "not-passed",
            Self::NotProven { .. } => "not-proven",
            Self::OtherVersion { .. } => "other-version",
            Self::OwnStepFailed { .. } => "own-step-failed",
            Self::HookFailed { .. } => "hook-failed",
            Self::NobodyToAsk { .. } => "nobody-to-ask",
            Self::NotSettled { .. } => "not-settled",
        }
    }

    /// Whether it is a matter of the operator's own step or file: a diagnosis of the server would tell nothing more.
    pub fn is_the_operators(&self) -> bool {
        matches!(
            self,
            Self::Unusable { .. }
                | Self::ReloadRefused { .. }
                | Self::NotReloadable { .. }
                | Self::NotReloaded { .. }
                | Self::FilesRefused { .. }
                | Self::FilesNotTaken { .. }
        ) || matches!(self, Self::OwnStepFailed { .. } | Self::HookFailed { .. } | Self::NobodyToAsk { .. })
    }

    /// Whether it says something of the server whose turn it was, and nothing of the roll.
    pub fn is_of_the_server(&self) -> bool {
        !matches!(
            self,
            Self::LockLost { .. }
                | Self::JournalFull { .. }
                | Self::MirrorLost { .. }
                | Self::NobodyToAsk { .. }
                | Self::NotPassed { .. }
                | Self::NotProven { .. }
        )
    }

    /// What to do about `host` first.
    pub fn remedy(&self, host: &str) -> String {
        match self {
            Self::Killed { .. } => format!(
                "{host} is back; give its unit longer to stop than a lame duck takes (TimeoutStopSec, `--stop-timeout`)"
            ),
            Self::OwnStepFailed { .. } | Self::HookFailed { .. } => {
                "see why the step failed, and mend that: what it has done already, it may do again on `resume`".into()
            }
            Self::NotProven { .. } => {
                "give every host what does there, or take those hosts out of the roll".into()
            }
            Self::Unusable { .. } | Self::ReloadRefused { .. } => {
                format!("mend the configuration or the certificates on {host}, or bring the old ones back")
            }
            Self::NotReloadable { .. } => format!(
                "restart it, which takes the change: the file on {host} stays as it is (rollgate restart --host {host})"
            ),
            Self::FilesRefused { .. } => {
                "mend the files and configure anew (--close-unfinished), or have servers restarted for them: --set how=restart".into()
            }
            Self::FilesNotTaken { .. } => {
                format!("restart the service of {host} by hand: its files are in place, and were not when it started")
            }
            Self::NotReloaded { .. } => {
                format!("a restart takes what a reload does not (rollgate restart --host {host})")
            }
            Self::HostNotBack { .. } => {
                format!("look at the console of {host}: it was told to reboot, and can't be reached")
            }
            Self::NotRebooted { .. } => {
                format!("see why {host} did not reboot; reboot it by hand, or have `resume` order it again")
            }
            Self::NotStartedAtBoot { .. } => {
                format!(
                    "enable the service of {host} at boot (`systemctl enable`) and start it: nothing else may be wrong"
                )
            }
            Self::NobodyToAsk { .. } => "go on from a terminal, where there is somebody to answer".into(),
            _ => format!("mend {host}; do not restart it blindly, the cause would stay"),
        }
    }

    /// What happened to `host` in `step`, in one line.
    pub fn headline(&self, host: &str, step: &str) -> String {
        match self {
            Self::Unsafe { objections } => {
                let first = objections.first().map_or_else(|| "no reason given".into(), ToString::to_string);
                format!("{host} was not restarted, because it is not safe: {first}")
            }
            Self::ChangeFailed { status: Some(status), .. } => {
                format!("the {step} of {host} failed: exit status {status}")
            }
            Self::ChangeFailed { status: None, .. } => format!("the {step} of {host} failed"),
            Self::ChangeTimedOut => format!("the {step} of {host} did not end in time"),
            Self::StillRunning => format!("{host} still runs after it was stopped"),
            Self::Killed { state } => {
                format!("{host} was killed by its service manager before it had stopped: {state}")
            }
            Self::HostLost { failure } => format!("contact with {host} was lost during its {step}: {failure}"),
            Self::HostNotBack { failure } => format!("{host} was told to reboot, and has not come back: {failure}"),
            Self::NotRebooted { detail } => format!("{host} was told to reboot, and its boot id is the same: {detail}"),
            Self::NotStartedAtBoot { service, enabled } => {
                let enabled = enabled.as_ref().map(|word| format!(", which is {word}")).unwrap_or_default();
                format!("{host} is back from its reboot, which did not start its service{enabled}: {service}")
            }
            Self::LockLost { detail } => format!("the {step} of {host} was left: {detail}"),
            Self::JournalFull { detail } => format!("{host} was not begun: the journal finds no room: {detail}"),
            Self::MirrorLost { detail } => {
                format!("the roll stopped before {host}: the journal is not mirrored: {detail}")
            }
            Self::ProcessGone => format!("{host} was started, but its process is gone"),
            Self::CrashLoop => format!("{host} was started, but its process died, and its manager keeps starting it"),
            Self::Renamed { expected, found } => format!("{host} came back as server {found} instead of {expected}"),
            Self::NotReady { waiting } => format!("{host} did not become ready: {}", failed(waiting)),
            Self::Doomed { title, .. } => format!("{host} was started, and can't become ready: {title}"),
            Self::DataShort { streams } => format!(
                "{host} is back, but data is missing on it: {}",
                streams.first().map_or("no stream named", String::as_str)
            ),
            Self::StoreEmpty { .. } => {
                format!("{host} started with an empty store; is its volume mounted, and store_dir the same?")
            }
            Self::Unusable { why } => {
                format!("what is on {host} can't be used, and its server was not told of it: {}", first(why))
            }
            Self::ReloadRefused { line } => format!("{host} would not reload, and goes on with what it had: {line}"),
            Self::NotReloadable { setting } => {
                format!("{host} can't take a change of {setting} by a reload, and goes on with what it had")
            }
            Self::NotReloaded { missing } => format!("{host} was told to reload, and has not: {}", first(missing)),
            Self::FilesRefused { why } => {
                format!("{host} would not take its new files, and has its old ones back: {why}")
            }
            Self::FilesNotTaken { different } => {
                format!("{host} is back, and does not run with its new files: {}", first(different))
            }
            Self::NotPassed { hosts, of } => {
                format!("{} of {of} servers did not pass: {}", hosts.len(), hosts.join(", "))
            }
            Self::NotProven { hosts } => {
                let first =
                    hosts.first().map_or_else(String::new, |one| format!(": {}: {}", one.host, one.why.join("; ")));
                format!("what was to be put in place does not do on {}{first}", super::count_of(hosts.len(), "host"))
            }
            Self::OtherVersion { expected, found } => {
                format!("{host} came back with version {found}, not with {expected}")
            }
            Self::OwnStepFailed { failed, .. } => format!("the step `{step}` of {host} failed: {failed}"),
            Self::HookFailed { when, failed, .. } if host.is_empty() => {
                format!("the step `{step}` {} failed: {failed}", when.words())
            }
            Self::HookFailed { when, failed, .. } => {
                format!("the step `{step}` {} failed on {host}: {failed}", when.words())
            }
            Self::NobodyToAsk { question } if host.is_empty() => {
                format!("the step `{step}` needs an answer, and there is no terminal to ask on: {question}")
            }
            Self::NobodyToAsk { question } => {
                format!("the step `{step}` of {host} needs an answer, and there is no terminal to ask on: {question}")
            }
            Self::NotSettled { waiting } => format!("{host} became ready but did not stay so: {}", failed(waiting)),
        }
    }
}

fn first(all: &[String]) -> &str {
    all.first().map_or("", String::as_str)
}

fn failed(waiting: &[Waiting]) -> String {
    let names: Vec<_> = waiting.iter().map(|waiting| waiting.condition.name()).collect();
    if names.is_empty() { "good looks, but not enough in a row".into() } else { names.join(", ") }
}

/// A halt, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Halt {
    /// The host whose turn it was.
    pub host: String,
    /// The step under way; `observe` before the first.
    pub step: String,
    /// Why.
    #[serde(flatten)]
    pub cause: Cause,
    /// How long the step had taken.
    pub after_ms: u64,
    /// Why, with proof and remedy; none where nothing had been touched, or where it could not be gathered in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// The rest of the cluster; none where it could not be observed.
    pub serving: Option<Serving>,
    /// Hosts that were rolled and passed the gate.
    pub done: Vec<String>,
    /// Hosts that were not touched.
    pub untouched: Vec<String>,
    /// What to run next.
    pub next: Vec<String>,
}

impl Halt {
    /// The conditions that did not hold.
    pub fn waiting(&self) -> &[Waiting] {
        match &self.cause {
            Cause::NotReady { waiting } | Cause::NotSettled { waiting } => waiting,
            _ => &[],
        }
    }

    /// Whether the halted server itself may be down by our hand.
    pub fn touched(&self) -> bool {
        let untried = matches!(self.cause, Cause::NotProven { .. }) && self.done.is_empty();
        !untried && !matches!(self.cause, Cause::Unsafe { .. } | Cause::NotPassed { .. }) && self.step != "observe"
    }
}

/// What a server answers, in words, for evidence.
pub fn health_words(server: &ServerView) -> String {
    match (&server.varz, &server.health) {
        (_, Ok(health)) => health.summary(),
        (_, Err(failure)) => failure.to_string(),
    }
}
