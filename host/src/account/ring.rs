//! The account of a ring over all runs since its programs were loaded, by the records' sequence numbers.
//!
//! Each processor numbers its records of each ring from 0, those too that the full ring then refused. So the first number
//! that a run sees tells how many came before it, and what lies between its first and the last is taken or missing. A run
//! that adopts the rings of one that was killed can thus say exactly what the dead one had received.

use std::collections::BTreeMap;

use serde_json::{json, Value as Json};
use watertight_sensor_abi::{Ring, HOOKS};
use watertight_sensor_reader::Taken;

use super::HookCounts;

/// One ring's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingCounts {
    ring: Ring,
    /// Numbers that were used up.
    written: u64,
    /// Of these, before the first that this run took.
    before: u64,
    /// Records that this run took.
    received: u64,
    /// By the counters of the ring's hooks.
    submitted: u64,
    /// By the counters of the ring's hooks.
    lost_ring_full: u64,
}

/// The account of each ring: the kernel's counters and numbers beside what was taken.
#[must_use]
pub fn ring_counts(
    kernel: &[HookCounts],
    sequences: &[Vec<u64>],
    taken: &BTreeMap<(Ring, u32), Taken>,
) -> Vec<RingCounts> {
    Ring::ALL.iter().zip(sequences).map(|(ring, numbers)| one(*ring, kernel, numbers, taken)).collect()
}

fn one(ring: Ring, kernel: &[HookCounts], numbers: &[u64], taken: &BTreeMap<(Ring, u32), Taken>) -> RingCounts {
    let mut counts = RingCounts { ring, written: 0, before: 0, received: 0, submitted: 0, lost_ring_full: 0 };
    for (number, processor) in numbers.iter().zip(0_u32..) {
        // Where nothing was taken, everything came before.
        let taken = taken.get(&(ring, processor)).copied().unwrap_or(Taken { first: *number, ..Taken::default() });
        counts.written = counts.written.saturating_add(*number);
        counts.before = counts.before.saturating_add(taken.first);
        counts.received = counts.received.saturating_add(taken.records);
    }
    for (_, hook) in HOOKS.iter().zip(kernel).filter(|(hook, _)| hook.ring() == ring) {
        counts.submitted = counts.submitted.saturating_add(hook.submitted);
        counts.lost_ring_full = counts.lost_ring_full.saturating_add(hook.lost_ring_full);
    }
    counts
}

impl RingCounts {
    /// Numbers from this run's first on that it did not take: lost by a full ring. `None` if it took more than there were.
    fn missing(&self) -> Option<u64> {
        self.written.checked_sub(self.before)?.checked_sub(self.received)
    }

    /// What earlier runs took: what came before, but for what was lost then. `None` if more is missing than was lost.
    fn received_before(&self) -> Option<u64> {
        let lost_before = self.lost_ring_full.checked_sub(self.missing()?)?;
        self.before.checked_sub(lost_before)
    }

    /// Whether numbers, counters and what was taken agree. A run that loaded the programs itself has nothing before it.
    #[must_use]
    pub fn is_balanced(&self, is_first: bool) -> bool {
        let is_written_counted = self.submitted.checked_add(self.lost_ring_full) == Some(self.written);
        match self.received_before() {
            Some(before) => {
                is_written_counted
                    && before.checked_add(self.received) == Some(self.submitted)
                    && (!is_first || before == 0)
            }
            None => false,
        }
    }

    /// As a row of the summary.
    #[must_use]
    pub fn to_json(&self, is_first: bool) -> Json {
        json!({
            "ring": self.ring.map_name(),
            "written": self.written,
            "submitted": self.submitted,
            "lost_ring_full": self.lost_ring_full,
            "received_before": self.received_before(),
            "received": self.received,
            "missing": self.missing(),
            "balanced": self.is_balanced(is_first),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(submitted: u64, lost: u64, numbers: &[u64], taken: &[(u64, u64)]) -> RingCounts {
        // The first hook writes to the critical ring.
        let kernel = [HookCounts { submitted, lost_ring_full: lost, ..HookCounts::default() }];
        let taken = taken
            .iter()
            .zip(0_u32..)
            .map(|((first, records), cpu)| {
                ((Ring::Critical, cpu), Taken { first: *first, records: *records, ..Taken::default() })
            })
            .collect();
        ring_counts(&kernel, &[numbers.to_vec()], &taken).pop().expect("one ring")
    }

    #[test]
    fn what_a_killed_run_had_received_is_told_by_the_first_number_that_its_heir_sees() {
        let ring = counts(30, 0, &[20, 10], &[(15, 5), (10, 0)]);
        assert_eq!((ring.received_before(), ring.received, ring.missing()), (Some(25), 5, Some(0)));
        assert!(ring.is_balanced(false));
        assert!(!ring.is_balanced(true), "a run that loaded the programs itself can't have missed 25");
    }

    #[test]
    fn losses_are_told_apart_by_whether_they_came_before_or_after_the_first() {
        // 4 of 24 numbers were refused by a full ring: 1 before the heir's first, 3 after it.
        let ring = counts(20, 4, &[24], &[(10, 11)]);
        assert_eq!((ring.missing(), ring.received_before()), (Some(3), Some(9)));
        assert!(ring.is_balanced(false));
    }

    #[test]
    fn a_record_that_was_neither_received_nor_lost_unbalances_the_ring() {
        assert!(counts(10, 0, &[10], &[(0, 10)]).is_balanced(true));
        assert!(!counts(10, 0, &[10], &[(0, 9)]).is_balanced(true), "one is missing and none was lost");
        assert!(!counts(10, 0, &[11], &[(0, 11)]).is_balanced(true), "one more was written than is counted");
        assert!(!counts(10, 0, &[10], &[(0, 11)]).is_balanced(true), "more was taken than was written");
    }
}
