//! One run a cluster, on this machine.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Held while a run is under way; the kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    seat: String,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run has it.
    #[error("another run is under way: {holder}")]
    Held {
        /// What the holder wrote of itself.
        holder: String,
    },
    /// The lock file can't be used.
    #[error("the lock {} can't be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

impl Lock {
    /// Takes the lock at `path`, leaving in it who has it.
    ///
    /// # Errors
    /// Another run has it, or the file can't be used.
    pub fn take(path: &Path, holder: &str) -> Result<Self, LockError> {
        let io = |cause| LockError::Io { path: path.to_owned(), cause };
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(io)?;
        }
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(LockError::Held { holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(cause)) => return Err(io(cause)),
        }
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{holder}")).map_err(io)?;
        let (meta, boot) = (file.metadata().map_err(io)?, boot());
        Ok(Self { seat: format!("{boot}:{:x}:{:x}", meta.dev(), meta.ino()), _file: file })
    }

    /// Names this file among all machines, for as long as this one runs: whoever has the lock on it later is the only one who
    /// does, so whoever had it before is dead.
    pub fn seat(&self) -> &str {
        &self.seat
    }
}

/// Differs between machines and after a reboot. Without one every process is its own.
fn boot() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    boot.map_or_else(|_| format!("pid {}", std::process::id()), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("locks/c");
        let first = Lock::take(&path, "run r1, pid 5").unwrap();
        let error = Lock::take(&path, "run r2").unwrap_err();
        assert_eq!(error.to_string(), "another run is under way: run r1, pid 5");
        let seat = first.seat().to_owned();
        drop(first);
        assert_eq!(Lock::take(&path, "run r2").unwrap().seat(), seat);
        assert_ne!(Lock::take(&home.path().join("locks/d"), "run r3").unwrap().seat(), seat);
    }
}
