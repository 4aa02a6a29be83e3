//! The gate: what hosts report in, decisions out. A pure state machine: it has no clock, every event brings its time, and the same
//! events give the same decisions, so a server that starts again asks its store for the events and goes on.
//!
//! ```text
//! metric.rs   what can go wrong           logrank.rs   the statistic
//! hosts.rs    who is at risk              bucket.rs    crashes that nobody had before
//! stage.rs    healthy, left, silent       decision.rs  what was decided, by which evidence, and why
//! ```
//! A stage is begun with its hosts, takes events, and is asked at `next_ms`. After `Advance` the caller begins the next one; after
//! `Replace` it names other hosts; after `Halt` nothing moves any more.

mod bucket;
mod decision;
mod hosts;
mod logrank;
mod metric;
mod stage;

pub use bucket::{Bucket, KNOWN_FOR_MS, NEW_BUCKET_HOSTS};
pub use decision::{Cause, Decision, Evidence, StageHosts, Verdict};
pub use logrank::{AtRisk, Logrank, RATIOS};
pub use metric::{Metric, Thresholds, METRICS};

use serde::{Deserialize, Serialize};

use crate::plan::{Plan, STAGES_FOR_BOUND};
use crate::{HostIndex, Ms};
use hosts::Hosts;
use stage::{Phase, Stage};

/// The chance of a false halt in one whole rollout, at most.
pub const FALSE_HALT: f64 = 1e-3;
/// Distinct hosts with the content that must have failed before the statistic halts.
pub const FAILED_HOSTS_MIN: u64 = 2;
/// Hosts of a hundred of a stage that may leave the content, or say nothing.
const LOST_PERCENT_MAX: u64 = 1;
/// That many may in any case: one host's bad luck stops no rollout.
const LOST_HOSTS_MAX: u64 = 1;
/// How long silent hosts are waited for before others take their places.
const SILENT_FOR_MS: Ms = 90_000;

/// What the gate goes by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The chance of a false halt in one whole rollout, at most.
    pub false_halt: f64,
    /// Whether a new bucket of our own halts.
    pub new_bucket: bool,
    /// Where measurements become events.
    pub thresholds: Thresholds,
}

impl Default for Rules {
    fn default() -> Self {
        Self { false_halt: FALSE_HALT, new_bucket: true, thresholds: Thresholds::default() }
    }
}

/// What a crash is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// Its bucket.
    pub bucket: Bucket,
    /// Whether our own module is to blame.
    pub is_ours: bool,
}

/// What the server learned of a host, in the order in which it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It has the content now.
    Given,
    /// It crossed a metric's threshold. `with_content`: the content was what it ran then.
    Failed {
        /// In what.
        metric: Metric,
        /// While it ran this content.
        with_content: bool,
        /// The crash, where it was one.
        crash: Option<Crash>,
    },
    /// It fell back from the content, or refused it.
    Left,
    /// After the watch it runs the content.
    Healthy,
    /// It said that it goes: a shutdown in good order.
    Offline,
    /// It is back.
    Online,
}

/// The gate of one rollout.
#[derive(Clone, Debug)]
pub struct Gate {
    rules: Rules,
    stage_ms: Ms,
    stages: u32,
    ln_threshold: f64,
    hosts: Hosts,
    tests: [Test; METRICS],
    buckets: bucket::Buckets,
    stage: Stage,
    paused_ms: Option<Ms>,
    halted: bool,
}

/// A metric in this stage.
#[derive(Clone, Debug, Default)]
struct Test {
    logrank: Logrank,
    at_risk: AtRisk,
    failed_with: u64,
    failed_without: u64,
    /// With the content, in the whole rollout.
    hosts_failed_with: u64,
}

impl Gate {
    /// The gate of a plan, for a fleet of so many hosts, all of them online and without the content. Others are told by events.
    #[must_use]
    pub fn new(plan: &Plan, rules: Rules, hosts: HostIndex) -> Self {
        let stages = u32::try_from(plan.stages.len()).unwrap_or(u32::MAX);
        let looks = f64::from(stages.max(STAGES_FOR_BOUND)) * METRICS as f64;
        Self {
            rules,
            stage_ms: plan.policy.lane.stage_ms(),
            stages,
            ln_threshold: (looks / rules.false_halt).ln(),
            hosts: Hosts::new(hosts),
            tests: Default::default(),
            buckets: bucket::Buckets::default(),
            stage: Stage::default(),
            paused_ms: None,
            halted: false,
        }
    }

    /// Another host, which was not there when the rollout was planned; its number is the next. It is online and has not been given the
    /// content, as far as is known: from now on it could be the next to fail.
    pub fn join(&mut self) {
        self.hosts.add();
    }

    /// The host may have the content from now on, though no stage was begun for it.
    pub fn offer(&mut self, host: HostIndex) {
        self.hosts.offer(host);
    }

    /// A bucket that hosts had before the rollout, with the time of its last crash.
    pub fn known_bucket(&mut self, bucket: Bucket, at_ms: Ms) {
        self.buckets.known(bucket, at_ms);
    }

    /// Begins the next stage for these hosts; the statistic begins at one again. Gives nothing if the stage before has not ended well.
    pub fn begin(&mut self, at_ms: Ms, hosts: &[HostIndex]) -> bool {
        if self.halted || self.stage.number >= self.stages || !matches!(self.stage.phase, Phase::Between) {
            return false;
        }
        for test in &mut self.tests {
            *test = Test { hosts_failed_with: test.hosts_failed_with, ..Test::default() };
        }
        self.stage.begin(at_ms, self.stage_ms, hosts, &mut self.hosts);
        true
    }

    /// Names the hosts that take the places of those that `Replace` gave up, which do not count any more. With nobody to replace them
    /// the stage holds until they are heard of or a person decides.
    pub fn replace(&mut self, at_ms: Ms, hosts: &[HostIndex]) {
        if !self.halted {
            self.stage.replace(at_ms, self.stage_ms, hosts, &mut self.hosts);
        }
    }

    /// Takes what a host reported.
    pub fn take(&mut self, at_ms: Ms, host: HostIndex, event: Event) -> Option<Decision> {
        if self.halted {
            return None;
        }
        match event {
            Event::Given => {
                self.hosts.give(host);
                let is_back = self.hosts.drop_in(host);
                self.stage.dropped_in(is_back);
                None
            }
            Event::Failed { metric, with_content, crash } => self.failed(at_ms, host, metric, with_content, crash),
            Event::Left => {
                self.stage.left(self.hosts.leave(host));
                None
            }
            Event::Healthy => {
                self.stage.healthy(self.hosts.healthy(host));
                None
            }
            Event::Offline => {
                self.go_offline(host);
                None
            }
            Event::Online => {
                self.hosts.come_back(host);
                None
            }
        }
    }

    fn failed(
        &mut self,
        at_ms: Ms,
        host: HostIndex,
        metric: Metric,
        with_content: bool,
        crash: Option<Crash>,
    ) -> Option<Decision> {
        // The record is what tells; a host that ran the content has it, whether or not its check-in was seen.
        if with_content && !self.hosts.is_given(host) {
            self.hosts.give(host);
        }
        // A host that died of the content in its first second never said that it had it, and now it says nothing at all.
        let with_content = if metric.is_absence() { self.hosts.may_have_it(host) } else { with_content };
        let at_risk = self.hosts.fail(host, metric, with_content);
        if metric.is_absence() {
            self.go_offline(host);
        }
        let mut new_bucket = None;
        if let Some(crash) = crash {
            if !with_content {
                self.buckets.known(crash.bucket, at_ms);
            } else if self.buckets.crashed_with(crash.bucket, host, at_ms) && crash.is_ours && self.rules.new_bucket {
                new_bucket = Some(crash.bucket);
            }
        }
        let test = self.tests.get_mut(metric.place())?;
        if let Some(at_risk) = at_risk {
            test.at_risk = at_risk;
            test.logrank.failure(with_content, at_risk);
            test.failed_with += u64::from(with_content);
            test.failed_without += u64::from(!with_content);
            test.hosts_failed_with += u64::from(with_content);
        }
        let is_bad = test.hosts_failed_with >= FAILED_HOSTS_MIN && test.logrank.has_reached(self.ln_threshold);
        if is_bad {
            return Some(self.halt(at_ms, Cause::Statistic, metric, None));
        }
        new_bucket.map(|bucket| self.halt(at_ms, Cause::NewBucket, metric, Some(bucket)))
    }

    fn go_offline(&mut self, host: HostIndex) {
        let has_dropped = self.hosts.drop_out(host);
        self.stage.dropped_out(has_dropped);
    }

    /// When to ask `tick` next, if nothing else happens.
    #[must_use]
    pub fn next_ms(&self) -> Option<Ms> {
        if self.halted || self.paused_ms.is_some() {
            return None;
        }
        self.stage.next_ms()
    }

    /// Asks for a decision that time has made due.
    pub fn tick(&mut self, at_ms: Ms) -> Option<Decision> {
        if self.halted || self.paused_ms.is_some() {
            return None;
        }
        let worst = self.worst();
        match self.stage.judge(at_ms, self.stages)? {
            Verdict::Halt { cause } => Some(self.halt(at_ms, cause, worst, None)),
            verdict => Some(self.decision(at_ms, verdict, worst, None)),
        }
    }

    /// Advances no further until `resume`; failures are counted on, and can halt.
    pub fn pause(&mut self, at_ms: Ms) {
        self.paused_ms.get_or_insert(at_ms);
    }

    /// Goes on. Nobody was to begin it meanwhile, so the stage has as much time left as it had.
    pub fn resume(&mut self, at_ms: Ms) {
        if let Some(paused_ms) = self.paused_ms.take() {
            self.stage.delay(at_ms.saturating_sub(paused_ms));
        }
    }

    /// A person ends the rollout.
    pub fn abort(&mut self, at_ms: Ms) -> Option<Decision> {
        let worst = self.worst();
        (!self.halted).then(|| self.halt(at_ms, Cause::Operator, worst, None))
    }

    /// A person ends a hold: the stage counts as healthy. It ends nothing but a hold.
    pub fn promote(&mut self, at_ms: Ms) -> Option<Decision> {
        if self.halted {
            return None;
        }
        let worst = self.worst();
        let verdict = self.stage.promote(self.stages)?;
        let decision = self.decision(at_ms, verdict, worst, None);
        let why = decision::why_by_hand(decision.stage, &decision.evidence);
        Some(Decision { why, ..decision })
    }

    /// The stage that runs or ran last; 0 before the first.
    #[must_use]
    pub fn stage(&self) -> u32 {
        self.stage.number
    }

    /// Whether the rollout was halted.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// Hosts of the stage that it still waits for.
    #[must_use]
    pub fn silent(&self) -> Vec<HostIndex> {
        self.stage.silent(&self.hosts)
    }

    /// Hosts at risk in a metric.
    #[must_use]
    pub fn at_risk(&self, metric: Metric) -> AtRisk {
        self.hosts.at_risk(metric)
    }

    fn halt(&mut self, at_ms: Ms, cause: Cause, metric: Metric, bucket: Option<Bucket>) -> Decision {
        self.halted = true;
        self.decision(at_ms, Verdict::Halt { cause }, metric, bucket)
    }

    /// The metric that is nearest to its threshold.
    fn worst(&self) -> Metric {
        let of = |metric: Metric| self.tests.get(metric.place()).map_or(0.0, |test| test.logrank.ln_mean());
        Metric::ALL.into_iter().max_by(|a, b| of(*a).total_cmp(&of(*b))).unwrap_or(Metric::EngineCrash)
    }

    fn decision(&self, at_ms: Ms, verdict: Verdict, metric: Metric, bucket: Option<Bucket>) -> Decision {
        let test = self.tests.get(metric.place()).cloned().unwrap_or_default();
        let evidence = Evidence {
            hosts: self.stage.hosts,
            metric,
            at_risk: test.at_risk,
            failed_with: test.failed_with,
            failed_without: test.failed_without,
            ln_mean: test.logrank.ln_mean(),
            ln_threshold: self.ln_threshold,
            bucket,
        };
        let stage = self.stage.number;
        Decision { at_ms, stage, why: decision::why(stage, &verdict, &evidence), verdict, evidence }
    }
}
