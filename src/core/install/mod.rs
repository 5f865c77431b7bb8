//! Files that are put in place on hosts: a program, a configuration. What is to stand where, and what stood there before.
//!
//! Three acts, none of which knows what a file is for: it is *staged* (on the host, and nothing touched), *placed* (what stood there
//! is kept first), and *put back*.

mod mixed;
mod program;

use std::fmt::Write;

use serde::{Deserialize, Serialize};

pub use mixed::{Mixed, mixed};
pub use program::{
    AllStaged, BACK_WITHIN, Install, KeptProgram, PutBack, Source, Staged, install, next_version, not_beside,
    put_back_steps, replaced, same_version, stand_ins, to_upgrade, unproven, version, without_the_old_program,
};

/// A staged file and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The run that staged it, and in whose name what stands there is kept.
    pub run: String,
    /// Where it goes: an absolute path.
    pub to: String,
    /// The sha256 of its content, in hex, by which it was staged.
    pub sha256: String,
    /// Its mode in octal, as `chmod` takes it; none: that of what stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Its owner, as `chown` takes it; none: that of what stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl Placement {
    /// A file that takes the place, the mode and the owner of another.
    pub fn new(run: impl Into<String>, to: impl Into<String>, sha256: impl Into<String>) -> Self {
        Self { run: run.into(), to: to.into(), sha256: sha256.into(), mode: None, owner: None }
    }

    /// What stood there before.
    pub fn kept(&self) -> Kept {
        Kept { run: self.run.clone(), to: self.to.clone() }
    }
}

/// What stood in a place before a run put a file there; or that nothing did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The run.
    pub run: String,
    /// The place.
    pub to: String,
}

impl Kept {
    /// The name under which a host keeps it: of a path, in one word.
    pub fn name(&self) -> String {
        format!("kept-{}", self.to.replace('+', "+p").replace('/', "+s"))
    }
}

/// What a file is to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// nats-server itself.
    Program,
    /// Its configuration file, or one that belongs to it.
    Config,
}

/// A file that stands in for one of the server's own while it is tried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandIn {
    /// The run that staged or kept it.
    pub run: String,
    /// The digest under which it was staged; none for what was kept of `to`.
    pub sha256: Option<String>,
    /// The place of the one that it stands in for.
    pub to: String,
    /// What that one is.
    pub role: Role,
    /// Its mode; none: that of what stands there.
    pub mode: Option<String>,
    /// Its owner; none: that of what stands there.
    pub owner: Option<String>,
}

impl StandIn {
    /// One with the mode and the owner of what it stands in for.
    pub fn new(run: impl Into<String>, sha256: Option<String>, to: impl Into<String>, role: Role) -> Self {
        Self { run: run.into(), sha256, to: to.into(), role, mode: None, owner: None }
    }

    /// Its name in the run's directory on the host.
    pub fn name(&self) -> String {
        match &self.sha256 {
            Some(sha256) => sha256.clone(),
            None => Kept { run: self.run.clone(), to: self.to.clone() }.name(),
        }
    }

    /// Where it stands while it is tried: beside the real one, so that paths relative to it hold, and the file system is the one in
    /// which it will be.
    pub fn beside(&self) -> String {
        beside(&self.to, "proof")
    }
}

/// A name beside a path that is nobody else's.
pub fn beside(path: &str, what: &str) -> String {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    format!("{directory}/.{name}.rollgate-{what}")
}

/// The sha256 of `content` in hex, as `sha256sum` prints it.
pub fn sha256(content: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, content).as_ref())
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_kept_of_two_places_never_has_one_name() {
        let name = |to: &str| Kept { run: "r".into(), to: to.into() }.name();
        assert_eq!(name("/usr/local/bin/nats-server"), "kept-+susr+slocal+sbin+snats-server");
        assert_ne!(name("/a/b"), name("/a+sb"));
        assert_ne!(name("/a/b"), name("/a+psb"));
    }

    #[test]
    fn a_stand_in_is_beside_the_real_one() {
        let stand_in = StandIn::new("r", None, "/etc/nats/nats.conf", Role::Config);
        assert_eq!(stand_in.beside(), "/etc/nats/.nats.conf.rollgate-proof");
        assert_eq!(stand_in.name(), "kept-+setc+snats+snats.conf");
        assert_eq!(beside("/nats-server", "new"), "/.nats-server.rollgate-new");
    }
}
