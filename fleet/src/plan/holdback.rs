//! Who stays without the content for now, to compare with.

use super::fleet::{Fleet, BUCKETS};
use super::policy::WHOLE_PER_MILLION;

/// Hosts that are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holdback {
    /// Hosts of these buckets on; `BUCKETS` where nobody is.
    pub(super) from: u64,
    /// How many these are; of a fleet whose hosts are not all listed, on average.
    pub(super) hosts: u64,
}

impl Holdback {
    /// So many of a million, and at least one if it is any: left to chance, more than a third of the fleets of a hundred would have nobody
    /// to compare with. Where every host's bucket is known these are exactly the ones with the highest.
    pub(super) fn of(fleet: &Fleet, per_million: u32) -> Self {
        let hosts = fleet.hosts();
        if per_million == 0 {
            return Self { from: BUCKETS, hosts: 0 };
        }
        let (whole, part) = (u128::from(WHOLE_PER_MILLION), u128::from(per_million));
        let wanted = u64::try_from((u128::from(hosts) * part + whole / 2) / whole).unwrap_or(hosts).max(1);
        let last = usize::try_from(wanted).unwrap_or(usize::MAX).saturating_sub(1);
        match buckets(fleet) {
            Some(mut buckets) if last < buckets.len() => {
                let (higher, from, _) = buckets.select_nth_unstable_by(last, |a, b| b.cmp(a));
                let from = *from;
                // Hosts of one bucket are not told apart.
                let same = fleet.strata.iter().flat_map(|stratum| &stratum.first).filter(|host| host.bucket == from);
                let higher = higher.iter().filter(|bucket| **bucket > from).count();
                Self { from: u64::from(from), hosts: higher.saturating_add(same.count()) as u64 }
            }
            _ => {
                let from = u128::from(BUCKETS) * whole.saturating_sub(part) / whole;
                Self { from: u64::try_from(from).unwrap_or(BUCKETS), hosts: wanted }
            }
        }
    }
}

/// The bucket of every host, where all are listed.
fn buckets(fleet: &Fleet) -> Option<Vec<u32>> {
    let is_whole = fleet.strata.iter().all(|stratum| stratum.first.len() as u64 == stratum.hosts);
    is_whole.then(|| fleet.strata.iter().flat_map(|stratum| &stratum.first).map(|host| host.bucket).collect())
}
