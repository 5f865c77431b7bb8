//! The playbook as written: every field optional, values that may be judged later with their
//! places. The comments on fields are what editors show, by way of the JSON Schema.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    configure::RawConfigure,
    install::RawInstall,
    own_step::{RawFile, RawHttp, RawPause, RawRun},
    parameters::ParameterKind,
    types::{OnlyIf, OrderRule},
};
use crate::config::yaml::{DurationText, Ordered, ScalarText, Spanned};
use crate::core::playbook::{AfterFailure, Connections, Through};

/// What is done to each server of a cluster, one server at a time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "playbook")]
#[schemars(title = "rollgate playbook")]
pub(crate) struct RawPlaybook {
    /// Short name, for messages and the journal. Letters, digits and `.`, `_`, `-`.
    #[schemars(required, regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"), length(max = 128))]
    pub name: Option<Spanned<String>>,
    /// What it does, for whoever lists playbooks.
    pub description: Option<String>,
    /// What whoever runs it may or must say: `--set name=value`, and `{{ name }}` in any value below.
    pub parameters: Option<Spanned<Ordered<Spanned<RawParameter>>>>,
    /// What holds between turns.
    pub policy: Option<Spanned<RawPolicy>>,
    /// Steps of your own that are done once before the first turn: `run` on the controller or, with `on: host`, on each host that
    /// will be rolled; `file` likewise; `http`; `pause`.
    pub before: Option<Spanned<Vec<Spanned<RawStep>>>>,
    /// The same after the last turn.
    pub after: Option<Spanned<Vec<Spanned<RawStep>>>>,
    /// What is done on the controller when the roll halts: `run`, `file` and `http`. What fails then is only told.
    pub on_halt: Option<Spanned<Vec<Spanned<RawStep>>>>,
    /// The steps of one server's turn, in order.
    #[schemars(required, length(min = 1))]
    pub turn: Option<Spanned<Vec<Spanned<RawStep>>>>,
}

/// A parameter of the playbook.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "parameter")]
pub(crate) struct RawParameter {
    /// What it takes; `text` by default.
    #[serde(rename = "type")]
    pub kind: Option<Spanned<ParameterKind>>,
    /// Its value where none is given.
    pub default: Option<Spanned<ScalarText>>,
    /// What it is for.
    pub help: Option<String>,
    /// Whether it must be given; it has no default then.
    pub required: Option<bool>,
}

/// What holds between turns.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "policy")]
pub(crate) struct RawPolicy {
    /// What decides who is next, most important first; where all are equal, the inventory's
    /// order. By default `[unready, meta-leader-last, zone]`.
    #[schemars(length(min = 1))]
    pub order: Option<Spanned<Vec<Spanned<OrderRule>>>>,
    /// Stop after this many turns; by default all servers get one.
    #[schemars(range(min = 1))]
    pub stop_after: Option<Spanned<i64>>,
    /// Give a turn only to servers of which this holds: `changed`, that the configuration or the program on disk is not the one
    /// that runs, or is not known to be. By default every server gets one.
    pub only_if: Option<OnlyIf>,
    /// Objections to consent to, by name, as `plan` shows them: `[r1-offline]`. None by default.
    pub allow: Option<Vec<Spanned<String>>>,
    /// Wait between two turns; 0s by default.
    pub pause: Option<Spanned<DurationText>>,
    /// What follows when a server does not come back with the program that an `install` has put in place: `halt`, which is the
    /// default, or `rollback`: the old program is put back on that server, where the rules of versions allow it, and gated; then the
    /// roll halts.
    #[schemars(transform = crate::config::schema::or_parameter)]
    pub on_failure: Option<AfterFailure>,
    /// How long a turn waits for its restart to be safe before the roll halts; 30s by default.
    pub safety_deadline: Option<Spanned<DurationText>>,
}

/// One step of a turn: its name, or its name with settings below it.
// A playbook has a handful of them: their size is no matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "step", rename_all = "kebab-case")]
#[schemars(transform = crate::config::schema::allow_bare_steps)]
pub(crate) enum RawStep {
    /// Move raft leaders and clients away while the server still serves. Needs the system account (`nats:` in the
    /// inventory); without it the step does nothing, and says so.
    Drain(Option<RawDrain>),
    /// The service manager stops the server, by lame duck if the unit does so.
    Stop(Option<RawStop>),
    /// Put another nats-server in place of the one that is there. Every host has it staged and tried before the first server is
    /// touched; what stood there is kept for `rollgate rollback`.
    Install(Option<Spanned<RawInstall>>),
    /// Put the configuration and what belongs to it in place: templates with each host's variables, or plain files. Every host has
    /// them staged and tried (`nats-server -t`) before the first server is touched; what stood there is kept for
    /// `rollgate rollback`. A server takes them by the `reload` after it, where that is enough, and is neither drained nor
    /// stopped; else by a restart, without the `reload`.
    Configure(Option<Spanned<RawConfigure>>),
    /// The service manager starts the server.
    Start(Option<RawStart>),
    /// Reboot the host of a server that is stopped, and wait until it is back under another boot id and has started the
    /// server. With a `start` after it the boot need not start the server.
    Reboot(Option<RawReboot>),
    /// Wait until the server has proved, to itself and to its peers, that it is back.
    Gate(Option<RawGate>),
    /// See that it stays so.
    Settle(Option<RawSettle>),
    /// Watch the first server of the roll for longer, before the second is touched. Nothing at the others.
    Canary(Option<RawSettle>),
    /// Test the configuration and certificates on the host as the service's user, have the server reload them, and see that it
    /// took them: load time, digest, the certificate of every TLS listener, its log.
    Reload(Option<RawReload>),
    /// Run a command of your own, on the host or on the controller.
    Run(Option<Spanned<RawRun>>),
    /// Put a small file in its place, on the host or on the controller, or take it away.
    File(Option<Spanned<RawFile>>),
    /// Ask a URL, and judge the answer.
    Http(Option<Spanned<RawHttp>>),
    /// Wait for a time, or for the operator's approval.
    Pause(Option<Spanned<RawPause>>),
}

/// Settings of `drain`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "drain")]
pub(crate) struct RawDrain {
    /// How long the whole of it may take; 60s by default. What is left then is for `stop`.
    pub deadline: Option<Spanned<DurationText>>,
    /// Ask raft leaders on the server to step down; true by default. Servers before 2.11 do it better by themselves.
    pub step_down: Option<bool>,
    /// Tell clients to leave, one by one; true by default. Otherwise lame duck closes them.
    pub evict: Option<bool>,
    /// Clients told to leave, a second; 200 by default.
    #[schemars(range(min = 1, max = 10000))]
    pub rate: Option<Spanned<i64>>,
    /// How often clients are told again that came back or would not leave; 10 by default.
    #[schemars(range(min = 1, max = 100))]
    pub passes: Option<Spanned<i64>>,
}

/// Settings of `stop`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "stop")]
pub(crate) struct RawStop {
    /// How long until the process must be gone; 3m by default.
    pub deadline: Option<Spanned<DurationText>>,
}

/// Settings of `start`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "start")]
pub(crate) struct RawStart {
    /// How long the service manager may take to run the start job; 30s by default.
    pub deadline: Option<Spanned<DurationText>>,
}

/// Settings of `reboot`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "reboot")]
pub(crate) struct RawReboot {
    /// The command that reboots the host, run as changes are; `[systemctl, reboot]` by default.
    #[schemars(length(min = 1))]
    pub command: Option<Spanned<Vec<Spanned<ScalarText>>>>,
    /// How long until the host must be back with its server started; 10m by default.
    pub deadline: Option<Spanned<DurationText>>,
}

/// Settings of `gate`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "gate")]
pub(crate) struct RawGate {
    /// How long until the server must have passed, unless its recovery moves; 10m by default.
    pub deadline: Option<Spanned<DurationText>>,
    /// How long at most while its recovery moves; 2h by default, and never less than the deadline.
    pub hard_cap: Option<Spanned<DurationText>>,
    /// Past the deadline: how long recovery may stand still before the roll halts; 60s by default.
    pub stalled_after: Option<Spanned<DurationText>>,
    /// What it means that fewer clients, leafnodes or gateways are connected to the cluster than before: `warn` by default.
    pub connections: Option<Connections>,
    /// How long those may take to come back; 10s by default.
    pub connections_within: Option<Spanned<DurationText>>,
    /// Good looks in a row that open the gate; 3 by default.
    #[schemars(range(min = 1, max = 1000))]
    pub looks: Option<Spanned<i64>>,
    /// Wait between the first two looks; 50ms by default.
    pub first_interval: Option<Spanned<DurationText>>,
    /// Longest wait between two looks; 2s by default.
    pub max_interval: Option<Spanned<DurationText>>,
    /// How long one look may take before it counts as failed; 3s by default.
    pub look_timeout: Option<Spanned<DurationText>>,
}

/// Settings of `reload`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "reload")]
pub(crate) struct RawReload {
    /// How the server is told: `system-account` (`nats:` in the inventory), `service` (the unit's own reload, or SIGHUP), or `auto`,
    /// which is the default: over the system account where there is one.
    pub through: Option<Through>,
    /// How long until the server must have proved that it took what is on disk, time aside in which its host could not be reached;
    /// 30s by default.
    pub deadline: Option<Spanned<DurationText>>,
}

/// Settings of `settle`, and of `canary` with its own values: 2m and 2s by default.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "settle")]
pub(crate) struct RawSettle {
    /// How long the server must stay ready, from the gate's first good look on; 3s by default.
    #[serde(rename = "for")]
    pub hold: Option<Spanned<DurationText>>,
    /// Wait between two looks; 500ms by default.
    pub interval: Option<Spanned<DurationText>>,
}
