//! Where rollgate keeps what outlives a process.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use jiff::Timestamp;

/// The state directory: `$XDG_STATE_HOME/rollgate`, by default `~/.local/state/rollgate`.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// The user's state directory.
    ///
    /// # Errors
    /// There is no home directory and `XDG_STATE_HOME` is not set.
    pub fn of_user() -> std::io::Result<Self> {
        let base = etcetera::choose_base_strategy().map_err(std::io::Error::other)?;
        let state = base.state_dir().unwrap_or_else(|| base.home_dir().join(".local/state"));
        Ok(Self(state.join("rollgate")))
    }

    /// A directory of the caller's choice.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The directory of one run.
    pub fn run(&self, id: &str) -> PathBuf {
        self.0.join("runs").join(id)
    }

    /// The lock file of one cluster.
    pub fn lock(&self, key: &str) -> PathBuf {
        self.0.join("locks").join(key)
    }
}

/// A new run's id: it sorts by time, and two runs of the same second differ. Good for a file name and a unit name.
pub fn run_id(now: Timestamp, salt: u64) -> String {
    format!("{}-{:04x}", now.strftime("%Y%m%dt%H%M%Sz"), salt & 0xffff)
}
