//! Stages that happen one after the other, joined by the parts of a key that each of them gives.
//!
//! What is under way is an entry for each stage that it has reached, found by what the next stage must equal. Of two that agree in
//! everything the one that began later replaces the other: whatever completes the older completes the newer. A stage that tells a
//! new part leaves the entry before it where it is, since another value may follow; else the entry moves on.

use super::capacity::Capacity;
use super::key::{mixed, Digest};
use super::table::{Table, NOWHERE};
use super::window::{put, put_at};
use super::{bit, CorrelationLimits, Fired, Given, Moment, Occurrence, Shape, PARTS};

/// Most entries of one place of a sequence that one event is held against.
const SAME_MAX: usize = 32;

/// What a stage wants of those before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stage {
    /// Parts that must equal those before.
    pub(super) joins: u32,
    /// Parts that must differ.
    pub(super) differs: u32,
    /// Parts that it tells.
    pub(super) gives: u32,
}

/// A sequence under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial {
    start_ns: u64,
    /// The stage that it has reached.
    stage: u32,
}

/// Entries with what belongs to each.
#[derive(Debug)]
struct Store {
    table: Table,
    partials: Vec<Partial>,
    /// By entry: the key as far as it is known.
    parts: Vec<Digest>,
    /// By entry and stage.
    moments: Vec<Moment>,
}

/// The state of a sequence.
#[derive(Debug)]
pub(super) struct Sequence {
    shape: Shape,
    stages: Vec<Stage>,
    absent_ns: u64,
    under_way: Store,
    /// Those whose last stage must stay away, in the order of their deadlines.
    waiting: Option<Store>,
}

impl Sequence {
    pub(super) fn new(shape: Shape, stages: Vec<Stage>, absent_ns: u64, room: Capacity) -> Self {
        let store = || Store {
            table: Table::new(room.groups),
            partials: Vec::with_capacity(room.groups),
            parts: Vec::with_capacity(room.groups.saturating_mul(shape.parts)),
            moments: Vec::with_capacity(room.groups.saturating_mul(shape.inputs)),
        };
        Self { shape, stages, absent_ns, under_way: store(), waiting: (absent_ns > 0).then(store) }
    }

    pub(super) fn take(
        &mut self,
        given: &Given,
        events: &mut Vec<Occurrence>,
        limits: &mut CorrelationLimits,
    ) -> Option<Fired> {
        let stage = *self.stages.get(given.stage as usize)?;
        if given.stage == 0 {
            let mut moments = [Moment::default(); crate::image::layout::INPUTS_MAX as usize];
            if let Some(first) = moments.first_mut() {
                *first = given.moment;
            }
            let partial = Partial { start_ns: given.moment.time_ns, stage: 0 };
            return self.reach(partial, given.parts, &moments, given, events, limits);
        }
        let digest = lookup(given.stage.saturating_sub(1), &given.parts, stage.joins);
        if self.is_last(given.stage) && self.waiting.is_some() {
            self.call_off(digest, stage, given);
            return None;
        }
        let mut fired = None;
        let mut entry = self.under_way.table.find(digest);
        for _ in 0..SAME_MAX {
            let Some(number) = entry else { return fired };
            entry = self.under_way.table.find_next(number);
            let Some((partial, parts, mut moments)) = self.under_way.get(number, &self.shape) else { continue };
            let is_expired = partial.start_ns.saturating_add(self.shape.timespan_ns) < given.moment.time_ns;
            if is_expired {
                self.under_way.table.remove(number);
                continue;
            }
            let before = moments.get(partial.stage as usize).map(|moment| moment.number);
            let is_same_event = before == Some(given.moment.number);
            if partial.stage.saturating_add(1) != given.stage || is_same_event || !stage.differs_in(&parts, given) {
                continue;
            }
            if let Some(place) = moments.get_mut(given.stage as usize) {
                *place = given.moment;
            }
            let tells_more = stage.gives & !(stage.joins | stage.differs) != 0;
            if !tells_more || self.is_last(given.stage) {
                self.under_way.table.remove(number);
            }
            if fired.is_some() {
                continue; // one alert an event
            }
            let parts = stage.merged(parts, given);
            let reached = Partial { stage: given.stage, ..partial };
            fired = self.reach(reached, parts, &moments, given, events, limits);
        }
        if entry.is_some() {
            limits.cut_members = limits.cut_members.saturating_add(1);
        }
        fired
    }

    /// A sequence has come to a stage: it is complete, waits for the last to stay away, or for the next.
    fn reach(
        &mut self,
        partial: Partial,
        parts: [Digest; PARTS],
        moments: &[Moment],
        given: &Given,
        events: &mut Vec<Occurrence>,
        limits: &mut CorrelationLimits,
    ) -> Option<Fired> {
        let next = partial.stage.saturating_add(1);
        if self.is_last(partial.stage) {
            self.show(moments, partial.stage, events);
            let count = u64::from(next);
            return Some(Fired { parts, moment: given.moment, count, is_by_clock: false });
        }
        let joins = self.stages.get(next as usize).map_or(0, |stage| stage.joins);
        let digest = lookup(partial.stage, &parts, joins);
        let (now_ns, shape) = (given.moment.time_ns, self.shape);
        match &mut self.waiting {
            Some(waiting) if self.stages.len() == (next as usize).saturating_add(1) => {
                if waiting.same(digest, partial.stage, &parts, &shape).is_none() {
                    waiting.keep(digest, now_ns, partial, &parts, moments, &shape, self.absent_ns, limits);
                }
            }
            _ => {
                if let Some(known) = self.under_way.same(digest, partial.stage, &parts, &shape) {
                    if self.under_way.partials.get(known as usize).is_some_and(|old| old.start_ns > partial.start_ns) {
                        return None;
                    }
                    self.under_way.table.remove(known);
                }
                let lives_ns = shape.timespan_ns;
                self.under_way.keep(digest, now_ns, partial, &parts, moments, &shape, lives_ns, limits);
            }
        }
        None
    }

    /// The last stage has happened, which had to stay away.
    fn call_off(&mut self, digest: Digest, stage: Stage, given: &Given) {
        let Some(waiting) = &mut self.waiting else { return };
        let mut entry = waiting.table.find(digest);
        while let Some(number) = entry {
            entry = waiting.table.find_next(number);
            let Some((_, parts, moments)) = waiting.get(number, &self.shape) else { continue };
            let before = moments.get(given.stage.saturating_sub(1) as usize).map(|moment| moment.number);
            if before != Some(given.moment.number) && stage.differs_in(&parts, given) {
                waiting.table.remove(number);
            }
        }
    }

    /// One whose last stage stayed away for long enough before now.
    pub(super) fn due(&mut self, now_ns: u64, events: &mut Vec<Occurrence>) -> Option<Fired> {
        let deadline = self.deadline().filter(|deadline| *deadline < now_ns)?;
        let waiting = self.waiting.as_mut()?;
        let (number, _) = waiting.table.oldest()?;
        let (partial, parts, moments) = waiting.get(number, &self.shape)?;
        waiting.table.remove(number);
        self.show(&moments, partial.stage, events);
        let number = moments.get(partial.stage as usize).map_or(0, |moment| moment.number);
        let count = u64::from(partial.stage.saturating_add(1));
        Some(Fired { parts, moment: Moment { time_ns: deadline, number }, count, is_by_clock: true })
    }

    pub(super) fn has_clock(&self) -> bool {
        self.waiting.is_some()
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        let (_, since) = self.waiting.as_ref()?.table.oldest()?;
        Some(since.saturating_add(self.absent_ns))
    }

    fn is_last(&self, stage: u32) -> bool {
        self.stages.len() == (stage as usize).saturating_add(1)
    }

    fn show(&self, moments: &[Moment], last: u32, events: &mut Vec<Occurrence>) {
        for (stage, moment) in (0..=last).zip(moments) {
            events.push(self.shape.occurrence(stage, *moment));
        }
    }
}

impl Stage {
    fn differs_in(self, known: &[Digest; PARTS], given: &Given) -> bool {
        let pairs = (0_u32..).zip(known.iter().zip(&given.parts));
        let mut asked = pairs.filter(|(part, _)| self.differs & bit(*part) != 0);
        asked.all(|(_, (known, given))| known != given)
    }

    /// The key with what the stage tells that was not known.
    fn merged(self, mut known: [Digest; PARTS], given: &Given) -> [Digest; PARTS] {
        let fresh = self.gives & !(self.joins | self.differs);
        for ((part, place), told) in (0_u32..).zip(known.iter_mut()).zip(&given.parts) {
            if fresh & bit(part) != 0 {
                *place = *told;
            }
        }
        known
    }
}

impl Store {
    #[allow(clippy::type_complexity)] // what belongs to an entry, taken out whole
    fn get(&self, number: u32, shape: &Shape) -> Option<(Partial, [Digest; PARTS], [Moment; 32])> {
        let mut parts = [0; PARTS];
        let mut moments = [Moment::default(); 32];
        let first = (number as usize).saturating_mul(shape.parts);
        for (to, from) in parts.iter_mut().take(shape.parts).zip(self.parts.iter().skip(first)) {
            *to = *from;
        }
        let first = (number as usize).saturating_mul(shape.inputs);
        for (to, from) in moments.iter_mut().take(shape.inputs).zip(self.moments.iter().skip(first)) {
            *to = *from;
        }
        Some((*self.partials.get(number as usize)?, parts, moments))
    }

    /// An entry at this stage that agrees in all that is known.
    fn same(&self, digest: Digest, stage: u32, parts: &[Digest; PARTS], shape: &Shape) -> Option<u32> {
        let mut entry = self.table.find(digest);
        for _ in 0..SAME_MAX {
            let number = entry?;
            let first = (number as usize).saturating_mul(shape.parts);
            let known = self.parts.iter().skip(first).take(shape.parts);
            let is_there = self.partials.get(number as usize).is_some_and(|partial| partial.stage == stage);
            if is_there && known.eq(parts.iter().take(shape.parts)) {
                return Some(number);
            }
            entry = self.table.find_next(number);
        }
        None
    }

    #[allow(clippy::too_many_arguments)] // what belongs to an entry, each of another type
    fn keep(
        &mut self,
        digest: Digest,
        now_ns: u64,
        partial: Partial,
        parts: &[Digest; PARTS],
        moments: &[Moment],
        shape: &Shape,
        lives_ns: u64,
        limits: &mut CorrelationLimits,
    ) {
        if let Some((oldest, since)) = self.table.oldest().filter(|_| self.table.is_full()) {
            if since.saturating_add(lives_ns) >= now_ns {
                limits.evicted_groups = limits.evicted_groups.saturating_add(1);
            }
            self.table.remove(oldest);
        }
        let number = self.table.insert(digest, now_ns).unwrap_or(NOWHERE);
        if number == NOWHERE {
            return;
        }
        put(&mut self.partials, number, partial);
        let first = (number as usize).saturating_mul(shape.parts);
        for (at, part) in parts.iter().take(shape.parts).enumerate() {
            put_at(&mut self.parts, first.saturating_add(at), *part);
        }
        let first = (number as usize).saturating_mul(shape.inputs);
        for (at, moment) in moments.iter().take(shape.inputs).enumerate() {
            put_at(&mut self.moments, first.saturating_add(at), *moment);
        }
    }
}

/// Where what has reached a stage is found, by what the next must equal.
fn lookup(stage: u32, parts: &[Digest; PARTS], joins: u32) -> Digest {
    let asked = (0_u32..).zip(parts).filter(|(part, _)| joins & bit(*part) != 0);
    mixed(u64::from(stage).wrapping_add(2), asked.map(|(_, digest)| *digest))
}
