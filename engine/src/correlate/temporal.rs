//! Rules that fired within a timespan of one another, in any order, for each group.
//!
//! Of each input the last event is kept, for an older one can't be in the window when a newer is not. Which inputs must and must
//! not have happened is a list of masks, judged with every event over the timespan that ends with it.

use super::capacity::Capacity;
use super::machine::Shape;
use super::table::Table;
use super::window::{put, put_at};
use super::{bit, CorrelationLimits, Fired, Given, Moment, Occurrence};

/// The state of a correlation of what happened, in any order.
#[derive(Debug)]
pub(super) struct Temporal {
    shape: Shape,
    /// Inputs that must, and that must not have happened.
    terms: Vec<(u32, u32)>,
    groups: Table,
    /// By group: the inputs that happened, a bit for each.
    happened: Vec<u32>,
    /// By group and input.
    last: Vec<Moment>,
}

impl Temporal {
    pub(super) fn new(shape: Shape, terms: Vec<(u32, u32)>, room: Capacity) -> Self {
        Self {
            shape,
            terms,
            groups: Table::new(room.groups),
            happened: Vec::with_capacity(room.groups),
            last: Vec::with_capacity(room.groups.saturating_mul(shape.inputs)),
        }
    }

    pub(super) fn take(
        &mut self,
        given: &Given,
        events: &mut Vec<Occurrence>,
        limits: &mut CorrelationLimits,
    ) -> Option<Fired> {
        let now_ns = given.moment.time_ns;
        let group = self.group(given, limits)?;
        self.groups.touch(group, now_ns);
        let first = (group as usize).saturating_mul(self.shape.inputs);
        let last = self.last.get_mut(first..first.saturating_add(self.shape.inputs))?;
        *last.get_mut(given.stage as usize)? = given.moment;
        let happened = self.happened.get_mut(group as usize)?;
        *happened |= bit(given.stage);
        for (stage, moment) in (0_u32..).zip(last.iter()) {
            if moment.time_ns.saturating_add(self.shape.timespan_ns) < now_ns {
                *happened &= !bit(stage);
            }
        }
        let happened = *happened;
        let holds = |(must, must_not): &&(u32, u32)| happened & must == *must && happened & must_not == 0;
        let (must, _) = self.terms.iter().find(holds)?;
        for (stage, moment) in (0_u32..).zip(last.iter()) {
            if must & happened & bit(stage) != 0 {
                events.push(self.shape.occurrence(stage, *moment));
            }
        }
        events.sort_unstable_by_key(|event| (event.moment.time_ns, event.moment.number));
        self.groups.remove(group);
        let count = u64::from(must.count_ones());
        Some(Fired { parts: given.parts, moment: given.moment, count, is_by_clock: false })
    }

    fn group(&mut self, given: &Given, limits: &mut CorrelationLimits) -> Option<u32> {
        let digest = self.shape.group_of(given);
        if let Some(known) = self.groups.find(digest) {
            return Some(known);
        }
        if let Some((oldest, since)) = self.groups.oldest().filter(|_| self.groups.is_full()) {
            if since.saturating_add(self.shape.timespan_ns) >= given.moment.time_ns {
                limits.evicted_groups = limits.evicted_groups.saturating_add(1);
            }
            self.groups.remove(oldest);
        }
        let number = self.groups.insert(digest, given.moment.time_ns)?;
        put(&mut self.happened, number, 0);
        let first = (number as usize).saturating_mul(self.shape.inputs);
        for stage in 0..self.shape.inputs {
            put_at(&mut self.last, first.saturating_add(stage), Moment::default());
        }
        Some(number)
    }
}
