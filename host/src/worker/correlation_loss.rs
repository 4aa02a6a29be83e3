//! What correlations lose or could not do: counts that outlive the content that they are of, and the detector.
//!
//! Content that takes another's place begins with nothing in the state of its correlations, and so does the next detector. How much
//! they had in mind is told, never passed over.

use watertight_engine::CorrelationLimits;
use watertight_event::{Event, Field, Kind};

use crate::output::sensor_event;

/// What could not be done within bounds, as it is told everywhere; see [`CorrelationLimits`].
pub const LIMITS: [&str; 6] =
    ["evicted_groups", "cut_members", "late_events", "incomplete_hits", "hurried_hits", "dropped_hits"];

/// The counts, in the order of their names.
#[must_use]
pub fn counts(limits: &CorrelationLimits) -> [u64; LIMITS.len()] {
    [
        limits.evicted_groups,
        limits.cut_members,
        limits.late_events,
        limits.incomplete_hits,
        limits.hurried_hits,
        limits.dropped_hits,
    ]
}

/// The counts with their names.
#[must_use]
pub fn named(counts: [u64; LIMITS.len()]) -> serde_json::Value {
    LIMITS.into_iter().zip(counts).map(|(name, count)| (name.to_owned(), serde_json::Value::from(count))).collect()
}

/// Correlations had listened to so many events when other content took their place.
#[must_use]
pub fn dropped(events: u64) -> Option<Event> {
    (events > 0).then(|| {
        let message = format!(
            "other content came into force: its correlations begin anew, and what those before had begun on up to {events} \
             events is dropped"
        );
        sensor_event(Kind::SensorGap, "correlations", &message).with(Field::Count, events)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_told_by_its_own_name() {
        let limits = CorrelationLimits {
            evicted_groups: 1,
            cut_members: 2,
            late_events: 3,
            incomplete_hits: 4,
            hurried_hits: 5,
            dropped_hits: 6,
        };
        let told = named(counts(&limits));
        assert_eq!(told["evicted_groups"], 1);
        assert_eq!(told["dropped_hits"], 6);
        assert_eq!(told.as_object().map(serde_json::Map::len), Some(LIMITS.len()));
    }

    #[test]
    fn what_was_begun_on_nothing_is_no_loss() {
        assert_eq!(dropped(0), None);
        let event = dropped(7).expect("something was begun");
        assert_eq!((event.number(Field::Count), event.foreign_fields().next()), (Some(7), None));
    }
}
