//! Texts with wildcards, and how a value is tried against one.
//!
//! The work is bounded by value length times pattern length: a `*` is crossed by the leftmost match of what follows it and is
//! never tried again, which is enough because nothing in a pattern is optional but `*` itself.

use std::ops::ControlFlow;

use memchr::memmem;

use crate::fold::fold_text;
use crate::rule::Place;

/// The five characters that Windows programs take for the dash of an option.
const DASHES: [&[u8]; 5] = [b"-", b"/", "–".as_bytes(), "—".as_bytes(), "―".as_bytes()];

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// These bytes.
    Literal(Vec<u8>),
    /// Any one character; a byte that is not UTF-8 counts as one.
    AnyOne,
    /// Any characters, or none.
    AnyMany,
    /// One of `-`, `/`, en dash, em dash, horizontal bar.
    Dash,
}

/// A text with wildcards that a whole value is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    parts: Vec<Part>,
    is_cased: bool,
}

impl Pattern {
    /// The pattern that finds `parts` at `place` in a value. Unless `is_cased`, the literals are folded here, once.
    #[must_use]
    pub fn new(parts: impl IntoIterator<Item = Part>, place: Place, is_cased: bool) -> Self {
        let mut pattern = Self { parts: Vec::new(), is_cased };
        if matches!(place, Place::End | Place::Anywhere) {
            pattern.push(Part::AnyMany);
        }
        for part in parts {
            pattern.push(part);
        }
        if matches!(place, Place::Start | Place::Anywhere) {
            pattern.push(Part::AnyMany);
        }
        pattern
    }

    /// The parts in order; neighbouring literals and neighbouring `AnyMany` are one.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether case matters.
    #[must_use]
    pub fn is_cased(&self) -> bool {
        self.is_cased
    }

    fn push(&mut self, part: Part) {
        let part = match part {
            Part::Literal(literal) if literal.is_empty() => return,
            Part::Literal(literal) if !self.is_cased => Part::Literal(fold_text(&literal)),
            other => other,
        };
        match (self.parts.last_mut(), part) {
            (Some(Part::Literal(before)), Part::Literal(literal)) => before.extend_from_slice(&literal),
            (Some(Part::AnyMany), Part::AnyMany) => {}
            (_, part) => self.parts.push(part),
        }
    }
}

/// A pattern made ready: the four plain shapes are byte comparisons, only the rest is walked part by part.
#[derive(Debug)]
pub(crate) enum TextTest {
    Anything,
    Whole(Vec<u8>),
    Start(Vec<u8>),
    End(Vec<u8>),
    Anywhere(Box<memmem::Finder<'static>>),
    Wild { segments: Vec<Segment>, is_open_start: bool, is_open_end: bool },
}

/// Parts without `AnyMany`: what stands between two of those.
#[derive(Debug)]
pub(crate) struct Segment {
    parts: Vec<Part>,
    /// Finds the first part, when that is a literal.
    finder: Option<Box<memmem::Finder<'static>>>,
}

impl Segment {
    fn new(parts: &[Part]) -> Self {
        let finder = match parts.first() {
            Some(Part::Literal(literal)) => Some(Box::new(memmem::Finder::new(literal).into_owned())),
            _ => None,
        };
        Self { parts: parts.to_vec(), finder }
    }
}

impl TextTest {
    pub(crate) fn new(pattern: &Pattern) -> Self {
        match pattern.parts() {
            [] => Self::Whole(Vec::new()),
            [Part::AnyMany] => Self::Anything,
            [Part::Literal(text)] => Self::Whole(text.clone()),
            [Part::Literal(text), Part::AnyMany] => Self::Start(text.clone()),
            [Part::AnyMany, Part::Literal(text)] => Self::End(text.clone()),
            [Part::AnyMany, Part::Literal(text), Part::AnyMany] => {
                Self::Anywhere(Box::new(memmem::Finder::new(text).into_owned()))
            }
            parts => Self::Wild {
                segments: parts
                    .split(|part| *part == Part::AnyMany)
                    .filter(|segment| !segment.is_empty())
                    .map(Segment::new)
                    .collect(),
                is_open_start: parts.first() == Some(&Part::AnyMany),
                is_open_end: parts.last() == Some(&Part::AnyMany),
            },
        }
    }

    /// Whether the value fits. The caller passes the folded value when the pattern is not cased.
    pub(crate) fn fits(&self, value: &[u8]) -> bool {
        match self {
            Self::Anything => true,
            Self::Whole(text) => value == text.as_slice(),
            Self::Start(text) => value.starts_with(text),
            Self::End(text) => value.ends_with(text),
            Self::Anywhere(finder) => finder.find(value).is_some(),
            Self::Wild { segments, is_open_start, is_open_end } => {
                wild_fits(segments, *is_open_start, *is_open_end, value)
            }
        }
    }
}

fn wild_fits(segments: &[Segment], is_open_start: bool, is_open_end: bool, value: &[u8]) -> bool {
    let mut rest = value;
    let last = segments.len().saturating_sub(1);
    for (position, segment) in segments.iter().enumerate() {
        let must_start_here = position == 0 && !is_open_start;
        let must_end_at_end = position == last && !is_open_end;
        let after = if must_start_here {
            strip_segment(&segment.parts, rest).filter(|after| !must_end_at_end || after.is_empty())
        } else {
            find_segment(segment, rest, must_end_at_end)
        };
        match after {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}

/// What follows the leftmost place at which the segment fits (and ends the value, when it must).
fn find_segment<'v>(segment: &Segment, value: &'v [u8], must_end_at_end: bool) -> Option<&'v [u8]> {
    let attempt = |start: &'v [u8]| {
        // A character must not be cut in half to count as two.
        if segment.parts.first() == Some(&Part::AnyOne) && start.first().is_some_and(|byte| is_continuation(*byte)) {
            return ControlFlow::Continue(());
        }
        match strip_segment(&segment.parts, start) {
            Some(after) if !must_end_at_end || after.is_empty() => ControlFlow::Break(after),
            _ => ControlFlow::Continue(()),
        }
    };
    let outcome = match &segment.finder {
        Some(finder) => overlapping(finder, value).filter_map(|at| value.get(at..)).try_for_each(attempt),
        None => (0..=value.len()).filter_map(|at| value.get(at..)).try_for_each(attempt),
    };
    outcome.break_value()
}

/// Every position of a literal in `value`, overlapping ones included.
fn overlapping<'v>(finder: &'v memmem::Finder<'static>, value: &'v [u8]) -> impl Iterator<Item = usize> + 'v {
    let mut from = 0_usize;
    std::iter::from_fn(move || {
        let found = from.checked_add(finder.find(value.get(from..)?)?)?;
        from = found.checked_add(1)?;
        Some(found)
    })
}

/// What follows the segment, if the value begins with it.
fn strip_segment<'v>(segment: &[Part], value: &'v [u8]) -> Option<&'v [u8]> {
    segment.iter().try_fold(value, |rest, part| match part {
        Part::Literal(literal) => rest.strip_prefix(literal.as_slice()),
        Part::AnyOne => rest.get(character_bytes(rest)?..),
        Part::Dash => DASHES.iter().find_map(|dash| rest.strip_prefix(*dash)),
        Part::AnyMany => Some(rest),
    })
}

/// Bytes of the character that the text begins with.
fn character_bytes(text: &[u8]) -> Option<usize> {
    let claimed: usize = match text.first()? {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return Some(1),
    };
    let is_whole = text.get(1..claimed).is_some_and(|tail| tail.iter().all(|byte| is_continuation(*byte)));
    Some(if is_whole { claimed } else { 1 })
}

fn is_continuation(byte: u8) -> bool {
    (0x80..=0xBF).contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wild(text: &str) -> TextTest {
        let parts = text.chars().map(|character| match character {
            '*' => Part::AnyMany,
            '?' => Part::AnyOne,
            '~' => Part::Dash,
            other => Part::Literal(other.to_string().into_bytes()),
        });
        TextTest::new(&Pattern::new(parts, Place::Whole, false))
    }

    #[test]
    fn wildcards_cross_any_text_and_question_marks_exactly_one_character() {
        let cases = [
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("a*b*c", "abc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?c", "aéc", true),
            ("*??", "€", false),
            ("*?", "€", true),
            ("*a?a", "aaa", true),
            ("*ab", "abab", true),
            ("a*a", "a", false),
            ("**", "", true),
            ("?*", "", false),
            ("*a*b*", "xaxbx", true),
            ("*a*b*", "xbxax", false),
            ("* ~x", "run –x", true),
            ("* ~x", "run /x", true),
            ("* ~x", "run +x", false),
        ];
        for (pattern, value, expected) in cases {
            assert_eq!(wild(pattern).fits(value.as_bytes()), expected, "{pattern} against {value}");
        }
    }

    #[test]
    fn a_question_mark_takes_a_byte_that_is_not_utf8_for_a_character() {
        assert!(wild("a?c").fits(b"a\xffc"));
        assert!(wild("a??c").fits(b"a\xe2\x82c"));
    }

    proptest::proptest! {
        #[test]
        fn the_walk_agrees_with_the_definition(pattern in "[ab*?]{0,8}", value in "[ab]{0,10}") {
            fn defined(pattern: &[u8], value: &[u8]) -> bool {
                match (pattern.split_first(), value.split_first()) {
                    (None, rest) => rest.is_none(),
                    (Some((b'*', after)), rest) => {
                        defined(after, value) || rest.is_some_and(|(_, tail)| defined(pattern, tail))
                    }
                    (Some((b'?', after)), Some((_, tail))) => defined(after, tail),
                    (Some((byte, after)), Some((first, tail))) => byte == first && defined(after, tail),
                    (Some(_), None) => false,
                }
            }
            let expected = defined(pattern.as_bytes(), value.as_bytes());
            proptest::prop_assert_eq!(wild(&pattern).fits(value.as_bytes()), expected);
        }
    }
}
