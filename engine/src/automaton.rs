//! Finds every literal of a field's rules in one pass over its text, by an automaton of an image.
//!
//! Case is folded by the classes of bytes: a text in ASCII is searched as it is, others must be folded before. Literals that must stand
//! at an end of a value are in trees of their own, which are followed from that end only as far as they lead.

use zerocopy::little_endian::U32;

use crate::image::layout::{
    AutomatonRecord, OutputRecord, AUTOMATON_ANYWHERE, AUTOMATON_FROM_END, AUTOMATON_SHIFT, NONE, OUTPUT_ONLY,
    PLACE_ANYWHERE, PLACE_END, PLACE_START, PLACE_WHOLE, STATE_CLASS_SHIFT, STATE_COUNT_MASK, STATE_DENSE,
    STATE_OUTPUT, STATE_PLACE_MASK, USE_ANNOUNCES, USE_PLACE_SHIFT, USE_PREDICATE_MASK,
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

impl Extent {
    /// A bit for each `PLACE_` that a literal stands at.
    #[inline]
    fn places(self, is_at_start: bool, is_at_end: bool) -> u32 {
        let bit = |stands: bool, place: u32| u32::from(stands) << place;
        match self {
            Self::Whole => {
                bit(true, PLACE_ANYWHERE)
                    | bit(is_at_start, PLACE_START)
                    | bit(is_at_end, PLACE_END)
                    | bit(is_at_start & is_at_end, PLACE_WHOLE)
            }
            Self::Head => bit(true, PLACE_ANYWHERE) | bit(is_at_start, PLACE_START),
            Self::Tail => bit(is_at_end, PLACE_END),
        }
    }
}

/// An automaton ready to search.
#[derive(Clone, Debug)]
pub(crate) struct Automaton<'i> {
    classes: &'i [u8; 256],
    /// How many there are of them.
    class_count: u32,
    states: &'i [U32],
    /// `AUTOMATON_`.
    kind: u32,
    /// `USE_ANNOUNCES` if each use may, because the image does not say.
    announcing: u32,
    /// Over text without literals, if they are long.
    leaps: Option<Leaps>,
    /// Those of the whole image, as the next two.
    outputs: &'i [OutputRecord],
    words: &'i [U32],
}

impl<'i> Automaton<'i> {
    /// Leaps for a search by all of these at once; `None` where one of them has none.
    pub(crate) fn leaps_of(automata: &[Self]) -> Option<Leaps> {
        automata.iter().all(|automaton| automaton.leaps.is_some()).then_some(())?;
        Leaps::of(&automata.iter().collect::<Vec<_>>())
    }

    /// `None` for a damaged record, which `Image::open` refuses.
    pub(crate) fn of(image: &Image<'i>, record: &'i AutomatonRecord) -> Option<Self> {
        let classes = image.bytes_of(record.classes).first_chunk()?;
        let states = slice(image.states, record.states);
        let (outputs, words, class_count) = (image.outputs, image.words, record.class_count.get());
        let kind = record.longest_bytes.get() >> AUTOMATON_SHIFT;
        let announcing = if image.tells_announcing() { 0 } else { USE_ANNOUNCES };
        let own = Self { classes, class_count, states, kind, announcing, outputs, words, leaps: None };
        let leaps = if kind == AUTOMATON_ANYWHERE { Leaps::of(&[&own]) } else { None };
        Some(Self { leaps, ..own })
    }

    /// Calls `found` with each predicate that the text satisfies, as often as it does, and with `USE_ANNOUNCES` if that may announce rules.
    pub(crate) fn search(&self, text: &[u8], extent: Extent, found: &mut impl FnMut(u32)) {
        let reached = &mut |state, end| match self.output_of(state) {
            // Stands where this automaton looks, and nowhere else.
            output if output & OUTPUT_ONLY != 0 && output != NONE => {
                if extent != Extent::Tail || self.kind == AUTOMATON_FROM_END {
                    found(output & (USE_PREDICATE_MASK | USE_ANNOUNCES));
                }
            }
            output => self.outputs(output, end, text.len(), extent, found),
        };
        match self.kind {
            AUTOMATON_ANYWHERE => self.search_through(text, reached),
            AUTOMATON_FROM_END if extent != Extent::Head => {
                self.follow(text.iter().rev(), &mut |state, _| reached(state, text.len()));
            }
            AUTOMATON_FROM_END => {}
            _ if extent == Extent::Tail => {}
            _ => self.follow(text.iter(), reached),
        }
    }

    /// Follows a tree as far as the bytes lead; `reached` gets each state with an output and how many bytes led there.
    #[inline]
    fn follow<'t>(&self, bytes: impl Iterator<Item = &'t u8>, reached: &mut impl FnMut(u32, usize)) {
        let mut state = STATE_DENSE;
        for (before, byte) in bytes.enumerate() {
            state = match self.way(state, self.class_of(*byte)) {
                None | Some(STATE_DENSE) => return,
                Some(next) => next,
            };
            if state & STATE_OUTPUT != 0 {
                reached(state, before.wrapping_add(1));
            }
        }
    }

    /// Follows the text until no literal has begun that could still end, or all of it; `None` if one is there. What is left of it.
    pub(crate) fn passes<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let mut occurs = false;
        let rest = self.walk::<true>(text.iter(), text.len(), &mut |_, _| occurs = true);
        (!occurs).then_some(rest)
    }

    /// `reached` gets each state with an output and how many bytes led there; not every time if it is the same as the last.
    #[inline]
    fn search_through(&self, text: &[u8], reached: &mut impl FnMut(u32, usize)) {
        let Some(leaps) = &self.leaps else {
            self.walk::<false>(text.iter(), text.len(), reached);
            return;
        };
        if text.len() < leaps.least_bytes() {
            return;
        }
        let mut rest = text;
        loop {
            rest = rest.get(leaps.next(rest, 0)..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            rest = self.walk::<true>(rest.iter(), text.len(), reached);
        }
    }

    /// Follows the bytes, which are the last of a text of this size, from the first state; if that is asked for, until it is there again.
    /// What is left of them.
    ///
    /// Nearly all of a text is spent in states with a full row: from one of them to the next it waits for no more than one addition.
    fn walk<'t, const IS_HOMING: bool>(
        &self,
        mut bytes: std::slice::Iter<'t, u8>,
        size: usize,
        reached: &mut impl FnMut(u32, usize),
    ) -> &'t [u8] {
        const TARGETS: u32 = 2_u32.wrapping_sub(STATE_DENSE);
        let (mut state, mut last_output) = (STATE_DENSE, 0_u32);
        while let Some(byte) = bytes.next() {
            // Here a state has this bit and no other beside its place.
            let place = state.wrapping_add(self.class_of(*byte).wrapping_add(TARGETS));
            state = self.word(place).unwrap_or(STATE_DENSE);
            // Until it is in such a state again.
            while state & (STATE_DENSE | STATE_OUTPUT) != STATE_DENSE {
                // The same state again says the same: long runs of one letter are common in hostile text.
                if state & STATE_OUTPUT != 0 && (state != last_output || bytes.as_slice().is_empty()) {
                    last_output = state;
                    reached(state, size.saturating_sub(bytes.as_slice().len()));
                }
                if state & STATE_DENSE != 0 {
                    state &= !STATE_OUTPUT;
                    break;
                }
                let Some(byte) = bytes.next() else { return &[] };
                state = self.next(state, self.class_of(*byte));
            }
            if IS_HOMING && state == STATE_DENSE {
                break;
            }
        }
        bytes.as_slice()
    }

    #[inline]
    fn class_of(&self, byte: u8) -> u32 {
        u32::from(*self.classes.get(usize::from(byte)).unwrap_or(&0))
    }

    /// Of each class a byte, folded; `None` where a class has bytes that are not a letter and its capital, which no compiler makes. The
    /// first class is that of all bytes that do not occur.
    pub(crate) fn bytes_by_class(&self) -> Option<Vec<u8>> {
        let mut bytes: Vec<Option<u8>> = vec![None; usize::try_from(self.class_count).ok()?];
        for (byte, class) in (0..=u8::MAX).zip(self.classes).filter(|(_, class)| **class != 0) {
            let folded = byte.to_ascii_lowercase();
            let known = bytes.get_mut(usize::from(*class))?.get_or_insert(folded);
            if *known != folded {
                return None;
            }
        }
        Some(bytes.into_iter().map(Option::unwrap_or_default).collect())
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
            if let Some(next) = self.way(state, class) {
                return next;
            }
            let place = state & STATE_PLACE_MASK;
            state = match self.word(place.wrapping_add(1)) {
                Some(back) if back & STATE_PLACE_MASK < place => back,
                _ => return STATE_DENSE,
            };
        }
    }

    /// The way of the state itself with this class of bytes; one with a full row has one for each.
    #[inline]
    fn way(&self, state: u32, class: u32) -> Option<u32> {
        let place = state & STATE_PLACE_MASK;
        if state & STATE_DENSE != 0 {
            return Some(self.word(place.wrapping_add(2).wrapping_add(class)).unwrap_or(STATE_DENSE));
        }
        let Some(first) = self.word(place) else { return Some(STATE_DENSE) };
        let count = first & STATE_COUNT_MASK;
        let before = place.wrapping_add(if state & STATE_OUTPUT == 0 { 2 } else { 3 });
        if count == 1 {
            let is_it = first >> STATE_CLASS_SHIFT & 0xFF == class;
            return if is_it { self.word(before) } else { None };
        }
        let position = self.position_of(before, count, class)?;
        let targets = before.wrapping_add(count.div_ceil(4));
        self.word(targets.wrapping_add(position))
    }

    #[inline]
    fn word(&self, position: u32) -> Option<u32> {
        at(self.states, position).map(|word| word.get())
    }

    /// The position of the class among the packed classes of a state, four of which are compared at once: where one is the same, the
    /// difference has a byte that is zero (Lamport, 1975).
    #[inline]
    fn position_of(&self, first: u32, count: u32, class: u32) -> Option<u32> {
        const ONES: u32 = 0x0101_0101;
        let all = class.wrapping_mul(ONES);
        let packed = self.states.get(usize::try_from(first).ok()?..)?;
        let mut before = 0_u32;
        for word in packed.iter().take(usize::try_from(count.div_ceil(4)).ok()?) {
            let differs = word.get() ^ all;
            let zero = differs.wrapping_sub(ONES) & !differs & ONES.wrapping_shl(7);
            if zero != 0 {
                let position = before.wrapping_add(zero.trailing_zeros() / 8);
                return (position < count).then_some(position);
            }
            before = before.wrapping_add(4);
        }
        None
    }

    #[inline]
    fn output_of(&self, state: u32) -> u32 {
        let behind = if state & STATE_DENSE != 0 { 1 } else { 2 };
        self.word((state & STATE_PLACE_MASK).wrapping_add(behind)).unwrap_or(NONE)
    }

    /// Kept out of the loop, which needs the registers.
    #[inline(never)]
    fn outputs(&self, mut output: u32, end: usize, size: usize, extent: Extent, found: &mut impl FnMut(u32)) {
        while let Some(record) = at(self.outputs, output) {
            let is_at_start = usize::try_from(record.size_bytes.get()).is_ok_and(|literal| literal == end);
            let places = extent.places(is_at_start, end == size);
            for used in slice(self.words, record.uses) {
                let used = used.get();
                if places >> (used >> USE_PLACE_SHIFT) & 1 != 0 {
                    found(used & (USE_PREDICATE_MASK | USE_ANNOUNCES) | self.announcing);
                }
            }
            match record.next.get() {
                next if next < output => output = next,
                _ => break,
            }
        }
    }
}
