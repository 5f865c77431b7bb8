//! Files of a simulated host that are put in place. Of a file only its digest is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    archive::{CONF, PROGRAM, tested},
    fleet::Sim,
    server::Server,
    times::Ms,
    topology::ServerSpec,
    world::World,
};
use crate::{
    core::{
        diagnosis::evidence::{Archive, Gap},
        install::{Kept, Placement, Role, StandIn, sha256},
        view::{Failure, FailureKind, Seen},
    },
    fleet::{Content, Fleet, PutFile, live::lock::fenced},
};

/// The digest of nats-server's program of a version, in a simulation.
pub fn program(version: &str) -> String {
    format!("program-{version}")
}

/// The version of the program of that digest.
fn version_of(digest: &str) -> Option<&str> {
    digest.strip_prefix("program-")
}

/// The digest of the configuration that hosts begin with, in a simulation. One that begins with `broken-` does not pass
/// `nats-server -t`, one with `refused-` no reload takes, and with one with `down-` no server comes up.
pub const CONFIG: &str = "config-1";

/// What lies on a host's disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    /// Digests by path.
    at: BTreeMap<String, String>,
    /// Runs with the digests that they staged.
    staged: BTreeSet<(String, String)>,
    /// When the configuration was written last.
    pub(super) changed: Option<Ms>,
    /// What stood in a place before a run put a file there.
    kept: BTreeMap<(String, String), Option<String>>,
}

impl Files {
    pub(super) fn with_program(version: &str) -> Self {
        let at =
            [(PROGRAM, program(version)), (CONF, CONFIG.to_owned())].map(|(path, digest)| (path.to_owned(), digest));
        Self { at: at.into(), ..Self::default() }
    }

    /// What was written since the server's start.
    pub(super) fn written_since(&mut self, spec: &ServerSpec) {
        if let Some(version) = &spec.on_disk {
            self.at.insert(PROGRAM.to_owned(), program(version));
        }
        if spec.config_broken {
            self.at.insert(CONF.to_owned(), "broken-since".to_owned());
        }
    }

    /// The configuration that the next start or reload reads.
    pub(super) fn config(&self) -> &str {
        self.at.get(CONF).map(String::as_str).unwrap_or_default()
    }

    /// The version of the program that the next start runs.
    pub(super) fn version(&self) -> &str {
        self.at.get(PROGRAM).and_then(|digest| version_of(digest)).unwrap_or_default()
    }

    /// A small file of the operator's is there, or is not any more.
    pub(super) fn put(&mut self, file: &PutFile) {
        match &file.content {
            Some(content) => self.at.insert(file.path.clone(), sha256(content.as_bytes())),
            None => self.at.remove(&file.path),
        };
    }

    /// Puts a staged file in its place, or says why not.
    pub(super) fn place(&mut self, placement: &Placement, now: Ms) -> &'static str {
        let Placement { run, to, sha256, .. } = placement;
        let before = self.at.get(to).cloned();
        let there = before.as_ref() == Some(sha256);
        if !there && !self.staged.contains(&(run.clone(), sha256.clone())) {
            return "what was staged is not there any more";
        }
        self.kept.entry((run.clone(), to.clone())).or_insert(before);
        self.at.insert(to.clone(), sha256.clone());
        if to == CONF && !there {
            self.changed = Some(now);
        }
        ""
    }

    /// Puts back what was kept, or says why not.
    pub(super) fn put_back(&mut self, kept: &Kept, now: Ms) -> &'static str {
        match self.kept.get(&(kept.run.clone(), kept.to.clone())) {
            None => return "nothing was kept",
            Some(None) => self.at.remove(&kept.to),
            Some(Some(digest)) => self.at.insert(kept.to.clone(), digest.clone()),
        };
        if kept.to == CONF {
            self.changed = Some(now);
        }
        ""
    }

    pub(super) fn clear(&mut self, run: &str) {
        self.staged.retain(|(of, _)| of != run);
    }

    /// What stands in; the inner one is none where nothing stood before, the outer one where nobody knows.
    fn standing_in(&self, with: &StandIn) -> Option<Option<String>> {
        match &with.sha256 {
            Some(sha256) => self.staged.contains(&(with.run.clone(), sha256.clone())).then(|| Some(sha256.clone())),
            None => self.kept.get(&(with.run.clone(), with.to.clone())).cloned(),
        }
    }
}

impl World {
    /// What is gathered with files of a run in the places of some of the server's.
    fn archive_with(&self, server: usize, clock: i64, with: &[StandIn]) -> Archive {
        let mut archive = self.archive(server, clock);
        let entry = &self.servers[server];
        for with in with {
            match (entry.files.standing_in(with), with.role, &mut archive.binary) {
                (None, _, _) => {
                    archive.gaps.push(Gap { what: "stand-in".into(), why: "No such file or directory".into() });
                }
                (Some(Some(digest)), Role::Program, Ok(binary)) => {
                    binary.path = with.beside();
                    binary.version = version_of(&digest).map(|version| format!("v{version}"));
                }
                (Some(Some(digest)), Role::Config, _) if with.to == CONF => {
                    archive.config_test = Ok(tested(entry, &digest));
                }
                (Some(_), _, _) => {}
            }
        }
        archive
    }
}

impl Sim {
    pub(super) async fn stage_on(
        &self,
        server: usize,
        run: &str,
        sha256: &str,
        content: &Content,
        limit: Duration,
    ) -> Seen<()> {
        self.confirm_twice().await?;
        self.travel(server).await;
        let staged = {
            let mut world = self.world();
            let fence = self.fence(server).ok_or_else(|| fenced("the lock is not this run's"))?;
            world.reachable(server).and_then(|()| {
                if !world.lets_in(server, &fence) {
                    return Err(fenced("the lock is not this run's"));
                }
                if !world.servers[server].sudo {
                    return Err(Failure::new(FailureKind::Sudo, "sudo: a password is required (exit status 1)"));
                }
                if world.servers[server].no_room && *content != Content::Staged {
                    return Err(Failure::new(FailureKind::Command, "cat: write error: No space left on device"));
                }
                let Server { files, .. } = &mut world.servers[server];
                let key = (run.to_owned(), sha256.to_owned());
                if *content == Content::Staged && !files.staged.contains(&key) {
                    return Err(Failure::new(FailureKind::Command, "it is not staged on the host"));
                }
                files.staged.insert(key);
                Ok(())
            })
        };
        let away = staged.as_ref().is_err_and(|failure| failure.kind.is_unreachable());
        sleep(if away { limit } else { Duration::from_millis(200) }).await;
        staged
    }

    pub(super) async fn digest_on(&self, server: usize, path: &str, timeout: Duration) -> Seen<Option<String>> {
        self.travel(server).await;
        let seen = {
            let world = self.world();
            world.reachable(server).map(|()| world.servers[server].files.at.get(path).cloned())
        };
        if seen.is_err() {
            sleep(timeout).await;
        } else {
            self.travel(server).await;
        }
        seen
    }

    /// What was gathered, after the time that it takes.
    pub(super) async fn gathered(&self, host: &str, archive: Seen<Archive>, timeout: Duration) -> Archive {
        let away = archive.as_ref().is_err_and(|failure| failure.kind.is_unreachable());
        sleep(if away { timeout } else { Duration::from_millis(200) }).await;
        archive.unwrap_or_else(|failure| Archive::unknown(host, self.now(), &failure))
    }

    /// See [`crate::fleet::Fleet::prove`].
    pub(super) fn proven(&self, server: usize, clock: i64, with: &[StandIn]) -> Seen<Archive> {
        let world = self.world();
        world.gathers(server)?;
        Ok(world.archive_with(server, clock, with))
    }
}

/// How a command on a file that is known by its digest only is answered.
pub(super) fn no_text<T>() -> Seen<T> {
    Err(Failure::new(FailureKind::NotAsked, "there is no text in a simulation"))
}

impl World {
    /// The configuration that a host's process runs with, and the one on its disk.
    pub fn configs(&self, host: &str) -> (String, String) {
        let Some(server) = self.place(host) else { return Default::default() };
        let entry = &self.servers[server];
        let runs = entry.process.as_ref().map(|process| process.config.clone()).unwrap_or_default();
        (runs, entry.files.config().to_owned())
    }

    /// Removes what a run left on its hosts, but for what it keeps to be put back; tells the hosts that can't be reached.
    pub(super) fn clear(&mut self, run: &str) -> Vec<(String, Failure)> {
        let mut failures = Vec::new();
        for server in 0..self.servers.len() {
            match self.reachable(server) {
                Ok(()) => {
                    self.servers[server].changes.retain(|id, _| !id.starts_with(&format!("{run}-")));
                    self.servers[server].files.clear(run);
                }
                Err(failure) => failures.push((self.servers[server].host.clone(), failure)),
            }
        }
        failures
    }
}
