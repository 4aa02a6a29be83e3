//! A correlation, whatever language it was written in, before its inputs are looked up: they may be in other files.

use super::{Level, Response, Rule};
use crate::sigma::Span;

/// What several events make of one another.
#[derive(Clone, Debug, PartialEq)]
pub struct Correlation {
    /// Its identity.
    pub id: String,
    /// What an analyst reads first.
    pub title: String,
    /// How grave a hit is, when the author said so.
    pub level: Option<Level>,
    /// The author's tags.
    pub tags: Vec<String>,
    /// Whom it is owed to.
    pub author: Option<String>,
    /// What is asked of its inputs.
    pub kind: Kind,
    /// What it listens to; of a sequence in the order of its stages.
    pub inputs: Vec<Input>,
    /// What others that stand on it may group by: its own group-by, one for each of the first parts of its key.
    pub group_by: Vec<String>,
    /// How many parts its key has.
    pub parts: usize,
    /// How long its events may lie apart.
    pub timespan_ns: u64,
    /// What its state may take.
    pub state_bytes: u64,
    /// Where that is written, or else what is asked of its inputs.
    pub state_span: Span,
    /// What is done when it fires.
    pub response: Response,
    /// Whether the rules that it listens to are alerts by themselves too.
    pub generates: bool,
}

/// What is asked of the inputs of a correlation.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// How many events there are, or what a field of theirs measures.
    Window {
        /// What is measured.
        measure: Measure,
        /// What of it fires.
        bounds: Bounds,
    },
    /// Inputs happened, in any order: pairs of those that must and must not have, a bit for each.
    Temporal(Vec<(u32, u32)>),
    /// Inputs happened one after the other; the last had to stay away for this long after the one before it, if it is set.
    Sequence {
        /// In nanoseconds.
        absent_ns: Option<u64>,
    },
}

/// What is counted or measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Events.
    Count,
    /// Distinct values of a field.
    Values,
    /// The sum of a field's numbers.
    Sum,
    /// Their mean.
    Average,
    /// The least of them.
    Least,
    /// The greatest of them.
    Greatest,
}

/// What of a count or measure fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The least; of numbers in thousandths.
    pub least: i64,
    /// The most.
    pub most: i64,
    /// The least itself does not fire.
    pub is_above: bool,
    /// The most itself does not.
    pub is_below: bool,
    /// It is judged when the timespan is over, since more events could undo it.
    pub is_at_end: bool,
}

/// What a correlation listens to.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// What people call it.
    pub name: String,
    /// Where it is written.
    pub span: Span,
    /// Which rule.
    pub source: InputSource,
    /// For each part of the key the field that gives it.
    pub fields: Vec<Option<KeyField>>,
    /// The field that is measured.
    pub value: Option<KeyField>,
    /// Parts that must equal those of the stages before, a bit for each.
    pub joins: u32,
    /// Parts that must differ.
    pub differs: u32,
    /// Parts whose case does not matter.
    pub folds: u32,
}

/// A field that groups, joins or measures events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyField {
    /// Its name.
    pub field: String,
    /// Where it is named.
    pub span: Span,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum InputSource {
    /// A rule or correlation by its id or name, wherever it is. Each alias that it is grouped by has a field for some rules: which
    /// is known once those are.
    Named {
        /// The id or name.
        reference: String,
        /// By part: fields by the id or name of the rule that has them; none where the part is no alias.
        aliases: Vec<Vec<(String, KeyField)>>,
    },
    /// A rule of its own.
    Inline(Box<Rule>),
}
