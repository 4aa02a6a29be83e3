//! What is fixed at a rollout's start. It is stored once and never changed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::gate::{Bucket, Rules};
use crate::plan::{
    plan, Candidate, Cohort, Evidence, Fleet, HostId, Plan, PlanError, Policy, Roster, Schedule, Stratum, Traits,
    LISTED_MAX,
};
use crate::{HostIndex, Ms};

/// Hosts that are alike, as they are when a rollout is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kin {
    /// The stratum's name, as the hosts in it know it.
    pub name: String,
    /// Their ring.
    pub ring: String,
    /// From when on offline keys let the ring have it.
    pub schedule: Schedule,
    /// In what they are alike.
    pub traits: Traits,
    /// The hosts, each with its bucket for this content, in any order.
    pub hosts: Vec<(u32, HostId)>,
}

/// A stratum's hosts, lowest bucket first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Members {
    /// The stratum's name.
    pub stratum: String,
    /// Their ring.
    pub ring: String,
    /// From when on offline keys let the ring have it.
    pub schedule: Schedule,
    /// Buckets and ids.
    pub hosts: Vec<(u32, HostId)>,
}

impl Members {
    /// From when on a host may have it. One that never may is none of a rollout's hosts.
    fn opens_ms(&self, bucket: u32) -> Ms {
        self.schedule.opens_ms(bucket).unwrap_or(Ms::MAX)
    }

    /// From when on all hosts of a bucket before `to` may have it.
    fn last_opens_ms(&self, to: u64) -> Option<Ms> {
        let count = self.hosts.partition_point(|(bucket, _)| u64::from(*bucket) < to);
        self.hosts.get(count.checked_sub(1)?).map(|(bucket, _)| self.opens_ms(*bucket))
    }
}

/// What a rollout is of, and what was known when it was started.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The pack: its SHA-256.
    pub content: String,
    /// The pack's name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Speed and holdback.
    pub policy: Policy,
    /// What the gate goes by.
    pub rules: Rules,
    /// What is known of the content.
    pub evidence: Evidence,
    /// Crash buckets that hosts had, with the time of the last crash, on the rollout's clock.
    pub known: Vec<(Bucket, Ms)>,
    /// Rings whose turn comes later get it by rollouts of their own, which nobody has to begin.
    pub goes_on: bool,
}

/// A rollout, before its first input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The pack: its SHA-256.
    pub content: String,
    /// The pack's name: one pack of a name is rolled out at a time.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Who gets it in which order.
    pub plan: Plan,
    /// What the gate goes by.
    pub rules: Rules,
    /// All hosts. They are numbered through, in this order.
    pub members: Vec<Members>,
    /// Crash buckets that hosts had before.
    pub known: Vec<(Bucket, Ms)>,
    /// Rings whose turn comes later get it by rollouts of their own, which nobody has to begin.
    #[serde(default)]
    pub goes_on: bool,
}

impl Spec {
    /// Plans a rollout for these hosts.
    ///
    /// # Errors
    /// There is no such plan.
    pub fn plan(start: Start, mut kin: Vec<Kin>) -> Result<Self, PlanError> {
        kin.sort_by(|a, b| a.name.cmp(&b.name));
        kin.iter_mut().for_each(|kin| kin.hosts.sort());
        let stratum = |kin: &Kin| Stratum {
            name: kin.name.clone(),
            traits: kin.traits.clone(),
            hosts: kin.hosts.len() as u64,
            first: kin
                .hosts
                .iter()
                .take(LISTED_MAX)
                .map(|(bucket, host)| Candidate { bucket: *bucket, host: host.clone() })
                .collect(),
        };
        let fleet = Fleet { strata: kin.iter().map(stratum).collect() };
        let plan = plan(&fleet, &start.policy, &start.evidence)?;
        let of = |kin: Kin| Members { stratum: kin.name, ring: kin.ring, schedule: kin.schedule, hosts: kin.hosts };
        let members = kin.into_iter().map(of).collect();
        let Start { content, name, version, rules, known, goes_on, .. } = start;
        Ok(Self { content, name, version, plan, rules, members, known, goes_on })
    }

    /// How many hosts.
    #[must_use]
    pub fn hosts(&self) -> HostIndex {
        let count = self.members.iter().map(|members| members.hosts.len()).sum::<usize>();
        HostIndex::try_from(count).unwrap_or(HostIndex::MAX)
    }

    /// The hosts' ids, by number.
    pub fn ids(&self) -> impl Iterator<Item = &HostId> {
        self.members.iter().flat_map(|members| members.hosts.iter().map(|(_, id)| id))
    }

    /// The rings whose hosts it is for.
    #[must_use]
    pub fn rings(&self) -> BTreeSet<&str> {
        self.members.iter().map(|members| members.ring.as_str()).collect()
    }

    /// For each stage, from when on the signed schedule lets all of its hosts have it.
    #[must_use]
    pub fn opens_ms(&self) -> Vec<Ms> {
        let by_name: BTreeMap<&str, &Members> =
            self.members.iter().map(|members| (members.stratum.as_str(), members)).collect();
        let mut by_id: BTreeMap<&HostId, Ms> = BTreeMap::new();
        for members in &self.members {
            let of = |(bucket, id)| (id, members.opens_ms(bucket));
            by_id.extend(members.hosts.iter().take(LISTED_MAX).map(|(bucket, id)| of((*bucket, id))));
        }
        let opens_ms = |cohort: &Cohort| match cohort {
            Cohort::Hosts(hosts) => hosts.iter().filter_map(|id| by_id.get(id).copied()).max(),
            Cohort::Ranges(ranges) => {
                let of = ranges.iter().filter_map(|range| by_name.get(range.stratum.as_str())?.last_opens_ms(range.to));
                of.max()
            }
        };
        self.plan.stages.iter().map(|stage| opens_ms(&stage.cohort).unwrap_or(0)).collect()
    }

    /// The hosts as the plan counts them.
    pub(super) fn roster(&self) -> Roster {
        let mut roster = Roster::new(&self.plan);
        for members in &self.members {
            let buckets = members.hosts.iter().map(|(bucket, _)| *bucket).collect();
            roster.add(&members.stratum, buckets, members.hosts.iter().map(|(_, id)| id.clone()));
        }
        roster
    }
}
