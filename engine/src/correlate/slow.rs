//! The slow sibling of the engine's correlations: it keeps every hit, goes through all of them again with each, and notes what it made
//! of it. It shares no state with the fast one; the tests hold the two to the same verdicts.
//!
//! It knows no bounds on memory, so it is for explanations alone: where the engine's tables were full, it may know more than the engine.

use std::collections::VecDeque;

use super::account::{Step, Verdict};
use super::front::Judge;
use super::key::Digest;
use super::machine::Shape;
use super::sequence::Stage;
use super::slow_sequence::Ways;
use super::{bit, CorrelationLimits, Fired, Given, Moment, Occurrence, EVENTS_SHOWN_MAX, PARTS};
use crate::image::correlation::pairs;
use crate::image::layout::{
    CorrelationRecord, CORRELATE_AVERAGE, CORRELATE_COUNT, CORRELATE_GREATEST, CORRELATE_LEAST, CORRELATE_SEQUENCE,
    CORRELATE_TEMPORAL, CORRELATE_VALUES, FLAG_AT_END,
};
use crate::image::{slice, Image};
use crate::Field;

/// Steps that are kept: the last ones, since they tell how it ended.
const STEPS_KEPT_MAX: usize = 64;

/// A correlation that is judged by going through everything.
#[derive(Debug)]
pub(super) struct Slow {
    rule: u32,
    pub(super) shape: Shape,
    way: Way,
    pub(super) notes: Notes,
}

/// What was made of hits.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) steps: VecDeque<Step>,
    /// By stage: hits, and those that lack a field.
    pub(super) seen: Vec<(u64, u64)>,
    /// By stage: its last hit.
    pub(super) last: Vec<Option<Moment>>,
}

#[derive(Debug)]
enum Way {
    /// Hits by group, since the group began or last fired.
    Window {
        is_at_end: bool,
        groups: Vec<Group>,
    },
    Temporal {
        terms: Vec<(u32, u32)>,
        groups: Vec<Group>,
    },
    Sequence(Ways),
}

/// A group with all of its hits.
#[derive(Debug)]
struct Group {
    parts: [Digest; PARTS],
    hits: Vec<Given>,
}

impl Notes {
    pub(super) fn add(&mut self, stage: u32, moment: Moment, parts: [Digest; PARTS], verdict: Verdict) {
        if self.steps.len() >= STEPS_KEPT_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(Step { stage, moment, parts, verdict });
    }

    fn see(&mut self, given: &Given) {
        if let Some((hits, _)) = self.seen.get_mut(given.stage as usize) {
            *hits = hits.saturating_add(1);
        }
    }
}

impl<'i> Judge<'i> for Slow {
    fn of(image: &Image<'i>, correlation: &'i CorrelationRecord, _: usize) -> Option<Self> {
        let shape = Shape::of(correlation);
        let way = match shape.kind {
            CORRELATE_TEMPORAL => {
                Way::Temporal { terms: pairs(image, correlation.terms).collect(), groups: Vec::new() }
            }
            CORRELATE_SEQUENCE => {
                let inputs = slice(image.inputs, correlation.inputs).iter();
                let stages = inputs.map(|input| Stage::of(image, input)).collect();
                Way::Sequence(Ways::new(stages, shape.timespan_ns, correlation.absent_ns.get()))
            }
            _ => Way::Window { is_at_end: shape.flags & FLAG_AT_END != 0, groups: Vec::new() },
        };
        let notes = Notes { seen: vec![(0, 0); shape.inputs], last: vec![None; shape.inputs], ..Notes::default() };
        Some(Self { rule: correlation.rule.get(), shape, way, notes })
    }

    fn rule(&self) -> u32 {
        self.rule
    }

    fn take(&mut self, given: &Given, events: &mut Vec<Occurrence>, _: &mut CorrelationLimits) -> Option<Fired> {
        let Self { shape, way, notes, .. } = self;
        notes.see(given);
        let fired = match way {
            Way::Window { is_at_end, groups } => window(shape, *is_at_end, groups, given, events, notes),
            Way::Temporal { terms, groups } => temporal(shape, terms, groups, given, events, notes),
            Way::Sequence(ways) => ways.take(given, notes).map(|(fired, path)| {
                events.extend((0..).zip(path).map(|(stage, moment)| shape.occurrence(stage, moment)));
                fired
            }),
        };
        if let Some(last) = notes.last.get_mut(given.stage as usize) {
            *last = Some(given.moment);
        }
        if let Some(fired) = &fired {
            notes.add(given.stage, given.moment, fired.parts, Verdict::Fired { count: fired.count });
        }
        fired
    }

    fn due(&mut self, now_ns: u64, events: &mut Vec<Occurrence>) -> Option<Fired> {
        let Self { shape, way, notes, .. } = self;
        match way {
            Way::Window { is_at_end: true, groups } => window_due(shape, groups, now_ns, events, notes),
            Way::Window { .. } | Way::Temporal { .. } => None,
            Way::Sequence(ways) => ways.due(now_ns, notes).map(|(fired, path)| {
                events.extend((0..).zip(path).map(|(stage, moment)| shape.occurrence(stage, moment)));
                fired
            }),
        }
    }

    fn has_clock(&self) -> bool {
        match &self.way {
            Way::Window { is_at_end, .. } => *is_at_end,
            Way::Temporal { .. } => false,
            Way::Sequence(ways) => ways.has_clock(),
        }
    }

    fn deadline(&self) -> Option<u64> {
        match &self.way {
            Way::Window { is_at_end: true, groups } => groups.first().and_then(|group| ends(&self.shape, group)),
            Way::Window { .. } | Way::Temporal { .. } => None,
            Way::Sequence(ways) => ways.deadline(),
        }
    }

    fn lacks(&mut self, stage: u32, field: Field<'i>, moment: Moment) {
        if let Some((hits, lacking)) = self.notes.seen.get_mut(stage as usize) {
            (*hits, *lacking) = (hits.saturating_add(1), lacking.saturating_add(1));
        }
        self.notes.add(stage, moment, [0; PARTS], Verdict::Lacks { field: field.name.to_owned() });
    }
}

impl Slow {
    /// What has begun and may still come to something.
    pub(super) fn under_way(&self) -> Vec<Open> {
        let shape = &self.shape;
        let open = |group: &Group| {
            let first = group.hits.first()?;
            let until_ns = first.moment.time_ns.saturating_add(shape.timespan_ns);
            Some(Open { parts: group.parts, reached: None, since: first.moment, until_ns, hits: group.hits.len() })
        };
        match &self.way {
            Way::Window { groups, .. } | Way::Temporal { groups, .. } => groups.iter().filter_map(open).collect(),
            Way::Sequence(ways) => ways.open(),
        }
    }
}

/// What has begun.
pub(super) struct Open {
    pub(super) parts: [Digest; PARTS],
    /// Of a sequence: the stage.
    pub(super) reached: Option<u32>,
    pub(super) since: Moment,
    pub(super) until_ns: u64,
    pub(super) hits: usize,
}

fn ends(shape: &Shape, group: &Group) -> Option<u64> {
    Some(group.hits.first()?.moment.time_ns.saturating_add(shape.timespan_ns))
}

/// The group of a hit, with the hit in it.
fn joined<'g>(shape: &Shape, groups: &'g mut Vec<Group>, given: &Given) -> Option<(usize, &'g mut Group)> {
    let of_key = |parts: &[Digest; PARTS]| parts.iter().take(shape.parts).copied().collect::<Vec<_>>();
    let own = of_key(&given.parts);
    let position = match groups.iter().position(|group| of_key(&group.parts) == own) {
        Some(position) => position,
        None => {
            groups.push(Group { parts: given.parts, hits: Vec::new() });
            groups.len().saturating_sub(1)
        }
    };
    let group = groups.get_mut(position)?;
    group.hits.push(*given);
    Some((position, group))
}

fn window(
    shape: &Shape,
    is_at_end: bool,
    groups: &mut Vec<Group>,
    given: &Given,
    events: &mut Vec<Occurrence>,
    notes: &mut Notes,
) -> Option<Fired> {
    let now_ns = given.moment.time_ns;
    let (position, group) = joined(shape, groups, given)?;
    if is_at_end {
        let until_ns = ends(shape, group)?;
        notes.add(given.stage, given.moment, given.parts, Verdict::WaitsUntil { time_ns: until_ns });
        return None;
    }
    group.hits.retain(|hit| hit.moment.time_ns.saturating_add(shape.timespan_ns) >= now_ns);
    let (sum, count) = measured(shape, &group.hits);
    if !shape.holds(sum, weight(shape, count)) {
        let verdict = Verdict::Measures { measured: readable(shape, sum, count), events: group.hits.len() };
        notes.add(given.stage, given.moment, given.parts, verdict);
        return None;
    }
    show(shape, &group.hits, events);
    groups.remove(position);
    Some(Fired { parts: given.parts, moment: given.moment, count, is_by_clock: false })
}

/// The oldest group whose time is over, if it fires.
fn window_due(
    shape: &Shape,
    groups: &mut Vec<Group>,
    now_ns: u64,
    events: &mut Vec<Occurrence>,
    notes: &mut Notes,
) -> Option<Fired> {
    loop {
        let deadline = groups.first().and_then(|group| ends(shape, group)).filter(|deadline| *deadline < now_ns)?;
        let group = groups.remove(0);
        let last = group.hits.last()?;
        let (sum, count) = measured(shape, &group.hits);
        let moment = Moment { time_ns: deadline, number: last.moment.number };
        let fires = shape.holds(sum, weight(shape, count));
        let (measured, hits) = (readable(shape, sum, count), group.hits.len());
        notes.add(last.stage, moment, group.parts, Verdict::Over { measured, events: hits, fires });
        if fires {
            show(shape, &group.hits, events);
            return Some(Fired { parts: group.parts, moment, count, is_by_clock: true });
        }
    }
}

/// What the bounds are held against, and how many events or values that is.
fn measured(shape: &Shape, hits: &[Given]) -> (i128, u64) {
    let amounts = || hits.iter().map(|hit| i128::from(hit.amount));
    let count = hits.len() as u64;
    match shape.kind {
        CORRELATE_COUNT => (i128::from(count), count),
        CORRELATE_VALUES => {
            let mut values: Vec<Digest> = hits.iter().map(|hit| hit.value).collect();
            values.sort_unstable();
            values.dedup();
            (values.len() as i128, values.len() as u64)
        }
        CORRELATE_LEAST => (amounts().min().unwrap_or(i128::MAX), count),
        CORRELATE_GREATEST => (amounts().max().unwrap_or(i128::MIN), count),
        _ => (amounts().fold(0, i128::saturating_add), count),
    }
}

/// Bounds of a mean are for one of its numbers.
fn weight(shape: &Shape, count: u64) -> u64 {
    if shape.kind == CORRELATE_AVERAGE {
        count
    } else {
        1
    }
}

/// The measure for people.
#[allow(clippy::cast_precision_loss)] // for people
fn readable(shape: &Shape, sum: i128, count: u64) -> f64 {
    match shape.kind {
        CORRELATE_COUNT | CORRELATE_VALUES => sum as f64,
        CORRELATE_AVERAGE => sum as f64 / count.max(1) as f64 / 1000.0,
        _ => sum as f64 / 1000.0,
    }
}

fn show(shape: &Shape, hits: &[Given], events: &mut Vec<Occurrence>) {
    let first = hits.len().saturating_sub(EVENTS_SHOWN_MAX);
    events.extend(hits.iter().skip(first).map(|hit| hit.occurrence(shape)));
}

fn temporal(
    shape: &Shape,
    terms: &[(u32, u32)],
    groups: &mut Vec<Group>,
    given: &Given,
    events: &mut Vec<Occurrence>,
    notes: &mut Notes,
) -> Option<Fired> {
    let (position, group) = joined(shape, groups, given)?;
    let now_ns = given.moment.time_ns;
    group.hits.retain(|hit| hit.moment.time_ns.saturating_add(shape.timespan_ns) >= now_ns);
    let happened = group.hits.iter().fold(0, |mask, hit| mask | bit(hit.stage));
    let holds = |(must, must_not): &&(u32, u32)| happened & must == *must && happened & must_not == 0;
    let Some((must, _)) = terms.iter().find(holds).copied() else {
        // The way that lacks the fewest is what people had in mind.
        let lacking = |(must, _): &&(u32, u32)| (must & !happened).count_ones();
        let (must, must_not) = terms.iter().min_by_key(lacking).copied().unwrap_or_default();
        let verdict = Verdict::Lacking { missing: must & !happened, unwanted: must_not & happened };
        notes.add(given.stage, given.moment, given.parts, verdict);
        return None;
    };
    for stage in (0..32_u32).filter(|stage| must & bit(*stage) != 0) {
        let last = group.hits.iter().rfind(|hit| hit.stage == stage);
        events.extend(last.map(|hit| hit.occurrence(shape)));
    }
    groups.remove(position);
    let count = u64::from(must.count_ones());
    Some(Fired { parts: given.parts, moment: given.moment, count, is_by_clock: false })
}
