//! How long the end of a run waits for whoever reads its output. While nobody asked for the end: as long as it takes, the rings
//! hold the events. After that a reader that stands still is given up, well before a service manager would kill us (systemd:
//! 90 s), and one that reads slowly gets everything.
//!
//! The supervisor knows when the end was asked for and sees whether the reader moves; the detector waits. They tell each other
//! in the shared page, as times: milliseconds of the monotonic clock, 0 for never.

use std::sync::atomic::Ordering::Relaxed;

use crate::worker::tally::Tally;

/// After the end was asked for, a reader that takes nothing for so long is given up.
pub const READER_MS_MAX: u64 = 20_000;
/// The same after the end was asked for a second time, whether it reads or not.
pub const HURRIED_MS_MAX: u64 = 300;
/// A detector that should have given its reader up and has not is not waiting for it.
const MARGIN_MS: u64 = 2_000;
/// One that waits says so twenty times a second; a busy machine may keep it from its turn for seconds.
const AWAKE_MS_MAX: u64 = 10_000;

/// When the end was asked for, and the second time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// 0 if it was not.
    pub first_ms: u64,
    /// 0 if it was not.
    pub again_ms: u64,
    /// When the reader was last seen to take something; 0 if it was not.
    pub moved_ms: u64,
}

impl Asked {
    /// Whether a reader that took nothing since then is to be given up now.
    #[must_use]
    pub fn is_over(self, since_ms: u64, now_ms: u64) -> bool {
        let is_hurried = self.again_ms != 0 && now_ms >= self.again_ms.saturating_add(HURRIED_MS_MAX);
        let quiet_since = since_ms.max(self.first_ms).max(self.moved_ms);
        is_hurried || (self.first_ms != 0 && now_ms >= quiet_since.saturating_add(READER_MS_MAX))
    }

    /// Leaves it to the detector.
    pub fn tell(self, tally: &Tally) {
        tally.asked().store(self.first_ms, Relaxed);
        tally.asked_again().store(self.again_ms, Relaxed);
        tally.moved().store(self.moved_ms, Relaxed);
    }

    /// What the supervisor left.
    #[must_use]
    pub fn told(tally: &Tally) -> Self {
        Self {
            first_ms: tally.asked().load(Relaxed),
            again_ms: tally.asked_again().load(Relaxed),
            moved_ms: tally.moved().load(Relaxed),
        }
    }
}

/// The detector's side: it waits for the reader since then, and is awake. To be called often while it does. Returns whether it is to give it
/// up.
#[must_use]
pub fn wait(tally: &Tally, since_ms: u64) -> bool {
    let now_ms = now_ms();
    tally.awake().store(now_ms, Relaxed);
    tally.waiting().store(since_ms, Relaxed);
    Asked::told(tally).is_over(since_ms, now_ms)
}

/// The detector's side: it does not wait any more.
pub fn wait_no_more(tally: &Tally) {
    tally.waiting().store(0, Relaxed);
}

/// The supervisor's side: the detector does nothing because it waits for the reader. One that was stopped while it waited does not.
#[must_use]
pub fn is_waiting(tally: &Tally) -> bool {
    is_waiting_at(tally, now_ms())
}

fn is_waiting_at(tally: &Tally, now_ms: u64) -> bool {
    let (since_ms, awake_ms) = (tally.waiting().load(Relaxed), tally.awake().load(Relaxed));
    since_ms != 0
        && now_ms < awake_ms.saturating_add(AWAKE_MS_MAX)
        && !Asked::told(tally).is_over(since_ms, now_ms.saturating_sub(MARGIN_MS))
}

/// The monotonic clock; never 0. Allowed in a signal handler.
#[must_use]
pub fn now_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec into the variable, which lives through the call; it can't fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000).saturating_add(nanoseconds / 1_000_000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_given_up_before_the_end_was_asked_for() {
        assert!(!Asked::default().is_over(1, u64::MAX));
    }

    #[test]
    fn a_reader_that_stands_still_is_given_up_and_one_that_moves_is_not() {
        let asked = Asked { first_ms: 50_000, ..Asked::default() };
        assert!(!asked.is_over(1, 50_000 + READER_MS_MAX - 1), "what it did before counts for nothing");
        assert!(asked.is_over(1, 50_000 + READER_MS_MAX));
        assert!(!asked.is_over(60_000, 50_000 + READER_MS_MAX), "it took some since");
        let moving = Asked { moved_ms: 69_000, ..asked };
        assert!(!moving.is_over(1, 50_000 + READER_MS_MAX), "it was seen to read, though too little to write more");
    }

    #[test]
    fn asked_again_it_is_given_up_at_once_though_it_reads() {
        let asked = Asked { first_ms: 50_000, again_ms: 51_000, moved_ms: 51_200 };
        assert!(!asked.is_over(51_200, 51_000 + HURRIED_MS_MAX - 1));
        assert!(asked.is_over(51_200, 51_000 + HURRIED_MS_MAX));
    }

    #[test]
    fn what_one_side_tells_the_other_hears() {
        let tally = Tally::create().expect("memory");
        let asked = Asked { first_ms: 1, again_ms: 2, moved_ms: 3 };
        asked.tell(&tally);
        assert_eq!(Asked::told(&tally), asked);
        Asked::default().tell(&tally);
        assert!(!wait(&tally, now_ms()) && is_waiting(&tally));
        wait_no_more(&tally);
        assert!(!is_waiting(&tally));
    }

    #[test]
    fn one_that_is_stopped_while_it_waits_waits_no_more() {
        let tally = Tally::create().expect("memory");
        let begun_ms = now_ms();
        let _ = wait(&tally, begun_ms);
        assert!(is_waiting_at(&tally, begun_ms));
        assert!(!is_waiting_at(&tally, now_ms() + AWAKE_MS_MAX), "nothing was heard of it since");
    }
}
