//! Whether a worker still lives, by the beat that it leaves in the page that it shares. One that is idle beats every few milliseconds, or
//! every second; a detector that waits for whoever reads its output says twenty times a second that it is awake, so that one that was stopped
//! meanwhile is found too.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::worker::tally::Tally;

/// How long it may stand still. An event that costs the most that an event may takes milliseconds; a machine that is out of
/// memory or processors may keep it from its turn for seconds.
pub const STILL_MAX: Duration = Duration::from_secs(10);
/// And how often it must have been looked at meanwhile: a supervisor that was kept from its own turn knows nothing of others.
const LOOKS_MIN: u32 = 50;

/// The beats of one worker.
#[derive(Debug)]
pub struct Beats {
    /// How far it was, and when it last said that it waits.
    last: Option<(u64, u64)>,
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
        let beat = (tally.progress().load(Relaxed), tally.awake().load(Relaxed));
        if self.last != Some(beat) {
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

    /// Looks ten times a second for so long, while a worker does this each time, and says whether it was found to hang.
    fn looked(tally: &Tally, beats: &mut Beats, from: Instant, seconds: u64, does: impl Fn(u64)) -> bool {
        (0..seconds * 10).any(|tenth| {
            does(tenth);
            beats.is_hung(tally, from + Duration::from_millis(tenth * 100))
        })
    }

    #[test]
    fn a_detector_that_stands_still_hangs_and_one_that_beats_does_not() {
        let tally = Tally::create().expect("memory");
        let start = Instant::now();
        let mut beats = Beats::from(start);
        assert!(!looked(&tally, &mut beats, start, 100, |_| tally.beat()));
        let later = start + Duration::from_secs(100);
        assert!(!looked(&tally, &mut beats, later, 9, |_| ()));
        assert!(looked(&tally, &mut beats, later + Duration::from_secs(9), 3, |_| ()));
    }

    #[test]
    fn one_that_waits_for_its_reader_does_not_hang_and_one_that_is_stopped_there_does() {
        let tally = Tally::create().expect("memory");
        let start = Instant::now();
        let mut beats = Beats::from(start);
        let _ = crate::patience::wait(&tally, 1);
        let progress = tally.progress().load(Relaxed);
        assert!(!looked(&tally, &mut beats, start, 100, |tenth| tally.awake().store(tenth + 1, Relaxed)));
        assert_eq!(tally.progress().load(Relaxed), progress, "it does not work meanwhile");
        assert!(looked(&tally, &mut beats, start + Duration::from_secs(100), 12, |_| ()));
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
