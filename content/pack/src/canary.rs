//! Events that travel with the rules, and what they must and must not fire.
//!
//! They are typed, not JSON: the process that tries them parses nothing. Names of fields are those that rules use.

use std::ops::Range as Bounds;

use watertight_engine::{Field, Fields, LogSource, Value as RuleValue};

use crate::error::PackError;
use crate::layout::{
    CanariesRecord, CanaryRecord, EventRecord, Expectation, FieldRecord, Range, Section, ValueRecord, CANARIES_MAX,
    CANARY_EVENTS_MAX, CANARY_NAME_BYTES_MAX, EVENTS_MAX, EVENT_FIELDS_MAX, EXPECTATIONS_MAX, FIELDS_MAX,
    FIELD_VALUES_MAX, VALUES_BYTES_MAX, VALUES_MAX, VALUE_BOOL, VALUE_BYTES_MAX, VALUE_INT, VALUE_NULL, VALUE_REAL,
    VALUE_TEXT,
};
use crate::section::{each, next_of, plain, Complaint, Reader, Texts};

/// Events, and what they must and must not fire: for whoever writes a pack.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Canary {
    /// Where it was written, such as `linux/execution/memfd_execution.tests.yml fires 1`.
    pub name: String,
    /// In the order in which they happen.
    pub events: Vec<Event>,
    /// Ids of what must fire.
    pub fires: Vec<String>,
    /// Ids of what must not.
    pub silent: Vec<String>,
}

/// An event of a canary.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// Milliseconds after the first.
    pub at_ms: u64,
    /// `process_creation` and such.
    pub category: Option<String>,
    /// `linux` and such.
    pub product: Option<String>,
    /// `auditd` and such.
    pub service: Option<String>,
    /// Fields by their names, each once, with their values.
    pub fields: Vec<(String, Vec<Value>)>,
}

/// A value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The field is there and has no value.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Real(f64),
    /// Bytes, mostly UTF-8.
    Text(Vec<u8>),
}

/// The canaries of a pack, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Canaries<'p> {
    records: &'p [CanaryRecord],
    events: &'p [EventRecord],
    fields: &'p [FieldRecord],
    values: &'p [ValueRecord],
    expectations: &'p [Expectation],
    texts: Texts<'p>,
}

impl<'p> Canaries<'p> {
    /// Reads the section; expectations are positions below `documents`.
    pub(crate) fn read(bytes: &'p [u8], documents: u32) -> Result<Self, PackError> {
        let mut reader = Reader::new(Section::Canaries, bytes);
        let head: &CanariesRecord = reader.record()?;
        if head.reserved.get() != 0 {
            return Err(reader.wrong("has unknown flags"));
        }
        let canaries = Self {
            records: reader.table("canaries", head.canaries.get(), CANARIES_MAX)?,
            events: reader.table("events of canaries", head.events.get(), EVENTS_MAX)?,
            fields: reader.table("fields of canaries", head.fields.get(), FIELDS_MAX)?,
            values: reader.table("values of canaries", head.values.get(), VALUES_MAX)?,
            expectations: reader.table("expectations of canaries", head.expectations.get(), EXPECTATIONS_MAX)?,
            texts: reader.texts(),
        };
        canaries.check_canaries(documents)?;
        canaries.check_events()?;
        canaries.check_fields()?;
        canaries.check_values()?;
        Ok(canaries)
    }

    fn check_canaries(&self, documents: u32) -> Result<(), PackError> {
        let (mut events, mut expectations) = (0, 0);
        each(Section::Canaries, "canary", self.records, |_, record| {
            self.texts.text(record.name, CANARY_NAME_BYTES_MAX)?;
            if record.events.count.get() == 0 || record.events.count.get() > CANARY_EVENTS_MAX {
                return Err("has no event, or too many");
            }
            (_, events) = next_of(self.events, record.events, events)?;
            (_, expectations) = next_of(self.expectations, record.fires, expectations)?;
            (_, expectations) = next_of(self.expectations, record.silent, expectations)?;
            Ok(())
        })?;
        each(Section::Canaries, "expectation", self.expectations, |_, expectation| {
            (expectation.get() < documents).then_some(()).ok_or("is of a rule that is not there")
        })?;
        for record in self.records {
            plain("name of a canary", self.texts.text(record.name, CANARY_NAME_BYTES_MAX).unwrap_or_default())?;
        }
        self.must_be_all("events", events, self.events.len())?;
        self.must_be_all("expectations", expectations, self.expectations.len())
    }

    fn check_events(&self) -> Result<(), PackError> {
        let mut fields = 0;
        each(Section::Canaries, "event", self.events, |_, record| {
            for part in [record.category, record.product, record.service] {
                self.text_or_unset(part)?;
            }
            if record.fields.count.get() > EVENT_FIELDS_MAX {
                return Err("has too many fields");
            }
            let mine;
            (mine, fields) = next_of(self.fields, record.fields, fields)?;
            self.have_names_of_their_own(mine)
        })?;
        self.must_be_all("fields", fields, self.fields.len())
    }

    /// Each name once: an event answers for a field by the first that has its name.
    fn have_names_of_their_own(&self, fields: &[FieldRecord]) -> Result<(), Complaint> {
        let mut names: Vec<&str> =
            fields.iter().map(|field| self.texts.text(field.name, CANARY_NAME_BYTES_MAX)).collect::<Result<_, _>>()?;
        names.sort_unstable();
        let is_double = names.windows(2).any(|pair| matches!(pair, [left, right] if left == right));
        (!is_double).then_some(()).ok_or("has a field twice")
    }

    fn check_fields(&self) -> Result<(), PackError> {
        let mut values = 0;
        each(Section::Canaries, "field", self.fields, |_, record| {
            let name = self.texts.text(record.name, CANARY_NAME_BYTES_MAX)?;
            if plain("field", name).is_err() {
                return Err("has a name that is blank or has a control or bidirectional character");
            }
            if record.values.count.get() > FIELD_VALUES_MAX {
                return Err("has too many values");
            }
            (_, values) = next_of(self.values, record.values, values)?;
            Ok(())
        })?;
        self.must_be_all("values", values, self.values.len())
    }

    fn check_values(&self) -> Result<(), PackError> {
        let mut bytes_total = 0_u64;
        each(Section::Canaries, "value", self.values, |_, record| {
            let text = self.texts.bytes(record.text, VALUE_BYTES_MAX)?;
            bytes_total = bytes_total.saturating_add(text.len() as u64);
            let (bits, is_text) = (record.bits.get(), record.kind.get() == VALUE_TEXT);
            let is_known = match record.kind.get() {
                VALUE_NULL | VALUE_TEXT => bits == 0,
                VALUE_BOOL => bits <= 1,
                VALUE_INT | VALUE_REAL => true,
                _ => false,
            };
            let is_known = is_known && record.reserved.get() == 0 && (is_text || record.text == Range::default());
            is_known.then_some(()).ok_or("is of an unknown kind")
        })?;
        match bytes_total <= VALUES_BYTES_MAX {
            true => Ok(()),
            false => {
                let what = "bytes in the values of its canaries";
                Err(PackError::TooMany { what, found: bytes_total, limit: VALUES_BYTES_MAX })
            }
        }
    }

    fn text_or_unset(&self, range: Range) -> Result<Option<&'p str>, Complaint> {
        match range.is_unset() {
            true if range.count.get() == 0 => Ok(None),
            true => Err("has a text that is not set and has a size"),
            false => self.texts.text(range, CANARY_NAME_BYTES_MAX).map(Some),
        }
    }

    fn must_be_all(&self, table: &'static str, used: usize, there: usize) -> Result<(), PackError> {
        let what = "has records that belong to nothing";
        let wrong = PackError::Record { section: Section::Canaries.name(), table, position: used, what };
        (used == there).then_some(()).ok_or(wrong)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Told<'p>> + '_ {
        self.records.iter().map(|record| Told { canaries: *self, record })
    }
}

/// A canary of a pack.
#[derive(Clone, Copy)]
pub(crate) struct Told<'p> {
    canaries: Canaries<'p>,
    record: &'p CanaryRecord,
}

impl<'p> Told<'p> {
    pub(crate) fn name(&self) -> &'p str {
        self.canaries.texts.text(self.record.name, CANARY_NAME_BYTES_MAX).unwrap_or_default()
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = TypedEvent<'p>> {
        let canaries = self.canaries;
        of(canaries.events, self.record.events).iter().map(move |record| TypedEvent { canaries, record })
    }

    /// As whoever wrote the pack had it; `id` names a document by its position.
    pub(crate) fn written(&self, id: impl Fn(u32) -> String) -> Canary {
        let events = self.events().map(|event| event.written()).collect();
        let (fires, silent) = (self.fires().map(&id).collect(), self.silent().map(&id).collect());
        Canary { name: self.name().to_owned(), events, fires, silent }
    }

    /// Positions of documents.
    pub(crate) fn fires(&self) -> impl Iterator<Item = u32> + 'p {
        of(self.canaries.expectations, self.record.fires).iter().map(|position| position.get())
    }

    /// Positions of documents.
    pub(crate) fn silent(&self) -> impl Iterator<Item = u32> + 'p {
        of(self.canaries.expectations, self.record.silent).iter().map(|position| position.get())
    }
}

/// An event of a canary, as rules see it.
pub(crate) struct TypedEvent<'p> {
    canaries: Canaries<'p>,
    record: &'p EventRecord,
}

impl<'p> TypedEvent<'p> {
    pub(crate) fn logsource(&self) -> LogSource<'p> {
        let part = |range| self.canaries.text_or_unset(range).ok().flatten();
        let EventRecord { category, product, service, .. } = *self.record;
        LogSource { category: part(category), product: part(product), service: part(service) }
    }

    /// When, in milliseconds after the canary's beginning.
    pub(crate) fn at_ms(&self) -> u64 {
        self.record.at_ms.get()
    }

    fn written(&self) -> Event {
        let LogSource { category, product, service } = self.logsource();
        let fields = self.fields().map(|(name, values)| {
            let values = values.iter().map(|record| match self.value(record) {
                RuleValue::Null => Value::Null,
                RuleValue::Bool(truth) => Value::Bool(truth),
                RuleValue::Int(number) => Value::Int(number),
                RuleValue::Real(number) => Value::Real(number),
                RuleValue::Text(text) => Value::Text(text.to_vec()),
            });
            (name.to_owned(), values.collect())
        });
        Event {
            at_ms: self.at_ms(),
            category: category.map(str::to_owned),
            product: product.map(str::to_owned),
            service: service.map(str::to_owned),
            fields: fields.collect(),
        }
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'p str, &'p [ValueRecord])> + 'p {
        let canaries = self.canaries;
        of(canaries.fields, self.record.fields).iter().map(move |field| {
            let name = canaries.texts.text(field.name, CANARY_NAME_BYTES_MAX).unwrap_or_default();
            (name, of(canaries.values, field.values))
        })
    }

    fn value(&self, record: &ValueRecord) -> RuleValue<'p> {
        let bits = record.bits.get();
        match record.kind.get() {
            VALUE_BOOL => RuleValue::Bool(bits != 0),
            VALUE_INT => RuleValue::Int(i64::from_le_bytes(bits.to_le_bytes())),
            VALUE_REAL => RuleValue::Real(f64::from_bits(bits)),
            VALUE_TEXT => RuleValue::Text(self.canaries.texts.bytes(record.text, VALUE_BYTES_MAX).unwrap_or_default()),
            _ => RuleValue::Null,
        }
    }
}

impl Fields for TypedEvent<'_> {
    fn get<'e>(&'e self, field: Field<'_>, each: &mut dyn FnMut(RuleValue<'e>)) {
        if let Some((_, values)) = self.fields().find(|(name, _)| *name == field.name) {
            values.iter().for_each(|value| each(self.value(value)));
        }
    }

    /// Without slots: keywords are the only ones who ask, and they have no use for one.
    fn all<'e>(&'e self, each: &mut dyn FnMut(Option<u16>, &'e str, RuleValue<'e>)) {
        for (name, values) in self.fields() {
            values.iter().for_each(|value| each(None, name, self.value(value)));
        }
    }
}

/// The records of a range that was checked.
fn of<T>(table: &[T], range: Range) -> &[T] {
    let bounds = || {
        let first = usize::try_from(range.first.get()).ok()?;
        Some(Bounds { start: first, end: first.checked_add(usize::try_from(range.count.get()).ok()?)? })
    };
    bounds().and_then(|bounds| table.get(bounds)).unwrap_or_default()
}
