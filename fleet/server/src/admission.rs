//! Who may be served now. A bucket of turns that fills at a fixed rate; whoever finds it empty is told when to come again, each at a
//! moment of its own. Turning one away costs less than serving it, so that a herd can't keep the server busy with itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::random_part_ms;

/// Turns for one kind of request.
#[derive(Debug)]
pub struct Admission {
    per_s: f64,
    burst: f64,
    now: Mutex<Turns>,
}

#[derive(Debug)]
struct Turns {
    left: f64,
    at_ms: u64,
}

impl Admission {
    /// So many a second on average, and so many at once.
    #[must_use]
    pub fn new(per_s: f64, burst: f64) -> Self {
        Self { per_s, burst, now: Mutex::new(Turns { left: burst, at_ms: 0 }) }
    }

    /// Takes a turn.
    ///
    /// # Errors
    /// There is none: come again after this time, in milliseconds.
    pub fn take(&self, now_ms: u64) -> Result<(), u64> {
        let mut turns = self.filled(now_ms);
        if turns.left >= 1.0 {
            turns.left -= 1.0;
            return Ok(());
        }
        Err(1000 + random_part_ms(4000))
    }

    /// Whether anything is left, for what is counted afterwards by [`Self::spend`].
    ///
    /// # Errors
    /// There is nothing: there will be after this time, in milliseconds.
    pub fn look(&self, now_ms: u64) -> Result<(), u64> {
        let turns = self.filled(now_ms);
        if turns.left > 0.0 {
            return Ok(());
        }
        // As a number of milliseconds it is cut off, never wrong: rates and debts are positive and far below its range.
        Err((-turns.left / self.per_s * 1000.0) as u64 + 1000 + random_part_ms(4000))
    }

    /// Counts so many turns at once, if need be as a debt.
    pub fn spend(&self, turns: f64, now_ms: u64) {
        self.filled(now_ms).left -= turns;
    }

    fn filled(&self, now_ms: u64) -> MutexGuard<'_, Turns> {
        let mut turns = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that goes back gives no turns, and takes none.
        let passed_ms = now_ms.saturating_sub(turns.at_ms).min(3_600_000);
        turns.left = (turns.left + self.per_s * passed_ms as f64 / 1000.0).min(self.burst);
        turns.at_ms = now_ms;
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_served_than_the_burst_and_the_rate_allow() {
        let admission = Admission::new(10.0, 5.0);
        let served = |now_ms| (0..100).filter(|_| admission.take(now_ms).is_ok()).count();
        assert_eq!([served(1_000_000), served(1_000_000), served(1_000_200), served(1_100_000)], [5, 0, 2, 5]);
    }

    #[test]
    fn those_turned_away_come_back_at_moments_of_their_own() {
        let admission = Admission::new(0.0, 0.0);
        let waits: std::collections::BTreeSet<u64> = (0..50).filter_map(|_| admission.take(1).err()).collect();
        assert!(waits.len() > 10 && waits.iter().all(|wait_ms| (1000..5000).contains(wait_ms)), "{waits:?}");
    }

    #[test]
    fn a_debt_is_waited_for_and_then_forgotten() {
        let quota = Admission::new(10.0, 100.0);
        assert_eq!(quota.look(1_000_000), Ok(()));
        quota.spend(300.0, 1_000_000);
        assert!(quota.look(1_000_000).is_err_and(|wait_ms| (21_000..25_000).contains(&wait_ms)), "200 at 10 a second");
        assert!(quota.look(1_019_000).is_err());
        assert_eq!(quota.look(1_021_000), Ok(()));
    }

    #[test]
    fn a_clock_that_jumps_back_stops_nobody_for_good() {
        let admission = Admission::new(10.0, 1.0);
        assert!(admission.take(5_000_000_000).is_ok());
        assert!(admission.take(1_000).is_err());
        assert!(admission.take(1_100).is_ok());
    }
}
