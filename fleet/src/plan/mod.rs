//! The planner: fleet, policy and evidence in, an immutable plan out. It has no clock and asks nobody, so that the same input gives the
//! same plan on every server, and a plan can be told from what was known when it was made.
//!
//! ```text
//! fleet.rs    strata, hosts, buckets           policy.rs   lanes, first cohort, bounds
//! holdback.rs who stays without for now
//! diverse.rs  the first cohort                 ring.rs     when a customer's ring may begin, and what it runs
//! stages.rs   how many hosts after each stage  roster.rs   the plan's cohorts as hosts, and who replaces one that is silent
//! schedule.rs from when on offline keys let a host have it
//! ```

mod diverse;
mod fleet;
mod holdback;
mod policy;
pub mod ring;
mod roster;
mod schedule;
mod stages;

pub use fleet::{Candidate, Fleet, HostId, Stratum, Traits, BUCKETS};
pub use policy::{
    Lane, Policy, FIRST_COHORT_HOSTS, SMALL_FLEET_HOSTS, STAGES_FOR_BOUND, TINY_FLEET_HOSTS, WHOLE_PER_MILLION,
};
pub use roster::Roster;
pub use schedule::{buckets_of, Schedule};

use holdback::Holdback;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Hosts that a cohort may name; a larger one is a range of buckets. The director's document has the same bound.
pub const LISTED_MAX: usize = 1_000;
/// Strata of a fleet. More would be strata of a few hosts each, about which no statistic can say anything.
pub const STRATA_MAX: usize = 4_096;

/// Buckets of a stratum from `from` to before `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashRange {
    /// The stratum's name.
    pub stratum: String,
    /// First bucket.
    pub from: u64,
    /// After the last: `BUCKETS` is the end.
    pub to: u64,
}

/// Who a stage is for, those of the stages before it left out or not: a host that has the content is not given it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Cohort {
    /// By id: a small stage, whose hosts are chosen.
    Hosts(Vec<HostId>),
    /// By bucket: a large one, whose hosts are left to chance.
    Ranges(Vec<HashRange>),
}

/// A step of the rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// From 1.
    pub number: u32,
    /// Hosts that have the content after it, of all stages so far; a cohort by bucket meets this on average.
    pub hosts_so_far: u64,
    /// Who.
    pub cohort: Cohort,
}

/// How much the gate can tell of this rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistics {
    /// Enough hosts, and some held back to compare with.
    Full,
    /// Some, but nobody is held back: after the last stage there is nobody to compare with.
    NoHoldback,
    /// Too few hosts for statistics: the breaker on each host decides.
    TooFewHosts,
}

/// What is known of the content before a host of this fleet has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Hosts that ran this content and left it: they fell back, or refused it. No list names them again; one that a range meets has
    /// the content in quarantine and refuses it by itself.
    pub left: BTreeSet<HostId>,
    /// Why nothing may be rolled out: it was recalled, or a rollout of it was halted.
    pub halted: Option<String>,
}

/// Who gets the content in which order. It is never changed; another one takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What it was made by.
    pub policy: Policy,
    /// Hosts of the fleet.
    pub hosts: u64,
    /// Buckets from here on are held back; `BUCKETS` where nobody is.
    pub holdback_from: u64,
    /// How much the gate can tell.
    pub statistics: Statistics,
    /// At least one.
    pub stages: Vec<Stage>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// The fleet has no host.
    #[error("the fleet has no host to roll out to: enrol one")]
    NoHosts,
    /// Too many strata.
    #[error("{strata} strata, at most {STRATA_MAX} are possible: give hosts that are almost alike one workload")]
    TooManyStrata {
        /// How many.
        strata: usize,
    },
    /// Two strata with one name.
    #[error("stratum {name:?} is there twice")]
    TwoOfAName {
        /// The name.
        name: String,
    },
    /// The hosts of a stratum that come first are not in order, or not all there.
    #[error("stratum {name:?} names {listed} of its {hosts} hosts: its first {LISTED_MAX}, or all, lowest bucket first, are needed")]
    NotListed {
        /// The stratum.
        name: String,
        /// How many it names.
        listed: usize,
        /// How many it has.
        hosts: u64,
    },
    /// The policy can't be followed.
    #[error("the policy can't be followed: {why}")]
    Policy {
        /// Why not.
        why: &'static str,
    },
    /// The evidence speaks against it.
    #[error("nothing is rolled out: {why}")]
    Halted {
        /// What was found.
        why: String,
    },
}

/// Makes the plan.
///
/// # Errors
/// The fleet or the policy is out of bounds, or the evidence forbids it.
pub fn plan(fleet: &Fleet, policy: &Policy, evidence: &Evidence) -> Result<Plan, PlanError> {
    check(fleet, policy)?;
    if let Some(why) = &evidence.halted {
        return Err(PlanError::Halted { why: why.clone() });
    }
    let hosts = fleet.hosts();
    let is_small = hosts < SMALL_FLEET_HOSTS;
    let holdback = Holdback::of(fleet, if is_small { 0 } else { policy.holdback_per_million });
    let statistics = match hosts {
        few if few < TINY_FLEET_HOSTS => Statistics::TooFewHosts,
        _ if holdback.hosts == 0 => Statistics::NoHoldback,
        _ => Statistics::Full,
    };
    let sizes = stages::sizes(hosts, holdback.hosts, policy.lane.growth);
    let stages = stages::stages(fleet, &sizes, holdback.from, &evidence.left);
    Ok(Plan { policy: *policy, hosts, holdback_from: holdback.from, statistics, stages })
}

impl Plan {
    /// Hosts that are held back; where the last stage is by bucket and not all hosts are listed, on average.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.hosts.saturating_sub(self.stages.last().map_or(self.hosts, |stage| stage.hosts_so_far))
    }
}

fn check(fleet: &Fleet, policy: &Policy) -> Result<(), PlanError> {
    if fleet.hosts() == 0 {
        return Err(PlanError::NoHosts);
    }
    if fleet.strata.len() > STRATA_MAX {
        return Err(PlanError::TooManyStrata { strata: fleet.strata.len() });
    }
    if policy.lane.growth < 2 {
        return Err(PlanError::Policy { why: "a growth below 2 never ends" });
    }
    if policy.holdback_per_million >= WHOLE_PER_MILLION / 2 {
        return Err(PlanError::Policy { why: "at most half of the hosts can be held back" });
    }
    let mut names = BTreeSet::new();
    fleet.strata.iter().try_for_each(|stratum| {
        let name = || stratum.name.clone();
        if !names.insert(stratum.name.as_str()) {
            return Err(PlanError::TwoOfAName { name: name() });
        }
        let wanted = usize::try_from(stratum.hosts).unwrap_or(LISTED_MAX).min(LISTED_MAX);
        if stratum.first.len() != wanted || !stratum.first.is_sorted_by_key(|candidate| candidate.bucket) {
            return Err(PlanError::NotListed { name: name(), listed: stratum.first.len(), hosts: stratum.hosts });
        }
        Ok(())
    })
}
