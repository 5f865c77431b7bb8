//! The one seam between decisions and the world: what a roll may observe and change.
//!
//! [`live`] is the real one: ssh, the hosts' service managers, the servers' monitoring and client ports. [`sim`] is a
//! simulated one, for tests and rehearsals. What is above this trait can't tell them apart.

pub mod live;
pub mod sim;

use std::{fmt, future::Future, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::core::{
    diagnosis::evidence::Archive,
    drain::{Attached, StepDown},
    gate::{Look, Measure},
    halt::Cause,
    install::{Kept, Placement, StandIn, sha256},
    listeners::{Listener, Shown},
    lock::{Claim, HostLock, LockRefusal},
    own_step::Place,
    view::{Failure, Seen, ServiceState, View},
};

/// The servers of one cluster and the hosts that they run on.
pub trait Fleet: Send + Sync {
    /// The controller's clock.
    fn now(&self) -> Timestamp;

    /// Observes every server through its monitoring port, and the service manager of each host in `inspect`.
    /// Whatever can't be observed is a failure in the view; the call itself can't fail.
    fn observe(&self, inspect: &[String], timeout: Duration) -> impl Future<Output = View> + Send;

    /// The same with JetStream's assets, and whether the system account can be used.
    fn observe_assets(&self, inspect: &[String], timeout: Duration) -> impl Future<Output = View> + Send;

    /// Whether the inventory names a system account.
    fn has_system_account(&self) -> bool;

    /// What is attached to a server, over the system account; our own connection is left out.
    fn attached(&self, server_id: &str, timeout: Duration) -> impl Future<Output = Seen<Vec<Attached>>> + Send;

    /// Sends a client away, while the lock is held: tells it to go where it understands that, then closes its connection. A client that is gone
    /// already is no failure.
    fn evict(&self, server_id: &str, client: Attached, timeout: Duration) -> impl Future<Output = Seen<()>> + Send;

    /// Takes our own connection away from a server that is about to stop: it would hold up the lame duck as any client does.
    fn leave(&self, server_id: &str) -> impl Future<Output = ()> + Send;

    /// Has a leader step down, while the lock is held. Done means that it gave up, not that another one leads.
    fn step_down(&self, leader: &StepDown, timeout: Duration) -> impl Future<Output = Seen<()>> + Send;

    /// Has a server reload over the system account, while the lock is held.
    ///
    /// # Errors
    /// [`Command`](crate::core::view::FailureKind::Command): the server refused, in its own words. Anything else: whether it was
    /// told is not known.
    fn reload(&self, server_id: &str, timeout: Duration) -> impl Future<Output = Seen<()>> + Send;

    /// Asks the host's service manager for the server's state.
    fn service(&self, host: &str, timeout: Duration) -> impl Future<Output = Seen<ServiceState>> + Send;

    /// Starts `change` on the host, or attaches to it where its id was begun already, and waits until it has ended or
    /// `wait` is over. A change runs detached on the host: losing the connection, or this process, does not end it,
    /// and asking again does not repeat it. The host begins it only while the cluster's lock is ours.
    ///
    /// # Errors
    /// The host can't be reached or used. Whether the change was begun is then not known: ask again. Where the lock is not
    /// ours the host refuses: it was not begun, and is a failure of kind
    /// [`Fenced`](crate::core::view::FailureKind::Fenced).
    fn change(
        &self,
        host: &str,
        change: &Change,
        wait: Duration,
    ) -> impl Future<Output = Result<Changed, Failure>> + Send;

    /// How far a change is, without beginning it; none where the host has no record of one begun: it was not, or the host
    /// was rebooted since.
    fn record(&self, host: &str, id: &str, timeout: Duration) -> impl Future<Output = Seen<Option<Changed>>> + Send;

    /// Has the content of a file ready on the host, under its digest, in a directory of the run that only root (or the login
    /// user, without `become`) can enter; nothing else is touched. Where it is staged already nothing is sent.
    ///
    /// # Errors
    /// The host can't be reached, has no room, or has something else after it than `sha256` says. Where the lock is not ours
    /// the host refuses: a failure of kind [`Fenced`](crate::core::view::FailureKind::Fenced).
    fn stage(
        &self,
        host: &str,
        run: &str,
        sha256: &str,
        content: &Content,
        limit: Duration,
    ) -> impl Future<Output = Seen<()>> + Send;

    /// The sha256 of the file at a path of the host, a link followed; none where nothing is there.
    fn digest(&self, host: &str, path: &str, timeout: Duration) -> impl Future<Output = Seen<Option<String>>> + Send;

    /// Removes the records of a run's changes from all hosts, and what it staged there; the failures, by host. What it kept of
    /// the files that it replaced stays for a week, for a rollback.
    fn clear(&self, run: &str, timeout: Duration) -> impl Future<Output = Vec<(String, Failure)>> + Send;

    /// Takes the cluster's lock on a majority of its hosts. From then on changes carry its token.
    ///
    /// # Errors
    /// Another run has it, or too few hosts answered. What was taken is given back.
    fn lock(&self, claim: &Claim, timeout: Duration) -> impl Future<Output = Result<(), LockRefusal>> + Send;

    /// One heartbeat; to be called every [`BEAT`](crate::core::lock::BEAT) while the lock is held.
    ///
    /// # Errors
    /// [`LockRefusal::NoMajority`]: not confirmed this time; changes are refused once the last confirmation is too old.
    /// Anything else: the lock is gone, and this run must touch nothing more.
    fn renew(&self, timeout: Duration) -> impl Future<Output = Result<(), LockRefusal>> + Send;

    /// Gives the lock back. A host that can't be reached frees it by itself in time.
    fn release(&self, timeout: Duration) -> impl Future<Output = ()> + Send;

    /// The lock as each host tells it, in inventory order. Changes nothing.
    fn locks(&self, timeout: Duration) -> impl Future<Output = Vec<(String, Seen<HostLock>)>> + Send;

    /// Takes the lock away from `run`, wherever it has it, without taking it; the failures, by host.
    fn break_lock(&self, run: &str, timeout: Duration) -> impl Future<Output = Vec<(String, Failure)>> + Send;

    /// Runs a command on the controller to its end, or ends it after `limit`.
    fn run_here(&self, command: &Command, limit: Duration) -> impl Future<Output = Seen<Ended>> + Send;

    /// Puts a file in its place on the controller, or takes it away.
    fn put_here(&self, file: &PutFile, limit: Duration) -> impl Future<Output = Seen<Ended>> + Send;

    /// One GET of a URL of the operator's, from the host or from the controller: the status and the body.
    fn get(
        &self,
        host: &str,
        from: Place,
        url: &str,
        timeout: Duration,
    ) -> impl Future<Output = Seen<(u16, String)>> + Send;

    /// The base of the URLs of a server's monitoring port, without a slash at its end.
    fn monitoring(&self, host: &str) -> String;

    /// One look at a restarted server: itself, its host, its client port, and what its peers see.
    fn look(&self, host: &str, timeout: Duration) -> impl Future<Output = Look> + Send;

    /// What TLS listeners of a server show in a handshake, in their order.
    fn shown(&self, host: &str, listeners: &[Listener], timeout: Duration) -> impl Future<Output = Vec<Shown>> + Send;

    /// Gathers all evidence on one host in one round trip. `since` is the host's own clock at the start of the restart, where
    /// known. What can't be gathered is a failure in the archive; the call itself can't fail.
    fn collect(&self, host: &str, since: Option<Timestamp>, timeout: Duration) -> impl Future<Output = Archive> + Send;

    /// The same with files of a run in the places of some of the server's own: each stands beside the one that it stands in for,
    /// with the owner and mode that it will have, for as long as this takes.
    fn prove(&self, host: &str, with: &[StandIn], timeout: Duration) -> impl Future<Output = Archive> + Send;

    /// A digest of every line of a file on the host, each made with `key` ([`keyed`]): who does not know the key learns nothing of
    /// the lines.
    ///
    /// # Errors
    /// There is no such file, it has too many lines, or it can't be read.
    fn lines(
        &self,
        host: &str,
        path: &str,
        key: &str,
        timeout: Duration,
    ) -> impl Future<Output = Seen<Vec<String>>> + Send;

    /// A configuration file's lines without what is secret in them, by the rules of what is gathered on hosts.
    ///
    /// # Errors
    /// It could not be read as a configuration; nothing is shown then.
    fn redacted(&self, content: &[u8]) -> impl Future<Output = Seen<Vec<String>>> + Send;

    /// How far a server is that recovers its store; empty where nothing can be seen.
    fn recovery(&self, host: &str, timeout: Duration) -> impl Future<Output = Vec<Measure>> + Send;
}

/// A line's digest, as hosts make it (`printf '%s\n%s' KEY LINE | sha256sum`).
pub fn keyed(key: &str, line: &[u8]) -> String {
    sha256(&[key.as_bytes(), b"\n", line].concat())
}

/// A command of the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// More variables for its environment.
    pub environment: Vec<(String, String)>,
}

/// A small file of the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutFile {
    /// Where; absolute.
    pub path: String,
    /// What is in it; none where it must not be there.
    pub content: Option<String>,
    /// Its permission bits, in octal.
    pub mode: String,
    /// `user` or `user:group`; whoever writes it, where none is given.
    pub owner: Option<String>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status, as a shell counts; [`Ended::TIMED_OUT`] when its time was over.
    pub status: i32,
    /// The end of what it printed, at most [`OUTPUT_KEPT`](crate::core::own_step::OUTPUT_KEPT) bytes.
    pub output: String,
}

impl Ended {
    /// As `timeout(1)` has it.
    pub const TIMED_OUT: i32 = 124;

    /// Why a roll halts after a change that ended like this; none where it went well.
    pub fn fault(self) -> Option<Cause> {
        match self {
            Self { status: 0, .. } => None,
            Self { status: Self::TIMED_OUT, .. } => Some(Cause::ChangeTimedOut),
            Self { status, output } => Some(Cause::ChangeFailed { status: Some(status), output }),
        }
    }
}

/// Where the content of a file comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A file here.
    File(PathBuf),
    /// What was made here.
    Bytes(Arc<[u8]>),
    /// A file that is on the host.
    OnHost(String),
    /// It has been staged before, and there is nothing to stage it from.
    Staged,
}

/// Without what was made here: it may have secrets.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::OnHost(path) => write!(f, "OnHost({path})"),
            Self::Staged => write!(f, "Staged"),
        }
    }
}

/// A change to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Unique: the host does each id at most once.
    pub id: String,
    /// What to do.
    pub what: Action,
    /// The host itself ends the change's command after this long.
    pub limit: Duration,
    /// Only in this boot of the host, where that matters: in another one nothing is done, and the change counts as lost. A
    /// record does not outlive its boot, so without this a stop would be done again to what the reboot has started.
    pub boot: Option<String>,
}

/// What a change does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Stop the server through its service manager.
    Stop,
    /// Start it through its service manager.
    Start,
    /// Have it reload through its service manager.
    Reload,
    /// Reboot the host. Its record outlives the boot.
    Reboot {
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// Put a file in its place, or take it away.
    Put {
        /// The file.
        file: PutFile,
        /// With the privileges that changes have; otherwise as the login user.
        privileged: bool,
    },
    /// Run a command of the operator's.
    Run {
        /// The command.
        command: Command,
        /// With the privileges that changes have; otherwise as the login user.
        privileged: bool,
    },
    /// Put a staged file in its place. What stands there is kept first, once a run and place. In place already: nothing is done.
    /// The new file is written whole beside it and renamed over it; a link is replaced, and what it leads to left alone.
    Place(Placement),
    /// Put back what a run has kept of a place, a link as a link; where nothing stood, nothing stands again.
    PutBack(Kept),
}

impl Action {
    /// Whether doing it again is doing nothing.
    pub fn is_idempotent(&self) -> bool {
        matches!(self, Self::Place(_) | Self::PutBack(_))
    }
}

/// How far a change is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It still runs.
    Running,
    /// It ended.
    Ended {
        /// The exit status of its command; 124 when the host's own limit ended it.
        status: i32,
        /// What it printed, shortened to the last few kilobytes.
        output: String,
        /// When it began, by the host's clock.
        began: Option<Timestamp>,
    },
    /// It was begun, and died without leaving a result: the host was rebooted, or its process was killed.
    Lost {
        /// When it began, by the host's clock.
        began: Option<Timestamp>,
    },
}
