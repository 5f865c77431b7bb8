//! What the system account and the monitoring ports say of the assets, and what can be done through the account: on
//! real servers, from the oldest that we have to the newest.
//!
//! The library has to run inside the lab's network, so this program starts itself there, to run [`inside`] alone.

use std::{
    env,
    path::Path,
    time::{Duration, Instant},
};

use async_nats::{ConnectOptions, jetstream};
use futures_util::{StreamExt, stream};
use rollgate::{
    config::Inventory,
    core::{
        assets::{Assets, Group, Kind, State, Storage},
        view::FailureKind,
    },
    fleet::live::{
        Live,
        nats::{Attachments, Environment, SystemAccount, Target, access},
    },
};

use crate::harness::{Lab, Options, WIDE};

/// Set where the program runs inside; the inventory's path.
const INSIDE: &str = "ROLLGATE_TEST_INSIDE";
/// For one request.
const LIMIT: Duration = Duration::from_secs(10);
/// R3 streams, each with a consumer of as many replicas.
const STREAMS: usize = 200;

fn run(nats: &'static str) {
    let Some(lab) = Lab::up(Options { nats, ..Options::default() }) else { return };
    let password = lab.write("sys.password", "sys\n");
    let inventory = lab.inventory_with(|text| {
        text.replacen("    hosts:", &format!("    nats: {{user: sys, password_file: {password}}}\n    hosts:"), 1)
    });
    // A user who may ask, and not act.
    for host in lab.hosts() {
        let user = "{ user: asks, password: asks, permissions: { publish: [\"$SYS.REQ.>\"] } }";
        let edit = format!("sed -i 's|SYS {{ users: \\[|SYS {{ users: [ {user},|' /etc/nats/nats-server.conf");
        lab.root(&host, &format!("{edit} && systemctl reload nats-server"));
    }
    let this = env::current_exe().expect("this program");
    let mut command = lab.exec(this, &["--exact", "assets::inside", "--nocapture"]);
    command.env(INSIDE, inventory);
    let output = command.output().expect("this program runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{nats}: {said}");
    assert!(output.status.success() && said.contains("1 passed"), "{nats}: {said}");
}

#[test]
fn the_system_account_of_2_10() {
    run("2.10.26");
}

#[test]
fn the_system_account_of_2_11() {
    run("2.11.11");
}

#[test]
fn the_system_account_of_2_15() {
    run("2.15.1");
}

/// Does nothing when it is run as a test like others.
#[test]
fn inside() {
    let Some(path) = env::var_os(INSIDE) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(WIDE, look_and_move(Path::new(&path))).await }).expect("in time");
}

async fn look_and_move(inventory: &Path) {
    let inventory = Inventory::load(inventory).expect("the inventory");
    let cluster = &inventory.clusters[0];
    let live = Live::new(cluster).await.expect("hosts");
    let names: Vec<String> = cluster.hosts.iter().map(|host| host.server_name.clone()).collect();
    let urls: Vec<String> = live.hosts().iter().map(|host| host.client_url()).collect();
    let environment = Environment { variable: &|name| env::var(name).ok(), home: None };
    let access = access(cluster.nats.as_ref().expect("nats"), &environment).expect("who we are");
    let account = SystemAccount::connect(&access, &urls, LIMIT).await.expect("the system account");

    strangers_are_told_so(&urls).await;
    fill(&urls).await;

    let begun = Instant::now();
    let assets = quiet(&account, &names).await;
    println!("settled after {:?}", begun.elapsed());
    let begun = Instant::now();
    let again = account.assets(&names, LIMIT).await;
    println!("{} groups by the system account in {:?}", again.groups.len(), begun.elapsed());
    let begun = Instant::now();
    let monitored = live.monitored_assets(LIMIT).await;
    println!("{} groups by the monitoring ports in {:?}", monitored.groups.len(), begun.elapsed());
    assert_eq!(comparable(&assets), comparable(&monitored), "both ways say the same");
    complete(&assets);

    let servers = account.servers(&names, LIMIT).await.expect("servers");
    let modern = !servers.peers.iter().any(|peer| peer.version.starts_with("2.10."));
    asking_is_not_acting(&urls, &assets).await;
    // rollgate asks no server before 2.11 to step down: under a hundred at once 2.10 answers that JetStream is unavailable.
    if modern {
        leaders_move(&account, &names, &assets).await;
    }
    attachments_go(&account, &names, &urls).await;
}

/// A user of another account is no user of the system account, and a wrong password says so without saying itself.
async fn strangers_are_told_so(urls: &[String]) {
    let stranger = |user: &str, password: &str| rollgate::fleet::live::nats::Access {
        servers: Vec::new(),
        login: rollgate::fleet::live::nats::Secret::User(user.into(), password.into()),
        tls: None,
        tls_first: false,
    };
    for (user, password, says) in
        [("app", "app", "no user of the system account"), ("sys", "hunter2", "did not take the login")]
    {
        let failure = SystemAccount::connect(&stranger(user, password), urls, LIMIT).await.err().expect("refused");
        assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
        assert!(failure.detail.contains(says) && !failure.detail.contains("hunter2"), "{failure}");
    }
}

/// A system user without the right to publish to `$JS.API.>` sees everything, and is told at once that it can't act.
async fn asking_is_not_acting(urls: &[String], assets: &Assets) {
    let asks = rollgate::fleet::live::nats::Access {
        servers: Vec::new(),
        login: rollgate::fleet::live::nats::Secret::User("asks".into(), "asks".into()),
        tls: None,
        tls_first: false,
    };
    let account = SystemAccount::connect(&asks, urls, LIMIT).await.expect("the system account");
    let group = assets.groups.iter().find(|group| group.stream == "R3-7").expect("the group");
    let begun = Instant::now();
    let failure = account.step_down(&Target::of(group, None), LIMIT).await.expect_err("no permission");
    assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
    println!("{failure} ({:?})", begun.elapsed());
    assert!(begun.elapsed() < LIMIT / 2);
}

async fn app(urls: &[String]) -> async_nats::Client {
    let servers: Vec<async_nats::ServerAddr> = urls.iter().map(|url| url.parse().expect("a URL")).collect();
    ConnectOptions::with_user_and_password("app".into(), "app".into()).connect(servers).await.expect("app")
}

async fn fill(urls: &[String]) {
    let client = app(urls).await;
    let jetstream = jetstream::new(client.clone());
    let streams = (0..STREAMS).map(|n| (format!("R3-{n}"), 3, jetstream::stream::StorageType::File));
    let odd = [
        ("R1".to_owned(), 1, jetstream::stream::StorageType::File),
        ("M1".to_owned(), 1, jetstream::stream::StorageType::Memory),
        ("M3".to_owned(), 3, jetstream::stream::StorageType::Memory),
    ];
    stream::iter(streams.chain(odd))
        .for_each_concurrent(8, |(name, replicas, storage)| {
            let jetstream = &jetstream;
            async move {
                let config = jetstream::stream::Config {
                    subjects: vec![format!("{name}.>")],
                    num_replicas: replicas,
                    storage,
                    name: name.clone(),
                    ..Default::default()
                };
                let durable =
                    jetstream::consumer::pull::Config { durable_name: Some("d".into()), ..Default::default() };
                insist(&name, || jetstream.create_stream(config.clone())).await;
                insist(&name, || jetstream.create_consumer_on_stream(durable.clone(), name.clone())).await;
                for n in 0..5 {
                    // The id keeps a message that was stored although its answer was lost from being stored again.
                    let id = format!("{name}-{n}");
                    let send = || async {
                        let message = jetstream::message::PublishMessage::build().message_id(&id).payload("x".into());
                        let sent = jetstream.send_publish(format!("{name}.{n}"), message).await?;
                        sent.await
                    };
                    insist(&name, send).await;
                }
            }
        })
        .await;
    client.drain().await.expect("drained");
}

/// A cluster that has just come up may elect another meta leader, which does not know yet what the last one made.
async fn insist<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(name: &str, ask: impl Fn() -> F) {
    let begun = Instant::now();
    while let Err(error) = ask().await {
        assert!(begun.elapsed() < 3 * LIMIT, "{name}: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The assets once all of them have a leader that counts all members.
async fn quiet(account: &SystemAccount, names: &[String]) -> Assets {
    for _ in 0..60 {
        let assets = account.assets(names, LIMIT).await;
        let settled = |group: &Group| {
            group.leader.disputed.is_empty()
                && group.members.iter().all(|member| member.standing.is_some_and(|standing| standing.counts()))
        };
        if assets.gaps.is_empty() && assets.groups.iter().all(settled) && assets.groups.len() >= 2 * STREAMS {
            return assets;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("not all groups came to rest: {:#?}", account.assets(names, LIMIT).await.leaderless().collect::<Vec<_>>());
}

/// All that does not change by itself from one moment to the next.
fn comparable(assets: &Assets) -> Vec<String> {
    let line = |group: &Group| {
        let members: Vec<_> = group.members.iter().map(|m| (&m.server, m.standing.map(|s| s.counts()))).collect();
        let copies: Vec<_> = group.copies.iter().map(|copy| (&copy.server, copy.node, copy.state.clone())).collect();
        format!(
            "{:?} {} {} {} {:?} R{} {:?} {:?} {members:?} {:?} {} {:?} {:?} {copies:?}",
            group.kind,
            group.account,
            group.stream,
            group.consumer,
            group.raft,
            group.wanted,
            group.storage,
            group.leader.server,
            group.subjects,
            group.consumers,
            group.last_active,
            group.pending,
        )
    };
    assets.groups.iter().map(line).chain(assets.gaps.iter().map(|gap| format!("{gap:?}"))).collect()
}

fn complete(assets: &Assets) {
    assert_eq!(assets.gaps, []);
    assert_eq!(assets.groups.len(), 1 + 2 * (STREAMS + 3));
    let find = |kind: Kind, stream: &str| {
        assets.groups.iter().find(|group| group.kind == kind && group.stream == stream).expect("the group")
    };
    for (name, replicas, storage) in
        [("R3-7", 3, Storage::File), ("R1", 1, Storage::File), ("M1", 1, Storage::Memory), ("M3", 3, Storage::Memory)]
    {
        for kind in [Kind::Stream, Kind::Consumer] {
            let group = find(kind, name);
            assert_eq!(
                (group.wanted, group.members.len(), group.storage),
                (replicas, replicas as usize, storage),
                "{name}"
            );
            assert_eq!(group.copies.len(), group.members.len(), "{group:#?}");
        }
        let stream = find(Kind::Stream, name);
        assert_eq!((stream.consumers, stream.subjects.as_slice()), (1, &[format!("{name}.>")][..]));
        for copy in &stream.copies {
            let State::Stream(state) = &copy.state else { panic!("{copy:?}") };
            assert_eq!((state.messages, state.first_seq, state.last_seq), (5, 1, 5), "{name}: {copy:?}");
        }
    }
    let counted: usize = ["h1", "h2", "h3"].iter().map(|server| assets.led_by(server).count()).sum();
    assert_eq!(counted, assets.groups.len(), "each group has one leader");
    let impact = assets.impact("h2");
    assert!(impact.lost.is_empty() && impact.unknown.is_empty() && impact.safe.is_empty(), "three servers");
    assert_eq!(impact.bare.len(), 1 + 2 * (STREAMS + 1));
}

/// Everything that one server leads, meta too, goes to the other two, without a user of the assets' account.
async fn leaders_move(account: &SystemAccount, names: &[String], assets: &Assets) {
    let from = "h1";
    let movable = |group: &&Group| !group.single();
    let mut targets: Vec<Target> = Vec::new();
    for group in assets.led_by(from).filter(movable) {
        let to = group.successors().first().map(|member| member.server.clone()).expect("a successor");
        targets.push(Target::of(group, Some(to.as_str())));
    }
    let count = targets.len();
    let begun = Instant::now();
    // The meta leader answers for the others, so it is the last to go, and alone, as in a drain.
    let (meta, others): (Vec<_>, Vec<_>) = targets.into_iter().partition(|target| target.kind == Kind::Meta);
    let step_down = |target: Target| async move { (account.step_down(&target, LIMIT).await, target) };
    let mut moved: Vec<_> = stream::iter(others.into_iter().map(step_down)).buffer_unordered(16).collect().await;
    for target in meta {
        moved.push(step_down(target).await);
    }
    println!("{count} leaders asked to step down in {:?}", begun.elapsed());
    for (result, target) in &moved {
        assert!(result.is_ok(), "{target:?}: {result:?}");
    }
    loop {
        let now = quiet(account, names).await;
        let left: Vec<&Group> = now.led_by(from).filter(movable).collect();
        println!("{from} leads {} after {:?}", left.len(), begun.elapsed());
        if left.is_empty() {
            break;
        }
        assert!(begun.elapsed() < WIDE / 2, "{} of {count} leaders stayed", left.len());
        // The one that stepped down may be elected again (seen on 2.11.11): it is asked again, as in a drain.
        for group in left {
            let to = group.successors().first().map(|member| member.server.clone());
            let _ = account.step_down(&Target::of(group, to.as_deref()), LIMIT).await;
        }
    }
    let moved = moved.into_iter().find(|(_, target)| target.kind == Kind::Consumer);
    if let Some((_, target)) = moved {
        let leader = account.leader(&target, LIMIT).await.expect("an answer");
        assert_eq!(leader, target.preferred, "{target:?}");
        // A second time: it leads there already.
        let failure = account.step_down(&target, LIMIT).await.expect_err("it leads there already");
        assert_eq!(failure.kind, FailureKind::Command, "{failure}");
        let stranger = Target { account: "NOPE".into(), ..target };
        let failure = account.step_down(&stranger, Duration::from_secs(1)).await.expect_err("no such account");
        println!("step-down in an account that is not there: {failure}");
    }
}

/// Clients of one server are told, kicked, and connect elsewhere; we stay.
async fn attachments_go(account: &SystemAccount, names: &[String], urls: &[String]) {
    let mut clients = Vec::new();
    for _ in 0..20 {
        let options = ConnectOptions::with_user_and_password("app".into(), "app".into());
        clients.push(options.connect(urls[0].clone()).await.expect("app"));
    }
    let servers = account.servers(names, LIMIT).await.expect("servers");
    let h1 = servers.one("h1").expect("h1").id.clone();
    let (server, _) = account.own();
    let of_app = |found: &Attachments| found.all.iter().filter(|one| one.account == "APP").count();
    let before = account.attachments(&h1, LIMIT).await.expect("attachments");
    assert!(of_app(&before) >= 20 && !before.truncated, "{before:?}");
    let begun = Instant::now();
    for one in &before.all {
        let cid = one.cid.expect("a number");
        account.tell_lame_duck(&h1, cid, LIMIT).await.expect("told");
        account.kick(&h1, cid, LIMIT).await.expect("kicked");
    }
    println!("{} clients told and kicked in {:?}", before.all.len(), begun.elapsed());
    let failure = account.kick(&h1, before.all[0].cid.expect("a number"), LIMIT).await.expect_err("it is gone");
    assert_eq!(failure.kind, FailureKind::Command, "{failure}");
    assert_eq!(account.own().0, server, "we were not kicked ourselves");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = account.attachments(&h1, LIMIT).await.expect("attachments");
    println!("{} clients on h1 before, {} a second after", of_app(&before), of_app(&after));
    for client in &clients {
        client.flush().await.expect("every client is connected again");
    }
}
