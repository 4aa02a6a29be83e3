//! Events given as JSON: what `detect` reads and what tests write.
//!
//! Nested objects become dotted names (`userIdentity.type`), lists become several values of one field. An empty list or
//! object leaves its field absent.

use std::collections::HashMap;

use serde_json::Value as Json;
use watertight_engine::{Field, Fields, Image, Value};

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

/// A JSON event prepared for an image. All its text lies in one piece.
#[derive(Clone, Debug, Default)]
pub struct JsonEvent {
    fields: Vec<OwnField>,
    /// Slots and the positions of their fields, ascending.
    by_slot: Vec<(u16, u32)>,
    /// Of one field after the other.
    values: Vec<OwnValue>,
    text: String,
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
            let name = own.keep(&name);
            let first = own.values.len();
            for value in values {
                let value = own.value(value);
                own.values.push(value);
            }
            own.by_slot.extend(slot.map(|slot| (slot, position(own.fields.len()))));
            own.fields.push(OwnField { slot, name, values: Span(position(first), position(own.values.len())) });
        }
        own.by_slot.sort_unstable();
        own
    }

    fn keep(&mut self, text: &str) -> Span {
        let first = self.text.len();
        self.text.push_str(text);
        Span(position(first), position(self.text.len()))
    }

    fn value(&mut self, json: &Json) -> OwnValue {
        match json {
            Json::Bool(truth) => OwnValue::Bool(*truth),
            Json::String(text) => OwnValue::Text(self.keep(text)),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), ..) => OwnValue::Int(number),
                // Beyond what an integer holds: its digits as text, so that none is lost.
                (None, Some(number), _) => OwnValue::Text(self.keep(&number.to_string())),
                (None, None, Some(number)) => OwnValue::Real(number),
                (None, None, None) => OwnValue::Text(self.keep(&number.to_string())),
            },
            Json::Null | Json::Array(_) | Json::Object(_) => OwnValue::Null,
        }
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

    fn values(&self, field: &OwnField) -> impl Iterator<Item = Value<'_>> {
        field.values.of(&self.values).iter().map(|value| self.lend(value))
    }
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
        let place = found.ok().and_then(|found| self.by_slot.get(found));
        if let Some(own) = place.and_then(|(_, position)| self.fields.get(*position as usize)) {
            self.values(own).for_each(each);
        }
    }

    fn all<'e>(&'e self, each: &mut dyn FnMut(Option<u16>, &'e str, Value<'e>)) {
        for field in &self.fields {
            let name = self.text.get(field.name.0 as usize..field.name.1 as usize).unwrap_or_default();
            for value in self.values(field) {
                each(field.slot, name, value);
            }
        }
    }
}
