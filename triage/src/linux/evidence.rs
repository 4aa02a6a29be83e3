//! What it may cost to tell whether a stack belongs to a headline of which no table knows the format.
//!
//! Logs of programs are full of `INFO:` and `WARNING:`, and hold no stack: one look ahead for the next one, kept for all headlines before
//! it, spares them all. A log that was made to cost time holds both, and is bounded by a count.

use super::words::Words;

/// How far from its headline a stack may begin, in bytes.
const NEAR_BYTES: usize = 128 << 10;

/// Lines of one file that are looked at in search of stacks: some seconds of work.
const LINES_MAX: usize = 2_000_000;

/// Words that begin a stack.
pub(super) static TRACES: Words = Words::of(&["Call Trace:", "Call trace:", "Backtrace:"]);

/// What was looked at, and what is known of the text.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    lines: usize,
    /// From where on it was looked for a stack, and where the next one begins.
    next: Option<(usize, Option<usize>)>,
}

impl Evidence {
    /// Another text follows: the next part of the same file.
    pub(super) fn begin_part(&mut self) {
        self.next = None;
    }

    /// Whether a stack begins not far behind that byte.
    pub(super) fn is_near(&mut self, text: &str, from: usize) -> bool {
        let known = self.next.filter(|(since, at)| *since <= from && at.is_none_or(|at| from <= at));
        let (since, at) = known.unwrap_or_else(|| (from, after(text, from)));
        self.next = Some((since, at));
        at.is_some_and(|at| at.saturating_sub(from) <= NEAR_BYTES)
    }

    /// Counts the line; `false` when no more may be looked at.
    pub(super) fn may_look_on(&mut self) -> bool {
        self.lines = self.lines.saturating_add(1);
        self.lines <= LINES_MAX
    }

    /// Whether headlines were passed over because too much had been looked at.
    pub(super) fn is_spent(&self) -> bool {
        self.lines > LINES_MAX
    }
}

/// Where the next stack begins.
fn after(text: &str, from: usize) -> Option<usize> {
    TRACES.first(text.get(from..)?)?.checked_add(from)
}
