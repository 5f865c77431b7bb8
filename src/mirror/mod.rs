//! Journals and leases in a JetStream key-value bucket of another cluster, for runners that share no disk.
//!
//! Every line of a journal goes to its file first, then into the bucket, then the effect that it announces begins. A line
//! is created under its number, and what is there is never replaced: of two writers the second is told so. Which run has a
//! cluster is told by a lease, which lets runners find each other early; what keeps a late one from acting is the lock on
//! the hosts.

mod home;
mod keys;
mod lease;
mod lines;
mod sink;
mod sync;

pub use sink::Mirrored;
pub use sync::BucketRun;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::jetstream::{self, kv::Store, stream::StorageType};
use tokio::{
    runtime::{Handle, Runtime},
    time::{Instant, sleep, timeout},
};

use crate::{
    config::inventory::Kv,
    core::{
        causes,
        lock::Claim,
        view::{Failure, FailureKind, View},
    },
    fleet::live::nats,
    journal::JournalError,
};
use home::Home;
use keys::Keys;
use lease::Held;
use sink::{AGAIN, PATIENCE};

/// Connecting and logging in.
const CONNECT: Duration = Duration::from_secs(5);
/// One request to the bucket. A leader that is being elected does not answer at all.
const REQUEST: Duration = Duration::from_secs(3);
/// The longest piece of a line in one value: a message that is larger holds up all others on its connection. Chosen.
const PIECE: usize = 256 << 10;
/// The least that a bucket must take in one value: a lease and the list of a line's pieces fit.
const PIECE_MIN: usize = 4 << 10;
/// What headers and subject add to a value, at most.
const HEADERS: usize = 1 << 10;
/// A bucket that forgets must not do so while a run can wait to be resumed: durations of a roll end at a week.
const FORGETS_AFTER_LEAST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why a bucket, or what is in it, can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// It can't be reached, or has no room, or did not take us.
    #[error("bucket {bucket}: {failure}")]
    Unusable {
        /// The bucket.
        bucket: String,
        /// Why.
        failure: Failure,
    },
    /// It would not keep what it is for.
    #[error("bucket {bucket} {why}")]
    Unfit {
        /// The bucket.
        bucket: String,
        /// What is wrong with it.
        why: String,
    },
    /// Another run has the lease, and is alive.
    #[error("another run is under way: run {} ({}), {}; it has the lease in bucket {bucket}", claim.run, claim.holder, claim.reason)]
    Held {
        /// The bucket.
        bucket: String,
        /// Who has it.
        claim: Box<Claim>,
    },
    /// Another runner has written what was about to be written.
    #[error("bucket {bucket}: event {seq} of run {run} was written by another runner")]
    Taken {
        /// The bucket.
        bucket: String,
        /// The run.
        run: String,
        /// The event's number.
        seq: u64,
    },
    /// A journal in it has gaps or damage.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// An event of a journal is not there, or not as a whole.
    #[error("bucket {bucket}: event {seq} of run {run} is missing")]
    Missing {
        /// The bucket.
        bucket: String,
        /// The run.
        run: String,
        /// The event's number.
        seq: u64,
    },
    /// The journal here and the one in the bucket are of two controllers that did not know of each other.
    #[error("run {run}: {} and bucket {bucket} tell different stories from event {seq} on ({here} events here, {there} there)", path.display())]
    Apart {
        /// The bucket.
        bucket: String,
        /// The run.
        run: String,
        /// The journal here.
        path: PathBuf,
        /// The first event that differs.
        seq: u64,
        /// How many events the journal here has.
        here: usize,
        /// How many the one in the bucket has.
        there: usize,
    },
    /// The state directory can't be used.
    #[error("{}: {cause}", path.display())]
    Here {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// The bucket, as one cluster's runs use it.
pub struct Mirror {
    shared: Arc<Shared>,
    /// Where its connection lives: a journal is written while everything else of the roll stands still.
    runtime: Own,
}

/// What the mirror's own tasks need too.
struct Shared {
    store: Store,
    bucket: String,
    keys: Keys,
    piece: usize,
    home: Home,
    held: Mutex<Held>,
}

impl Mirror {
    /// Connects, and sees that the bucket is one that keeps what it is given. `cluster_key` is of the cluster that is rolled.
    ///
    /// # Errors
    /// The bucket can't be reached or used, or is not there.
    pub async fn open(kv: &Kv, cluster_key: &str) -> Result<Self, MirrorError> {
        let bucket = kv.bucket.clone();
        let unusable = |failure| MirrorError::Unusable { bucket: bucket.clone(), failure };
        let access = nats::read(&kv.nats).map_err(&unusable)?;
        if access.servers.is_empty() {
            return Err(unusable(Failure::new(FailureKind::NotAsked, "the NATS context names no server")));
        }
        let runtime = Own::new().map_err(|error| unusable(Failure::new(FailureKind::NotAsked, error.to_string())))?;
        let client = match runtime.handle().spawn(async move { nats::connect(&access, CONNECT).await }).await {
            Ok(connected) => connected.map_err(&unusable)?,
            Err(error) => return Err(unusable(Failure::new(FailureKind::Protocol, error.to_string()))),
        };
        let info = client.server_info();
        let mut context = jetstream::new(client);
        context.set_timeout(REQUEST);
        let store = opened(&context, &bucket).await?;
        let piece = fit(&bucket, &store, info.max_payload)?;
        let home = Home::of(&info, store.stream.cached_info().cluster.as_ref());
        let keys = Keys::of(cluster_key);
        let shared = Arc::new(Shared { store, bucket, keys, piece, home, held: Mutex::default() });
        Ok(Self { shared, runtime })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.shared.bucket
    }

    /// Refuses a bucket that is on the cluster of `view`: it would go away with the servers that are rolled.
    ///
    /// # Errors
    /// It is, as far as it can be told.
    pub fn must_be_elsewhere(&self, view: &View) -> Result<(), MirrorError> {
        match self.shared.home.is_in(view) {
            None => Ok(()),
            Some(why) => Err(MirrorError::Unfit { bucket: self.shared.bucket.clone(), why }),
        }
    }
}

/// A runtime of our own. It must not be waited for where another one is at work.
struct Own {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Own {
    fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn unusable(&self, kind: FailureKind, detail: impl Into<String>) -> MirrorError {
        MirrorError::Unusable { bucket: self.bucket.clone(), failure: Failure::new(kind, detail) }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request, and no longer than it may take.
    async fn ask<T, E: std::error::Error>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, MirrorError> {
        self.answer(work).await?.map_err(|error| self.failed(&error))
    }

    /// The same where an error may be an answer.
    async fn answer<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<Result<T, E>, MirrorError> {
        timeout(REQUEST, work).await.map_err(|_| self.unusable(FailureKind::Timeout, "no answer in time"))
    }

    fn failed(&self, error: &dyn std::error::Error) -> MirrorError {
        self.unusable(FailureKind::Unreachable, causes(error))
    }
}

/// The bucket, once a leader answers for it.
async fn opened(context: &jetstream::Context, bucket: &str) -> Result<Store, MirrorError> {
    let silent = |why: &str| {
        let failure = Failure::new(FailureKind::Timeout, why);
        MirrorError::Unusable { bucket: bucket.to_owned(), failure }
    };
    let led = |store: &Store| store.stream.cached_info().cluster.as_ref().is_none_or(|of| of.leader.is_some());
    let until = Instant::now() + PATIENCE;
    loop {
        let last = Instant::now() >= until;
        let failure = match timeout(CONNECT, context.get_key_value(bucket)).await {
            Ok(Ok(store)) if led(&store) => return Ok(store),
            // Any of its servers tells of a bucket that has none.
            Ok(Ok(_)) => silent("its stream has no leader"),
            Ok(Err(error)) => unopened(bucket, &error),
            Err(_) => silent("JetStream does not answer in time"),
        };
        let again = matches!(&failure, MirrorError::Unusable { failure, .. } if failure.kind == FailureKind::Timeout);
        if last || !again {
            return Err(failure);
        }
        sleep(AGAIN).await;
    }
}

fn unopened(bucket: &str, error: &jetstream::context::KeyValueError) -> MirrorError {
    let text = causes(error);
    if text.contains("stream not found") {
        let why = format!("is not there; make it: nats kv add {bucket} --replicas 3");
        return MirrorError::Unfit { bucket: bucket.to_owned(), why };
    }
    // So JetStream answers without a leader of its own (error 10008, `server/jetstream_api.go`).
    let elects = ["timed out", "temporarily unavailable"].iter().any(|words| text.contains(words));
    let kind = if elects { FailureKind::Timeout } else { FailureKind::Unreachable };
    MirrorError::Unusable { bucket: bucket.to_owned(), failure: Failure::new(kind, text) }
}

/// The longest value that it takes.
fn fit(bucket: &str, store: &Store, max_payload: usize) -> Result<usize, MirrorError> {
    let config = &store.stream.cached_info().config;
    let unfit = |why: String| Err(MirrorError::Unfit { bucket: bucket.to_owned(), why });
    if config.storage == StorageType::Memory {
        return unfit("keeps its data in memory: a journal needs file storage".into());
    }
    if config.mirror.is_some() {
        return unfit("is itself a mirror, which lags: name the one that it follows".into());
    }
    if !config.max_age.is_zero() && config.max_age < FORGETS_AFTER_LEAST {
        let hours = config.max_age.as_secs() / 3600;
        return unfit(format!(
            "forgets after {hours} h, and a run may be resumed later: give it a TTL of a week or more"
        ));
    }
    let most = usize::try_from(config.max_message_size).unwrap_or(usize::MAX).min(max_payload);
    let piece = most.saturating_sub(HEADERS).min(PIECE);
    if piece < PIECE_MIN {
        return unfit(format!("takes values of at most {most} bytes: a journal needs {}", PIECE_MIN + HEADERS));
    }
    Ok(piece)
}
