//! The recipe in its resolved form: typed steps and policy. What the operator writes is in [`config`](crate::config).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    configure::Configure,
    install::{Install, PutBack},
    millis, own_step,
};

/// What holds for the roll as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What decides who goes first; an earlier rule weighs more.
    pub order: Vec<OrderRule>,
    /// Stop after this many turns.
    pub stop_after: Option<u32>,
    /// Which servers get a turn at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_if: Option<OnlyIf>,
    /// Objections that the operator consents to, by name.
    #[serde(default)]
    pub allow: Vec<String>,
    /// A pause between turns.
    #[serde(rename = "pause_ms", with = "millis")]
    pub pause: Duration,
    /// What follows when a server does not come back with the program that was put in place.
    #[serde(default, skip_serializing_if = "is_halt")]
    pub on_failure: AfterFailure,
    /// For how long a turn waits for its restart to become safe before the roll halts.
    #[serde(rename = "safety_deadline_ms", with = "millis")]
    pub safety_deadline: Duration,
}

/// What follows when a server does not come back with another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", rename = "after_failure")]
pub enum AfterFailure {
    /// The roll halts, with the old program kept.
    #[default]
    Halt,
    /// The old program is put back on that server, where the rules of versions allow it, and gated; then the roll halts.
    Rollback,
}

fn is_halt(after: &AfterFailure) -> bool {
    *after == AfterFailure::Halt
}

/// A condition for a server to get a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename = "condition for a turn", rename_all = "kebab-case")]
#[schemars(rename = "only-if")]
pub enum OnlyIf {
    /// Its configuration or program on disk is not the one that it runs with, or is not known to be.
    Changed,
}

/// One rule of the order in which servers are rolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename = "order rule", rename_all = "kebab-case")]
#[schemars(rename = "order-rule")]
pub enum OrderRule {
    /// Servers that are not healthy go first: they have the least to lose, and a roll that waits for them never starts.
    Unready,
    /// Zone by zone, in the order in which zones appear in the inventory.
    Zone,
    /// As written in the inventory.
    Inventory,
    /// The meta leader goes last, so that the group elects once instead of at every turn; asked anew before each turn.
    MetaLeaderLast,
}

/// One step of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Move leaders and clients away while the server still serves.
    Drain(Drain),
    /// Stop the server through its service manager.
    Stop(Stop),
    /// Put another program in place.
    Install(Install),
    /// Put files in place: the configuration and what belongs to it.
    Configure(Configure),
    /// Put back what a run replaced.
    PutBack(PutBack),
    /// Start it through its service manager.
    Start(Start),
    /// Reboot its host, and wait for the new boot and for what that starts.
    Reboot(Reboot),
    /// Wait until it and its peers agree that it is back.
    Gate(Gate),
    /// Watch that it stays so.
    Settle(Settle),
    /// Watch the first server of the roll for longer.
    Canary(Canary),
    /// Have the server read its configuration and certificates anew, and prove that it did.
    Reload(Reload),
    /// A command of the operator's.
    Run(own_step::Run),
    /// A small file of the operator's.
    File(own_step::File),
    /// A check of the operator's, over HTTP.
    Http(own_step::Http),
    /// A wait, for a time or for the operator.
    Pause(own_step::Pause),
}

impl Step {
    /// The step's name in events: that of its kind, unless the operator named it.
    pub fn name(&self) -> &str {
        match self {
            Self::Run(own_step::Run { name, .. })
            | Self::File(own_step::File { name, .. })
            | Self::Http(own_step::Http { name, .. })
            | Self::Pause(own_step::Pause { name, .. }) => name,
            _ => self.kind(),
        }
    }

    /// Whether the server may be stopped by it.
    pub fn may_stop(&self) -> bool {
        matches!(self, Self::Stop(_) | Self::Start(_) | Self::Run(own_step::Run { on: own_step::Place::Host, .. }))
    }

    /// Whether it changes nothing anywhere.
    pub fn only_looks(&self) -> bool {
        matches!(self, Self::Gate(_) | Self::Settle(_) | Self::Canary(_) | Self::Http(_) | Self::Pause(_))
    }

    /// Whether it does something to a host that a server which is started without it would miss.
    pub fn acts_while_down(&self) -> bool {
        matches!(self, Self::Run(_) | Self::File(_) | Self::Install(_) | Self::Configure(_) | Self::PutBack(_))
    }

    /// Whether it is done on the server's host, by a change that is recorded there.
    pub fn is_own_on_host(&self) -> bool {
        use own_step::{File, Place, Run};
        matches!(self, Self::Run(Run { on: Place::Host, .. }) | Self::File(File { on: Place::Host, .. }))
    }

    /// Its kind, as written in a playbook.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Drain(_) => "drain",
            Self::Stop(_) => "stop",
            Self::Install(_) => "install",
            Self::Configure(_) => "configure",
            Self::PutBack(_) => "put-back",
            Self::Start(_) => "start",
            Self::Reboot(_) => "reboot",
            Self::Gate(_) => "gate",
            Self::Settle(_) => "settle",
            Self::Canary(_) => "canary",
            Self::Reload(_) => "reload",
            Self::Run(_) => "run",
            Self::File(_) => "file",
            Self::Http(_) => "http",
            Self::Pause(_) => "pause",
        }
    }
}

/// Whether the host's boot has to start the server: it is rebooted, and no step of ours starts it after that.
pub fn boot_starts(steps: &[Step]) -> bool {
    let reboot = steps.iter().position(|step| matches!(step, Step::Reboot(_)));
    reboot.is_some_and(|at| !steps[at..].iter().any(|step| matches!(step, Step::Start(_))))
}

/// The operator's steps that belong to no turn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Done once before the first turn; on each host where they say so.
    pub before: Vec<Step>,
    /// Done once after the last turn.
    pub after: Vec<Step>,
    /// Done on the controller when the roll halts.
    pub on_halt: Vec<Step>,
}

impl Hooks {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Step> {
        self.before.iter().chain(&self.after).chain(&self.on_halt)
    }

    /// Those of one time.
    pub fn at(&self, when: own_step::When) -> &[Step] {
        match when {
            own_step::When::Before => &self.before,
            own_step::When::After => &self.after,
            own_step::When::OnHalt => &self.on_halt,
        }
    }
}

/// Move raft leaders and clients off the server while JetStream still serves. Lame duck stops JetStream at its very
/// start and then takes its time with the clients; a server without clients leaves at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The longest that the whole of it may take; what is left is for the stop.
    #[serde(rename = "deadline_ms", with = "millis")]
    pub deadline: Duration,
    /// Ask raft leaders on the server to step down, from 2.11.
    pub step_down: bool,
    /// Tell clients to leave; otherwise that is left to lame duck.
    pub evict: bool,
    /// Clients told to leave, a second.
    pub rate: u32,
    /// How often clients that came back, or would not leave, are told again.
    pub passes: u32,
}

/// Stop the server: a lame duck where the unit does so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The longest that a stop may take, lame duck included, before the roll halts.
    #[serde(rename = "deadline_ms", with = "millis")]
    pub deadline: Duration,
}

/// Start the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The longest that the service manager may take to accept the start.
    #[serde(rename = "deadline_ms", with = "millis")]
    pub deadline: Duration,
}

/// Reboot the host of a server that is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// The command that reboots it: a program and its arguments.
    pub command: Vec<String>,
    /// From the order to the host being back under another boot id, its service started.
    #[serde(rename = "deadline_ms", with = "millis")]
    pub deadline: Duration,
}

/// Wait for readiness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// From the start of the server to a verdict: past it the roll halts, unless recovery moves.
    #[serde(rename = "deadline_ms", with = "millis")]
    pub deadline: Duration,
    /// The same while recovery moves.
    #[serde(rename = "hard_cap_ms", with = "millis")]
    pub hard_cap: Duration,
    /// Past the deadline, recovery that has not moved for this long halts the roll.
    #[serde(rename = "stalled_after_ms", with = "millis")]
    pub stalled_after: Duration,
    /// What it means that clients, leafnodes or gateways have not come back.
    pub connections: Connections,
    /// How long they may take.
    #[serde(rename = "connections_within_ms", with = "millis")]
    pub connections_within: Duration,
    /// Good looks in a row that open the gate.
    pub looks: u32,
    /// The time between the first two looks; it doubles from there.
    #[serde(rename = "first_interval_ms", with = "millis")]
    pub first_interval: Duration,
    /// The longest time between two looks.
    #[serde(rename = "max_interval_ms", with = "millis")]
    pub max_interval: Duration,
    /// The longest that one look may take.
    #[serde(rename = "look_timeout_ms", with = "millis")]
    pub look_timeout: Duration,
}

/// Have the server read its configuration and certificates anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// How it is told.
    #[serde(default)]
    pub through: Through,
    /// How long it may take until it has proved that it did.
    #[serde(rename = "deadline_ms", with = "millis")]
    pub deadline: Duration,
}

impl Default for Reload {
    fn default() -> Self {
        // Reading files takes milliseconds; half a minute is for a host under load, and for looks a second apart.
        Self { through: Through::Auto, deadline: Duration::from_secs(30) }
    }
}

/// How a server is told to reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename = "way to reload", rename_all = "kebab-case")]
#[schemars(rename = "through")]
pub enum Through {
    /// Over the system account where the inventory has one, else through the service manager.
    #[default]
    Auto,
    /// Over the system account: the server itself answers what it has against the change.
    SystemAccount,
    /// Through the service manager: the unit's own reload, or SIGHUP.
    Service,
}

/// What it means that fewer clients, leafnodes or gateways are connected to the cluster than before the turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename = "connections setting", rename_all = "kebab-case")]
#[schemars(rename = "connections")]
pub enum Connections {
    /// Nothing.
    Ignore,
    /// It is said, and the roll goes on.
    #[default]
    Warn,
    /// The roll halts.
    Halt,
}

/// Watch that a server stays ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    /// For how long every look must be good.
    #[serde(rename = "for_ms", with = "millis")]
    pub hold: Duration,
    /// The time between two looks.
    #[serde(rename = "interval_ms", with = "millis")]
    pub interval: Duration,
}

/// Watch the first server of a roll before the second is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// For how long every look must be good.
    #[serde(rename = "for_ms", with = "millis")]
    pub hold: Duration,
    /// The time between two looks.
    #[serde(rename = "interval_ms", with = "millis")]
    pub interval: Duration,
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            // Streams compact their raft logs every 2 minutes (nats-server `jetstream_cluster.go`, `compactInterval`): what a new
            // version writes then shows after that, not in the seconds of a settle.
            hold: Duration::from_secs(120),
            interval: Duration::from_secs(2),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            order: vec![OrderRule::Unready, OrderRule::MetaLeaderLast, OrderRule::Zone],
            stop_after: None,
            only_if: None,
            allow: Vec::new(),
            // The settle step already holds the roll; a pause is the operator's wish.
            pause: Duration::ZERO,
            on_failure: AfterFailure::Halt,
            // An election takes 4 to 9 s, and a quorum counts as lost after 10 s: what is not over by
            // now is not passing.
            safety_deadline: Duration::from_secs(30),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            // Forty clients took 0.35 s; at 200 a second a minute is 12,000 clients.
            deadline: Duration::from_secs(60),
            step_down: true,
            evict: true,
            // Five milliseconds apart: reconnecting clients meet the other servers one by one.
            rate: 200,
            // 15 to 40 % of clients come back, since the server still accepts them (measured with async-nats): ten times
            // a third of what is left is none of thousands.
            passes: 10,
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            // Lame duck lasts 2 minutes by default and the published unit is killed after 150 s
            // (TimeoutStopSec): 30 s later it is truly stuck.
            deadline: Duration::from_secs(180),
        }
    }
}

impl Default for Start {
    fn default() -> Self {
        // The job is a fork: milliseconds. 30 s is for a host under load.
        Self { deadline: Duration::from_secs(30) }
    }
}

impl Default for Reboot {
    fn default() -> Self {
        Self {
            command: ["systemctl", "reboot"].map(String::from).into(),
            // What Ansible's `reboot` allows too. Firmware of a large server takes several minutes to count its memory.
            deadline: Duration::from_secs(600),
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            // Reading 1.5 GB from a slow disk took 25 s, so this is room for some 35 GB.
            deadline: Duration::from_secs(600),
            // Half a terabyte of it.
            hard_cap: Duration::from_secs(7200),
            // A disk that has not given a megabyte in this time is not slow.
            stalled_after: Duration::from_secs(60),
            connections: Connections::Warn,
            // Clients try again at least every 2 s (nats.go, nats.rs); leafnodes every second.
            connections_within: Duration::from_secs(10),
            // The first 200 comes too early, and one was followed by 503 a second later.
            looks: 3,
            // A healthy server is back in 0.3 to 2.1 s: looking early is what makes a roll short.
            first_interval: Duration::from_millis(50),
            // A look costs the server next to nothing, and nobody minds 2 s after a minute.
            max_interval: Duration::from_secs(2),
            // An account that can't be resolved makes a healthz take 1.9 s.
            look_timeout: Duration::from_secs(3),
        }
    }
}

impl Default for Settle {
    fn default() -> Self {
        Self {
            // A 200 at 0.85 s was followed by 503 from 1.9 s on: 3 s sees that with some to spare.
            hold: Duration::from_secs(3),
            interval: Duration::from_millis(500),
        }
    }
}
