//! Stages that happen one after the other, joined by the parts of a key that each of them gives.
//!
//! What is under way is an entry for each stage that it has reached, found by what the next stage must equal. Of two that agree in
//! everything the one that began later replaces the other: whatever completes the older completes the newer. A stage that tells a
//! new part leaves the entry before it where it is, since another value may follow; else the entry moves on.

use super::capacity::Capacity;
use super::key::{mixed, Digest};
use super::machine::Shape;
use super::table::{Table, NOWHERE};
use super::window::{put, put_at};
use super::{bit, CorrelationLimits, Fired, Given, Moment, Occurrence, PARTS};

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
    /// When the stages of the sequence at hand happened.
    path: Vec<Moment>,
}

impl Sequence {
    pub(super) fn new(shape: Shape, stages: Vec<Stage>, absent_ns: u64, room: Capacity) -> Self {
        let store = || Store {
            table: Table::new(room.groups),
            partials: Vec::with_capacity(room.groups),
            parts: Vec::with_capacity(room.groups.saturating_mul(shape.parts)),
            moments: Vec::with_capacity(room.groups.saturating_mul(shape.inputs)),
        };
        let path = Vec::with_capacity(shape.inputs);
        Self { shape, stages, absent_ns, under_way: store(), waiting: (absent_ns > 0).then(store), path }
    }

    pub(super) fn take(
        &mut self,
        given: &Given,
        events: &mut Vec<Occurrence>,
        limits: &mut CorrelationLimits,
    ) -> Option<Fired> {
        let stage = *self.stages.get(given.stage as usize)?;
        if given.stage == 0 {
            self.path.clear();
            self.path.push(given.moment);
            let partial = Partial { start_ns: given.moment.time_ns, stage: 0 };
            return self.reach(partial, &given.parts, given, events, limits);
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
            let Some(partial) = self.under_way.partials.get(number as usize).copied() else { continue };
            if partial.start_ns.saturating_add(self.shape.timespan_ns) < given.moment.time_ns {
                self.under_way.table.remove(number);
                continue;
            }
            let is_next = partial.stage.saturating_add(1) == given.stage;
            if !is_next || !self.under_way.goes_on(number, partial.stage, stage, given, &self.shape) {
                continue;
            }
            let mut parts = self.under_way.parts_of(number, &self.shape);
            stage.merge(&mut parts, given);
            self.path.clear();
            self.path.extend_from_slice(self.under_way.moments_of(number, partial.stage, &self.shape));
            self.path.push(given.moment);
            let tells_more = stage.gives & !(stage.joins | stage.differs) != 0;
            if !tells_more || self.is_last(given.stage) {
                self.under_way.table.remove(number);
            }
            if fired.is_some() {
                continue; // one alert an event
            }
            let reached = Partial { stage: given.stage, ..partial };
            fired = self.reach(reached, &parts, given, events, limits);
        }
        if entry.is_some() {
            limits.cut_members = limits.cut_members.saturating_add(1);
        }
        fired
    }

    /// The sequence at hand has come to a stage: it is complete, waits for the last to stay away, or for the next.
    fn reach(
        &mut self,
        partial: Partial,
        parts: &[Digest; PARTS],
        given: &Given,
        events: &mut Vec<Occurrence>,
        limits: &mut CorrelationLimits,
    ) -> Option<Fired> {
        let next = partial.stage.saturating_add(1);
        if self.is_last(partial.stage) {
            show(&self.path, &self.shape, events);
            let count = u64::from(next);
            return Some(Fired { parts: *parts, moment: given.moment, count, is_by_clock: false });
        }
        let joins = self.stages.get(next as usize).map_or(0, |stage| stage.joins);
        let digest = lookup(partial.stage, parts, joins);
        let (now_ns, shape, path) = (given.moment.time_ns, &self.shape, &self.path);
        match &mut self.waiting {
            Some(waiting) if self.stages.len() == (next as usize).saturating_add(1) => {
                if waiting.same(digest, partial.stage, parts, shape).is_none() {
                    waiting.keep(digest, now_ns, partial, parts, path, shape, self.absent_ns, limits);
                }
            }
            _ => {
                let under_way = &mut self.under_way;
                if let Some(known) = under_way.same(digest, partial.stage, parts, shape) {
                    if under_way.partials.get(known as usize).is_some_and(|old| old.start_ns > partial.start_ns) {
                        return None;
                    }
                    if under_way.table.is_first(known, digest) {
                        under_way.table.touch(known, now_ns);
                        under_way.put(known, partial, parts, path, shape);
                        return None;
                    }
                    under_way.table.remove(known);
                }
                under_way.keep(digest, now_ns, partial, parts, path, shape, shape.timespan_ns, limits);
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
            if waiting.goes_on(number, given.stage.saturating_sub(1), stage, given, &self.shape) {
                waiting.table.remove(number);
            }
        }
    }

    /// One whose last stage stayed away for long enough before now.
    pub(super) fn due(&mut self, now_ns: u64, events: &mut Vec<Occurrence>) -> Option<Fired> {
        let deadline = self.deadline().filter(|deadline| *deadline < now_ns)?;
        let waiting = self.waiting.as_mut()?;
        let (number, _) = waiting.table.oldest()?;
        let partial = *waiting.partials.get(number as usize)?;
        let moments = waiting.moments_of(number, partial.stage, &self.shape);
        let last = moments.last().map_or(0, |moment| moment.number);
        show(moments, &self.shape, events);
        let parts = waiting.parts_of(number, &self.shape);
        waiting.table.remove(number);
        let count = u64::from(partial.stage.saturating_add(1));
        Some(Fired { parts, moment: Moment { time_ns: deadline, number: last }, count, is_by_clock: true })
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
}

/// The events of the stages that were reached.
fn show(path: &[Moment], shape: &Shape, events: &mut Vec<Occurrence>) {
    events.extend((0_u32..).zip(path).map(|(stage, moment)| shape.occurrence(stage, *moment)));
}

impl Stage {
    fn differs_in(self, known: &[Digest], given: &Given) -> bool {
        if self.differs == 0 {
            return true;
        }
        let pairs = (0_u32..).zip(known.iter().zip(&given.parts));
        let mut asked = pairs.filter(|(part, _)| self.differs & bit(*part) != 0);
        asked.all(|(_, (known, given))| known != given)
    }

    /// Adds to the key what the stage tells that was not known.
    fn merge(self, known: &mut [Digest; PARTS], given: &Given) {
        let fresh = self.gives & !(self.joins | self.differs);
        if fresh == 0 {
            return;
        }
        for ((part, place), told) in (0_u32..).zip(known.iter_mut()).zip(&given.parts) {
            if fresh & bit(part) != 0 {
                *place = *told;
            }
        }
    }
}

impl Store {
    /// The key of an entry.
    fn known(&self, number: u32, shape: &Shape) -> &[Digest] {
        let first = (number as usize).saturating_mul(shape.parts);
        self.parts.get(first..first.saturating_add(shape.parts)).unwrap_or_default()
    }

    fn parts_of(&self, number: u32, shape: &Shape) -> [Digest; PARTS] {
        let mut parts = [0; PARTS];
        for (to, from) in parts.iter_mut().zip(self.known(number, shape)) {
            *to = *from;
        }
        parts
    }

    /// When its stages up to this one happened.
    fn moments_of(&self, number: u32, stage: u32, shape: &Shape) -> &[Moment] {
        let first = (number as usize).saturating_mul(shape.inputs);
        let reached = first.saturating_add(stage as usize).saturating_add(1);
        self.moments.get(first..reached).unwrap_or_default()
    }

    /// Whether an event that the entry waits for is another than its last, and differs where it must.
    fn goes_on(&self, number: u32, reached: u32, stage: Stage, given: &Given, shape: &Shape) -> bool {
        let before = self.moments_of(number, reached, shape).last();
        let is_other = before.is_some_and(|before| before.number != given.moment.number);
        is_other && stage.differs_in(self.known(number, shape), given)
    }

    /// An entry at this stage that agrees in all that is known.
    fn same(&self, digest: Digest, stage: u32, parts: &[Digest; PARTS], shape: &Shape) -> Option<u32> {
        let mut entry = self.table.find(digest);
        for _ in 0..SAME_MAX {
            let number = entry?;
            let is_there = self.partials.get(number as usize).is_some_and(|partial| partial.stage == stage);
            if is_there && self.known(number, shape).iter().eq(parts.iter().take(shape.parts)) {
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
        path: &[Moment],
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
        self.put(number, partial, parts, path, shape);
    }

    /// Writes what belongs to an entry.
    fn put(&mut self, number: u32, partial: Partial, parts: &[Digest; PARTS], path: &[Moment], shape: &Shape) {
        put(&mut self.partials, number, partial);
        let first = (number as usize).saturating_mul(shape.parts);
        for (at, part) in parts.iter().take(shape.parts).enumerate() {
            put_at(&mut self.parts, first.saturating_add(at), *part);
        }
        let first = (number as usize).saturating_mul(shape.inputs);
        for at in 0..shape.inputs {
            put_at(&mut self.moments, first.saturating_add(at), path.get(at).copied().unwrap_or_default());
        }
    }
}

/// Where what has reached a stage is found, by what the next must equal.
fn lookup(stage: u32, parts: &[Digest; PARTS], joins: u32) -> Digest {
    let mut left = joins;
    let asked = std::iter::from_fn(|| {
        let part = left.trailing_zeros();
        left &= !bit(part);
        parts.get(part as usize).copied()
    });
    mixed(u64::from(stage).wrapping_add(2), asked)
}
