//! The two measures: B-cubed of a grouping, and the area under the curve of a score for pairs.

use crate::Crash;

/// Mean over all crashes of the share of its group that is of its bug, and of the share of its bug that is in its group.
pub fn b_cubed(all: &[Crash], groups: &[String]) -> (f64, f64) {
    let (mut precision, mut recall) = (0.0, 0.0);
    for (one, own) in all.iter().zip(groups) {
        let (mut of_group, mut of_bug, mut of_both) = (0.0, 0.0, 0.0);
        for (other, group) in all.iter().zip(groups) {
            let (is_group, is_bug) = (group == own, other.bug == one.bug);
            of_group += f64::from(u8::from(is_group));
            of_bug += f64::from(u8::from(is_bug));
            of_both += f64::from(u8::from(is_group && is_bug));
        }
        precision += of_both / of_group;
        recall += of_both / of_bug;
    }
    let count = f64::from(u32::try_from(all.len().max(1)).unwrap_or(u32::MAX));
    (precision / count, recall / count)
}

/// The chance that a pair of one bug scores above a pair of two, ties counted half (Mann and Whitney).
pub fn auc(all: &[Crash], score: impl Fn(usize, usize) -> f64) -> f64 {
    let mut pairs: Vec<(f64, bool)> = Vec::new();
    for one in 0..all.len() {
        for other in one + 1..all.len() {
            pairs.push((score(one, other), all[one].bug == all[other].bug));
        }
    }
    pairs.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut below, mut won, mut same) = (0.0, 0.0, 0.0);
    for tied in pairs.chunk_by(|one, other| one.0.total_cmp(&other.0).is_eq()) {
        let of_one_bug = tied.iter().map(|(_, is_same)| f64::from(u8::from(*is_same))).sum::<f64>();
        let of_two = tied.iter().map(|(_, is_same)| f64::from(u8::from(!*is_same))).sum::<f64>();
        won += of_one_bug * (below + of_two / 2.0);
        below += of_two;
        same += of_one_bug;
    }
    won / (same * below)
}
