//! Where a rollout stands: the inputs so far, taken in one after the other.

use serde::{Deserialize, Serialize};

use super::spec::Spec;
use crate::gate::{Bucket, Decision, Event, Gate, Metric, Verdict};
use crate::plan::{Cohort, HostId, Roster};
use crate::{HostIndex, Ms};

/// A recall reaches the hosts that are online within this time.
pub const RECALL_REACHES_MS: Ms = 60_000;

/// What moves a rollout. Inputs are stored in their order before anything follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub enum Input {
    /// The first stage begins.
    Start,
    /// Something of a host.
    Host {
        /// Which.
        host: HostIndex,
        /// What.
        event: Event,
    },
    /// A host that the rollout is not for had a crash: it is not the content's doing.
    Known {
        /// Its bucket.
        bucket: Bucket,
    },
    /// Time has passed.
    Tick,
    /// The signed schedule lets the next stage begin, which waited for it.
    Begin,
    /// A person: nobody else gets it for now.
    Pause,
    /// A person: go on.
    Resume,
    /// The policy of one of its rings: nobody else gets it for now.
    Close,
    /// It may go on.
    Reopen,
    /// A person: nobody else gets it, and those who have it leave it.
    Abort,
    /// A person: the stage that is held counts as healthy.
    Promote,
    /// The holdback's time is over: it gets the content too.
    Open,
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A stage is watched.
    Running,
    /// Too many hosts of the stage have said nothing, or the signed schedule does not let the next one begin yet.
    Holding,
    /// A person, or the policy of a ring, stopped it for now.
    Paused,
    /// Nobody else gets it, and it is recalled. Final.
    Halted,
    /// All but the holdback have it.
    Complete,
    /// All have it.
    Open,
}

impl State {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Holding => "holding",
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::Complete => "complete",
            Self::Open => "open",
        }
    }

    /// Whether hosts are still to get it.
    #[must_use]
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Running | Self::Holding | Self::Paused)
    }
}

/// What is known of a host in this rollout.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Track {
    /// When it was first known to have the content.
    pub(super) given_ms: Option<Ms>,
    /// The stage that it was chosen in; 0 if it was not.
    pub(super) stage: u32,
    pub(super) has_left: bool,
    pub(super) is_healthy: bool,
    pub(super) is_away: bool,
    /// Failed in any metric while it had the content.
    pub(super) has_failed: bool,
    /// Metrics that it failed in, a bit each: without the content, and 16 bits on with it.
    failed: u32,
    /// Its last crash, and whether it had the content then.
    crash: Option<(Bucket, bool)>,
}

impl Track {
    pub(super) fn runs_it(&self) -> bool {
        self.given_ms.is_some() && !self.has_left
    }

    fn bit(metric: Metric, with_content: bool) -> u32 {
        1 << (metric as u32 + if with_content { 16 } else { 0 })
    }
}

/// A host's place in a rollout, for "why is this host on this version".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not one of its hosts.
    Outside,
    /// Held back until the rollout's holdback is over.
    HeldBack,
    /// A later stage's.
    Later,
    /// Chosen in this stage, and not known to have the content.
    Offered(u32),
    /// Chosen in this stage, and has it.
    Has(u32),
    /// Had it, and left it: fell back, or refused it.
    Left,
}

/// A rollout's hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All of them.
    pub hosts: u64,
    /// Were given the content.
    pub exposed: u64,
    /// Failed while they had it, in any metric.
    pub failed: u64,
    /// Reported after the watch that they run it.
    pub healthy: u64,
    /// Have it now, as far as they have said.
    pub has: u64,
    /// Of these, those that are away: a recall does not reach them.
    pub unreached: u64,
}

/// A rollout.
#[derive(Clone, Debug)]
pub struct Running {
    spec: Spec,
    gate: Gate,
    roster: Roster,
    tracks: Vec<Track>,
    /// Hosts that came after the plan, with their buckets: numbered after its hosts, in no stage, and given the content by bucket.
    joined: Vec<(u32, HostId)>,
    /// Hosts that took the places of others.
    replacements: Vec<HostIndex>,
    is_started: bool,
    is_paused: bool,
    is_closed: bool,
    is_holding: bool,
    /// The next stage is to begin, and may not yet.
    waits_until_ms: Option<Ms>,
    /// By stage, from when on its hosts may have it.
    opens_ms: Vec<Ms>,
    is_complete: bool,
    is_open: bool,
    last: Option<Decision>,
    at_ms: Ms,
}

impl Running {
    /// Before its first input.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        let mut gate = Gate::new(&spec.plan, spec.rules, spec.hosts());
        for (bucket, at_ms) in &spec.known {
            gate.known_bucket(*bucket, *at_ms);
        }
        Self {
            gate,
            roster: spec.roster(),
            tracks: vec![Track::default(); spec.hosts() as usize],
            joined: Vec::new(),
            replacements: Vec::new(),
            is_started: false,
            is_paused: false,
            is_closed: false,
            is_holding: false,
            waits_until_ms: None,
            opens_ms: spec.opens_ms(),
            is_complete: false,
            is_open: false,
            last: None,
            at_ms: 0,
            spec,
        }
    }

    /// Takes an input; gives what was decided by it. Time does not go back.
    pub fn take(&mut self, at_ms: Ms, input: Input) -> Option<Decision> {
        self.at_ms = self.at_ms.max(at_ms);
        let at_ms = self.at_ms;
        let decision = match input {
            Input::Start => {
                if !self.is_started {
                    self.is_started = true;
                    self.begin_or_wait();
                }
                None
            }
            Input::Host { host, event } => self.host(host, event),
            Input::Known { bucket } => {
                self.gate.known_bucket(bucket, at_ms);
                None
            }
            Input::Tick => self.gate.tick(at_ms),
            Input::Begin => {
                if self.waits_until_ms.is_some() && !self.is_paused && !self.is_closed && !self.gate.is_halted() {
                    self.waits_until_ms = None;
                    self.begin_stage();
                }
                None
            }
            Input::Pause => self.stop(true, self.is_closed),
            Input::Resume => self.stop(false, self.is_closed),
            Input::Close => self.stop(self.is_paused, true),
            Input::Reopen => self.stop(self.is_paused, false),
            Input::Abort => self.gate.abort(at_ms),
            Input::Promote => self.gate.promote(at_ms),
            Input::Open => {
                self.is_open = self.is_complete;
                None
            }
        };
        self.follow(decision)
    }

    /// Takes in a host that was not there when the rollout was planned; gives its number. What it does counts from now on.
    pub fn join(&mut self, bucket: u32, id: HostId) -> HostIndex {
        let number = HostIndex::try_from(self.tracks.len()).unwrap_or(HostIndex::MAX);
        self.gate.join();
        self.tracks.push(Track::default());
        self.joined.push((bucket, id));
        self.offer_to_joined(number);
        number
    }

    fn stop(&mut self, is_paused: bool, is_closed: bool) -> Option<Decision> {
        (self.is_paused, self.is_closed) = (is_paused, is_closed);
        if is_paused || is_closed {
            self.gate.pause(self.at_ms);
        } else {
            self.gate.resume(self.at_ms);
        }
        None
    }

    fn host(&mut self, host: HostIndex, event: Event) -> Option<Decision> {
        let at_ms = self.at_ms;
        let track = self.tracks.get_mut(host as usize)?;
        match event {
            Event::Given => {
                track.given_ms.get_or_insert(at_ms);
                track.is_away = false;
            }
            Event::Failed { metric, with_content, crash } => {
                track.failed |= Track::bit(metric, with_content);
                track.crash = crash.map(|crash| (crash.bucket, with_content)).or(track.crash);
                if with_content {
                    track.given_ms.get_or_insert(at_ms);
                    track.has_failed = true;
                }
                track.is_away |= metric.is_absence();
            }
            Event::Left => track.has_left = true,
            Event::Healthy => track.is_healthy = true,
            Event::Offline => track.is_away = true,
            Event::Online => track.is_away = false,
        }
        self.gate.take(at_ms, host, event)
    }

    /// What follows from a decision at once.
    fn follow(&mut self, decision: Option<Decision>) -> Option<Decision> {
        let decision = decision?;
        self.is_holding = matches!(decision.verdict, Verdict::Hold);
        match decision.verdict {
            Verdict::Advance => self.begin_or_wait(),
            Verdict::Complete => self.is_complete = true,
            Verdict::Replace { .. } => self.replace(),
            Verdict::Hold | Verdict::Halt { .. } => {}
        }
        self.last = Some(decision.clone());
        Some(decision)
    }

    /// The rollout's clock is never ahead of the real one: what it has reached is past.
    fn begin_or_wait(&mut self) {
        let opens_ms = self.opens_ms.get(self.gate.stage() as usize).copied().unwrap_or(0);
        if opens_ms > self.at_ms {
            self.waits_until_ms = Some(opens_ms);
        } else {
            self.begin_stage();
        }
    }

    fn begin_stage(&mut self) {
        let number = self.gate.stage();
        let Some(stage) = self.spec.plan.stages.get(number as usize) else { return };
        let mut hosts = Vec::new();
        self.roster.take(&stage.cohort, &mut hosts);
        if self.gate.begin(self.at_ms, &hosts) {
            self.chosen(&hosts);
            let joined = self.spec.hosts()..HostIndex::try_from(self.tracks.len()).unwrap_or(HostIndex::MAX);
            joined.for_each(|host| self.offer_to_joined(host));
        }
    }

    /// The last stage is for everybody who is not held back.
    fn offer_to_joined(&mut self, host: HostIndex) {
        if self.gate.stage() as usize >= self.spec.plan.stages.len() && !self.is_held_back(host) {
            self.gate.offer(host);
        }
    }

    fn replace(&mut self) {
        let mut hosts = Vec::new();
        let at_ms = self.at_ms;
        self.roster.bound(self.spec.members.iter().map(|members| members.schedule.end_at(at_ms)));
        self.roster.replace(&self.gate.silent(), &mut hosts);
        self.gate.replace(self.at_ms, &hosts);
        self.chosen(&hosts);
        // With nobody to take the places the stage goes on being held.
        self.is_holding = hosts.is_empty();
        self.replacements.extend(hosts);
    }

    fn chosen(&mut self, hosts: &[HostIndex]) {
        let stage = self.gate.stage();
        for host in hosts {
            if let Some(track) = self.tracks.get_mut(*host as usize) {
                track.stage = stage;
            }
        }
    }

    /// What it is of.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        let found = [
            (self.gate.is_halted(), State::Halted),
            (self.is_open, State::Open),
            (self.is_complete, State::Complete),
            (self.is_paused || self.is_closed, State::Paused),
            (self.is_holding || self.waits_until_ms.is_some(), State::Holding),
        ];
        found.into_iter().find(|(is_so, _)| *is_so).map_or(State::Running, |(_, state)| state)
    }

    /// The stage that runs or ran last, from 1; 0 before the start.
    #[must_use]
    pub fn stage(&self) -> u32 {
        self.gate.stage()
    }

    /// The time of its last input.
    #[must_use]
    pub fn at_ms(&self) -> Ms {
        self.at_ms
    }

    /// What was decided last.
    #[must_use]
    pub fn last(&self) -> Option<&Decision> {
        self.last.as_ref()
    }

    /// Whether `Tick` is due. `has_news`: something of a host was taken in since the last one; a hold ends by that.
    #[must_use]
    pub fn is_due(&self, at_ms: Ms, has_news: bool) -> bool {
        self.gate.next_ms().is_some_and(|due_ms| due_ms <= at_ms) || (self.is_holding && has_news)
    }

    /// Whether a person stopped it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Whether the policy of a ring stopped it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Until when the next stage waits for the signed schedule, on the real clock; then `Begin` is due.
    #[must_use]
    pub fn waits_until_ms(&self) -> Option<Ms> {
        self.waits_until_ms.filter(|_| !self.gate.is_halted())
    }

    /// Whether `Open` is due.
    #[must_use]
    pub fn opens(&self, begun_ms: Ms, at_ms: Ms) -> bool {
        self.state() == State::Complete && at_ms.saturating_sub(begun_ms) >= self.spec.plan.policy.holdback_ms
    }

    /// The cohorts that may have the content now: those of the stages so far.
    pub fn cohorts(&self) -> impl Iterator<Item = &Cohort> {
        self.spec.plan.stages.iter().take(self.gate.stage() as usize).map(|stage| &stage.cohort)
    }

    /// Hosts that took the places of others.
    #[must_use]
    pub fn replacements(&self) -> Vec<HostId> {
        if self.replacements.is_empty() {
            return Vec::new();
        }
        let ids: Vec<&HostId> = self.ids().collect();
        self.replacements.iter().filter_map(|host| ids.get(*host as usize).copied().cloned()).collect()
    }

    /// Hosts that a recall has not reached: they have the content and are away, or have not said by now that they left it.
    #[must_use]
    pub fn unreached(&self, at_ms: Ms) -> Vec<HostId> {
        let Some(halt) = self.last.as_ref().filter(|last| last.is_halt()) else { return Vec::new() };
        let is_late = at_ms.saturating_sub(halt.at_ms) >= RECALL_REACHES_MS;
        let is_unreached = |track: &Track| track.runs_it() && (track.is_away || is_late);
        let unreached = self.ids().zip(&self.tracks).filter(|(_, track)| is_unreached(track));
        unreached.map(|(id, _)| id.clone()).collect()
    }

    /// A host's place.
    #[must_use]
    pub fn place(&self, host: HostIndex) -> Place {
        match self.track(host) {
            None => Place::Outside,
            Some(track) if track.has_left => Place::Left,
            Some(track) if track.given_ms.is_some() => Place::Has(track.stage),
            Some(track) if track.stage > 0 => Place::Offered(track.stage),
            Some(_) if !self.is_open && self.is_held_back(host) => Place::HeldBack,
            Some(_) => Place::Later,
        }
    }

    fn is_held_back(&self, host: HostIndex) -> bool {
        match (host as usize).checked_sub(self.roster.len()) {
            None => self.roster.is_held_back(host),
            Some(place) => {
                let bucket = self.joined.get(place).map(|(bucket, _)| u64::from(*bucket));
                bucket.is_some_and(|bucket| bucket >= self.spec.plan.holdback_from)
            }
        }
    }

    /// The hosts' ids, by number.
    pub fn ids(&self) -> impl Iterator<Item = &HostId> {
        self.spec.ids().chain(self.joined.iter().map(|(_, id)| id))
    }

    /// How many hosts.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.tracks.len()
    }

    /// Its hosts in figures.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { hosts: self.tracks.len() as u64, ..Counts::default() };
        for track in &self.tracks {
            counts.exposed += u64::from(track.given_ms.is_some());
            counts.failed += u64::from(track.has_failed);
            counts.healthy += u64::from(track.is_healthy);
            counts.has += u64::from(track.runs_it());
            counts.unreached += u64::from(track.runs_it() && track.is_away);
        }
        counts
    }

    pub(super) fn track(&self, host: HostIndex) -> Option<&Track> {
        self.tracks.get(host as usize)
    }

    /// Whether a failure of a host was heard before and tells nothing new: a host that crashes for ever is one event.
    #[must_use]
    pub fn has_heard(&self, host: HostIndex, event: Event) -> bool {
        let (Event::Failed { metric, with_content, crash }, Some(track)) = (event, self.track(host)) else {
            return false;
        };
        let is_same_crash = crash.is_none_or(|crash| track.crash == Some((crash.bucket, with_content)));
        track.failed & Track::bit(metric, with_content) != 0 && is_same_crash
    }

    /// Whether the host was last seen to be away.
    #[must_use]
    pub fn is_away(&self, host: HostIndex) -> bool {
        self.track(host).is_some_and(|track| track.is_away)
    }

    /// Whether the host has the content, as far as is known.
    #[must_use]
    pub fn runs_it(&self, host: HostIndex) -> bool {
        self.track(host).is_some_and(Track::runs_it)
    }
}
