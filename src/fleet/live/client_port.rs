//! The client port: does it serve? INFO first, then TLS if the server demands it, then CONNECT and PING, wanting PONG. A
//! server told to shake hands first (`handshake_first`) is silent until it is spoken to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::core::view::{ClientPort, Failure, FailureKind};

/// No line of the protocol's opening is longer: an INFO with many addresses has some kilobytes.
const LINE_MAX: usize = 64 << 10;

/// What a connection is called that ends before its INFO.
pub const CLOSED: &str = "closed by the server";

/// A server that demands TLS and has said nothing for this long waits for the handshake. INFO comes at once, or after 50 ms
/// (`const.go`, `DEFAULT_TLS_HANDSHAKE_FIRST_FALLBACK_DELAY`), and then crosses an ocean.
pub const SILENCE: Duration = Duration::from_secs(1);

/// What is known of a client port before it is asked.
pub struct Expected<'a> {
    /// The operator wants TLS where it is offered.
    pub always_tls: bool,
    /// The server demands TLS.
    pub tls_required: bool,
    /// It has waited for a handshake before; set when it does.
    pub tls_first: &'a AtomicBool,
    /// What the certificate must cover.
    pub name: &'a str,
    /// The process that should answer, where known.
    pub server_id: Option<&'a str>,
}

#[derive(Deserialize)]
struct Info {
    server_id: String,
    #[serde(default)]
    auth_required: bool,
    #[serde(default)]
    tls_required: bool,
    #[serde(default)]
    tls_available: bool,
}

/// Talks to a client port over an open stream.
///
/// Without credentials a server that wants them is left after INFO: a try would put an authentication error in its
/// log at every look.
///
/// # Errors
/// Which part failed: no INFO, another process, TLS, an error of the server, no PONG.
pub async fn check(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    tls: &Arc<ClientConfig>,
    expected: &Expected<'_>,
) -> Result<ClientPort, Failure> {
    let name = ServerName::try_from(expected.name.to_owned()).map_err(|error| tls_failure(&error))?;
    let connector = TlsConnector::from(Arc::clone(tls));
    let mut stream = BufReader::new(stream);
    if expected.tls_required && (expected.tls_first.load(Ordering::Relaxed) || silent(&mut stream).await?) {
        let connected = connector.connect(name, stream.into_inner()).await;
        // Whatever it was last time, it is asked anew after a failure.
        expected.tls_first.store(connected.is_ok(), Ordering::Relaxed);
        let mut stream = BufReader::new(connected.map_err(|error| tls_failure(&error))?);
        let info = read_info(&mut stream).await?;
        expected.same(&info)?;
        return ping(stream, info.auth_required).await;
    }
    let info = read_info(&mut stream).await?;
    expected.same(&info)?;
    if info.tls_required || (expected.always_tls && info.tls_available) {
        let stream = connector.connect(name, stream.into_inner()).await.map_err(|error| tls_failure(&error))?;
        return ping(BufReader::new(stream), info.auth_required).await;
    }
    ping(stream, info.auth_required).await
}

impl Expected<'_> {
    fn same(&self, info: &Info) -> Result<(), Failure> {
        match self.server_id {
            Some(expected) if info.server_id != expected => {
                let text = format!("the client port is answered by another server: {}", info.server_id);
                Err(Failure::new(FailureKind::Protocol, text))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the server waits for us to speak.
///
/// # Errors
/// The connection is broken.
pub async fn silent(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Result<bool, Failure> {
    match timeout(SILENCE, stream.fill_buf()).await {
        Ok(read) => read.map(|_| false).map_err(|error| broken(&error)),
        Err(_) => Ok(true),
    }
}

async fn read_info(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Result<Info, Failure> {
    let line = read_line(stream).await?;
    let json = line.strip_prefix("INFO ").ok_or_else(|| unexpected(&line))?;
    serde_json::from_str(json).map_err(|_| unexpected(&line))
}

async fn ping(
    mut stream: BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    auth_required: bool,
) -> Result<ClientPort, Failure> {
    if auth_required {
        return Ok(ClientPort::AsksCredentials);
    }
    let hello = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"rollgate\",\"lang\":\"rust\",\"version\":\"0\"}\r\nPING\r\n";
    stream.get_mut().write_all(hello).await.map_err(|error| broken(&error))?;
    stream.get_mut().flush().await.map_err(|error| broken(&error))?;
    loop {
        let line = read_line(&mut stream).await?;
        match line.split_whitespace().next() {
            Some("PONG") => return Ok(ClientPort::Pong),
            // The server repeats INFO when its list of peers changes, and may ping first.
            Some("INFO" | "PING" | "+OK") => {}
            Some("-ERR") => return Err(Failure::new(FailureKind::Protocol, format!("client port: {}", line.trim()))),
            _ => return Err(unexpected(&line)),
        }
    }
}

/// Reads one line of the protocol.
///
/// # Errors
/// The connection is broken or ends, or the line has no end.
pub async fn read_line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Result<String, Failure> {
    let mut line = Vec::new();
    loop {
        let chunk = stream.fill_buf().await.map_err(|error| broken(&error))?;
        if chunk.is_empty() {
            return Err(Failure::new(FailureKind::Protocol, format!("client port: {CLOSED}")));
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(chunk.len(), |at| at + 1);
        line.extend_from_slice(&chunk[..used]);
        stream.consume(used);
        if end.is_some() {
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
        if line.len() > LINE_MAX {
            return Err(unexpected("a line without end"));
        }
    }
}

fn unexpected(line: &str) -> Failure {
    let start: String = line.chars().take(60).collect();
    Failure::new(FailureKind::Protocol, format!("client port: this is not a nats-server: {start:?}"))
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Protocol, format!("client port: {error}"))
}

fn tls_failure(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Tls, format!("client port: TLS handshake: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::inventory::TlsFiles, fleet::live::tls};

    async fn check_script(sent: &str, expected: Result<ClientPort, &str>) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 18);
        let files = TlsFiles { ca: None, ..TlsFiles::default() };
        let config = tls::client(&files).unwrap();
        theirs.write_all(sent.as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let tls_first = AtomicBool::new(false);
        let asked = Expected {
            always_tls: false,
            tls_required: false,
            tls_first: &tls_first,
            name: "n1",
            server_id: Some("NA"),
        };
        let found = check(ours, &config, &asked).await;
        match expected {
            Ok(port) => assert_eq!(found, Ok(port)),
            Err(text) => assert!(found.as_ref().is_err_and(|f| f.detail.contains(text)), "{found:?} lacks {text}"),
        }
    }

    #[tokio::test]
    async fn the_opening_is_understood() {
        check_script("INFO {\"server_id\":\"NA\"}\r\nPONG\r\n", Ok(ClientPort::Pong)).await;
        check_script("INFO {\"server_id\":\"NA\"}\r\nPING\r\nINFO {}\r\nPONG\r\n", Ok(ClientPort::Pong)).await;
        check_script("INFO {\"server_id\":\"NA\",\"auth_required\":true}\r\n", Ok(ClientPort::AsksCredentials)).await;
        check_script("INFO {\"server_id\":\"NB\"}\r\n", Err("another server: NB")).await;
        check_script("INFO {\"server_id\":\"NA\"}\r\n-ERR 'Nope'\r\n", Err("-ERR 'Nope'")).await;
        check_script("SSH-2.0-OpenSSH\r\n", Err("not a nats-server")).await;
        check_script("", Err("closed by the server")).await;
        check_script(&"x".repeat(70_000), Err("not a nats-server")).await;
    }
}
