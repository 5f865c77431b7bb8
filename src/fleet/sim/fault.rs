//! What can go wrong, by name. `NAME@HOST` happens in the turn of that host; `NAME@HOST+30s` happens 30 s after the
//! beginning, whoever's turn it is.

use std::{fmt, str::FromStr, time::Duration};

use fastrand::Rng;

use super::times::Ms;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub what: What,
    /// On which host.
    pub host: String,
    /// When, from the beginning; none for the host's own turn.
    pub after: Option<Duration>,
}

macro_rules! faults {
    ($($variant:ident $name:literal $moment:ident $about:literal,)*) => {
        /// The kinds of [`Fault`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum What { $(#[doc = $about] $variant,)* }

        impl What {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name, as on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What happens, in words.
            pub fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }

            /// The moment in a turn at which it shows.
            pub(super) fn moment(self) -> Moment {
                match self { $(Self::$variant => Moment::$moment,)* }
            }
        }
    };
}

faults! {
    PortConflict "port-conflict" Start "another process has the client port: the server exits at once, its manager tries again",
    BadConfig "bad-config" Start "the configuration can't be parsed: the server exits before it has a logger",
    StoreOwner "store-owner" Start "the store belongs to another user: JetStream can't start, the server exits",
    DiskFull "disk-full" Start "no space for the store: the server exits, after it has read what is there",
    StaysDown "stays-down" Start "the server exits, and its manager does not try again",
    WrongCluster "wrong-cluster" Start "another cluster name: it runs, and no peer lets it in",
    Renamed "renamed" Start "it comes back under another name",
    StoreWiped "store-wiped" Start "its store is empty, as when a volume is not mounted",
    BlockDamaged "block-damaged" Start "a message block is damaged: a third of the messages is missing, healthz says 200",
    SlowRecovery "slow-recovery" Start "reading its store takes 25 s",
    LongRecovery "long-recovery" Start "reading its store takes 14 minutes, and goes on all the time",
    StuckRecovery "stuck-recovery" Start "reading its store goes on for 12 minutes, and then no further",
    NeverCurrent "never-current" Start "a stream's replica never catches up",
    Flaps "flaps" Start "healthy at first, and 503 for good a second later",
    DiesLater "dies-later" Start "it dies two seconds after it was ready",
    StopHangs "stop-hangs" Stop "it never ends by itself: its manager kills it at the unit's limit",
    StopRefused "stop-refused" Stop "the service manager will not stop it",
    SshCut "ssh-cut" Turn "nothing reaches the host for 20 s",
    SshLost "ssh-lost" Turn "nothing reaches the host any more",
    SshSlow "ssh-slow" Turn "everything to the host takes 2 s longer each way",
    ReplyLost "reply-lost" Turn "two changes take effect, and their replies are lost",
    Late "late" Turn "a change arrives 30 s late, when nobody waits for it any more",
    Repeated "repeated" Turn "requests for changes arrive twice",
    Reboot "reboot" Turn "the host reboots in the middle of its turn",
    PowerCut "power-cut" Turn "the host loses its power, for good",
    Crash "crash" Turn "the server is killed; its manager starts it again after 5 s",
    Freeze "freeze" Turn "the server stands still for 20 s",
    ClockBack "clock-back" Turn "the host's clock jumps back by an hour",
    ClockAhead "clock-ahead" Turn "the host's clock jumps ahead by an hour",
    SudoDenied "sudo-denied" Turn "sudo asks for a password",
    ClientPort "client-port" Turn "its client port can't be used from here",
    ForeignStop "foreign-stop" Turn "somebody else stops the server, in lame duck for half a minute",
    RouteLost "route-lost" Turn "its route to the next server is gone",
    Lagging "lagging" Turn "its replicas fall behind, and take 40 s to catch up",
    Leaderless "leaderless" Turn "the groups on it have no leader for 15 s",
    Moving "moving" Turn "a stream on it is being moved",
    Mistaken "mistaken" Turn "its monitoring address leads to the next server",
    Stranger "stranger" Turn "it has a route to a server that nobody told us of",
    Impostor "impostor" Turn "the server that answers has another name than the inventory says",
    OtherCluster "other-cluster" Turn "its server is of another cluster than the rest",
    UnitMissing "unit-missing" Turn "its service manager does not know the service",
    HeldStop "held-stop" Turn "somebody else's stop is under way, and the server serves on for half a minute",
    AccountRefused "account-refused" Turn "the system account does not take us any more",
    NotEnabled "not-enabled" Turn "its unit is not enabled any more: a boot does not start it",
    StaysOff "stays-off" Turn "a reboot of the host that is ordered does not end: it stays away",
    StaysUp "stays-up" Turn "a reboot of the host that is ordered does not happen",
    NoEvidence "no-evidence" Turn "what is gathered on its host never comes in time",
    NoRoom "no-room" Turn "its host has no room for files that are to be put in place",
    Silent "silent" Turn "it does not tell what JetStream assets it has",
    ControllerStops "controller-stops" Turn "the controller itself stands still for a minute, with what it has just seen",
}

/// When a fault shows in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// When the server starts.
    Start,
    /// When it stops.
    Stop,
    /// When the order to stop arrives.
    Turn,
}

/// What goes wrong with a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartFault {
    /// It exits with status 1 and these last words; after it has read its store, if so.
    Exits {
        words: &'static str,
        again: bool,
        after_recovery: bool,
    },
    /// No peer lets it in.
    WrongCluster,
    Renamed,
    Wiped,
    Damaged,
    /// Its recovery takes so much longer.
    Slow(Ms),
    /// Its recovery does not get further than this.
    Stuck(Ms),
    NeverCurrent,
    Flaps,
    DiesLater,
}

/// What goes wrong with a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopFault {
    Hangs,
    Refused,
}

impl What {
    /// What it does to a start; none where it is of another kind.
    pub(super) fn at_start(self) -> Option<StartFault> {
        let exits = |words| StartFault::Exits { words, again: true, after_recovery: false };
        Some(match self {
            Self::PortConflict => exits(
                "[FTL] Error listening on port: 0.0.0.0:4222, \"listen tcp 0.0.0.0:4222: bind: address already in use\"",
            ),
            Self::BadConfig => exits("nats-server: Parse error on line 6: 'Unexpected EOF processing map.'"),
            Self::StoreOwner => exits(
                "[FTL] Can't start JetStream: could not create storage directory - mkdir /var/lib/nats/jetstream: permission denied",
            ),
            Self::DiskFull => StartFault::Exits {
                words: "[FTL] Can't start JetStream: write /var/lib/nats/jetstream/_meta_/meta.inf.tmp: no space left on device",
                again: true,
                after_recovery: true,
            },
            Self::StaysDown => StartFault::Exits {
                words: "[FTL] Could not write pidfile: open /run/nats/nats.pid: permission denied",
                again: false,
                after_recovery: false,
            },
            Self::WrongCluster => StartFault::WrongCluster,
            Self::Renamed => StartFault::Renamed,
            Self::StoreWiped => StartFault::Wiped,
            Self::BlockDamaged => StartFault::Damaged,
            Self::SlowRecovery => StartFault::Slow(25_000),
            Self::LongRecovery => StartFault::Slow(14 * 60_000),
            Self::StuckRecovery => StartFault::Stuck(12 * 60_000),
            Self::NeverCurrent => StartFault::NeverCurrent,
            Self::Flaps => StartFault::Flaps,
            Self::DiesLater => StartFault::DiesLater,
            _ => return None,
        })
    }

    /// What it does to a stop; none where it is of another kind.
    pub(super) fn at_stop(self) -> Option<StopFault> {
        match self {
            Self::StopHangs => Some(StopFault::Hangs),
            Self::StopRefused => Some(StopFault::Refused),
            _ => None,
        }
    }
}

impl Fault {
    /// A fault at random: half of them in the host's turn, half within the first two minutes. Few rolls place files, and would meet
    /// that there is no room for them.
    pub fn random(hosts: &[String], rng: &mut Rng) -> Self {
        let all: Vec<What> = What::ALL.iter().copied().filter(|what| *what != What::NoRoom).collect();
        let what = all[rng.usize(..all.len())];
        let timed = what.moment() == Moment::Turn && rng.bool();
        let after = timed.then(|| Duration::from_millis(rng.u64(0..120_000)));
        Self { what, host: hosts[rng.usize(..hosts.len())].clone(), after }
    }
}

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoFault(String);

impl FromStr for Fault {
    type Err = NoFault;

    fn from_str(text: &str) -> Result<Self, NoFault> {
        let (name, rest) =
            text.split_once('@').ok_or_else(|| NoFault(format!("`{text}` has no host: write NAME@HOST")))?;
        let what = What::ALL
            .iter()
            .copied()
            .find(|what| what.name() == name)
            .ok_or_else(|| NoFault(format!("no fault is called `{name}`")))?;
        let (host, after) = match rest.rsplit_once('+') {
            None => (rest, None),
            Some((host, span)) => {
                let span = span.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
                (host, Some(span.ok_or_else(|| NoFault(format!("`{text}`: after + comes a span like 30s")))?))
            }
        };
        if after.is_some() && what.moment() != Moment::Turn {
            let text = format!("`{name}` shows when its server is stopped or started, so it takes no time");
            return Err(NoFault(text));
        }
        if host.is_empty() {
            return Err(NoFault(format!("`{text}` has no host: write NAME@HOST")));
        }
        Ok(Self { what, host: host.to_owned(), after })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.what.name(), self.host)?;
        match self.after {
            Some(after) => write!(f, "+{}ms", after.as_millis()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Fault, &str>) {
        assert_eq!(text.parse::<Fault>().map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn faults_are_named() {
        let fault =
            |what, after: Option<u64>| Fault { what, host: "n2".into(), after: after.map(Duration::from_millis) };
        check("port-conflict@n2", Ok(fault(What::PortConflict, None)));
        check("crash@n2+30s", Ok(fault(What::Crash, Some(30_000))));
        check("crash@n2+250ms", Ok(fault(What::Crash, Some(250))));
        check(
            "port-conflict@n2+30s",
            Err("`port-conflict` shows when its server is stopped or started, so it takes no time"),
        );
        check("crash", Err("`crash` has no host: write NAME@HOST"));
        check("crush@n2", Err("no fault is called `crush`"));
        check("crash@n2+soon", Err("`crash@n2+soon`: after + comes a span like 30s"));
    }

    #[test]
    fn every_fault_is_read_as_it_is_written() {
        for what in What::ALL {
            let after = (what.moment() == Moment::Turn).then_some(Duration::from_millis(1500));
            for after in [None, after] {
                let fault = Fault { what: *what, host: "n1".into(), after };
                assert_eq!(fault.to_string().parse(), Ok(fault));
            }
        }
    }
}
