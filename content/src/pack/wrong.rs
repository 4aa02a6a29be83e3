//! What a file of a pack's source says wrongly, at its place: shown as what is wrong with a rule is.

use crate::sigma::diagnostic::render_at;
use crate::sigma::rejection::At;
use crate::sigma::{Reason, Source, Span};

/// A file says what can't be understood, or what does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{}: {reason}: {}", span.line, reason.mend())]
pub struct Wrong {
    /// The file, by its path within the folder.
    pub file: String,
    /// What of it is meant.
    pub span: Span,
    /// The line that it begins in, as it was written.
    pub text: String,
    /// What is wrong.
    pub reason: Reason,
}

impl Wrong {
    /// What is wrong with this file.
    pub(super) fn of(source: Source<'_>, At { span, reason }: At) -> Box<Self> {
        let text = crate::sigma::shown_line(source.text, span.line);
        Box::new(Self { file: source.file.to_owned(), span, text, reason })
    }

    /// For people, in several lines; `has_colour` where a terminal shows it.
    #[must_use]
    pub fn render(&self, has_colour: bool) -> String {
        render_at(&self.reason.to_string(), &self.file, self.span, &self.text, &self.reason, has_colour)
    }
}
