//! What is the same for every correlation: which inputs a rule has, in what order hits are judged, whose time is over, and who
//! listens to a correlation that fired. What one makes of its hits is its judge's: the engine's state, or the slow sibling that
//! also says why.

use super::input::Input;
use super::key::{Digest, HashKey};
use super::queue::Queue;
use super::{Correlated, CorrelationLimits, Fired, Given, Moment, Occurrence, OnHit};
use crate::image::layout::{CorrelationRecord, InputRecord};
use crate::image::{slice, Image};
use crate::{Field, Fields};

/// Most that correlations on correlations may do for one event.
const STEPS_MAX: u32 = 1024;

/// What judges the hits of one correlation.
pub(super) trait Judge<'i>: Sized {
    /// With nothing in it yet.
    fn of(image: &Image<'i>, correlation: &'i CorrelationRecord, given_max: usize) -> Option<Self>;

    /// The position of its rule.
    fn rule(&self) -> u32;

    /// One more hit, of a time that is not before the last.
    fn take(&mut self, given: &Given, events: &mut Vec<Occurrence>, limits: &mut CorrelationLimits) -> Option<Fired>;

    /// What fires because a time before now is over; asked until there is nothing.
    fn due(&mut self, now_ns: u64, events: &mut Vec<Occurrence>) -> Option<Fired>;

    /// Whether it may fire because a time is over.
    fn has_clock(&self) -> bool;

    /// When the first time is over that it waits for.
    fn deadline(&self) -> Option<u64>;

    /// A hit of this stage lacks a field that it is grouped by or measured in.
    fn lacks(&mut self, _stage: u32, _field: Field<'i>, _moment: Moment) {}
}

/// All correlations of an image, each with what judges it.
#[derive(Debug)]
pub(super) struct Front<'i, J> {
    key: HashKey,
    pub(super) judges: Vec<J>,
    inputs: Vec<Input<'i>>,
    /// By rule: where its inputs begin in `listeners`.
    first_listener: Vec<u32>,
    /// Inputs; of one correlation the later stages first, so that an event is never two stages at once.
    listeners: Vec<u32>,
    /// Correlations that may fire because a time is over.
    clocks: Vec<usize>,
    queue: Queue,
    /// Up to here everything is judged.
    settled_ns: u64,
    events: Vec<Occurrence>,
    text: Vec<u8>,
    pub(super) limits: CorrelationLimits,
    /// By correlation: groups and events that were let go because its state was full.
    over_state: Vec<u64>,
}

impl<'i, J: Judge<'i>> Front<'i, J> {
    pub(super) fn new(image: Image<'i>, key: HashKey, events_max: usize) -> Self {
        let mut inputs: Vec<Input<'i>> = Vec::with_capacity(image.inputs.len());
        inputs.extend(image.inputs.iter().map(|_| Input::unused()));
        let mut judges = Vec::with_capacity(image.correlations.len());
        // Of each correlation its rule, and how often it fires at most: with what it is given, and once more when a time is over.
        let mut fires: Vec<(u32, usize)> = Vec::with_capacity(image.correlations.len());
        for (number, correlation) in (0_u32..).zip(image.correlations) {
            let records = slice(image.inputs, correlation.inputs);
            let given_by = |input: &InputRecord| {
                let below = fires.iter().find(|(rule, _)| *rule == input.rule.get());
                below.map_or(events_max, |(_, fires)| *fires)
            };
            let given_max = records.iter().map(given_by).fold(0, usize::saturating_add);
            fires.push((correlation.rule.get(), given_max.saturating_mul(2)));
            judges.extend(J::of(&image, correlation, given_max));
            for (stage, record) in (0_u32..).zip(records) {
                let place = correlation.inputs.first.get().saturating_add(stage);
                if let Some(input) = inputs.get_mut(place as usize) {
                    *input = Input::of(&image, record, number, stage, correlation.kind.get());
                }
            }
        }
        let mut by_rule: Vec<(u32, u32)> =
            (0_u32..).zip(image.inputs).map(|(input, record)| (record.rule.get(), input)).collect();
        by_rule.sort_unstable_by_key(|(rule, input)| (*rule, std::cmp::Reverse(*input)));
        let mut first_listener = Vec::with_capacity(image.rules.len().saturating_add(1));
        for rule in 0..=image.rules.len() {
            let before = by_rule.partition_point(|(listened, _)| (*listened as usize) < rule);
            first_listener.push(u32::try_from(before).unwrap_or(u32::MAX));
        }
        let has_clock = |(number, judge): (usize, &J)| judge.has_clock().then_some(number);
        Self {
            key,
            over_state: vec![0; judges.len()],
            clocks: judges.iter().enumerate().filter_map(has_clock).collect(),
            judges,
            inputs,
            first_listener,
            listeners: by_rule.into_iter().map(|(_, input)| input).collect(),
            queue: Queue::new(),
            settled_ns: 0,
            events: Vec::with_capacity(crate::image::layout::INPUTS_MAX as usize),
            text: Vec::new(),
            limits: CorrelationLimits::default(),
        }
    }

    /// Whether there is no correlation.
    pub(super) fn is_empty(&self) -> bool {
        self.judges.is_empty()
    }

    /// Whether a correlation listens to this rule.
    #[inline]
    pub(super) fn listens_to(&self, rule: u32) -> bool {
        let (first, end) = self.listeners_of(rule);
        first < end
    }

    /// Whether something may fire without another event, by `advance` alone.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty() || self.judges.iter().any(|judge| judge.deadline().is_some())
    }

    /// The correlations that let groups or events go because their state was full, by their rules, with how many.
    pub(super) fn over_state(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let counts = self.judges.iter().zip(&self.over_state);
        counts.filter(|(_, count)| **count > 0).map(|(judge, count)| (judge.rule(), *count))
    }

    /// A rule has fired on an event. What that makes fire is told by `advance`; here only if too much waits for it.
    pub(super) fn on_hit(&mut self, rule: u32, event: &dyn Fields, moment: Moment, hit: OnHit<'_>) {
        let (first, end) = self.listeners_of(rule);
        for position in first..end {
            let Some(input) = self.listeners.get(position).copied() else { return };
            let Some(own) = self.inputs.get(input as usize) else { return };
            let given = match own.given(input, self.key, &mut self.text, event, moment) {
                Ok(given) => given,
                Err(field) => {
                    self.limits.incomplete_hits = self.limits.incomplete_hits.saturating_add(1);
                    if let Some(judge) = self.judges.get_mut(own.correlation as usize) {
                        judge.lacks(own.stage, field, moment);
                    }
                    continue;
                }
            };
            if self.queue.is_full() {
                self.limits.hurried_hits = self.limits.hurried_hits.saturating_add(1);
                self.settle_next(u64::MAX, hit);
            }
            self.queue.push(given);
        }
    }

    /// The texts of what a hit of this rule gives, for explanations.
    pub(super) fn texts(&mut self, rule: u32, event: &dyn Fields, each: &mut dyn FnMut(Digest, &str)) {
        let (first, end) = self.listeners_of(rule);
        for input in self.listeners.get(first..end).unwrap_or_default() {
            if let Some(own) = self.inputs.get(*input as usize) {
                own.texts(self.key, &mut self.text, event, each);
            }
        }
    }

    /// Everything up to this time has been read: it is judged, and what waited for a time until now fires.
    pub(super) fn advance(&mut self, now_ns: u64, hit: OnHit<'_>) {
        while self.settle_next(now_ns, hit) {}
        self.run_clocks(now_ns, hit);
        self.settled_ns = self.settled_ns.max(now_ns);
    }

    /// Judges the first that waits, if it is of that time or before.
    fn settle_next(&mut self, now_ns: u64, hit: OnHit<'_>) -> bool {
        let Some(mut given) = self.queue.pop_until(now_ns) else { return false };
        if given.moment.time_ns < self.settled_ns {
            self.limits.late_events = self.limits.late_events.saturating_add(1);
            given.moment.time_ns = self.settled_ns;
        }
        self.run_clocks(given.moment.time_ns, hit);
        self.settled_ns = given.moment.time_ns;
        self.feed(&given, &mut STEPS_MAX.clone(), hit);
        true
    }

    /// Fires what waited for a time before now.
    fn run_clocks(&mut self, now_ns: u64, hit: OnHit<'_>) {
        for position in 0..self.clocks.len() {
            let Some(number) = self.clocks.get(position).copied() else { return };
            loop {
                self.events.clear();
                let Some(judge) = self.judges.get_mut(number) else { break };
                let Some(fired) = judge.due(now_ns, &mut self.events) else { break };
                self.tell(number, &fired, &mut STEPS_MAX.clone(), hit);
            }
        }
    }

    fn feed(&mut self, given: &Given, steps: &mut u32, hit: OnHit<'_>) {
        let Some(input) = self.inputs.get(given.input as usize) else { return };
        let number = input.correlation as usize;
        let Some(judge) = self.judges.get_mut(number) else { return };
        self.events.clear();
        let before = self.limits.let_go();
        let fired = judge.take(given, &mut self.events, &mut self.limits);
        if let Some(sum) = self.over_state.get_mut(number) {
            *sum = sum.saturating_add(self.limits.let_go().saturating_sub(before));
        }
        if let Some(fired) = fired {
            self.tell(number, &fired, steps, hit);
        }
    }

    /// Tells of a correlation that fired, and what listens to it.
    fn tell(&mut self, number: usize, fired: &Fired, steps: &mut u32, hit: OnHit<'_>) {
        let Some(rule) = self.judges.get(number).map(|judge| judge.rule()) else { return };
        let Fired { moment, count, is_by_clock, .. } = *fired;
        hit(Correlated { rule, moment, is_by_clock, count, events: &self.events });
        let (first, end) = self.listeners_of(rule);
        for position in first..end {
            let Some(left) = steps.checked_sub(1) else {
                self.limits.dropped_hits = self.limits.dropped_hits.saturating_add(1);
                return;
            };
            *steps = left;
            let Some(input) = self.listeners.get(position).copied() else { return };
            let Some(given) = self.inputs.get(input as usize).map(|own| own.given_by(input, fired)) else { return };
            self.feed(&given, steps, hit);
        }
    }

    #[inline]
    fn listeners_of(&self, rule: u32) -> (usize, usize) {
        let at = |rule: usize| self.first_listener.get(rule).map_or(0, |first| *first as usize);
        (at(rule as usize), at((rule as usize).saturating_add(1)))
    }
}
