//! The inventory as written: every field optional, values that may be judged later with their
//! places. The comments on fields are what editors show, by way of the JSON Schema.

use schemars::JsonSchema;
use serde::Deserialize;

use super::types::{Become, Mux, Via};
use crate::config::yaml::{DurationText, Ordered, ScalarOr, Spanned, TextOr};

/// The NATS clusters that rollgate looks after, and how their hosts are reached and managed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "inventory")]
#[schemars(title = "rollgate inventory")]
pub(crate) struct RawInventory {
    /// Settings for all hosts. A cluster and a host may override each of them: maps are merged
    /// key by key, except `service` and `nats`, which are replaced as a whole.
    pub defaults: Option<Spanned<RawDefaults>>,
    /// The clusters by name. Names of hosts are unique over all of them.
    #[schemars(required)]
    pub clusters: Option<Spanned<Ordered<Spanned<RawCluster>>>>,
    /// Where else a run's journal is kept: without it in files of who runs rollgate, and nowhere else.
    pub state: Option<Spanned<RawState>>,
}

/// Where else a run's journal is kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "state")]
pub(crate) struct RawState {
    /// A key-value bucket of JetStream, in another cluster than those that are rolled: any runner then finds and resumes
    /// what another began.
    #[schemars(required)]
    pub kv: Option<Spanned<RawKv>>,
}

/// A key-value bucket, and how we are a user of its account: a NATS CLI context, or `servers` and one kind of credentials.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "kv")]
pub(crate) struct RawKv {
    /// Its name. Make it with `nats kv add NAME --replicas 3`.
    #[schemars(required, regex(pattern = "^[A-Za-z0-9][A-Za-z0-9_-]*$"), length(max = 128))]
    pub bucket: Option<Spanned<String>>,
    /// Name of a NATS CLI context (`nats context ls`) with a user of the bucket's account; nothing but `bucket` stands
    /// beside it.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"), length(max = 128))]
    pub context: Option<Spanned<String>>,
    /// Client URLs of the bucket's servers, `nats` or `tls`.
    #[schemars(length(min = 1))]
    pub servers: Option<Spanned<Vec<Spanned<String>>>>,
    /// Credentials file (JWT and seed).
    pub creds: Option<Spanned<String>>,
    /// File with an nkey seed.
    pub nkey: Option<Spanned<String>>,
    /// Name of a user; with `password_file` or `password_env`.
    pub user: Option<Spanned<String>>,
    /// File whose first line is the password.
    pub password_file: Option<Spanned<String>>,
    /// Environment variable with the password.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub password_env: Option<Spanned<String>>,
    /// For servers that want TLS.
    pub tls: Option<Spanned<RawTls>>,
}

impl RawKv {
    /// The part that says how to get there.
    pub(super) fn nats(&self) -> RawNats {
        let Self { bucket: _, context, servers, creds, nkey, user, password_file, password_env, tls } = self;
        RawNats {
            context: context.clone(),
            servers: servers.clone(),
            creds: creds.clone(),
            nkey: nkey.clone(),
            user: user.clone(),
            password_file: password_file.clone(),
            password_env: password_env.clone(),
            tls: tls.clone(),
        }
    }
}

/// Settings for all hosts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "defaults")]
pub(crate) struct RawDefaults {
    /// How hosts are reached with your own `ssh`.
    pub ssh: Option<Spanned<TextOr<RawSsh>>>,
    /// How privileges are gained on a host: `sudo` (as `sudo -n`, without a password) or `none`.
    #[serde(rename = "become")]
    pub become_: Option<Become>,
    /// What starts and stops the server: exactly one kind. By default the systemd unit
    /// `nats-server`.
    pub service: Option<Spanned<RawService>>,
    /// Where the servers' monitoring endpoint is.
    pub monitoring: Option<Spanned<RawMonitoring>>,
    /// Where clients connect: the gate looks whether the port answers.
    pub client: Option<Spanned<RawClient>>,
    /// The system account, through which servers are observed and leaders and clients moved.
    pub nats: Option<Spanned<RawNats>>,
    /// Values for templates (`rollgate configure`), by name: `{{ name }}` in a file that goes to the host. A host's come before
    /// its cluster's, those before the defaults. A secret is not written here, but where it is: `{env: NAME}` or `{file: PATH}`.
    pub vars: Option<RawVars>,
}

/// A cluster: servers that have routes to each other.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "cluster")]
pub(crate) struct RawCluster {
    /// The hosts, each with one nats-server. A bare text is an ssh alias that is also the
    /// host's name and its `server_name`.
    #[schemars(required, length(min = 1))]
    pub hosts: Option<Spanned<Vec<Spanned<TextOr<RawHost>>>>>,
    /// How hosts are reached with your own `ssh`.
    pub ssh: Option<Spanned<TextOr<RawSsh>>>,
    /// How privileges are gained on a host: `sudo` (as `sudo -n`, without a password) or `none`.
    #[serde(rename = "become")]
    pub become_: Option<Become>,
    /// What starts and stops the server: exactly one kind.
    pub service: Option<Spanned<RawService>>,
    /// Where the servers' monitoring endpoint is.
    pub monitoring: Option<Spanned<RawMonitoring>>,
    /// Where clients connect.
    pub client: Option<Spanned<RawClient>>,
    /// The system account, through which servers are observed and leaders and clients moved.
    pub nats: Option<Spanned<RawNats>>,
    /// Values for templates (`rollgate configure`), by name: `{{ name }}` in a file that goes to the host. A host's come before
    /// its cluster's, those before the defaults. A secret is not written here, but where it is: `{env: NAME}` or `{file: PATH}`.
    pub vars: Option<RawVars>,
}

/// A host with one nats-server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "host")]
pub(crate) struct RawHost {
    /// What you call it; unique in the inventory. Letters, digits and `.`, `_`, `-`.
    #[schemars(required, regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"), length(max = 128))]
    pub name: Option<Spanned<String>>,
    /// The server's `server_name`, if it differs from `name`.
    pub server_name: Option<Spanned<String>>,
    /// Failure domain (rack, availability zone): hosts of one zone are rolled together.
    pub zone: Option<Spanned<String>>,
    /// How it is reached: a destination as you would type it (`n1`, `deploy@10.0.0.2:2222`,
    /// `ssh://deploy@n1`) or a map. By default `name` is the destination.
    pub ssh: Option<Spanned<TextOr<RawSsh>>>,
    /// How privileges are gained: `sudo` (as `sudo -n`, without a password) or `none`.
    #[serde(rename = "become")]
    pub become_: Option<Become>,
    /// What starts and stops the server: exactly one kind.
    pub service: Option<Spanned<RawService>>,
    /// Where the server's monitoring endpoint is.
    pub monitoring: Option<Spanned<RawMonitoring>>,
    /// Where clients connect.
    pub client: Option<Spanned<RawClient>>,
    /// Values for templates (`rollgate configure`), by name: `{{ name }}` in a file that goes to the host. A host's come before
    /// its cluster's, those before the defaults. A secret is not written here, but where it is: `{env: NAME}` or `{file: PATH}`.
    pub vars: Option<RawVars>,
}

/// Values for templates, by name.
pub(crate) type RawVars = Spanned<Ordered<Spanned<ScalarOr<RawSecret>>>>;

/// Where a secret value is: one of the two.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "secret")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct RawSecret {
    /// An environment variable of rollgate's.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub env: Option<Spanned<String>>,
    /// A file of the controller, without the line's end at its end.
    pub file: Option<Spanned<String>>,
}

/// How hosts are reached with your own `ssh`; what is not given is left to its configuration.
/// Paths may begin with `~/`; relative ones are relative to the inventory's directory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "ssh")]
pub(crate) struct RawSsh {
    /// Alias, name or address, with user and port if you like. Only in a host.
    pub destination: Option<Spanned<String>>,
    /// Login name.
    pub user: Option<Spanned<String>>,
    /// Port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<Spanned<i64>>,
    /// Private key file (`ssh -i`).
    pub identity: Option<Spanned<String>>,
    /// Jump hosts in the order they are passed through (`ssh -J`); `[]` for none.
    pub jump: Option<Spanned<TextOr<Vec<Spanned<String>>>>>,
    /// Configuration file used in place of your own (`ssh -F`).
    pub config: Option<Spanned<String>>,
    /// Known hosts file.
    pub known_hosts: Option<Spanned<String>>,
    /// How long connecting may take; 10s by default.
    pub connect_timeout: Option<Spanned<DurationText>>,
    /// How commands share a connection: `native` speaks the control socket's protocol, `process`
    /// starts an ssh process per command.
    pub mux: Option<Mux>,
}

/// What starts and stops the server: exactly one of these.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "service")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct RawService {
    /// Name of a systemd unit; `.service` may be left out.
    pub systemd: Option<Spanned<String>>,
    /// Name of a Docker container.
    pub docker: Option<Spanned<String>>,
    /// Name of a Podman container.
    pub podman: Option<Spanned<String>>,
    /// Commands of your own.
    pub command: Option<Spanned<RawCommand>>,
}

/// Commands of your own, each a list of a program and its arguments. No shell is involved.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "command")]
pub(crate) struct RawCommand {
    /// Starts the server and returns.
    #[schemars(required, length(min = 1))]
    pub start: Option<Spanned<Vec<String>>>,
    /// Stops the server and returns.
    #[schemars(required, length(min = 1))]
    pub stop: Option<Spanned<Vec<String>>>,
    /// Exits with 0 while the server runs.
    #[schemars(required, length(min = 1))]
    pub status: Option<Spanned<Vec<String>>>,
    /// Prints the server's recent log.
    #[schemars(length(min = 1))]
    pub logs: Option<Spanned<Vec<String>>>,
}

/// Where a server's monitoring endpoint is, and how to get there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "monitoring")]
pub(crate) struct RawMonitoring {
    /// Its URL, `http` or `https`, with the placeholders `{name}`, `{address}`, `{server_name}`.
    #[schemars(regex(pattern = "^https?://[^/@]+/?$"), example = "http://{address}:8222")]
    pub url: Option<Spanned<String>>,
    /// From where it is asked: `direct`ly from here, from the host through `ssh`, or `auto`:
    /// directly where that works, else through ssh.
    pub via: Option<Via>,
    /// Certificates to trust, PEM.
    pub ca: Option<Spanned<String>>,
    /// Our certificate, PEM.
    pub cert: Option<Spanned<String>>,
    /// The key of `cert`, PEM.
    pub key: Option<Spanned<String>>,
}

/// Where clients connect to a server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "client")]
pub(crate) struct RawClient {
    /// Its URL, `nats` or `tls`, with the placeholders `{name}`, `{address}`, `{server_name}`.
    #[schemars(regex(pattern = "^(nats|tls)://[^/@]+/?$"), example = "nats://{address}:4222")]
    pub url: Option<Spanned<String>>,
    /// Certificates to trust, PEM.
    pub ca: Option<Spanned<String>>,
    /// Our certificate, PEM.
    pub cert: Option<Spanned<String>>,
    /// The key of `cert`, PEM.
    pub key: Option<Spanned<String>>,
}

/// How we are a user of the cluster's system account: a NATS CLI context, or one kind of
/// credentials. Without it servers are observed through their monitoring endpoints only.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "nats")]
pub(crate) struct RawNats {
    /// Name of a NATS CLI context (`nats context ls`) with a user of the system account; nothing
    /// else stands beside it.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"), length(max = 128))]
    pub context: Option<Spanned<String>>,
    /// Client URLs of servers of the cluster, `nats` or `tls`. By default the hosts' client
    /// ports.
    #[schemars(length(min = 1))]
    pub servers: Option<Spanned<Vec<Spanned<String>>>>,
    /// Credentials file (JWT and seed) of a user of the system account.
    pub creds: Option<Spanned<String>>,
    /// File with the nkey seed of a user of the system account.
    pub nkey: Option<Spanned<String>>,
    /// Name of a user of the system account; with `password_file` or `password_env`.
    pub user: Option<Spanned<String>>,
    /// File whose first line is the password.
    pub password_file: Option<Spanned<String>>,
    /// Environment variable with the password.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub password_env: Option<Spanned<String>>,
    /// For servers that want TLS; by default the files of `client`.
    pub tls: Option<Spanned<RawTls>>,
}

/// Files for TLS.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "tls")]
pub(crate) struct RawTls {
    /// Certificates to trust, PEM.
    pub ca: Option<Spanned<String>>,
    /// Our certificate, PEM.
    pub cert: Option<Spanned<String>>,
    /// The key of `cert`, PEM.
    pub key: Option<Spanned<String>>,
}

/// The settings that may stand at each level, wherever they were written.
#[derive(Clone, Copy)]
pub(super) struct Level<'r> {
    pub ssh: Option<&'r Spanned<TextOr<RawSsh>>>,
    pub become_: Option<Become>,
    pub service: Option<&'r Spanned<RawService>>,
    pub monitoring: Option<&'r Spanned<RawMonitoring>>,
    pub client: Option<&'r Spanned<RawClient>>,
    pub vars: Option<&'r RawVars>,
}

macro_rules! level {
    ($type:ty) => {
        impl $type {
            pub(super) fn level(&self) -> Level<'_> {
                Level {
                    ssh: self.ssh.as_ref(),
                    become_: self.become_,
                    service: self.service.as_ref(),
                    monitoring: self.monitoring.as_ref(),
                    client: self.client.as_ref(),
                    vars: self.vars.as_ref(),
                }
            }
        }
    };
}
level!(RawDefaults);
level!(RawCluster);
level!(RawHost);
