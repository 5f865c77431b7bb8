//! Where rollgate keeps what outlives a process.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use jiff::Timestamp;

/// In the directory of a run that was closed although its journal can't be read.
const CLOSED: &str = "closed";
/// Where the hosts were cleared of a run.
const CLEARED: &str = "cleared";

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

impl StateDir {
    /// Closes a run whose journal can't be read, without touching it.
    ///
    /// # Errors
    /// The mark can't be made.
    pub fn mark_closed(&self, id: &str) -> std::io::Result<()> {
        std::fs::write(self.run(id).join(CLOSED), "")?;
        std::fs::File::open(self.run(id))?.sync_all()
    }

    /// Whether a run was closed that way.
    pub fn is_marked_closed(&self, id: &str) -> bool {
        self.run(id).join(CLOSED).exists()
    }

    /// Notes that nothing of a run is on the hosts any more.
    ///
    /// # Errors
    /// The mark can't be made.
    pub fn mark_cleared(&self, id: &str) -> std::io::Result<()> {
        std::fs::write(self.run(id).join(CLEARED), "")
    }

    /// Whether that was noted.
    pub fn is_marked_cleared(&self, id: &str) -> bool {
        self.run(id).join(CLEARED).exists()
    }

    /// The ids of all runs, the oldest first.
    ///
    /// # Errors
    /// The directory is there and can't be read.
    pub fn runs(&self) -> std::io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.0.join("runs")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let (Some(id), true) = (entry.file_name().to_str(), entry.path().is_dir()) {
                ids.push(id.to_owned());
            }
        }
        ids.sort();
        Ok(ids)
    }
}

/// A new run's id: it sorts by time, and two runs of the same second differ. Good for a file name and a unit name.
pub fn run_id(now: Timestamp, salt: u64) -> String {
    format!("{}-{:04x}", now.strftime("%Y%m%dt%H%M%Sz"), salt & 0xffff)
}
