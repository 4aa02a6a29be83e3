//! What the listener tells the watchdog, in memory that both map: writing it can't block, which a pipe or a file could.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};

use super::denials::Denials;

/// Most marks, over all rules: as many as there are counters in the page.
pub const MARKS_MAX: usize = 256;

/// Nothing is marked yet: nobody waits for the listener.
pub const SETTING_UP: u32 = 0;
/// Marks may be there: from here on the watchdog wants signs of life.
pub const ARMED: u32 = 1;

/// The shared page. Zero is its state at the start.
#[repr(C)]
pub struct Progress {
    /// [`SETTING_UP`] or [`ARMED`].
    pub phase: AtomicU32,
    _room: AtomicU32,
    /// Monotonic time of the last sign of life, ns.
    pub alive_ns: AtomicU64,
    /// Monotonic time since which an answer is due, ns; 0 when none is.
    pub pending_since_ns: AtomicU64,
    /// Questions answered.
    pub answered: AtomicU64,
    /// Questions about files that no rule names, or our own: allowed.
    pub passed: AtomicU64,
    /// Times that the kernel failed to hand over a question.
    pub failed: AtomicU64,
    /// By mark: denied in enforce mode, counted in audit mode.
    pub hits: [AtomicU64; MARKS_MAX],
    /// The same one by one, as far as there is room.
    pub denials: Denials,
}

/// The page as one of the two processes has it.
pub struct Page {
    fd: OwnedFd,
    /// Start of the mapping.
    at: *mut Progress,
}

// SAFETY: the mapping is only ever used through atomics, which any thread may use.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// A fresh page, for the supervisor.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn create() -> rustix::io::Result<Self> {
        let fd = memfd_create("watertight-deny", MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, std::mem::size_of::<Progress>() as u64)?;
        Self::map(fd)
    }

    /// The page behind a descriptor that was inherited.
    ///
    /// # Errors
    /// It is not such a page.
    pub fn map(fd: OwnedFd) -> rustix::io::Result<Self> {
        let bytes = std::mem::size_of::<Progress>();
        let is_large_enough = u64::try_from(rustix::fs::fstat(&fd)?.st_size).is_ok_and(|size| size >= bytes as u64);
        if !is_large_enough {
            return Err(rustix::io::Errno::INVAL);
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel picks; the file is large enough and is never cut.
        let at = unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, &fd, 0)? };
        Ok(Self { fd, at: at.cast() })
    }

    /// Number of the descriptor, to hand on.
    #[must_use]
    pub fn raw_fd(&self) -> i32 {
        self.fd.as_fd().as_raw_fd()
    }

    /// What is in it.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        // SAFETY: the mapping is as large as the type, page-aligned, lives as long as `self`, and any bytes are valid
        // for its atomics.
        unsafe { &*self.at }
    }
}

impl AsFd for Page {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, of the same size; no reference outlives `self`.
        let _ = unsafe { munmap(self.at.cast(), std::mem::size_of::<Progress>()) };
        // nothing to do about a failure
    }
}

impl Progress {
    /// The listener lives.
    pub fn beat(&self) {
        self.alive_ns.store(now_ns(), Ordering::Release);
    }

    /// An answer is due from now on, or none is.
    pub fn set_pending(&self, is_pending: bool) {
        self.pending_since_ns.store(if is_pending { now_ns() } else { 0 }, Ordering::Release);
    }

    /// How long there has been no sign of life, or no answer that was due; 0 while nothing is marked.
    #[must_use]
    pub fn silence_ns(&self, now_ns: u64) -> u64 {
        if self.phase.load(Ordering::Acquire) != ARMED {
            return 0;
        }
        let silent = now_ns.saturating_sub(self.alive_ns.load(Ordering::Acquire));
        match self.pending_since_ns.load(Ordering::Acquire) {
            0 => silent,
            since => silent.max(now_ns.saturating_sub(since)),
        }
    }
}

/// CLOCK_MONOTONIC, which stands still while the machine sleeps, so that waking up is no silence.
#[must_use]
pub fn now_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_writes_the_other_reads() {
        let ours = Page::create().expect("memory");
        let theirs = Page::map(ours.fd.try_clone().expect("a descriptor")).expect("the same page");
        theirs.progress().hits[MARKS_MAX - 1].store(7, Ordering::Relaxed);
        assert_eq!(ours.progress().hits[MARKS_MAX - 1].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn a_descriptor_of_something_else_is_refused() {
        let small = memfd_create("small", MemfdFlags::CLOEXEC).expect("memory");
        assert!(Page::map(small).is_err());
    }

    #[test]
    fn silence_counts_only_once_something_is_marked() {
        let page = Page::create().expect("memory");
        let progress = page.progress();
        assert_eq!(progress.silence_ns(5_000), 0);
        progress.phase.store(ARMED, Ordering::Release);
        progress.alive_ns.store(4_000, Ordering::Release);
        assert_eq!(progress.silence_ns(5_000), 1_000);
        progress.pending_since_ns.store(2_000, Ordering::Release);
        assert_eq!(progress.silence_ns(5_000), 3_000, "alive, but an answer is due");
    }
}
