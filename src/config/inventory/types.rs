//! The resolved inventory: nothing in it needs another look at the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::url::UrlTemplate;
use crate::config::duration;

/// All clusters of one inventory file, defaults merged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Where it was read from, as given.
    pub path: PathBuf,
    /// Stable hash of the text in hex: tells whether the file changed between a run and its
    /// resumption. It is no defence against someone who wants two files to collide.
    pub digest: String,
    /// The clusters, in the order of the file; never empty.
    pub clusters: Vec<Cluster>,
    /// Where journals are mirrored, if anywhere.
    pub state: Option<Kv>,
}

/// A key-value bucket for what other runners must find: leases and journals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kv {
    /// How its cluster is reached; a direct one has servers.
    pub nats: Nats,
    /// Its name.
    pub bucket: String,
}

/// A NATS cluster: the servers that have routes to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its key in the inventory. Not necessarily the `cluster.name` of the servers.
    pub name: String,
    /// Its hosts, in the order of the file; never empty.
    pub hosts: Vec<Host>,
    /// Our user of the system account; `None` where the inventory names none.
    pub nats: Option<Nats>,
}

/// A user of a cluster: of its system account, or of the one that has the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nats {
    /// A context of the NATS CLI: where it is found and what is in it is for who connects.
    Context {
        /// Its name: letters, digits, `.`, `_`, `-`.
        name: String,
    },
    /// All of it in the inventory.
    Direct {
        /// Client URLs, `nats` or `tls`; empty for the hosts' own client ports.
        servers: Vec<String>,
        /// Who we are.
        login: Login,
        /// For servers that want TLS; `None` for the files of the hosts' `client`.
        tls: Option<TlsFiles>,
    },
}

/// Who we are to a NATS server; files and names, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Login {
    /// A credentials file: user JWT and seed.
    Creds(PathBuf),
    /// A file with an nkey's seed.
    Nkey(PathBuf),
    /// A name and a password.
    User {
        /// The name.
        name: String,
        /// Where the password is.
        password: PasswordSource,
    },
    /// The TLS certificate says who we are (`verify_and_map` in the servers' configuration).
    Certificate,
}

/// Where a password is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PasswordSource {
    /// The first line of this file.
    File(PathBuf),
    /// The environment variable of this name.
    Env(String),
}

/// A host that runs one nats-server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// What the operator calls it; unique in the inventory.
    pub name: String,
    /// The server's `server_name`; unique in the cluster. Equals `name` unless given.
    pub server_name: String,
    /// Failure domain, if given: hosts of one zone are rolled together.
    pub zone: Option<String>,
    /// How it is reached.
    pub ssh: Ssh,
    /// How privileges are gained on it.
    pub become_: Become,
    /// What starts and stops the server.
    pub service: Service,
    /// Where the server's monitoring endpoint is and how to get there.
    pub monitoring: Monitoring,
    /// Where clients connect.
    pub client: ClientPort,
    /// Values for templates, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Var>,
}

/// A value for templates. What comes from elsewhere is a secret: it is read when it is used, and never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Var {
    /// As written.
    Plain(String),
    /// In this environment variable of rollgate's.
    Env(String),
    /// In this file of the controller.
    File(PathBuf),
}

/// How a host is reached with the operator's own `ssh`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ssh {
    /// Alias, name or address, without user, port and brackets. Never empty, never begins with
    /// `-` (which ssh would take for an option).
    pub destination: String,
    /// Login name; `None` leaves it to the ssh configuration.
    pub user: Option<String>,
    /// Port, never 0; `None` leaves it to the ssh configuration.
    pub port: Option<u16>,
    /// Private key file (`ssh -i`).
    pub identity: Option<PathBuf>,
    /// Jump hosts in the order they are passed through (`ssh -J`), as written.
    pub jump: Vec<String>,
    /// Configuration file used in place of the user's own (`ssh -F`).
    pub config: Option<PathBuf>,
    /// Known hosts file (`UserKnownHostsFile`).
    pub known_hosts: Option<PathBuf>,
    /// How long the TCP connect and the key exchange may take.
    #[serde(with = "duration::text")]
    pub connect_timeout: Duration,
    /// How commands share a connection.
    pub mux: Mux,
}

/// How commands to one host share one ssh connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename = "mux setting", rename_all = "kebab-case")]
#[schemars(rename = "mux")]
pub enum Mux {
    /// Speak the control socket's protocol ourselves: no process per command.
    #[default]
    Native,
    /// Start an `ssh` process per command, for an ssh whose control protocol differs.
    Process,
}

/// How privileges are gained on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename = "become setting", rename_all = "kebab-case")]
#[schemars(rename = "become")]
pub enum Become {
    /// `sudo -n`: never asks for a password.
    #[default]
    Sudo,
    /// Not at all: the login user may do what is needed.
    None,
}

/// What starts and stops the server on its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// A systemd unit.
    Systemd {
        /// Unit name, always with its `.service` suffix.
        unit: String,
    },
    /// A Docker container.
    Docker {
        /// Its name.
        container: String,
    },
    /// A Podman container.
    Podman {
        /// Its name.
        container: String,
    },
    /// The operator's own commands, each a program and its arguments; none is empty.
    Command {
        /// Starts the server and returns.
        start: Vec<String>,
        /// Stops the server and returns.
        stop: Vec<String>,
        /// Exits with 0 while the server runs.
        status: Vec<String>,
        /// Prints the server's recent log, if there is a way.
        logs: Option<Vec<String>>,
    },
}

/// Where a server's monitoring endpoint is and how to get there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Monitoring {
    /// Its `http` or `https` URL without a path; `None` leaves the choice to the program.
    pub url: Option<UrlTemplate>,
    /// From where it is asked.
    pub via: Via,
    /// For `https`.
    pub tls: TlsFiles,
}

/// From where the monitoring endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename = "via setting", rename_all = "kebab-case")]
#[schemars(rename = "via")]
pub enum Via {
    /// Directly where that works, else through ssh.
    #[default]
    Auto,
    /// From this machine.
    Direct,
    /// From the host, through ssh: port 8222 is often bound to localhost.
    Ssh,
}

/// Files for TLS; paths, never contents. A `cert` never stands without its `key`, nor the reverse.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TlsFiles {
    /// Certificates to trust, PEM; `None` for those of the system.
    pub ca: Option<PathBuf>,
    /// Our certificate, PEM.
    pub cert: Option<PathBuf>,
    /// The key of `cert`, PEM.
    pub key: Option<PathBuf>,
}

/// Where clients connect to the server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClientPort {
    /// Its `nats` or `tls` URL; `None` leaves the choice to the program.
    pub url: Option<UrlTemplate>,
    /// For a port that demands TLS.
    pub tls: TlsFiles,
}

impl fmt::Display for Ssh {
    /// As an operator would type it: `deploy@10.0.0.2:2222`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.destination.contains(':') => {
                write!(f, "[{}]:{port}", self.destination)
            }
            Some(port) => write!(f, "{}:{port}", self.destination),
            None => f.write_str(&self.destination),
        }
    }
}

impl Default for Ssh {
    /// No destination yet; everything else as when the inventory says nothing.
    fn default() -> Self {
        Self {
            destination: String::new(),
            user: None,
            port: None,
            identity: None,
            jump: Vec::new(),
            config: None,
            known_hosts: None,
            connect_timeout: Self::CONNECT_TIMEOUT,
            mux: Mux::default(),
        }
    }
}

impl Ssh {
    /// Ten seconds: a first connect takes about 0.3 s on a healthy link (measured), a jump host
    /// doubles it, and a TCP handshake that lost its first packets is through after 1 + 2 + 4 s.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
}

impl Default for Service {
    /// The unit name of the published packages.
    fn default() -> Self {
        Self::Systemd { unit: "nats-server.service".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_prints_as_typed() {
        let check = |destination: &str, user: Option<&str>, port, expected: &str| {
            let ssh =
                Ssh { destination: destination.to_owned(), user: user.map(str::to_owned), port, ..Ssh::default() };
            assert_eq!(ssh.to_string(), expected);
        };
        check("n1", None, None, "n1");
        check("10.0.0.2", Some("deploy"), Some(2222), "deploy@10.0.0.2:2222");
        check("fd00::1", Some("deploy"), Some(22), "deploy@[fd00::1]:22");
    }
}
