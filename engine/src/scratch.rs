//! Working memory of an evaluation, kept between events so that none is allocated per event.
//!
//! Entries are stamped with the number of the event that wrote them; starting the next event is one increment instead of
//! clearing everything.

use std::io::Write;
use std::ops::Range;

use crate::fold::fold_into;
use crate::{Field, Fields, Value};

/// Text kept between events. One giant event must not leave the process fat for ever.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Working memory for `Plan::evaluate`: one per thread, reused for every event and every ruleset.
#[derive(Debug, Default)]
pub struct Scratch {
    epoch: u32,
    slots: Vec<Slot>,
    values: Vec<Cached>,
    /// Every value of every field, when a keyword was asked for; the epoch says of which event.
    everything: Vec<Cached>,
    everything_epoch: u32,
    text: Vec<u8>,
    verdicts: Vec<(u32, bool)>,
    candidates: Vec<u32>,
    is_candidate: Vec<u32>,
    folded: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    epoch: u32,
    values: Range<usize>,
}

/// A value of the event at hand: as it is, and its text as written and folded.
#[derive(Clone, Debug)]
struct Cached {
    kind: Kind,
    raw: Range<usize>,
    folded: Range<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text,
}

/// A cached value, ready to be tested.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'s> {
    pub(crate) value: Value<'s>,
    /// The text as written, `None` for null.
    pub(crate) raw: Option<&'s [u8]>,
    /// The text folded, `None` for null.
    pub(crate) folded: Option<&'s [u8]>,
}

impl Scratch {
    /// Working memory that grows to what is needed on first use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the event before and makes room for a ruleset of this size.
    pub(crate) fn begin(&mut self, slots: usize, predicates: usize, rules: usize) {
        self.values.clear();
        self.text.clear();
        self.candidates.clear();
        self.text.shrink_to(KEPT_BYTES_MAX);
        self.folded.shrink_to(KEPT_BYTES_MAX);
        self.epoch = self.epoch.checked_add(1).unwrap_or_else(|| {
            self.slots.clear();
            self.verdicts.clear();
            self.is_candidate.clear();
            self.everything_epoch = 0;
            1
        });
        if self.slots.len() < slots {
            self.slots.resize(slots, Slot::default());
        }
        if self.verdicts.len() < predicates {
            self.verdicts.resize(predicates, (0, false));
        }
        if self.is_candidate.len() < rules {
            self.is_candidate.resize(rules, 0);
        }
    }

    /// What was found for this predicate, if it was already asked of this event.
    pub(crate) fn verdict(&self, predicate: u32) -> Option<bool> {
        let (epoch, verdict) = self.verdicts.get(usize::try_from(predicate).ok()?)?;
        (*epoch == self.epoch).then_some(*verdict)
    }

    pub(crate) fn remember(&mut self, predicate: u32, verdict: bool) {
        let epoch = self.epoch;
        if let Some(entry) = usize::try_from(predicate).ok().and_then(|at| self.verdicts.get_mut(at)) {
            *entry = (epoch, verdict);
        }
    }

    /// Notes that the rule might fire.
    pub(crate) fn add_candidate(&mut self, rule: u32) {
        let Some(mark) = usize::try_from(rule).ok().and_then(|at| self.is_candidate.get_mut(at)) else { return };
        if *mark != self.epoch {
            *mark = self.epoch;
            self.candidates.push(rule);
        }
    }

    pub(crate) fn candidate(&self, position: usize) -> Option<u32> {
        self.candidates.get(position).copied()
    }

    /// The text folded, in memory that the next call overwrites; ASCII as it is, for the index ignores its case by itself.
    pub(crate) fn folded_unless_ascii<'a>(folded: &'a mut Vec<u8>, text: &'a [u8]) -> &'a [u8] {
        if text.is_ascii() {
            return text;
        }
        folded.clear();
        fold_into(text, folded);
        folded
    }

    /// Lends out the folding buffer, so that candidates can be added while it is in use.
    pub(crate) fn take_folded(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.folded)
    }

    pub(crate) fn put_folded(&mut self, folded: Vec<u8>) {
        self.folded = folded;
    }

    /// Reads the field from the event unless that was done.
    pub(crate) fn load(&mut self, event: &dyn Fields, field: Field<'_>) {
        let Self { epoch, slots, values, text, .. } = self;
        let Some(slot) = slots.get_mut(usize::from(field.slot)) else { return };
        if slot.epoch == *epoch {
            return;
        }
        let first = values.len();
        event.get(field, &mut |value| values.push(cache(value, text)));
        *slot = Slot { epoch: *epoch, values: first..values.len() };
    }

    /// Reads every value of every field from the event unless that was done.
    pub(crate) fn load_everything(&mut self, event: &dyn Fields) {
        if self.everything_epoch == self.epoch {
            return;
        }
        self.everything_epoch = self.epoch;
        let Self { everything, text, .. } = self;
        everything.clear();
        event.all(&mut |_, _, value| everything.push(cache(value, text)));
    }

    /// Every value of every field, after `load_everything`.
    pub(crate) fn seen_everything(&self) -> impl Iterator<Item = Seen<'_>> {
        self.everything.iter().map(|cached| self.open(cached))
    }

    /// The field's values, after `load`.
    pub(crate) fn seen(&self, slot: u16) -> impl Iterator<Item = Seen<'_>> {
        let range = self.slots.get(usize::from(slot)).map_or(0..0, |slot| slot.values.clone());
        self.values.get(range).unwrap_or_default().iter().map(|cached| self.open(cached))
    }

    fn open(&self, cached: &Cached) -> Seen<'_> {
        let raw = self.text.get(cached.raw.clone()).unwrap_or_default();
        let folded = self.text.get(cached.folded.clone()).unwrap_or_default();
        let value = match cached.kind {
            Kind::Null => return Seen { value: Value::Null, raw: None, folded: None },
            Kind::Bool(truth) => Value::Bool(truth),
            Kind::Int(number) => Value::Int(number),
            Kind::Real(number) => Value::Real(number),
            Kind::Text => Value::Text(raw),
        };
        Seen { value, raw: Some(raw), folded: Some(folded) }
    }
}

fn cache(value: Value<'_>, text: &mut Vec<u8>) -> Cached {
    let raw_from = text.len();
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(truth) => Kind::Bool(truth),
        Value::Int(number) => Kind::Int(number),
        Value::Real(number) => Kind::Real(number),
        Value::Text(_) => Kind::Text,
    };
    write_text(value, text);
    let raw = raw_from..text.len();
    let folded = match value {
        Value::Text(bytes) => {
            fold_into(bytes, text);
            raw.end..text.len()
        }
        _ => raw.clone(),
    };
    Cached { kind, raw, folded }
}

/// Appends the value as text patterns see it.
pub(crate) fn write_text(value: Value<'_>, text: &mut Vec<u8>) {
    // Writing to memory can't fail.
    let _ = match value {
        Value::Null => Ok(()),
        Value::Bool(truth) => write!(text, "{truth}"),
        Value::Int(number) => write!(text, "{number}"),
        Value::Real(number) => write!(text, "{number}"),
        Value::Text(bytes) => text.write_all(bytes),
    };
}
