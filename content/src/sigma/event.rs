//! Events given as JSON: what `detect` reads and what tests write.
//!
//! Nested objects become dotted names (`userIdentity.type`), lists become several values of one field. An empty list or
//! object leaves its field absent.

use std::collections::HashMap;

use serde_json::Value as Json;
use watertight_engine::{Field, Fields, Ruleset, Value};

/// Deepest nesting that is read. What lies deeper is cut off by the JSON parser already.
const DEPTH_MAX: usize = 128;

/// The slots of a ruleset's fields by name: made once, used for every event.
#[derive(Clone, Debug, Default)]
pub struct Slots(HashMap<String, u16>);

impl Slots {
    /// The slots of this ruleset.
    #[must_use]
    pub fn of(ruleset: &Ruleset) -> Self {
        Self((0_u16..).zip(ruleset.fields()).map(|(slot, name)| (name.clone(), slot)).collect())
    }
}

/// A JSON event prepared for a ruleset.
#[derive(Clone, Debug)]
pub struct JsonEvent {
    fields: Vec<OwnField>,
}

#[derive(Clone, Debug)]
struct OwnField {
    slot: Option<u16>,
    name: String,
    values: Vec<OwnValue>,
}

#[derive(Clone, Debug)]
enum OwnValue {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(String),
}

impl JsonEvent {
    /// Prepares an event; what is not an object has no fields.
    #[must_use]
    pub fn new(event: &Json, slots: &Slots) -> Self {
        let mut own = Self { fields: Vec::new() };
        if let Json::Object(entries) = event {
            for (name, value) in entries {
                own.add(name, value, slots, 0);
            }
        }
        own
    }

    fn add(&mut self, name: &str, json: &Json, slots: &Slots, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        let value = match json {
            Json::Object(entries) => {
                for (inner, value) in entries {
                    self.add(&format!("{name}.{inner}"), value, slots, depth.saturating_add(1));
                }
                return;
            }
            Json::Array(items) => {
                for item in items {
                    self.add(name, item, slots, depth.saturating_add(1));
                }
                return;
            }
            Json::Null => OwnValue::Null,
            Json::Bool(truth) => OwnValue::Bool(*truth),
            Json::String(text) => OwnValue::Text(text.clone()),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), ..) => OwnValue::Int(number),
                // Beyond what an integer holds: its digits as text, so that none is lost.
                (None, Some(number), _) => OwnValue::Text(number.to_string()),
                (None, None, Some(number)) => OwnValue::Real(number),
                (None, None, None) => OwnValue::Text(number.to_string()),
            },
        };
        match self.fields.iter_mut().find(|field| field.name == name) {
            Some(field) => field.values.push(value),
            None => {
                let slot = slots.0.get(name).copied();
                self.fields.push(OwnField { slot, name: name.to_owned(), values: vec![value] });
            }
        }
    }
}

impl OwnValue {
    fn lend(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int(number) => Value::Int(*number),
            Self::Real(number) => Value::Real(*number),
            Self::Text(text) => Value::Text(text.as_bytes()),
        }
    }
}

impl Fields for JsonEvent {
    fn get<'e>(&'e self, field: Field<'_>, each: &mut dyn FnMut(Value<'e>)) {
        if let Some(own) = self.fields.iter().find(|own| own.slot == Some(field.slot)) {
            own.values.iter().map(OwnValue::lend).for_each(each);
        }
    }

    fn all<'e>(&'e self, each: &mut dyn FnMut(Option<u16>, &'e str, Value<'e>)) {
        for field in &self.fields {
            for value in &field.values {
                each(field.slot, &field.name, value.lend());
            }
        }
    }
}
