//! How fast a rollout goes, and which part of a fleet it leaves alone.

use serde::{Deserialize, Serialize};

use crate::Ms;

/// Hosts of the first cohort. What bounds the damage of content that kills at once is this number and nothing else: ten are
/// diverse enough to meet most kernels and few enough to mend.
pub const FIRST_COHORT_HOSTS: u64 = 10;
/// Below this many hosts there is no holdback, and the first cohort goes one host at a time.
pub const SMALL_FLEET_HOSTS: u64 = 100;
/// Below this many hosts nothing statistical can be said.
pub const TINY_FLEET_HOSTS: u64 = 10;
/// Stages that a rollout's false-halt bound is split over, unless it has more.
pub const STAGES_FOR_BOUND: u32 = 12;
/// One hundred percent, in the unit of `holdback_per_million`.
pub const WHOLE_PER_MILLION: u32 = 1_000_000;

/// The speed of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// Hosts of a stage and of all before it, as a multiple of those of the stages before.
    pub growth: u64,
    /// Within this time the hosts of a stage fetch what they were given, each at a moment of its own.
    pub pickup_ms: Ms,
    /// For this long a host runs the content before it may call itself healthy.
    pub watch_ms: Ms,
    /// What a report may take on its way.
    pub report_ms: Ms,
}

impl Lane {
    /// What content goes through unless somebody says that it can't wait.
    pub const STANDARD: Self = Self { growth: 4, pickup_ms: 60_000, watch_ms: 300_000, report_ms: 10_000 };
    /// Faster, with the same gate: for content that stops an attack under way.
    pub const EMERGENCY: Self = Self { growth: 10, pickup_ms: 60_000, watch_ms: 120_000, report_ms: 10_000 };

    /// From the start of a stage to its end, if nothing holds it up.
    #[must_use]
    pub const fn stage_ms(&self) -> Ms {
        self.pickup_ms + self.watch_ms + self.report_ms
    }
}

/// What the planner is told about how to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The speed.
    pub lane: Lane,
    /// Hosts of a million that stay without the content until `holdback_ms` after the rollout's begin: the gate's control arm once
    /// all others have it.
    pub holdback_per_million: u32,
    /// When the holdback gets it too.
    pub holdback_ms: Ms,
}

impl Policy {
    /// One host in a hundred is held back for a day.
    #[must_use]
    pub const fn of(lane: Lane) -> Self {
        Self { lane, holdback_per_million: 10_000, holdback_ms: 24 * 3_600_000 }
    }
}
