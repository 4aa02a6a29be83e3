//! One `watertight run` at a time. The lock is the kernel's (flock), so it ends with its holder however that dies; the file
//! names the holder for whoever comes second.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{flock, FlockOperation};

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it.
    #[error("another `watertight run` is at work: process {holder} (stop it with `kill -INT {holder}`)")]
    Held {
        /// Its process id.
        holder: String,
    },
    /// The file can't be made or locked.
    #[error("locking {path}: {cause} (root is needed, or another folder by --state)")]
    File {
        /// The lock's file.
        path: PathBuf,
        /// The kernel's answer.
        cause: std::io::Error,
    },
}

/// Held for as long as this lives.
#[derive(Debug)]
pub struct RunLock {
    /// Locked for as long as it is open.
    file: File,
}

impl RunLock {
    /// Takes the lock in the state folder.
    ///
    /// # Errors
    /// Another run holds it, or the folder can't be written.
    pub fn take(state: &Path) -> Result<Self, LockError> {
        let path = state.join("run.lock");
        let failed = |cause| LockError::File { path: path.clone(), cause };
        fs::create_dir_all(state).map_err(failed)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder); // without it the message only lacks the number
            return Err(LockError::Held { holder: holder.trim().to_owned() });
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { file })
    }

    /// Hands the lock on through an exec: the descriptor that holds it.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.file.into()
    }

    /// The lock that this process took before its exec.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { file: fd.into() }
    }

    /// Process id of the run that holds the lock, if one does.
    #[must_use]
    pub fn holder(state: &Path) -> Option<u32> {
        let mut file = File::open(state.join("run.lock")).ok()?;
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            return None;
        }
        let mut holder = String::new();
        file.read_to_string(&mut holder).ok()?;
        holder.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_and_told_who_the_first_is() {
        let state = std::env::temp_dir().join(format!("watertight-lock-{}", std::process::id()));
        let first = RunLock::take(&state).expect("nobody else");
        let refused = RunLock::take(&state).expect_err("the first holds it");
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        assert_eq!(RunLock::holder(&state), Some(std::process::id()));
        drop(first);
        assert_eq!(RunLock::holder(&state), None);
        RunLock::take(&state).expect("the first is gone");
        fs::remove_dir_all(&state).expect("our own folder");
    }
}
