//! Finds every literal of a field's rules in one pass over its text, by an automaton of an image.
//!
//! Case is folded by the classes of bytes: a text in ASCII is searched as it is, others must be folded before.

use zerocopy::little_endian::U32;

use crate::image::layout::{
    AutomatonRecord, OutputRecord, NONE, PLACE_ANYWHERE, PLACE_END, PLACE_START, PLACE_WHOLE, STATE_CLASS_SHIFT,
    STATE_COUNT_MASK, STATE_DENSE, STATE_OUTPUT, STATE_PLACE_MASK, USE_PLACE_SHIFT, USE_PREDICATE_MASK,
};
use crate::image::{at, slice, Image};

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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Automaton<'i> {
    classes: &'i [u8; 256],
    states: &'i [U32],
    /// Those of the whole image, as the next two.
    outputs: &'i [OutputRecord],
    words: &'i [U32],
}

impl<'i> Automaton<'i> {
    /// `None` for a damaged record, which `Image::open` refuses.
    pub(crate) fn of(image: &Image<'i>, record: &'i AutomatonRecord) -> Option<Self> {
        let classes = image.bytes_of(record.classes).first_chunk()?;
        let states = slice(image.states, record.states);
        Some(Self { classes, states, outputs: image.outputs, words: image.words })
    }

    /// Calls `found` with each predicate that the text satisfies, as often as it does.
    pub(crate) fn search(&self, text: &[u8], extent: Extent, found: &mut dyn FnMut(u32)) {
        let (mut state, mut end) = (STATE_DENSE, 0_usize);
        let mut last_output = 0_u32;
        while let Some(rest) = text.get(end..).filter(|rest| !rest.is_empty()) {
            let (next, read) = self.walk(state, rest);
            (state, end) = (next, end.saturating_add(read));
            // The same state again says the same again: long runs of one letter are common in hostile text.
            if state & STATE_OUTPUT != 0 && (state != last_output || end == text.len()) {
                last_output = state;
                self.outputs(state, end, text.len(), extent, found);
            }
        }
    }

    /// The next state with an output, or the last one, and how many bytes lead there: at least one of a text that has one.
    #[inline(never)]
    fn walk(&self, mut state: u32, text: &[u8]) -> (u32, usize) {
        let Self { classes, states, .. } = *self;
        let class_of = |byte: &u8| u32::from(*classes.get(usize::from(*byte)).unwrap_or(&0));
        let mut rest = text.iter();
        loop {
            // Nearly all of a text is spent in states with a full row: the inner loop knows these alone.
            while state & (STATE_DENSE | STATE_OUTPUT) == STATE_DENSE {
                let Some(byte) = rest.next() else { return (state, text.len()) };
                let place = (state & STATE_PLACE_MASK).wrapping_add(2).wrapping_add(class_of(byte));
                state = at(states, place).map_or(STATE_DENSE, |word| word.get());
            }
            let read = text.len().saturating_sub(rest.len());
            if state & STATE_OUTPUT != 0 && read > 0 {
                return (state, read);
            }
            let Some(byte) = rest.next() else { return (state, text.len()) };
            state = self.next(state, class_of(byte));
        }
    }

    /// The state behind this class of bytes. Falls back only to states before, so it ends.
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
