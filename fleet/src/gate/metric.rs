//! What can go wrong on a host: nine metrics, each one dated event at most.
//!
//! An event is the first time that a stated threshold is crossed in this rollout, judged alike on hosts with and without the content, so
//! that a metric needs no model of its values.

use serde::{Deserialize, Serialize};

use crate::Ms;

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The engine crashed or was started again.
    EngineCrash,
    /// The loader refused the content.
    LoaderRefusal,
    /// Processor time or memory went beyond its budget.
    Budget,
    /// Events were dropped.
    DroppedEvents,
    /// Far more alerts than the host had before.
    Alerts,
    /// Programs were blocked.
    BlockedExecs,
    /// The sensor came off its hooks.
    SensorDetach,
    /// The host did not come back after a reboot.
    NotBack,
    /// The host did not check in when it had promised to.
    Silence,
}

/// How many there are: each has its share of the false-halt bound.
pub const METRICS: usize = 9;

impl Metric {
    /// All, in a fixed order.
    pub const ALL: [Self; METRICS] = [
        Self::EngineCrash,
        Self::LoaderRefusal,
        Self::Budget,
        Self::DroppedEvents,
        Self::Alerts,
        Self::BlockedExecs,
        Self::SensorDetach,
        Self::NotBack,
        Self::Silence,
    ];

    /// What a host did, as a sentence about hosts goes on.
    #[must_use]
    pub const fn did(self) -> &'static str {
        match self {
            Self::EngineCrash => "had their engine crash",
            Self::LoaderRefusal => "refused the content",
            Self::Budget => "went over the processor or memory budget",
            Self::DroppedEvents => "dropped events",
            Self::Alerts => "raised far more alerts than before",
            Self::BlockedExecs => "blocked programs",
            Self::SensorDetach => "lost the sensor",
            Self::NotBack => "did not come back after a reboot",
            Self::Silence => "fell silent",
        }
    }

    /// Whether the host is not there any more.
    #[must_use]
    pub const fn is_absence(self) -> bool {
        matches!(self, Self::NotBack | Self::Silence)
    }

    pub(super) const fn place(self) -> usize {
        self as usize
    }

    pub(super) const fn bit(self) -> u16 {
        1 << self.place()
    }
}

/// Where a host's measurements become an event. Defaults, a part of the policy; whoever judges measurements holds both arms to them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// Processor time of the engine, percent of one processor over five minutes.
    pub cpu_percent_max: f64,
    /// Resident memory of all processes, MiB.
    pub rss_mib_max: u64,
    /// Events dropped within five minutes.
    pub dropped_events_max: u64,
    /// Alerts within five minutes, as a multiple of the host's own rate over the last 24 h.
    pub alerts_x_max: f64,
    /// Programs blocked within five minutes that were not blocked in the 24 h before.
    pub blocked_execs_max: u64,
    /// From the last word of a host that reboots to the first after it.
    pub back_after_reboot_ms: Ms,
    /// A host is silent when it is so late with the check-in that it promised.
    pub silence_after_promise_ms: Ms,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            cpu_percent_max: 20.0,
            rss_mib_max: 256,
            dropped_events_max: 0,
            alerts_x_max: 10.0,
            blocked_execs_max: 0,
            back_after_reboot_ms: 900_000,
            silence_after_promise_ms: 30_000,
        }
    }
}
