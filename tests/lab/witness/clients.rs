//! Clients that count how often they were cut off, and from which process.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{ConnectOptions, ReconnectToServer, Server, ServerAddr, ServerInfo};

use crate::{AnyError, Options};

/// Where a client turns when its connection is gone.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Pick {
    /// To the next server of its list, as the official clients in Go, C, Java, Python and JavaScript do.
    Next,
    /// To any server, the one that it has left too, as async-nats does when it is left alone.
    Any,
}

/// What one client went through: the connections that it lost, each once, by the server process and that one's number for it.
#[derive(Default)]
pub struct Cuts(Mutex<HashSet<(String, u64)>>);

impl Cuts {
    /// Connections lost.
    pub fn all(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The most that were lost to one server process: a turn ends one process, so more than one is more than once a turn.
    pub fn most_in_a_turn(&self) -> usize {
        let mut by_process: HashMap<String, usize> = HashMap::new();
        for (server_id, _) in self.0.lock().unwrap().iter() {
            *by_process.entry(server_id.clone()).or_default() += 1;
        }
        by_process.into_values().max().unwrap_or(0)
    }
}

/// Where it was last, and how often it has tried since.
struct Way {
    at: ServerAddr,
    lost: (String, u64),
    tries: usize,
}

impl Way {
    fn next(&mut self, pick: Pick, pool: &[Server], info: &ServerInfo) -> Option<ReconnectToServer> {
        let lost = (info.server_id.clone(), info.client_id);
        self.tries = if self.lost == lost { self.tries + 1 } else { 1 };
        self.lost = lost;
        if pick == Pick::Any {
            return None;
        }
        let place = pool.iter().position(|server| server.addr == self.at).unwrap_or(0);
        self.at = pool.get((place + 1) % pool.len().max(1))?.addr.clone();
        // Once round the list without a pause, then gently.
        let delay = if self.tries <= pool.len() { Duration::ZERO } else { Duration::from_millis(100) };
        Some(ReconnectToServer { addr: self.at.clone(), delay: Some(delay) })
    }
}

/// Connects to the one server; the others it learns of from that.
pub async fn connect(options: &Options, first: usize, cuts: &Arc<Cuts>) -> Result<async_nats::Client, AnyError> {
    let address = format!("nats://{}:{}", options.servers[first], options.client_port);
    let way = Arc::new(Mutex::new(Way { at: address.parse()?, lost: Default::default(), tries: 0 }));
    let (cuts, pick) = (cuts.clone(), options.pick);
    let login = match &options.creds {
        Some(file) => ConnectOptions::with_credentials_file(file).await?,
        None => ConnectOptions::with_user_and_password(options.user.clone(), options.password.clone()),
    };
    let mut connect = login
        .connection_timeout(Duration::from_secs(2))
        .reconnect_delay_callback(|attempt| Duration::from_millis(if attempt <= 1 { 0 } else { 100 }))
        .reconnect_to_server_callback(move |pool, info| {
            // The first connection comes through here too, and has lost nobody yet.
            let chosen = if info.server_id.is_empty() {
                None
            } else {
                cuts.0.lock().unwrap().insert((info.server_id.clone(), info.client_id));
                way.lock().unwrap().next(pick, &pool, &info)
            };
            async move { chosen }
        });
    if let Some(ca) = &options.tls_ca {
        connect = connect.require_tls(true).add_root_certificates(ca.clone());
    }
    Ok(connect.connect(address).await?)
}
