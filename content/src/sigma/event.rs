//! Events given as JSON: what `detect` reads and what tests write.
//!
//! Nested objects become dotted names (`userIdentity.type`), lists become several values of one field. An empty list or
//! object leaves its field absent.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value as Json;
use watertight_engine::{Field, Fields, Image, Texts, Value};

/// Deepest nesting that is read. What lies deeper is cut off by the JSON parser already.
const DEPTH_MAX: usize = 128;

/// The slots of an image's fields by name: made once, used for every event.
#[derive(Clone, Debug, Default)]
pub struct Slots(HashMap<String, u16>);

impl Slots {
    /// The slots of this image.
    #[must_use]
    pub fn of(image: &Image<'_>) -> Self {
        Self((0_u16..).zip(image.fields()).map(|(slot, name)| (name.to_owned(), slot)).collect())
    }
}

/// A JSON event prepared for an image. The text of all its values lies in one piece.
#[derive(Clone, Debug, Default)]
pub struct JsonEvent {
    fields: Vec<OwnField>,
    /// Slots and the values of their fields, ascending.
    by_slot: Vec<(u16, Span)>,
    /// Of one field after the other.
    values: Vec<OwnValue>,
    /// Each as text patterns see it.
    text: String,
    names: String,
}

#[derive(Clone, Debug)]
struct OwnField {
    slot: Option<u16>,
    name: Span,
    values: Span,
}

/// From one position to another; small, because many events wait together.
#[derive(Clone, Copy, Debug)]
struct Span(u32, u32);

impl Span {
    fn of<T>(self, all: &[T]) -> &[T] {
        all.get(self.0 as usize..self.1 as usize).unwrap_or_default()
    }
}

/// A position. An event of more than four gigabytes is cut there.
fn position(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

#[derive(Clone, Debug)]
enum OwnValue {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(Span),
}

impl JsonEvent {
    /// Prepares an event; what is not an object has no fields.
    #[must_use]
    pub fn new(event: &Json, slots: &Slots) -> Self {
        // A name may occur more than once: as `a.b` and as `b` in `a`.
        let mut fields: Vec<(String, Vec<&Json>)> = Vec::new();
        if let Json::Object(entries) = event {
            for (name, value) in entries {
                collect(name, value, &mut fields, 0);
            }
        }
        let mut own = Self::default();
        for (name, values) in fields {
            let slot = slots.0.get(&name).copied();
            let name = keep(&mut own.names, &name);
            let first = own.values.len();
            for value in values {
                let value = own.value(value);
                own.values.push(value);
            }
            let values = Span(position(first), position(own.values.len()));
            own.by_slot.extend(slot.map(|slot| (slot, values)));
            own.fields.push(OwnField { slot, name, values });
        }
        own.by_slot.sort_unstable_by_key(|(slot, _)| *slot);
        own
    }

    fn value(&mut self, json: &Json) -> OwnValue {
        match json {
            Json::Bool(truth) => {
                self.write(truth);
                OwnValue::Bool(*truth)
            }
            Json::String(text) => OwnValue::Text(keep(&mut self.text, text)),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), ..) => {
                    self.write(&number);
                    OwnValue::Int(number)
                }
                // Beyond what an integer holds: its digits as text, so that none is lost.
                (None, Some(number), _) => OwnValue::Text(keep(&mut self.text, &number.to_string())),
                (None, None, Some(number)) => {
                    self.write(&number);
                    OwnValue::Real(number)
                }
                (None, None, None) => OwnValue::Text(keep(&mut self.text, &number.to_string())),
            },
            Json::Null | Json::Array(_) | Json::Object(_) => OwnValue::Null,
        }
    }

    /// Writes what is no text as text patterns see it.
    fn write(&mut self, value: &dyn std::fmt::Display) {
        // Writing to memory can't fail.
        let _ = write!(self.text, "{value}");
    }

    fn lend(&self, value: &OwnValue) -> Value<'_> {
        match value {
            OwnValue::Null => Value::Null,
            OwnValue::Bool(truth) => Value::Bool(*truth),
            OwnValue::Int(number) => Value::Int(*number),
            OwnValue::Real(number) => Value::Real(*number),
            OwnValue::Text(span) => Value::Text(span.of(self.text.as_bytes())),
        }
    }

    fn values(&self, values: Span) -> impl Iterator<Item = Value<'_>> {
        values.of(&self.values).iter().map(|value| self.lend(value))
    }
}

/// Appends a text to others.
fn keep(texts: &mut String, text: &str) -> Span {
    let first = texts.len();
    texts.push_str(text);
    Span(position(first), position(texts.len()))
}

/// Takes nested values apart: scalars by their dotted names.
fn collect<'j>(name: &str, json: &'j Json, fields: &mut Vec<(String, Vec<&'j Json>)>, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    let deeper = depth.saturating_add(1);
    match json {
        Json::Object(entries) => {
            for (inner, value) in entries {
                collect(&format!("{name}.{inner}"), value, fields, deeper);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(name, item, fields, deeper)),
        scalar => match fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(scalar),
            None => fields.push((name.to_owned(), vec![scalar])),
        },
    }
}

impl Fields for JsonEvent {
    fn get<'e>(&'e self, field: Field<'_>, each: &mut dyn FnMut(Value<'e>)) {
        let found = self.by_slot.binary_search_by_key(&field.slot, |(slot, _)| *slot);
        if let Some((_, values)) = found.ok().and_then(|found| self.by_slot.get(found)) {
            self.values(*values).for_each(each);
        }
    }

    fn get_each<'e>(&'e self, fields: &[Field<'_>], each: &mut dyn FnMut(usize, Value<'e>)) {
        let mut fields = fields.iter().enumerate();
        let mut next = fields.next();
        for (slot, values) in &self.by_slot {
            while next.is_some_and(|(_, field)| field.slot < *slot) {
                next = fields.next();
            }
            match next {
                None => return,
                Some((position, field)) if field.slot == *slot => {
                    self.values(*values).for_each(|value| each(position, value));
                }
                Some(_) => {}
            }
        }
    }

    fn all<'e>(&'e self, each: &mut dyn FnMut(Option<u16>, &'e str, Value<'e>)) {
        for field in &self.fields {
            let name = self.names.get(field.name.0 as usize..field.name.1 as usize).unwrap_or_default();
            for value in self.values(field.values) {
                each(field.slot, name, value);
            }
        }
    }

    fn texts(&self) -> Option<Texts<'_>> {
        Some(Texts { bytes: self.text.as_bytes(), values: self.values.len() })
    }
}
