//! What an input of a correlation is given by an event that its rule fired on, or by a correlation that it listens to.
//!
//! Values become digests here, so that nothing behind it knows texts. An event without one of the fields gives nothing: it belongs
//! to no group.

use super::key::{Digest, HashKey};
use super::sequence::Stage;
use super::{bit, Fired, Given, Moment, PARTS};
use crate::fold::fold_into;
use crate::image::layout::{InputRecord, CORRELATE_VALUES, NONE};
use crate::image::{at, Image};
use crate::scratch::{ends, write_text};
use crate::{Field, Fields, Value};

/// Numbers are measured in thousandths.
const THOUSANDTHS: i64 = 1000;

/// Most bytes of a value that an explanation repeats.
const TEXT_BYTES_MAX: usize = 512;

/// An input, taken out of the image.
#[derive(Debug)]
pub(super) struct Input<'i> {
    pub(super) correlation: u32,
    pub(super) stage: u32,
    kind: u32,
    /// By part.
    sources: Vec<Origin<'i>>,
    value: Origin<'i>,
    folds: u32,
}

/// Where a part of a key or a value comes from.
#[derive(Clone, Copy, Debug)]
enum Origin<'i> {
    /// This input does not give it.
    Nowhere,
    /// A field of the event.
    Field(Field<'i>),
    /// A part of the key of the correlation that is listened to.
    Part(u32),
}

impl<'i> Origin<'i> {
    fn of(image: &Image<'i>, source: u32, is_of_correlation: bool) -> Self {
        if source == NONE {
            return Self::Nowhere;
        }
        if is_of_correlation {
            return Self::Part(source);
        }
        match (u16::try_from(source), at(image.fields, source)) {
            (Ok(slot), Some(field)) => Self::Field(Field { slot, name: image.text(field.name) }),
            _ => Self::Nowhere,
        }
    }
}

impl<'i> Input<'i> {
    /// What stands where a damaged image names no correlation.
    pub(super) fn unused() -> Self {
        Self { correlation: NONE, stage: 0, kind: 0, sources: Vec::new(), value: Origin::Nowhere, folds: 0 }
    }

    pub(super) fn of(image: &Image<'i>, record: &InputRecord, correlation: u32, stage: u32, kind: u32) -> Self {
        let is_of_correlation = image.is_correlation(record.rule.get());
        let origin = |source: u32| Origin::of(image, source, is_of_correlation);
        let sources = image.words_of(record.parts).iter().map(|source| origin(source.get())).collect();
        Self { correlation, stage, kind, sources, value: origin(record.value.get()), folds: record.folds.get() }
    }

    /// What the event gives; else the first field that it lacks.
    pub(super) fn given(
        &self,
        number: u32,
        key: HashKey,
        text: &mut Vec<u8>,
        event: &dyn Fields,
        moment: Moment,
    ) -> Result<Given, Field<'i>> {
        let mut given = Given { input: number, stage: self.stage, moment, parts: [0; PARTS], value: 0, amount: 0 };
        for (part, (to, origin)) in (0_u32..).zip(given.parts.iter_mut().zip(&self.sources)) {
            if let Origin::Field(field) = *origin {
                let folds = self.folds & bit(part) != 0;
                *to = digest_of(field, folds, key, event, text).ok_or(field)?;
            }
        }
        if let Origin::Field(field) = self.value {
            match self.kind {
                CORRELATE_VALUES => given.value = digest_of(field, false, key, event, text).ok_or(field)?,
                _ => given.amount = amount_of(field, event).ok_or(field)?,
            }
        }
        Ok(given)
    }

    /// Calls `each` with the digest and the text of every field that the event gives, for explanations.
    pub(super) fn texts(
        &self,
        key: HashKey,
        text: &mut Vec<u8>,
        event: &dyn Fields,
        each: &mut dyn FnMut(Digest, &str),
    ) {
        for (part, origin) in (0_u32..).zip(&self.sources) {
            let Origin::Field(field) = *origin else { continue };
            let Some(digest) = digest_of(field, self.folds & bit(part) != 0, key, event, text) else { continue };
            let mut is_first = true;
            event.get(field, &mut |value| {
                if value != Value::Null && std::mem::take(&mut is_first) {
                    let mut shown = Vec::new();
                    write_text(value, &mut shown);
                    shown.truncate(TEXT_BYTES_MAX);
                    each(digest, &String::from_utf8_lossy(&shown));
                }
            });
        }
    }

    /// What a correlation that fired gives.
    pub(super) fn given_by(&self, number: u32, fired: &Fired) -> Given {
        let of = |origin: &Origin<'_>| match origin {
            Origin::Part(part) => fired.parts.get(*part as usize).copied().unwrap_or(0),
            Origin::Field(_) | Origin::Nowhere => 0,
        };
        let mut parts = [0; PARTS];
        for (to, origin) in parts.iter_mut().zip(&self.sources) {
            *to = of(origin);
        }
        Given { input: number, stage: self.stage, moment: fired.moment, parts, value: of(&self.value), amount: 0 }
    }
}

impl Stage {
    pub(super) fn of(image: &Image<'_>, input: &InputRecord) -> Self {
        let told = (0_u32..).zip(image.words_of(input.parts)).filter(|(_, source)| source.get() != NONE);
        let gives = told.fold(0, |gives, (part, _)| gives | bit(part));
        Self { joins: input.joins.get(), differs: input.differs.get(), gives }
    }
}

/// The digest of the first value of a field that is not null.
fn digest_of(field: Field<'_>, folds: bool, key: HashKey, event: &dyn Fields, text: &mut Vec<u8>) -> Option<Digest> {
    let mut digest = None;
    event.get(field, &mut |value| {
        if digest.is_some() || value == Value::Null {
            return;
        }
        digest = Some(match value {
            Value::Text(bytes) => match ends(bytes) {
                (whole, None) if !folds => key.digest(whole),
                (head, tail) => {
                    text.clear();
                    let mut add =
                        |part: &[u8]| if folds { fold_into(part, text) } else { text.extend_from_slice(part) };
                    add(head);
                    tail.into_iter().for_each(add);
                    key.digest(text)
                }
            },
            other => {
                text.clear();
                write_text(other, text);
                key.digest(text)
            }
        });
    });
    digest
}

/// The first value of a field that is a number, in thousandths; one too large for that is the largest there is.
fn amount_of(field: Field<'_>, event: &dyn Fields) -> Option<i64> {
    let mut amount = None;
    let whole = |number: i64| number.saturating_mul(THOUSANDTHS);
    #[allow(clippy::cast_possible_truncation)] // a float that is too large becomes the largest number
    let real = |number: f64| (number * THOUSANDTHS as f64).round() as i64;
    event.get(field, &mut |value| {
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
