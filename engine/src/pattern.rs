//! Tries a text with wildcards on a value.
//!
//! The work is bounded by value length times pattern length: a `*` is crossed by the leftmost match of what follows it and is
//! never tried again, which is enough because nothing in a pattern is optional but `*` itself.

use memchr::memmem;

use crate::image::layout::{PartRecord, PART_ANY_MANY, PART_ANY_ONE, PART_DASH, PART_LITERAL};
use crate::image::Image;
use crate::scratch::Text;

/// The five characters that Windows programs take for the dash of an option.
pub const DASHES: [&str; 5] = ["-", "/", "–", "—", "―"];

/// Whether the whole text fits the parts. Of a text whose end was cut off, the beginning is all that a `*` may cross, and a
/// literal at the end is looked for in its last bytes.
pub(crate) fn fits(image: &Image<'_>, parts: &[PartRecord], text: Text<'_>) -> bool {
    let Some(tail) = text.tail else { return fits_whole(image, parts, text.head) };
    match parts {
        [open, literal] if is_many(open) && literal.kind.get() == PART_LITERAL => {
            tail.ends_with(image.bytes_of(literal.text))
        }
        [.., last] if is_many(last) => fits_whole(image, parts, text.head),
        _ => false,
    }
}

fn is_many(part: &PartRecord) -> bool {
    part.kind.get() == PART_ANY_MANY
}

fn fits_whole(image: &Image<'_>, parts: &[PartRecord], value: &[u8]) -> bool {
    let mut rest = value;
    let is_open_start = parts.first().is_some_and(is_many);
    let is_open_end = parts.last().is_some_and(is_many);
    let mut segments = parts.split(is_many).filter(|segment| !segment.is_empty()).peekable();
    if segments.peek().is_none() {
        return value.is_empty() || is_open_start;
    }
    let mut is_first = true;
    while let Some(segment) = segments.next() {
        let must_start_here = is_first && !is_open_start;
        let must_end_at_end = segments.peek().is_none() && !is_open_end;
        is_first = false;
        let after = if must_start_here {
            strip(image, segment, rest).filter(|after| !must_end_at_end || after.is_empty())
        } else {
            find(image, segment, rest, must_end_at_end)
        };
        match after {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}

/// What follows the leftmost place at which the segment fits (and ends the value, when it must).
fn find<'v>(image: &Image<'_>, segment: &[PartRecord], value: &'v [u8], must_end_at_end: bool) -> Option<&'v [u8]> {
    let first = segment.first()?;
    let literal = (first.kind.get() == PART_LITERAL).then(|| image.bytes_of(first.text));
    let finder = literal.map(memmem::Finder::new);
    let mut from = 0_usize;
    loop {
        let rest = value.get(from..)?;
        let start = match &finder {
            Some(finder) => from.checked_add(finder.find(rest)?)?,
            None => from,
        };
        from = start.checked_add(1)?;
        let candidate = value.get(start..)?;
        // A character must not be cut in half to count as two.
        let is_half = first.kind.get() == PART_ANY_ONE && candidate.first().is_some_and(|byte| is_continuation(*byte));
        if is_half {
            continue;
        }
        match strip(image, segment, candidate) {
            Some(after) if !must_end_at_end || after.is_empty() => return Some(after),
            _ => {}
        }
    }
}

/// What follows the segment, if the value begins with it.
fn strip<'v>(image: &Image<'_>, segment: &[PartRecord], value: &'v [u8]) -> Option<&'v [u8]> {
    segment.iter().try_fold(value, |rest, part| match part.kind.get() {
        PART_LITERAL => rest.strip_prefix(image.bytes_of(part.text)),
        PART_ANY_ONE => rest.get(character_bytes(rest)?..),
        PART_DASH => DASHES.iter().find_map(|dash| rest.strip_prefix(dash.as_bytes())),
        _ => Some(rest),
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
