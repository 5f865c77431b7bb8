//! What the rules need of a server's configuration.

use super::evidence::Archive;

/// A configured listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What it is for.
    pub kind: ListenerKind,
    /// The address; empty for any.
    pub host: String,
    /// The port; 0 lets the kernel choose.
    pub port: u16,
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ListenerKind {
    Client,
    Monitoring,
    Route,
    Gateway,
    Leafnode,
    Websocket,
    Mqtt,
}

impl ListenerKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Monitoring => "monitoring",
            Self::Route => "route",
            Self::Gateway => "gateway",
            Self::Leafnode => "leafnode",
            Self::Websocket => "websocket",
            Self::Mqtt => "MQTT",
        }
    }
}

/// The configuration, as far as the rules need it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The listeners that the server is to open.
    pub listeners: Vec<Endpoint>,
    /// `server_name`.
    pub server_name: Option<String>,
    /// `cluster.name`.
    pub cluster_name: Option<String>,
    /// There is a `cluster` block with a listener.
    pub clustered: bool,
    /// JetStream is enabled.
    pub jetstream: bool,
    /// `jetstream.max_file_store` in bytes, where it is set.
    pub max_file: Option<u64>,
    /// `cluster.routes`, without user and password.
    pub routes: Vec<String>,
    /// It connects to other servers as a leafnode, which clustered JetStream takes in place of routes.
    pub solicits_leafnodes: bool,
    /// `lame_duck_duration` in seconds.
    pub lame_duck_s: Option<u64>,
    /// Names and addresses by which others are told to reach the server.
    pub advertised: Vec<String>,
}

impl Settings {
    /// The settings in an archive's configuration; none where it could not be read.
    pub fn of(_archive: &Archive) -> Option<Self> {
        None
    }
}
