//! What several events make of one another: counts, distinct values, rules that fire together, sequences.
//!
//! Rules find (`on_hit`), and what they found waits until its time is settled (`advance`), so that events which were read out of
//! order are judged in the order in which they happened. One that comes later than that is judged at once, as if it had happened
//! then, and is counted. A correlation that fires is itself found by those that stand on it.
//!
//! All state lies in tables that are reserved when the correlator is made, as large as the image says (`capacity`). A full one
//! lets the oldest go, and counts what that loses (`CorrelationLimits`). Nothing goes through a whole window for an event.

mod capacity;
mod key;
mod queue;
mod sequence;
mod table;
mod temporal;
mod window;

pub use capacity::{capacity, Capacity};
pub use key::HashKey;

use crate::fold::fold_into;
use crate::image::correlation::pairs;
use crate::image::layout::{
    CorrelationRecord, InputRecord, CORRELATE_SEQUENCE, CORRELATE_TEMPORAL, CORRELATE_VALUES, FLAG_ABOVE, FLAG_AT_END,
    FLAG_BELOW, NONE, PARTS_MAX,
};
use crate::image::{at, slice, Image};
use crate::scratch::{ends, write_text};
use crate::{Field, Fields, Value};
use key::{mixed, Digest};
use queue::Queue;
use sequence::{Sequence, Stage};
use temporal::Temporal;
use window::Window;

pub(crate) const PARTS: usize = PARTS_MAX as usize;

/// Most events that a hit names.
pub const EVENTS_SHOWN_MAX: usize = 16;

/// Most that correlations on correlations may do for one event.
const STEPS_MAX: u32 = 1024;

/// Numbers are measured in thousandths.
const THOUSANDTHS: i64 = 1000;

/// When something happened, and the number that the caller knows it by: no two events may have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds on the caller's clock.
    pub time_ns: u64,
    /// The caller's number of the event.
    pub number: u64,
}

/// An event that led to a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The input that it came by; `Image::input_name` says what people call it.
    pub input: u32,
    /// Which event.
    pub moment: Moment,
}

/// A correlation that fired.
#[derive(Clone, Copy, Debug)]
pub struct Correlated<'c> {
    /// The position of its rule.
    pub rule: u32,
    /// When: that of the event that completed it, or the end of a time that was waited for.
    pub moment: Moment,
    /// It fired because a time was over, not with an event; the number is then that of its last event.
    pub is_by_clock: bool,
    /// What was counted: events, values, inputs or stages.
    pub count: u64,
    /// Events that led to it, of many the last.
    pub events: &'c [Occurrence],
}

/// What correlations could not do within their bounds, since they were made. Each is a reason why something may not fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CorrelationLimits {
    /// Groups and sequences that were let go while they were still within their time, because their table was full.
    pub evicted_groups: u64,
    /// Events and values of a group that were let go, and sequences that an event was not held against: too many.
    pub cut_members: u64,
    /// Events that came after their time was settled: they were judged as if they had happened then.
    pub late_events: u64,
    /// Hits that lack a field that they are grouped by or measured in.
    pub incomplete_hits: u64,
    /// Hits that were judged before their time was settled, because too many waited.
    pub hurried_hits: u64,
    /// Hits of correlations that others which stand on them did not get: too many at once.
    pub dropped_hits: u64,
}

/// Something found, as it is judged: one event at one input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    input: u32,
    /// The input's position in its correlation.
    stage: u32,
    moment: Moment,
    parts: [Digest; PARTS],
    /// Of a field whose values are counted.
    value: Digest,
    /// Of a field that is measured, in thousandths.
    amount: i64,
}

/// A correlation that fired, before it is told.
pub(crate) struct Fired {
    parts: [Digest; PARTS],
    moment: Moment,
    count: u64,
    is_by_clock: bool,
}

/// What the state of every kind of correlation needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    kind: u32,
    flags: u32,
    least: i64,
    most: i64,
    timespan_ns: u64,
    parts: usize,
    inputs: usize,
    first_input: u32,
}

#[derive(Debug)]
enum State {
    Window(Window),
    Temporal(Temporal),
    Sequence(Box<Sequence>),
}

#[derive(Debug)]
struct Machine {
    rule: u32,
    state: State,
}

/// An input, taken out of the image.
#[derive(Debug)]
struct Input {
    machine: u32,
    stage: u32,
    kind: u32,
    /// By part: a field's slot, a correlation's part, or `NONE`.
    sources: Vec<u32>,
    value: u32,
    folds: u32,
}

/// The state of all correlations of an image.
#[derive(Debug)]
pub struct Correlator<'i> {
    image: Image<'i>,
    key: HashKey,
    machines: Vec<Machine>,
    inputs: Vec<Input>,
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
    limits: CorrelationLimits,
}

/// What is done with a hit.
type OnHit<'h> = &'h mut dyn FnMut(Correlated<'_>);

impl<'i> Image<'i> {
    /// The state of this image's correlations, with nothing in it yet.
    #[must_use]
    pub fn correlator(&self, key: HashKey) -> Correlator<'i> {
        Correlator::new(*self, key)
    }
}

impl<'i> Correlator<'i> {
    fn new(image: Image<'i>, key: HashKey) -> Self {
        let mut inputs: Vec<Input> = Vec::with_capacity(image.inputs.len());
        inputs.extend(image.inputs.iter().map(|_| Input::unused()));
        let mut machines = Vec::with_capacity(image.correlations.len());
        for (number, correlation) in (0_u32..).zip(image.correlations) {
            machines.extend(Machine::of(&image, correlation));
            let records = slice(image.inputs, correlation.inputs);
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
        let has_clock = |(number, machine): (usize, &Machine)| machine.has_clock().then_some(number);
        Self {
            image,
            key,
            clocks: machines.iter().enumerate().filter_map(has_clock).collect(),
            machines,
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
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    /// Whether a correlation listens to this rule.
    #[must_use]
    #[inline]
    pub fn listens_to(&self, rule: u32) -> bool {
        let (first, end) = self.listeners_of(rule);
        first < end
    }

    /// Whether something may fire without another event, by `advance` alone.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.queue.is_empty() || self.machines.iter().any(|machine| machine.deadline().is_some())
    }

    /// What could not be done so far.
    #[must_use]
    pub fn limits(&self) -> CorrelationLimits {
        self.limits
    }

    /// A rule has fired on an event. What that makes fire is told by `advance`; here only if too much waits for it.
    pub fn on_hit(&mut self, rule: u32, event: &dyn Fields, moment: Moment, hit: OnHit<'_>) {
        let (first, end) = self.listeners_of(rule);
        for position in first..end {
            let Some(input) = self.listeners.get(position).copied() else { return };
            let Some(given) = self.given(input, event, moment) else {
                self.limits.incomplete_hits = self.limits.incomplete_hits.saturating_add(1);
                continue;
            };
            if self.queue.is_full() {
                self.limits.hurried_hits = self.limits.hurried_hits.saturating_add(1);
                self.settle_next(u64::MAX, hit);
            }
            self.queue.push(given);
        }
    }

    /// Everything up to this time has been read: it is judged, and what waited for a time until now fires.
    pub fn advance(&mut self, now_ns: u64, hit: OnHit<'_>) {
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
                let Some(machine) = self.machines.get_mut(number) else { break };
                let Some(fired) = machine.due(now_ns, &mut self.events) else { break };
                self.tell(number, &fired, &mut STEPS_MAX.clone(), hit);
            }
        }
    }

    fn feed(&mut self, given: &Given, steps: &mut u32, hit: OnHit<'_>) {
        let Some(input) = self.inputs.get(given.input as usize) else { return };
        let number = input.machine as usize;
        let Some(machine) = self.machines.get_mut(number) else { return };
        self.events.clear();
        if let Some(fired) = machine.take(given, &mut self.events, &mut self.limits) {
            self.tell(number, &fired, steps, hit);
        }
    }

    /// Tells of a correlation that fired, and what listens to it.
    fn tell(&mut self, number: usize, fired: &Fired, steps: &mut u32, hit: OnHit<'_>) {
        let Some(rule) = self.machines.get(number).map(|machine| machine.rule) else { return };
        let Fired { moment, count, is_by_clock, .. } = *fired;
        hit(Correlated { rule, moment, is_by_clock, count, events: &self.events });
        let (first, end) = self.listeners_of(rule);
        for position in first..end {
            let Some(left) = steps.checked_sub(1) else {
                self.limits.dropped_hits = self.limits.dropped_hits.saturating_add(1);
                return;
            };
            *steps = left;
            let given = self.listeners.get(position).and_then(|input| self.given_by(*input, fired));
            if let Some(given) = given {
                self.feed(&given, steps, hit);
            }
        }
    }

    #[inline]
    fn listeners_of(&self, rule: u32) -> (usize, usize) {
        let at = |rule: usize| self.first_listener.get(rule).map_or(0, |first| *first as usize);
        (at(rule as usize), at((rule as usize).saturating_add(1)))
    }

    /// What an input is given by an event; `None` if the event lacks a field.
    fn given(&mut self, number: u32, event: &dyn Fields, moment: Moment) -> Option<Given> {
        let Self { image, key, inputs, text, .. } = self;
        let input = inputs.get(number as usize)?;
        let mut parts = [0; PARTS];
        for (part, (to, slot)) in (0_u32..).zip(parts.iter_mut().zip(&input.sources)) {
            if *slot != NONE {
                let folds = input.folds & bit(part) != 0;
                *to = digest_of(image, *slot, folds, *key, event, text)?;
            }
        }
        let (mut value, mut amount) = (0, 0);
        if input.value != NONE {
            match input.kind {
                CORRELATE_VALUES => value = digest_of(image, input.value, false, *key, event, text)?,
                _ => amount = amount_of(image, input.value, event)?,
            }
        }
        Some(Given { input: number, stage: input.stage, moment, parts, value, amount })
    }

    /// What an input is given by a correlation.
    fn given_by(&self, number: u32, fired: &Fired) -> Option<Given> {
        let input = self.inputs.get(number as usize)?;
        let of = |source: u32| fired.parts.get(source as usize).copied();
        let mut parts = [0; PARTS];
        for (to, source) in parts.iter_mut().zip(&input.sources) {
            if *source != NONE {
                *to = of(*source)?;
            }
        }
        let value = if input.value == NONE { 0 } else { of(input.value)? };
        Some(Given { input: number, stage: input.stage, moment: fired.moment, parts, value, amount: 0 })
    }
}

impl Machine {
    fn of(image: &Image<'_>, correlation: &CorrelationRecord) -> Option<Self> {
        let room = capacity(correlation)?;
        let bits = |word: u64| i64::from_le_bytes(word.to_le_bytes());
        let shape = Shape {
            kind: correlation.kind.get(),
            flags: correlation.flags.get(),
            least: bits(correlation.least.get()),
            most: bits(correlation.most.get()),
            timespan_ns: correlation.timespan_ns.get(),
            parts: correlation.parts.get() as usize,
            inputs: correlation.inputs.count.get() as usize,
            first_input: correlation.inputs.first.get(),
        };
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

impl Stage {
    fn of(image: &Image<'_>, input: &InputRecord) -> Self {
        let told = (0_u32..).zip(image.words_of(input.parts)).filter(|(_, source)| source.get() != NONE);
        let gives = told.fold(0, |gives, (part, _)| gives | bit(part));
        Self { joins: input.joins.get(), differs: input.differs.get(), gives }
    }
}

impl Input {
    fn unused() -> Self {
        Self { machine: NONE, stage: 0, kind: 0, sources: Vec::new(), value: NONE, folds: 0 }
    }

    fn of(image: &Image<'_>, record: &InputRecord, machine: u32, stage: u32, kind: u32) -> Self {
        let sources = image.words_of(record.parts).iter().map(|source| source.get()).collect();
        Self { machine, stage, kind, sources, value: record.value.get(), folds: record.folds.get() }
    }
}

impl Given {
    fn occurrence(&self, shape: &Shape) -> Occurrence {
        shape.occurrence(self.stage, self.moment)
    }
}

impl Shape {
    fn occurrence(&self, stage: u32, moment: Moment) -> Occurrence {
        Occurrence { input: self.first_input.saturating_add(stage), moment }
    }

    /// The group that what was given belongs to.
    fn group_of(&self, given: &Given) -> Digest {
        mixed(0, given.parts.iter().take(self.parts).copied())
    }

    /// Whether a sum over this many is within the bounds, each of which is for one.
    fn holds(&self, sum: i128, count: u64) -> bool {
        let (least, most) =
            (i128::from(self.least).saturating_mul(count.into()), i128::from(self.most).saturating_mul(count.into()));
        let is_above = if self.flags & FLAG_ABOVE != 0 { sum > least } else { sum >= least };
        let is_below = if self.flags & FLAG_BELOW != 0 { sum < most } else { sum <= most };
        is_above && is_below
    }
}

/// The bit of a part, a stage or an input.
pub(crate) fn bit(number: u32) -> u32 {
    1_u32.checked_shl(number).unwrap_or(0)
}

/// The digest of the first value of a field that is not null.
fn digest_of(
    image: &Image<'_>,
    slot: u32,
    folds: bool,
    key: HashKey,
    event: &dyn Fields,
    text: &mut Vec<u8>,
) -> Option<Digest> {
    let name = image.text(at(image.fields, slot)?.name);
    let mut digest = None;
    event.get(Field { slot: u16::try_from(slot).ok()?, name }, &mut |value| {
        if digest.is_some() || value == Value::Null {
            return;
        }
        text.clear();
        digest = Some(match value {
            Value::Text(bytes) => match ends(bytes) {
                (whole, None) if !folds => key.digest(whole),
                (head, tail) => {
                    let mut add =
                        |part: &[u8]| if folds { fold_into(part, text) } else { text.extend_from_slice(part) };
                    add(head);
                    tail.into_iter().for_each(add);
                    key.digest(text)
                }
            },
            other => {
                write_text(other, text);
                key.digest(text)
            }
        });
    });
    digest
}

/// The first value of a field that is a number, in thousandths; one too large for that is the largest there is.
fn amount_of(image: &Image<'_>, slot: u32, event: &dyn Fields) -> Option<i64> {
    let name = image.text(at(image.fields, slot)?.name);
    let mut amount = None;
    let whole = |number: i64| number.saturating_mul(THOUSANDTHS);
    #[allow(clippy::cast_possible_truncation)] // a float that is too large becomes the largest number
    let real = |number: f64| (number * THOUSANDTHS as f64).round() as i64;
    event.get(Field { slot: u16::try_from(slot).ok()?, name }, &mut |value| {
        if amount.is_none() {
            amount = match value {
                Value::Int(number) => Some(whole(number)),
                Value::Real(number) => number.is_finite().then(|| real(number)),
                Value::Text(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| {
                    let text = text.trim();
                    let parsed = text.parse().ok().filter(|number: &f64| number.is_finite());
                    text.parse().ok().map(whole).or_else(|| parsed.map(real))
                }),
                Value::Null | Value::Bool(_) => None,
            };
        }
    });
    amount
}
