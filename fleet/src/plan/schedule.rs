//! The signed schedule: from when on how much of a ring may have a release. Offline keys said so and every host goes by it, whatever
//! the director says; a stage whose hosts would refuse is not begun.

use serde::{Deserialize, Serialize};

use super::policy::WHOLE_PER_MILLION;
use super::BUCKETS;
use crate::Ms;

/// Hosts of a bucket before this are among so many of a million.
#[must_use]
pub const fn buckets_of(per_million: u32) -> u64 {
    (per_million as u64 * BUCKETS).div_ceil(WHOLE_PER_MILLION as u64)
}

/// A ring's schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schedule {
    /// From a time on, milliseconds since 1970, hosts of a bucket before this; both grow.
    steps: Vec<(Ms, u64)>,
}

impl Schedule {
    /// Everybody at any time.
    #[must_use]
    pub fn open() -> Self {
        Self { steps: vec![(0, BUCKETS)] }
    }

    /// From each of these times on, so many hosts of a million. Both grow.
    #[must_use]
    pub fn new(steps: impl IntoIterator<Item = (Ms, u32)>) -> Self {
        Self { steps: steps.into_iter().map(|(from_ms, per_million)| (from_ms, buckets_of(per_million))).collect() }
    }

    /// Hosts of a bucket before this may have it now.
    #[must_use]
    pub fn end_at(&self, now_ms: Ms) -> u64 {
        self.steps.iter().rev().find(|(from_ms, _)| *from_ms <= now_ms).map_or(0, |(_, end)| *end)
    }

    /// From when on a host of this bucket may have it, if ever.
    #[must_use]
    pub fn opens_ms(&self, bucket: u32) -> Option<Ms> {
        self.steps.iter().find(|(_, end)| u64::from(bucket) < *end).map(|(from_ms, _)| *from_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_have_it_from_its_step_on_and_one_that_no_step_names_never() {
        let schedule = Schedule::new([(1_000, 10), (5_000, 500_000)]);
        let half = u32::try_from(BUCKETS / 2).expect("a bucket");
        assert_eq!(schedule.opens_ms(0), Some(1_000));
        assert_eq!((schedule.opens_ms(half - 1), schedule.opens_ms(half)), (Some(5_000), None));
        assert_eq!([999, 1_000, 4_999, 5_000].map(|now_ms| schedule.end_at(now_ms)), [0, 42_950, 42_950, BUCKETS / 2]);
        assert_eq!(Schedule::open().opens_ms(u32::MAX), Some(0));
    }

    #[test]
    fn a_bucket_is_among_so_many_of_a_million_as_the_host_counts_it() {
        // A host's place among a million is its bucket's share, rounded down.
        let place = |bucket: u64| (bucket * u64::from(WHOLE_PER_MILLION)) >> 32;
        for per_million in [0, 1, 10, 333_333, 999_999, WHOLE_PER_MILLION] {
            let end = buckets_of(per_million);
            assert!(end == BUCKETS || place(end) >= u64::from(per_million), "{per_million}");
            assert!(end == 0 || place(end - 1) < u64::from(per_million), "{per_million}");
        }
    }
}
