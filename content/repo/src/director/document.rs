//! The form of a plan: strict and bounded, so that every host reads the same from it or nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use watertight_fleet::plan::HostId;

use super::PLAN_SIZE_BYTES_MAX;
use crate::release::{is_name, ContentId};
use crate::time::Moment;

pub use watertight_fleet::plan::{Cohort, HashRange, BUCKETS};

/// Packs that a plan starts.
const ENTRIES_MAX: usize = 256;
/// Packs that a plan recalls.
const RECALLS_MAX: usize = 1024;
/// Ranges of an entry.
const RANGES_MAX: usize = 256;
/// Hosts of an entry that names them.
const HOSTS_MAX: usize = watertight_fleet::plan::LISTED_MAX;
/// A host's id.
const HOST_CHARACTERS_MAX: usize = 128;
/// A lease longer than this would outlive any incident.
const LEASE_S_MAX: i64 = 7 * 24 * 3600;
/// The only format there is.
const FORMAT: u32 = 1;

/// Who runs what when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// 1.
    pub format: u32,
    /// Grows with every plan.
    pub epoch: u64,
    /// When it was made.
    pub issued: Moment,
    /// Nothing is started by it after this.
    pub lease_until: Moment,
    /// Nothing new is started anywhere.
    pub paused: bool,
    /// What is started, the first that fits a host wins.
    pub entries: Vec<Entry>,
    /// What nobody may run any more.
    pub recall: BTreeSet<ContentId>,
}

/// One pack for some hosts for some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The pack.
    pub content: ContentId,
    /// The hosts.
    pub cohort: Cohort,
    /// Not started before.
    pub not_before: Moment,
    /// Not started after.
    pub not_after: Moment,
}

/// Why a plan is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the director's plan is refused: {why}")]
pub struct PlanError {
    why: String,
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// It has anything unknown, lacks anything, or is out of bounds.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        if bytes.len() as u64 > PLAN_SIZE_BYTES_MAX {
            return Err(PlanError { why: format!("more than {PLAN_SIZE_BYTES_MAX} bytes") });
        }
        let plan: Self = serde_json::from_slice(bytes).map_err(|error| PlanError { why: error.to_string() })?;
        plan.check()?;
        Ok(plan)
    }

    /// Bounds: the same where a plan is made and where it is read.
    ///
    /// # Errors
    /// One does not hold.
    pub fn check(&self) -> Result<(), PlanError> {
        let refuse = |why: String| Err(PlanError { why });
        if self.format != FORMAT {
            return refuse(format!("format {}, this client reads {FORMAT}", self.format));
        }
        if self.epoch == 0 {
            return refuse("epoch 0: the first is 1".into());
        }
        let lease_s = self.lease_until.since_s(self.issued);
        if !(1..=LEASE_S_MAX).contains(&lease_s) {
            return refuse(format!("a lease of {lease_s} s: 1 s to {LEASE_S_MAX} s are possible"));
        }
        if self.entries.len() > ENTRIES_MAX || self.recall.len() > RECALLS_MAX {
            return refuse(format!("more than {ENTRIES_MAX} entries or {RECALLS_MAX} recalls"));
        }
        self.entries.iter().enumerate().try_for_each(|(place, entry)| {
            entry.check().map_err(|why| PlanError { why: format!("entry {}: {why}", place.saturating_add(1)) })
        })
    }
}

impl Entry {
    fn check(&self) -> Result<(), String> {
        if self.not_before > self.not_after {
            return Err(format!("it ends at {} before it begins at {}", self.not_after, self.not_before));
        }
        match &self.cohort {
            Cohort::Ranges(ranges) if ranges.is_empty() || ranges.len() > RANGES_MAX => {
                Err(format!("{} ranges: 1 to {RANGES_MAX} are possible", ranges.len()))
            }
            Cohort::Ranges(ranges) => ranges.iter().try_for_each(|range| {
                if !is_name(&range.stratum) {
                    return Err(format!("{:?} is no stratum's name", range.stratum));
                }
                if range.from >= range.to || range.to > BUCKETS {
                    return Err(format!("no buckets are from {} to before {}", range.from, range.to));
                }
                Ok(())
            }),
            Cohort::Hosts(hosts) if hosts.is_empty() || hosts.len() > HOSTS_MAX => {
                Err(format!("{} hosts: 1 to {HOSTS_MAX} are possible", hosts.len()))
            }
            Cohort::Hosts(hosts) => {
                let is_id = |HostId(host): &HostId| {
                    (1..=HOST_CHARACTERS_MAX).contains(&host.chars().count()) && !host.chars().any(char::is_control)
                };
                if hosts.iter().all(is_id) {
                    Ok(())
                } else {
                    Err(format!("a host's id has 1 to {HOST_CHARACTERS_MAX} characters that can be seen"))
                }
            }
        }
    }
}
