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

/// Entries of the table, by the classes of two bytes. Pairs that share one have the shorter leap.
const PAIRS: usize = 4096;

/// How far a search may leap.
#[derive(Clone, Debug)]
pub(crate) struct Leaps {
    /// A literal has at least so many bytes.
    ahead: usize,
    by_pair: Vec<u8>,
}

impl Leaps {
    /// `None` where literals are too short for it.
    pub(crate) fn of(automaton: &Automaton<'_>) -> Option<Self> {
        let levels = levels(automaton);
        // The first level with an output is the length of the shortest literal.
        let ahead = levels.len().saturating_sub(1);
        if ahead < AHEAD_BYTES_MIN {
            return None;
        }
        let mut by_pair = vec![u8::try_from(ahead.saturating_sub(1)).ok()?; PAIRS];
        for (depth, states) in levels.iter().enumerate().skip(2) {
            let leap = u8::try_from(ahead.saturating_sub(depth)).ok()?;
            for state in states {
                if let Some(known) = by_pair.get_mut(pair(state.before, state.class)) {
                    *known = leap.min(*known);
                }
            }
        }
        Some(Self { ahead, by_pair })
    }

    /// What the shortest literal has at least.
    pub(crate) fn least_bytes(&self) -> usize {
        self.ahead
    }

    /// The first place from this one on at which a literal may begin; the text's end if there is none.
    #[inline]
    pub(crate) fn next(&self, classes: &[u8; 256], text: &[u8], mut from: usize) -> usize {
        let Self { ahead, by_pair } = self;
        let class = |byte: u8| u32::from(*classes.get(usize::from(byte)).unwrap_or(&0));
        loop {
            let last = from.saturating_add(ahead.saturating_sub(2));
            let Some([first, second]) = text.get(last..).and_then(<[u8]>::first_chunk) else { return text.len() };
            match by_pair.get(pair(class(*first), class(*second))) {
                Some(0) | None => return from,
                Some(leap) => from = from.saturating_add(usize::from(*leap)),
            }
        }
    }
}

#[inline]
fn pair(first: u32, second: u32) -> usize {
    usize::try_from(first << 6 ^ second).map_or(0, |pair| pair % PAIRS)
}

/// A state and the classes of the last two bytes that lead to it.
struct Reached {
    state: u32,
    before: u32,
    class: u32,
}

/// The states by how many bytes lead to them, as far as no literal ends. A state's ways lead one further, or back to what is known
/// already.
fn levels(automaton: &Automaton<'_>) -> Vec<Vec<Reached>> {
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
