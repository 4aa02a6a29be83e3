//! The first cohort: the hosts that between them have seen the most of the fleet.
//!
//! A defect that only one kernel has is met by chance once every host in a thousand has the content, or at once if one of the first ten
//! runs that kernel. So each host is the one whose traits add most that no host before it has; greedy cover is within a factor
//! ln(n) + 1 of the best choice, and it is the same for the same fleet.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::fleet::{Candidate, Fleet, Stratum};

/// The hosts of the first cohort in the order in which they were chosen. Hosts from `holdback_from` on are not taken.
pub(super) fn first_cohort(fleet: &Fleet, hosts: usize, holdback_from: u64) -> Vec<Candidate> {
    let mut open: Vec<(&Stratum, usize)> = fleet.strata.iter().map(|stratum| (stratum, 0)).collect();
    let mut seen = BTreeSet::new();
    let mut cohort = Vec::new();
    while cohort.len() < hosts {
        let is_left = |(stratum, taken): &(&Stratum, usize)| candidate(stratum, *taken, holdback_from).is_some();
        let best = open.iter_mut().filter(|choice| is_left(choice)).max_by_key(|(stratum, taken)| {
            // Most that is new; then not the stratum that was taken before; then the one that most hosts are in; then by name.
            (unseen(stratum, &seen), Reverse(*taken), stratum.hosts, Reverse(stratum.name.as_str()))
        });
        let Some((stratum, taken)) = best else { break };
        if unseen(stratum, &seen) == 0 {
            // Everything that is left was seen, at least in part: begin anew, so that the next round is as diverse as the first.
            if !seen.is_empty() {
                seen.clear();
                continue;
            }
        }
        let Some(chosen) = candidate(stratum, *taken, holdback_from) else { break };
        cohort.push(chosen.clone());
        *taken = taken.saturating_add(1);
        seen.extend(stratum.traits.values().into_iter().enumerate());
    }
    cohort
}

fn candidate(stratum: &Stratum, taken: usize, holdback_from: u64) -> Option<&Candidate> {
    stratum.first.get(taken).filter(|candidate| u64::from(candidate.bucket) < holdback_from)
}

fn unseen(stratum: &Stratum, seen: &BTreeSet<(usize, &str)>) -> usize {
    stratum.traits.values().into_iter().enumerate().filter(|value| !seen.contains(value)).count()
}
