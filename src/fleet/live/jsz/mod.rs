//! All streams and consumers of one server, in parts, through whichever way it answers.
//!
//! The server pages by accounts only: the streams of one account always come in one answer. Before 2.11 it sorts the
//! accounts only when the offset is not 0 (`monitor.go`, `Jsz`), so a first page of several is one of accounts at random;
//! here the first account is asked for by its id, and pages begin at offset 1, which is right for all versions.

mod wire;

use std::{collections::BTreeSet, future::Future};

use jiff::Timestamp;

pub use wire::Jsz;

use crate::core::{
    assets::{Gap, ServerAssets},
    view::{Failure, FailureKind, Seen},
};

/// Streams and consumers to ask for at once: an asset is 0.5 to 1.15 KB of JSON (measured), so this is 1 to 2 MB.
const PAGE: u64 = 2_000;
/// Bytes that an answer may have: one account with 10,000 streams and 60,000 consumers.
pub(super) const ANSWER_MAX: usize = 64 << 20;
/// Accounts in a list of names only.
const ALL: u64 = 1 << 20;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Streams, consumers and their configuration, and not just the names of accounts.
    pub details: bool,
    /// Only this account, by its id.
    pub account: Option<String>,
    /// Accounts to skip.
    pub offset: u64,
    /// Accounts at most.
    pub limit: u64,
}

impl Query {
    fn page(offset: u64, limit: u64) -> Self {
        Self { details: true, account: None, offset, limit }
    }

    fn account(id: &str) -> Self {
        Self { details: true, account: Some(id.to_owned()), offset: 0, limit: 1 }
    }

    /// The path and query of the monitoring port.
    pub fn path(&self) -> String {
        let mut path = format!("/jsz?accounts=true&offset={}&limit={}", self.offset, self.limit);
        if self.details {
            path.push_str("&streams=true&consumers=true&config=true&raft=true");
        }
        if let Some(account) = &self.account {
            path.push_str("&acc=");
            path.push_str(&escaped(account));
        }
        path
    }

    /// The body of a request to the system account.
    pub fn body(&self) -> serde_json::Value {
        let mut body = serde_json::json!({
            "accounts": true, "streams": self.details, "consumer": self.details, "config": self.details,
            "raft": self.details, "offset": self.offset, "limit": self.limit,
        });
        if let (Some(account), Some(body)) = (&self.account, body.as_object_mut()) {
            body.insert("account".to_owned(), account.as_str().into());
        }
        body
    }
}

/// `text` as a value in a query (RFC 3986, unreserved characters as they are).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Reads an answer, without its envelope.
///
/// # Errors
/// It is not an answer to `JSZ`.
pub fn parse(body: &[u8]) -> Seen<Jsz> {
    serde_json::from_slice(body).map_err(|error| {
        let start: String = String::from_utf8_lossy(body.get(..60).unwrap_or(body)).into_owned();
        Failure::new(FailureKind::Protocol, format!("jsz: this is not a nats-server's answer ({error}): {start:?}"))
    })
}

/// One server that can be asked.
pub trait Source: Sync {
    /// Asks once.
    fn ask(&self, query: &Query) -> impl Future<Output = Seen<Jsz>> + Send;
}

/// Asks a server for all that is on it. `server` is its name, `at` the time now. At most some 2,000 assets, or one
/// account, are in memory as text at a time.
///
/// # Errors
/// It does not answer at all, or was restarted meanwhile. Where only a part is missing the answer says so.
pub async fn gather(source: &impl Source, server: &str, at: Timestamp) -> Seen<ServerAssets> {
    let head = source.ask(&Query { details: false, account: None, offset: 0, limit: ALL }).await?;
    let mut gathering = Gathering {
        out: ServerAssets {
            server: server.to_owned(),
            server_id: head.server_id.clone(),
            at,
            jetstream: !head.disabled,
            meta: head.meta(),
            assets: Vec::new(),
            account_names: Vec::new(),
            gaps: Vec::new(),
        },
        streams: 0,
        expected: head.streams,
        done: BTreeSet::new(),
    };
    let ids: BTreeSet<String> = head.account_details.iter().map(|account| account.id.clone()).collect();
    for query in pages(&ids, head.streams + head.consumers) {
        // A page that fails is made up for below, account by account.
        let Ok(page) = source.ask(&query).await else { continue };
        gathering.add(page)?;
    }
    for id in &ids {
        if gathering.done.contains(id) {
            continue;
        }
        match source.ask(&Query::account(id)).await {
            Ok(page) => gathering.add(page)?,
            Err(failure) => gathering.missing(Some(id.clone()), failure.detail),
        }
    }
    Ok(gathering.finish())
}

/// The queries that lead to all accounts, for a server that has so many assets in them.
fn pages(ids: &BTreeSet<String>, assets: u64) -> Vec<Query> {
    let accounts = u64::try_from(ids.len()).unwrap_or(u64::MAX);
    let Some(first) = ids.first() else { return Vec::new() };
    if assets <= PAGE {
        return vec![Query::page(0, ALL)];
    }
    let size = (accounts * PAGE / assets).max(1);
    let mut queries = vec![Query::account(first)];
    let mut offset = 1;
    while offset < accounts {
        queries.push(Query::page(offset, size));
        offset += size;
    }
    queries
}

struct Gathering {
    out: ServerAssets,
    streams: u64,
    /// The fewest streams that the server said to have: some may be added or deleted meanwhile.
    expected: u64,
    done: BTreeSet<String>,
}

impl Gathering {
    fn add(&mut self, page: Jsz) -> Seen<()> {
        if page.server_id != self.out.server_id {
            let text = format!("{}: another server, or another process, answered between two pages", self.out.server);
            return Err(Failure::new(FailureKind::Protocol, text));
        }
        self.expected = self.expected.min(page.streams);
        for account in page.account_details {
            if !self.done.insert(account.id.clone()) {
                continue;
            }
            if account.name != account.id {
                self.out.account_names.push((account.id.clone(), account.name.clone()));
            }
            self.streams += account.streams();
            account.into_assets(&mut self.out.assets);
        }
        Ok(())
    }

    fn missing(&mut self, account: Option<String>, detail: String) {
        self.out.gaps.push(Gap::Truncated { server: self.out.server.clone(), account, detail });
    }

    fn finish(mut self) -> ServerAssets {
        if self.streams < self.expected && self.out.gaps.is_empty() {
            let detail = format!("{} of {} streams were told", self.streams, self.expected);
            self.missing(None, detail);
        }
        self.out
    }
}

#[cfg(test)]
pub(crate) mod tests;
