//! What a host lost for want of room in its spool, as far as it has told: in memory, so that whoever asks costs the database nothing.

use watertight_fleet_wire::records::Stream;

use crate::store::{Dropped, HOUR_MS};

/// Losses that are not over yet: they speak against leaving the fleet.
const DAY_MS: u64 = 24 * HOUR_MS;

/// Records that one host lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    ever: Dropped,
    /// By the hour in which it was told, those of the last day.
    hours: Vec<(u64, Dropped)>,
}

impl Lost {
    /// Adds to what was lost since the host was enrolled, without a time.
    pub fn add_ever(&mut self, stream: Stream, records: u64) {
        self.ever.add(stream, records);
    }

    /// Adds to what was told in an hour, which is in the sum already.
    pub fn add_hour(&mut self, stream: Stream, records: u64, hour_ms: u64) {
        match self.hours.iter_mut().find(|(at_ms, _)| *at_ms == hour_ms) {
            Some((_, dropped)) => dropped.add(stream, records),
            None => {
                let mut dropped = Dropped::default();
                dropped.add(stream, records);
                self.hours.push((hour_ms, dropped));
            }
        }
    }

    /// Notes what was told now.
    pub fn note(&mut self, stream: Stream, records: u64, now_ms: u64) {
        if records > 0 {
            self.hours.retain(|(hour_ms, _)| is_of_the_day(*hour_ms, now_ms));
            self.add_ever(stream, records);
            self.add_hour(stream, records, now_ms / HOUR_MS * HOUR_MS);
        }
    }

    /// Since the host was enrolled.
    #[must_use]
    pub fn ever(&self) -> Dropped {
        self.ever
    }

    /// Told in the last 24 hours. To the hour: one counts until all of it is longer ago.
    #[must_use]
    pub fn last_day(&self, now_ms: u64) -> Dropped {
        let mut sum = Dropped::default();
        for (_, dropped) in self.hours.iter().filter(|(hour_ms, _)| is_of_the_day(*hour_ms, now_ms)) {
            sum.add_all(dropped);
        }
        sum
    }
}

/// An hour that is still to come is of a clock that was wrong: it does not count for longer than another.
fn is_of_the_day(hour_ms: u64, now_ms: u64) -> bool {
    now_ms.abs_diff(hour_ms) < DAY_MS.saturating_add(HOUR_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_for_a_day_and_counted_for_good() {
        let (mut lost, at_ms) = (Lost::default(), 100 * HOUR_MS + 59 * 60_000);
        lost.note(Stream::Alert, 5, at_ms);
        lost.note(Stream::Alert, 2, at_ms + 1);
        lost.note(Stream::Crash, 0, at_ms + 2);
        let both = Dropped { alert: 7, ..Dropped::default() };
        assert_eq!((lost.ever(), lost.last_day(at_ms), lost.last_day(at_ms + DAY_MS)), (both, both, both));
        assert_eq!(lost.last_day(at_ms + DAY_MS + HOUR_MS), Dropped::default());
        lost.note(Stream::Crash, 1, at_ms + DAY_MS + HOUR_MS);
        let later = Dropped { crash: 1, ..Dropped::default() };
        assert_eq!(lost.last_day(at_ms + DAY_MS + HOUR_MS), later);
        assert_eq!(lost.ever(), Dropped { crash: 1, ..both });
        assert_eq!(lost.hours.len(), 1, "what is over takes no room");
    }

    #[test]
    fn no_clock_and_no_count_makes_a_loss_stay_for_ever() {
        let mut lost = Lost::default();
        lost.note(Stream::Health, u64::MAX, 400 * DAY_MS);
        lost.note(Stream::Health, u64::MAX, 400 * DAY_MS);
        assert_eq!(lost.last_day(400 * DAY_MS).health, u64::MAX);
        assert_eq!(lost.last_day(0), Dropped::default(), "the clock was set right");
    }
}
