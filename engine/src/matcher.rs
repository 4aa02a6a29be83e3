//! Predicates made ready to run, and how a value is tested by one.

use regex_automata::meta;

use crate::pattern::TextTest;
use crate::regex::{compile, RegexError};
use crate::rule::{Comparison, Number, Op, Place, TimePart};
use crate::scratch::{Scratch, Seen};
use crate::timestamp::part_of;
use crate::{Network, Value};

/// A question about a field, ready to run.
#[derive(Debug)]
pub(crate) enum Matcher {
    Text { test: TextTest, is_cased: bool },
    Regex(Box<meta::Regex>),
    Compare { by: Comparison, than: Number },
    Time { part: TimePart, by: Comparison, than: Number },
    Within(Network),
    Exists(bool),
    Null,
    SameAs { slot: u16, place: Place, is_cased: bool },
}

impl Matcher {
    /// Prepares `op`; `slot_of` gives the slot of the other field of a comparison between fields.
    pub(crate) fn new(op: &Op, slot_of: &mut dyn FnMut(&str) -> u16) -> Result<Self, RegexError> {
        Ok(match op {
            Op::Text(pattern) => Self::Text { test: TextTest::new(pattern), is_cased: pattern.is_cased() },
            Op::Regex { pattern, flags } => Self::Regex(Box::new(compile(pattern, *flags)?)),
            Op::Compare { by, than } => Self::Compare { by: *by, than: *than },
            Op::Time { part, by, than } => Self::Time { part: *part, by: *by, than: *than },
            Op::Within(network) => Self::Within(*network),
            Op::Exists(wanted) => Self::Exists(*wanted),
            Op::Null => Self::Null,
            Op::SameAs { field, place, is_cased } => {
                Self::SameAs { slot: slot_of(field), place: *place, is_cased: *is_cased }
            }
        })
    }

    /// Whether the field in `slot`, already loaded, satisfies the question.
    pub(crate) fn holds(&self, scratch: &Scratch, slot: u16) -> bool {
        match self {
            Self::Exists(wanted) => scratch.seen(slot).next().is_some() == *wanted,
            Self::Null => scratch.seen(slot).all(|seen| seen.raw.is_none()),
            Self::SameAs { slot: other, place, is_cased } => {
                scratch.seen(slot).any(|seen| scratch.seen(*other).any(|part| stands(seen, part, *place, *is_cased)))
            }
            _ => scratch.seen(slot).any(|seen| self.fits(seen)),
        }
    }

    /// Whether this one value satisfies the question. Questions about the field as a whole are satisfied by no single value.
    pub(crate) fn fits(&self, seen: Seen<'_>) -> bool {
        match self {
            Self::Text { test, is_cased } => {
                let text = if *is_cased { seen.raw } else { seen.folded };
                text.is_some_and(|text| test.fits(text))
            }
            Self::Regex(regex) => seen.raw.is_some_and(|text| regex.is_match(text)),
            Self::Compare { by, than } => number_of(seen.value).is_some_and(|number| compares(number, *by, *than)),
            Self::Time { part, by, than } => {
                part_of(seen.value, *part).is_some_and(|number| compares(Number::Int(number), *by, *than))
            }
            Self::Within(network) => seen.raw.is_some_and(|text| network.contains_text(text)),
            Self::Exists(_) | Self::Null | Self::SameAs { .. } => false,
        }
    }
}

/// Whether `part` stands at `place` in the value.
fn stands(value: Seen<'_>, part: Seen<'_>, place: Place, is_cased: bool) -> bool {
    let texts = if is_cased { value.raw.zip(part.raw) } else { value.folded.zip(part.folded) };
    texts.is_some_and(|(text, part)| match place {
        Place::Whole => text == part,
        Place::Start => text.starts_with(part),
        Place::End => text.ends_with(part),
        Place::Anywhere => memchr::memmem::find(text, part).is_some(),
    })
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

fn compares(left: Number, by: Comparison, right: Number) -> bool {
    let order = match (left, right) {
        (Number::Int(left), Number::Int(right)) => Some(left.cmp(&right)),
        (left, right) => to_real(left).partial_cmp(&to_real(right)),
    };
    order.is_some_and(|order| match by {
        Comparison::Equal => order.is_eq(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
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
