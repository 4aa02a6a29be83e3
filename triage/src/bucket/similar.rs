//! How much two stacks are alike, for suggestions of buckets to merge. Nothing is ever merged by it.
//!
//! An alignment of the two from the innermost call, after TraceSim: a call weighs the more the nearer to the fault it is and the
//! fewer buckets have it. `vfs_read` is in every second stack and says nothing; a driver's own function in two buckets says much.

use std::collections::BTreeMap;

/// From here on two buckets are suggested for merging. Chosen on stacks of our own: variants of one bug by inlining lie above.
pub const MERGE_MIN: f64 = 0.65;

/// Calls that are compared; what is further out is the way there.
const CALLS_MAX: usize = 32;

/// How fast a call's weight falls with its distance from the fault.
const DISTANCE_DECAY: f64 = 0.12;

/// From 0, nothing in common, to 1, the same. `buckets_with` says in how many of the `buckets` each function is.
#[must_use]
pub fn similarity(one: &[String], other: &[String], buckets_with: &BTreeMap<String, usize>, buckets: usize) -> f64 {
    let weigh = |calls: &[String]| -> Vec<f64> {
        calls
            .iter()
            .take(CALLS_MAX)
            .enumerate()
            .map(|(at, call)| weight(at, buckets_with.get(call).copied().unwrap_or(1), buckets))
            .collect()
    };
    let (one_weights, other_weights) = (weigh(one), weigh(other));
    let total: f64 = one_weights.iter().chain(&other_weights).sum();
    if total <= 0.0 {
        return 0.0;
    }
    // The heaviest common subsequence, row by row.
    let mut above = vec![0.0_f64; other_weights.len().saturating_add(1)];
    for (call, weight) in one.iter().zip(&one_weights) {
        let mut row = vec![0.0_f64];
        let mut left = 0.0_f64;
        let cells = other.iter().zip(&other_weights).zip(above.iter().zip(above.iter().skip(1)));
        for ((other_call, other_weight), (diagonal, up)) in cells {
            let matched = if call == other_call { diagonal + weight + other_weight } else { 0.0 };
            left = matched.max(left).max(*up);
            row.push(left);
        }
        above = row;
    }
    above.last().copied().unwrap_or(0.0) / total
}

/// What a call weighs.
#[allow(clippy::cast_precision_loss)] // small counts
fn weight(at: usize, buckets_with: usize, buckets: usize) -> f64 {
    let near = (-DISTANCE_DECAY * at as f64).exp();
    let rare = (1.0 + buckets.max(1) as f64 / buckets_with.max(1) as f64).ln();
    near * rare
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(names: &str) -> Vec<String> {
        names.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn stacks_of_one_bug_are_more_alike_than_those_of_two() {
        let with: BTreeMap<String, usize> =
            [("vfs_read", 50), ("do_syscall_64", 90)].map(|(name, count)| (name.to_owned(), count)).into();
        let bug = calls("frob_copy frob_fill frob_read vfs_read do_syscall_64");
        let inlined = calls("frob_fill frob_read vfs_read do_syscall_64");
        let other = calls("quux_parse quux_feed vfs_read do_syscall_64");
        let alike = similarity(&bug, &inlined, &with, 100);
        let unlike = similarity(&bug, &other, &with, 100);
        assert!((similarity(&bug, &bug, &with, 100) - 1.0).abs() < 1e-9);
        assert!(alike >= MERGE_MIN && unlike < MERGE_MIN, "{alike} {unlike}");
        assert!(similarity(&bug, &[], &with, 100).abs() < 1e-9);
    }
}
