//! A typed event as rules see it: it answers from its own fields, nothing is copied but addresses.

use std::cell::Cell;
use std::net::IpAddr;

use watertight_engine::{Field as RuleField, Fields, Value as RuleValue};
use watertight_event::{Event, Field, Value};

/// The fields that hold addresses.
const ADDRESSES: [Field; 2] = [Field::LocalAddress, Field::RemoteAddress];

/// An event as rules see it.
pub struct TypedEvent<'e> {
    event: &'e Event,
    field_by_slot: &'e [Option<Field>],
    /// Addresses as text; only network events have any.
    addresses: Vec<(Field, String)>,
    /// Rules have asked for a value of which the sensor had not taken all.
    is_cut: Cell<bool>,
}

impl<'e> TypedEvent<'e> {
    /// For rules that ask by these slots.
    pub fn new(event: &'e Event, field_by_slot: &'e [Option<Field>]) -> Self {
        let address = |field: &Field| match event.get(*field)? {
            Value::Address(address) => Some((*field, shown(*address))),
            _ => None,
        };
        Self {
            event,
            field_by_slot,
            addresses: ADDRESSES.iter().filter_map(address).collect(),
            is_cut: Cell::new(false),
        }
    }

    fn values<'s>(&'s self, field: Field, value: &'s Value, each: &mut dyn FnMut(RuleValue<'s>)) {
        if value.is_truncated() {
            self.is_cut.set(true);
        }
        match value {
            Value::Bool(is) => each(RuleValue::Bool(*is)),
            Value::Number(number) => each(RuleValue::Int(i64::try_from(*number).unwrap_or(i64::MAX))),
            Value::Signed(number) => each(RuleValue::Int(*number)),
            Value::Text(text) => each(RuleValue::Text(&text.bytes)),
            Value::List(items) | Value::CutList(items) => {
                items.iter().for_each(|item| each(RuleValue::Text(&item.bytes)))
            }
            Value::Address(_) => {
                let text = self.addresses.iter().find(|(name, _)| *name == field);
                text.iter().for_each(|(_, text)| each(RuleValue::Text(text.as_bytes())));
            }
        }
    }
}

/// IPv4 in IPv6 clothes is IPv4 to a rule: `::ffff:10.0.0.1` would pass every IPv4 filter.
fn shown(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

impl Fields for TypedEvent<'_> {
    fn get<'s>(&'s self, field: RuleField<'_>, each: &mut dyn FnMut(RuleValue<'s>)) {
        let Some(Some(name)) = self.field_by_slot.get(usize::from(field.slot)) else { return };
        if let Some(value) = self.event.get(*name) {
            self.values(*name, value, each);
        }
    }

    fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    fn all<'s>(&'s self, each: &mut dyn FnMut(Option<u16>, &'s str, RuleValue<'s>)) {
        for (field, value) in self.event.fields() {
            let name = self.event.kind.sigma_name(field);
            if !name.is_empty() {
                let slot = self.field_by_slot.iter().position(|at| *at == Some(field));
                let slot = slot.and_then(|slot| u16::try_from(slot).ok());
                self.values(field, value, &mut |value| each(slot, name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_with_an_address_is_shown_to_rules() {
        let are = |field: &Field| field.value_type() == watertight_event::Type::Address;
        assert_eq!(Field::ALL.iter().copied().filter(are).collect::<Vec<_>>(), ADDRESSES);
    }
}
