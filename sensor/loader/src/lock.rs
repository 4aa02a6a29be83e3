//! One loader at a time changes what is pinned: looking whether something is there and acting on it are one step for every
//! other loader. The lock is the kernel's (flock): it ends with its holder, however that dies.
//!
//! The file lies in /run and not among the pins, because a bpffs holds no files, its folders may be open to everybody, and
//! there is none before the first load. It goes along when the loader executes itself again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context as _, Result};
use rustix::fs::{flock, FlockOperation};
use rustix::io::{fcntl_getfd, fcntl_setfd, Errno, FdFlags};

/// Where `watertight run` keeps its own lock too.
pub const FOLDER: &str = "/run/watertight";
const FILE: &str = "loader.lock";
/// Longer than the slowest load that was seen, in emulation; a loader that takes longer is stopped or stuck.
const WAIT_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Number of the descriptor that holds the lock, for this program executed again.
const DESCRIPTOR: &str = "WATERTIGHT_LOADER_LOCK";

/// Held for as long as this lives.
pub struct Lock {
    file: File,
}

impl Lock {
    /// Waits for other loaders to end. The lock that this process held before it executed itself again is taken over.
    ///
    /// # Errors
    /// Another loader does not end, or the file can't be made.
    pub fn take() -> Result<Self> {
        let folder = Path::new(FOLDER);
        match inherited(folder) {
            Some(lock) => Ok(lock),
            None => take_in(folder, WAIT_MAX),
        }
    }

    /// The same for who only looks: others may look at the same time. `None` where no loader has ever changed anything, or
    /// where only root may look; it then sees for itself.
    ///
    /// # Errors
    /// Another loader does not end.
    pub fn share() -> Result<Option<Self>> {
        let path = Path::new(FOLDER).join(FILE);
        let Ok(file) = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path) else {
            return Ok(None);
        };
        wait(&file, FlockOperation::NonBlockingLockShared, WAIT_MAX)?;
        Ok(Some(Self { file }))
    }

    /// Lets other loaders do something, then takes the lock again.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn give_way(self, pause: Duration) -> Result<Self> {
        drop(self);
        std::thread::sleep(pause);
        take_in(Path::new(FOLDER), WAIT_MAX)
    }

    /// The variable by which this program, executed again, finds the lock. The descriptor stays open through the exec.
    ///
    /// # Errors
    /// The kernel does not keep the descriptor.
    pub fn hand_on(&self) -> Result<(&'static str, String)> {
        let flags = fcntl_getfd(&self.file).context("keeping the loader's lock")?;
        fcntl_setfd(&self.file, flags - FdFlags::CLOEXEC).context("keeping the loader's lock")?;
        Ok((DESCRIPTOR, self.file.as_raw_fd().to_string()))
    }
}

/// The lock of before the exec. A descriptor that is not the lock is left alone.
fn inherited(folder: &Path) -> Option<Lock> {
    let number: i32 = std::env::var(DESCRIPTOR).ok()?.parse().ok().filter(|number| *number > 2)?;
    let named = fs::metadata(folder.join(FILE)).ok()?;
    let open = fs::metadata(format!("/proc/self/fd/{number}")).ok()?;
    if (named.dev(), named.ino()) != (open.dev(), open.ino()) {
        return None;
    }
    // SAFETY: the descriptor is open, as /proc has just shown, and nothing else in this process knows its number: it was
    // opened before the exec.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(number) });
    fcntl_setfd(&file, FdFlags::CLOEXEC).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(Lock { file })
}

fn take_in(folder: &Path, wait_max: Duration) -> Result<Lock> {
    let path = folder.join(FILE);
    let locking = || format!("locking {}: root is needed, and a /run that can be written", path.display());
    DirBuilder::new().recursive(true).mode(0o755).create(folder).with_context(locking)?;
    loop {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600) // who may open it may hold it
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .with_context(locking)?;
        wait(&file, FlockOperation::NonBlockingLockExclusive, wait_max)?;
        let held = file.metadata().with_context(locking)?;
        match fs::metadata(&path) {
            Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => {}
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(locking),
            _ => continue, // it was removed while we waited: whoever comes now takes another
        }
        file.set_len(0).and_then(|()| file.rewind()).with_context(locking)?;
        writeln!(file, "{}", std::process::id()).with_context(locking)?;
        return Ok(Lock { file });
    }
}

fn wait(file: &File, how: FlockOperation, wait_max: Duration) -> Result<()> {
    let asked = Instant::now();
    loop {
        match flock(file, how) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(error) => bail!("locking the loader's file: {error}"),
        }
        ensure!(
            asked.elapsed() < wait_max,
            "another watertight-loader has been at work for {} s: process {}; wait for it, or end it and try again",
            wait_max.as_secs(),
            holder(file)
        );
        std::thread::sleep(LOOK_EVERY);
    }
}

fn holder(mut file: &File) -> String {
    let mut text = String::new();
    match file.rewind().and_then(|()| file.read_to_string(&mut text)) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("watertight-loader-lock-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_second_loader_waits_and_is_told_who_the_first_is() {
        let folder = folder("second");
        let first = take_in(&folder, WAIT_MAX).expect("nobody else");
        let refused = take_in(&folder, Duration::ZERO).map(drop).expect_err("the first holds it").to_string();
        assert!(refused.contains(&format!("process {};", std::process::id())), "{refused}");
        let second = std::thread::spawn({
            let folder = folder.clone();
            move || take_in(&folder, WAIT_MAX).map(drop)
        });
        drop(first);
        second.join().expect("no panic").expect("the first is gone");
        fs::remove_dir_all(&folder).expect("our own folder");
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_not_one() {
        let folder = folder("removed");
        let first = take_in(&folder, WAIT_MAX).expect("nobody else");
        let opened = File::open(folder.join(FILE)).expect("it is there");
        fs::remove_file(folder.join(FILE)).expect("our own file");
        let second = take_in(&folder, Duration::ZERO).expect("a file of its own");
        assert!(
            wait(&opened, FlockOperation::NonBlockingLockShared, Duration::ZERO).is_err(),
            "the first holds the old one"
        );
        drop((first, second));
        fs::remove_dir_all(&folder).expect("our own folder");
    }

    #[test]
    fn only_root_may_hold_it() {
        let folder = folder("mode");
        let lock = take_in(&folder, WAIT_MAX).expect("nobody else");
        assert_eq!(lock.file.metadata().expect("open").mode() & 0o777, 0o600);
        fs::remove_dir_all(&folder).expect("our own folder");
    }
}
