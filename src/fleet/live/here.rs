//! Commands and requests of the operator's that are made from the controller.

use std::{
    collections::VecDeque,
    process::Stdio,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    process::Child,
    time::{sleep, timeout},
};

use reqwest::Url;
use rustls::ClientConfig;

use super::{monitor, tls};
use crate::{
    config::inventory::TlsFiles,
    core::{
        own_step::OUTPUT_KEPT,
        view::{Failure, FailureKind, Seen},
    },
    fleet::{Command, Ended},
};

/// What a child leaves running may keep the pipe open; what it printed is there by then.
const GRACE: Duration = Duration::from_millis(200);

/// Runs a command to its end, or ends it and all that it began after `limit`. Of its output the end is kept.
pub(super) async fn run(command: &Command, limit: Duration) -> Seen<Ended> {
    let Some((program, arguments)) = command.argv.split_first() else {
        return Err(Failure::new(FailureKind::Command, "no command"));
    };
    let failed = |what: &str, error: std::io::Error| Failure::new(FailureKind::Command, format!("{what}: {error}"));
    let (reader, writer) = std::io::pipe().map_err(|error| failed("a pipe", error))?;
    let both = writer.try_clone().map_err(|error| failed("a pipe", error))?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .envs(command.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(both)
        // A group of its own: it can be ended whole, and the operator's Ctrl-C is for us to act on.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(program, error))?;
    let mut reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(|error| failed("a pipe", error))?;
    let mut tail = Tail::default();
    let status = {
        let group = Group::of(&child);
        let finished = timeout(limit, async {
            tokio::select! {
                status = child.wait() => status,
                never = tail.fill(&mut reader) => never,
            }
        });
        match finished.await {
            Ok(status) => Some(status.map_err(|error| failed(program, error))?),
            Err(_) => {
                group.kill();
                None
            }
        }
    };
    if status.is_none() {
        let _ = timeout(GRACE, child.wait()).await;
    }
    tokio::select! {
        _ = tail.read_to_end(&mut reader) => {}
        () = sleep(GRACE) => {}
    }
    let status = match status {
        None => Ended::TIMED_OUT,
        Some(status) => status.code().unwrap_or_else(|| killed(status)),
    };
    Ok(Ended { status, output: tail.text() })
}

/// Whom this machine trusts, read once: a check is tried many times.
static TRUSTED: OnceLock<Arc<ClientConfig>> = OnceLock::new();

/// GETs `url` with the certificates that this machine trusts; the status and the body.
pub(super) async fn get(url: &str, limit: Duration) -> Seen<(u16, String)> {
    let url = Url::parse(url).map_err(|error| Failure::new(FailureKind::NotAsked, format!("{url}: {error}")))?;
    let tls = match TRUSTED.get() {
        Some(tls) => tls,
        None => {
            let read = tls::client(&TlsFiles::default())?;
            TRUSTED.get_or_init(|| read)
        }
    };
    monitor::get_url(tls, &url, limit).await
}

/// As a shell counts a process that a signal ended.
fn killed(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    128 + status.signal().unwrap_or_default()
}

/// The process group of a child.
struct Group(Option<rustix::process::Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())))
    }

    fn kill(&self) {
        if let Some(pid) = self.0 {
            // Gone already is as good.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    /// Reads for ever: the end of the stream is not the end of the process.
    async fn fill<T>(&mut self, from: &mut pipe::Receiver) -> T {
        self.read_to_end(from).await;
        std::future::pending().await
    }

    async fn read_to_end(&mut self, from: &mut pipe::Receiver) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            self.0.extend(&buffer[count.saturating_sub(OUTPUT_KEPT)..count]);
            let surplus = self.0.len().saturating_sub(OUTPUT_KEPT);
            self.0.drain(..surplus);
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&Vec::from(self.0)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(script: &str, limit: Duration, expected: (i32, &str)) {
        let command = Command {
            argv: ["sh", "-c", script].map(String::from).to_vec(),
            environment: vec![("ROLLGATE_HOST".into(), "n2".into())],
        };
        let ended = run(&command, limit).await.unwrap();
        assert_eq!((ended.status, ended.output.as_str()), expected, "{script}");
    }

    const WIDE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_command_ends_with_its_status_and_words() {
        check("echo $ROLLGATE_HOST; echo no >&2; exit 3", WIDE, (3, "n2\nno\n")).await;
        check("kill -9 $$", WIDE, (137, "")).await;
        check("cat; echo end", WIDE, (0, "end\n")).await;
    }

    #[tokio::test]
    async fn what_hangs_is_ended_with_its_children() {
        let begun = std::time::Instant::now();
        check("echo a; sleep 600 & sleep 600", Duration::from_millis(300), (Ended::TIMED_OUT, "a\n")).await;
        assert!(begun.elapsed() < WIDE);
    }

    #[tokio::test]
    async fn what_stays_behind_does_not_hold_the_step() {
        let begun = std::time::Instant::now();
        check("sleep 120 & echo here", WIDE, (0, "here\n")).await;
        assert!(begun.elapsed() < WIDE);
    }

    #[tokio::test]
    async fn of_much_output_the_end_is_kept() {
        let command = Command {
            argv: ["sh", "-c", "head -c 100000000 /dev/zero | tr '\\0' x; echo end"].map(String::from).to_vec(),
            environment: vec![],
        };
        let ended = run(&command, WIDE).await.unwrap();
        assert_eq!(ended.output.len(), OUTPUT_KEPT);
        assert!(ended.output.ends_with("xend\n"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_named() {
        let command = Command { argv: vec!["/nowhere/hook".into()], environment: vec![] };
        let failure = run(&command, WIDE).await.unwrap_err();
        assert!(failure.to_string().contains("/nowhere/hook"), "{failure}");
    }
}
