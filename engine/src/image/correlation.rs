//! Correlations in an image: whether they refer only to what is there, and whether their state fits.
//!
//! A correlation refers to rules and to correlations before it, so that what one of them makes of an event comes to an end.

use super::check::{each, is_in, must, numbered, slot, text, within, Complaint, ImageError};
use super::layout::{
    CorrelationRecord, InputRecord, Range, CORRELATE_SEQUENCE, CORRELATE_TEMPORAL, CORRELATE_VALUES, FLAG_ABOVE,
    FLAG_AT_END, FLAG_BELOW, INPUTS_MAX, NONE, PARTS_MAX,
};
use super::{at, slice, Image};
use crate::correlate::capacity;

/// Most that the state of one correlation may take.
pub const STATE_BYTES_MAX: u64 = 64 << 20;

/// Most that the state of all correlations of an image may take together: half of what a detector may have.
pub const STATES_BYTES_MAX: u64 = 256 << 20;

/// Most correlations that may stand on one another. An event goes through all of them at once.
pub const CHAIN_MAX: u32 = 4;

impl<'i> Image<'i> {
    /// Whether hits of this rule are only there for correlations, and are no alerts by themselves.
    #[must_use]
    pub fn is_silenced(&self, rule: u32) -> bool {
        self.silenced.binary_search_by_key(&rule, |silenced| silenced.get()).is_ok()
    }

    /// Whether hits of this rule are of use to some correlation.
    #[must_use]
    pub fn is_listened_to(&self, rule: u32) -> bool {
        self.inputs.iter().any(|input| input.rule.get() == rule)
    }

    /// Whether the rule at this position is a correlation.
    #[must_use]
    pub fn is_correlation(&self, rule: u32) -> bool {
        self.correlation_of(rule).is_some()
    }

    /// What people call this input of a correlation: the name of a stage or of a rule.
    #[must_use]
    pub fn input_name(&self, input: u32) -> &'i str {
        at(self.inputs, input).map_or("", |input| self.text(input.name))
    }

    /// The correlation whose rule is at this position.
    pub(crate) fn correlation_of(&self, rule: u32) -> Option<(usize, &'i CorrelationRecord)> {
        self.correlations.iter().enumerate().find(|(_, correlation)| correlation.rule.get() == rule)
    }
}

/// What is known of the correlations that were looked at.
struct Seen {
    rule: u32,
    parts: u32,
    depth: u32,
}

pub(super) fn check(image: &Image<'_>) -> Result<(), ImageError> {
    let mut seen: Vec<Seen> = Vec::with_capacity(image.correlations.len());
    let mut states_bytes = 0_u64;
    numbered("correlation", image.correlations, |_, correlation| {
        check_correlation(image, correlation)?;
        let depth = check_inputs(image, correlation, &seen)?;
        states_bytes = states_bytes.saturating_add(correlation.state_bytes.get());
        must(states_bytes <= STATES_BYTES_MAX, "its state and those before it take more than all may")?;
        let rule = correlation.rule.get();
        must(seen.iter().all(|before| before.rule != rule), "has the rule of another")?;
        seen.push(Seen { rule, parts: correlation.parts.get(), depth });
        Ok(())
    })?;
    each("input", image.inputs, |input| {
        text(image, input.name)?;
        must(is_in(image.rules, input.rule.get()), "its rule is not there")
    })?;
    let mut before = None;
    each("silenced rule", image.silenced, |rule| {
        must(is_in(image.rules, rule.get()), "is not there")?;
        must(before.replace(rule.get()).is_none_or(|before| before < rule.get()), "is not after the one before it")
    })
}

fn check_correlation(image: &Image<'_>, correlation: &CorrelationRecord) -> Result<(), Complaint> {
    let (kind, flags) = (correlation.kind.get(), correlation.flags.get());
    must(is_in(image.rules, correlation.rule.get()), "its rule is not there")?;
    must(kind <= CORRELATE_SEQUENCE, "is of an unknown kind")?;
    must(flags & !(FLAG_AT_END | FLAG_ABOVE | FLAG_BELOW) == 0, "has unknown flags")?;
    must(correlation.parts.get() <= PARTS_MAX, "has too many parts in its key")?;
    let inputs = correlation.inputs.count.get();
    must((1..=INPUTS_MAX).contains(&inputs), "has no inputs, or too many")?;
    within(image.inputs, correlation.inputs, "its inputs lie outside")?;
    within(image.words, correlation.terms, "its terms lie outside")?;
    must(correlation.terms.count.get().is_multiple_of(2), "its terms are not pairs")?;
    let has_terms = correlation.terms.count.get() > 0;
    must(has_terms == (kind == CORRELATE_TEMPORAL), "has terms that its kind has not, or lacks them")?;
    must(correlation.timespan_ns.get() > 0, "has no timespan")?;
    must(correlation.absent_ns.get() == 0 || kind == CORRELATE_SEQUENCE && inputs > 1, "waits for nothing")?;
    must(correlation.state_bytes.get() <= STATE_BYTES_MAX, "its state takes more than one may")?;
    must(capacity(correlation).is_some(), "its state has no room for what it counts")
}

/// How many correlations stand on one another here.
fn check_inputs(image: &Image<'_>, correlation: &CorrelationRecord, seen: &[Seen]) -> Result<u32, Complaint> {
    let parts = correlation.parts.get();
    let is_sequence = correlation.kind.get() == CORRELATE_SEQUENCE;
    let is_measured = (CORRELATE_VALUES..CORRELATE_TEMPORAL).contains(&correlation.kind.get());
    let is_number = is_measured && correlation.kind.get() != CORRELATE_VALUES;
    let (mut depth, mut known) = (0, 0_u32);
    for input in slice(image.inputs, correlation.inputs) {
        let inner = seen.iter().find(|before| before.rule == input.rule.get());
        let is_later = inner.is_none() && image.is_correlation(input.rule.get());
        must(!is_later, "an input is a correlation that is not before it")?;
        depth = depth.max(inner.map_or(0, |inner| inner.depth));
        within(image.words, input.parts, "an input's parts lie outside")?;
        must(input.parts.count.get() == parts, "an input has not as many parts as the key")?;
        let mut given = 0_u32;
        for (part, source) in (0_u32..).zip(image.words_of(input.parts)) {
            if source.get() != NONE {
                check_source(image, inner, source.get())?;
                given |= 1_u32.checked_shl(part).unwrap_or(0);
            }
        }
        let value = input.value.get();
        must((value != NONE) == is_measured, "an input's measured field is not there, or not asked for")?;
        if value != NONE {
            must(inner.is_none() || !is_number, "an input is a correlation, which has no numbers")?;
            check_source(image, inner, value)?;
        }
        known = check_joins(input, is_sequence, given, known, parts)?;
    }
    let depth = depth.saturating_add(1);
    must(depth <= CHAIN_MAX, "stands on too many others")?;
    Ok(depth)
}

fn check_source(image: &Image<'_>, inner: Option<&Seen>, source: u32) -> Result<(), Complaint> {
    match inner {
        Some(inner) => must(source < inner.parts, "an input asks a correlation for a part that it has not"),
        None => slot(image, source, "an input asks for a field that is not there"),
    }
}

/// The parts that are known once this input has happened.
fn check_joins(input: &InputRecord, is_sequence: bool, given: u32, known: u32, parts: u32) -> Result<u32, Complaint> {
    let (joins, differs) = (input.joins.get(), input.differs.get());
    let all = 1_u32.checked_shl(parts).unwrap_or(0).wrapping_sub(1);
    must(input.folds.get() & !all == 0, "an input folds a part that is not there")?;
    if !is_sequence {
        must(joins == 0 && differs == 0, "an input joins what has no order")?;
        must(given == all, "an input lacks a part of the key")?;
        return Ok(0);
    }
    must(joins & differs == 0, "an input joins what must differ")?;
    must((joins | differs) & !(given & known) == 0, "an input joins what is not known before it")?;
    must(given & known & !(joins | differs) == 0, "an input gives a part anew")?;
    Ok(known | given)
}

/// The words of a range, as pairs.
pub(crate) fn pairs<'i>(image: &Image<'i>, range: Range) -> impl Iterator<Item = (u32, u32)> + 'i {
    image.words_of(range).chunks_exact(2).filter_map(|pair| match pair {
        [first, second] => Some((first.get(), second.get())),
        _ => None,
    })
}
