//! One host's settings, merged from host, cluster and defaults.

use super::destination::{self, Destination};
use super::endpoint::{check_url, refuse_files_without_https, tls_files};
use super::raw::{Level, RawSsh, RawVars};
use super::service;
use super::types::{Become, ClientPort, Monitoring, Service, Ssh, TlsFiles};
use crate::config::check::Checker;
use crate::config::error::Mistake;
use crate::config::yaml::{Span, Spanned, TextOr};

/// Schemes of the monitoring endpoint.
const MONITORING: [&str; 2] = ["http", "https"];
/// Schemes of the client port.
const CLIENT: [&str; 2] = ["nats", "tls"];

/// The levels that apply to a host, nearest first.
pub(super) struct Layers<'r> {
    levels: Vec<Level<'r>>,
}

impl<'r> Layers<'r> {
    pub fn new(host: Level<'r>, cluster: Level<'r>, defaults: Option<Level<'r>>) -> Self {
        Self { levels: [Some(host), Some(cluster), defaults].into_iter().flatten().collect() }
    }

    /// Checks what stands at a level of many hosts, even if each of them overrides it.
    pub fn check_shared(level: &Level<'r>, checker: &mut Checker) {
        let destination = level.ssh.and_then(|ssh| match &ssh.value {
            TextOr::Text(_) => Some(ssh.span),
            TextOr::Long(ssh) => ssh.destination.as_ref().map(|text| text.span),
        });
        if let Some(span) = destination {
            checker.note(
                Mistake::at(span, "an ssh destination can't be shared by hosts")
                    .help("a destination stands in its host; here keys like `user:` and `port:` can"),
            );
        }
        let layers = Self { levels: vec![*level] };
        layers.ssh_settings(checker);
        layers.service(checker);
        super::vars::resolve(&layers, checker);
        if let Some(url) = level.monitoring.and_then(|monitoring| monitoring.value.url.as_ref()) {
            check_url(url, &MONITORING, checker);
        }
        if let Some(url) = level.client.and_then(|client| client.value.url.as_ref()) {
            check_url(url, &CLIENT, checker);
        }
    }

    /// What stands under `vars`, the farthest level first.
    pub fn vars(&self) -> impl Iterator<Item = &'r RawVars> {
        self.levels.iter().rev().filter_map(|level| level.vars)
    }

    fn find<T>(&self, get: impl Fn(&Level<'r>) -> Option<T>) -> Option<(usize, T)> {
        self.levels.iter().enumerate().find_map(|(n, level)| Some((n, get(level)?)))
    }

    /// A key of the long form of `ssh`.
    fn ssh_key<T>(&self, get: impl Fn(&'r RawSsh) -> Option<T>) -> Option<T> {
        let get = |level: &Level<'r>| match &level.ssh?.value {
            TextOr::Long(ssh) => get(ssh),
            TextOr::Text(_) => None,
        };
        self.find(get).map(|(_, value)| value)
    }

    /// How the host called `name` is reached; `None` when its destination can't be read.
    pub fn ssh(&self, name: &Spanned<String>, checker: &mut Checker) -> Option<Ssh> {
        let settings = self.ssh_settings(checker);
        let nearest = self.levels.first().and_then(|level| level.ssh);
        let nearest_keys = nearest.and_then(|ssh| match &ssh.value {
            TextOr::Long(keys) => Some(keys),
            TextOr::Text(_) => None,
        });
        let (text, span) = match nearest.map(|ssh| (&ssh.value, ssh.span)) {
            Some((TextOr::Text(text), span)) => (text, span),
            _ => nearest_keys
                .and_then(|keys| keys.destination.as_ref())
                .map_or((&name.value, name.span), |text| (&text.value, text.span)),
        };
        let destination = match destination::parse(text) {
            Ok(destination) => destination,
            Err(error) => {
                checker.note(explain_destination(&error, span));
                return None;
            }
        };
        if let Some(keys) = nearest_keys {
            check_given_twice(&destination, span, keys, checker);
        }
        Some(Ssh {
            user: destination.user.or(settings.user),
            port: destination.port.or(settings.port),
            destination: destination.host,
            ..settings
        })
    }

    /// All but the destination.
    fn ssh_settings(&self, checker: &mut Checker) -> Ssh {
        let user = self.ssh_key(|ssh| ssh.user.as_ref()).and_then(|user| {
            let is_valid = destination::check_user(&user.value).is_ok();
            if !is_valid {
                checker.note(Mistake::at(user.span, "bad ssh user name"));
            }
            is_valid.then(|| user.value.clone())
        });
        let port = self.ssh_key(|ssh| ssh.port.as_ref());
        let port = port.and_then(|port| checker.count("port", port, u32::from(u16::MAX)));
        let jump = self.ssh_key(|ssh| ssh.jump.as_ref());
        let timeout = self.ssh_key(|ssh| ssh.connect_timeout.as_ref());
        let timeout = timeout.and_then(|text| checker.positive(text, "10s is the default"));
        let mut path =
            |get: fn(&'r RawSsh) -> Option<&'r Spanned<String>>| self.ssh_key(get).and_then(|text| checker.path(text));
        Ssh {
            destination: String::new(),
            user,
            port: port.and_then(|port| u16::try_from(port).ok()),
            identity: path(|ssh| ssh.identity.as_ref()),
            config: path(|ssh| ssh.config.as_ref()),
            known_hosts: path(|ssh| ssh.known_hosts.as_ref()),
            jump: jump.map(|jump| jumps(jump, checker)).unwrap_or_default(),
            connect_timeout: timeout.unwrap_or(Ssh::CONNECT_TIMEOUT),
            mux: self.ssh_key(|ssh| ssh.mux).unwrap_or_default(),
        }
    }

    pub fn become_(&self) -> Become {
        self.find(|level| level.become_).map_or_else(Become::default, |(_, value)| value)
    }

    /// The nearest service as a whole: half of one and half of another would be neither.
    pub fn service(&self, checker: &mut Checker) -> Service {
        let nearest = self.find(|level| level.service);
        nearest.and_then(|(_, raw)| service::resolve(raw, checker)).unwrap_or_default()
    }

    pub fn monitoring(&self, checker: &mut Checker) -> Monitoring {
        let text = |get: fn(&'r super::raw::RawMonitoring) -> Option<&'r Spanned<String>>| {
            self.find(|level| get(&level.monitoring?.value))
        };
        let url = text(|raw| raw.url.as_ref());
        let files = [text(|raw| raw.ca.as_ref()), text(|raw| raw.cert.as_ref()), text(|raw| raw.key.as_ref())];
        let lost = |key: &str| self.levels.iter().filter_map(|level| level.monitoring).any(|raw| raw.lost(key));
        let template = url.and_then(|(_, text)| check_url(text, &MONITORING, checker));
        let is_https = template.as_ref().is_some_and(|url| url.as_str().starts_with("https://"));
        let is_broken = url.is_some() && template.is_none() || lost("url");
        let tls = if is_https || is_broken {
            tls_files(files, lost, checker)
        } else {
            refuse_files_without_https(url, files, checker);
            TlsFiles::default()
        };
        Monitoring {
            url: template,
            via: self.find(|level| level.monitoring?.value.via).map(|(_, via)| via).unwrap_or_default(),
            tls,
        }
    }

    pub fn client(&self, checker: &mut Checker) -> ClientPort {
        let text = |get: fn(&'r super::raw::RawClient) -> Option<&'r Spanned<String>>| {
            self.find(|level| get(&level.client?.value))
        };
        let url = text(|raw| raw.url.as_ref());
        let files = [text(|raw| raw.ca.as_ref()), text(|raw| raw.cert.as_ref()), text(|raw| raw.key.as_ref())];
        let lost = |key: &str| self.levels.iter().filter_map(|level| level.client).any(|raw| raw.lost(key));
        ClientPort {
            url: url.and_then(|(_, text)| check_url(text, &CLIENT, checker)),
            // Also beside `nats://`: there the server says whether it wants TLS.
            tls: tls_files(files, lost, checker),
        }
    }
}

pub(super) fn explain_destination(error: &destination::DestinationError, span: Span) -> Mistake {
    let mistake = Mistake::at(span, error.to_string());
    if *error == destination::DestinationError::Password {
        return mistake.help("secrets are not written inline: use a key or an agent");
    }
    mistake.help("write it as for ssh: `n1`, `deploy@10.0.0.2`, `deploy@10.0.0.2:2222`")
}

/// User or port both in the destination and as a key beside it.
fn check_given_twice(destination: &Destination, span: Span, keys: &RawSsh, checker: &mut Checker) {
    let user = keys.user.as_ref().filter(|_| destination.user.is_some()).map(|key| key.span);
    let port = keys.port.as_ref().filter(|_| destination.port.is_some()).map(|key| key.span);
    for (what, key) in [("user", user), ("port", port)] {
        if let Some(key) = key {
            checker.note(
                Mistake::at(key, format!("the ssh {what} is given twice"))
                    .label(format!("as `{what}:`"))
                    .related(span, "in the destination")
                    .help("remove one of them"),
            );
        }
    }
}

fn jumps(jump: &Spanned<TextOr<Vec<Spanned<String>>>>, checker: &mut Checker) -> Vec<String> {
    let hops: Vec<(&str, Span)> = match &jump.value {
        // As after `ssh -J`.
        TextOr::Text(text) => text.split(',').map(|hop| (hop.trim(), jump.span)).collect(),
        TextOr::Long(hops) => hops.iter().map(|hop| (hop.value.as_str(), hop.span)).collect(),
    };
    for (hop, span) in &hops {
        if let Err(error) = destination::parse(hop) {
            checker.note(explain_destination(&error, *span));
        }
    }
    hops.into_iter().map(|(hop, _)| hop.to_owned()).collect()
}
