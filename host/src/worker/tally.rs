//! Counts that outlive the detector: a page of memory shared with the supervisor. Without it nobody would know what a worker
//! that was killed had read from the rings and not yet written.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use watertight_event::Kind;
use watertight_sensor_abi::{Hook, HOOKS};

use super::{budget, correlation_loss};
use crate::account::SourceCounts;

/// Counts by hook: read from a ring; of these, written out; and lost with a detector that died in between. Then operations
/// that written events told as counted by process.
const BY_HOOK: usize = 4;
const RECEIVED: usize = 0;
const WRITTEN: usize = 1;
const LOST: usize = 2;
const AGGREGATED: usize = 3;
/// Words beside those by hook and by kind: how standard output stands, alerts, events of the supervisor that were written, how
/// long the reader of the output is waited for, what the detector does with which content, what correlations lose, what of events
/// was over budget, and the counts of sources.
const OTHERS: usize = SOURCES_FROM + SOURCES.len() * BY_SOURCE;
const SOURCES_FROM: usize = OVER_BUDGET_FROM + budget::OF_EVENTS.len();
const OVER_BUDGET_FROM: usize = 16 + correlation_loss::LIMITS.len();
/// Received, filtered, malformed, overflows.
const BY_SOURCE: usize = 4;
/// What the memory is called in /proc.
const NAME: &str = "watertight-tally";

/// The sources of the sources worker, by name.
pub const SOURCES: [&str; 3] = ["fanotify", "proc connector", "sock_diag"];

/// What a detector does with its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Elsewhere = 0,
    /// Opens it.
    Opening = 1,
    /// Asks it about an event, and tells what it said.
    Evaluating = 2,
}

/// A mapping of the shared page.
pub struct Tally {
    fd: OwnedFd,
    start: *mut std::ffi::c_void,
    bytes: usize,
}

/// The page of another process. Without the right to write to it: a count in it would be a fault.
pub struct Seen(Tally);

impl Seen {
    /// By hook: records that were taken from the rings.
    #[must_use]
    pub fn received(&self) -> Vec<u64> {
        self.0.by_hook().0
    }

    /// What the source of this name has delivered.
    #[must_use]
    pub fn source(&self, name: &str) -> SourceCounts {
        self.0.source(name)
    }
}

// SAFETY: the mapping belongs to this value, and its words are only used atomically.
unsafe impl Send for Tally {}
// SAFETY: as above.
unsafe impl Sync for Tally {}

/// How many 64-bit words there are.
fn words() -> usize {
    HOOKS.len().saturating_mul(BY_HOOK).saturating_add(Kind::ALL.len()).saturating_add(OTHERS)
}

impl Tally {
    /// A fresh page, all zero.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn create() -> io::Result<Self> {
        let fd = memfd_create(NAME, MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, words().saturating_mul(8) as u64)?;
        Self::map(fd)
    }

    /// The page behind an inherited descriptor.
    ///
    /// # Errors
    /// It is no such page.
    pub fn map(fd: OwnedFd) -> io::Result<Self> {
        Self::map_for(fd, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn map_for(fd: OwnedFd, uses: ProtFlags) -> io::Result<Self> {
        let bytes = words().saturating_mul(8);
        let size = rustix::fs::fstat(&fd)?.st_size;
        if u64::try_from(size).unwrap_or(0) != bytes as u64 {
            return Err(io::Error::other("the page of counts has another size: it is of another version"));
        }
        // SAFETY: a fresh shared mapping at an address of the kernel's choice, within the file's size.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, uses, MapFlags::SHARED, &fd, 0)? };
        Ok(Self { fd, start, bytes })
    }

    /// The page of another process, found among its descriptors: to be looked at, not to be counted in.
    ///
    /// # Errors
    /// The process has none, its descriptors may not be looked at, or it is of another version.
    pub fn of_process(pid: u32) -> io::Result<Seen> {
        let is_it = |target: &Path| {
            let target = target.to_string_lossy();
            target.strip_prefix("/memfd:").and_then(|rest| rest.strip_suffix(" (deleted)")) == Some(NAME)
        };
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(Result::ok) {
            if std::fs::read_link(entry.path()).is_ok_and(|target| is_it(&target)) {
                return Self::map_for(std::fs::File::open(entry.path())?.into(), ProtFlags::READ).map(Seen);
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "the run has not begun to count"))
    }

    /// The descriptor, to hand on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Counts a record that was taken from a ring.
    pub fn note(&self, hook: Hook) {
        self.word(RECEIVED, hook).fetch_add(1, Ordering::Relaxed);
    }

    /// Everything that was taken so far is written.
    pub fn settle(&self) {
        for hook in HOOKS {
            let received = self.word(RECEIVED, *hook).load(Ordering::Relaxed);
            self.word(WRITTEN, *hook).store(received, Ordering::Relaxed);
        }
    }

    /// The detector is gone: what it had taken and not written is lost. Returns how much that is now.
    #[must_use]
    pub fn write_off(&self) -> u64 {
        let mut sum = 0_u64;
        for hook in HOOKS {
            let received = self.word(RECEIVED, *hook).load(Ordering::Relaxed);
            let lost = received.saturating_sub(self.word(WRITTEN, *hook).swap(received, Ordering::Relaxed));
            self.word(LOST, *hook).fetch_add(lost, Ordering::Relaxed);
            sum = sum.saturating_add(lost);
        }
        sum
    }

    /// Operations of a hook that a written event told as counted by process.
    pub fn note_aggregated(&self, hook: Hook, count: u64) {
        self.word(AGGREGATED, hook).fetch_add(count, Ordering::Relaxed);
    }

    /// By hook: operations that written events told as counted by process.
    #[must_use]
    pub fn aggregated(&self) -> Vec<u64> {
        HOOKS.iter().map(|hook| self.word(AGGREGATED, *hook).load(Ordering::Relaxed)).collect()
    }

    /// By hook: records taken from the rings, and of these lost with a detector.
    #[must_use]
    pub fn by_hook(&self) -> (Vec<u64>, Vec<u64>) {
        let all = |part| HOOKS.iter().map(|hook| self.word(part, *hook).load(Ordering::Relaxed)).collect();
        (all(RECEIVED), all(LOST))
    }

    /// Events of a kind that were written by all detectors of this run.
    #[must_use]
    pub fn events(&self, kind: Kind) -> &AtomicU64 {
        self.at(HOOKS.len().saturating_mul(BY_HOOK).saturating_add(kind as usize))
    }

    /// Whether the last line that was written is whole; see [`crate::whole_lines`].
    #[must_use]
    pub fn line(&self) -> &AtomicU64 {
        self.other(0)
    }

    /// Alerts of all detectors of this run.
    #[must_use]
    pub fn alerts(&self) -> &AtomicU64 {
        self.other(1)
    }

    /// Events of the supervisor that all detectors of this run have written: the others are to be said again to the next one.
    #[must_use]
    pub fn shown(&self) -> &AtomicU64 {
        self.other(2)
    }

    /// When the end of the run was asked for; this and the next three: see [`crate::patience`].
    #[must_use]
    pub fn asked(&self) -> &AtomicU64 {
        self.other(3)
    }

    /// When it was asked for again.
    #[must_use]
    pub fn asked_again(&self) -> &AtomicU64 {
        self.other(4)
    }

    /// When the reader of the output was seen to take something.
    #[must_use]
    pub fn moved(&self) -> &AtomicU64 {
        self.other(5)
    }

    /// Since when the detector waits for it.
    #[must_use]
    pub fn waiting(&self) -> &AtomicU64 {
        self.other(6)
    }

    /// The content in force, by the first 64 bits of its id; this and the next six: see [`crate::supervisor`].
    #[must_use]
    pub fn content(&self) -> &AtomicU64 {
        self.other(7)
    }

    /// Content that is being made ready; 0 if none is.
    #[must_use]
    pub fn preparing(&self) -> &AtomicU64 {
        self.other(8)
    }

    /// Content that the detector could not make ready.
    #[must_use]
    pub fn refused(&self) -> &AtomicU64 {
        self.other(9)
    }

    /// What is done with the content in force at this moment: see [`Phase`].
    #[must_use]
    pub fn phase(&self) -> &AtomicU64 {
        self.other(10)
    }

    /// Events that the content in force was asked about.
    #[must_use]
    pub fn evaluated(&self) -> &AtomicU64 {
        self.other(11)
    }

    /// The rule that was looked at last: its position, and one.
    #[must_use]
    pub fn rule(&self) -> &AtomicU64 {
        self.other(12)
    }

    /// Position of the rule that was looked at last, if one was.
    #[must_use]
    pub fn last_rule(&self) -> Option<usize> {
        usize::try_from(self.rule().load(Ordering::Relaxed)).ok()?.checked_sub(1)
    }

    /// Grows as long as the detector lives.
    #[must_use]
    pub fn progress(&self) -> &AtomicU64 {
        self.other(13)
    }

    /// Events that correlations have listened to, as far as they are still at hand: what is lost of them with the detector.
    #[must_use]
    pub fn correlated(&self) -> &AtomicU64 {
        self.other(14)
    }

    /// When a detector that waits for its reader was last awake. Not its progress, which says that it works with its content.
    #[must_use]
    pub fn awake(&self) -> &AtomicU64 {
        self.other(15)
    }

    /// What correlations of all contents and detectors of this run could not do within their bounds: see [`correlation_loss::LIMITS`].
    #[must_use]
    pub fn correlation_limits(&self) -> [u64; correlation_loss::LIMITS.len()] {
        std::array::from_fn(|at| self.other(at.saturating_add(16)).load(Ordering::Relaxed))
    }

    /// Adds to them.
    pub fn note_correlation_limits(&self, more: [u64; correlation_loss::LIMITS.len()]) {
        for (at, more) in (16..).zip(more) {
            self.other(at).fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Events of all detectors of this run that were over budget: see [`budget::OF_EVENTS`].
    #[must_use]
    pub fn over_budget(&self) -> [u64; budget::OF_EVENTS.len()] {
        std::array::from_fn(|at| self.other(at.saturating_add(OVER_BUDGET_FROM)).load(Ordering::Relaxed))
    }

    /// The detector alone counts them.
    pub fn note_over_budget(&self, events: [u64; budget::OF_EVENTS.len()]) {
        for (at, events) in (OVER_BUDGET_FROM..).zip(events) {
            self.other(at).store(events, Ordering::Relaxed);
        }
    }

    /// Adds to what a source has delivered in this run.
    pub fn note_source(&self, more: &SourceCounts) {
        let Some(from) = SOURCES.iter().position(|name| *name == more.source) else { return };
        let words = [more.received, more.filtered, more.malformed, more.overflows];
        for (at, more) in words.into_iter().enumerate() {
            self.of_source(from, at).fetch_add(more, Ordering::Relaxed);
        }
    }

    /// What the source of this name has delivered in this run.
    #[must_use]
    pub fn source(&self, name: &str) -> SourceCounts {
        let Some(from) = SOURCES.iter().position(|known| *known == name) else { return SourceCounts::default() };
        let of = |at| self.of_source(from, at).load(Ordering::Relaxed);
        SourceCounts { source: name.to_owned(), received: of(0), filtered: of(1), malformed: of(2), overflows: of(3) }
    }

    fn of_source(&self, source: usize, at: usize) -> &AtomicU64 {
        self.other(SOURCES_FROM.saturating_add(source.saturating_mul(BY_SOURCE)).saturating_add(at))
    }

    /// The detector lives. It alone writes this word, so no other's count is lost.
    pub fn beat(&self) {
        let progress = self.progress();
        progress.store(progress.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// What the detector does with its content from here on.
    pub fn enter(&self, phase: Phase) {
        self.phase().store(phase as u64, Ordering::Relaxed);
    }

    /// What a detector did with its content when it died.
    #[must_use]
    pub fn last_phase(&self) -> Phase {
        match self.phase().load(Ordering::Relaxed) {
            1 => Phase::Opening,
            2 => Phase::Evaluating,
            _ => Phase::Elsewhere,
        }
    }

    fn other(&self, at: usize) -> &AtomicU64 {
        self.at(words().saturating_sub(OTHERS).saturating_add(at))
    }

    fn word(&self, part: usize, hook: Hook) -> &AtomicU64 {
        self.at(part.saturating_mul(HOOKS.len()).saturating_add(usize::from(hook as u16)))
    }

    fn at(&self, word: usize) -> &AtomicU64 {
        let word = word.min(words().saturating_sub(1));
        // SAFETY: the word lies within the mapping, which lives as long as self, is aligned to a page, and is used atomically
        // by both processes.
        unsafe { &*self.start.cast::<AtomicU64>().add(word) }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this size, and no reference to it outlives self.
        unsafe {
            let _ = munmap(self.start, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_detector_had_not_written_is_lost_and_counted_once() {
        let supervisor = Tally::create().expect("memory");
        let detector = Tally::map(supervisor.fd().try_clone_to_owned().expect("a descriptor")).expect("the same page");
        (0..5).for_each(|_| detector.note(Hook::TaskExec));
        detector.settle();
        (0..2).for_each(|_| detector.note(Hook::TaskExec));
        detector.note(Hook::TaskExit);
        drop(detector);
        assert_eq!(supervisor.write_off(), 3);
        assert_eq!(supervisor.write_off(), 0, "nobody lost anything since");
        let (received, lost) = supervisor.by_hook();
        assert_eq!(received[Hook::TaskExec as usize], 7);
        assert_eq!((lost[Hook::TaskExec as usize], lost[Hook::TaskExit as usize]), (2, 1));
    }

    #[test]
    fn the_page_of_a_process_is_found_among_its_descriptors() {
        let _own = Tally::create().expect("memory");
        // Other tests of this process have pages too: it is one of ours.
        let found = Tally::of_process(std::process::id()).expect("it is there");
        assert_eq!(found.received().len(), HOOKS.len());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let none = Tally::of_process(child.id()).map(|_| ()).expect_err("it has none");
        child.kill().expect("our own");
        child.wait().expect("our own");
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn counts_of_different_things_do_not_share_a_word() {
        let tally = Tally::create().expect("memory");
        for kind in Kind::ALL {
            tally.events(*kind).fetch_add(1, Ordering::Relaxed);
        }
        HOOKS.iter().for_each(|hook| tally.note(*hook));
        tally.alerts().fetch_add(1, Ordering::Relaxed);
        tally.shown().fetch_add(3, Ordering::Relaxed);
        tally.line().fetch_add(4, Ordering::Relaxed);
        let waits = [tally.asked(), tally.asked_again(), tally.moved(), tally.waiting()];
        waits.iter().zip(5..).for_each(|(word, count)| word.store(count, Ordering::Relaxed));
        HOOKS.iter().for_each(|hook| tally.note_aggregated(*hook, 2));
        tally.note_correlation_limits([9, 10, 11, 12, 13, 14]);
        tally.note_over_budget([15, 16, 17]);
        assert!(Kind::ALL.iter().all(|kind| tally.events(*kind).load(Ordering::Relaxed) == 1));
        assert_eq!(tally.by_hook(), (vec![1; HOOKS.len()], vec![0; HOOKS.len()]));
        assert_eq!(tally.aggregated(), vec![2; HOOKS.len()]);
        let others = [tally.alerts(), tally.shown(), tally.line()].map(|word| word.load(Ordering::Relaxed));
        assert_eq!(others, [1, 3, 4]);
        assert_eq!(waits.map(|word| word.load(Ordering::Relaxed)), [5, 6, 7, 8]);
        assert_eq!(tally.correlation_limits(), [9, 10, 11, 12, 13, 14]);
        assert_eq!(tally.over_budget(), [15, 16, 17]);
        for (name, count) in SOURCES.iter().zip(20..) {
            let own = |count| SourceCounts {
                source: (*name).to_owned(),
                received: count,
                overflows: 1,
                ..SourceCounts::default()
            };
            tally.note_source(&own(count));
            tally.note_source(&own(count));
            let told = tally.source(name);
            assert_eq!((told.received, told.filtered, told.malformed, told.overflows), (2 * count, 0, 0, 2));
        }
        let contents =
            [tally.content(), tally.preparing(), tally.refused(), tally.phase(), tally.evaluated(), tally.rule()];
        assert!(contents
            .iter()
            .chain(&[tally.progress(), tally.correlated(), tally.awake()])
            .all(|word| word.load(Ordering::Relaxed) == 0));
    }
}
