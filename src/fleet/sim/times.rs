//! How long things take, in milliseconds, as measured on real servers or read in nats-server's source. Nothing that decides
//! knows these numbers: they are the world's.

use std::ops::RangeInclusive;

/// Milliseconds since the world began, or a span of them.
pub type Ms = u64;

/// A raft election where the leader was lost (`raft.go`, `minElectionTimeout` and `maxElectionTimeout`; 4.3–6.5 s measured
/// after a kill -9).
pub const ELECTION: RangeInclusive<Ms> = 4_000..=9_000;
/// A leader that hands over, at a stop or when asked to: 21–36 ms without a leader (measured, 2.11 and later).
pub const TRANSFER: RangeInclusive<Ms> = 20..=36;
/// The same by API before 2.11: 269–276 ms (measured).
pub const TRANSFER_OLD: RangeInclusive<Ms> = 269..=276;
/// How long leaders take to lose confidence in a peer: `offline` comes only after 150 s.
pub const OFFLINE_AFTER: Ms = 150_000;
/// A peer that was current stays so in its leader's eyes for 10 s (`raft.go`, `lostQuorumInterval`).
pub const CURRENT_FOR: Ms = 10_000;

/// From the fork to the monitoring port.
pub const MONITOR_OPENS: RangeInclusive<Ms> = 5..=15;
/// A start that fails does so this fast, before anyone polls healthz (8–80 ms measured).
pub const START_FAILS: RangeInclusive<Ms> = 8..=80;
/// Recovering a small store.
pub const RECOVERY: RangeInclusive<Ms> = 20..=300;
/// How fast a store is read, in bytes a millisecond: 1.5 GB took 25 s on a slow disk (measured).
pub const READS: u64 = 60_000;
/// What the process reads while nothing is recovered, in bytes a millisecond: heartbeats of an idle cluster (measured).
pub const READS_IDLE: u64 = 50;
/// From the listeners to routes with everyone.
pub const ROUTES: RangeInclusive<Ms> = 10..=150;
/// From the routes to being current with the meta leader; a healthy server is ready 0.3–2.1 s after its start.
pub const META_CATCH_UP: RangeInclusive<Ms> = 100..=1_300;
/// After that, until a stream's leader calls the replica current: later than the first 200 (150 of 150 were not, measured).
pub const CATCH_UP: RangeInclusive<Ms> = 50..=2_500;

/// A lame duck that leads nothing and has no clients: 22–32 ms.
pub const LAME_DUCK_EMPTY: RangeInclusive<Ms> = 22..=32;
/// A lame duck that led something waits a second for the new leaders (`server.go`, `lameDuckMode`).
pub const LAME_DUCK_LED: Ms = 1_000;
/// The grace period before clients are closed.
pub const LAME_DUCK_GRACE: Ms = 10_000;
/// After it, one client at a time: 13–15 s in all with 6 or 7 clients (measured).
pub const LAME_DUCK_PER_CLIENT: Ms = 500;
/// All of it, grace period included, however many clients there are (`const.go`, `DEFAULT_LAME_DUCK_DURATION`).
pub const LAME_DUCK: Ms = 120_000;
/// What the published unit allows a stop (`TimeoutStopSec=150`).
pub const STOP_TIMEOUT: Ms = 150_000;
/// Connections of each route, by default (`const.go`, `DEFAULT_ROUTE_POOL_SIZE`).
pub const ROUTE_POOL: i64 = 3;
/// `RestartSec` of the published unit.
pub const AUTO_RESTART: Ms = 5_000;

/// One way of an ssh command or an HTTP request.
pub const ONE_WAY: RangeInclusive<Ms> = 1..=20;
/// A job of systemd, with the detached unit around it.
pub const JOB: RangeInclusive<Ms> = 20..=90;
/// A command of the operator's.
pub const COMMAND: RangeInclusive<Ms> = 5..=400;
/// From the order to reboot until nothing runs any more, the server being stopped already.
pub const SHUTDOWN: RangeInclusive<Ms> = 300..=8_000;
/// From power to sshd; the lab's hosts take 1.6 s, real ones a minute.
pub const BOOT: RangeInclusive<Ms> = 5_000..=45_000;
/// From sshd to the units that start at boot.
pub const BOOT_UNITS: RangeInclusive<Ms> = 200..=3_000;
/// A client that was told to go, or whose server is gone, is back this soon.
pub const RECONNECT: RangeInclusive<Ms> = 5..=90;
