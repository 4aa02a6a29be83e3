//! When a dead worker is started again: at once, then ever later, and not for ever. A worker that dies on every start would
//! otherwise eat the machine that it is to protect.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Deaths within the window after which a worker is given up.
const DEATHS_MAX: usize = 6;
/// Deaths that are older than this are forgiven.
const WINDOW: Duration = Duration::from_secs(60);
/// Wait before the second start; each further one waits twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(50);
/// Longest wait: with the start itself it stays below the second in which the rings are to be read again.
const WAIT_MAX: Duration = Duration::from_millis(800);

/// The deaths of one worker.
#[derive(Clone, Debug, Default)]
pub struct Restarts {
    recent: VecDeque<Instant>,
    total: u64,
}

impl Restarts {
    /// Notes a death. Returns how long to wait before the next start, or `None` when there is to be none.
    pub fn died(&mut self, now: Instant) -> Option<Duration> {
        self.total = self.total.saturating_add(1);
        while self.recent.front().is_some_and(|death| now.saturating_duration_since(*death) > WINDOW) {
            self.recent.pop_front();
        }
        let before = self.recent.len();
        self.recent.push_back(now);
        if self.recent.len() >= DEATHS_MAX {
            return None;
        }
        let doublings = u32::try_from(before.saturating_sub(1)).unwrap_or(u32::MAX);
        match before {
            0 => Some(Duration::ZERO),
            _ => Some(WAIT_FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(WAIT_MAX)),
        }
    }

    /// The reason is gone: what was, says nothing about what comes.
    pub fn forgive(&mut self) {
        self.recent.clear();
    }

    /// All deaths.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_dies_again_and_again_is_started_later_and_later_and_then_no_more() {
        let now = Instant::now();
        let mut restarts = Restarts::default();
        let waits: Vec<_> = (0..7).map(|_| restarts.died(now).map(|wait| wait.as_millis())).collect();
        assert_eq!(waits, [Some(0), Some(50), Some(100), Some(200), Some(400), None, None]);
        assert_eq!(restarts.total(), 7);
    }

    #[test]
    fn old_deaths_are_forgiven_but_still_counted() {
        let start = Instant::now();
        let mut restarts = Restarts::default();
        for minute in 0..100 {
            assert_eq!(restarts.died(start + Duration::from_secs(61 * minute)), Some(Duration::ZERO));
        }
        assert_eq!(restarts.total(), 100);
    }
}
