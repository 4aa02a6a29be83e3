//! A correlation at work: what is asked, and the state of its kind behind one face.

use super::capacity::capacity;
use super::front::Judge;
use super::key::{mixed, Digest};
use super::sequence::{Sequence, Stage};
use super::temporal::Temporal;
use super::window::Window;
use super::{CorrelationLimits, Fired, Given, Moment, Occurrence};
use crate::image::correlation::pairs;
use crate::image::layout::{
    CorrelationRecord, CORRELATE_SEQUENCE, CORRELATE_TEMPORAL, FLAG_ABOVE, FLAG_AT_END, FLAG_BELOW,
};
use crate::image::{slice, Image};

/// What the state of every kind of correlation needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) least: i64,
    pub(super) most: i64,
    pub(super) timespan_ns: u64,
    pub(super) parts: usize,
    pub(super) inputs: usize,
    pub(super) first_input: u32,
}

#[derive(Debug)]
enum State {
    Window(Window),
    Temporal(Temporal),
    Sequence(Box<Sequence>),
}

/// A correlation of the image.
#[derive(Debug)]
pub(super) struct Machine {
    rule: u32,
    state: State,
}

impl<'i> Judge<'i> for Machine {
    fn of(image: &Image<'i>, correlation: &'i CorrelationRecord, given_max: usize) -> Option<Self> {
        let room = capacity(correlation)?.at_most(given_max);
        let shape = Shape::of(correlation);
        let state = match shape.kind {
            CORRELATE_TEMPORAL => {
                State::Temporal(Temporal::new(shape, pairs(image, correlation.terms).collect(), room))
            }
            CORRELATE_SEQUENCE => {
                let inputs = slice(image.inputs, correlation.inputs).iter();
                let stages = inputs.map(|input| Stage::of(image, input)).collect();
                State::Sequence(Box::new(Sequence::new(shape, stages, correlation.absent_ns.get(), room)))
            }
            _ => State::Window(Window::new(shape, shape.flags & FLAG_AT_END != 0, room)),
        };
        Some(Self { rule: correlation.rule.get(), state })
    }

    fn rule(&self) -> u32 {
        self.rule
    }

    fn take(&mut self, given: &Given, events: &mut Vec<Occurrence>, limits: &mut CorrelationLimits) -> Option<Fired> {
        match &mut self.state {
            State::Window(window) => window.take(given, events, limits),
            State::Temporal(temporal) => temporal.take(given, events, limits),
            State::Sequence(sequence) => sequence.take(given, events, limits),
        }
    }

    fn due(&mut self, now_ns: u64, events: &mut Vec<Occurrence>) -> Option<Fired> {
        match &mut self.state {
            State::Window(window) => window.due(now_ns, events),
            State::Temporal(_) => None,
            State::Sequence(sequence) => sequence.due(now_ns, events),
        }
    }

    fn has_clock(&self) -> bool {
        match &self.state {
            State::Window(window) => window.has_clock(),
            State::Temporal(_) => false,
            State::Sequence(sequence) => sequence.has_clock(),
        }
    }

    fn deadline(&self) -> Option<u64> {
        match &self.state {
            State::Window(window) => window.deadline(),
            State::Temporal(_) => None,
            State::Sequence(sequence) => sequence.deadline(),
        }
    }
}

impl Given {
    pub(super) fn occurrence(&self, shape: &Shape) -> Occurrence {
        shape.occurrence(self.stage, self.moment)
    }
}

impl Shape {
    pub(super) fn of(correlation: &CorrelationRecord) -> Self {
        let bits = |word: u64| i64::from_le_bytes(word.to_le_bytes());
        Self {
            kind: correlation.kind.get(),
            flags: correlation.flags.get(),
            least: bits(correlation.least.get()),
            most: bits(correlation.most.get()),
            timespan_ns: correlation.timespan_ns.get(),
            parts: correlation.parts.get() as usize,
            inputs: correlation.inputs.count.get() as usize,
            first_input: correlation.inputs.first.get(),
        }
    }

    pub(super) fn occurrence(&self, stage: u32, moment: Moment) -> Occurrence {
        Occurrence { input: self.first_input.saturating_add(stage), moment }
    }

    /// The group that what was given belongs to.
    pub(super) fn group_of(&self, given: &Given) -> Digest {
        mixed(0, given.parts.iter().take(self.parts).copied())
    }

    /// Whether a sum over this many is within the bounds, each of which is for one.
    pub(super) fn holds(&self, sum: i128, count: u64) -> bool {
        let (least, most) =
            (i128::from(self.least).saturating_mul(count.into()), i128::from(self.most).saturating_mul(count.into()));
        let is_above = if self.flags & FLAG_ABOVE != 0 { sum > least } else { sum >= least };
        let is_below = if self.flags & FLAG_BELOW != 0 { sum < most } else { sum <= most };
        is_above && is_below
    }
}
