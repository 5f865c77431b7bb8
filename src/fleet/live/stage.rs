//! Staging files on a host, and telling files by their digest.

use std::time::Duration;

use super::{
    Host, Live,
    change::refused,
    commands,
    lock::{Fence, fenced},
    ssh::Output,
};
use crate::{
    core::view::{Failure, FailureKind, Seen},
    fleet::Content,
};

/// Whether it is there already: one digest of some megabytes.
const LOOK: Duration = Duration::from_secs(15);

impl Live {
    pub(super) async fn fenced_stage(
        &self,
        host: &str,
        file: (&str, &str),
        content: &Content,
        limit: Duration,
    ) -> Seen<()> {
        let target = self.host(host)?;
        let fence = self.fence_of(host).await?;
        match target.stage(file, &Content::Staged, 0, &fence, LOOK.min(limit)).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(failure) if failure.kind == FailureKind::Fenced => {
                // The host was rebooted, was away, or we were: as with a change.
                for _ in 0..2 {
                    self.renew_lock(LOOK).await.map_err(fenced)?;
                }
            }
            Err(failure) => return Err(failure),
        }
        let size = match content {
            Content::File(path) => tokio::fs::metadata(path).await.map(|data| data.len()).map_err(|error| {
                Failure::new(FailureKind::Command, format!("{} can't be read: {error}", path.display()))
            })?,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::OnHost(_) | Content::Staged => 0,
        };
        let fence = self.fence_of(host).await?;
        if target.stage(file, content, size, &fence, limit).await? {
            return Ok(());
        }
        Err(Failure::new(FailureKind::Command, "it is not staged on the host, and there is nothing to stage it from"))
    }

    async fn fence_of(&self, host: &str) -> Seen<Fence> {
        let place = self.hosts.iter().position(|other| other.name() == host).unwrap_or_default();
        if let Some(fence) = self.fence(place) {
            return Ok(fence);
        }
        for _ in 0..2 {
            self.renew_lock(LOOK).await.map_err(fenced)?;
        }
        self.fence(place).ok_or_else(|| fenced("the host answered too late to the lock"))
    }
}

impl Host {
    /// Whether a file is staged now.
    async fn stage(
        &self,
        file: (&str, &str),
        content: &Content,
        size: u64,
        fence: &Fence,
        limit: Duration,
    ) -> Seen<bool> {
        let inventory = self.inventory();
        let remote = commands::stage(&inventory.service, inventory.become_, file, content, size, fence);
        parse(&self.run(&remote, limit).await?)
    }

    /// See [`Fleet::digest`](crate::fleet::Fleet::digest).
    ///
    /// # Errors
    /// The host can't be reached, or the file can't be read.
    pub async fn digest(&self, path: &str, limit: Duration) -> Seen<Option<String>> {
        let output = self.run(&commands::digest_at(path, self.inventory().become_), limit).await?;
        match output.stdout.trim() {
            "absent" => Ok(None),
            found => found.strip_prefix("sha256=").map(|sum| Some(sum.to_owned())).ok_or_else(|| refused(&output)),
        }
    }
}

impl Host {
    /// See [`Fleet::lines`](crate::fleet::Fleet::lines).
    ///
    /// # Errors
    /// The host can't be reached, or the file can't be read.
    pub async fn lines(&self, path: &str, key: &str, limit: Duration) -> Seen<Vec<String>> {
        let output = self.run(&commands::lines_at(path, key, self.inventory().become_), limit).await?;
        let mut lines: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
        if lines.pop().as_deref() == Some("end") { Ok(lines) } else { Err(refused(&output)) }
    }
}

/// What the staging script printed.
fn parse(output: &Output) -> Seen<bool> {
    match output.stdout.trim() {
        "staged" => Ok(true),
        "missing" => Ok(false),
        other => match other.strip_prefix("fenced=") {
            Some(why) => Err(fenced(why)),
            None => Err(refused(output)),
        },
    }
}
