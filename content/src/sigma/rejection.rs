//! Why a rule is refused: what, where and the mend.

use crate::rule::RegexError;

/// A rule, or a whole file, that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The rule's id, when the file was readable that far.
    pub rule: Option<String>,
    /// The file as it was named to the reader.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: Reason,
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rule = self.rule.as_deref().unwrap_or("no id");
        write!(f, "{}:{}: rule {rule} rejected: {}", self.file, self.line, self.reason)
    }
}

/// What is wrong with a rule, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the message of each says it
pub enum Reason {
    #[error("this is not YAML: {what}")]
    Yaml { what: String },
    #[error("the document has more than {limit} {what}: split it")]
    TooLarge { what: &'static str, limit: usize },
    #[error("there is no rule in this file: remove it, or add one")]
    NoDocument,
    #[error("the document is {found}, not a mapping with title, id, logsource and detection")]
    NotAMapping { found: &'static str },
    #[error("{kind} are not supported yet: keep this document in a folder of its own")]
    Unsupported { kind: &'static str },
    #[error("{field} is missing: add it")]
    Missing { field: &'static str },
    #[error("{field} must be {wanted}, not {found}")]
    WrongType { field: String, wanted: &'static str, found: &'static str },
    #[error("id {id:?} is not an identifier: use a UUID")]
    BadId { id: String },
    #[error(
        "{field} {text:?} has a control or bidirectional character, which would show as something else: take it out"
    )]
    NotPlain { field: &'static str, text: String },
    #[error("{what}")]
    NotCompiled { what: String },
    #[error("id {id} is already that of the rule in {other}: give this one a new UUID")]
    DuplicateId { id: String, other: String },
    #[error("level {level:?} is unknown: use informational, low, medium, high or critical")]
    UnknownLevel { level: String },
    #[error("logsource key {key:?} is unknown: use category, product, service, definition")]
    UnknownLogsourceKey { key: String },
    #[error("logsource names no category, product or service: the rule would apply to everything; name one")]
    EmptyLogsource,
    #[error("detection key {key:?} is not supported: {mend}")]
    UnsupportedDetectionKey { key: String, mend: &'static str },
    #[error("selection {selection:?} is empty: give it a field and a value")]
    EmptySelection { selection: String },
    #[error("selection {selection:?} has {found} where a field, a keyword or a list of them belongs")]
    BadSelection { selection: String, found: &'static str },
    #[error("modifier {modifier:?} of {field:?} is unknown: remove it or correct its spelling")]
    UnknownModifier { field: String, modifier: String },
    #[error("modifiers {first:?} and {second:?} of {field:?} contradict each other: keep one")]
    ConflictingModifiers { field: String, first: String, second: String },
    #[error("modifier {modifier:?} of {field:?} {why}")]
    MisplacedModifier { field: String, modifier: String, why: &'static str },
    #[error(
        "{field:?} has an expand modifier, but there is no value for placeholder {placeholder}: write the values out"
    )]
    NoPlaceholderValue { field: String, placeholder: String },
    #[error("{field:?} has {found} as value, where {wanted} is needed")]
    BadValue { field: String, wanted: &'static str, found: String },
    #[error("{field:?} has no values: give it at least one")]
    NoValues { field: String },
    #[error("{field:?}: {error}")]
    Regex { field: String, error: RegexError },
    #[error("correlation: {what}")]
    Correlation { what: String },
    #[error("correlation refers to {reference:?}, and no rule that was accepted has this id or name: {mend}")]
    NoSuchRule { reference: String, mend: &'static str },
    #[error("correlation refers to {reference:?}, which is the name of several rules: use the id")]
    AmbiguousRule { reference: String },
    #[error("condition: {what}")]
    Condition { what: String },
    #[error("condition names {name:?}, but detection has no such selection: add it or correct the name")]
    UnknownSelection { name: String },
    #[error("condition names {pattern:?}, but no selection fits it: add one or correct the pattern")]
    NothingFits { pattern: String },
}

/// A reason and the line it was found at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) line: usize,
    pub(crate) reason: Reason,
}

impl Reason {
    /// The reason, found at this line.
    pub(crate) fn at(self, line: usize) -> At {
        At { line, reason: self }
    }
}
