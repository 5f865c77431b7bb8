//! The envelope of answers to `$SYS.REQ.…`, and errors of the JetStream API.

use serde::{Deserialize, de::DeserializeOwned};

use crate::core::view::{Failure, FailureKind, Seen};

/// An answer of a server.
#[derive(Deserialize)]
pub(super) struct Envelope<T> {
    /// Who answers.
    pub server: Server,
    /// The answer itself.
    #[serde(default = "Option::default")]
    pub data: Option<T>,
    #[serde(default)]
    error: Option<ApiError>,
}

/// Who answers.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Server {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its version.
    #[serde(default)]
    pub ver: String,
    /// Its cluster.
    #[serde(default)]
    pub cluster: String,
}

/// An error of a request.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

impl ApiError {
    /// As a failure of `what`. 10039 is `JetStream not enabled for account`: what a server says to a system user whose
    /// request names no account.
    pub fn failure(&self, what: &str) -> Failure {
        let kind = match (self.code, self.err_code) {
            (_, 10039) | (401 | 403, _) => FailureKind::Denied,
            (408, _) => FailureKind::Timeout,
            _ => FailureKind::Command,
        };
        let number = if self.err_code == 0 { self.code } else { self.err_code };
        Failure::new(kind, format!("{what}: {} ({number})", self.description))
    }
}

impl<T: DeserializeOwned> Envelope<T> {
    /// Reads an answer to `what`.
    pub fn read(what: &str, payload: &[u8]) -> Seen<Self> {
        let envelope: Self = serde_json::from_slice(payload)
            .map_err(|error| Failure::new(FailureKind::Protocol, format!("{what}: not a server's answer: {error}")))?;
        match &envelope.error {
            Some(error) => Err(error.failure(&format!("{what} on {}", envelope.server.name))),
            None => Ok(envelope),
        }
    }
}

/// An answer of the JetStream API.
#[derive(Deserialize)]
pub(super) struct Api {
    #[serde(default)]
    error: Option<ApiError>,
    #[serde(default)]
    success: bool,
    #[serde(default)]
    cluster: Option<ApiCluster>,
}

#[derive(Deserialize)]
struct ApiCluster {
    #[serde(default)]
    leader: Option<String>,
}

impl Api {
    /// Reads an answer to `what`.
    pub fn read(what: &str, payload: &[u8]) -> Seen<Self> {
        let api: Self = serde_json::from_slice(payload)
            .map_err(|error| Failure::new(FailureKind::Protocol, format!("{what}: not an API answer: {error}")))?;
        match &api.error {
            Some(error) => Err(error.failure(what)),
            None => Ok(api),
        }
    }

    /// That it was done.
    pub fn done(&self, what: &str) -> Seen<()> {
        if self.success {
            Ok(())
        } else {
            Err(Failure::new(FailureKind::Protocol, format!("{what}: neither done nor refused")))
        }
    }

    /// The leader that an INFO names.
    pub fn leader(self) -> Option<String> {
        self.cluster?.leader.filter(|leader| !leader.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &str, expected: Result<&str, (FailureKind, &str)>) {
        match (Envelope::<serde_json::Value>::read("KICK", payload.as_bytes()), expected) {
            (Ok(envelope), Ok(text)) => assert_eq!(envelope.data.unwrap_or_default().to_string(), text),
            (Err(failure), Err((kind, text))) => {
                assert_eq!(failure.kind, kind);
                assert!(failure.detail.contains(text), "{failure}");
            }
            (Ok(_), Err(_)) => panic!("{payload} was taken"),
            (Err(failure), Ok(_)) => panic!("{failure}"),
        }
    }

    #[test]
    fn envelopes_are_opened() {
        let server = r#""server":{"name":"h3","host":"0.0.0.0","id":"NA","cluster":"lab","ver":"2.10.26","seq":142}"#;
        check(&format!(r#"{{{server},"data":{{"a":1}}}}"#), Ok(r#"{"a":1}"#));
        check(&format!("{{{server}}}"), Ok("null"));
        check(
            &format!(r#"{{{server},"error":{{"code":500,"description":"no such client id"}}}}"#),
            Err((FailureKind::Command, "KICK on h3: no such client id (500)")),
        );
        check("nats: bad", Err((FailureKind::Protocol, "not a server's answer")));
    }

    #[test]
    fn api_errors_keep_their_number() {
        let text = r#"{"type":"io.nats.jetstream.api.v1.system_response","error":{"code":503,"err_code":10039,
            "description":"JetStream not enabled for account"}}"#;
        let failure = Api::read("step down", text.as_bytes()).err().unwrap();
        assert_eq!(failure.kind, FailureKind::Denied);
        assert_eq!(failure.detail, "step down: JetStream not enabled for account (10039)");
        let info = r#"{"type":"x","cluster":{"name":"lab","leader":"h2"},"config":{}}"#;
        assert_eq!(Api::read("info", info.as_bytes()).unwrap().leader().as_deref(), Some("h2"));
    }
}
