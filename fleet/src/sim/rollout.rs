//! One rollout through the product's planner and gate, event by event.
//!
//! Time moves from one thing that happens to the next: a host of the stage fetches the content, calls itself healthy, a failure of the
//! content comes due, a background failure hits a host, a report reaches the server, the gate asks to be asked.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::case::{model, Case, Kind};
use super::rng::Rng;
use super::Outcome;
use crate::gate::{Bucket, Crash, Decision, Event, Gate, Metric, Rules, Verdict};
use crate::plan::{Plan, Roster};
use crate::{HostIndex, Ms};

/// Bucket of the crash that the content causes; nobody had it before.
const NEW: Bucket = Bucket(1);
/// Bucket of background crashes; hosts with and without the content have it, also before.
const KNOWN: Bucket = Bucket(0);
/// A moment that does not come.
const NEVER: Ms = Ms::MAX;

/// The truth about a host, which the server learns late or never.
#[derive(Clone, Copy, Default)]
struct Truth(u8);

impl Truth {
    const GIVEN: u8 = 1;
    /// Off the network for good.
    const GONE: u8 = 2;
    /// Killed by the content.
    const KILLED: u8 = 4;
    /// Runs something else again.
    const LEFT: u8 = 8;

    fn is(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

struct Rollout<'a> {
    case: &'a Case,
    plan: &'a Plan,
    roster: Roster,
    gate: Gate,
    rng: Rng,
    truth: Vec<Truth>,
    /// The stage's hosts by the moment at which they fetch the content.
    pickups: Vec<(Ms, HostIndex)>,
    picked: usize,
    reported: usize,
    /// Moments at which the content kills hosts.
    kills: BinaryHeap<Reverse<(Ms, HostIndex)>>,
    /// Reports on their way: each kind takes its time, so they arrive in order.
    crashes: VecDeque<(Ms, HostIndex, Report)>,
    silences: VecDeque<(Ms, HostIndex)>,
    /// Of these, those of hosts that the content killed.
    killers_unheard: usize,
    background_ms: f64,
    /// Hosts that are not gone.
    online: usize,
    first_ms: Option<Ms>,
    to_reach: usize,
    outcome: Outcome,
    decisions: Option<&'a mut Vec<Decision>>,
}

#[derive(Clone, Copy)]
struct Report {
    with_content: bool,
    is_killer: bool,
}

/// What happens next.
#[derive(Clone, Copy)]
enum Next {
    Pickup,
    Healthy,
    Kill,
    Background,
    Crash,
    Silence,
    Tick,
}

/// Runs a rollout to its halt; or to the end of its last stage, or a hold that nobody can end, and on from there until the content has
/// killed whom it kills or the holdback's time is over. `decisions` takes what was decided.
pub(super) fn run<'a>(
    case: &'a Case,
    plan: &'a Plan,
    roster: Roster,
    rng: Rng,
    decisions: Option<&'a mut Vec<Decision>>,
) -> Outcome {
    let hosts = HostIndex::try_from(roster.len()).unwrap_or(HostIndex::MAX);
    let rules = Rules { new_bucket: case.bucket_rule, ..Rules::default() };
    let mut gate = Gate::new(plan, rules, hosts);
    gate.known_bucket(KNOWN, 0);
    let to_reach = roster.outside_holdback();
    let mut rollout = Rollout {
        case,
        plan,
        roster,
        gate,
        rng,
        truth: vec![Truth::default(); hosts as usize],
        pickups: Vec::new(),
        picked: 0,
        reported: 0,
        kills: BinaryHeap::new(),
        crashes: VecDeque::new(),
        silences: VecDeque::new(),
        killers_unheard: 0,
        background_ms: f64::INFINITY,
        online: hosts as usize,
        first_ms: None,
        to_reach,
        outcome: Outcome::default(),
        decisions,
    };
    rollout.begin_stage(0);
    rollout.draw_background(0.0);
    let halted_ms = rollout.run();
    if let Some(at_ms) = halted_ms {
        rollout.recall(at_ms);
    }
    rollout.outcome
}

impl Rollout<'_> {
    /// Gives the moment of the halt.
    fn run(&mut self) -> Option<Ms> {
        loop {
            let (at_ms, next) = self.next()?;
            let decision = match next {
                Next::Pickup => {
                    self.pickup();
                    None
                }
                Next::Healthy => self.healthy(),
                Next::Kill => {
                    self.kill();
                    None
                }
                Next::Background => {
                    self.background(at_ms);
                    None
                }
                Next::Crash => self.crash_reported(),
                Next::Silence => self.silence_noticed(),
                Next::Tick => self.gate.tick(at_ms),
            };
            let Some(decision) = decision else { continue };
            let verdict = decision.verdict.clone();
            if let Some(decisions) = &mut self.decisions {
                decisions.push(decision);
            }
            match verdict {
                Verdict::Halt { .. } => {
                    self.outcome.halt_ms = Some(at_ms.saturating_sub(self.first_ms.unwrap_or(at_ms)));
                    return Some(at_ms);
                }
                Verdict::Advance => {
                    self.begin_stage(at_ms);
                    // Without memory: what was drawn for the rate of the stage before may be drawn again for this one's.
                    self.draw_background(at_ms as f64);
                }
                Verdict::Hold => self.outcome.holds += 1,
                Verdict::Replace { .. } => self.replace(at_ms),
                Verdict::Complete => {}
            }
        }
    }

    /// What happens next and when; nothing when the rollout does not go on by itself and no word of the content is to come.
    fn next(&self) -> Option<(Ms, Next)> {
        let at =
            |place: usize, later: Ms| self.pickups.get(place).map_or(NEVER, |(at_ms, _)| at_ms.saturating_add(later));
        let lane = &self.plan.policy.lane;
        let tick_ms = self.gate.next_ms().unwrap_or(NEVER);
        if tick_ms == NEVER && self.kills.is_empty() && self.killers_unheard == 0 {
            return None;
        }
        // Of things of one moment the first of these; the gate is asked last, so that it has heard everything of that moment.
        let mut next = (at(self.picked, 0), Next::Pickup);
        for other in [
            (at(self.reported, lane.watch_ms + lane.report_ms), Next::Healthy),
            (self.kills.peek().map_or(NEVER, |Reverse((at_ms, _))| *at_ms), Next::Kill),
            (self.background_ms as Ms, Next::Background),
            (self.crashes.front().map_or(NEVER, |(at_ms, ..)| *at_ms), Next::Crash),
            (self.silences.front().map_or(NEVER, |(at_ms, _)| *at_ms), Next::Silence),
            (tick_ms, Next::Tick),
        ] {
            if other.0 < next.0 {
                next = other;
            }
        }
        Some(next).filter(|(at_ms, _)| *at_ms < self.plan.policy.holdback_ms)
    }

    fn begin_stage(&mut self, at_ms: Ms) {
        let Some(stage) = self.plan.stages.get(self.gate.stage() as usize) else { return };
        let mut hosts = Vec::new();
        self.roster.take(&stage.cohort, &mut hosts);
        self.gate.begin(at_ms, &hosts);
        self.offer(at_ms, &hosts);
    }

    fn replace(&mut self, at_ms: Ms) {
        let mut hosts = Vec::new();
        self.roster.replace(&self.gate.silent(), &mut hosts);
        self.gate.replace(at_ms, &hosts);
        self.offer(at_ms, &hosts);
    }

    /// Each of these hosts fetches the content at a moment of its own.
    fn offer(&mut self, at_ms: Ms, hosts: &[HostIndex]) {
        let pickup_ms = u32::try_from(self.plan.policy.lane.pickup_ms).unwrap_or(u32::MAX);
        sorted_pickups(at_ms, pickup_ms, hosts, &mut self.rng, &mut self.pickups);
        (self.picked, self.reported) = (0, 0);
    }

    fn pickup(&mut self) {
        let Some((at_ms, host)) = self.pickups.get(self.picked).copied() else { return };
        self.picked += 1;
        let Some(truth) = self.truth.get_mut(host as usize).filter(|truth| !truth.is(Truth::GONE)) else { return };
        truth.0 |= Truth::GIVEN;
        self.gate.take(at_ms, host, Event::Given);
        let first_ms = *self.first_ms.get_or_insert(at_ms);
        self.outcome.exposed += 1;
        if self.outcome.full_ms.is_none() && self.outcome.exposed * 100 >= self.to_reach as u64 * 99 {
            self.outcome.full_ms = Some(at_ms.saturating_sub(first_ms));
        }
        if self.case.fail_share > 0.0 && self.rng.unit() < self.case.fail_share {
            let latency_ms = self.case.latency_s * 1_000.0 * self.rng.exponential();
            self.kills.push(Reverse((at_ms.saturating_add(latency_ms as Ms), host)));
        }
    }

    fn healthy(&mut self) -> Option<Decision> {
        let (picked_ms, host) = self.pickups.get(self.reported).copied()?;
        self.reported += 1;
        let truth = self.truth.get(host as usize)?;
        if !truth.is(Truth::GIVEN) || truth.is(Truth::GONE) || truth.is(Truth::LEFT) {
            return None;
        }
        let at_ms = picked_ms + self.plan.policy.lane.watch_ms + self.plan.policy.lane.report_ms;
        self.gate.take(at_ms, host, Event::Healthy)
    }

    /// The content kills a host.
    fn kill(&mut self) {
        let Some(Reverse((at_ms, host))) = self.kills.pop() else { return };
        let Some(truth) = self.truth.get_mut(host as usize) else { return };
        if truth.is(Truth::GONE) || truth.is(Truth::KILLED) {
            return;
        }
        truth.0 |= Truth::KILLED;
        self.outcome.failed += 1;
        if self.case.kind == Kind::Silent {
            truth.0 |= Truth::GONE;
            self.online = self.online.saturating_sub(1);
            self.killers_unheard += 1;
            self.silences.push_back((at_ms + model::SILENCE_MS, host));
            return;
        }
        if self.case.latency_s == 0.0 {
            truth.0 |= Truth::LEFT; // it kills at every start, so the second try is the last
        }
        self.killers_unheard += 1;
        self.crashes.push_back((at_ms + model::REPORT_MS, host, Report { with_content: true, is_killer: true }));
    }

    fn crash_reported(&mut self) -> Option<Decision> {
        let (at_ms, host, report) = self.crashes.pop_front()?;
        self.killers_unheard -= usize::from(report.is_killer);
        let bucket = if report.is_killer { NEW } else { KNOWN };
        let crash = Some(Crash { bucket, is_ours: true });
        let failed = Event::Failed { metric: Metric::EngineCrash, with_content: report.with_content, crash };
        let decision = self.gate.take(at_ms, host, failed);
        if decision.is_none() && report.is_killer && self.truth.get(host as usize)?.is(Truth::LEFT) {
            return self.gate.take(at_ms, host, Event::Left);
        }
        decision
    }

    fn silence_noticed(&mut self) -> Option<Decision> {
        let (at_ms, host) = self.silences.pop_front()?;
        let truth = self.truth.get(host as usize).copied()?;
        let with_content = truth.is(Truth::GIVEN);
        self.killers_unheard -= usize::from(self.case.kind == Kind::Silent && truth.is(Truth::KILLED));
        let failed = Event::Failed { metric: Metric::Silence, with_content, crash: None };
        self.gate.take(at_ms, host, failed)
    }

    /// A host fails for a reason of its own. Hosts are drawn from all, and those that are gone are passed over.
    fn background(&mut self, at_ms: Ms) {
        let hosts = u32::try_from(self.truth.len()).unwrap_or(u32::MAX);
        let host = self.rng.below(hosts);
        let of_crashes = model::CRASHES_PER_300_S / (model::CRASHES_PER_300_S + model::SILENT_PER_300_S);
        let is_crash = self.rng.unit() < of_crashes;
        self.draw_background(self.background_ms);
        let Some(truth) = self.truth.get_mut(host as usize).filter(|truth| !truth.is(Truth::GONE)) else { return };
        let is_given = truth.is(Truth::GIVEN);
        if is_crash {
            let with_content = is_given && !truth.is(Truth::LEFT);
            self.crashes.push_back((at_ms + model::REPORT_MS, host, Report { with_content, is_killer: false }));
            return;
        }
        truth.0 |= Truth::GONE;
        self.online = self.online.saturating_sub(1);
        self.silences.push_back((at_ms + model::SILENCE_MS, host));
        if !is_given && !self.roster.is_held_back(host) {
            self.to_reach = self.to_reach.saturating_sub(1);
        }
    }

    /// The moment of the next background failure after `from_ms`.
    fn draw_background(&mut self, from_ms: f64) {
        let is_spike = self.case.spike_stage != 0 && self.case.spike_stage == self.gate.stage();
        let times = self.case.background_x * if is_spike { self.case.spike_x } else { 1.0 };
        let of_host = (model::CRASHES_PER_300_S + model::SILENT_PER_300_S) / 300_000.0;
        let per_ms = of_host * times * self.truth.len() as f64;
        // Where nobody is left nothing more happens, however often it would.
        self.background_ms =
            if per_ms > 0.0 && self.online > 0 { from_ms + self.rng.exponential() / per_ms } else { f64::INFINITY };
    }

    /// After the halt: hosts go on fetching until it is in force, and failures go on until the recall has reached each host.
    fn recall(&mut self, halted_ms: Ms) {
        let last_ms = halted_ms + model::HALT_MS;
        while self.pickups.get(self.picked).is_some_and(|(at_ms, _)| *at_ms <= last_ms) {
            self.pickup();
        }
        let recall_ms = u32::try_from(model::RECALL_MS).unwrap_or(u32::MAX);
        while let Some(Reverse((at_ms, host))) = self.kills.pop() {
            let reached_ms = last_ms + u64::from(self.rng.below(recall_ms));
            let truth = self.truth.get(host as usize).copied().unwrap_or_default();
            self.outcome.failed += u64::from(at_ms <= reached_ms && !truth.is(Truth::GONE) && !truth.is(Truth::KILLED));
        }
    }
}

/// Each host with a moment within `pickup_ms` from `at_ms` on, in their order: sorted by counting, because a late stage has hundreds of
/// thousands.
fn sorted_pickups(at_ms: Ms, pickup_ms: u32, hosts: &[HostIndex], rng: &mut Rng, sorted: &mut Vec<(Ms, HostIndex)>) {
    sorted.clear();
    let moments: Vec<u32> = hosts.iter().map(|_| rng.below(pickup_ms.max(1))).collect();
    if hosts.len() < 4_096 {
        sorted.extend(moments.iter().zip(hosts).map(|(moment, host)| (at_ms + u64::from(*moment), *host)));
        sorted.sort_unstable();
        return;
    }
    let mut places = vec![0_u32; pickup_ms as usize + 1];
    for moment in &moments {
        if let Some(count) = places.get_mut(*moment as usize + 1) {
            *count += 1;
        }
    }
    let mut sum = 0;
    for place in &mut places {
        sum += *place;
        *place = sum;
    }
    sorted.resize(hosts.len(), (0, 0));
    for (moment, host) in moments.iter().zip(hosts) {
        let Some(place) = places.get_mut(*moment as usize) else { continue };
        if let Some(slot) = sorted.get_mut(*place as usize) {
            *slot = (at_ms + u64::from(*moment), *host);
        }
        *place += 1;
    }
}
