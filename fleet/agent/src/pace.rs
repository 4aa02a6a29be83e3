//! When to come again: what the server said, or, where it says nothing, later and later with full jitter, so that a fleet whose server
//! comes back does not come all at once.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::clock::random_up_to;

/// The first wait after a failure is a random part of this.
const FIRST_MS: u64 = 1_000;
/// No wait is longer, whoever asks for it: an agent that was told to come in a year would never hear of anything again.
pub const WAIT_MS_MAX: u64 = 15 * 60 * 1_000;
/// Who waits for longer moves so often meanwhile, so that it is told from one that hangs.
pub const AWAKE_EVERY: Duration = Duration::from_secs(5);
/// An answer can't make the agent ask more often.
pub const WAIT_MS_MIN: u64 = 100;

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackOff {
    failures: u32,
}

impl BackOff {
    /// The most that is waited after one more failure.
    fn most_ms(self) -> u64 {
        FIRST_MS.checked_shl(self.failures.min(32)).unwrap_or(WAIT_MS_MAX).min(WAIT_MS_MAX)
    }

    /// How long to wait after one more failure; not less than the server asked for.
    pub fn failed(&mut self, retry_after_ms: Option<u64>) -> Duration {
        let random_ms = random_up_to(self.most_ms()).max(WAIT_MS_MIN);
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(random_ms.saturating_add(retry_after_ms.unwrap_or(0)).min(WAIT_MS_MAX))
    }

    /// It went well.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Waits, for all that comes through here or for so long; says whether something came.
pub fn rest(news: &Receiver<()>, longest: Duration) -> bool {
    let begun = Instant::now();
    loop {
        let left = longest.saturating_sub(begun.elapsed());
        match news.recv_timeout(left.min(AWAKE_EVERY)) {
            Ok(()) => return true,
            Err(RecvTimeoutError::Timeout) if left > AWAKE_EVERY => {}
            Err(_) => return false,
        }
    }
}

/// How long to wait after an answer.
#[must_use]
pub fn after_answer(interval_ms: u64, jitter_ms: u64) -> Duration {
    let wait_ms = interval_ms.saturating_add(random_up_to(jitter_ms));
    Duration::from_millis(wait_ms.clamp(WAIT_MS_MIN, WAIT_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_quarter_of_an_hour_and_no_further() {
        let mut back_off = BackOff::default();
        let most: Vec<u64> = (0..40)
            .map(|_| {
                let most_ms = back_off.most_ms();
                assert!(back_off.failed(None).as_millis() <= u128::from(most_ms.max(WAIT_MS_MIN)));
                most_ms
            })
            .collect();
        assert_eq!((most[0], most[1], most[2], most[39]), (1_000, 2_000, 4_000, WAIT_MS_MAX));
        back_off.succeeded();
        assert_eq!(back_off.most_ms(), FIRST_MS);
    }

    #[test]
    fn waits_are_random_so_that_a_fleet_does_not_come_all_at_once() {
        let waits: std::collections::BTreeSet<_> = (0..100).map(|_| BackOff { failures: 9 }.failed(None)).collect();
        assert!(waits.len() > 50, "{waits:?}");
    }

    #[test]
    fn what_the_server_asks_for_is_kept_within_bounds() {
        assert!(BackOff::default().failed(Some(5_000)).as_millis() >= 5_000);
        assert_eq!(BackOff::default().failed(Some(u64::MAX)), Duration::from_millis(WAIT_MS_MAX));
        assert_eq!(after_answer(u64::MAX, u64::MAX), Duration::from_millis(WAIT_MS_MAX));
        assert_eq!(after_answer(0, 0), Duration::from_millis(WAIT_MS_MIN));
    }
}
