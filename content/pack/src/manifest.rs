//! What a release is: its name and number, the engines that it is for, and the documents that it was built from.

use crate::error::{Named, PackError};
use crate::layout::{
    DocumentRecord, ManifestRecord, Section, DOCUMENTS_MAX, DOCUMENT_CORRELATION, DOCUMENT_FILTER, DOCUMENT_RULE,
    FLAG_URGENT, ID_BYTES_MAX, NAME_BYTES_MAX,
};
use crate::section::{each, plain, Reader, Texts};

/// What a pack's name may be: it becomes a part of paths and of signed documents.
pub const NAME_RULE: &str = "1 to 64 small letters, digits, `-` and `_`, a letter or digit first";
const WHY_NO_NAME: &str = "is not of 1 to 64 small letters, digits, `-` and `_`, a letter or digit first";

/// Whether a pack may have this name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_small = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= NAME_BYTES_MAX as usize
        && text.as_bytes().first().is_some_and(is_small)
        && text.bytes().all(|byte| is_small(&byte) || matches!(byte, b'-' | b'_'))
}

/// What a release is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest<'p> {
    /// What kind of content: one pack of a name is active at a time.
    pub name: &'p str,
    /// The release's number: it grows with every pack of this name.
    pub version: u64,
    /// The engines that it is for.
    pub engines: Engines,
    /// Its new deny rules are enforced at once, without a time in which they only count.
    pub is_urgent: bool,
    /// How many rules it has.
    pub rule_count: u32,
    /// How many documents it was built from: rules, correlations, exceptions.
    pub document_count: u32,
}

/// Versions of engines, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engines {
    /// First.
    pub min: u32,
    /// Last.
    pub max: u32,
}

/// A rule or another document that the pack was built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'p> {
    /// Its id.
    pub id: &'p str,
    /// What it is.
    pub kind: Kind,
    /// SHA-256 of its source.
    pub sha256: [u8; 32],
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A rule.
    Rule,
    /// What is told of several hits together.
    Correlation,
    /// An exception from rules.
    Filter,
}

impl Engines {
    /// The engines that load what the compiler of this program writes, as far as is known today.
    pub const OF_THIS: Self = Self { min: watertight_engine::VERSION, max: watertight_engine::VERSION };

    /// Whether an engine that takes what those from `oldest` to itself take is served.
    #[must_use]
    pub fn serve(self, oldest: u32, engine: u32) -> bool {
        self.min <= engine && self.max >= oldest
    }
}

impl Kind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Correlation => "correlation",
            Self::Filter => "filter",
        }
    }

    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Rule => DOCUMENT_RULE,
            Self::Correlation => DOCUMENT_CORRELATION,
            Self::Filter => DOCUMENT_FILTER,
        }
    }

    fn of_number(number: u32) -> Option<Self> {
        [Self::Rule, Self::Correlation, Self::Filter].into_iter().find(|kind| kind.number() == number)
    }
}

/// The manifest, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed<'p> {
    pub(crate) manifest: Manifest<'p>,
    records: &'p [DocumentRecord],
    texts: Texts<'p>,
}

impl<'p> Listed<'p> {
    pub(crate) fn read(bytes: &'p [u8]) -> Result<Self, PackError> {
        let mut reader = Reader::new(Section::Manifest, bytes);
        let head: &ManifestRecord = reader.record()?;
        if head.flags.get() & !FLAG_URGENT != 0 || head.reserved.get() != 0 {
            return Err(reader.wrong("has unknown flags"));
        }
        let records: &[DocumentRecord] = reader.table("documents", head.documents.get(), DOCUMENTS_MAX)?;
        let wrong_name = |what| PackError::Section { section: Section::Manifest.name(), what };
        let engines = Engines { min: head.engine_min.get(), max: head.engine_max.get() };
        if engines.min == 0 || engines.min > engines.max {
            return Err(reader.wrong("names no engine that it is for"));
        }
        if head.version.get() == 0 {
            return Err(reader.wrong("has the release number 0"));
        }
        let texts = reader.texts();
        let name = plain("name", texts.text(head.name, NAME_BYTES_MAX).map_err(wrong_name)?)?;
        if !is_name(name) {
            return Err(PackError::Name { what: "name", name: Named::of(name), why: WHY_NO_NAME });
        }
        let listed = Self {
            manifest: Manifest {
                name,
                version: head.version.get(),
                engines,
                is_urgent: head.flags.get() & FLAG_URGENT != 0,
                rule_count: head.rules.get(),
                document_count: head.documents.get(),
            },
            records,
            texts,
        };
        listed.check_documents()?;
        Ok(listed)
    }

    /// In the order of their ids, so that two with one id are neighbours, and one is found without a table.
    fn check_documents(&self) -> Result<(), PackError> {
        let mut ids = Vec::with_capacity(self.records.len());
        each(Section::Manifest, "document", self.records, |_, record| {
            if record.reserved.get() != 0 || Kind::of_number(record.kind.get()).is_none() {
                return Err("is of an unknown kind");
            }
            ids.push(self.texts.text(record.id, ID_BYTES_MAX)?);
            Ok(())
        })?;
        let mut before: Option<String> = None;
        for (position, id) in ids.into_iter().enumerate() {
            let key = plain("id", id)?.to_ascii_lowercase();
            if before.as_ref() == Some(&key) {
                return Err(PackError::DuplicateId { id: Named::of(id) });
            }
            if before.as_ref().is_some_and(|before| *before > key) {
                let what = "is not in the order of the ids";
                return Err(PackError::Record { section: Section::Manifest.name(), table: "document", position, what });
            }
            before = Some(key);
        }
        Ok(())
    }

    pub(crate) fn documents(&self) -> impl ExactSizeIterator<Item = Document<'p>> + '_ {
        self.records.iter().map(|record| self.open(record))
    }

    pub(crate) fn document(&self, position: u32) -> Option<Document<'p>> {
        self.records.get(usize::try_from(position).ok()?).map(|record| self.open(record))
    }

    /// The position of the document with this id, in letters of any case.
    pub(crate) fn position(&self, id: &str) -> Option<u32> {
        let key = id.to_ascii_lowercase();
        let found = self.records.binary_search_by(|record| self.open(record).id.to_ascii_lowercase().cmp(&key));
        found.ok().and_then(|position| u32::try_from(position).ok())
    }

    /// Every record was checked, so nothing is left out here.
    fn open(&self, record: &DocumentRecord) -> Document<'p> {
        Document {
            id: self.texts.text(record.id, ID_BYTES_MAX).unwrap_or_default(),
            kind: Kind::of_number(record.kind.get()).unwrap_or(Kind::Rule),
            sha256: record.sha256,
        }
    }
}
