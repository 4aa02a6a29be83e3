//! Tries a text with wildcards on a value.
//!
//! The work is bounded by value length times pattern length: a `*` is crossed by the leftmost match of what follows it and is
//! never tried again, which is enough because nothing in a pattern is optional but `*` itself. What is tried is counted: a value can be made
//! to begin like the pattern everywhere.

use memchr::memmem;

use crate::image::layout::{PartRecord, PART_ANY_MANY, PART_ANY_ONE, PART_DASH, PART_LITERAL};
use crate::image::Image;
use crate::scratch::Text;

/// The five characters that Windows programs take for the dash of an option.
pub const DASHES: [&str; 5] = ["-", "/", "–", "—", "―"];

/// What it costs to try a part somewhere, in bytes that are compared; measured.
const TRY_COST: u64 = 2;
/// So many bytes of a literal are compared for the cost of one.
const COMPARED_BYTES: u64 = 16;

/// Whether the whole text fits the parts; `None` when that would cost more than `work`, which is counted down. Of a text whose end was cut
/// off, the beginning is all that a `*` may cross, and a literal at the end is looked for in its last bytes.
pub(crate) fn fits(image: &Image<'_>, parts: &[PartRecord], text: Text<'_>, work: &mut u64) -> Option<bool> {
    let mut trial = Trial { image, work: *work, is_over: false };
    let fits = match (text.tail, parts) {
        (None, _) => trial.fits_whole(parts, text.head),
        (Some(tail), [open, literal]) if is_many(open) && literal.kind.get() == PART_LITERAL => {
            tail.ends_with(image.bytes_of(literal.text))
        }
        (Some(_), [.., last]) if is_many(last) => trial.fits_whole(parts, text.head),
        _ => false,
    };
    *work = trial.work;
    (!trial.is_over).then_some(fits)
}

fn is_many(part: &PartRecord) -> bool {
    part.kind.get() == PART_ANY_MANY
}

/// Parts tried on one value.
struct Trial<'i> {
    image: &'i Image<'i>,
    /// What may still be spent.
    work: u64,
    /// More would have been needed.
    is_over: bool,
}

impl Trial<'_> {
    fn fits_whole(&mut self, parts: &[PartRecord], value: &[u8]) -> bool {
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
                self.strip(segment, rest).filter(|after| !must_end_at_end || after.is_empty())
            } else {
                self.find(segment, rest, must_end_at_end)
            };
            match after {
                Some(after) => rest = after,
                None => return false,
            }
        }
        true
    }

    /// What follows the leftmost place at which the segment fits (and ends the value, when it must).
    fn find<'v>(&mut self, segment: &[PartRecord], value: &'v [u8], must_end_at_end: bool) -> Option<&'v [u8]> {
        let first = segment.first()?;
        let literal = (first.kind.get() == PART_LITERAL).then(|| self.image.bytes_of(first.text));
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
            let is_half =
                first.kind.get() == PART_ANY_ONE && candidate.first().is_some_and(|byte| is_continuation(*byte));
            if is_half {
                continue;
            }
            match self.strip(segment, candidate) {
                Some(after) if !must_end_at_end || after.is_empty() => return Some(after),
                _ if self.is_over => return None,
                _ => {}
            }
        }
    }

    /// What follows the segment, if the value begins with it and that can be afforded.
    fn strip<'v>(&mut self, segment: &[PartRecord], value: &'v [u8]) -> Option<&'v [u8]> {
        segment.iter().try_fold(value, |rest, part| {
            let literal = match part.kind.get() {
                PART_LITERAL => self.image.bytes_of(part.text),
                _ => &[],
            };
            self.spend(TRY_COST.saturating_add(literal.len() as u64 / COMPARED_BYTES))?;
            match part.kind.get() {
                PART_LITERAL => rest.strip_prefix(literal),
                PART_ANY_ONE => rest.get(character_bytes(rest)?..),
                PART_DASH => DASHES.iter().find_map(|dash| rest.strip_prefix(dash.as_bytes())),
                _ => Some(rest),
            }
        })
    }

    fn spend(&mut self, work: u64) -> Option<()> {
        let left = self.work.checked_sub(work);
        self.is_over |= left.is_none();
        self.work = left?;
        Some(())
    }
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
