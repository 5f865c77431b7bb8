//! What a world is made from: servers, assets, clients. By hand, at random, or as a real cluster was observed.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::times::LAME_DUCK;
use crate::core::{
    assets::{Kind, Storage},
    version::Version,
    view::{ServerView, StopSignal, View},
};

/// A stream that took a message this recently goes on taking them in the world.
const RECENT: Duration = Duration::from_secs(15 * 60);

/// A cluster as it stands before anything happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The cluster's name in the inventory.
    #[serde(default = "Topology::default_name")]
    pub cluster: String,
    /// The servers.
    pub servers: Vec<ServerSpec>,
    /// Streams and consumers. The meta group comes by itself.
    #[serde(default)]
    pub assets: Vec<AssetSpec>,
    /// JetStream is on.
    #[serde(default = "yes")]
    pub jetstream: bool,
    /// The inventory names a system account.
    #[serde(default = "yes")]
    pub system_account: bool,
    /// The servers have no configured names: each goes by its id.
    #[serde(default)]
    pub unnamed: bool,
    /// The host whose server leads the meta group; by default the last one's.
    #[serde(default)]
    pub meta_leader: Option<String>,
}

fn yes() -> bool {
    true
}

/// One server and its host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSpec {
    /// The host's name in the inventory.
    pub host: String,
    /// The server's name; the host's where it is not given.
    #[serde(default)]
    pub server_name: Option<String>,
    /// The host's zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// nats-server's version.
    #[serde(default = "ServerSpec::default_version")]
    pub version: String,
    /// Clients.
    #[serde(default)]
    pub clients: u32,
    /// Clients that know no other server, and come back whatever they are told.
    #[serde(default)]
    pub stubborn: u32,
    /// Leafnodes.
    #[serde(default)]
    pub leafnodes: u32,
    /// How long the store takes to be recovered, in milliseconds; by default some tens.
    #[serde(default)]
    pub recovery_ms: Option<u64>,
    /// It does not run, and its unit has failed.
    #[serde(default)]
    pub down: bool,
    /// The version of the program on its host's disk, which the next start runs; the one that runs where it is not given.
    #[serde(default)]
    pub on_disk: Option<String>,
    /// `cluster.pool_size`; as nats-server has it by default where it is not given.
    #[serde(default)]
    pub route_pool: Option<i64>,
    /// Its configuration was written since its start, and is none that nats-server takes.
    #[serde(default)]
    pub config_broken: bool,
    /// Its unit's `TimeoutStopSec`, in milliseconds; as in the published unit where it is not given.
    #[serde(default)]
    pub stop_timeout_ms: Option<u64>,
    /// Its unit stops it by SIGKILL.
    #[serde(default)]
    pub kills: bool,
    /// `lame_duck_duration` of the running server, in milliseconds; as nats-server has it by default where it is not given.
    #[serde(default)]
    pub lame_duck_ms: Option<u64>,
}

/// One stream or consumer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetSpec {
    /// The account.
    #[serde(default = "AssetSpec::default_account")]
    pub account: String,
    /// The stream.
    pub stream: String,
    /// The consumer, where it is one.
    #[serde(default)]
    pub consumer: Option<String>,
    /// The hosts with a replica; the first one leads.
    pub on: Vec<String>,
    /// Kept in memory.
    #[serde(default)]
    pub memory: bool,
    /// Somebody writes to it.
    #[serde(default)]
    pub in_use: bool,
    /// Messages in it.
    #[serde(default = "AssetSpec::default_messages")]
    pub messages: u64,
    /// Subjects.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// The JetStream API level that it needs.
    #[serde(default)]
    pub level: u32,
    /// It mirrors a stream from which whole ranges of messages are deleted.
    #[serde(default)]
    pub gaps: bool,
}

impl AssetSpec {
    /// A stream of a thousand messages, on these hosts.
    pub fn stream(name: &str, on: &[String]) -> Self {
        Self {
            account: Self::default_account(),
            stream: name.to_owned(),
            consumer: None,
            on: on.to_vec(),
            memory: false,
            in_use: false,
            messages: Self::default_messages(),
            subjects: vec![format!("{}.>", name.to_lowercase())],
            level: 0,
            gaps: false,
        }
    }

    fn default_account() -> String {
        "APP".into()
    }

    fn default_messages() -> u64 {
        1_000
    }
}

impl ServerSpec {
    fn default_version() -> String {
        "2.15.1".into()
    }

    /// A server of the newest version known, with nobody attached.
    pub fn named(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            server_name: None,
            zone: None,
            version: Self::default_version(),
            clients: 0,
            stubborn: 0,
            leafnodes: 0,
            recovery_ms: None,
            down: false,
            on_disk: None,
            route_pool: None,
            config_broken: false,
            stop_timeout_ms: None,
            kills: false,
            lame_duck_ms: None,
        }
    }

    /// The server's name.
    pub fn name(&self) -> &str {
        self.server_name.as_deref().unwrap_or(&self.host)
    }
}

/// The running lame duck duration where it is known to be another than by default: what was written since the start may not be
/// it, and then it is at least that long.
fn lame_duck(server: &ServerView) -> Option<u64> {
    let next = &server.service.as_ref().ok()?.next;
    let written = next.lame_duck_ms?;
    let started = server.varz.as_ref().ok()?.start;
    Some(if next.config_at.is_some_and(|at| at <= started) { written } else { written.max(LAME_DUCK) })
}

fn level_of(version: &str) -> u32 {
    Version::of(version).map_or(0, Version::api_level)
}

/// Versions that random clusters run: the oldest one supported, and the last of each minor since.
const VERSIONS: [&str; 5] = ["2.10.26", "2.11.11", "2.12.8", "2.14.6", "2.15.1"];

impl Topology {
    fn default_name() -> String {
        "sim".into()
    }

    /// `count` servers `n1`, `n2`, …, with JetStream and nothing in it.
    pub fn of(count: usize) -> Self {
        Self {
            cluster: Self::default_name(),
            servers: (1..=count).map(|n| ServerSpec::named(&format!("n{n}"))).collect(),
            assets: Vec::new(),
            jetstream: true,
            system_account: true,
            unnamed: false,
            meta_leader: None,
        }
    }

    /// The hosts, in inventory order.
    pub fn hosts(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.host.clone()).collect()
    }

    /// A random cluster: mostly three or five servers, most with JetStream, a few streams of every sort.
    pub fn random(rng: &mut Rng) -> Self {
        let count = [3, 3, 3, 3, 5, 5, 4, 2, 7, 1][rng.usize(..10)];
        let version = VERSIONS[rng.usize(..VERSIONS.len())];
        let mut topology = Self::of(count);
        topology.jetstream = rng.u8(..10) > 1;
        topology.system_account = rng.u8(..4) > 0;
        let zones = rng.bool();
        for (number, server) in topology.servers.iter_mut().enumerate() {
            server.version = version.to_owned();
            server.clients = rng.u32(..12);
            server.leafnodes = u32::from(rng.u8(..8) == 0);
            server.stubborn = u32::from(rng.u8(..12) == 0);
            server.zone = zones.then(|| ["a", "b", "c"][number % 3].to_owned());
        }
        if topology.jetstream {
            for number in 0..rng.usize(..5) {
                topology.random_asset(number, rng);
            }
        }
        topology.random_disks(rng);
        topology
    }

    fn random_asset(&mut self, number: usize, rng: &mut Rng) {
        let mut on = self.hosts();
        rng.shuffle(&mut on);
        let replicas = [1, 3, 3, 3, 5][rng.usize(..5)].min(on.len());
        // An even number of replicas, or one by accident, is what operators should not have, and do.
        on.truncate(if replicas == 1 && rng.u8(..3) > 0 { on.len().min(3) } else { replicas });
        let single = on.len() == 1;
        let stream = format!("S{number}");
        let asset = AssetSpec {
            memory: !single && rng.u8(..6) == 0,
            // An only copy in use is refused without consent: rolls that never begin prove little.
            in_use: !single && rng.bool(),
            messages: rng.u64(1..100_000),
            gaps: !single && rng.u8(..6) == 0,
            level: if rng.u8(..4) == 0 { rng.u32(..=level_of(&self.servers[0].version)) } else { 0 },
            ..AssetSpec::stream(&stream, &on)
        };
        self.assets.push(asset.clone());
        if !single && rng.bool() {
            let consumer = Some("C0".to_owned());
            let asset = AssetSpec { in_use: false, memory: false, level: 0, gaps: false, ..asset };
            self.assets.push(AssetSpec { consumer, subjects: vec![], ..asset });
        }
    }

    /// What waits on the hosts for the next stop and start.
    fn random_disks(&mut self, rng: &mut Rng) {
        if rng.u8(..6) == 0 {
            let version = VERSIONS[rng.usize(..VERSIONS.len())];
            self.servers.iter_mut().for_each(|server| server.on_disk = Some(version.to_owned()));
        }
        if rng.u8(..12) == 0 {
            self.servers.iter_mut().for_each(|server| server.stop_timeout_ms = Some(90_000));
        }
        let one = rng.usize(..self.servers.len());
        match rng.u8(..48) {
            0 => self.servers[one].kills = true,
            1 => self.servers[one].config_broken = true,
            // Older servers have no routes then: there would be no cluster to begin with.
            2..=4 if level_of(&self.servers[one].version) > 0 => self.servers[one].route_pool = Some(5),
            _ => {}
        }
    }

    /// A cluster as it was observed: what a rehearsal plays with. What could not be seen is taken for healthy and empty;
    /// the caller must tell the operator what that is.
    pub fn observed(view: &View, system_account: bool) -> Self {
        let by_server: BTreeMap<&str, &str> =
            view.servers.iter().map(|server| (server.server_name.as_str(), server.host.as_str())).collect();
        let servers = view.servers.iter().map(|server| {
            let varz = server.varz.as_ref().ok();
            let service = server.service.as_ref().ok();
            ServerSpec {
                on_disk: service.and_then(|service| service.next.version.clone()),
                route_pool: varz.and_then(|varz| varz.route_pool),
                stop_timeout_ms: service.and_then(|service| service.stop_timeout_ms),
                lame_duck_ms: lame_duck(server),
                kills: service.is_some_and(|service| service.stop_signals.first() == Some(&StopSignal::Kill)),
                server_name: Some(server.server_name.clone()),
                zone: server.zone.clone(),
                version: varz.map_or_else(ServerSpec::default_version, |varz| varz.version.clone()),
                clients: varz.map_or(0, |varz| u32::try_from(varz.connections).unwrap_or(u32::MAX)),
                leafnodes: varz.map_or(0, |varz| u32::try_from(varz.leafnodes).unwrap_or(u32::MAX)),
                down: varz.is_none(),
                ..ServerSpec::named(&server.host)
            }
        });
        let groups = view.assets.iter().flat_map(|assets| &assets.groups).filter(|group| group.kind != Kind::Meta);
        let assets = groups.map(|group| {
            let mut on: Vec<String> = group
                .members
                .iter()
                .filter_map(|member| by_server.get(member.server.as_str()).map(|host| (*host).to_owned()))
                .collect();
            // The leader goes first.
            on.sort_by_key(|host| {
                let leader = group.leader.server.as_deref().and_then(|leader| by_server.get(leader));
                leader != Some(&host.as_str())
            });
            let recent = group.last_active.is_some_and(|at| view.at.duration_since(at).unsigned_abs() <= RECENT);
            let messages = group.copies.iter().filter_map(|copy| match copy.state {
                crate::core::assets::State::Stream(state) => Some(state.messages),
                crate::core::assets::State::Consumer(_) => None,
            });
            AssetSpec {
                account: group.account.clone(),
                stream: group.stream.clone(),
                consumer: (group.kind == Kind::Consumer).then(|| group.consumer.clone()),
                on,
                memory: group.storage == Storage::Memory,
                in_use: recent,
                messages: messages.max().unwrap_or_default(),
                subjects: group.subjects.clone(),
                level: group.level,
                gaps: false,
            }
        });
        let jetstream = view.servers.iter().any(|server| server.varz.as_ref().is_ok_and(|varz| varz.jetstream));
        let leader = view.meta_leader().and_then(|name| by_server.get(name)).map(|host| (*host).to_owned());
        Self {
            cluster: view.cluster.clone(),
            servers: servers.collect(),
            assets: assets.filter(|asset| !asset.on.is_empty()).collect(),
            jetstream,
            system_account,
            unnamed: false,
            meta_leader: leader,
        }
    }
}
