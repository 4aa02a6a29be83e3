//! An image: compiled content in one flat piece of memory, used where it lies.
//!
//! Opening one checks every reference in it (`check`), so that evaluation finds what it looks for; and evaluation asks for
//! every record anyway instead of trusting that, so that no image whatever can make it panic, loop or read elsewhere.

mod budget;
mod check;
pub(crate) mod correlation;
pub mod layout;
mod response;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

pub use budget::Budget;
pub use check::{is_plain, ImageError, CONDITION_DEPTH_MAX, PROGRAM_STEPS_MAX};
pub use correlation::{CHAIN_MAX, STATES_BYTES_MAX, STATE_BYTES_MAX};
pub use response::{Action, Response};

use layout::{
    AutomatonRecord, CodeRecord, CorrelationRecord, ExpressionRecord, FieldRecord, GroupRecord, Header, InputRecord,
    NodeRecord, OutputRecord, PartRecord, PredicateRecord, QuestionRecord, Range, RuleRecord, Section, SectionRecord,
    SelectionRecord, StepRecord, FLAG_FOREIGN, MAGIC, OLDEST_VERSION, VERSION,
};

/// Compiled content, checked.
#[derive(Clone, Copy, Debug)]
pub struct Image<'i> {
    version: u32,
    flags: u32,
    budget: Budget,
    size_bytes: usize,
    pub(crate) bytes: &'i [u8],
    pub(crate) words: &'i [U32],
    pub(crate) fields: &'i [FieldRecord],
    pub(crate) groups: &'i [GroupRecord],
    pub(crate) rules: &'i [RuleRecord],
    pub(crate) selections: &'i [SelectionRecord],
    pub(crate) nodes: &'i [NodeRecord],
    pub(crate) questions: &'i [QuestionRecord],
    pub(crate) parts: &'i [PartRecord],
    pub(crate) predicates: &'i [PredicateRecord],
    pub(crate) code: &'i [CodeRecord],
    pub(crate) automata: &'i [AutomatonRecord],
    pub(crate) states: &'i [U32],
    pub(crate) outputs: &'i [OutputRecord],
    pub(crate) expressions: &'i [ExpressionRecord],
    pub(crate) tables: &'i [U16],
    pub(crate) programs: &'i [StepRecord],
    pub(crate) correlations: &'i [CorrelationRecord],
    pub(crate) inputs: &'i [InputRecord],
    pub(crate) silenced: &'i [U32],
}

/// How grave a hit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Context for other findings; no alert by itself.
    Informational,
    /// Rarely worth a look by itself.
    Low,
    /// Worth a look within a day.
    Medium,
    /// Worth a look now.
    High,
    /// Worth waking somebody up.
    Critical,
}

impl Level {
    /// All, from the least.
    pub const ALL: [Self; 5] = [Self::Informational, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// As rules write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The number of a level in an image.
    #[must_use]
    pub fn number(level: Option<Self>) -> u32 {
        level.map_or(layout::LEVEL_NONE, |level| (level as u32).saturating_add(1))
    }

    fn of_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }
}

/// Where events come from. For a rule: each part that is set must equal the event's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogSource<'s> {
    /// `process_creation` and such.
    pub category: Option<&'s str>,
    /// `linux` and such.
    pub product: Option<&'s str>,
    /// `auditd` and such.
    pub service: Option<&'s str>,
}

impl LogSource<'_> {
    /// Whether a rule with this log source applies to events of `event`'s.
    #[must_use]
    pub fn applies_to(&self, event: &LogSource<'_>) -> bool {
        let agrees = |wanted: Option<&str>, given: Option<&str>| wanted.is_none() || wanted == given;
        agrees(self.category, event.category)
            && agrees(self.product, event.product)
            && agrees(self.service, event.service)
    }
}

/// A rule of an image.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'i> {
    image: Image<'i>,
    record: &'i RuleRecord,
}

impl<'i> Image<'i> {
    /// The content in these bytes, after every reference in it was checked. Linear in their number.
    ///
    /// # Errors
    /// When they are no image of a version that is read, or refer to what is not there.
    pub fn open(bytes: &'i [u8]) -> Result<Self, ImageError> {
        let image = Self::sections(bytes)?;
        check::check(&image)?;
        Ok(image)
    }

    fn sections(bytes: &'i [u8]) -> Result<Self, ImageError> {
        let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| ImageError::NoHeader)?;
        if header.magic != MAGIC {
            return Err(ImageError::NoHeader);
        }
        if !(OLDEST_VERSION..=VERSION).contains(&header.version.get()) {
            return Err(ImageError::Version { found: header.version.get() });
        }
        if usize::try_from(header.size_bytes.get()).ok() != Some(bytes.len()) {
            return Err(ImageError::Size { stated: header.size_bytes.get(), found: bytes.len() });
        }
        let (directory, _) = <[SectionRecord]>::ref_from_prefix_with_elems(rest, Section::ALL.len())
            .map_err(|_| ImageError::Section { section: "directory" })?;
        if usize::try_from(header.sections.get()).ok() != Some(Section::ALL.len()) {
            return Err(ImageError::Section { section: "directory" });
        }
        let open = Directory { bytes, directory };
        Ok(Self {
            version: header.version.get(),
            flags: header.flags.get(),
            budget: Budget::of(&header.budget).ok_or(ImageError::Section { section: "budget" })?,
            size_bytes: bytes.len(),
            bytes: open.table(Section::Bytes, "bytes")?,
            words: open.table(Section::Words, "words")?,
            fields: open.table(Section::Fields, "fields")?,
            groups: open.table(Section::Groups, "groups")?,
            rules: open.table(Section::Rules, "rules")?,
            selections: open.table(Section::Selections, "selections")?,
            nodes: open.table(Section::Nodes, "nodes")?,
            questions: open.table(Section::Questions, "questions")?,
            parts: open.table(Section::Parts, "parts")?,
            predicates: open.table(Section::Predicates, "predicates")?,
            code: open.table(Section::Code, "code")?,
            automata: open.table(Section::Automata, "automata")?,
            states: open.table(Section::States, "states")?,
            outputs: open.table(Section::Outputs, "outputs")?,
            expressions: open.table(Section::Expressions, "expressions")?,
            tables: open.table(Section::Tables, "tables")?,
            programs: open.table(Section::Programs, "programs")?,
            correlations: open.table(Section::Correlations, "correlations")?,
            inputs: open.table(Section::Inputs, "inputs")?,
            silenced: open.table(Section::Silenced, "silenced")?,
        })
    }

    /// Whether uses of literals tell which of them announce rules.
    pub(crate) fn tells_announcing(&self) -> bool {
        self.version > OLDEST_VERSION
    }

    /// The layout that it is of, which is the number of the first engine that reads it.
    #[must_use]
    pub fn layout(&self) -> u32 {
        self.version
    }

    /// Its size.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// What one event may cost.
    #[must_use]
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Whether it holds rules for other sensors too.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.flags & FLAG_FOREIGN != 0
    }

    /// The names of all fields that rules ask for, by slot. An event prepared for this image answers by slot.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = &'i str> + '_ {
        self.fields.iter().map(|field| self.text(field.name))
    }

    /// The rules; a hit is a position among them.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = Rule<'i>> + '_ {
        self.rules.iter().map(|record| Rule { image: *self, record })
    }

    /// The rule at this position.
    #[must_use]
    pub fn rule(&self, position: u32) -> Option<Rule<'i>> {
        at(self.rules, position).map(|record| Rule { image: *self, record })
    }

    /// The log sources of the rules, one for each group of them.
    pub(crate) fn log_source(&self, group: &GroupRecord) -> LogSource<'i> {
        let text = |range: Range| (!range.is_unset()).then(|| self.text(range));
        LogSource { category: text(group.category), product: text(group.product), service: text(group.service) }
    }

    pub(crate) fn bytes_of(&self, range: Range) -> &'i [u8] {
        slice(self.bytes, range)
    }

    pub(crate) fn words_of(&self, range: Range) -> &'i [U32] {
        slice(self.words, range)
    }

    pub(crate) fn text(&self, range: Range) -> &'i str {
        std::str::from_utf8(self.bytes_of(range)).unwrap_or_default()
    }
}

impl<'i> Rule<'i> {
    /// The rule's identity: a UUID for Sigma rules.
    #[must_use]
    pub fn id(&self) -> &'i str {
        self.image.text(self.record.id)
    }

    /// What an analyst reads first.
    #[must_use]
    pub fn title(&self) -> &'i str {
        self.image.text(self.record.title)
    }

    /// How grave a hit is, when the author said so.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        Level::of_number(self.record.level.get())
    }

    /// The author's tags, `attack.t1059` and such.
    pub fn tags(&self) -> impl Iterator<Item = &'i str> {
        self.image.text(self.record.tags).lines()
    }

    /// What is done when it fires.
    #[must_use]
    pub fn response(&self) -> Response {
        Response::of_numbers(self.record.action.get(), self.record.mode.get())
    }

    /// Whom the rule is owed to.
    #[must_use]
    pub fn author(&self) -> Option<&'i str> {
        (!self.record.author.is_unset()).then(|| self.image.text(self.record.author))
    }

    /// The file that it was compiled from, and the line in it.
    #[must_use]
    pub fn place(&self) -> (&'i str, u32) {
        (self.image.text(self.record.file), self.record.line.get())
    }

    /// The slots of the fields that it asks for, ascending.
    pub fn fields(&self) -> impl Iterator<Item = u32> + 'i {
        self.image.words_of(self.record.fields).iter().map(|slot| slot.get())
    }

    /// The names of its selections. Those of exceptions that were put into it are `exception TITLE: NAME` or `filter TITLE: NAME`.
    pub fn selections(&self) -> impl Iterator<Item = &'i str> {
        let image = self.image;
        slice(image.selections, self.record.selections).iter().map(move |selection| image.text(selection.name))
    }

    /// Whether it is a stage of a sequence, which is there for that alone: its id is that of the sequence and its own name.
    #[must_use]
    pub fn is_stage(&self) -> bool {
        self.id().contains('#')
    }

    pub(crate) fn record(&self) -> &'i RuleRecord {
        self.record
    }
}

/// The sections of an image in the making.
struct Directory<'i> {
    bytes: &'i [u8],
    directory: &'i [SectionRecord],
}

impl<'i> Directory<'i> {
    fn table<T>(&self, section: Section, name: &'static str) -> Result<&'i [T], ImageError>
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned,
    {
        let wrong = || ImageError::Section { section: name };
        let position = Section::ALL.iter().position(|known| *known == section).ok_or_else(wrong)?;
        let record = self.directory.get(position).filter(|record| record.kind.get() == section as u32);
        let record = record.ok_or_else(wrong)?;
        let first = usize::try_from(record.offset.get()).map_err(|_| wrong())?;
        let size = usize::try_from(record.size_bytes.get()).map_err(|_| wrong())?;
        let bytes = self.bytes.get(first..first.checked_add(size).ok_or_else(wrong)?).ok_or_else(wrong)?;
        <[T]>::ref_from_bytes(bytes).map_err(|_| wrong())
    }
}

/// The record at this position.
#[inline]
pub(crate) fn at<T>(table: &[T], position: u32) -> Option<&T> {
    table.get(usize::try_from(position).ok()?)
}

/// The records of a range; none where it leaves the table.
#[inline]
pub(crate) fn slice<T>(table: &[T], range: Range) -> &[T] {
    let bounds = || {
        let first = usize::try_from(range.first.get()).ok()?;
        Some(first..first.checked_add(usize::try_from(range.count.get()).ok()?)?)
    };
    bounds().and_then(|bounds| table.get(bounds)).unwrap_or_default()
}
