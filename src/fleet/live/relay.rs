//! A port on our loopback that leads to a port as a host sees it, over the host's ssh connection: a NATS client dials TCP and
//! nothing else. It adds no rights: who connects to it still has to log in to the server.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream, UnixStream},
    task::{AbortHandle, JoinSet},
};

use super::monitor::Forwarder;
use crate::core::view::{Failure, FailureKind, Seen};

/// Leads somewhere until it is dropped; connections through it end with it.
pub struct Relay {
    port: u16,
    task: AbortHandle,
}

impl Relay {
    /// Listens. Connects to nothing before somebody comes, and then over whichever ssh connection there is at that time.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn open(forwarder: Forwarder, host: String, port: u16) -> Seen<Self> {
        let failed = |error: std::io::Error| {
            Failure::new(FailureKind::NotAsked, format!("no port on the loopback for a relay: {error}"))
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let ours = listener.local_addr().map_err(failed)?.port();
        let task = tokio::spawn(serve(listener, forwarder, host, port)).abort_handle();
        Ok(Self { port: ours, task })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, forwarder: Forwarder, host: String, port: u16) {
    let mut carried = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // One that can't be accepted tries again.
                let Ok((inner, _)) = accepted else { continue };
                carried.spawn(carry(inner, forwarder.clone(), host.clone(), port));
            }
            Some(_) = carried.join_next() => {}
        }
    }
}

/// A way that is not there shows to the client as a connection that closes.
async fn carry(mut inner: TcpStream, forwarder: Forwarder, host: String, port: u16) {
    let Ok(socket) = forwarder.forward(&host, port).await else { return };
    let Ok(mut outer) = UnixStream::connect(socket).await else { return };
    // Either end may close at any time; there is nobody to tell.
    let _ = copy_bidirectional(&mut inner, &mut outer).await;
}
