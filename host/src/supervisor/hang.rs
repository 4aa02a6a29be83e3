//! Whether a worker still lives, by the beat that it leaves in the page that it shares. One that is idle beats every few milliseconds, or
//! every second; a detector that waits for whoever reads its output says so.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::patience::is_waiting;
use crate::worker::tally::Tally;

/// How long it may stand still. An event that costs the most that an event may takes milliseconds; a machine that is out of
/// memory or processors may keep it from its turn for seconds.
pub const STILL_MAX: Duration = Duration::from_secs(10);
/// And how often it must have been looked at meanwhile: a supervisor that was kept from its own turn knows nothing of others.
const LOOKS_MIN: u32 = 50;

/// The beats of one worker.
#[derive(Debug)]
pub struct Beats {
    last: Option<u64>,
    since: Instant,
    looks: u32,
}

impl Beats {
    /// From now on.
    #[must_use]
    pub fn from(now: Instant) -> Self {
        Self { last: None, since: now, looks: 0 }
    }

    /// Looks; true once the worker stands still.
    pub fn is_hung(&mut self, tally: &Tally, now: Instant) -> bool {
        let beat = tally.progress().load(Relaxed);
        if self.last != Some(beat) || is_waiting(tally) {
            *self = Self { last: Some(beat), ..Self::from(now) };
            return false;
        }
        self.looks = self.looks.saturating_add(1);
        self.looks >= LOOKS_MIN && now.saturating_duration_since(self.since) >= STILL_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks ten times a second for so long, and says whether it was found to hang.
    fn looked(tally: &Tally, beats: &mut Beats, from: Instant, seconds: u64, is_beating: bool) -> bool {
        (0..seconds * 10).any(|tenth| {
            if is_beating {
                tally.beat();
            }
            beats.is_hung(tally, from + Duration::from_millis(tenth * 100))
        })
    }

    #[test]
    fn a_detector_that_stands_still_hangs_and_one_that_beats_does_not() {
        let tally = Tally::create().expect("memory");
        let start = Instant::now();
        let mut beats = Beats::from(start);
        assert!(!looked(&tally, &mut beats, start, 100, true));
        let later = start + Duration::from_secs(100);
        assert!(!looked(&tally, &mut beats, later, 9, false));
        assert!(looked(&tally, &mut beats, later + Duration::from_secs(9), 3, false));
    }

    #[test]
    fn one_that_waits_for_its_reader_does_not_hang() {
        let tally = Tally::create().expect("memory");
        let start = Instant::now();
        let _ = crate::patience::wait(&tally, crate::patience::now_ms());
        assert!(!looked(&tally, &mut Beats::from(start), start, 100, false));
    }

    #[test]
    fn a_supervisor_that_slept_itself_says_nothing_of_the_detector() {
        let tally = Tally::create().expect("memory");
        let start = Instant::now();
        let mut beats = Beats::from(start);
        assert!(!beats.is_hung(&tally, start));
        assert!(!beats.is_hung(&tally, start + Duration::from_secs(3_600)));
    }
}
