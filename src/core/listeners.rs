//! The TLS listeners of a server, and whether the certificate of each is as good as before the restart.
//!
//! Servers start and are healthy with an expired certificate (measured, 2.10.26 to 2.15.1), and clients that were
//! connected stay: only a handshake tells. After a restart the listener for routes is left to the peers: both ends of a
//! route verify each other (`opts.go`, `parseCluster`), so each route to the new process proves its certificate better
//! than a stranger's handshake could, which would put an error in the server's log besides. A reload keeps its routes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{diagnosis::files::Certificate, view::Seen};

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerKind {
    /// Clients.
    Client,
    /// Monitoring over HTTPS.
    Monitoring,
    /// Servers of the same cluster.
    Route,
    /// Leafnodes.
    Leafnode,
    /// Other clusters.
    Gateway,
    /// Clients over websocket.
    Websocket,
    /// MQTT clients.
    Mqtt,
}

impl ListenerKind {
    /// Its port in words.
    pub fn port(self) -> &'static str {
        match self {
            Self::Client => "client port",
            Self::Monitoring => "monitoring port",
            Self::Route => "route port",
            Self::Leafnode => "leafnode port",
            Self::Gateway => "gateway port",
            Self::Websocket => "websocket port",
            Self::Mqtt => "MQTT port",
        }
    }

    /// Whether the server says INFO before the handshake, unless it was told to shake hands first (`client.go`,
    /// `leafnode.go`).
    pub fn says_info(self) -> bool {
        matches!(self, Self::Client | Self::Leafnode)
    }
}

/// A port that speaks TLS, as its server names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// What it is for.
    pub kind: ListenerKind,
    /// The address that it is bound to.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it speaks TLS is not known: one that does not is no fault.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub perhaps: bool,
}

/// What a listener showed in a handshake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// The listener.
    pub listener: Listener,
    /// Its own certificate; or why there was none.
    pub certificate: Seen<Certificate>,
}

impl Shown {
    /// What is wrong with it at that time.
    fn fault(&self, at: Timestamp) -> Option<String> {
        let certificate = match &self.certificate {
            Ok(certificate) => certificate,
            Err(_) if self.listener.perhaps => return None,
            Err(failure) => return Some(failure.to_string()),
        };
        let port = format!("{} {}", self.listener.kind.port(), self.listener.port);
        let Certificate { subject, not_before, not_after, .. } = certificate;
        if at > *not_after {
            return Some(format!("{port}: the certificate of {subject} expired at {not_after}"));
        }
        (at < *not_before).then(|| format!("{port}: the certificate of {subject} is not valid before {not_before}"))
    }
}

/// What is wrong with the listeners' certificates now and was not before, at the times of the two looks.
pub fn worse(before: &[Shown], then: Timestamp, now: &[Shown], at: Timestamp) -> Vec<String> {
    let stood = |shown: &Shown| {
        let same =
            |other: &&Shown| (other.listener.kind, other.listener.port) == (shown.listener.kind, shown.listener.port);
        before.iter().find(same).is_some_and(|other| other.fault(then).is_some())
    };
    let no_more = |shown: &Shown| {
        let showed = |other: &&Shown| other.listener == shown.listener && other.certificate.is_ok();
        let failure = shown.certificate.as_ref().err()?;
        before.iter().any(|other| showed(&other)).then(|| failure.to_string())
    };
    let fault = |shown: &Shown| shown.fault(at).or_else(|| no_more(shown));
    now.iter().filter(|shown| !stood(shown)).filter_map(fault).collect()
}

/// What was wrong with them already.
pub fn faults(shown: &[Shown], at: Timestamp) -> Vec<String> {
    shown.iter().filter_map(|shown| shown.fault(at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        testing::at,
        view::{Failure, FailureKind},
    };

    fn shown(kind: ListenerKind, until: Option<i64>) -> Shown {
        let certificate = until.map(|until| Certificate {
            subject: "CN=n2".into(),
            issuer: "CN=ca".into(),
            serial: "01".into(),
            not_before: at(-100),
            not_after: at(until),
            names: vec![],
            is_ca: false,
            key_digest: String::new(),
            usages: vec![],
        });
        let certificate = certificate.ok_or_else(|| Failure::new(FailureKind::Tls, "leafnode port 7422: no handshake"));
        Shown {
            listener: Listener { kind, host: String::new(), port: 4222, perhaps: kind == ListenerKind::Mqtt },
            certificate,
        }
    }

    fn check(before: &[Shown], now: &[Shown], expected: &[&str]) {
        assert_eq!(worse(before, at(0), now, at(50)), expected);
    }

    #[test]
    fn what_was_good_must_be_good() {
        let client = |until| shown(ListenerKind::Client, until);
        let expired = "client port 4222: the certificate of CN=n2 expired at 2026-11-22T12:00:40Z";
        check(&[client(Some(90))], &[client(Some(90))], &[]);
        check(&[client(Some(90))], &[client(Some(40))], &[expired]);
        check(&[], &[client(Some(40))], &[expired]);
        check(&[client(Some(90))], &[shown(ListenerKind::Leafnode, None)], &["leafnode port 7422: no handshake"]);
        let early = worse(&[], at(0), &[client(Some(90))], at(-200));
        assert_eq!(early, ["client port 4222: the certificate of CN=n2 is not valid before 2026-11-22T11:58:20Z"]);
    }

    #[test]
    fn what_was_bad_may_stay_bad() {
        let client = |until| shown(ListenerKind::Client, until);
        check(&[client(Some(-10))], &[client(Some(-10))], &[]);
        check(&[client(None)], &[client(None)], &[]);
        assert_eq!(faults(&[client(Some(-10)), client(Some(10))], at(0)).len(), 1);
    }

    #[test]
    fn one_that_may_be_without_tls_is_held_to_what_it_showed() {
        let mqtt = |until| shown(ListenerKind::Mqtt, until);
        check(&[], &[mqtt(None)], &[]);
        check(&[mqtt(None)], &[mqtt(None)], &[]);
        check(&[mqtt(Some(90))], &[mqtt(None)], &["leafnode port 7422: no handshake"]);
    }

    #[test]
    fn one_that_expires_in_its_turn_is_told() {
        let client = shown(ListenerKind::Client, Some(40));
        assert_eq!(worse(std::slice::from_ref(&client), at(0), std::slice::from_ref(&client), at(50)).len(), 1);
    }
}
