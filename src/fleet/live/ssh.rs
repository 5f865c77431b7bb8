//! One multiplexed ssh connection a host, by the operator's own `ssh`: aliases, jump hosts, agent, certificates and
//! known_hosts work as they do by hand. Host keys are checked strictly, passwords are never asked for.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt, Shared};
use openssh::{ControlPersist, KnownHosts, OwningCommand, Session, SessionBuilder, Stdio};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::commands::Remote;
use crate::{
    config::inventory::{Mux, Ssh},
    core::{
        causes,
        scrub::scrub,
        view::{Failure, FailureKind},
    },
    fleet::Content,
};

/// Commands at once on one connection: sshd's default `MaxSessions` is 10, and a port forward takes one too.
const CHANNELS: usize = 8;
/// A frozen connection is given up after three of these without an answer (`ServerAliveCountMax`).
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// An unused master ends by itself, should this process be killed.
const PERSIST_SECONDS: NonZeroUsize = NonZeroUsize::new(60).unwrap();
/// Output beyond this is dropped: no command of ours prints more, and a broken host must not fill our memory.
const OUTPUT_MAX: u64 = 1 << 20;

/// A connection that failed is not tried again for this long: one observation asks a host for several things, and a host
/// that is off must cost one timeout, not one a question.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A host's connection, opened when first used and again when lost.
pub struct Connection {
    ssh: Ssh,
    directory: PathBuf,
    state: Mutex<State>,
    channels: Semaphore,
}

#[derive(Default)]
enum State {
    #[default]
    Closed,
    Connecting(Shared<BoxFuture<'static, Result<Arc<Session>, Failure>>>),
    Open(Arc<Session>),
    Failed(Instant, Failure),
}

/// What a command on a host left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status; none where a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Connection {
    /// A connection that keeps its control socket in `directory`, which must be private and of a short path.
    pub fn new(ssh: Ssh, directory: PathBuf) -> Self {
        Self { ssh, directory, state: Mutex::default(), channels: Semaphore::new(CHANNELS) }
    }

    /// The open session; opens it where there is none. The connecting goes on where the caller stops waiting for it, so
    /// a host that takes long to reach is reached in the end, by callers with however little time.
    ///
    /// # Errors
    /// ssh could not connect: [`FailureKind`] tells the host key, the credentials and the network apart.
    pub async fn session(&self) -> Result<Arc<Session>, Failure> {
        let connecting = {
            let mut state = self.state();
            match &*state {
                State::Open(session) => return Ok(Arc::clone(session)),
                State::Failed(at, failure) if at.elapsed() < RETRY_AFTER => return Err(failure.clone()),
                State::Connecting(connecting) => connecting.clone(),
                State::Closed | State::Failed(..) => {
                    let (ssh, directory) = (self.ssh.clone(), self.directory.clone());
                    let task = tokio::spawn(async move { connect(&ssh, &directory).await.map(Arc::new) });
                    let ended = |_| Err(Failure::new(FailureKind::Unreachable, "ssh: the connecting was ended"));
                    let connecting = task.map(move |result| result.unwrap_or_else(ended)).boxed().shared();
                    *state = State::Connecting(connecting.clone());
                    connecting
                }
            }
        };
        let result = connecting.clone().await;
        let mut state = self.state();
        // Only the first of those who waited for this very attempt keeps its result.
        if matches!(&*state, State::Connecting(current) if current.ptr_eq(&connecting)) {
            *state = match &result {
                Ok(session) => State::Open(Arc::clone(session)),
                Err(failure) => State::Failed(Instant::now(), failure.clone()),
            };
        }
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a command and returns what it printed, whatever its exit status.
    ///
    /// # Errors
    /// The host could not be reached, or there was no answer within `limit`. The command itself may go on.
    pub async fn run(&self, remote: &Remote, limit: Duration) -> Result<Output, Failure> {
        let late = |what: &str| {
            let text = format!("{}: {what} within {}", by_hand(&self.ssh), seconds(limit));
            Failure::new(FailureKind::Timeout, text)
        };
        let began = Instant::now();
        let session = timeout(limit, self.session()).await.map_err(|_| late("no connection"))??;
        match timeout(limit.saturating_sub(began.elapsed()), self.run_on(&session, remote)).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(failure)) => {
                self.forget(&session);
                Err(failure)
            }
            Err(_) => {
                self.forget_if_dead(&session).await;
                Err(late(&format!("no answer to {}", remote.name())))
            }
        }
    }

    async fn run_on(&self, session: &Arc<Session>, remote: &Remote) -> Result<Output, Failure> {
        // The semaphore is never closed.
        let _channel = self.channels.acquire().await;
        let argv = remote.argv();
        let mut command: OwningCommand<Arc<Session>> = Arc::clone(session).arc_command(argv[0].clone());
        let input = if remote.input().is_some() { Stdio::piped() } else { Stdio::null() };
        command.args(&argv[1..]).stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().await.map_err(|error| lost(&error))?;
        let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
        let (_, stdout, stderr) = tokio::join!(write(stdin, remote.input()), read(stdout), read(stderr));
        let status = match child.wait().await {
            Ok(status) => status.code(),
            // The multiplexer reports 127 as an error of its own (openssh, `native_mux_impl/child.rs`).
            Err(openssh::Error::Remote(_)) => Some(127),
            Err(openssh::Error::RemoteProcessTerminated) if session.check().await.is_ok() => None,
            Err(error) => return Err(lost(&error)),
        };
        // It is only ever shown.
        Ok(Output { status, stdout, stderr: scrub(&stderr) })
    }

    /// Drops a session that failed, so that the next use connects anew.
    fn forget(&self, session: &Arc<Session>) {
        let mut state = self.state();
        if matches!(&*state, State::Open(current) if Arc::ptr_eq(current, session)) {
            *state = State::Closed;
        }
    }

    async fn forget_if_dead(&self, session: &Arc<Session>) {
        if !matches!(timeout(Duration::from_secs(1), session.check()).await, Ok(Ok(()))) {
            self.forget(session);
        }
    }
}

async fn connect(ssh: &Ssh, directory: &Path) -> Result<Session, Failure> {
    let builder = builder(ssh, directory);
    let connect = async {
        match ssh.mux {
            Mux::Native => builder.connect_mux(&ssh.destination).await,
            Mux::Process => builder.connect(&ssh.destination).await,
        }
    };
    // ssh's own ConnectTimeout does not cover authentication, nor a ProxyCommand that hangs.
    let limit = ssh.connect_timeout + Duration::from_secs(5);
    match timeout(limit, connect).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error)) => Err(refused(ssh, &error)),
        Err(_) => {
            let text = format!("{}: no connection within {}", by_hand(ssh), seconds(limit));
            Err(Failure::new(FailureKind::Timeout, text))
        }
    }
}

fn builder(ssh: &Ssh, directory: &Path) -> SessionBuilder {
    let mut builder = SessionBuilder::default();
    builder
        .known_hosts_check(KnownHosts::Strict)
        .connect_timeout(ssh.connect_timeout)
        .server_alive_interval(ALIVE_INTERVAL)
        .control_directory(directory)
        .control_persist(ControlPersist::IdleFor(PERSIST_SECONDS));
    if let Some(user) = &ssh.user {
        builder.user(user.clone());
    }
    if let Some(port) = ssh.port {
        builder.port(port);
    }
    if let Some(identity) = &ssh.identity {
        builder.keyfile(identity);
    }
    if let Some(config) = &ssh.config {
        builder.config_file(config);
    }
    if let Some(known_hosts) = &ssh.known_hosts {
        builder.user_known_hosts_file(known_hosts);
    }
    if !ssh.jump.is_empty() {
        builder.jump_hosts(&ssh.jump);
    }
    builder
}

/// Writes all of it and closes the stream. A command that ends without reading says why in its status; what it read of a file
/// that can't be read here has another digest than it should.
pub async fn write(stream: Option<impl AsyncWrite + Unpin>, input: Option<&Content>) {
    let Some(mut stream) = stream else { return };
    match input {
        Some(Content::Bytes(bytes)) => {
            let _ = stream.write_all(bytes).await;
        }
        Some(Content::File(path)) => {
            if let Ok(mut file) = tokio::fs::File::open(path).await {
                let _ = tokio::io::copy(&mut file, &mut stream).await;
            }
        }
        Some(Content::OnHost(_) | Content::Staged) | None => {}
    }
    let _ = stream.shutdown().await;
}

/// Reads to the end, and keeps the first part.
pub async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut bytes = Vec::new();
    // A read that fails leaves what was read; that the connection is lost shows in the exit status.
    let _ = (&mut stream).take(OUTPUT_MAX).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn lost(error: &openssh::Error) -> Failure {
    Failure::new(FailureKind::Unreachable, format!("ssh connection lost: {}", causes(error)))
}

/// The connection as an operator would try it by hand.
fn by_hand(ssh: &Ssh) -> String {
    let mut words = vec!["ssh".to_owned()];
    let mut option = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    if let Some(config) = &ssh.config {
        option("-F", config.display().to_string());
    }
    if let Some(identity) = &ssh.identity {
        option("-i", identity.display().to_string());
    }
    if !ssh.jump.is_empty() {
        option("-J", ssh.jump.join(","));
    }
    if let Some(port) = ssh.port {
        option("-p", port.to_string());
    }
    words.push(match &ssh.user {
        Some(user) => format!("{user}@{}", ssh.destination),
        None => ssh.destination.clone(),
    });
    words.join(" ")
}

/// ssh tells the reason only in its words (`ssh.c`, `sshconnect.c`, `sshconnect2.c` of OpenSSH).
fn refused(ssh: &Ssh, error: &openssh::Error) -> Failure {
    let text = match error {
        openssh::Error::Connect(cause) => cause.to_string(),
        // openssh's own message hides what ssh said.
        other => causes(other),
    };
    let text = ssh_words(&text);
    Failure::new(kind_of(&text), format!("{}: {text}", by_hand(ssh)))
}

fn kind_of(text: &str) -> FailureKind {
    let has = |marks: &[&str]| marks.iter().any(|mark| text.contains(mark));
    if has(&["ost key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED", "host key is known"]) {
        FailureKind::HostKey
    } else if has(&["Permission denied", "Too many authentication failures"]) {
        FailureKind::Denied
    } else if has(&["Connection refused"]) {
        FailureKind::Refused
    } else if has(&["timed out"]) {
        FailureKind::Timeout
    } else {
        FailureKind::Unreachable
    }
}

/// The telling line of what ssh printed: its banner about a changed key is fifteen lines of capitals and at signs.
fn ssh_words(text: &str) -> String {
    if text.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        return "the host key is not the one in known_hosts (host key verification failed)".into();
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if let Some(line) = lines.iter().find(|line| line.contains("host key is known")) {
        return format!("{} (host key verification failed)", line.trim_end_matches('.'));
    }
    lines.last().map_or_else(|| "no reason given".into(), |line| (*line).to_owned())
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, kind: FailureKind, words: &str) {
        let found = ssh_words(text);
        assert_eq!((kind_of(&found), found.as_str()), (kind, words));
    }

    #[test]
    fn a_failure_can_be_tried_by_hand() {
        let mut ssh = Ssh { destination: "n1".into(), ..Ssh::default() };
        assert_eq!(by_hand(&ssh), "ssh n1");
        ssh.user = Some("deploy".into());
        ssh.port = Some(2222);
        ssh.jump = vec!["a".into(), "b".into()];
        ssh.config = Some("/etc/conf".into());
        assert_eq!(by_hand(&ssh), "ssh -F /etc/conf -J a,b -p 2222 deploy@n1");
    }

    #[test]
    fn ssh_failures_are_told_apart() {
        check(
            "connect to host 10.0.0.1 port 22: Connection refused\r\n",
            FailureKind::Refused,
            "connect to host 10.0.0.1 port 22: Connection refused",
        );
        check(
            "connect to host 10.0.0.1 port 22: Connection timed out",
            FailureKind::Timeout,
            "connect to host 10.0.0.1 port 22: Connection timed out",
        );
        check(
            "Could not resolve hostname nope: Name or service not known",
            FailureKind::Unreachable,
            "Could not resolve hostname nope: Name or service not known",
        );
        check(
            "deploy@h1: Permission denied (publickey).",
            FailureKind::Denied,
            "deploy@h1: Permission denied (publickey).",
        );
        check(
            "No ED25519 host key is known for h1 and you have requested strict checking.\r\nHost key verification failed.",
            FailureKind::HostKey,
            "No ED25519 host key is known for h1 and you have requested strict checking (host key verification failed)",
        );
        check(
            "@@@@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@@\nHost key verification failed.",
            FailureKind::HostKey,
            "the host key is not the one in known_hosts (host key verification failed)",
        );
    }
}
