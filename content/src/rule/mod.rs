//! A detection rule, whatever language it was written in, before it is laid out in an image.
//!
//! Plain data without behaviour. Everything a language resolves by name (selections, `1 of x*`, modifiers) is already
//! resolved here.

mod ascii;
mod correlation;
mod everything;
mod expression;
mod network;
mod pattern;
mod run;

pub use correlation::{Bounds, Correlation, Input, InputSource, KeyField, Kind, Measure};
pub(crate) use everything::fits_everything;
pub use expression::{check_regex, RegexError, RegexFlags};
pub(crate) use expression::{parse_regex, steps_of, table_of};
pub use network::{Network, NetworkError};
pub use pattern::{Part, Pattern};
pub use watertight_engine::{Action, Level, Response};

use crate::sigma::Span;

/// A rule: to which events it applies and what must be true of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The rule's identity: a UUID for Sigma rules.
    pub id: String,
    /// What an analyst reads first.
    pub title: String,
    /// How grave a hit is, when the author said so.
    pub level: Option<Level>,
    /// The author's tags, `attack.t1059` and such.
    pub tags: Vec<String>,
    /// Whom the rule is owed to.
    pub author: Option<String>,
    /// Where its events come from.
    pub logsource: LogSource,
    /// Named parts that `condition` refers to by position.
    pub selections: Vec<Selection>,
    /// What must be true for the rule to fire.
    pub condition: Expr,
    /// What is done when it fires.
    pub response: Response,
    /// Where it asks for fields, for complaints.
    pub uses: Vec<FieldUse>,
}

/// A place where a rule asks for a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldUse {
    /// The field.
    pub field: String,
    /// The modifiers behind it, as written.
    pub modifiers: String,
    /// Where both stand in the file.
    pub span: Span,
}

impl FieldUse {
    /// The modifier whose value is the name of another field.
    pub(crate) const REFERRED_BY: &str = "fieldref";

    /// What stands as modifiers where a field is the value of such: none that can be written.
    pub(crate) const REFERRED: &str = "<-fieldref";

    /// Where the field is named as another one's value.
    pub(crate) fn referred<'u>(uses: &'u [Self], field: &str) -> Option<&'u Self> {
        uses.iter().find(|used| used.field == field && used.modifiers == Self::REFERRED)
    }

    /// Where the question is asked: the first place that names the field with its modifiers, else the first that names it.
    #[must_use]
    pub fn of<'u>(uses: &'u [Self], field: &str, question: &Predicate) -> Option<&'u Self> {
        let mut of_field = uses.iter().filter(|used| used.field == field);
        let is_asked = |used: &&Self| match used.modifiers.as_str() {
            "" => question.source.starts_with("is "),
            modifiers => question.source.strip_prefix(modifiers).is_some_and(|rest| rest.starts_with(' ')),
        };
        of_field.clone().find(is_asked).or_else(|| of_field.next())
    }
}

/// The source of events. For a rule: each part that is set must equal the event's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogSource {
    /// `process_creation` and such.
    pub category: Option<String>,
    /// `linux` and such.
    pub product: Option<String>,
    /// `auditd` and such.
    pub service: Option<String>,
}

impl LogSource {
    /// As the engine compares it.
    #[must_use]
    pub fn lend(&self) -> watertight_engine::LogSource<'_> {
        watertight_engine::LogSource {
            category: self.category.as_deref(),
            product: self.product.as_deref(),
            service: self.service.as_deref(),
        }
    }

    /// Whether a rule with this log source applies to events of `event`'s.
    #[must_use]
    pub fn applies_to(&self, event: &Self) -> bool {
        self.lend().applies_to(&event.lend())
    }
}

/// A named part of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The author's name for it; explanations use it.
    pub name: String,
    /// What it demands.
    pub body: Expr,
}

/// A boolean tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// True when every part is; true when there are none.
    All(Vec<Expr>),
    /// True when some part is; false when there are none.
    Any(Vec<Expr>),
    /// True when the part is not.
    Not(Box<Expr>),
    /// The selection at this position of `Rule::selections`. Selections do not refer to selections.
    Selection(usize),
    /// A question about one field.
    Is(Predicate),
}

/// A question about one field, or about any field when it has no name.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicate {
    /// The field, `None` for a keyword: some value of some field must satisfy `op`.
    pub field: Option<String>,
    /// The question.
    pub op: Op,
    /// The question as its author wrote it, for explanations: `contains '/tmp/'`.
    pub source: String,
}

/// What is asked of a field's values. A field with several values satisfies it when one of them does.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The text is, begins, ends with or contains this, possibly with wildcards.
    Text(Pattern),
    /// The text has a part that the expression describes. Linear time; the size is capped.
    Regex {
        /// The expression.
        pattern: String,
        /// `i`, `m`, `s`.
        flags: RegexFlags,
    },
    /// The number stands in this relation to `than`. Text that reads as a number counts as one.
    Compare {
        /// The relation.
        by: Comparison,
        /// The right-hand side.
        than: Number,
    },
    /// A part of the timestamp stands in this relation to `than`.
    Time {
        /// Which part.
        part: TimePart,
        /// The relation.
        by: Comparison,
        /// The right-hand side.
        than: Number,
    },
    /// The text is an address within this network.
    Within(Network),
    /// The field is there, null or not (`true`), or is absent (`false`).
    Exists(bool),
    /// The field is absent or null.
    Null,
    /// A value of this other field is, begins, ends or is contained in a value of the field.
    SameAs {
        /// The other field.
        field: String,
        /// Where in the value the other field's value must stand.
        place: Place,
        /// Whether case matters.
        is_cased: bool,
    },
}

/// Where a text must stand within a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It is the whole value.
    Whole,
    /// At its beginning.
    Start,
    /// At its end.
    End,
    /// Anywhere.
    Anywhere,
}

/// A relation between numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A number in a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// One with a fraction.
    Real(f64),
}

/// A part of a timestamp, as the timestamp writes it: no time zone conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimePart {
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// Of the month, 1 to 31.
    Day,
    /// ISO 8601 week, 1 to 53.
    Week,
    /// 1 to 12.
    Month,
    /// 1970 and such.
    Year,
}
