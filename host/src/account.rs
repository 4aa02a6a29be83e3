//! The account of a run: for every hook, hits = filtered + submitted + aggregated + lost, submitted = received, and
//! aggregated = what events told as counted.

pub mod ring;

use serde::{Deserialize, Serialize};
use serde_json::{json, Value as Json};
use watertight_sensor_abi::{Counters, Hook, Ring, GUARD_HOOKS, HOOKS};

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

impl SourceCounts {
    /// Adds what came since.
    pub fn add(&mut self, more: &Self) {
        self.received = self.received.saturating_add(more.received);
        self.filtered = self.filtered.saturating_add(more.filtered);
        self.malformed = self.malformed.saturating_add(more.malformed);
        self.overflows = self.overflows.saturating_add(more.overflows);
    }

    /// As a row of an account: how much there was to be told nobody knows.
    #[must_use]
    pub fn to_json(&self) -> Json {
        json!({
            "source": self.source, "hits": "unknown", "received": self.received,
            "filtered": self.filtered, "malformed": self.malformed, "overflows": self.overflows,
        })
    }
}

/// The reader's side of the account, by hook.
#[derive(Clone, Copy, Debug, Default)]
pub struct Receipts<'r> {
    /// Records taken from the rings.
    pub taken: &'r [u64],
    /// Of these, lost with a detector that died before it had written them.
    pub lost: &'r [u64],
    /// Operations that events told as counted by process.
    pub aggregated: &'r [u64],
    /// Detectors that died: each may have left one record a ring to be read again.
    pub deaths: u64,
}

/// The rows of hooks that ran, and whether all of them balance. `is_exact` is false for an adopted ring, whose earlier
/// reader is gone with its half of the account.
#[must_use]
pub fn hook_rows(kernel: &[HookCounts], receipts: &Receipts<'_>, is_exact: bool) -> (Vec<Json>, bool) {
    let twice_max = receipts.deaths.saturating_mul(Ring::ALL.len() as u64);
    let mut is_balanced = true;
    let mut rows = Vec::new();
    for (hook, counts) in HOOKS.iter().zip(kernel) {
        if counts.hits == 0 {
            continue;
        }
        let of = |part: &[u64]| part.get(usize::from(*hook as u16)).copied().unwrap_or(0);
        let (taken, lost) = (of(receipts.taken), of(receipts.lost));
        let is_told = taken.abs_diff(counts.submitted) <= twice_max && of(receipts.aggregated) == counts.aggregated;
        let is_even = counts.is_balanced() && (!is_exact || is_told);
        is_balanced &= is_even;
        rows.push(row(*hook, counts, taken.saturating_sub(lost), lost, is_even));
    }
    (rows, is_balanced)
}

/// The same of the guard. Verdicts that nobody read before this run come in it: `is_exact` only if the run has loaded it.
#[must_use]
pub fn guard_rows(guard: &[HookCounts], verdicts: &[u64], is_exact: bool) -> (Vec<Json>, bool) {
    let mut is_balanced = true;
    let mut rows = Vec::new();
    for ((at, hook), counts) in GUARD_HOOKS.iter().enumerate().zip(guard).filter(|(_, counts)| counts.hits != 0) {
        let received = verdicts.get(at).copied().unwrap_or(0);
        let is_even = counts.is_balanced() && (!is_exact || counts.submitted == received);
        is_balanced &= is_even;
        rows.push(json!({
            "hook": hook.program(),
            "hits": counts.hits,
            "filtered": counts.filtered,
            "submitted": counts.submitted,
            "lost_ring_full": counts.lost_ring_full,
            "received": received,
            "balanced": is_even,
        }));
    }
    (rows, is_balanced)
}

fn row(hook: Hook, counts: &HookCounts, received: u64, lost_with_detector: u64, is_even: bool) -> Json {
    json!({
        "hook": hook.program(),
        "hits": counts.hits,
        "filtered": counts.filtered,
        "submitted": counts.submitted,
        "aggregated": counts.aggregated,
        "lost_ring_full": counts.lost_ring_full,
        "lost_no_scratch": counts.lost_no_scratch,
        "lost_with_detector": lost_with_detector,
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
        let taken = |taken| Receipts { taken, ..Receipts::default() };
        let (_, is_balanced) = hook_rows(&[even], &taken(&[5]), true);
        assert!(is_balanced);
        let (_, is_balanced) = hook_rows(&[even], &taken(&[4]), true);
        assert!(!is_balanced, "one that was submitted was not received");
        let counted = HookCounts { hits: 12, aggregated: 2, ..even };
        assert!(hook_rows(&[counted], &Receipts { aggregated: &[2], ..taken(&[5]) }, true).1);
        let (_, is_balanced) = hook_rows(&[counted], &Receipts { aggregated: &[1], ..taken(&[5]) }, true);
        assert!(!is_balanced, "one that was counted was not told");
    }

    #[test]
    fn what_was_lost_with_a_detector_is_a_loss_of_its_own() {
        let counts = HookCounts { hits: 90, submitted: 90, ..HookCounts::default() };
        let receipts = Receipts { taken: &[90], lost: &[7], deaths: 1, ..Receipts::default() };
        let (rows, is_balanced) = hook_rows(&[counts], &receipts, true);
        assert!(is_balanced);
        assert_eq!((&rows[0]["received"], &rows[0]["lost_with_detector"]), (&json!(83), &json!(7)));
        let (_, is_balanced) = hook_rows(&[counts], &Receipts { taken: &[86], ..receipts }, true);
        assert!(!is_balanced, "four went unaccounted: a death explains one a ring");
    }
}
