//! How many hosts have the content after each stage, and which.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::diverse::first_cohort;
use super::fleet::{Candidate, Fleet, HostId, BUCKETS};
use super::policy::{FIRST_COHORT_HOSTS, SMALL_FLEET_HOSTS};
use super::{Cohort, HashRange, Stage, LISTED_MAX};

/// Hosts after each stage: the first cohort, then `growth` times as many each, the last one all that are not held back. A small fleet's
/// first cohort goes one at a time.
pub(super) fn sizes(hosts: u64, held_back: u64, growth: u64) -> Vec<u64> {
    let all = hosts.saturating_sub(held_back).max(1);
    let first = FIRST_COHORT_HOSTS.min(hosts.div_ceil(10)).clamp(1, all);
    let mut sizes: Vec<u64> = if hosts < SMALL_FLEET_HOSTS { (1..first).collect() } else { Vec::new() };
    let mut size = first;
    while size < all {
        sizes.push(size);
        size = size.saturating_mul(growth);
    }
    sizes.push(all);
    sizes
}

/// The stages of these sizes. The first cohort is diverse, later ones have of each stratum what its share is.
pub(super) fn stages(fleet: &Fleet, sizes: &[u64], holdback_from: u64, left: &BTreeSet<HostId>) -> Vec<Stage> {
    let hosts = fleet.hosts();
    let chosen_max = FIRST_COHORT_HOSTS.min(hosts.div_ceil(10));
    let first = first_cohort(fleet, usize::try_from(chosen_max).unwrap_or(usize::MAX), holdback_from);
    let mut order = Order { fleet, holdback_from, chosen: BTreeSet::new() };
    let mut before = 0;
    let mut stages = Vec::with_capacity(sizes.len());
    for (number, size) in (1..).zip(sizes) {
        let new = size.saturating_sub(before);
        let is_last = stages.len() + 1 == sizes.len();
        let cohort = if is_last {
            // Everybody who is not held back, whatever chance made their number.
            Cohort::Ranges(ranges(fleet, holdback_from))
        } else if *size <= chosen_max {
            let from = usize::try_from(before).unwrap_or(usize::MAX);
            let new = usize::try_from(new).unwrap_or(usize::MAX);
            order.choose(first.iter().skip(from).take(new))
        } else if new <= LISTED_MAX as u64 {
            order.choose_by_share(*size)
        } else {
            Cohort::Ranges(ranges(fleet, range_end(*size, hosts, holdback_from)))
        };
        let cohort = match cohort {
            Cohort::Hosts(hosts) => Cohort::Hosts(hosts.into_iter().filter(|host| !left.contains(host)).collect()),
            ranges @ Cohort::Ranges(_) => ranges,
        };
        stages.push(Stage { number, hosts_so_far: *size, cohort });
        before = *size;
    }
    stages
}

/// The buckets before `to` of every stratum.
fn ranges(fleet: &Fleet, to: u64) -> Vec<HashRange> {
    fleet.strata.iter().map(|stratum| HashRange { stratum: stratum.name.clone(), from: 0, to }).collect()
}

/// The bucket before which `size` of `hosts` hosts are, on average.
fn range_end(size: u64, hosts: u64, holdback_from: u64) -> u64 {
    let end = u128::from(size) * u128::from(BUCKETS) / u128::from(hosts.max(1));
    u64::try_from(end).unwrap_or(BUCKETS).min(holdback_from).max(1)
}

/// Which hosts were chosen by name so far.
struct Order<'a> {
    fleet: &'a Fleet,
    holdback_from: u64,
    chosen: BTreeSet<HostId>,
}

impl Order<'_> {
    fn choose<'a>(&mut self, candidates: impl Iterator<Item = &'a Candidate>) -> Cohort {
        let hosts: Vec<HostId> = candidates.map(|candidate| candidate.host.clone()).collect();
        self.chosen.extend(hosts.iter().cloned());
        Cohort::Hosts(hosts)
    }

    /// New hosts so that there are `size` in all, from each stratum what is missing to its share: largest remainders first, and of
    /// strata with the same remainder, such as those of one host each, the host with the lowest bucket.
    fn choose_by_share(&mut self, size: u64) -> Cohort {
        let wanted = size.saturating_sub(self.chosen.len() as u64);
        let all = self.fleet.hosts().max(1);
        // The k-th host of a stratum is due when the stratum's share of the hosts so far has reached k.
        let due = |place: usize, taken: usize| {
            let stratum = self.fleet.strata.get(place)?;
            let candidate = stratum.first.get(taken)?;
            let due = (taken as u128 + 1) * u128::from(all) / u128::from(stratum.hosts.max(1));
            Some((Reverse((due, candidate.bucket, place, taken)), candidate))
        };
        let mut open: BinaryHeap<_> = (0..self.fleet.strata.len()).filter_map(|place| Some(due(place, 0)?.0)).collect();
        let mut next: Vec<Candidate> = Vec::new();
        while (next.len() as u64) < wanted {
            let Some(Reverse((_, _, place, taken))) = open.pop() else { break };
            open.extend(due(place, taken.saturating_add(1)).map(|(due, _)| due));
            let Some((_, candidate)) = due(place, taken) else { continue };
            if u64::from(candidate.bucket) < self.holdback_from && !self.chosen.contains(&candidate.host) {
                next.push(candidate.clone());
            }
        }
        self.choose(next.iter())
    }
}
