//! A cluster with something of everything in it, in operator mode, rolled under load: nothing of it is lost.

use std::{
    collections::BTreeMap,
    env,
    path::Path,
    time::{Duration, Instant},
};

use async_nats::{
    ConnectOptions,
    jetstream::{
        self, Context,
        consumer::pull,
        kv,
        stream::{Config, RetentionPolicy, Source, StorageType},
    },
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::{
    accounts::Operator,
    harness::{Lab, Options, WIDE},
    jetstream::with_system_account,
    logins::with_accounts,
    process::Ended,
    relay::DRAIN,
    watched::Witness,
};

/// Set where the program runs inside: `fill` or `look`, the directory of credentials, how many servers, how many streams more.
const INSIDE: &str = "ROLLGATE_TEST_ESTATE";
/// What `look` prints begins with it.
const MARK: &str = "estate: ";
/// Messages in each stream.
const MESSAGES: u64 = 20;

/// Does nothing when it is run as a test like others.
#[test]
fn inside() {
    let Some(task) = env::var(INSIDE).ok() else { return };
    let words: Vec<&str> = task.split(' ').collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut found = BTreeMap::new();
        for account in ["app", "other"] {
            let jetstream = connect(Path::new(words[1]), account).await;
            if words[0] == "fill" {
                let number = |at: usize| words[at].parse().expect("a number");
                fill(&jetstream, number(2), number(3)).await;
            }
            look(&jetstream, account, &mut found).await;
        }
        println!("{MARK}{}", json!(found));
    });
}

async fn connect(credentials: &Path, account: &str) -> Context {
    let options = ConnectOptions::with_credentials_file(credentials.join(format!("{account}.creds"))).await;
    let client = options.expect("credentials").connect("nats://10.77.0.11:4222").await.expect("connected");
    jetstream::context::ContextBuilder::new().timeout(Duration::from_secs(10)).build(client)
}

/// A cluster that has just come up may elect once more.
async fn insist<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(what: &str, ask: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(begun.elapsed() < WIDE, "{what}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Streams of one replica, of three, of one on every server, on disk and in memory, a work queue, a mirror, a stream with two sources, a KV
/// bucket; `more` small ones with one and three replicas in turns; and a consumer on each.
async fn fill(jetstream: &Context, servers: usize, more: usize) {
    let stream = |name: &str, replicas: usize, storage: StorageType| Config {
        name: name.to_owned(),
        subjects: vec![format!("{name}.>")],
        num_replicas: replicas,
        storage,
        duplicate_window: WIDE,
        ..Default::default()
    };
    let mut all = vec![
        stream("R1", 1, StorageType::File),
        stream("R3", 3, StorageType::File),
        stream("R5", servers, StorageType::File),
        stream("M3", 3, StorageType::Memory),
        Config { retention: RetentionPolicy::WorkQueue, ..stream("WORK", 3, StorageType::File) },
    ];
    all.extend((0..more).map(|n| stream(&format!("S{n}"), if n % 2 == 0 { 3 } else { 1 }, StorageType::File)));
    let make = |config: Config| async move {
        let name = config.name.clone();
        insist(&name, || jetstream.create_stream(config.clone())).await;
        for n in 0..if config.subjects.is_empty() { 0 } else { MESSAGES } {
            let (id, subject) = (format!("{name}-{n}"), format!("{name}.{n}"));
            let send = || async {
                let message = jetstream::message::PublishMessage::build().message_id(&id).payload("x".into());
                jetstream.send_publish(subject.clone(), message).await?.await
            };
            insist(&name, send).await;
        }
        let durable = pull::Config { durable_name: Some("c".into()), ..Default::default() };
        insist(&name, || jetstream.create_consumer_on_stream(durable.clone(), name.clone())).await;
    };
    futures_util::stream::iter(all).for_each_concurrent(16, make).await;
    let origin = |name: &str| Source { name: name.to_owned(), ..Default::default() };
    let mirror = Config { subjects: vec![], mirror: Some(origin("R3")), ..stream("MIRROR", 3, StorageType::File) };
    let sources = Some(vec![origin("R3"), origin("R5")]);
    make(mirror).await;
    make(Config { subjects: vec![], sources, ..stream("SOURCED", 3, StorageType::File) }).await;
    let bucket = kv::Config { bucket: "kv".into(), history: 5, num_replicas: 3, ..Default::default() };
    insist("kv", || jetstream.create_key_value(bucket.clone())).await;
    let bucket = insist("kv", || jetstream.get_key_value("kv")).await;
    for n in 0..MESSAGES {
        insist("kv", || bucket.put(format!("k{}", n % 7), "v".into())).await;
    }
    // A few are acknowledged, so that consumers have floors to keep.
    for name in ["R3", "M3", "WORK"] {
        let consumer: jetstream::consumer::PullConsumer =
            insist(name, || jetstream.get_consumer_from_stream("c", name)).await;
        let mut batch = insist(name, || consumer.fetch().max_messages(5).messages()).await;
        while let Some(Ok(message)) = batch.next().await {
            message.double_ack().await.expect("acknowledged");
        }
    }
}

/// What every stream and consumer holds, by their leaders, once mirrors and sources have what they should.
async fn look(jetstream: &Context, account: &str, found: &mut BTreeMap<String, Value>) {
    let complete = async |name: &str| -> Result<(), String> {
        let stream = jetstream.get_stream(name).await.map_err(|error| error.to_string())?;
        let wanted = if name == "SOURCED" { 2 * MESSAGES } else { MESSAGES };
        let has = stream.cached_info().state.messages;
        if has == wanted { Ok(()) } else { Err(format!("{has} of {wanted} messages")) }
    };
    for name in ["MIRROR", "SOURCED"] {
        insist(name, || complete(name)).await;
    }
    let names: Vec<String> = jetstream
        .stream_names()
        .filter_map(|name| async { name.ok() })
        .filter(|name| std::future::ready(name != "LOAD"))
        .collect()
        .await;
    for name in names {
        let info = insist(&name, || async {
            let stream = jetstream.get_stream(&name).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(stream.cached_info().clone())
        })
        .await;
        let state = info.state;
        let mut told = json!([state.messages, state.first_sequence, state.last_sequence, info.config.num_replicas]);
        if info.config.name != "KV_kv" {
            let floor = insist(&name, || async {
                let consumer: jetstream::consumer::PullConsumer =
                    jetstream.get_consumer_from_stream("c", &name).await.map_err(|error| error.to_string())?;
                let info = consumer.cached_info();
                let led = info.cluster.as_ref().is_some_and(|cluster| cluster.leader.is_some());
                if led { Ok(info.ack_floor.stream_sequence) } else { Err("no leader".to_owned()) }
            })
            .await;
            told = json!([told, floor]);
        }
        found.insert(format!("{account} {name}"), told);
    }
}

/// Runs a task inside; what is there after it.
fn estate(lab: &Lab, task: &str, more: usize) -> BTreeMap<String, Value> {
    let this = env::current_exe().expect("this program");
    let mut command = lab.exec(this, &["--exact", "estate::inside", "--nocapture"]);
    command.env(INSIDE, format!("{task} {} {} {more}", lab.work.path().display(), lab.hosts().len()));
    let output = command.output().expect("this program runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let line = said.lines().find_map(|line| line.split_once(MARK)).unwrap_or_else(|| panic!("{task}: {said}")).1;
    serde_json::from_str(line).expect("JSON")
}

fn with_operator(lab: &Lab) -> String {
    let operator = Operator::new();
    with_accounts(lab, &operator.config);
    for user in &operator.users {
        lab.write(&format!("{}.creds", user.name), &user.creds);
    }
    let line = format!("defaults:\n  nats: {{creds: {}}}\n", lab.file("sys.creds"));
    lab.inventory_with(|text| text.replacen("defaults:\n", &line, 1))
}

fn moved(ended: &Ended) -> usize {
    let notes = ended.of("step-finished").into_iter().filter_map(|event| event["note"].as_str());
    notes.filter(|note| note.contains("moved")).count()
}

#[test]
fn five_servers_in_operator_mode_with_something_of_everything() {
    let Some(lab) = Lab::up(Options { hosts: 5, ..Options::default() }) else { return };
    let inventory = with_operator(&lab);
    let before = estate(&lab, "fill", 0);
    assert_eq!(before.len(), 2 * 8, "{before:?}");
    let witness = Witness::with(&lab, &["--creds", &lab.file("app.creds"), "--stream", "LOAD"]);
    let playbook = lab.write("drain.yaml", DRAIN);
    let refused = lab.rollgate(&["run", &playbook, "-i", &inventory, "--yes"]);
    refused.exits(3).says(&["r1-offline"]);
    let ended = lab.rollgate(&["run", &playbook, "-i", &inventory, "--yes", "--allow", "r1-offline"]);
    let report = witness.report();
    ended.exits(0).journal_is_whole();
    report.nobody_was_harmed().restarts(&[1, 1, 1, 1, 1]);
    assert!(moved(&ended) >= 3, "leaders are moved, in accounts that we have no user of\n{ended}");
    assert_eq!(before, estate(&lab, "look", 0), "{ended}");
}

/// Thousands of assets are seen whole and in time. `ROLLGATE_TEST_STREAMS` sets how many; CI takes few.
#[test]
fn many_assets_are_seen_whole_and_in_time() {
    let Some(lab) = Lab::up(Options::default()) else { return };
    let inventory = with_operator(&lab);
    let more = env::var("ROLLGATE_TEST_STREAMS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let begun = Instant::now();
    let there = estate(&lab, "fill", more);
    println!("{} streams made in {:?}", there.len(), begun.elapsed());
    let begun = Instant::now();
    let plan = lab.rollgate(&["plan", "-i", &inventory, "-o", "json", "--allow", "r1-offline"]);
    plan.exits(0);
    println!("planned in {:?}", begun.elapsed());
}

/// Every minor version to the next, under one load that never stops: in the middle of each roll the cluster is a mixed one.
#[test]
fn from_2_10_to_2_15_under_load() {
    let Some(lab) = Lab::up(Options { nats: "2.10.26", ..Options::default() }) else { return };
    let inventory = with_system_account(&lab);
    let playbook = lab.write("drain.yaml", DRAIN);
    let witness = Witness::of(&lab);
    for version in ["2.11.11", "2.12.8", "2.14.6", "2.15.1"] {
        for host in lab.hosts() {
            lab.command("nats", &[&host, version]);
        }
        let ended = lab.rollgate(&["run", &playbook, "-i", &inventory, "--yes"]);
        ended.exits(0).journal_is_whole();
        let found: Vec<_> =
            ended.of("turn-finished").into_iter().filter_map(|event| event["version"].as_str()).collect();
        assert_eq!(found, [version; 3], "{ended}");
    }
    witness.report().nobody_was_harmed().restarts(&[4, 4, 4]);
}
