//! Correlations to records: each is a rule that never fires by itself, an entry that says what is asked, and its inputs.

use std::collections::BTreeMap;

use watertight_engine::capacity;
use watertight_engine::image::layout::{
    CorrelationRecord, InputRecord, NodeRecord, Range, RuleRecord, Word, CORRELATE_AVERAGE, CORRELATE_COUNT,
    CORRELATE_GREATEST, CORRELATE_LEAST, CORRELATE_SEQUENCE, CORRELATE_SUM, CORRELATE_TEMPORAL, CORRELATE_VALUES,
    FLAG_ABOVE, FLAG_AT_END, FLAG_BELOW, NODE_ANY, NONE, REJECT, TYPE_ANY,
};
use watertight_engine::image::STATES_BYTES_MAX;
use watertight_engine::Level;

use super::asks::NUMBERS;
use super::tables::Tables;
use super::CompileError;
use crate::rule::{Bounds, KeyField, Kind, Measure};

/// A correlation with what it refers to.
#[derive(Clone, Debug)]
pub struct Correlation<'s> {
    /// What was written.
    pub correlation: &'s crate::rule::Correlation,
    /// The file it is in.
    pub file: &'s str,
    /// The line its document begins at, from 1.
    pub line: usize,
    /// What it listens to.
    pub inputs: Vec<Input>,
}

/// An input, looked up.
#[derive(Clone, Debug)]
pub struct Input {
    /// What people call it.
    pub name: String,
    /// What it listens to.
    pub target: Listened,
    /// For each part of the key what gives it.
    pub parts: Vec<Option<Place>>,
    /// What is measured.
    pub value: Option<Place>,
    /// As in [`crate::rule::Input`], as the next two.
    pub joins: u32,
    /// Parts that must differ.
    pub differs: u32,
    /// Parts whose case does not matter.
    pub folds: u32,
}

/// What an input listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listened {
    /// A rule, by its position among those that are compiled with it.
    Rule(usize),
    /// A correlation before it.
    Correlation(usize),
}

/// Where a part of a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A field of the event.
    Field(KeyField),
    /// A part of the key of the correlation that is listened to.
    Part(u32),
}

impl Input {
    /// The fields that it names, each with the types that can give what is asked: any value is a part of a key or is counted, a number
    /// alone is measured.
    pub(crate) fn asks<'i>(&'i self, kind: &Kind) -> impl Iterator<Item = (&'i KeyField, u32)> {
        let is_number =
            matches!(kind, Kind::Window { measure, .. } if !matches!(measure, Measure::Count | Measure::Values));
        let of_value = if is_number { NUMBERS } else { TYPE_ANY };
        let parts = self.parts.iter().map(|part| (part, TYPE_ANY));
        parts.chain([(&self.value, of_value)]).filter_map(|(place, types)| match place {
            Some(Place::Field(field)) => Some((field, types)),
            Some(Place::Part(_)) | None => None,
        })
    }
}

/// Lays correlations out; `positions` are those of the rules in the image.
pub(super) fn add(
    tables: &mut Tables,
    correlations: &[Correlation<'_>],
    positions: &[u32],
) -> Result<(), CompileError> {
    let mut rules: Vec<u32> = Vec::with_capacity(correlations.len());
    // By rule: whether some correlation that listens to it leaves it an alert by itself.
    let mut listened: BTreeMap<u32, bool> = BTreeMap::new();
    let mut states_bytes = 0_u64;
    for compiled in correlations {
        let id = &compiled.correlation.id;
        let first = tables.inputs.len() as u32;
        for input in &compiled.inputs {
            let rule = match input.target {
                Listened::Rule(position) => positions.get(position),
                Listened::Correlation(position) => rules.get(position),
            };
            let rule = *rule.ok_or_else(|| CompileError::NoSelection { rule: id.clone() })?;
            *listened.entry(rule).or_default() |= compiled.correlation.generates;
            let record = input_record(tables, id, input, rule)?;
            tables.inputs.push(record);
        }
        let record = record(tables, compiled, Range::new(first, compiled.inputs.len() as u32))?;
        if capacity(&record).is_none() {
            return Err(CompileError::NoRoom { rule: id.clone(), state_bytes: record.state_bytes.get() });
        }
        states_bytes = states_bytes.saturating_add(record.state_bytes.get());
        if states_bytes > STATES_BYTES_MAX {
            return Err(CompileError::TooMuchState { rule: id.clone(), limit_bytes: STATES_BYTES_MAX });
        }
        rules.push(record.rule.get());
        tables.correlations.push(record);
    }
    let silenced = listened.iter().filter(|(_, is_alert)| !**is_alert);
    tables.silenced.extend(silenced.map(|(rule, _)| Word::new(*rule)));
    Ok(())
}

fn input_record(tables: &mut Tables, id: &str, input: &Input, rule: u32) -> Result<InputRecord, CompileError> {
    let place = |tables: &mut Tables, place: &Option<Place>| match place {
        None => Ok(NONE),
        Some(Place::Part(part)) => Ok(*part),
        Some(Place::Field(named)) => tables.slot_of(id, &named.field),
    };
    let mut parts = Vec::with_capacity(input.parts.len());
    for part in &input.parts {
        parts.push(place(tables, part)?);
    }
    let value = place(tables, &input.value)?;
    Ok(InputRecord {
        rule: rule.into(),
        name: tables.text(&input.name),
        parts: tables.list(&parts),
        value: value.into(),
        joins: input.joins.into(),
        differs: input.differs.into(),
        folds: input.folds.into(),
    })
}

fn record(tables: &mut Tables, compiled: &Correlation<'_>, inputs: Range) -> Result<CorrelationRecord, CompileError> {
    let correlation = compiled.correlation;
    let rule = tables.rules.len() as u32;
    let record = rule_record(tables, compiled)?;
    tables.rules.push(record);
    let bits = |number: i64| u64::from_le_bytes(number.to_le_bytes());
    let open = Bounds { least: i64::MIN, most: i64::MAX, is_above: false, is_below: false, is_at_end: false };
    let (kind, bounds, terms, absent_ns) = match &correlation.kind {
        Kind::Window { measure, bounds } => (measured(*measure), *bounds, Vec::new(), 0),
        Kind::Temporal(terms) => {
            (CORRELATE_TEMPORAL, open, terms.iter().flat_map(|(must, not)| [*must, *not]).collect(), 0)
        }
        Kind::Sequence { absent_ns } => (CORRELATE_SEQUENCE, open, Vec::new(), absent_ns.unwrap_or(0)),
    };
    let flag = |is: bool, flag: u32| if is { flag } else { 0 };
    let flags = flag(bounds.is_at_end, FLAG_AT_END) | flag(bounds.is_above, FLAG_ABOVE);
    Ok(CorrelationRecord {
        rule: rule.into(),
        kind: kind.into(),
        flags: (flags | flag(bounds.is_below, FLAG_BELOW)).into(),
        parts: (correlation.parts as u32).into(),
        inputs,
        terms: tables.list(&terms),
        timespan_ns: correlation.timespan_ns.into(),
        absent_ns: absent_ns.into(),
        least: bits(bounds.least).into(),
        most: bits(bounds.most).into(),
        state_bytes: correlation.state_bytes.into(),
    })
}

fn measured(measure: Measure) -> u32 {
    match measure {
        Measure::Count => CORRELATE_COUNT,
        Measure::Values => CORRELATE_VALUES,
        Measure::Sum => CORRELATE_SUM,
        Measure::Average => CORRELATE_AVERAGE,
        Measure::Least => CORRELATE_LEAST,
        Measure::Greatest => CORRELATE_GREATEST,
    }
}

/// What people are told of it. Its condition is never true: it belongs to no group and is not evaluated.
fn rule_record(tables: &mut Tables, compiled: &Correlation<'_>) -> Result<RuleRecord, CompileError> {
    let correlation = compiled.correlation;
    let nothing = Range::new(0, 0);
    let mut asks = Vec::new();
    for (named, types) in compiled.inputs.iter().flat_map(|input| input.asks(&correlation.kind)) {
        let line = u32::try_from(named.span.line).unwrap_or(u32::MAX);
        asks.extend([tables.slot_of(&correlation.id, &named.field)?, types, line]);
    }
    let root = tables.node(NodeRecord { kind: NODE_ANY.into(), ..NodeRecord::default() });
    Ok(RuleRecord {
        id: tables.text(&correlation.id),
        title: tables.text(&correlation.title),
        tags: tables.text(&correlation.tags.join("\n")),
        author: correlation.author.as_deref().map_or(Range::unset(), |author| tables.text(author)),
        file: tables.text(compiled.file),
        line: u32::try_from(compiled.line).unwrap_or(u32::MAX).into(),
        level: Level::number(correlation.level).into(),
        selections: nothing,
        root: root.into(),
        code: REJECT.into(),
        fields: nothing,
        action: correlation.response.numbers().0.into(),
        mode: correlation.response.numbers().1.into(),
        asks: tables.list(&asks),
    })
}
