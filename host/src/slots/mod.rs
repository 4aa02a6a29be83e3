//! The content that a host has: which is in force, which is on trial, which must not be tried again.
//!
//! Four steps, each taken down when the content above kills the engine: candidate, last-known-good, factory (in the executable),
//! collect-only. `planner` says what is to be done, `disk` does it, and what is known lies in file names (`entry`), so that a power
//! cut at any write leaves a folder that says what it said before or what it was to say.

mod content_id;
#[cfg(test)]
mod crash;
mod disk;
mod entry;
mod in_force;
mod owner;
mod planner;
mod shown;
mod tries;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{flock, inotify, FlockOperation};

pub use content_id::{ContentId, IdError};
use disk::{carry_out, Disk as _, Folder, Op};
pub use entry::{Entry, Held};
pub use in_force::InForce;
pub use owner::Exposed;
pub use planner::{Choice, Event, Refusal, Slot, State};
pub use shown::{Overview, Quarantined};
pub use tries::Tries;

/// Largest pack: what the format allows.
pub const PACK_SIZE_BYTES_MAX: u64 = 64 << 20;
/// Cause of a quarantine, as it is read back.
const RECORD_SIZE_BYTES_MAX: u64 = 16 << 10;
/// Held while the folder changes, so that an install and a run do not plan at the same time.
const LOCK: &str = "lock";
const LOCK_TRIES_MAX: u32 = 500;
const LOCK_TRY_EVERY: Duration = Duration::from_millis(10);

/// The folder of slots.
#[derive(Debug)]
pub struct Slots {
    folder: Folder,
    factory: ContentId,
}

/// Why the slots can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    /// The disk said no.
    #[error("{path}: {cause} ({})", mend(.cause))]
    Disk {
        /// The folder.
        path: PathBuf,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// Somebody else changes them.
    #[error("{path} is held by another process for {} s", LOCK_TRY_EVERY.saturating_mul(LOCK_TRIES_MAX).as_secs())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// What lies there is not what was put there.
    #[error("{path} does not hold content {id}: it was changed, or the disk lost some of it")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should be.
        id: ContentId,
        /// What it is.
        found: ContentId,
    },
    /// Somebody else can put content there.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// It may not be done.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

fn has_no_room(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// What to do about what the disk says.
fn mend(cause: &io::Error) -> &'static str {
    match cause.raw_os_error() {
        _ if has_no_room(cause) => "make room there, or name a folder with more of it by --state; nothing was changed",
        Some(libc::ELOOP) => {
            "a link lies there, and is followed nowhere: take it away, or install the pack again, which does"
        }
        _ => "name a folder that you may write by --state",
    }
}

impl Slots {
    /// The slots in this folder, which is made if it is not there; `factory` is the content of this executable.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn make(path: &Path, factory: ContentId) -> Result<Self, SlotsError> {
        let failed = |cause| SlotsError::Disk { path: path.to_owned(), cause };
        Ok(Self { folder: Folder::make(path).map_err(failed)?, factory })
    }

    /// The slots in this folder, to be looked at.
    #[must_use]
    pub fn at(path: &Path, factory: ContentId) -> Self {
        Self { folder: Folder::at(path), factory }
    }

    /// What lies there.
    ///
    /// # Errors
    /// The folder can't be read, or is not ours alone.
    pub fn state(&self) -> Result<State, SlotsError> {
        owner::check(self.folder.path())?;
        let names = self.folder.names().map_err(self.failed())?;
        Ok(State::of(names.into_iter().filter(|name| name != LOCK), self.factory))
    }

    /// Carries out what follows from an event, and gives what lies there then.
    ///
    /// # Errors
    /// The disk failed, or it may not be done.
    pub fn after(&mut self, event: Event<'_>) -> Result<State, SlotsError> {
        let _lock = self.lock()?;
        let state = self.state()?;
        let plan = planner::plan(&state, event)?;
        match (carry_out(&mut self.folder, &plan), event) {
            (Err(cause), Event::Recalled(id)) if has_no_room(&cause) => self.withdraw(&state, id)?,
            (done, _) => done.map_err(self.failed())?,
        }
        self.state()
    }

    /// What was recalled goes into quarantine on a full disk, too.
    fn withdraw(&mut self, state: &State, id: ContentId) -> Result<(), SlotsError> {
        let plan = planner::plan(state, Event::Withdrawn(id))?;
        carry_out(&mut self.folder, &plan).map_err(self.failed())?;
        // The bytes that it had make room for the cause; without it there is none to tell.
        let name = Entry::Quarantine(id).to_string();
        let place = state.candidates.iter().any(|held| held.id == id).then_some(Slot::Candidate);
        let place = place.or_else(|| state.goods.iter().any(|held| held.id == id).then_some(Slot::LastKnownGood));
        let bytes = planner::recall_record(place.map_or(planner::NO_SLOT, Slot::name)).into_bytes();
        let _ = self.folder.apply(&Op::Write { name: name.clone(), bytes });
        let _ = self.folder.apply(&Op::SyncFile { name });
        Ok(())
    }

    /// Puts a pack's bytes where a slot of its id holds others, or none that can be read. Returns whether there was one.
    ///
    /// # Errors
    /// The disk failed.
    pub fn mend(&mut self, pack: &[u8]) -> Result<bool, SlotsError> {
        let _lock = self.lock()?;
        let (state, id) = (self.state()?, ContentId::of(pack));
        let candidates = state.candidates.iter().map(|held| Choice::Candidate(*held));
        let held = candidates.chain(state.goods.iter().map(|held| Choice::Good(*held)));
        let mut is_mended = false;
        for choice in held.filter(|choice| choice.id() == Some(id) && !state.quarantined.contains(&id)) {
            if self.read(&choice).is_err() {
                let plan = planner::plan(&state, Event::Mended(choice, pack))?;
                carry_out(&mut self.folder, &plan).map_err(self.failed())?;
                is_mended = true;
            }
        }
        Ok(is_mended)
    }

    /// The bytes of a candidate or a known good, if they are what was installed.
    ///
    /// # Errors
    /// They can't be read, or are not.
    pub fn read(&self, choice: &Choice) -> Result<Vec<u8>, SlotsError> {
        let (entry, id) = match choice {
            Choice::Candidate(held) => (Entry::Candidate(*held), held.id),
            Choice::Good(held) => (Entry::Good(*held), held.id),
            Choice::Factory(_) | Choice::CollectOnly => return Ok(Vec::new()),
        };
        let path = self.folder.path().join(entry.to_string());
        let bytes = self.folder.read(&entry.to_string(), PACK_SIZE_BYTES_MAX);
        let bytes = bytes.map_err(|cause| SlotsError::Disk { path: path.clone(), cause })?;
        let found = ContentId::of(&bytes);
        if found != id {
            return Err(SlotsError::Damaged { path, id, found });
        }
        Ok(bytes)
    }

    /// Why this content is in quarantine.
    #[must_use]
    pub fn cause(&self, id: ContentId) -> Option<Quarantined> {
        let record = self.folder.read(&Entry::Quarantine(id).to_string(), RECORD_SIZE_BYTES_MAX).ok()?;
        Quarantined::read(id, &String::from_utf8_lossy(&record))
    }

    /// Tells of every change in the folder.
    ///
    /// # Errors
    /// The kernel has no more watches for this user.
    pub fn watch(&self) -> io::Result<Watch> {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        let wanted = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE;
        inotify::add_watch(&fd, self.folder.path(), wanted)?;
        Ok(Watch { fd })
    }

    fn lock(&self) -> Result<File, SlotsError> {
        let path = self.folder.path().join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(&path).map_err(self.failed())?;
        for _ in 0..LOCK_TRIES_MAX {
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(file);
            }
            std::thread::sleep(LOCK_TRY_EVERY);
        }
        Err(SlotsError::Busy { path })
    }

    fn failed(&self) -> impl Fn(io::Error) -> SlotsError + use<> {
        let path = self.folder.path().to_owned();
        move |cause| SlotsError::Disk { path: path.clone(), cause }
    }
}

/// Whether the folder has changed.
#[derive(Debug)]
pub struct Watch {
    fd: OwnedFd,
}

impl Watch {
    /// Since the last look. Never waits.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        let mut is_changed = false;
        let mut events = [0_u8; 4_096];
        while matches!(rustix::io::read(&self.fd, &mut events), Ok(1..)) {
            is_changed = true;
        }
        is_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_a_mend_that_speaks_of_room() {
        let told =
            |errno| SlotsError::Disk { path: "/slots".into(), cause: io::Error::from_raw_os_error(errno) }.to_string();
        for errno in [libc::ENOSPC, libc::EDQUOT] {
            assert!(told(errno).starts_with("/slots: ") && told(errno).contains("make room"), "{}", told(errno));
        }
        assert!(told(libc::EACCES).contains("that you may write by --state"));
        assert!(told(libc::ELOOP).contains("a link lies there") && !told(libc::ELOOP).contains("--state"));
    }
}
