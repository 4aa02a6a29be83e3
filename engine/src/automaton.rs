//! Finds every literal of a field's rules in one pass over its text, by an automaton of an image.
//!
//! Case is folded by the classes of bytes: a text in ASCII is searched as it is, others must be folded before.

use zerocopy::little_endian::U32;

use crate::image::layout::{
    AutomatonRecord, OutputRecord, NONE, PLACE_ANYWHERE, PLACE_END, PLACE_START, PLACE_WHOLE, STATE_CLASS_SHIFT,
    STATE_COUNT_MASK, STATE_DENSE, STATE_OUTPUT, STATE_PLACE_MASK, USE_PLACE_SHIFT, USE_PREDICATE_MASK,
};
use crate::image::{at, slice, Image};
use crate::leaps::Leaps;

/// What of a text is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Whole,
    /// Its beginning: the end is elsewhere.
    Head,
    /// Its end: only what stands there is of interest.
    Tail,
}

/// An automaton ready to search.
#[derive(Clone, Debug)]
pub(crate) struct Automaton<'i> {
    classes: &'i [u8; 256],
    /// How many there are of them.
    class_count: u32,
    states: &'i [U32],
    /// Over text without literals, if they are long.
    leaps: Option<Leaps>,
    /// Those of the whole image, as the next two.
    outputs: &'i [OutputRecord],
    words: &'i [U32],
}

impl<'i> Automaton<'i> {
    /// `None` for a damaged record, which `Image::open` refuses.
    pub(crate) fn of(image: &Image<'i>, record: &'i AutomatonRecord) -> Option<Self> {
        let classes = image.bytes_of(record.classes).first_chunk()?;
        let states = slice(image.states, record.states);
        let (outputs, words, class_count) = (image.outputs, image.words, record.class_count.get());
        let own = Self { classes, class_count, states, outputs, words, leaps: None };
        Some(Self { leaps: Leaps::of(&own), ..own })
    }

    /// Texts with fewer bytes have none of the literals.
    pub(crate) fn least_bytes(&self) -> usize {
        self.leaps.as_ref().map_or(0, Leaps::least_bytes)
    }

    /// Calls `found` with each predicate that the text satisfies, as often as it does.
    pub(crate) fn search(&self, text: &[u8], extent: Extent, found: &mut dyn FnMut(u32)) {
        let (mut state, mut end) = (STATE_DENSE, 0_usize);
        let mut last_output = 0_u32;
        loop {
            if let Some(leaps) = self.leaps.as_ref().filter(|_| state == STATE_DENSE) {
                end = leaps.next(self.classes, text, end);
            }
            let Some(rest) = text.get(end..).filter(|rest| !rest.is_empty()) else { break };
            let (next, left) = match self.leaps {
                None => self.walk::<false>(state, rest),
                Some(_) => self.walk::<true>(state, rest),
            };
            (state, end) = (next, text.len().saturating_sub(left.len()));
            // The same state again says the same: long runs of one letter are common in hostile text.
            if state & STATE_OUTPUT != 0 && (state != last_output || end == text.len()) {
                last_output = state;
                self.outputs(state, end, text.len(), extent, found);
            }
        }
    }

    /// The next state with an output (or the first state again, if that is asked for), or the last one, and what is left of the text:
    /// at least one byte less.
    fn walk<'t, const IS_HOMING: bool>(&self, mut state: u32, mut text: &'t [u8]) -> (u32, &'t [u8]) {
        loop {
            (state, text) = match text.split_first() {
                None => return (state, text),
                Some(_) if state & STATE_DENSE != 0 => self.rows::<IS_HOMING>(state, text),
                Some((byte, rest)) => (self.next(state, self.class_of(*byte)), rest),
            };
            if state & STATE_OUTPUT != 0 || (IS_HOMING && state == STATE_DENSE) {
                return (state, text);
            }
        }
    }

    /// Nearly all of a text is spent in states with a full row: this loop knows these alone, and is kept apart because it needs the
    /// registers.
    #[inline(never)]
    fn rows<'t, const IS_HOMING: bool>(&self, mut state: u32, text: &'t [u8]) -> (u32, &'t [u8]) {
        let Self { classes, states, .. } = self;
        let mut rest = text.iter();
        for byte in rest.by_ref() {
            let class = u32::from(*classes.get(usize::from(*byte)).unwrap_or(&0));
            let place = (state & STATE_PLACE_MASK).wrapping_add(2).wrapping_add(class);
            state = at(states, place).map_or(STATE_DENSE, |word| word.get());
            if state & (STATE_DENSE | STATE_OUTPUT) != STATE_DENSE || (IS_HOMING && state == STATE_DENSE) {
                break;
            }
        }
        (state, rest.as_slice())
    }

    #[inline]
    fn class_of(&self, byte: u8) -> u32 {
        u32::from(*self.classes.get(usize::from(byte)).unwrap_or(&0))
    }

    /// The size of its states.
    pub(crate) fn size_words(&self) -> usize {
        self.states.len()
    }

    /// Calls `each` with the classes that lead on from a state and where to; of one with a full row also with those that lead back.
    pub(crate) fn ways(&self, state: u32, each: &mut dyn FnMut(u32, u32)) {
        let place = state & STATE_PLACE_MASK;
        let Some(first) = self.word(place) else { return };
        if state & STATE_DENSE != 0 {
            for class in 0..self.class_count {
                if let Some(target) = self.word(place.wrapping_add(2).wrapping_add(class)) {
                    each(class, target);
                }
            }
            return;
        }
        let (count, before) =
            (first & STATE_COUNT_MASK, place.wrapping_add(if state & STATE_OUTPUT == 0 { 2 } else { 3 }));
        let packed = if count > 1 { count.div_ceil(4) } else { 0 };
        for way in 0..count {
            let class = match count {
                1 => Some(first >> STATE_CLASS_SHIFT & 0xFF),
                _ => self.word(before.wrapping_add(way / 4)).map(|four| four >> (way % 4).wrapping_mul(8) & 0xFF),
            };
            let target = self.word(before.wrapping_add(packed).wrapping_add(way));
            if let Some((class, target)) = class.zip(target) {
                each(class, target);
            }
        }
    }

    /// The state behind this class of bytes. Falls back only to states before, so it ends.
    #[inline(never)]
    fn next(&self, mut state: u32, class: u32) -> u32 {
        loop {
            let place = state & STATE_PLACE_MASK;
            if state & STATE_DENSE != 0 {
                return self.word(place.wrapping_add(2).wrapping_add(class)).unwrap_or(STATE_DENSE);
            }
            let Some(first) = self.word(place) else { return STATE_DENSE };
            let count = first & STATE_COUNT_MASK;
            let before = place.wrapping_add(if state & STATE_OUTPUT == 0 { 2 } else { 3 });
            if count == 1 {
                if first >> STATE_CLASS_SHIFT & 0xFF == class {
                    return self.word(before).unwrap_or(STATE_DENSE);
                }
            } else if let Some(position) = self.position_of(before, count, class) {
                let targets = before.wrapping_add(count.div_ceil(4));
                return self.word(targets.wrapping_add(position)).unwrap_or(STATE_DENSE);
            }
            state = match self.word(place.wrapping_add(1)) {
                Some(back) if back & STATE_PLACE_MASK < place => back,
                _ => return STATE_DENSE,
            };
        }
    }

    #[inline]
    fn word(&self, position: u32) -> Option<u32> {
        at(self.states, position).map(|word| word.get())
    }

    /// The position of the class among the packed classes of a state.
    #[inline]
    fn position_of(&self, first: u32, count: u32, class: u32) -> Option<u32> {
        let packed = self.states.get(usize::try_from(first).ok()?..)?;
        let classes = packed.iter().flat_map(|word| word.get().to_le_bytes());
        let found = classes.take(usize::try_from(count).ok()?).position(|known| u32::from(known) == class)?;
        u32::try_from(found).ok()
    }

    /// Kept out of the loop, which needs the registers.
    #[inline(never)]
    fn outputs(&self, state: u32, end: usize, size: usize, extent: Extent, found: &mut dyn FnMut(u32)) {
        let behind = if state & STATE_DENSE != 0 { 1 } else { 2 };
        let mut output = self.word((state & STATE_PLACE_MASK).wrapping_add(behind)).unwrap_or(NONE);
        while let Some(record) = at(self.outputs, output) {
            let is_at_start = usize::try_from(record.size_bytes.get()).is_ok_and(|literal| literal == end);
            let is_at_end = end == size;
            for used in slice(self.words, record.uses) {
                let used = used.get();
                let place = used >> USE_PLACE_SHIFT;
                let holds = match extent {
                    Extent::Whole => {
                        (place == PLACE_ANYWHERE)
                            | ((place == PLACE_START) & is_at_start)
                            | ((place == PLACE_END) & is_at_end)
                            | ((place == PLACE_WHOLE) & is_at_start & is_at_end)
                    }
                    Extent::Head => (place == PLACE_ANYWHERE) | ((place == PLACE_START) & is_at_start),
                    Extent::Tail => (place == PLACE_END) & is_at_end,
                };
                if holds {
                    found(used & USE_PREDICATE_MASK);
                }
            }
            match record.next.get() {
                next if next < output => output = next,
                _ => break,
            }
        }
    }
}
