//! A rule that is refused: what, where and the mend.

use super::place::{line_of, word, Span};
pub use super::reason::Reason;

/// Most characters of a line that a rejection keeps to show it.
const SHOWN_CHARACTERS_MAX: usize = 400;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A rule, or what should have been one.
    Rule,
    /// A filter, or an exception of ours.
    Exception,
    /// A correlation, or a sequence of ours.
    Correlation,
}

/// A line of a file, as far as it is shown.
pub(crate) fn shown_line(text: &str, line: usize) -> String {
    line_of(text, line).chars().take(SHOWN_CHARACTERS_MAX).collect()
}

/// A rule, or a whole file, that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// What the document is.
    pub kind: Kind,
    /// The rule's id, when the file was readable that far.
    pub rule: Option<String>,
    /// The file as it was named to the reader.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What of the file it is about.
    pub span: Span,
    /// The line as it was written; empty where it is not at hand.
    pub text: String,
    /// What is wrong.
    pub reason: Reason,
}

impl Rejection {
    /// A rejection of what stands there in `text`, the file's.
    pub(crate) fn new(kind: Kind, rule: Option<String>, file: &str, text: &str, At { span, reason }: At) -> Self {
        let text = shown_line(text, span.line);
        Self { kind, rule, file: file.to_owned(), line: span.line, span, text, reason }
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rule = self.rule.as_deref().unwrap_or("no id");
        let Self { file, line, reason, .. } = self;
        write!(f, "{file}:{line}: rule {rule} rejected: {reason}: {} [{}]", reason.mend(), reason.code())
    }
}

/// A reason and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) span: Span,
    pub(crate) reason: Reason,
}

impl Reason {
    /// The reason, found there.
    pub(crate) fn at(self, place: impl Into<Span>) -> At {
        At { span: place.into(), reason: self }
    }

    /// The reason, found in a text that stands there as it is written; at the part of it that it names.
    pub(crate) fn within(self, place: Span, text: &str, is_last: bool) -> At {
        let is_verbatim = place.end_column.saturating_sub(place.column) == text.chars().count();
        let part = word(text, self.part(), is_last).filter(|_| is_verbatim);
        self.at(part.map_or(place, |part| place.part(part)))
    }
}
