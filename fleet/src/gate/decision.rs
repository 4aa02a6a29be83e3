//! What the gate decides, by which evidence, and the sentence that says why.

use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::logrank::AtRisk;
use super::metric::Metric;
use crate::Ms;

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The stage is healthy: the next may begin.
    Advance,
    /// The last stage is healthy. The holdback stays, and so does the watch.
    Complete,
    /// Nobody else gets the content, for now: too many hosts have said nothing.
    Hold,
    /// The silent hosts no longer count; others of their strata take their places.
    Replace {
        /// How many.
        hosts: u64,
    },
    /// Nobody else gets it, and those who have it are told to leave it. Final.
    Halt {
        /// What spoke against it.
        cause: Cause,
    },
}

/// Why a rollout was halted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Hosts with the content fail more often than those without.
    Statistic,
    /// A crash that nobody had before, in our own module, on several hosts.
    NewBucket,
    /// Too many hosts of the stage left the content.
    Left,
    /// A person said so.
    Operator,
}

/// The stage's hosts, by what they have said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageHosts {
    /// Hosts that the stage is for and that were online; replaced ones do not count.
    pub expected: u64,
    /// Reported after the watch that they run the content.
    pub healthy: u64,
    /// Fell back, or refused it.
    pub left: u64,
    /// Went offline before they had fetched it: their silence says nothing about the content.
    pub offline: u64,
}

impl StageHosts {
    /// Have fetched it, or still could, and have said nothing yet.
    #[must_use]
    pub fn silent(&self) -> u64 {
        self.expected.saturating_sub(self.healthy).saturating_sub(self.left).saturating_sub(self.offline)
    }
}

/// What was known when it was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The stage's hosts.
    pub hosts: StageHosts,
    /// The metric that is nearest to its threshold, or has reached it.
    pub metric: Metric,
    /// Hosts at risk in it, just before its last failure.
    pub at_risk: AtRisk,
    /// First failures with the content, in this stage.
    pub failed_with: u64,
    /// First failures without it, in this stage.
    pub failed_without: u64,
    /// The mean of L_r, as its natural logarithm.
    pub ln_mean: f64,
    /// What halts, as its natural logarithm.
    pub ln_threshold: f64,
    /// The new bucket, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
}

/// A decision as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at_ms: Ms,
    /// The stage, from 1.
    pub stage: u32,
    /// What.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// By which evidence.
    pub evidence: Evidence,
    /// Why, in a sentence.
    pub why: String,
}

impl Decision {
    /// Whether it is a halt.
    #[must_use]
    pub fn is_halt(&self) -> bool {
        matches!(self.verdict, Verdict::Halt { .. })
    }
}

/// The sentence.
pub(super) fn why(stage: u32, verdict: &Verdict, evidence: &Evidence) -> String {
    let Evidence { hosts, metric, at_risk, failed_with, failed_without, .. } = evidence;
    let StageHosts { expected, healthy, left, offline } = hosts;
    match verdict {
        Verdict::Advance => format!(
            "stage {stage} is healthy: {healthy} of {expected} hosts still run the content after the watch, {left} left it"
        ),
        Verdict::Complete => {
            format!("all stages are healthy: {healthy} of the last stage's {expected} hosts still run the content")
        }
        Verdict::Hold => format!(
            "{} of the {expected} hosts of stage {stage} have said nothing after the watch, {offline} went offline before they had it, and no \
             news is not health",
            hosts.silent()
        ),
        Verdict::Replace { hosts: replaced } => {
            format!("{replaced} hosts of stage {stage} are still silent: others of their strata take their places")
        }
        Verdict::Halt { cause: Cause::Statistic } => format!(
            "{failed_with} hosts {} the content and {failed_without} without it {} in stage {stage}, of {} and {} at risk: by chance \
             that happens less than once in a thousand rollouts",
            if metric.is_absence() { "that were given" } else { "with" },
            metric.did(),
            at_risk.treated,
            at_risk.control
        ),
        // Which bucket is said by whoever knows its name: here it is a number that nobody else has.
        Verdict::Halt { cause: Cause::NewBucket } => {
            "a crash of our own that no host had before came up on hosts with the content".to_owned()
        }
        Verdict::Halt { cause: Cause::Left } => {
            format!("{left} of the {expected} hosts of stage {stage} left the content: they fell back or refused it")
        }
        Verdict::Halt { cause: Cause::Operator } => format!("stopped by hand in stage {stage}"),
    }
}

/// The sentence where a person ended a hold: nothing says that the stage is healthy.
pub(super) fn why_by_hand(stage: u32, Evidence { hosts, .. }: &Evidence) -> String {
    let StageHosts { expected, healthy, left, offline } = hosts;
    let silent = hosts.silent();
    format!(
        "a person ended the hold of stage {stage}: {healthy} of {expected} hosts run the content after the watch, {left} left it, {silent} have \
         said nothing, {offline} went offline before they had it"
    )
}
