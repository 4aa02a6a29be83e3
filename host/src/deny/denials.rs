//! The denials that the listener tells one by one: records in the page that it shares with the supervisor.
//!
//! Not a pipe, though one can be written without waiting for room: the write still waits for whoever is reading, and a reader
//! may itself wait for its memory. Here the listener stores numbers into memory that is there and locked, whatever the other
//! side does, and what finds no room is counted by mark. There is one writer and one reader.

use std::sync::atomic::{AtomicU64, Ordering};

use super::page::MARKS_MAX;

/// Room for records, in words of 8 bytes: some 700 denials with paths of 50 bytes. The supervisor looks ten times a second.
const WORDS: usize = 8_192;
/// Words of a record before its path: lengths and numbers, time, device, inode.
const HEAD_WORDS: u64 = 4;
/// Longest path that is told whole; the kernel gives none that is longer.
pub const PATH_BYTES_MAX: usize = 4_096;
/// Bytes of a path in one word.
const WORD_BYTES: usize = 8;
/// Set in the length of a path that was cut.
const IS_CUT: u64 = 1 << 15;

/// The records. Zero is its state at the start.
#[repr(C)]
pub struct Denials {
    /// Words written since the start; only the listener moves it.
    written: AtomicU64,
    /// Words taken since the start; only the supervisor moves it.
    taken: AtomicU64,
    words: [AtomicU64; WORDS],
    /// By mark: those for which there was no room.
    untold: [AtomicU64; MARKS_MAX],
}

/// One exec that met a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial<P> {
    /// The mark's number.
    pub mark: u16,
    /// The process that asked, in the listener's pid namespace; 0 where it has no number there.
    pub pid: u32,
    /// When the question was answered, nanoseconds since boot.
    pub boot_ns: u64,
    /// Device and inode of the program.
    pub identity: (u64, u64),
    /// The program's path, as far as it could be told.
    pub path: P,
    /// The path was longer.
    pub is_cut: bool,
}

impl Denials {
    /// The listener's side: never waits, never allocates. Returns whether there was room.
    pub fn tell(&self, denial: &Denial<&[u8]>) -> bool {
        let path = denial.path.get(..PATH_BYTES_MAX).unwrap_or(denial.path);
        let is_cut = denial.is_cut || path.len() < denial.path.len();
        let needed = HEAD_WORDS.saturating_add(path.len().div_ceil(WORD_BYTES) as u64);
        let written = self.written.load(Ordering::Relaxed);
        let used = written.wrapping_sub(self.taken.load(Ordering::Acquire));
        if (WORDS as u64).saturating_sub(used) < needed {
            if let Some(untold) = self.untold.get(usize::from(denial.mark)) {
                untold.fetch_add(1, Ordering::Relaxed);
            }
            return false;
        }
        let length = path.len() as u64 | if is_cut { IS_CUT } else { 0 };
        let numbers = u64::from(denial.mark) | length << 16 | u64::from(denial.pid) << 32;
        let head = [numbers, denial.boot_ns, denial.identity.0, denial.identity.1];
        let path = path.chunks(WORD_BYTES).map(|chunk| {
            let mut bytes = [0; WORD_BYTES];
            bytes.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            u64::from_le_bytes(bytes)
        });
        for (at, value) in (0..).zip(head.into_iter().chain(path)) {
            self.word(written.wrapping_add(at)).store(value, Ordering::Relaxed);
        }
        self.written.store(written.wrapping_add(needed), Ordering::Release);
        true
    }

    /// The supervisor's side: the next record. One that can't be is dropped with all behind it.
    pub fn take(&self) -> Option<Denial<Vec<u8>>> {
        let (taken, written) = (self.taken.load(Ordering::Relaxed), self.written.load(Ordering::Acquire));
        let there = written.wrapping_sub(taken);
        let word = |at: u64| self.word(taken.wrapping_add(at)).load(Ordering::Relaxed);
        let numbers = word(0);
        let length = numbers >> 16 & (IS_CUT - 1);
        let needed = HEAD_WORDS.saturating_add(length.div_ceil(WORD_BYTES as u64));
        if needed > there || there > WORDS as u64 || length > PATH_BYTES_MAX as u64 {
            self.taken.store(written, Ordering::Release);
            return None;
        }
        let mut path: Vec<u8> = (HEAD_WORDS..needed).flat_map(|at| word(at).to_le_bytes()).collect();
        path.truncate(usize::try_from(length).ok()?);
        let [low, high, _, _, pid @ ..] = numbers.to_le_bytes();
        let denial = Denial {
            mark: u16::from_le_bytes([low, high]),
            pid: u32::from_le_bytes(pid),
            boot_ns: word(1),
            identity: (word(2), word(3)),
            path,
            is_cut: numbers >> 16 & IS_CUT != 0,
        };
        self.taken.store(taken.wrapping_add(needed), Ordering::Release);
        Some(denial)
    }

    /// By mark: those for which there was no room since this was last asked.
    pub fn take_untold(&self) -> impl Iterator<Item = u64> + '_ {
        self.untold.iter().map(|untold| untold.swap(0, Ordering::Relaxed))
    }

    fn word(&self, at: u64) -> &AtomicU64 {
        let [first, ..] = &self.words;
        usize::try_from(at % WORDS as u64).ok().and_then(|at| self.words.get(at)).unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::Page;
    use super::*;

    fn denial(path: &[u8]) -> Denial<&[u8]> {
        Denial { mark: 255, pid: u32::MAX, boot_ns: u64::MAX, identity: (1, u64::MAX), path, is_cut: false }
    }

    fn own(denial: &Denial<&[u8]>) -> Denial<Vec<u8>> {
        let Denial { mark, pid, boot_ns, identity, path, is_cut } = *denial;
        Denial { mark, pid, boot_ns, identity, path: path.to_vec(), is_cut }
    }

    #[test]
    fn what_is_told_is_taken_once_in_its_order_however_often_the_room_was_used() {
        let page = Page::create().expect("memory");
        let denials = &page.progress().denials;
        let bytes: Vec<u8> = (0..=255).cycle().take(PATH_BYTES_MAX).collect();
        for round in 0..200 {
            let lengths = [round, 0, PATH_BYTES_MAX - round, 7, 8, 9];
            let told: Vec<_> = lengths.iter().map(|length| denial(&bytes[..*length])).collect();
            assert!(told.iter().all(|denial| denials.tell(denial)));
            for denial in &told {
                assert_eq!(denials.take(), Some(own(denial)));
            }
            assert_eq!(denials.take(), None);
        }
        assert_eq!(denials.take_untold().sum::<u64>(), 0);
    }

    #[test]
    fn what_finds_no_room_is_counted_by_mark_and_nothing_is_overwritten() {
        let page = Page::create().expect("memory");
        let denials = &page.progress().denials;
        let room = WORDS / (HEAD_WORDS as usize + 1);
        let told = (0..).take(room + 5).map(|pid| denials.tell(&Denial { pid, ..denial(b"x") }));
        let fits = told.filter(|has_room| *has_room).count();
        assert_eq!(fits, room);
        assert_eq!(denials.take_untold().nth(255), Some(5));
        assert_eq!(denials.take_untold().sum::<u64>(), 0, "told once");
        let taken: Vec<u32> = std::iter::from_fn(|| denials.take()).map(|denial| denial.pid).collect();
        assert_eq!(taken, (0..u32::try_from(room).expect("few")).collect::<Vec<_>>());
        assert!(denials.tell(&denial(b"x")), "there is room again");
    }

    #[test]
    fn a_path_beyond_the_longest_is_cut_and_flagged() {
        let page = Page::create().expect("memory");
        let denials = &page.progress().denials;
        assert!(denials.tell(&denial(&[b'x'; PATH_BYTES_MAX + 1])));
        let taken = denials.take().expect("one");
        assert_eq!((taken.path.len(), taken.is_cut), (PATH_BYTES_MAX, true));
    }

    #[test]
    fn numbers_that_no_listener_writes_are_dropped() {
        let page = Page::create().expect("memory");
        let denials = &page.progress().denials;
        for (numbers, written) in [(u64::MAX, 100), (0, 3), (0, u64::MAX), (9 << 16, 5)] {
            denials.word(0).store(numbers, Ordering::Relaxed);
            denials.taken.store(0, Ordering::Relaxed);
            denials.written.store(written, Ordering::Relaxed);
            assert_eq!(denials.take(), None, "{numbers:x} {written}");
            assert_eq!(denials.take(), None, "nothing is left");
        }
    }
}
