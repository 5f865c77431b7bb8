//! Moving leaders.
//!
//! The meta group's step-down belongs to the system account. Those of streams and consumers belong to the account that the
//! asset is in, of which we need no user: a server takes the account from the header `Nats-Request-Info`, which the account
//! import sets for a user of an account and which a user of the **system account** can set itself (`jetstream_api.go`,
//! `apiDispatch` and `getRequestInfo`). It is not documented; it works on 2.10.26, 2.11.11, 2.12.8, 2.14.6 and 2.15.1,
//! in configuration mode and in operator mode (measured; tests/lab/assets.rs holds 2.10.26, 2.11.11 and 2.15.1 to it).
//! The user needs leave to publish to `$JS.API.>`: with `$SYS.REQ.>` alone it sees everything and moves nothing. A server
//! that should not honour the header answers 10039, [`FailureKind::Denied`]: then its own transfer in lame duck remains.

use std::time::Duration;

use async_nats::HeaderMap;
use serde_json::{Value, json};

use super::{connection::SystemAccount, wire::Api};
use crate::core::{
    assets::{Group, Kind},
    view::{Failure, FailureKind, Seen},
};

/// The header that names the account on whose behalf a request is made (nats-server `client.go`, `ClientInfoHdr`).
const ACCOUNT_HEADER: &str = "Nats-Request-Info";

/// A group whose leader is to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// The account's id.
    pub account: String,
    /// The stream.
    pub stream: String,
    /// The consumer.
    pub consumer: String,
    /// The server that should lead. From 2.11 on; older servers refuse a request that names one (10003).
    pub preferred: Option<String>,
}

/// What became of one step-down.
pub type Moved = (Target, Seen<()>);

impl Target {
    /// A group's leader to the server named, or to whom the leader chooses.
    pub fn of(group: &Group, preferred: Option<&str>) -> Self {
        Self {
            kind: group.kind,
            account: group.account.clone(),
            stream: group.stream.clone(),
            consumer: group.consumer.clone(),
            preferred: preferred.map(str::to_owned),
        }
    }

    fn name(&self) -> String {
        match self.kind {
            Kind::Meta => "meta group".to_owned(),
            Kind::Stream => format!("stream {} > {}", self.account, self.stream),
            Kind::Consumer => format!("consumer {} > {} > {}", self.account, self.stream, self.consumer),
        }
    }

    fn step_down(&self) -> String {
        let Self { stream, consumer, .. } = self;
        match self.kind {
            Kind::Meta => "$JS.API.META.LEADER.STEPDOWN".to_owned(),
            Kind::Stream => format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}"),
            Kind::Consumer => format!("$JS.API.CONSUMER.LEADER.STEPDOWN.{stream}.{consumer}"),
        }
    }

    fn info(&self) -> Option<String> {
        let Self { stream, consumer, .. } = self;
        match self.kind {
            Kind::Meta => None,
            Kind::Stream => Some(format!("$JS.API.STREAM.INFO.{stream}")),
            Kind::Consumer => Some(format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}")),
        }
    }

    fn body(&self) -> Value {
        match &self.preferred {
            Some(server) => json!({ "placement": { "preferred": server } }),
            None => json!({}),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.kind != Kind::Meta {
            headers.insert(ACCOUNT_HEADER, json!({ "acc": self.account }).to_string());
        }
        headers
    }
}

impl SystemAccount {
    /// Has a leader step down. Done means that it gave up, not that another one leads: look again.
    ///
    /// # Errors
    /// [`FailureKind::Denied`] where the server does not take it from us; [`FailureKind::Command`] where it refuses, as
    /// when the preferred server leads already or is not known; [`FailureKind::Timeout`] where nobody leads.
    pub async fn step_down(&self, target: &Target, limit: Duration) -> Seen<()> {
        let what = format!("step-down of {}", target.name());
        let payload = self.request(&target.step_down(), &what, &target.body(), target.headers(), limit).await?;
        Api::read(&what, &payload)?.done(&what)
    }

    /// Who leads a stream or consumer now, by its leader's own answer; none while nobody leads. The meta leader is in what
    /// every server says of itself.
    ///
    /// # Errors
    /// As [`SystemAccount::step_down`].
    pub async fn leader(&self, target: &Target, limit: Duration) -> Seen<Option<String>> {
        let what = format!("leader of {}", target.name());
        let Some(subject) = target.info() else {
            return Err(Failure::new(FailureKind::NotAsked, format!("{what}: not asked by name")));
        };
        let payload = self.request(&subject, &what, &json!({}), target.headers(), limit).await?;
        Ok(Api::read(&what, &payload)?.leader())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, preferred: Option<&str>, subject: &str, body: &str, header: Option<&str>) {
        let target = Target {
            kind,
            account: "APP".into(),
            stream: "S".into(),
            consumer: "c".into(),
            preferred: preferred.map(str::to_owned),
        };
        assert_eq!(target.step_down(), subject);
        assert_eq!(target.body().to_string(), body);
        assert_eq!(target.headers().get(ACCOUNT_HEADER).map(|value| value.as_str()), header);
    }

    #[test]
    fn requests_name_the_account_and_the_successor() {
        let app = Some(r#"{"acc":"APP"}"#);
        check(Kind::Meta, None, "$JS.API.META.LEADER.STEPDOWN", "{}", None);
        let n2 = r#"{"placement":{"preferred":"n2"}}"#;
        check(Kind::Stream, Some("n2"), "$JS.API.STREAM.LEADER.STEPDOWN.S", n2, app);
        check(Kind::Consumer, Some("n2"), "$JS.API.CONSUMER.LEADER.STEPDOWN.S.c", n2, app);
    }
}
