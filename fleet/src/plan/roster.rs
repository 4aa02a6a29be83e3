//! A plan's cohorts as hosts: what an executor gives to the gate at the start of a stage, and whom it takes in place of hosts that say
//! nothing.

use std::collections::BTreeMap;

use super::{Cohort, HostId, Plan, BUCKETS};
use crate::HostIndex;

/// The hosts of a fleet in the order of a release, and how far each stratum has been given out.
///
/// A stratum's hosts are numbered without gaps, lowest bucket first: `start + k` is the one with the k-th lowest bucket.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    strata: Vec<Row>,
    by_name: BTreeMap<String, usize>,
    /// Hosts that a list may name.
    listed: BTreeMap<HostId, HostIndex>,
    given: Vec<bool>,
    holdback_from: u64,
}

#[derive(Clone, Debug)]
struct Row {
    start: HostIndex,
    buckets: Vec<u32>,
    /// Hosts below this place were given out; single ones above it may have been, by name.
    next: usize,
    /// Hosts of a bucket from here on may not have it yet.
    end: u64,
}

impl Roster {
    /// An empty one for a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self { holdback_from: plan.holdback_from, ..Self::default() }
    }

    /// Adds a stratum with the buckets of its hosts, lowest first. `listed` are the ids of the first of them. Gives the first host's
    /// number.
    pub fn add(&mut self, name: &str, buckets: Vec<u32>, listed: impl Iterator<Item = HostId>) -> HostIndex {
        let start = HostIndex::try_from(self.given.len()).unwrap_or(HostIndex::MAX);
        self.listed.extend(listed.zip(start..));
        self.given.resize(self.given.len().saturating_add(buckets.len()), false);
        self.by_name.insert(name.to_owned(), self.strata.len());
        self.strata.push(Row { start, buckets, next: 0, end: BUCKETS });
        start
    }

    /// Says that nobody of these strata, in the order in which they were added, takes another's place from a bucket on.
    pub fn bound(&mut self, ends: impl Iterator<Item = u64>) {
        self.strata.iter_mut().zip(ends).for_each(|(row, end)| row.end = end);
    }

    /// Hosts of all strata.
    #[must_use]
    pub fn len(&self) -> usize {
        self.given.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Hosts outside the holdback.
    #[must_use]
    pub fn outside_holdback(&self) -> usize {
        self.strata.iter().map(|row| row.before(self.holdback_from)).sum()
    }

    /// Whether a host is held back.
    #[must_use]
    pub fn is_held_back(&self, host: HostIndex) -> bool {
        let Some(row) = self.row_of(host).and_then(|place| self.strata.get(place)) else { return false };
        let place = host.saturating_sub(row.start) as usize;
        row.buckets.get(place).is_some_and(|bucket| u64::from(*bucket) >= self.holdback_from)
    }

    /// The hosts of a cohort that were not given out before. They are, from now on.
    pub fn take(&mut self, cohort: &Cohort, hosts: &mut Vec<HostIndex>) {
        match cohort {
            Cohort::Hosts(ids) => {
                for index in ids.iter().filter_map(|id| self.listed.get(id)) {
                    if let Some(given) = self.given.get_mut(*index as usize).filter(|given| !**given) {
                        *given = true;
                        hosts.push(*index);
                    }
                }
            }
            Cohort::Ranges(ranges) => {
                for range in ranges {
                    let Some(row) = self.by_name.get(&range.stratum).and_then(|place| self.strata.get_mut(*place))
                    else {
                        continue;
                    };
                    let end = row.before(range.to.min(self.holdback_from));
                    let begin = row.before(range.from).max(row.next);
                    give(row.start, begin..end, &mut self.given, hosts, usize::MAX);
                    row.next = row.next.max(end);
                }
            }
        }
    }

    /// For each of `silent` the next host of its stratum that is not held back, as far as there are any.
    pub fn replace(&mut self, silent: &[HostIndex], hosts: &mut Vec<HostIndex>) {
        for host in silent {
            let Some(place) = self.row_of(*host) else { continue };
            let Some(row) = self.strata.get_mut(place) else { continue };
            let end = row.before(self.holdback_from.min(row.end));
            row.next = row.next.max(give(row.start, row.next..end, &mut self.given, hosts, 1));
        }
    }

    fn row_of(&self, host: HostIndex) -> Option<usize> {
        self.strata.partition_point(|row| row.start <= host).checked_sub(1)
    }
}

impl Row {
    /// Hosts whose bucket is below `end`.
    fn before(&self, end: u64) -> usize {
        if end >= BUCKETS {
            return self.buckets.len();
        }
        self.buckets.partition_point(|bucket| u64::from(*bucket) < end)
    }
}

/// Gives out at most `most` hosts of a stratum's places that are not yet; tells the place to go on from.
fn give(
    start: HostIndex,
    places: std::ops::Range<usize>,
    given: &mut [bool],
    hosts: &mut Vec<HostIndex>,
    most: usize,
) -> usize {
    let mut count = 0;
    let end = places.end;
    for place in places {
        if count >= most {
            return place;
        }
        let at = (start as usize).saturating_add(place);
        if let Some(given) = given.get_mut(at).filter(|given| !**given) {
            *given = true;
            count = count.saturating_add(1);
            hosts.push(HostIndex::try_from(at).unwrap_or(HostIndex::MAX));
        }
    }
    end
}
