//! What the planner knows of a fleet: its strata, how many hosts each has, and which of them come first.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Buckets that hosts fall into by `hash(host, release)`: the whole range of a 32-bit number. The same as in the director's document.
pub const BUCKETS: u64 = 1 << 32;

/// A host's id in the fleet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostId(pub String);

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes hosts fail alike: the more of these the first cohort has seen, the less is left to be seen first by many.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traits {
    /// The kernel's release line.
    pub kernel: String,
    /// Distribution and its version.
    pub distribution: String,
    /// Machine architecture.
    pub architecture: String,
    /// Version of the agent.
    pub agent_version: String,
    /// What the host is for.
    pub workload: String,
}

impl Traits {
    /// The five, in a fixed order.
    pub(super) fn values(&self) -> [&str; 5] {
        [&self.kernel, &self.distribution, &self.architecture, &self.agent_version, &self.workload]
    }
}

/// A host that may be named in a list, and its bucket for this release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// `hash(host, release)`.
    pub bucket: u32,
    /// Whom.
    pub host: HostId,
}

/// Hosts that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stratum {
    /// Its name, as the hosts in it know it.
    pub name: String,
    /// In what they are alike.
    pub traits: Traits,
    /// How many there are.
    pub hosts: u64,
    /// Those with the lowest buckets, lowest first: at most `LISTED_MAX`, and all of them if there are no more. A stage that is small
    /// names its hosts, and they are taken from here.
    pub first: Vec<Candidate>,
}

/// The fleet, or the part of it that a rollout is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// Its strata, each with another name.
    pub strata: Vec<Stratum>,
}

impl Fleet {
    /// Hosts of all strata.
    #[must_use]
    pub fn hosts(&self) -> u64 {
        self.strata.iter().fold(0, |sum, stratum| sum.saturating_add(stratum.hosts))
    }
}
