//! What a server says of its own health, and which of its errors a restart has to answer for.

use serde::{Deserialize, Serialize};

/// The answer to `/healthz?details=true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The HTTP status.
    pub code: u16,
    /// What is wrong; before 2.10.24 this can come with a 200, so the body decides.
    pub errors: Vec<HealthError>,
}

impl Health {
    /// Whether the server calls itself healthy: a 200 and no errors in the body.
    pub fn ok(&self) -> bool {
        self.code == 200 && self.errors.is_empty()
    }

    /// Whether nothing is wrong with the server itself: all of its errors name a stream or a consumer. Those count for
    /// their own raft group, as its leader sees it, and not against the server: one broken consumer on every server
    /// would forbid each restart for ever (nats-io/k8s#1140).
    pub fn serves(&self) -> bool {
        self.ok() || (!self.errors.is_empty() && self.errors.iter().all(HealthError::names_asset))
    }

    /// The errors that name a stream or a consumer, which a baseline can hold.
    pub fn asset_errors(&self) -> impl Iterator<Item = &HealthError> {
        self.errors.iter().filter(|error| error.names_asset())
    }

    /// The errors that did not stand in `baseline`. What names no asset is always new.
    pub fn new_errors<'a>(&'a self, baseline: &'a [HealthError]) -> impl Iterator<Item = &'a HealthError> {
        self.errors.iter().filter(|error| !error.names_asset() || !baseline.iter().any(|stood| stood.same(error)))
    }

    /// Whether nothing is wrong but what stood in `baseline`. Another status than 200 needs an error that explains it.
    pub fn ok_but_for(&self, baseline: &[HealthError]) -> bool {
        self.ok() || (!self.errors.is_empty() && self.new_errors(baseline).next().is_none())
    }

    /// The first error, or the bare status.
    pub fn summary(&self) -> String {
        self.summary_but_for(&[])
    }

    /// The first error that did not stand in `baseline`, or the bare status.
    pub fn summary_but_for(&self, baseline: &[HealthError]) -> String {
        let mut new = self.new_errors(baseline);
        let Some(first) = new.next() else {
            return if self.ok_but_for(baseline) { "ok".into() } else { format!("HTTP {}", self.code) };
        };
        match new.count() {
            0 => format!("{}: {}", self.code, first.error),
            more => format!("{}: {} (and {more} more)", self.code, first.error),
        }
    }
}

/// One typed error of healthz.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthError {
    /// CONNECTION, BAD_REQUEST, JETSTREAM, ACCOUNT, STREAM or CONSUMER; empty where the server gave only a text.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The text.
    pub error: String,
    /// The account concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The stream concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The consumer concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
}

impl HealthError {
    /// Whether the error is about one stream or consumer, by its type and by name.
    pub fn names_asset(&self) -> bool {
        match self.kind.as_str() {
            "STREAM" => self.account.is_some() && self.stream.is_some(),
            "CONSUMER" => self.account.is_some() && self.stream.is_some() && self.consumer.is_some(),
            _ => false,
        }
    }

    /// Whether the two are about the same thing. The text may change: a consumer that could not be loaded is `assignment
    /// error` before a restart and `not found` after it.
    pub fn same(&self, other: &Self) -> bool {
        (&self.kind, &self.account, &self.stream, &self.consumer)
            == (&other.kind, &other.account, &other.stream, &other.consumer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(name: &str, error: &str) -> HealthError {
        HealthError {
            kind: "CONSUMER".into(),
            error: error.into(),
            account: Some("APP".into()),
            stream: Some("S".into()),
            consumer: Some(name.into()),
        }
    }

    fn server_error() -> HealthError {
        let text = "JetStream is not current with the meta leader";
        HealthError { kind: "JETSTREAM".into(), error: text.into(), account: None, stream: None, consumer: None }
    }

    fn check(code: u16, errors: &[HealthError], baseline: &[HealthError], serves: bool, expected: &str) {
        let health = Health { code, errors: errors.to_vec() };
        assert_eq!(health.serves(), serves);
        assert_eq!(health.summary_but_for(baseline), expected);
        assert_eq!(health.ok_but_for(baseline), expected == "ok");
    }

    #[test]
    fn what_stood_before_is_waived_and_what_is_new_is_not() {
        let ghost = consumer("ghost", "not found");
        check(200, &[], &[], true, "ok");
        check(503, &[], &[], false, "HTTP 503");
        check(503, std::slice::from_ref(&ghost), &[], true, "503: not found");
        check(503, std::slice::from_ref(&ghost), &[consumer("ghost", "assignment error")], true, "ok");
        check(503, &[ghost.clone(), consumer("d", "new")], std::slice::from_ref(&ghost), true, "503: new");
        // An error of the server itself is never waived, even where it stood.
        let own = [ghost.clone(), server_error()];
        check(503, &own, &own, false, "503: JetStream is not current with the meta leader");
    }

    #[test]
    fn an_error_without_names_is_the_server_s() {
        let nameless = HealthError { stream: None, consumer: None, ..consumer("x", "stream broken") };
        check(503, std::slice::from_ref(&nameless), std::slice::from_ref(&nameless), false, "503: stream broken");
    }
}
