//! The address behind an ssh destination: an alias is nothing that a browser or a NATS client could connect to.

use std::time::Duration;

use tokio::{process::Command, time::timeout};

use crate::config::inventory::Ssh;

/// `ssh -G` only reads configuration files, but a `Match exec` in one can hang.
const LIMIT: Duration = Duration::from_secs(5);

/// What `ssh -G` says the host's name or address is; the destination itself where ssh does not say.
pub async fn of(ssh: &Ssh) -> String {
    let mut command = Command::new("ssh");
    command.kill_on_drop(true).stdin(std::process::Stdio::null());
    if let Some(config) = &ssh.config {
        command.arg("-F").arg(config);
    }
    command.arg("-G").arg("--").arg(&ssh.destination);
    let output = timeout(LIMIT, command.output()).await;
    let said = output.ok().and_then(Result::ok).filter(|output| output.status.success());
    said.and_then(|output| hostname(&String::from_utf8_lossy(&output.stdout)))
        .unwrap_or_else(|| ssh.destination.clone())
}

fn hostname(printed: &str) -> Option<String> {
    printed.lines().find_map(|line| line.strip_prefix("hostname ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hostname_is_found() {
        assert_eq!(hostname("user deploy\nhostname 10.77.0.11\nport 22\n").as_deref(), Some("10.77.0.11"));
        assert_eq!(hostname(""), None);
    }
}
