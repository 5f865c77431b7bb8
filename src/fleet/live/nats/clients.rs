//! What is attached to a server, and how it is sent elsewhere.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::SystemAccount;
use crate::core::view::{Failure, FailureKind, Seen};

/// Connections in one answer; the server's own default (`monitor.go`, `DefaultConnListSize`). One is about 350 bytes.
const PAGE: u64 = 1024;
/// Pages at most: a million connections.
const PAGES_MAX: u64 = 1000;

/// How something is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttachmentKind {
    /// A client over the NATS protocol.
    Client,
    /// A client over a websocket.
    Websocket,
    /// An MQTT client. It can be kicked, and not be told to go: MQTT has no word for it.
    Mqtt,
    /// A leafnode that connected to this server. It can be kicked, where its number is known.
    Leafnode,
    /// A gateway of another cluster that connected to this server. It can't be kicked.
    Gateway,
}

/// Something attached to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The server's number for it; none for leafnodes of servers before 2.11, which do not tell it.
    pub cid: Option<u64>,
    /// How it is attached.
    pub kind: AttachmentKind,
    /// Its name, where it gave one.
    pub name: String,
    /// Its account, where the server tells it.
    pub account: String,
    /// Where it comes from, as `address:port`.
    pub from: String,
}

/// What is attached to a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachments {
    /// All of it, without our own connection.
    pub all: Vec<Attachment>,
    /// More than could be listed.
    pub truncated: bool,
}

impl Attachments {
    /// How many are of this kind.
    pub fn count(&self, kind: AttachmentKind) -> usize {
        self.all.iter().filter(|attachment| attachment.kind == kind).count()
    }
}

#[derive(Deserialize)]
struct Connz {
    #[serde(default)]
    total: u64,
    #[serde(default)]
    connections: Vec<WireConnection>,
}

#[derive(Deserialize)]
struct WireConnection {
    cid: u64,
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "type")]
    protocol: String,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    name: String,
    #[serde(default)]
    account: String,
}

#[derive(Deserialize)]
struct Leafz {
    #[serde(default)]
    leafs: Vec<WireLeaf>,
}

#[derive(Deserialize)]
struct Gatewayz {
    #[serde(default)]
    inbound_gateways: BTreeMap<String, Vec<WireGateway>>,
}

#[derive(Deserialize)]
struct WireGateway {
    #[serde(default)]
    connection: Option<WireConnection>,
}

#[derive(Deserialize)]
struct WireLeaf {
    #[serde(default)]
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    account: String,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    is_spoke: bool,
}

impl From<WireConnection> for Attachment {
    fn from(wire: WireConnection) -> Self {
        let kind = match (wire.kind.as_str(), wire.protocol.as_str()) {
            ("Leafnode", _) => AttachmentKind::Leafnode,
            (_, "websocket") => AttachmentKind::Websocket,
            // `mqtt_ws` is MQTT over a websocket (`client.go`, `clientTypeStringMap`).
            (_, protocol) if protocol.starts_with("mqtt") => AttachmentKind::Mqtt,
            _ => AttachmentKind::Client,
        };
        let from = format!("{}:{}", wire.ip, wire.port);
        Self { cid: Some(wire.cid), kind, name: wire.name, account: wire.account, from }
    }
}

impl From<WireLeaf> for Attachment {
    fn from(wire: WireLeaf) -> Self {
        let cid = Some(wire.id).filter(|id| *id > 0);
        let from = format!("{}:{}", wire.ip, wire.port);
        Self { cid, kind: AttachmentKind::Leafnode, name: wire.name, account: wire.account, from }
    }
}

impl SystemAccount {
    /// Lists what is attached to a server, in pages. Leafnode connections that the server itself made elsewhere are not in
    /// it: they do not need to go.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn attachments(&self, id: &str, limit: Duration) -> Seen<Attachments> {
        let (own_server, own_cid) = self.own();
        let mut out = Attachments { all: Vec::new(), truncated: true };
        for page in 0..PAGES_MAX {
            let body = json!({ "offset": page * PAGE, "limit": PAGE, "sort": "cid", "auth": true });
            let connz: Connz = self.data(id, "CONNZ", &body, limit).await?;
            let got = u64::try_from(connz.connections.len()).unwrap_or(u64::MAX);
            // Newer servers list leafnodes here too; below all of them do.
            let clients = connz.connections.into_iter().map(Attachment::from);
            out.all.extend(clients.filter(|one| one.kind != AttachmentKind::Leafnode));
            if got == 0 || page * PAGE + got >= connz.total {
                out.truncated = false;
                break;
            }
        }
        let leafz: Leafz = self.data(id, "LEAFZ", &json!({}), limit).await?;
        // The end that accepted is the hub; `is_spoke` marks connections that this server made.
        out.all.extend(leafz.leafs.into_iter().filter(|leaf| !leaf.is_spoke).map(Attachment::from));
        let gatewayz: Gatewayz = self.data(id, "GATEWAYZ", &json!({}), limit).await?;
        let inbound = gatewayz.inbound_gateways.into_values().flatten().filter_map(|gateway| gateway.connection);
        out.all.extend(inbound.map(|wire| Attachment { kind: AttachmentKind::Gateway, ..wire.into() }));
        if own_server == id {
            out.all.retain(|attachment| attachment.cid != Some(own_cid));
        }
        Ok(out)
    }

    /// Tells a client that its server is in lame duck, so that it connects elsewhere by itself. Only this client hears it.
    ///
    /// # Errors
    /// [`FailureKind::Command`] where it is gone, or is of a kind that knows no such word: MQTT, leafnodes, clients of very
    /// old libraries.
    pub async fn tell_lame_duck(&self, id: &str, cid: u64, limit: Duration) -> Seen<()> {
        self.ask::<Value>(id, "LDM", &json!({ "cid": cid }), limit).await.map(drop)
    }

    /// Closes a client's or leafnode's connection.
    ///
    /// # Errors
    /// [`FailureKind::Command`] where it is gone.
    pub async fn kick(&self, id: &str, cid: u64, limit: Duration) -> Seen<()> {
        self.ask::<Value>(id, "KICK", &json!({ "cid": cid }), limit).await.map(drop)
    }

    /// Has a server read its configuration anew; it answers when it has.
    ///
    /// # Errors
    /// [`FailureKind::Command`] where it refuses, with its reason.
    pub async fn reload(&self, id: &str, limit: Duration) -> Seen<()> {
        self.ask::<Value>(id, "RELOAD", &json!({}), limit).await.map(drop)
    }

    async fn data<T: serde::de::DeserializeOwned>(
        &self,
        id: &str,
        what: &str,
        body: &Value,
        limit: Duration,
    ) -> Seen<T> {
        let envelope = self.ask::<T>(id, what, body, limit).await?;
        envelope.data.ok_or_else(|| Failure::new(FailureKind::Protocol, format!("{what}: an answer without data")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let check = |json: &str, expected: AttachmentKind| {
            let wire: WireConnection = serde_json::from_str(json).unwrap();
            assert_eq!(Attachment::from(wire).kind, expected, "{json}");
        };
        check(r#"{"cid":40,"kind":"Client","type":"nats","ip":"10.77.0.1","port":57826}"#, AttachmentKind::Client);
        check(r#"{"cid":40,"kind":"Client","type":"websocket"}"#, AttachmentKind::Websocket);
        check(r#"{"cid":40,"kind":"Client","type":"mqtt"}"#, AttachmentKind::Mqtt);
        check(r#"{"cid":40,"kind":"Client","type":"mqtt_ws"}"#, AttachmentKind::Mqtt);
        check(r#"{"cid":40,"kind":"Leafnode"}"#, AttachmentKind::Leafnode);
        let leaf: WireLeaf = serde_json::from_str(r#"{"name":"edge","is_spoke":false,"ip":"1.2.3.4"}"#).unwrap();
        assert_eq!(Attachment::from(leaf).cid, None);
    }
}
