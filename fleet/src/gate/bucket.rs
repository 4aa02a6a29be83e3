//! The rule for crashes that nobody had before: two hosts are enough, no statistic is waited for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{HostIndex, Ms};

/// A crash bucket's id, as triage gives it, folded to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bucket(pub u64);

/// A bucket is known for so long after its last crash.
pub const KNOWN_FOR_MS: Ms = 7 * 24 * 3_600_000;
/// Distinct hosts with the content on which a new bucket halts.
pub const NEW_BUCKET_HOSTS: usize = 2;

/// Buckets seen, by whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets {
    /// Buckets of hosts without the content, with the time of the last crash.
    known: BTreeMap<Bucket, Ms>,
    /// Buckets of hosts with it, with the first hosts.
    with_content: BTreeMap<Bucket, Vec<HostIndex>>,
}

impl Buckets {
    /// A crash on a host without the content, now or before the rollout.
    pub(super) fn known(&mut self, bucket: Bucket, at_ms: Ms) {
        let last = self.known.entry(bucket).or_default();
        *last = at_ms.max(*last);
    }

    /// A crash on a host with the content. Whether it makes the bucket one that halts.
    pub(super) fn crashed_with(&mut self, bucket: Bucket, host: HostIndex, at_ms: Ms) -> bool {
        let hosts = self.with_content.entry(bucket).or_default();
        if hosts.len() < NEW_BUCKET_HOSTS && !hosts.contains(&host) {
            hosts.push(host);
        }
        let is_known = self.known.get(&bucket).is_some_and(|last| at_ms.saturating_sub(*last) <= KNOWN_FOR_MS);
        hosts.len() >= NEW_BUCKET_HOSTS && !is_known
    }
}
