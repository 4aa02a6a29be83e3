//! What is simulated: a content, a fleet, the luck that the fleet has anyway, and a way to roll out.

use serde::{Deserialize, Serialize};

use crate::plan::Lane;
use crate::Ms;

/// How hosts that the content kills are heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A supervisor that survives reports the crash.
    Loud,
    /// The host is gone; that it does not check in is all there is.
    Silent,
    /// The content harms nobody.
    Good,
}

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Hosts of the fleet, all online at the start.
    pub hosts: u32,
    /// Part of the hosts that the content kills.
    pub fail_share: f64,
    /// From the activation to the failure, on average (exponential); 0: at once, and at every start.
    pub latency_s: f64,
    /// How it is heard of.
    pub kind: Kind,
    /// Background failures, as a multiple of the usual ones.
    pub background_x: f64,
    /// The same once more, for the whole fleet during one stage.
    pub spike_x: f64,
    /// That stage, from 1; 0 is none.
    pub spike_stage: u32,
    /// Whether new crash buckets halt, beside the statistic.
    pub bucket_rule: bool,
}

impl Case {
    /// The outage of July 2024: content that killed every host that had it, at every start, and left nobody to report that.
    #[must_use]
    pub const fn outage_of_july_2024(hosts: u32) -> Self {
        Self { hosts, kind: Kind::Silent, ..Self::loud(1.0) }
    }

    /// Content that kills this part of a million hosts at once, loudly.
    #[must_use]
    pub const fn loud(fail_share: f64) -> Self {
        Self {
            hosts: 1_000_000,
            fail_share,
            latency_s: 0.0,
            kind: Kind::Loud,
            background_x: 1.0,
            spike_x: 1.0,
            spike_stage: 0,
            bucket_rule: false,
        }
    }

    /// Content that harms nobody.
    #[must_use]
    pub const fn good() -> Self {
        Self { kind: Kind::Good, ..Self::loud(0.0) }
    }
}

/// The ways to roll out that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Planner and gate of the product.
    Gated(Lane),
    /// Planned by fixed parts of the fleet, a hundredth, a twentieth, a quarter and all, with the product's gate.
    FixedRings,
    /// Everybody as fast as they fetch; a person stops it.
    AllAtOnce,
    /// Waves by the clock, each filled evenly: a hundredth within the first hour, and so on for six days; a person stops it.
    Waves,
    /// A tenth at once, another every six hours; a person stops it.
    Phased,
}

/// Content that the statistic is blind to, or nearly so, at this rate of background failures: told beside every figure.
pub const BLIND_SPOTS: [(&str, Case); 2] = [
    ("late and rare: kills 0.1 % after an hour on average", Case { latency_s: 3_600.0, ..Case::loud(0.001) }),
    (
        "silent and late: 1 % are gone without a word after an hour on average",
        Case { latency_s: 3_600.0, kind: Kind::Silent, ..Case::loud(0.01) },
    ),
];

impl Way {
    /// All that are compared.
    pub const ALL: [Self; 6] = [
        Self::Gated(Lane::STANDARD),
        Self::Gated(Lane::EMERGENCY),
        Self::FixedRings,
        Self::Waves,
        Self::Phased,
        Self::AllAtOnce,
    ];

    /// Whether a gate watches, rather than a person.
    #[must_use]
    pub fn is_gated(self) -> bool {
        matches!(self, Self::Gated(_) | Self::FixedRings)
    }

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gated(Lane::STANDARD) => "watertight, standard lane",
            Self::Gated(Lane::EMERGENCY) => "watertight, emergency lane",
            Self::Gated(_) => "watertight, another lane",
            Self::FixedRings => "rings 1/5/25/100 %, same gate",
            Self::Waves => "waves as Bottlerocket's, a person at 78 min",
            Self::Phased => "a tenth every 6 h, a person at 78 min",
            Self::AllAtOnce => "all at once, a person at 78 min",
        }
    }
}

/// What the figures take for granted.
pub const ASSUMPTIONS: &str =
    "hosts fail independently of each other, in every stratum alike; each fetches within 60 s, crashes are reported \
     after 10 s, silence is noticed after 90 s; the recall reaches every host within 65 s";

/// The model's figures.
pub mod model {
    use super::Ms;

    /// A crash is reported so long after it.
    pub const REPORT_MS: Ms = 10_000;
    /// A silent host is noticed so long after it went: it had promised to check in within 60 s, and is 30 s late.
    pub const SILENCE_MS: Ms = 90_000;
    /// Background crashes, per host and 300 s.
    pub const CRASHES_PER_300_S: f64 = 1e-4;
    /// Hosts that fall silent for other reasons, per host and 300 s.
    pub const SILENT_PER_300_S: f64 = 2e-3;
    /// From a halt to the last host that is given the content.
    pub const HALT_MS: Ms = 5_000;
    /// From then until the recall has reached every host that has it.
    pub const RECALL_MS: Ms = 60_000;
    /// When a person stopped the outage of July 2024: 04:09 to 05:27 UTC.
    pub const PERSON_MS: Ms = 78 * 60_000;
}
