//! One `watertight run` at a time: by its state folder, and by what it pins, for two runs of different state folders would take
//! the kernel programs from each other. The locks are the kernel's (flock), so they end with their holder however that dies;
//! the files name the holder for whoever comes second.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{flock, FlockOperation};

/// Where the locks of pins lie, whatever the state folder is.
const FOLDER: &str = "/run/watertight";
/// Who may open a lock may hold it: an ordinary user must not keep the machine from being watched.
const MODE: u32 = 0o600;
/// Who only looks holds it too, for a moment.
const TRIES_MAX: u32 = 20;
const TRY_EVERY: Duration = Duration::from_millis(10);
const LOCK: &str = "run.lock";
/// The holder's number, for those who may not open the lock.
const PID: &str = "run.pid";
/// What a run writes with every beat.
pub const ALIVE: &str = "alive";
/// A run that has not written it for so long is none.
const BEAT_MAX: Duration = Duration::from_secs(10);

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it.
    #[error("another `watertight run` is at work: process {holder} (stop it with `kill -INT {holder}`)")]
    Held {
        /// Its process id.
        holder: String,
    },
    /// The state folder is none.
    #[error("{path} is not a folder: name one by --state, or leave --state out")]
    NoFolder {
        /// What was named.
        path: PathBuf,
    },
    /// The file can't be made or locked.
    #[error("locking {path}: {cause} ({})", mend(.cause))]
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
    /// Locked for as long as they are open.
    files: Vec<File>,
}

impl RunLock {
    /// Takes the lock of the state folder.
    ///
    /// # Errors
    /// Another run holds it, or the folder can't be written.
    pub fn take(state: &Path) -> Result<Self, LockError> {
        if state.exists() && !state.is_dir() {
            return Err(LockError::NoFolder { path: state.to_owned() });
        }
        // That of a run which found no room in the folder is not seen there.
        if let Some(holder) = holder_elsewhere(state) {
            return Err(LockError::Held { holder: holder.to_string() });
        }
        let mut files = Vec::new();
        match held_in(state, &mut files) {
            Err(LockError::File { path, cause }) if has_no_room(&cause) => {
                match name_of_state(state).map(|name| lock_file(Path::new(FOLDER), &name)) {
                    Some(Ok(elsewhere)) => files.push(elsewhere),
                    Some(Err(held @ LockError::Held { .. })) => return Err(held),
                    // It is held all the same, and nobody is told by whom.
                    _ if !files.is_empty() => {}
                    _ => return Err(LockError::File { path, cause }),
                }
                let state = crate::printable::printable(&state.display().to_string());
                crate::say!(
                    "watertight: {state} can't be written: {cause}; what can be read of it is used ({})",
                    mend(&cause)
                );
            }
            taken => taken?,
        }
        Ok(Self { files })
    }

    /// Takes the lock of what is pinned under `pins`, unless it is held by this already.
    ///
    /// # Errors
    /// Another run holds it.
    pub fn claim(&mut self, pins: &Path) -> Result<(), LockError> {
        let name = name_for(pins);
        let inode = |file: &File| file.metadata().map(|found| (found.dev(), found.ino())).ok();
        let named = fs::metadata(Path::new(FOLDER).join(&name)).map(|found| (found.dev(), found.ino())).ok();
        let is_held = named.is_some() && self.files.iter().any(|file| inode(file) == named);
        if !is_held {
            self.files.push(lock_file(Path::new(FOLDER), &name)?);
        }
        Ok(())
    }

    /// Hands the locks on through an exec: the descriptors that hold them.
    #[must_use]
    pub fn into_fds(self) -> Vec<OwnedFd> {
        self.files.into_iter().map(OwnedFd::from).collect()
    }

    /// The locks that this process took before its exec.
    #[must_use]
    pub fn from_fds(fds: Vec<OwnedFd>) -> Self {
        Self { files: fds.into_iter().map(File::from).collect() }
    }

    /// Process id of the run that holds the lock of a state folder, if one does. Who may not open the lock believes the beat
    /// that a run leaves beside it.
    #[must_use]
    pub fn holder(state: &Path) -> Option<u32> {
        match File::open(state.join(LOCK)) {
            Ok(file) => holder_of(file).or_else(|| holder_elsewhere(state)),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let beat = fs::metadata(state.join(ALIVE)).and_then(|found| found.modified()).ok()?;
                beat.elapsed().is_ok_and(|age| age < BEAT_MAX).then_some(())?;
                fs::read_to_string(state.join(PID)).ok()?.trim().parse().ok()
            }
            Err(_) => holder_elsewhere(state),
        }
    }

    /// Process id of the run that holds the lock of what is pinned here, whatever its state folder; only root can tell.
    #[must_use]
    pub fn holder_of_pins(pins: &Path) -> Option<u32> {
        holder_of(File::open(Path::new(FOLDER).join(name_for(pins))).ok()?)
    }
}

fn holder_of(mut file: File) -> Option<u32> {
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut holder = String::new();
    file.read_to_string(&mut holder).ok()?;
    holder.trim().parse().ok()
}

/// Whose lock of this state folder lies where those of pins do; only root can tell.
fn holder_elsewhere(state: &Path) -> Option<u32> {
    holder_of(File::open(Path::new(FOLDER).join(name_of_state(state)?)).ok()?)
}

/// Takes the lock in the state folder, which goes to `files` as soon as it is held, and leaves this process's number there.
fn held_in(state: &Path, files: &mut Vec<File>) -> Result<(), LockError> {
    files.push(open_locked(state, LOCK)?);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| LockError::File { path, cause }
    };
    files.iter().try_for_each(sign).map_err(failed(&state.join(LOCK)))?;
    let pid = state.join(PID);
    fs::write(&pid, std::process::id().to_string()).map_err(failed(&pid))
}

/// Whether a disk takes nothing more, for the time being or at all.
fn has_no_room(cause: &std::io::Error) -> bool {
    matches!(cause.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EROFS))
}

fn mend(cause: &std::io::Error) -> &'static str {
    match cause.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => "make room there, or name a folder with more of it by --state",
        _ => "name a folder that you may write by --state",
    }
}

fn lock_file(folder: &Path, name: &str) -> Result<File, LockError> {
    let file = open_locked(folder, name)?;
    sign(&file).map_err(|cause| LockError::File { path: folder.join(name), cause })?;
    Ok(file)
}

/// Leaves this process's number in its lock.
fn sign(mut file: &File) -> std::io::Result<()> {
    // One of an earlier version was everybody's to open.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.set_len(0).and_then(|()| file.rewind())?;
    writeln!(file, "{}", std::process::id())
}

fn open_locked(folder: &Path, name: &str) -> Result<File, LockError> {
    let path = folder.join(name);
    let failed = |cause| LockError::File { path: path.clone(), cause };
    fs::create_dir_all(folder).map_err(failed)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(MODE).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(&path).map_err(failed)?;
    let mut tries = TRIES_MAX;
    while tries > 0 && flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        tries -= 1;
        std::thread::sleep(TRY_EVERY);
    }
    if tries == 0 {
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder); // without it the message only lacks the number
        return Err(LockError::Held { holder: holder.trim().to_owned() });
    }
    Ok(file)
}

/// By what the folder is, so that it is the same by whatever path it is named.
fn name_of_state(state: &Path) -> Option<String> {
    let found = fs::metadata(state).ok()?;
    Some(format!("state-{:x}-{:x}.lock", found.dev(), found.ino()))
}

/// By the file system that the pins are in and their place in it, so that it is the same wherever that is mounted.
fn name_for(pins: &Path) -> String {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let mut root = pins;
    while let (None, Some(parent)) = (device(root), root.parent()) {
        root = parent;
    }
    let own = device(root);
    while let Some(parent) = root.parent().filter(|parent| own.is_some() && device(parent) == own) {
        root = parent;
    }
    let place = pins.strip_prefix(root).unwrap_or(pins);
    let place: String = place.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("pins-{:x}-{place}.lock", own.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("watertight-lock-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_second_run_is_refused_and_told_who_the_first_is() {
        let state = folder("state");
        let first = RunLock::take(&state).expect("nobody else");
        let refused = RunLock::take(&state).expect_err("the first holds it");
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        assert_eq!(RunLock::holder(&state), Some(std::process::id()));
        drop(first);
        assert_eq!(RunLock::holder(&state), None);
        RunLock::take(&state).expect("the first is gone");
        fs::remove_dir_all(&state).expect("our own folder");
    }

    #[test]
    fn a_run_of_another_state_folder_is_refused_where_the_pins_are_the_same() {
        if !rustix::process::geteuid().is_root() {
            return; // nobody else pins anything, or writes where the locks of pins lie
        }
        let (state, other, pins) = (folder("one"), folder("two"), folder("same-pins"));
        let mut first = RunLock::take(&state).expect("nobody else");
        let mut second = RunLock::take(&other).expect("nobody else");
        first.claim(&pins).expect("nobody else");
        first.claim(&pins).expect("it is its own");
        let refused = second.claim(&pins).expect_err("the first pins there");
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        assert_eq!(RunLock::holder_of_pins(&pins), Some(std::process::id()));
        let kept = RunLock::from_fds(first.into_fds());
        assert!(second.claim(&pins).is_err(), "through an exec they are held by their descriptors");
        drop(kept);
        second.claim(&pins).expect("the first is gone");
        for folder in [state, other] {
            fs::remove_dir_all(&folder).expect("our own folder");
        }
        fs::remove_file(Path::new(FOLDER).join(name_for(&pins))).expect("our own file");
    }

    #[test]
    fn a_run_that_found_no_room_for_its_lock_is_seen_by_the_next_all_the_same() {
        if !rustix::process::geteuid().is_root() {
            return; // nobody else writes where such locks lie
        }
        let state = folder("no-room");
        fs::create_dir(&state).expect("our own folder");
        let name = name_of_state(&state).expect("it is there");
        let first = lock_file(Path::new(FOLDER), &name).expect("nobody else");
        assert_eq!(RunLock::holder(&state), Some(std::process::id()));
        let refused = RunLock::take(&state).expect_err("the first holds it");
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        assert_eq!(RunLock::holder(&state), None);
        RunLock::take(&state).expect("the first is gone");
        fs::remove_dir_all(&state).expect("our own folder");
        fs::remove_file(Path::new(FOLDER).join(name)).expect("our own file");
    }

    #[test]
    fn an_ordinary_user_may_not_hold_it() {
        let state = folder("mode");
        let _lock = RunLock::take(&state).expect("nobody else");
        let mode = fs::metadata(state.join(LOCK)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        fs::remove_dir_all(&state).expect("our own folder");
    }

    #[test]
    fn a_state_folder_that_is_a_file_is_refused_by_name() {
        let state = folder("file");
        fs::write(&state, "").expect("a file");
        let refused = RunLock::take(&state).expect_err("no folder").to_string();
        assert!(refused.contains("is not a folder") && refused.contains("--state"), "{refused}");
        fs::remove_file(&state).expect("our own file");
    }

    #[test]
    fn a_place_is_the_same_before_and_after_it_is_made() {
        let pins = folder("made").join("below");
        let before = name_for(&pins);
        fs::create_dir_all(&pins).expect("a folder");
        assert_eq!(name_for(&pins), before);
        fs::remove_dir_all(folder("made")).expect("our own folder");
    }
}
