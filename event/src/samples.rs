//! Events for the tests of the views.

use std::net::{IpAddr, Ipv4Addr};

use crate::{Event, Field, Kind, Outcome, Source, Text, Type, Value};

/// A value that no other field has, but for yes and no.
fn value(field: Field) -> Value {
    let number = 1_000 + field as u32;
    match field.value_type() {
        Type::Bool => Value::Bool(true),
        Type::Number => Value::Number(number.into()),
        Type::Signed => Value::Signed(-i64::from(number)),
        Type::Text => Value::Text(Text::from(format!("/some/{number}").as_str())),
        Type::List => Value::List(vec![Text::from(format!("first {number}").as_str())]),
        Type::Address => Value::Address(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | number))),
    }
}

/// An event of this kind with every field that it can carry, or with none.
pub(crate) fn sample(kind: Kind, is_full: bool) -> Event {
    let mut event = Event::new(kind, Outcome::Done, Source::BpfLsm, 1);
    let of_process = Field::ALL.iter().filter(|field| field.is_of_process());
    for field in of_process.chain(kind.fields()).filter(|_| is_full) {
        event.set(*field, value(*field));
    }
    event
}

/// Of every kind: one with every field, and where something hangs on a yes or a nought, that one too.
pub(crate) fn every_field_once() -> Vec<Event> {
    let mut events = Vec::new();
    for kind in Kind::ALL {
        let full = sample(*kind, true);
        let variants = [(Field::IsInitiated, Value::Bool(false)), (Field::ExitSignal, Value::Number(0))];
        for (field, value) in variants {
            if full.has(field) {
                events.push(full.clone().with(field, value));
            }
        }
        events.push(full);
    }
    events
}

/// A dotted name as a JSON pointer.
pub(crate) fn pointer(dotted: &str) -> String {
    format!("/{}", dotted.replace('.', "/"))
}
