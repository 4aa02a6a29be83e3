//! Where something stands in a file, so that every complaint can point at it.

use std::ops::Range;

/// A part of a file: lines and characters, both from 1. The end lies behind the last character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The line that it begins in.
    pub line: usize,
    /// The character in that line; 0 where only the line is known.
    pub column: usize,
    /// The line that it ends in.
    pub end_line: usize,
    /// The character behind the last.
    pub end_column: usize,
}

impl Span {
    /// So many characters of one line.
    pub(crate) fn of(line: usize, column: usize, width: usize) -> Self {
        Self { line, column, end_line: line, end_column: column.saturating_add(width) }
    }

    /// A line of this text, without what it is indented by.
    pub(crate) fn whole(text: &str, line: usize) -> Self {
        let shown = line_of(text, line);
        let indent = shown.chars().take_while(|character| character.is_whitespace()).count();
        Self::of(line, indent.saturating_add(1), shown.trim().chars().count())
    }

    /// These characters of it, counted from its first; the whole where it has several lines.
    pub(crate) fn part(self, characters: Range<usize>) -> Self {
        if self.column == 0 || self.line != self.end_line {
            return self;
        }
        Self::of(self.line, self.column.saturating_add(characters.start), characters.len())
    }
}

/// Only the line is known.
impl From<usize> for Span {
    fn from(line: usize) -> Self {
        Self { line, column: 0, end_line: line, end_column: 0 }
    }
}

impl From<saphyr_parser::Span> for Span {
    fn from(span: saphyr_parser::Span) -> Self {
        Self {
            line: span.start.line().max(1),
            column: span.start.col().saturating_add(1),
            end_line: span.end.line().max(1),
            end_column: span.end.col().saturating_add(1),
        }
    }
}

/// The characters of `text` at which `part` stands as a word of its own: the last such place if `is_last`.
pub(crate) fn word(text: &str, part: &str, is_last: bool) -> Option<Range<usize>> {
    let is_inner = |character: char| character.is_alphanumeric() || character == '_';
    let stands = |&(at, _): &(usize, &str)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at.saturating_add(part.len())..).and_then(|after| after.chars().next());
        !before.is_some_and(is_inner) && !after.is_some_and(is_inner)
    };
    let (at, _) = match part {
        "" => None,
        _ if is_last => text.rmatch_indices(part).find(stands),
        _ => text.match_indices(part).find(stands),
    }?;
    let first = text.get(..at)?.chars().count();
    Some(first..first.saturating_add(part.chars().count()))
}

/// A line of a file, counted from 1 as YAML counts them.
pub(crate) fn line_of(text: &str, line: usize) -> &str {
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'));
    lines.nth(line.saturating_sub(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_where_it_stands_alone() {
        assert_eq!(word("sel_a and sel", "sel", false), Some(10..13));
        assert_eq!(word("i|re|i", "i", true), Some(5..6));
        assert_eq!(word("é|x", "x", false), Some(2..3));
        assert_eq!(word("abc", "b", false), None);
        assert_eq!(word("abc", "", false), None);
    }

    #[test]
    fn lines_are_counted_as_yaml_counts_them() {
        let text = "\u{feff}a\r\nb\rc\nd";
        assert_eq!([1, 2, 3, 4, 5].map(|line| line_of(text, line)), ["a", "b", "c", "d", ""]);
    }
}
