//! The account of a run: for every hook, hits = filtered + submitted + aggregated + lost, submitted = received, and
//! aggregated = what events told as counted.

use serde::{Deserialize, Serialize};
use serde_json::{json, Value as Json};
use watertight_sensor_abi::{Counters, Hook, HOOKS};

/// The kernel's side of one hook, as the supervisor read it after the programs were detached.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct HookCounts {
    /// Times that it ran.
    pub hits: u64,
    /// Left out by a filter.
    pub filtered: u64,
    /// Put into the ring.
    pub submitted: u64,
    /// Counted instead.
    pub aggregated: u64,
    /// Lost: ring full.
    pub lost_ring_full: u64,
    /// Lost: no scratch slot.
    pub lost_no_scratch: u64,
    /// Helper calls that failed; the events are there.
    pub helper_failures: u64,
}

impl From<Counters> for HookCounts {
    fn from(counters: Counters) -> Self {
        Self {
            hits: counters.hits,
            filtered: counters.filtered,
            submitted: counters.submitted,
            aggregated: counters.aggregated,
            lost_ring_full: counters.lost_ring_full,
            lost_no_scratch: counters.lost_no_scratch,
            helper_failures: counters.helper_failures,
        }
    }
}

impl HookCounts {
    /// Everything that was lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_ring_full.saturating_add(self.lost_no_scratch)
    }

    /// Whether every hit went somewhere.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let out = [self.filtered, self.submitted, self.aggregated, self.lost()];
        out.iter().fold(0_u64, |sum, part| sum.saturating_add(*part)) == self.hits
    }

    /// What was added since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(before.hits),
            filtered: self.filtered.saturating_sub(before.filtered),
            submitted: self.submitted.saturating_sub(before.submitted),
            aggregated: self.aggregated.saturating_sub(before.aggregated),
            lost_ring_full: self.lost_ring_full.saturating_sub(before.lost_ring_full),
            lost_no_scratch: self.lost_no_scratch.saturating_sub(before.lost_no_scratch),
            helper_failures: self.helper_failures.saturating_sub(before.helper_failures),
        }
    }
}

/// Accounts of a source that can't count what it did not deliver.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SourceCounts {
    /// Name of the source.
    pub source: String,
    /// Records that came.
    pub received: u64,
    /// Of these, filtered by us.
    pub filtered: u64,
    /// Of these, not readable.
    pub malformed: u64,
    /// Times that the kernel said it dropped some.
    pub overflows: u64,
}

/// The rows of hooks that ran, and whether all of them balance. `is_exact` is false for an adopted ring, whose earlier
/// reader is gone with its half of the account. `received` are records, `aggregated` operations that events told as counted.
#[must_use]
pub fn hook_rows(kernel: &[HookCounts], received: &[u64], aggregated: &[u64], is_exact: bool) -> (Vec<Json>, bool) {
    let mut is_balanced = true;
    let mut rows = Vec::new();
    for (hook, counts) in HOOKS.iter().zip(kernel) {
        if counts.hits == 0 {
            continue;
        }
        let received = received.get(usize::from(*hook as u16)).copied().unwrap_or(0);
        let aggregated = aggregated.get(usize::from(*hook as u16)).copied().unwrap_or(0);
        let is_told = counts.submitted == received && counts.aggregated == aggregated;
        let is_even = counts.is_balanced() && (!is_exact || is_told);
        is_balanced &= is_even;
        rows.push(row(*hook, counts, received, is_even));
    }
    (rows, is_balanced)
}

fn row(hook: Hook, counts: &HookCounts, received: u64, is_even: bool) -> Json {
    json!({
        "hook": hook.program(),
        "hits": counts.hits,
        "filtered": counts.filtered,
        "submitted": counts.submitted,
        "aggregated": counts.aggregated,
        "lost_ring_full": counts.lost_ring_full,
        "lost_no_scratch": counts.lost_no_scratch,
        "received": received,
        "helper_failures": counts.helper_failures,
        "balanced": is_even,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_went_nowhere_unbalances_the_account() {
        let even = HookCounts { hits: 10, filtered: 3, submitted: 5, lost_ring_full: 2, ..HookCounts::default() };
        assert!(even.is_balanced());
        assert!(!HookCounts { hits: 11, ..even }.is_balanced());
        let (_, is_balanced) = hook_rows(&[even], &[5], &[], true);
        assert!(is_balanced);
        let (_, is_balanced) = hook_rows(&[even], &[4], &[], true);
        assert!(!is_balanced, "one that was submitted was not received");
        let counted = HookCounts { hits: 12, aggregated: 2, ..even };
        assert!(hook_rows(&[counted], &[5], &[2], true).1);
        assert!(!hook_rows(&[counted], &[5], &[1], true).1, "one that was counted was not told");
    }
}
