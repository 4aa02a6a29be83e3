//! A pack in the making: the same parts give the same bytes, and what was written has been opened once.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};
use watertight_engine::Image;
use watertight_policy::Policy;
use zerocopy::IntoBytes;

use crate::canary::{Canary, Event, Value};
use crate::error::{Named, PackError};
use crate::layout::{
    CanariesRecord, CanaryRecord, DocumentRecord, EventRecord, Expectation, FieldRecord, Header, ManifestRecord, Range,
    Section, SectionRecord, ValueRecord, DOCUMENTS_MAX, FLAG_URGENT, MAGIC, PACK_SIZE_BYTES_MAX, VALUE_BOOL, VALUE_INT,
    VALUE_NULL, VALUE_REAL, VALUE_TEXT, VERSION,
};
use crate::manifest::{Document, Engines};
use crate::open::Pack;
use crate::{policy, section};

/// What a pack is made of.
#[derive(Clone, Debug)]
pub struct Parts<'p> {
    /// What kind of content: one pack of a name is active at a time.
    pub name: &'p str,
    /// The release's number, from 1.
    pub version: u64,
    /// The engines that it is for.
    pub engines: Engines,
    /// Its new deny rules are enforced at once.
    pub is_urgent: bool,
    /// The compiled rules.
    pub image: &'p [u8],
    /// What they were compiled from, in any order.
    pub documents: Vec<Document<'p>>,
    /// Events that prove them.
    pub canaries: Vec<Canary>,
    /// Deny rules.
    pub policy: Option<&'p Policy>,
}

/// The pack's bytes, which `Pack::open` takes.
///
/// # Errors
/// As `Pack::open`: whatever a host would refuse is refused here.
pub fn write(parts: &Parts<'_>) -> Result<Vec<u8>, PackError> {
    let mut documents = parts.documents.clone();
    documents.sort_by_cached_key(|document| document.id.to_ascii_lowercase());
    section::at_most("documents", counted(documents.len()), DOCUMENTS_MAX)?;
    let rules = Image::open(parts.image)?.rules().len();
    let sections = [
        manifest(parts, &documents, rules),
        parts.image.to_vec(),
        canaries(&parts.canaries, &documents)?,
        parts.policy.map_or(Ok(Vec::new()), policy::write)?,
    ];
    let pack = laid_out(&sections)?;
    Pack::open(&pack)?;
    Ok(pack)
}

/// The sections behind their header and directory.
fn laid_out(sections: &[Vec<u8>; Section::ALL.len()]) -> Result<Vec<u8>, PackError> {
    let head = size_of::<Header>().saturating_add(size_of::<SectionRecord>().saturating_mul(sections.len()));
    let mut offset = head as u64;
    let mut directory = Vec::with_capacity(sections.len());
    for (section, bytes) in Section::ALL.into_iter().zip(sections) {
        directory.push(SectionRecord {
            kind: (section as u32).into(),
            reserved: 0.into(),
            offset: offset.into(),
            size_bytes: (bytes.len() as u64).into(),
            sha256: Sha256::digest(bytes).into(),
        });
        offset = offset.saturating_add(bytes.len() as u64);
    }
    if offset > PACK_SIZE_BYTES_MAX {
        return Err(PackError::TooLarge { found: offset });
    }
    let header = Header {
        magic: MAGIC,
        version: VERSION.into(),
        sections: counted(sections.len()).into(),
        size_bytes: offset.into(),
    };
    let mut pack = [header.as_bytes(), directory.as_bytes()].concat();
    sections.iter().for_each(|bytes| pack.extend_from_slice(bytes));
    Ok(pack)
}

fn manifest(parts: &Parts<'_>, documents: &[Document<'_>], rules: usize) -> Vec<u8> {
    let mut texts = Written::default();
    let head = ManifestRecord {
        name: texts.keep(parts.name.as_bytes()),
        version: parts.version.into(),
        engine_min: parts.engines.min.into(),
        engine_max: parts.engines.max.into(),
        flags: if parts.is_urgent { FLAG_URGENT } else { 0 }.into(),
        rules: counted(rules).into(),
        documents: counted(documents.len()).into(),
        reserved: 0.into(),
    };
    let records: Vec<DocumentRecord> = documents
        .iter()
        .map(|document| DocumentRecord {
            id: texts.keep(document.id.as_bytes()),
            kind: document.kind.number().into(),
            reserved: 0.into(),
            sha256: document.sha256,
        })
        .collect();
    [head.as_bytes(), records.as_bytes(), texts.bytes()].concat()
}

/// The tables of the canaries in the making.
#[derive(Default)]
struct Tables {
    canaries: Vec<CanaryRecord>,
    events: Vec<EventRecord>,
    fields: Vec<FieldRecord>,
    values: Vec<ValueRecord>,
    expectations: Vec<Expectation>,
    texts: Written,
}

fn canaries(canaries: &[Canary], documents: &[Document<'_>]) -> Result<Vec<u8>, PackError> {
    let positions: HashMap<String, u32> =
        documents.iter().map(|document| document.id.to_ascii_lowercase()).zip(0_u32..).collect();
    let mut tables = Tables::default();
    for canary in canaries {
        let first = tables.events.len();
        canary.events.iter().for_each(|event| tables.event(event));
        let events = range(first, tables.events.len());
        let fires = tables.expect(&canary.fires, &positions)?;
        let silent = tables.expect(&canary.silent, &positions)?;
        let name = tables.texts.keep(canary.name.as_bytes());
        tables.canaries.push(CanaryRecord { name, events, fires, silent });
    }
    let head = CanariesRecord {
        canaries: counted(tables.canaries.len()).into(),
        events: counted(tables.events.len()).into(),
        fields: counted(tables.fields.len()).into(),
        values: counted(tables.values.len()).into(),
        expectations: counted(tables.expectations.len()).into(),
        reserved: 0.into(),
    };
    Ok([
        head.as_bytes(),
        tables.canaries.as_bytes(),
        tables.events.as_bytes(),
        tables.fields.as_bytes(),
        tables.values.as_bytes(),
        tables.expectations.as_bytes(),
        tables.texts.bytes(),
    ]
    .concat())
}

impl Tables {
    fn expect(&mut self, ids: &[String], positions: &HashMap<String, u32>) -> Result<Range, PackError> {
        let first = self.expectations.len();
        for id in ids {
            let position = positions.get(&id.to_ascii_lowercase());
            let position = position.ok_or_else(|| PackError::Unlisted { id: Named::of(id) })?;
            self.expectations.push((*position).into());
        }
        Ok(range(first, self.expectations.len()))
    }

    fn event(&mut self, event: &Event) {
        let first = self.fields.len();
        for (name, values) in &event.fields {
            let first = self.values.len();
            values.iter().for_each(|value| self.value(value));
            let values = range(first, self.values.len());
            let name = self.texts.keep(name.as_bytes());
            self.fields.push(FieldRecord { name, values });
        }
        let mut part =
            |text: &Option<String>| text.as_ref().map_or(Range::unset(), |text| self.texts.keep(text.as_bytes()));
        let (category, product, service) = (part(&event.category), part(&event.product), part(&event.service));
        let fields = range(first, self.fields.len());
        self.events.push(EventRecord { at_ms: event.at_ms.into(), category, product, service, fields });
    }

    fn value(&mut self, value: &Value) {
        let (kind, bits, text) = match value {
            Value::Null => (VALUE_NULL, 0, Range::default()),
            Value::Bool(truth) => (VALUE_BOOL, u64::from(*truth), Range::default()),
            Value::Int(number) => (VALUE_INT, u64::from_le_bytes(number.to_le_bytes()), Range::default()),
            Value::Real(number) => (VALUE_REAL, number.to_bits(), Range::default()),
            Value::Text(text) => (VALUE_TEXT, 0, self.texts.keep(text)),
        };
        self.values.push(ValueRecord { kind: kind.into(), reserved: 0.into(), bits: bits.into(), text });
    }
}

/// Texts in the making, each kept once.
#[derive(Default)]
pub(crate) struct Written {
    bytes: Vec<u8>,
    known: HashMap<Vec<u8>, Range>,
}

impl Written {
    pub(crate) fn keep(&mut self, text: &[u8]) -> Range {
        if let Some(known) = self.known.get(text) {
            return *known;
        }
        let kept = Range::new(counted(self.bytes.len()), counted(text.len()));
        self.bytes.extend_from_slice(text);
        self.known.insert(text.to_vec(), kept);
        kept
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn range(first: usize, end: usize) -> Range {
    Range::new(counted(first), counted(end.saturating_sub(first)))
}

/// A count as a pack has it. What does not fit is refused for its size when the pack is opened.
fn counted(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
