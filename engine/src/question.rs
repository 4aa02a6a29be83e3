//! Asks a question of an image about the values of a field.

use crate::address;
use crate::expression;
use crate::image::layout::{
    QuestionRecord, Range, ASK_COMPARE, ASK_EXISTS, ASK_EXPRESSION, ASK_NULL, ASK_SAME_AS, ASK_TEXT, ASK_TIME,
    ASK_WITHIN, COMPARE_EQUAL, COMPARE_GREATER, COMPARE_GREATER_OR_EQUAL, COMPARE_LESS, COMPARE_LESS_OR_EQUAL,
    FLAG_CASED, FLAG_REAL, NONE, PLACE_ANYWHERE, PLACE_END, PLACE_START, PLACE_WHOLE,
};
use crate::image::{at, slice, Image};
use crate::pattern;
use crate::scratch::{Scratch, Seen, Text};
use crate::timestamp::part_of;
use crate::{Field, Fields, Value};

/// What it costs to ask about a value, however short, in bytes that are compared; measured.
const VALUE_COST: u64 = 8;

/// A number in a rule or an event.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Int(i64),
    Real(f64),
}

/// Whether the event satisfies the question; `None` when finding out would cost more than is left for this event.
pub(crate) fn holds(
    image: &Image<'_>,
    question: &QuestionRecord,
    event: &dyn Fields,
    scratch: &mut Scratch,
) -> Option<bool> {
    if question.field.get() == NONE {
        scratch.load_everything(event);
        return some_fits(image, question, None, scratch);
    }
    let slot = load(image, question.field.get(), event, scratch)?;
    match question.kind.get() {
        ASK_EXISTS => Some(scratch.seen(slot).next().is_some() == (question.flags.get() == 1)),
        ASK_NULL => Some(scratch.seen(slot).all(|seen| seen.texts.is_none())),
        ASK_SAME_AS => {
            let other = load(image, question.first.get(), event, scratch)?;
            let is_cased = question.flags.get() & FLAG_CASED != 0;
            let mut work = scratch.work;
            let mut outcome = Some(false);
            'values: for seen in scratch.seen(slot) {
                for part in scratch.seen(other) {
                    let Some(left) = work.checked_sub(cost(seen).saturating_add(cost(part))) else {
                        outcome = None;
                        break 'values;
                    };
                    work = left;
                    if stands(seen, part, question.count.get(), is_cased) {
                        outcome = Some(true);
                        break 'values;
                    }
                }
            }
            scratch.work = work;
            outcome
        }
        _ => some_fits(image, question, Some(slot), scratch),
    }
}

fn load(image: &Image<'_>, slot: u32, event: &dyn Fields, scratch: &mut Scratch) -> Option<u16> {
    let record = at(image.fields, slot)?;
    let slot = u16::try_from(slot).ok()?;
    if !scratch.is_loaded(slot) {
        scratch.load(event, Field { slot, name: image.text(record.name) });
    }
    Some(slot)
}

/// Whether some value of the field, or of any field, fits.
fn some_fits(image: &Image<'_>, question: &QuestionRecord, slot: Option<u16>, scratch: &mut Scratch) -> Option<bool> {
    // Lent out, so that the values can be looked at meanwhile.
    let mut threads = std::mem::take(&mut scratch.threads);
    let mut work = scratch.work;
    let mut some = |values: &mut dyn Iterator<Item = Seen<'_>>| {
        for seen in values {
            if fits(image, question, seen, &mut threads, &mut work)? {
                return Some(true);
            }
        }
        Some(false)
    };
    let outcome = match slot {
        Some(slot) => some(&mut scratch.seen(slot)),
        None => some(&mut scratch.seen_everything()),
    };
    scratch.threads = threads;
    scratch.work = work;
    outcome
}

/// Whether this one value satisfies the question. Questions about the field as a whole are satisfied by no single value.
pub(crate) fn fits(
    image: &Image<'_>,
    question: &QuestionRecord,
    seen: Seen<'_>,
    threads: &mut expression::Threads,
    work: &mut u64,
) -> Option<bool> {
    let is_expression = question.kind.get() == ASK_EXPRESSION; // which counts what it looks at
    *work = work.checked_sub(if is_expression { VALUE_COST } else { cost(seen) })?;
    let flags = question.flags.get();
    let Some((raw, folded)) = seen.texts else { return Some(false) };
    match question.kind.get() {
        ASK_TEXT => {
            let parts = slice(image.parts, Range { first: question.first, count: question.count });
            pattern::fits(image, parts, if flags & FLAG_CASED != 0 { raw } else { folded }, work)
        }
        ASK_EXPRESSION => {
            if (raw.head.len() as u64) < u64::from(question.count.get()) {
                return Some(false);
            }
            let record = at(image.expressions, question.first.get())?;
            expression::fits(image, record, raw.head, threads, work)
        }
        ASK_COMPARE => {
            Some(number_of(seen.value).is_some_and(|number| compares(number, flags & !FLAG_REAL, than(question))))
        }
        ASK_TIME => {
            let part = part_of(seen.value, question.first.get()).map(Number::Int);
            Some(part.is_some_and(|part| compares(part, flags & !FLAG_REAL, than(question))))
        }
        ASK_WITHIN => {
            let network = image.bytes_of(Range { first: question.first, count: question.count });
            Some(raw.tail.is_none() && address::is_within(network, flags, raw.head))
        }
        _ => Some(false),
    }
}

/// The right-hand side of a comparison.
fn than(question: &QuestionRecord) -> Number {
    let bits = question.value.get();
    if question.flags.get() & FLAG_REAL != 0 {
        Number::Real(f64::from_bits(bits))
    } else {
        Number::Int(i64::from_le_bytes(bits.to_le_bytes()))
    }
}

/// What looking at a value once costs.
fn cost(seen: Seen<'_>) -> u64 {
    seen.texts.map_or(0, |(raw, _)| raw.head.len() as u64).saturating_add(VALUE_COST)
}

/// Whether `part` stands at `place` in the value. One of which the middle is missing stands nowhere.
fn stands(value: Seen<'_>, part: Seen<'_>, place: u32, is_cased: bool) -> bool {
    let Some(((raw, folded), (raw_part, folded_part))) = value.texts.zip(part.texts) else { return false };
    let (text, part): (Text<'_>, Text<'_>) = if is_cased { (raw, raw_part) } else { (folded, folded_part) };
    if part.tail.is_some() {
        return false;
    }
    match place {
        PLACE_WHOLE => text.tail.is_none() && text.head == part.head,
        PLACE_START => text.head.starts_with(part.head),
        PLACE_END => text.tail.unwrap_or(text.head).ends_with(part.head),
        PLACE_ANYWHERE => memchr::memmem::find(text.head, part.head).is_some(),
        _ => false,
    }
}

/// The value as a number; text counts when all of it reads as one.
fn number_of(value: Value<'_>) -> Option<Number> {
    match value {
        Value::Int(number) => Some(Number::Int(number)),
        Value::Real(number) => Some(Number::Real(number)),
        Value::Text(text) => {
            let text = std::str::from_utf8(text).ok()?.trim();
            if let Ok(number) = text.parse() {
                return Some(Number::Int(number));
            }
            text.parse().ok().filter(|number: &f64| number.is_finite()).map(Number::Real)
        }
        Value::Null | Value::Bool(_) => None,
    }
}

fn compares(left: Number, by: u32, right: Number) -> bool {
    let order = match (left, right) {
        (Number::Int(left), Number::Int(right)) => Some(left.cmp(&right)),
        (left, right) => to_real(left).partial_cmp(&to_real(right)),
    };
    order.is_some_and(|order| match by {
        COMPARE_EQUAL => order.is_eq(),
        COMPARE_LESS => order.is_lt(),
        COMPARE_LESS_OR_EQUAL => order.is_le(),
        COMPARE_GREATER => order.is_gt(),
        COMPARE_GREATER_OR_EQUAL => order.is_ge(),
        _ => false,
    })
}

/// Whole numbers beyond 2^53 lose their last digits here; that only matters beside a fraction.
#[allow(clippy::cast_precision_loss)]
fn to_real(number: Number) -> f64 {
    match number {
        Number::Int(number) => number as f64,
        Number::Real(number) => number,
    }
}
