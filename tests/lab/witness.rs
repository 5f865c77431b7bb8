//! An independent observer of a rolling restart, and the load it has to survive.
//!
//! It shares no code with rollgate, so that both can't be wrong in the same way. It holds idle clients,
//! publishes to a replicated stream, asks every server all the time whether it is ready, and at the
//! end reads the stream back: every acknowledged message must be there, at the sequence it was promised.

#[path = "witness/clients.rs"]
mod clients;

use std::collections::HashMap;
use std::os::unix::fs::FileTypeExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{self, message::PublishMessage, stream};
use clap::Parser;
use clients::{Cuts, Pick, connect};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Puts clients and a publisher on a cluster and watches every server of it.
#[derive(Parser, Clone)]
struct Options {
    /// Addresses of all servers, without ports.
    #[arg(long, value_delimiter = ',', required = true)]
    servers: Vec<String>,
    /// Idle clients that begin at each server and may reconnect anywhere.
    #[arg(long, default_value_t = 5)]
    clients_per_server: usize,
    /// Where clients turn when they are cut off.
    #[arg(long, value_enum, default_value = "any")]
    pick: Pick,
    /// Messages a second.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// Requests a second, from one client to another that answers.
    #[arg(long, default_value_t = 50)]
    requests: u64,
    #[arg(long, default_value = "witness")]
    stream: String,
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    #[arg(long, default_value = "app")]
    user: String,
    #[arg(long, default_value = "app")]
    password: String,
    /// A credentials file in place of user and password.
    #[arg(long)]
    creds: Option<std::path::PathBuf>,
    #[arg(long, default_value_t = 50)]
    poll_ms: u64,
    /// How long, such as `30s`; else until SIGINT, SIGTERM, or the end of a piped stdin.
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    #[arg(long)]
    tls_ca: Option<std::path::PathBuf>,
    #[arg(long, default_value_t = 4222)]
    client_port: u16,
    /// 0: it can't be reached, so readiness is judged by the client port alone.
    #[arg(long, default_value_t = 8222)]
    monitor_port: u16,
    /// Shorter spells of not being ready don't count as a server being down. While its peers elect a
    /// leader, a healthy server may answer 503 for some milliseconds; a restart takes far longer.
    #[arg(long, default_value_t = 250)]
    blip_ms: u64,
    /// Leave the stream there at the end.
    #[arg(long)]
    keep_stream: bool,
    /// Also write the JSON there.
    #[arg(long)]
    report: Option<std::path::PathBuf>,
    /// A table for people in place of JSON.
    #[arg(long)]
    text: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|e| format!("{e}"))?;
    Duration::try_from(parsed).map_err(|e| e.to_string())
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// How long a message is tried for before it counts as failed.
const GIVE_UP: Duration = Duration::from_secs(10);
/// One attempt, a little longer than an election takes.
const ATTEMPT: Duration = Duration::from_secs(2);
const DESCRIPTION: &str = "made by rollgate's witness";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    // reqwest is built without a TLS provider of its own
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = Options::parse();

    let idle = open_idle_clients(&options).await?;
    let requester = connect(&options, 0, &Arc::default()).await?;
    let responder = connect(&options, options.servers.len() - 1, &Arc::default()).await?;
    let echo = tokio::spawn(answer(responder, options.clone()));
    let client = connect(&options, 0, &Arc::default()).await?;
    let js = jetstream::context::ContextBuilder::new().timeout(ATTEMPT).ack_timeout(ATTEMPT).build(client);
    create_stream(&js, &options).await?;

    let began = Instant::now();
    let watched: Vec<_> = (0..options.servers.len()).map(|_| Arc::new(Mutex::new(Watched::default()))).collect();
    let watchers: Vec<_> = options
        .servers
        .iter()
        .zip(&watched)
        .map(|(server, log)| tokio::spawn(watch(server.clone(), options.clone(), log.clone(), began)))
        .collect();

    eprintln!("ready");
    let (over, told) = tokio::sync::watch::channel(false);
    let stop = async {
        until_told(options.duration).await;
        over.send_replace(true);
    };
    let asking = ask_until(&requester, &options, told);
    let (tally, asked) = tokio::join!(publish_until(&js, &options, stop), asking);
    echo.abort();
    watchers.iter().for_each(tokio::task::JoinHandle::abort);
    let ended = began.elapsed();

    let verified = verify(&js, &options, &tally).await;
    if !options.keep_stream {
        let _ = js.delete_stream(&options.stream).await;
    }
    let clients = clients_report(&idle);
    let report = report(&options, ended, &watched, &tally, &asked, &verified, clients);
    if let Some(file) = &options.report {
        std::fs::write(file, report.to_string())?;
    }
    println!("{}", if options.text { table(&report, options.blip_ms) } else { report.to_string() });
    std::process::exit(i32::from(verified.is_err()));
}

// ---- the load

async fn open_idle_clients(options: &Options) -> Result<Vec<(async_nats::Client, Arc<Cuts>)>, AnyError> {
    let mut clients = Vec::new();
    for server in 0..options.servers.len() {
        for _ in 0..options.clients_per_server {
            let cuts = Arc::default();
            clients.push((connect(options, server, &cuts).await?, cuts));
        }
    }
    Ok(clients)
}

async fn create_stream(js: &jetstream::Context, options: &Options) -> Result<(), AnyError> {
    let config = stream::Config {
        name: options.stream.clone(),
        description: Some(DESCRIPTION.into()),
        subjects: vec![format!("{}.>", options.stream)],
        num_replicas: options.replicas,
        duplicate_window: Duration::from_secs(120),
        ..Default::default()
    };
    // a cluster that has just come up may still be electing
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let attempt: Result<(), AnyError> = async {
            if let Ok(old) = js.get_stream(&options.stream).await {
                if old.cached_info().config.description.as_deref() != Some(DESCRIPTION) {
                    return Err(format!("a stream `{}` that is not ours is there", options.stream).into());
                }
                js.delete_stream(&options.stream).await?;
            }
            js.create_stream(config.clone()).await?;
            Ok(())
        }
        .await;
        match attempt {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}

/// What became of the messages.
#[derive(Default)]
struct Tally {
    acked: HashMap<String, u64>,
    attempts_failed: u64,
    failed: Vec<String>,
    last_ack: Option<Instant>,
    worst_gap: Duration,
    last_error: Option<String>,
}

impl Tally {
    fn ack(&mut self, id: String, sequence: u64) {
        self.close_gap();
        self.acked.insert(id, sequence);
    }
    fn close_gap(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_ack.replace(now) {
            self.worst_gap = self.worst_gap.max(now - last);
        }
    }
}

/// Starts messages at the rate, whatever becomes of those before, as independent clients would.
async fn publish_until(js: &jetstream::Context, options: &Options, stop: impl Future<Output = ()>) -> Tally {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut ticks = interval(Duration::from_nanos(1_000_000_000 / options.rate.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut under_way = JoinSet::new();
    tokio::pin!(stop);
    for number in 0u64.. {
        tokio::select! {
            () = &mut stop => break,
            _ = ticks.tick() => {}
        }
        while under_way.try_join_next().is_some() {}
        under_way.spawn(publish(js.clone(), options.stream.clone(), format!("w-{number}"), tally.clone()));
    }
    while under_way.join_next().await.is_some() {}
    let mut tally = std::mem::take(&mut *tally.lock().unwrap());
    if !tally.failed.is_empty() {
        tally.close_gap(); // an outage that lasted to the end is a gap too
    }
    tally
}

async fn publish(js: jetstream::Context, stream: String, id: String, tally: Arc<Mutex<Tally>>) {
    let send = || async {
        // the same id each time: the server stores it once, however often we had to ask
        let message = PublishMessage::build().payload("x".repeat(100).into()).message_id(&id);
        let sent = js.send_publish(format!("{stream}.m"), message).await.map_err(|error| error.to_string())?;
        sent.await.map(|ack| ack.sequence).map_err(|error| error.to_string())
    };
    insist(id.clone(), &tally, send).await;
}

/// Answers every request, as a service does.
async fn answer(client: async_nats::Client, options: Options) -> Result<(), AnyError> {
    let mut requests = client.subscribe(format!("{}-echo", options.stream)).await?;
    while let Some(request) = requests.next().await {
        if let Some(reply) = request.reply {
            client.publish(reply, request.payload).await?;
        }
    }
    Ok(())
}

/// Begins requests at the rate until it is over; each is repeated until it is answered or given up.
async fn ask_until(
    client: &async_nats::Client,
    options: &Options,
    mut over: tokio::sync::watch::Receiver<bool>,
) -> Tally {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut ticks = interval(Duration::from_nanos(1_000_000_000 / options.requests.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut under_way = JoinSet::new();
    for number in 0u64.. {
        tokio::select! {
            _ = over.wait_for(|over| *over) => break,
            _ = ticks.tick() => {}
        }
        while under_way.try_join_next().is_some() {}
        let (client, subject, tally) = (client.clone(), format!("{}-echo", options.stream), tally.clone());
        under_way.spawn(async move {
            let send = || {
                let request = async_nats::Request::new().payload(number.to_string().into());
                let (client, subject) = (client.clone(), subject.clone());
                async move { client.send_request(subject, request).await.map(|_| 0).map_err(|error| error.to_string()) }
            };
            insist(format!("r-{number}"), &tally, send).await;
        });
    }
    while under_way.join_next().await.is_some() {}
    std::mem::take(&mut *tally.lock().unwrap())
}

/// Tries until it works, and then notes the number that came of it, or until it is time to give up.
async fn insist<F: Future<Output = Result<u64, String>>>(id: String, tally: &Mutex<Tally>, send: impl Fn() -> F) {
    let began = Instant::now();
    loop {
        let error = match timeout(ATTEMPT, send()).await {
            Ok(Ok(number)) => return tally.lock().unwrap().ack(id, number),
            Ok(Err(error)) => error,
            Err(_) => "no answer in time".to_owned(),
        };
        {
            let mut tally = tally.lock().unwrap();
            tally.attempts_failed += 1;
            tally.last_error = Some(error);
            if began.elapsed() > GIVE_UP {
                return tally.failed.push(id);
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn until_told(limit: Option<Duration>) {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).expect("a SIGINT handler");
    let mut terminate = signal(SignalKind::terminate()).expect("a SIGTERM handler");
    let elapsed = async {
        match limit {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = elapsed => {}
        () = stdin_closed() => {}
    }
}

/// Ends with the program that holds the other end of the pipe. A background job's /dev/null does not count.
async fn stdin_closed() {
    let piped = std::fs::metadata("/dev/stdin").is_ok_and(|m| m.file_type().is_fifo() || m.file_type().is_socket());
    if !piped {
        std::future::pending::<()>().await;
    }
    let (told, closed) = tokio::sync::oneshot::channel();
    // a thread, since tokio's stdin would hold up the end of the program
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = told.send(());
    });
    let _ = closed.await;
}

/// Reads the stream back and compares it with what was acknowledged.
async fn verify(js: &jetstream::Context, options: &Options, tally: &Tally) -> Result<u64, String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let stored = loop {
        match timeout(Duration::from_secs(10), read_back(js, options)).await {
            Ok(Ok(stored)) => break stored,
            Ok(Err(error)) if Instant::now() > deadline => return Err(format!("cannot read the stream back: {error}")),
            Err(_) if Instant::now() > deadline => return Err("cannot read the stream back in time".into()),
            _ => sleep(Duration::from_millis(200)).await,
        }
    };
    compare(&tally.acked, &tally.failed, &stored).map(|()| stored.len() as u64)
}

async fn read_back(js: &jetstream::Context, options: &Options) -> Result<HashMap<u64, String>, AnyError> {
    let mut stream = js.get_stream(&options.stream).await?;
    let last = stream.info().await?.state.last_sequence;
    let mut stored = HashMap::new();
    if last == 0 {
        return Ok(stored);
    }
    let config = pull::OrderedConfig { headers_only: true, deliver_policy: DeliverPolicy::All, ..Default::default() };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let sequence = message.info()?.stream_sequence;
        let id =
            message.headers.as_ref().and_then(|h| h.get("Nats-Msg-Id")).map(ToString::to_string).unwrap_or_default();
        stored.insert(sequence, id);
        if sequence >= last {
            break;
        }
    }
    Ok(stored)
}

/// Every acknowledged message once, at its sequence; others only if they were given up on, since
/// their acknowledgement may have been lost after they were stored.
fn compare(acked: &HashMap<String, u64>, failed: &[String], stored: &HashMap<u64, String>) -> Result<(), String> {
    let lost = acked.iter().filter(|(id, sequence)| stored.get(sequence) != Some(id)).count();
    let strangers = stored.values().filter(|id| !acked.contains_key(*id) && !failed.contains(id)).count();
    let distinct: std::collections::HashSet<_> = stored.values().collect();
    let twice = stored.len() - distinct.len();
    if lost + strangers + twice == 0 {
        return Ok(());
    }
    Err(format!("{lost} acknowledged messages lost or moved, {strangers} never acknowledged, {twice} stored twice"))
}

// ---- the watch

/// What was seen of one server, in time since the beginning.
#[derive(Default)]
struct Watched {
    not_ready: Vec<Spell>,
    server_id: Option<String>,
    restarts: u64,
    polls: u64,
}

/// A time of not being ready, and the first reason for it.
struct Spell {
    from: Duration,
    to: Option<Duration>,
    why: String,
}

async fn watch(server: String, options: Options, log: Arc<Mutex<Watched>>, began: Instant) {
    let http =
        reqwest::Client::builder().timeout(Duration::from_secs(1)).tls_certs_only([]).build().expect("an http client");
    let url = format!("http://{server}:{}/healthz", options.monitor_port);
    let mut ticks = interval(Duration::from_millis(options.poll_ms.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // the client port four times a second, and whenever the server has just come back
    let every = (250 / options.poll_ms.max(1)).max(1);
    let mut was_ready = true;
    for number in 0u64.. {
        ticks.tick().await;
        let asked = began.elapsed();
        let mut problem = match options.monitor_port {
            0 => None,
            _ => unhealthy(&http, &url).await,
        };
        let mut identity = None;
        if problem.is_none() && (number % every == 0 || !was_ready) {
            match greeting(&server, options.client_port).await {
                Ok(server_id) => identity = Some(server_id),
                Err(error) => problem = Some(error),
            }
        }
        was_ready = problem.is_none();
        log.lock().unwrap().record(asked, began.elapsed(), problem, identity);
    }
}

impl Watched {
    /// Unready from the first question that went wrong until the first good answer: never shorter than it was.
    fn record(&mut self, asked: Duration, answered: Duration, problem: Option<String>, identity: Option<String>) {
        self.polls += 1;
        let open = self.not_ready.last_mut().filter(|spell| spell.to.is_none());
        match (problem, open) {
            (Some(why), None) => self.not_ready.push(Spell { from: asked, to: None, why }),
            (None, Some(spell)) => spell.to = Some(answered),
            _ => {}
        }
        if let Some(new) = identity {
            let old = self.server_id.replace(new.clone());
            self.restarts += u64::from(old.is_some_and(|old| old != new));
        }
    }
}

async fn unhealthy(http: &reqwest::Client, url: &str) -> Option<String> {
    match http.get(url).send().await {
        Ok(answer) if answer.status() == 200 => None,
        Ok(answer) => Some(format!("{}: {}", answer.status().as_u16(), answer.text().await.unwrap_or_default())),
        Err(error) => {
            Some(if error.is_timeout() { "no answer in time".into() } else { "connection refused or lost".into() })
        }
    }
}

/// The server's INFO line, sent as the first thing on its client port: proof that it takes clients, and its id.
async fn greeting(server: &str, port: u16) -> Result<String, String> {
    let read = async {
        let mut stream = TcpStream::connect((server, port)).await.map_err(|e| format!("client port: {e}"))?;
        let mut line = Vec::new();
        while !line.contains(&b'\n') && line.len() < 65536 {
            if stream.read_buf(&mut line).await.map_err(|e| format!("client port: {e}"))? == 0 {
                break;
            }
        }
        let text = String::from_utf8_lossy(&line);
        let info = text.strip_prefix("INFO ").ok_or("client port: something else than nats-server")?;
        let info: Value = serde_json::from_str(info.trim()).map_err(|e| format!("client port: {e}"))?;
        Ok(info["server_id"].as_str().unwrap_or_default().to_owned())
    };
    timeout(Duration::from_secs(1), read).await.unwrap_or_else(|_| Err("client port: no INFO in time".into()))
}

// ---- the report

/// The most servers not ready at one instant, and for how long two or more were.
fn overlap(intervals: &[(Duration, Duration)]) -> (usize, Duration) {
    let mut edges: Vec<(Duration, i32)> = intervals.iter().flat_map(|&(from, to)| [(from, 1), (to, -1)]).collect();
    edges.sort(); // an end before a beginning at the same instant
    let (mut now, mut most, mut several, mut since) = (0i32, 0i32, Duration::ZERO, Duration::ZERO);
    for (at, change) in edges {
        if now >= 2 {
            several += at - since;
        }
        now += change;
        most = most.max(now);
        since = at;
    }
    (most as usize, several)
}

fn report(
    options: &Options,
    ended: Duration,
    watched: &[Arc<Mutex<Watched>>],
    tally: &Tally,
    asked: &Tally,
    verified: &Result<u64, String>,
    clients: Value,
) -> Value {
    let ms = |d: Duration| d.as_millis() as u64;
    let mut down = Vec::new();
    let mut blips = 0;
    let servers: Vec<Value> = options
        .servers
        .iter()
        .zip(watched)
        .map(|(server, log)| {
            let log = log.lock().unwrap();
            let spells: Vec<_> = log.not_ready.iter().map(|s| (s.from, s.to.unwrap_or(ended).max(s.from), &s.why)).collect();
            let long = |&(from, to, _): &(Duration, Duration, &String)| to - from >= Duration::from_millis(options.blip_ms);
            let before = down.len();
            down.extend(spells.iter().filter(|spell| long(spell)).map(|&(from, to, _)| (from, to)));
            blips += spells.len() - (down.len() - before);
            json!({
                "server": server,
                "restarts": log.restarts,
                "ready_at_end": log.not_ready.last().is_none_or(|spell| spell.to.is_some()),
                "not_ready_ms": ms(spells.iter().map(|&(from, to, _)| to - from).sum()),
                "not_ready": spells.iter().map(|(from, to, why)| json!({"from_ms": ms(*from), "to_ms": ms(*to), "why": why})).collect::<Vec<_>>(),
                "polls": log.polls,
            })
        })
        .collect();
    let (most, several) = overlap(&down);
    json!({
        "duration_ms": ms(ended),
        "most_not_ready_at_once": most,
        "two_or_more_not_ready_ms": ms(several),
        "blips": blips,
        "servers": servers,
        "publisher": {
            "acked": tally.acked.len(),
            "attempts_failed": tally.attempts_failed,
            "failed": tally.failed.len(),
            "worst_gap_ms": ms(tally.worst_gap),
            "last_error": tally.last_error,
            "stored": verified.as_ref().ok(),
            "verified": verified.is_ok(),
            "problem": verified.as_ref().err(),
        },
        "requests": {
            "answered": asked.acked.len(),
            "attempts_failed": asked.attempts_failed,
            "failed": asked.failed.len(),
            "worst_gap_ms": ms(asked.worst_gap),
            "last_error": asked.last_error,
        },
        "clients": clients,
    })
}

fn clients_report(idle: &[(async_nats::Client, Arc<Cuts>)]) -> Value {
    let is_connected = |c: &async_nats::Client| c.connection_state() == async_nats::connection::State::Connected;
    json!({
        "opened": idle.len(),
        "connected_at_end": idle.iter().filter(|(client, _)| is_connected(client)).count(),
        "disconnects": idle.iter().map(|(_, cuts)| cuts.all()).sum::<usize>(),
        "most_in_a_turn": idle.iter().map(|(_, cuts)| cuts.most_in_a_turn()).max(),
        "more_than_once_in_a_turn": idle.iter().filter(|(_, cuts)| cuts.most_in_a_turn() > 1).count(),
    })
}

fn table(report: &Value, blip_ms: u64) -> String {
    let mut text = format!("{:<18}{:>9}{:>16}  {}\n", "server", "restarts", "not ready", "at the end");
    for server in report["servers"].as_array().into_iter().flatten() {
        text += &format!(
            "{:<18}{:>9}{:>14.2} s  {}\n",
            server["server"].as_str().unwrap_or_default(),
            server["restarts"].to_string(),
            server["not_ready_ms"].as_f64().unwrap_or_default() / 1000.0,
            if server["ready_at_end"] == true { "ready" } else { "not ready" },
        );
    }
    let publisher = &report["publisher"];
    text += &format!(
        "most servers not ready at once: {} (two or more: {:.2} s)\n",
        report["most_not_ready_at_once"],
        report["two_or_more_not_ready_ms"].as_f64().unwrap_or_default() / 1000.0,
    );
    if report["blips"] != 0 {
        text += &format!("shorter than {blip_ms} ms, not counted as down: {}\n", report["blips"]);
    }
    text += &format!(
        "publishes: {} acknowledged, {} failed after retries ({} attempts failed), worst gap {} ms\n",
        publisher["acked"], publisher["failed"], publisher["attempts_failed"], publisher["worst_gap_ms"],
    );
    text += &match publisher["problem"].as_str() {
        None => format!("stream read back: {} messages, every acknowledged one at its sequence\n", publisher["stored"]),
        Some(problem) => format!("stream read back: {problem}\n"),
    };
    let requests = &report["requests"];
    text += &format!(
        "requests: {} answered, {} failed after retries ({} attempts failed), worst gap {} ms\n",
        requests["answered"], requests["failed"], requests["attempts_failed"], requests["worst_gap_ms"],
    );
    let clients = &report["clients"];
    text + &format!(
        "clients: {} of {} connected, {} disconnects, {} more than once in a turn",
        clients["connected_at_end"], clients["opened"], clients["disconnects"], clients["more_than_once_in_a_turn"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap_of(intervals: &[(u64, u64)]) -> (usize, u64) {
        let all: Vec<_> =
            intervals.iter().map(|&(a, b)| (Duration::from_millis(a), Duration::from_millis(b))).collect();
        let (most, several) = overlap(&all);
        (most, several.as_millis() as u64)
    }

    #[test]
    fn overlap_counts_servers_at_one_instant() {
        for (intervals, expect) in [
            (&[][..], (0, 0)),
            (&[(0, 10)], (1, 0)),
            (&[(0, 10), (10, 20)], (1, 0)),
            (&[(0, 10), (5, 20)], (2, 5)),
            (&[(0, 10), (5, 20), (6, 7), (30, 40)], (3, 5)),
        ] {
            assert_eq!(overlap_of(intervals), expect, "{intervals:?}");
        }
    }

    #[test]
    fn only_a_given_up_message_may_be_stored_without_an_ack() {
        let acked = HashMap::from([("a".to_owned(), 1)]);
        let stored = |ids: &[&str]| (1..).zip(ids.iter().map(ToString::to_string)).collect::<HashMap<u64, String>>();
        assert!(compare(&acked, &[], &stored(&["a"])).is_ok());
        assert!(compare(&acked, &["b".into()], &stored(&["a", "b"])).is_ok());
        assert!(compare(&acked, &[], &stored(&["a", "b"])).is_err(), "never sent");
        assert!(compare(&acked, &[], &stored(&["b", "a"])).is_err(), "moved");
        assert!(compare(&acked, &["b".into()], &stored(&["a", "b", "b"])).is_err(), "twice");
    }
}
