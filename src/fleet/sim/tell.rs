//! What servers and hosts say of themselves and of each other, in nats-server's and systemd's words.

use std::time::Duration;

use super::{
    group::Group,
    server::{Server, Stage},
    times::{self, Ms},
    world::World,
};
use crate::core::{
    assets::{
        AssetSeen, Assets, Claim, ConsumerState, Kind, MetaSeen, PeerSeen, ServerAssets, Standing, State, Storage,
        StreamState, assemble,
    },
    gate::{Measure, Moves},
    view::{
        ClientPort, Failure, FailureKind, Health, HealthError, Meta, NextStart, Peer, Seen, ServerView, ServiceState,
        StopSignal, Varz,
    },
};

impl World {
    /// What answers on a host's monitoring port; why nothing does.
    fn answering(&self, server: usize) -> Seen<usize> {
        let entry = &self.servers[server];
        let address = || format!("http://{}:8222", entry.host);
        if entry.boot.is_none() || !entry.link.up(self.now) {
            return Err(Failure::new(FailureKind::Timeout, format!("{}: no answer in time", address())));
        }
        let answers = entry.answers_as.map_or(server, |(other, _)| other);
        match &self.servers[answers].process {
            Some(process) if process.frozen_until > self.now => {
                Err(Failure::new(FailureKind::Timeout, format!("{}: no answer in time", address())))
            }
            Some(process) if process.monitor_at <= self.now => Ok(answers),
            _ => Err(Failure::new(FailureKind::Refused, format!("{}: connection refused", address()))),
        }
    }

    /// What is wrong with a server by `/healthz`, its checks in nats-server's order (`monitor.go`).
    pub(super) fn ill(&self, server: usize) -> Option<Ill<'_>> {
        let entry = &self.servers[server];
        let Some(process) = &entry.process else { return Some(Ill::NotRunning) };
        if process.stage != Stage::Serving {
            return Some(Ill::Listeners);
        }
        if process.sick_at.is_some_and(|at| at <= self.now) {
            return Some(Ill::Disabled);
        }
        if !self.jetstream || self.servers.len() == 1 {
            return None;
        }
        let meta = &self.groups[0];
        if !process.joined {
            return Some(if entry.at_least(2, 14) { Ill::Recovering } else { Ill::NoContact });
        }
        // Survivors of a lost leader go on saying 200 until well after the election (17–19 s, measured).
        if !(meta.leader.is_some() || meta.leaderless_since.is_some_and(|at| self.now - at < 17_000)) {
            return Some(Ill::NoContact);
        }
        if !meta.member(server).is_some_and(|member| meta.members[member].synced) {
            return Some(Ill::MetaBehind);
        }
        let behind = |group: &&Group| {
            // A follower whose group has no leader can pass.
            group.kind != Kind::Meta
                && group.leader.is_some()
                && group.member(server).is_some_and(|member| group.members[member].stuck)
        };
        self.groups.iter().find(behind).map(Ill::Behind)
    }

    /// `/healthz?details=true`.
    pub(super) fn health(&self, server: usize) -> Health {
        match self.ill(server) {
            None => Health { code: 200, errors: Vec::new() },
            Some(Ill::NotRunning) => sick(500, "CONNECTION", "not running"),
            // Recovery and lame duck have the same body (measured).
            Some(Ill::Listeners) => {
                sick(500, "CONNECTION", "failed to be ready for connections after 1ms: server, route")
            }
            Some(Ill::Disabled) => sick(503, "JETSTREAM", "JetStream not enabled"),
            Some(Ill::Recovering) => sick(503, "JETSTREAM", "JetStream is still recovering meta layer"),
            Some(Ill::NoContact) => sick(503, "JETSTREAM", "JetStream has not established contact with a meta leader"),
            Some(Ill::MetaBehind) => sick(503, "JETSTREAM", "JetStream is not current with the meta leader"),
            Some(Ill::Behind(group)) => {
                let what = if group.kind == Kind::Stream { "stream" } else { "consumer" };
                let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                let error = HealthError {
                    kind: what.to_uppercase(),
                    error: format!("JetStream {what} '{}' is not current: {what} catching up", group.named()),
                    account: named(&group.account),
                    stream: named(&group.stream),
                    consumer: named(&group.consumer),
                };
                Health { code: 503, errors: vec![error] }
            }
        }
    }

    fn routed(&self, from: usize, to: usize) -> bool {
        // Lame duck keeps its routes to the end.
        let has_routes = |server: usize| {
            self.servers[server].process.as_ref().is_some_and(|p| p.joined && p.frozen_until <= self.now)
        };
        let cut = self.split.iter().any(|(a, b, _)| (*a, *b) == (from, to) || (*b, *a) == (from, to));
        from != to && has_routes(from) && has_routes(to) && !cut && self.pools_agree(from, to)
    }

    fn name(&self, server: usize) -> String {
        self.servers[server].process.as_ref().map_or_else(|| self.servers[server].name.clone(), |p| p.name.clone())
    }

    /// `/varz`.
    fn varz(&self, host: usize) -> Seen<Varz> {
        let server = self.answering(host)?;
        let entry = &self.servers[server];
        let Some(process) = &entry.process else {
            return Err(Failure::new(FailureKind::Refused, "connection refused"));
        };
        let meta = (self.jetstream && self.servers.len() > 1).then(|| {
            let group = &self.groups[0];
            let leader = group.leader.or(group.last_leader).filter(|_| process.joined);
            let size = u32::try_from(group.members.len()).unwrap_or(u32::MAX);
            Meta { leader: leader.map(|leader| self.servers[leader].name.clone()), size, members: Vec::new() }
        });
        let remotes = (0..self.servers.len()).filter(|other| self.routed(server, *other)).count();
        let ours = self.controllers.iter().filter(|controller| controller.system == Some(server)).count();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Ok(Varz {
            server_id: process.id.clone(),
            server_name: process.name.clone(),
            version: entry.version.clone(),
            start: self.clock(process.started, entry.clock),
            now: self.clock(self.now, entry.clock),
            cluster: Some(process.cluster.into()),
            client_host: "0.0.0.0".into(),
            client_port: 4222,
            tls_required: false,
            auth_required: true,
            connections: count(entry.attached() + ours),
            leafnodes: u64::from(entry.leafnodes),
            gateways: Some(0),
            remotes: count(remotes),
            config_load_time: Some(self.clock(process.loaded, entry.clock)),
            config_digest: entry.at_least(2, 11).then(|| format!("sha256:{}", process.config)),
            jetstream: self.jetstream && process.stage != Stage::LameDuck,
            meta,
            route_pool: Some(entry.route_pool),
            api_level: (self.jetstream && entry.at_least(2, 11)).then(|| entry.release.api_level()),
            feature_flags: entry.flags(),
            listeners: Vec::new(),
        })
    }

    /// `/routez`.
    pub(super) fn routes(&self, host: usize) -> Seen<Vec<Peer>> {
        let server = self.answering(host)?;
        let peer = |other: usize| {
            let process = self.servers[other].process.as_ref()?;
            Some(Peer { server_id: process.id.clone(), server_name: Some(process.name.clone()) })
        };
        let mut peers: Vec<Peer> =
            (0..self.servers.len()).filter(|other| self.routed(server, *other)).filter_map(peer).collect();
        if self.stranger.is_some_and(|(of, _)| of == server) {
            peers.push(Peer { server_id: "NSTRANGER".into(), server_name: Some("stranger".into()) });
        }
        Ok(peers)
    }

    /// What INFO, CONNECT and PING get on the client port of the server that answers.
    fn client_port(&self, server: usize) -> Seen<ClientPort> {
        let entry = &self.servers[server];
        if entry.client_port_lost.is_some() {
            return Err(Failure::new(FailureKind::Tls, format!("client port of {}: unknown issuer", entry.host)));
        }
        match self.answering(server) {
            Err(failure) => Err(failure),
            Ok(answers) if self.servers[answers].serves(self.now) => Ok(ClientPort::AsksCredentials),
            Ok(_) => {
                Err(Failure::new(FailureKind::Refused, format!("client port of {}: connection refused", entry.host)))
            }
        }
    }

    /// `systemctl show`, over ssh.
    pub(super) fn service(&self, server: usize) -> Seen<ServiceState> {
        let entry = &self.servers[server];
        self.reachable(server)?;
        Ok(ServiceState {
            phase: entry.unit.phase,
            words: entry.words(),
            result: entry.unit.result.into(),
            exit: entry.unit.exit,
            restarts: Some(entry.unit.restarts),
            pid: entry.process.as_ref().map(|process| process.pid),
            boot_id: entry.boot.map(|boot| format!("boot-{boot}")),
            stop_timeout_ms: Some(entry.unit.stop_timeout),
            enabled: Some(entry.unit.enabled()),
            stop_signals: if entry.unit.kills {
                vec![StopSignal::Kill]
            } else {
                vec![StopSignal::LameDuck, StopSignal::Term]
            },
            next: NextStart {
                version: Some(entry.files.version().to_owned()),
                lame_duck_ms: Some(entry.lame_duck),
                config_at: Some(self.clock(entry.files.changed.unwrap_or(0), entry.clock)),
            },
            by_hand: format!("ssh {} sudo systemctl start nats-server", entry.host),
        })
    }

    /// Whether ssh to a host works now.
    pub(super) fn reachable(&self, server: usize) -> Seen<()> {
        let entry = &self.servers[server];
        if entry.boot.is_some() && entry.link.up(self.now) {
            return Ok(());
        }
        let text = format!("ssh {}: no answer in time", entry.host);
        Err(Failure::new(FailureKind::Timeout, text))
    }

    /// One server over its monitoring port.
    pub(super) fn server_view(&self, server: usize, clock: i64) -> ServerView {
        let entry = &self.servers[server];
        let not_asked = |what: &str| Failure::new(FailureKind::NotAsked, format!("{what} was not looked at"));
        let answers = self.answering(server);
        ServerView {
            host: entry.host.clone(),
            server_name: entry.name.clone(),
            zone: entry.zone.clone(),
            at: self.clock(self.now, clock),
            varz: self.varz(server),
            health: answers.map(|answers| self.health(answers)),
            routes: self.routes(server),
            client: Err(not_asked("the client port")),
            service: Err(not_asked("the service")),
        }
    }

    /// The same with its host: sudo, service, client port.
    pub(super) fn inspected(&self, server: usize, clock: i64) -> ServerView {
        let sudo = || {
            let text = "sudo: a password is required (exit status 1)";
            if self.servers[server].sudo { Ok(()) } else { Err(Failure::new(FailureKind::Sudo, text)) }
        };
        let service = self.service(server).and_then(|state| sudo().map(|()| state));
        let mut view = self.server_view(server, clock);
        view.client = match &view.varz {
            Ok(_) => self.client_port(server),
            Err(_) => Err(Failure::new(FailureKind::NotAsked, "not asked: the server does not answer yet")),
        };
        ServerView { service, ..view }
    }

    /// All streams and consumers, put together from what each server says.
    pub(super) fn assets(&self, clock: i64) -> Assets {
        let say = |server: usize| {
            let name = self.servers[server].name.clone();
            let seen = self.answering(server).and_then(|answers| {
                if self.servers[answers].silent {
                    return Err(Failure::new(FailureKind::Timeout, format!("/jsz of {name}: no answer in time")));
                }
                if answers == server && self.name(server) == name {
                    return Ok(self.server_assets(server, clock));
                }
                let text = format!("the server at {} is {}, not {name}", self.servers[server].host, self.name(answers));
                Err(Failure::new(FailureKind::Protocol, text))
            });
            (name, seen)
        };
        assemble((0..self.servers.len()).map(say).collect())
    }

    fn server_assets(&self, server: usize, clock: i64) -> ServerAssets {
        let entry = &self.servers[server];
        let lame = entry.process.as_ref().is_none_or(|process| process.stage != Stage::Serving);
        let mut seen = ServerAssets {
            server: entry.name.clone(),
            server_id: entry.process.as_ref().map(|process| process.id.clone()).unwrap_or_default(),
            at: self.clock(self.now, clock),
            jetstream: self.jetstream && !lame,
            meta: None,
            assets: Vec::new(),
            account_names: Vec::new(),
            gaps: Vec::new(),
        };
        if lame || !self.jetstream {
            return seen;
        }
        for (number, group) in self.groups.iter().enumerate() {
            let Some(member) = group.member(server) else { continue };
            let claim = self.claim(number, server);
            if group.kind == Kind::Meta {
                let size = u32::try_from(group.members.len()).unwrap_or(u32::MAX);
                seen.meta = Some(MetaSeen { claim, size, requests: 0 });
                continue;
            }
            let copy = &group.members[member];
            if copy.unsupported {
                // It tells nothing of it (seen on 2.11.11).
                continue;
            }
            let first_seq = if copy.last_seq == 0 { 0 } else { 1 };
            let state = match group.kind {
                Kind::Consumer => State::Consumer(ConsumerState::default()),
                _ => State::Stream(StreamState {
                    messages: copy.messages,
                    last_seq: copy.last_seq,
                    first_seq,
                    ..StreamState::default()
                }),
            };
            seen.assets.push(AssetSeen {
                kind: group.kind,
                account: group.account.clone(),
                stream: group.stream.clone(),
                consumer: group.consumer.clone(),
                raft: (!group.single()).then(|| group.raft.clone()),
                wanted: u32::try_from(group.members.len()).unwrap_or(u32::MAX),
                storage: if group.memory { Storage::Memory } else { Storage::File },
                node: true,
                claim,
                subjects: group.subjects.clone(),
                last_active: group.in_use.then(|| self.clock(self.now, entry.clock)),
                durable: true,
                level: group.level,
                state,
            });
        }
        seen
    }

    /// What a server says of a group: who leads, and if it does itself, how the others stand.
    fn claim(&self, number: usize, server: usize) -> Claim {
        let group = &self.groups[number];
        let joined = self.servers[server].in_raft(self.now) || group.single();
        let leader = group.leader.or(group.last_leader.filter(|last| *last != server)).filter(|_| joined);
        let others = group.members.iter().filter(|member| member.server != server);
        let peers = others.map(|member| {
            let fit = self.servers[member.server].in_raft(self.now) && !member.unsupported;
            let away = member.unfit_since.map_or(0, |since| self.now - since);
            let active = if fit { self.now % 1_000 } else { away };
            let standing = Standing {
                // A peer that is gone stays current for a while; one that is back and behind is not.
                current: member.synced || (!fit && away < times::CURRENT_FOR),
                offline: !fit && away > times::OFFLINE_AFTER,
                active: Duration::from_millis(active),
                lag: if member.synced || !fit { 0 } else { 100 },
                joining: false,
            };
            PeerSeen { server: self.servers[member.server].name.clone(), standing }
        });
        Claim {
            leader: leader.map(|leader| self.servers[leader].name.clone()),
            peers: peers.collect(),
            moving: group.moving_since.is_some(),
        }
    }

    /// `/jsz` while the store is recovered, and over ssh what the process has read.
    pub(super) fn recovery(&self, server: usize) -> Vec<Measure> {
        let Some(process) = &self.servers[server].process else { return Vec::new() };
        let elapsed = self.now.saturating_sub(process.started);
        let read = process.reads.by(elapsed);
        let measure = |what, value| Measure { what, value, of: None };
        let mut found = Vec::new();
        // Lame duck has closed JetStream by then.
        if self.jetstream && process.stage != Stage::LameDuck && self.answering(server) == Ok(server) {
            let copies = || self.groups.iter().filter(|group| group.kind == Kind::Stream && !group.memory);
            let copies = || copies().filter_map(|group| group.member(server).map(|member| &group.members[member]));
            let (streams, took) = (copies().count() as u64, process.reads.took.max(1));
            let messages: u64 = copies().map(|copy| copy.messages).sum();
            // One stream after the other, and a stream's messages show when it is there.
            let there = streams * read / took;
            let restored = if there == streams { messages } else { messages / streams.max(1) * there };
            found.extend([measure(Moves::Streams, there), measure(Moves::Messages, restored)]);
        }
        if self.reachable(server).is_ok() {
            let bytes = read * times::READS + elapsed * times::READS_IDLE;
            found.push(measure(Moves::BytesRead, bytes));
        }
        found
    }

    /// A span of the world's clock, as a reply time for what never comes.
    pub(super) fn any_unreachable(&self, hosts: impl Iterator<Item = usize>) -> bool {
        let mut hosts = hosts;
        hosts.any(|server| {
            let frozen = |entry: &Server| entry.process.as_ref().is_some_and(|p| p.frozen_until > self.now);
            self.reachable(server).is_err() || frozen(&self.servers[server])
        })
    }

    /// The slowest way there and back, of several at once.
    pub(super) fn slowest(&mut self) -> Ms {
        let mut slowest = 0;
        for server in &self.servers {
            slowest = slowest.max(server.link.one_way(&mut self.rng));
        }
        slowest
    }
}

/// What healthz would complain of first.
pub(super) enum Ill<'a> {
    NotRunning,
    Listeners,
    Disabled,
    Recovering,
    NoContact,
    MetaBehind,
    Behind(&'a Group),
}

fn sick(code: u16, kind: &str, error: &str) -> Health {
    let error =
        HealthError { kind: kind.to_owned(), error: error.to_owned(), account: None, stream: None, consumer: None };
    Health { code, errors: vec![error] }
}
