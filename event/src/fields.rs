//! The fields of one event: a place for each field of the table, and a bit that says whether it is filled. Setting one moves no
//! other, whatever the order, and finding one is a look at its bit and its place.

use std::cell::RefCell;

use crate::{Field, Value};

/// Memory of events that are gone, kept for the next ones of the thread: an event's is more than the allocator keeps at hand.
const SPARE_MAX: usize = 16;

thread_local! {
    /// Places in which nothing holds memory.
    static SPARE: RefCell<Vec<Vec<Option<Value>>>> = const { RefCell::new(Vec::new()) };
}

/// The fields of an event, each at most once.
#[derive(Debug)]
pub(crate) struct Fields {
    /// By field. A number may be left in a place that is not filled.
    places: Vec<Option<Value>>,
    filled: Set,
    /// Of the filled, those whose values may hold memory of their own.
    holding: Set,
}

/// A bit for each field.
#[derive(Clone, Copy, Debug, Default)]
struct Set(u128);

const _: () = assert!(Field::ALL.len() <= 128, "a bit for each field");

impl Set {
    #[inline]
    fn has(self, field: Field) -> bool {
        self.0 >> (field as u8) & 1 != 0
    }

    #[inline]
    fn add(&mut self, field: Field) {
        self.0 |= 1 << (field as u8);
    }
}

/// The bits of all fields as far as this one.
fn up_to(last: Field) -> u128 {
    u128::MAX >> (127 - last as u32)
}

/// Numbers of the fields, lowest first.
impl Iterator for Set {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let lowest = self.0.trailing_zeros() as usize;
        self.0 &= self.0.checked_sub(1)?; // that bit goes
        Some(lowest)
    }
}

impl Fields {
    /// No field.
    pub(crate) fn new() -> Self {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        let places = spare.unwrap_or_else(|| std::iter::repeat_with(|| None).take(Field::ALL.len()).collect());
        Self { places, filled: Set::default(), holding: Set::default() }
    }

    #[inline]
    pub(crate) fn get(&self, field: Field) -> Option<&Value> {
        if !self.filled.has(field) {
            return None;
        }
        self.places.get(field as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn set(&mut self, field: Field, value: Value) {
        let Some(place) = self.places.get_mut(field as usize) else { return };
        let holds = matches!(value, Value::Text(_) | Value::List(_) | Value::CutList(_));
        let before = place.replace(value);
        if self.holding.has(field) {
            drop(before);
        } else {
            std::mem::forget(before); // no memory: not even a look is needed
        }
        self.filled.add(field);
        if holds {
            self.holding.add(field);
        }
    }

    /// In the order of the table.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Field, &Value)> {
        self.iter_of(self.filled)
    }

    /// As far as this field, which is included.
    pub(crate) fn iter_to(&self, last: Field) -> impl Iterator<Item = (Field, &Value)> {
        self.iter_of(Set(self.filled.0 & up_to(last)))
    }

    /// What comes behind this field.
    pub(crate) fn iter_behind(&self, last: Field) -> impl Iterator<Item = (Field, &Value)> {
        self.iter_of(Set(self.filled.0 & !up_to(last)))
    }

    fn iter_of(&self, fields: Set) -> impl Iterator<Item = (Field, &Value)> {
        fields.filter_map(|number| Some((*Field::ALL.get(number)?, self.places.get(number)?.as_ref()?)))
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        for number in self.holding {
            if let Some(place) = places.get_mut(number) {
                *place = None;
            }
        }
        // A thread that is ending has no such memory any more: it is then freed.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(places);
            }
        });
    }
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        let mut fields = Self::new();
        for (field, value) in self.iter() {
            fields.set(field, value.clone());
        }
        fields
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(order: impl Iterator<Item = Field>) -> Fields {
        let mut fields = Fields::new();
        for field in order {
            fields.set(field, Value::Number(u64::from(field as u8)));
        }
        fields
    }

    #[test]
    fn fields_set_in_any_order_come_in_the_tables_and_are_found() {
        let fields = filled(Field::ALL.iter().rev().copied());
        assert_eq!(fields, filled(Field::ALL.iter().copied()));
        let order: Vec<Field> = fields.iter().map(|(field, _)| field).collect();
        assert_eq!(order, Field::ALL);
        for field in Field::ALL {
            assert_eq!(fields.get(*field), Some(&Value::Number(u64::from(*field as u8))));
        }
        assert_eq!(filled(std::iter::once(Field::Message)).get(Field::Pid), None);
    }

    #[test]
    fn a_second_value_replaces_the_first() {
        let mut fields = filled([Field::Path, Field::Pid].into_iter());
        fields.set(Field::Path, "/tmp/a path that is too long to lie in the value itself".into());
        fields.set(Field::Path, "/b".into());
        assert_eq!(fields.iter().count(), 2);
        assert_eq!(fields.get(Field::Path), Some(&"/b".into()));
    }

    #[test]
    fn memory_that_is_used_again_brings_nothing_of_the_event_before() {
        let mut before = filled(Field::ALL.iter().copied());
        before.set(Field::Path, "/a path that is too long to lie in the value itself".into());
        drop(before);
        let fields = Fields::new();
        assert_eq!(fields.iter().count(), 0);
        assert!(Field::ALL.iter().all(|field| fields.get(*field).is_none()));
    }
}
