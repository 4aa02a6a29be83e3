//! Leaps over text in which no literal can begin, for automata of which the shortest literal is long (Wu and Manber, 1994).
//!
//! Keywords are looked for in every field of every event and are rarely there. Two bytes tell whether a literal can begin at one of the
//! places before them; where none can, they need not be looked at one by one.

use crate::automaton::Automaton;
use crate::image::layout::{STATE_DENSE, STATE_OUTPUT, STATE_PLACE_MASK};

/// Of each literal so many bytes are known here, which is the longest leap but one.
const AHEAD_BYTES_MAX: usize = 8;

/// Leaps for shorter literals would hardly be any.
const AHEAD_BYTES_MIN: usize = 4;

/// Entries of the table for each pair that begins or goes on a literal: pairs that share an entry have the shorter leap, and a large table
/// takes the place of others in a processor's cache.
const ENTRIES_A_PAIR: usize = 8;

/// Bits of the least and the greatest number of entries.
const BITS: std::ops::RangeInclusive<u32> = 8..=12;

/// Odd, and without a pattern: the golden ratio.
const SPREAD: u32 = 0x9E37_79B1;

/// A letter's bit that its capital does not have. Setting it makes some other bytes one too, which only shortens leaps.
const SMALL: u16 = 0x2020;

/// How far a search may leap.
#[derive(Clone, Debug)]
pub(crate) struct Leaps {
    /// A literal has at least so many bytes.
    ahead: usize,
    /// What of the product with `SPREAD` is not the entry's number, in bits.
    shift: u32,
    by_pair: Vec<u8>,
}

impl Leaps {
    /// For a search by all of these; `None` where literals are too short for it.
    pub(crate) fn of(automata: &[&Automaton<'_>]) -> Option<Self> {
        let all: Vec<Levels> = automata.iter().map(|automaton| levels(automaton)).collect();
        // The first level with an output is the length of the shortest literal.
        let ahead = all.iter().map(|levels| levels.len().saturating_sub(1)).min()?;
        if ahead < AHEAD_BYTES_MIN {
            return None;
        }
        let mut pairs = Vec::new();
        for (automaton, levels) in automata.iter().zip(&all) {
            let bytes = automaton.bytes_by_class()?;
            for (depth, states) in levels.iter().enumerate().skip(2).take(ahead.saturating_sub(1)) {
                let leap = u8::try_from(ahead.saturating_sub(depth)).ok()?;
                for state in states {
                    let byte = |class: u32| bytes.get(usize::try_from(class).ok()?).copied();
                    pairs.push(([byte(state.before)?, byte(state.class)?], leap));
                }
            }
        }
        let bits = pairs.len().saturating_mul(ENTRIES_A_PAIR).max(1).ilog2().clamp(*BITS.start(), *BITS.end());
        let far = u8::try_from(ahead.saturating_sub(1)).ok()?;
        let by_pair = vec![far; 1_usize.checked_shl(bits)?];
        let mut own = Self { ahead, shift: u32::BITS.saturating_sub(bits), by_pair };
        for (pair, leap) in pairs {
            let place = own.place(pair);
            if let Some(known) = own.by_pair.get_mut(place) {
                *known = leap.min(*known);
            }
        }
        Some(own)
    }

    /// What the shortest literal has at least.
    pub(crate) fn least_bytes(&self) -> usize {
        self.ahead
    }

    /// The first place from this one on at which a literal may begin; the text's end if there is none.
    #[inline]
    pub(crate) fn next(&self, text: &[u8], from: usize) -> usize {
        let before = self.ahead.saturating_sub(2);
        let mut rest = text.get(from.saturating_add(before)..).unwrap_or_default();
        while let Some(pair) = rest.first_chunk() {
            let leap = self.by_pair.get(self.place(*pair)).copied().unwrap_or(0);
            if leap == 0 {
                return text.len().saturating_sub(rest.len()).saturating_sub(before);
            }
            rest = rest.get(usize::from(leap)..).unwrap_or_default();
        }
        text.len()
    }

    /// The same from two places at once, the first of which is before an end of its own: until a literal may begin at one of them, or one of
    /// them is at its end.
    #[inline]
    pub(crate) fn next_of_two(&self, text: &[u8], mut one: usize, end: usize, mut other: usize) -> (usize, usize) {
        while let Some((first, second)) = self.leap(text, one).filter(|_| one < end).zip(self.leap(text, other)) {
            (one, other) = (one.wrapping_add(first), other.wrapping_add(second));
            if first == 0 || second == 0 {
                return (one, other);
            }
        }
        match one < end {
            true => (self.next(text, one), other),
            false => (one, self.next(text, other)),
        }
    }

    /// How far to leap from this place; `None` where no literal has room.
    #[inline]
    fn leap(&self, text: &[u8], from: usize) -> Option<usize> {
        let pair = text.get(from.wrapping_add(self.ahead.wrapping_sub(2))..)?.first_chunk()?;
        Some(usize::from(self.by_pair.get(self.place(*pair)).copied().unwrap_or(0)))
    }

    #[inline]
    fn place(&self, pair: [u8; 2]) -> usize {
        let small = u32::from(u16::from_le_bytes(pair) | SMALL);
        usize::try_from(small.wrapping_mul(SPREAD).unbounded_shr(self.shift)).unwrap_or(0)
    }
}

/// States by how many bytes lead to them.
type Levels = Vec<Vec<Reached>>;

/// A state and the classes of the last two bytes that lead to it.
struct Reached {
    state: u32,
    before: u32,
    class: u32,
}

/// The states by how many bytes lead to them, as far as no literal ends. A state's ways lead one further, or back to what is known
/// already.
fn levels(automaton: &Automaton<'_>) -> Levels {
    let mut is_known = vec![false; automaton.size_words()];
    let mut is_new = |state: u32| {
        let place = usize::try_from(state & STATE_PLACE_MASK).ok().and_then(|place| is_known.get_mut(place));
        place.is_some_and(|place| !std::mem::replace(place, true))
    };
    is_new(STATE_DENSE);
    let mut levels = vec![vec![Reached { state: STATE_DENSE, before: 0, class: 0 }]];
    while let Some(last) = levels.last().filter(|last| !last.is_empty() && levels.len() <= AHEAD_BYTES_MAX) {
        let mut next = Vec::new();
        for from in last {
            automaton.ways(from.state, &mut |class, state| {
                if is_new(state) {
                    next.push(Reached { state, before: from.class, class });
                }
            });
        }
        let has_output = next.iter().any(|reached| reached.state & STATE_OUTPUT != 0);
        levels.push(next);
        if has_output {
            break;
        }
    }
    levels
}
