//! For each rule a world in which it is all that stands between the roll and a broken promise.

use rollgate::fleet::sim::{AssetSpec, Promise, ServerSpec, Topology};

/// A world in which one rule is all that stands between the roll and a broken promise.
pub struct Case {
    /// The objection's name; or [`GATE`].
    pub rule: &'static str,
    pub promise: Promise,
    pub topology: Topology,
    pub faults: &'static [&'static str],
    /// Rules that see the same from another side: only without them too is the promise broken.
    pub backed_by: &'static [&'static str],
}

/// That a server is back before the next one goes.
pub const GATE: &str = "gate";
/// That every host has what it gets, tried, before the first server is touched.
pub const STAGING: &str = "staging";

const ALL: [&str; 3] = ["n1", "n2", "n3"];

/// Without JetStream, with clients on every server.
pub fn plain(servers: usize) -> Topology {
    let mut topology = Topology::of(servers);
    topology.jetstream = false;
    for server in &mut topology.servers {
        server.clients = 4;
    }
    topology
}

/// Three servers, and a stream that somebody writes to.
fn with_stream(on: &[&str], memory: bool) -> Topology {
    let on: Vec<String> = on.iter().map(|host| (*host).to_owned()).collect();
    let stream = AssetSpec { memory, in_use: true, messages: 100, ..AssetSpec::stream("S", &on) };
    Topology { assets: vec![stream], ..Topology::of(3) }
}

/// All servers of a version.
fn of_version(version: &str, mut topology: Topology) -> Topology {
    topology.servers.iter_mut().for_each(|server| server.version = version.to_owned());
    topology
}

/// The same with something about n1, which goes first.
fn but_n1(mut topology: Topology, edit: impl FnOnce(&mut ServerSpec)) -> Topology {
    // The meta leader goes last.
    topology.meta_leader = Some("n3".into());
    edit(&mut topology.servers[0]);
    topology
}

/// None who could tell clients to go.
fn without_system_account(topology: Topology) -> Topology {
    Topology { system_account: false, ..topology }
}

/// Seen: a 2.12.8 panics on the store of a 2.15.1 that was killed, where that had deleted a range of messages. The others write no
/// such entries.
fn back_too_far() -> Topology {
    let mut topology = of_version("2.14.6", with_stream(&ALL, false));
    topology.assets[0].gaps = true;
    but_n1(topology, |n1| (n1.version, n1.on_disk) = ("2.15.1".into(), Some("2.12.8".into())))
}

/// Seen: 2.11.11 takes a stream with counters offline, which has level 2, and healthz says 200.
fn above_its_level() -> Topology {
    let mut topology = of_version("2.12.8", with_stream(&ALL, false));
    topology.assets[0].level = 2;
    but_n1(topology, |n1| n1.on_disk = Some("2.11.11".into()))
}

/// Seen: two 2.12.8 panic at once when a 2.15.1 leads a mirror of a stream with gaps.
fn unread_by_the_others() -> Topology {
    let mut topology = of_version("2.12.8", with_stream(&ALL, false));
    topology.assets[0].gaps = true;
    but_n1(topology, |n1| n1.on_disk = Some("2.15.1".into()))
}

/// Seen: a 2.10.26 stays alone beside 2.11.11 whose pools have another size.
fn another_pool() -> Topology {
    let topology = of_version("2.11.11", with_stream(&ALL, false));
    but_n1(topology, |n1| (n1.on_disk, n1.route_pool) = (Some("2.10.26".into()), Some(5)))
}

/// A unit without `TimeoutStopSec`, for which systemd takes 90 s, and more clients than lame duck closes in that time.
fn hasty_unit() -> Topology {
    but_n1(without_system_account(plain(3)), |n1| (n1.clients, n1.stop_timeout_ms) = (200, Some(90_000)))
}

fn all_down() -> Topology {
    let mut topology = without_system_account(plain(3));
    topology.servers.iter_mut().for_each(|server| server.down = true);
    topology
}

/// One for every objection but those of reboots, and for the gate.
pub fn cases() -> Vec<Case> {
    let case = |rule, promise, topology, faults| Case { rule, promise, topology, faults, backed_by: &[] };
    let mut slow = plain(2);
    slow.servers[1].recovery_ms = Some(4_500);
    let bad_config = but_n1(plain(3), |n1| n1.config_broken = true);
    vec![
        case("server-unreachable", Promise::OtherUnready, plain(3), &["power-cut@n3+1s"]),
        case("server-not-healthy", Promise::OtherUnready, slow, &["crash@n2+1s"]),
        case("server-lame-duck", Promise::OtherUnready, plain(3), &["foreign-stop@n3+1s"]),
        case("missing-route", Promise::Routes, plain(3), &["route-lost@n2+1s"]),
        case("not-in-inventory", Promise::Stranger, plain(3), &["stranger@n2+1s"]),
        Case {
            backed_by: &["group-without-leader"],
            ..case("no-meta-leader", Promise::Leader, with_stream(&ALL, false), &["leaderless@n3+1s"])
        },
        Case {
            backed_by: &["group-without-leader"],
            ..case("meta-leader-disputed", Promise::Leader, with_stream(&ALL, false), &["leaderless@n3+1s"])
        },
        case("group-without-leader", Promise::Leader, with_stream(&ALL, false), &["leaderless@n3+1s"]),
        case("group-majority", Promise::Majority, with_stream(&ALL, false), &["lagging@n2+1s"]),
        case("r1-offline", Promise::OnlyCopy, with_stream(&["n1"], false), &[]),
        case("memory-last-copy", Promise::Memory, with_stream(&["n1"], true), &[]),
        case("pending-change", Promise::Moving, with_stream(&ALL, false), &["moving@n3+1s"]),
        case("system-account", Promise::Drained, plain(3), &["account-refused@n1+1s"]),
        case("assets-unknown", Promise::OnlyCopy, with_stream(&["n1"], false), &["silent@n1+1s"]),
        case("client-port", Promise::Gate, plain(3), &["client-port@n1+1s"]),
        case("wrong-server", Promise::Mistaken, plain(3), &["impostor@n2+1s"]),
        Case {
            // The server that nobody looks at is a stranger.
            backed_by: &["not-in-inventory"],
            ..case("duplicate-server", Promise::Mistaken, Topology { unnamed: true, ..plain(2) }, &["mistaken@n2+1s"])
        },
        case("different-clusters", Promise::Mistaken, plain(2), &["other-cluster@n2+1s"]),
        // What was to be gathered there says so too.
        Case {
            backed_by: &["preflight-unknown"],
            ..case("host-unusable", Promise::Manageable, plain(3), &["sudo-denied@n1+1s"])
        },
        Case {
            backed_by: &["preflight-unknown"],
            ..case("service-missing", Promise::Manageable, plain(3), &["unit-missing@n1+1s"])
        },
        case("service-busy", Promise::Busy, plain(3), &["held-stop@n1+1s"]),
        // What the others object to one by one, and what ended the servers, it says as one.
        Case {
            backed_by: &["server-unreachable", "preflight"],
            ..case("cold-start", Promise::OtherUnready, all_down(), &[])
        },
        case("preflight", Promise::ComesBack, bad_config.clone(), &[]),
        case("preflight-unknown", Promise::ComesBack, bad_config, &["no-evidence@n1+1s"]),
        case("version-jump", Promise::ComesBack, back_too_far(), &["stop-hangs@n1"]),
        case("api-level", Promise::ComesBack, above_its_level(), &[]),
        case("feature-flag", Promise::Unreadable, unread_by_the_others(), &[]),
        case("route-pool", Promise::ComesBack, another_pool(), &[]),
        case("lame-duck-cut", Promise::Killed, hasty_unit(), &[]),
        case("unit-kills", Promise::Killed, but_n1(without_system_account(plain(3)), |n1| n1.kills = true), &[]),
        case("stale", Promise::OtherUnready, plain(3), &["controller-stops@n1+1s", "power-cut@n3+20s"]),
        Case { backed_by: &["server-unreachable"], ..case(GATE, Promise::TwoDown, plain(3), &["port-conflict@n1"]) },
    ]
}
