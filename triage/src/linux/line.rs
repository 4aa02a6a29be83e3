//! A log's lines: what stands before the message is taken off (`prefix.rs`), and it is told who printed it.
//!
//! Kernel messages reach a file in many ways: `dmesg`, a serial console, the journal, netconsole, pstore. Each puts something in
//! front. Where the kernel tells the caller (`[  T123]` a task, `[    C1]` a processor), reports of two callers that are mixed line
//! by line can be told apart, so the caller is kept.

use super::prefix::split;

/// Longest line that is looked at; what comes after is noise of a binary file.
const LINE_BYTES_MAX: usize = 4096;

/// Who printed a line, as far as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context<'a> {
    /// No timestamp: a program, or a kernel that prints none.
    Bare,
    /// The kernel; the caller is not told.
    Kernel,
    /// The kernel, by task (`T123`) or processor (`C1`).
    Caller(&'a str),
}

impl Context<'_> {
    /// Whether lines of several callers can be told apart.
    pub(super) fn is_caller(self) -> bool {
        matches!(self, Self::Caller(_))
    }

    /// Whether a processor printed it outside any task.
    pub(super) fn is_processor(self) -> bool {
        matches!(self, Self::Caller(caller) if caller.starts_with('C'))
    }
}

/// A line of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Its first byte in the file.
    pub(super) start: usize,
    /// The byte behind its last, without the line's end.
    pub(super) end: usize,
    pub(super) context: Context<'a>,
    /// The message.
    pub(super) text: &'a str,
}

/// All lines of a text from the one at `start` on.
pub(super) fn lines_from<'a>(text: &'a str, start: usize) -> impl Iterator<Item = Line<'a>> {
    let mut next = Some(start);
    std::iter::from_fn(move || {
        let start = next?;
        let rest = text.get(start..)?;
        let length = memchr::memchr(b'\n', rest.as_bytes());
        next = length.and_then(|length| start.checked_add(length)?.checked_add(1)).filter(|next| *next < text.len());
        Some(line(start, rest.get(..length.unwrap_or(rest.len()))?))
    })
}

/// The line with that many bytes before it.
fn line(start: usize, raw: &str) -> Line<'_> {
    let whole = raw.trim_end_matches('\r');
    let end = start.saturating_add(whole.len());
    // Some consoles end lines the other way round.
    let (context, text) = split(cut(whole.trim_start_matches('\r'), LINE_BYTES_MAX));
    Line { start, end, context, text }
}

/// At most so many bytes, and no letter is cut in two.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut length = text.len().min(bytes_max);
    while !text.is_char_boundary(length) {
        length = length.saturating_sub(1);
    }
    text.get(..length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_know_their_bytes() {
        let text = "one\r\n\ntwo";
        let spans: Vec<_> = lines_from(text, 0).map(|line| (line.start, line.end)).collect();
        assert_eq!(spans, [(0, 3), (5, 5), (6, 9)]);
        assert_eq!(lines_from(text, 6).count(), 1);
        assert_eq!(lines_from(text, 99).count(), 0);
    }
}
