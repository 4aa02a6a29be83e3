//! Tries a regular expression of an image on a text: a look at a table for each byte, or, for the few expressions whose table
//! would be too large, all threads of a program at once. Either way the work is bounded by the text's size, and counted, weighed by what it
//! takes: a budget stands for about the same time however it is spent.

use zerocopy::little_endian::U16;

use crate::image::layout::{
    ExpressionRecord, Range, StepRecord, EXPRESSION_TABLE, LOOK_END, LOOK_LINE_END, LOOK_LINE_START, LOOK_NOT_WORD,
    LOOK_START, LOOK_WORD, STEP_BYTES, STEP_LOOK, STEP_MATCH, STEP_SPLIT,
};
use crate::image::{at, slice, Image};

/// What a table takes for a byte, as multiples of a byte that is only compared; measured, as the next two.
const TABLE_COST: u64 = 3;
/// What it costs to come to a step of a program.
const REACH_COST: u64 = 7;
/// What it costs to look at one of the ways of a step that has several: most are a byte that is not the one at hand.
const WAY_COST: u64 = 1;

/// Working memory of programs, kept between texts.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    /// Where threads go on with the byte at hand, and with the one behind it.
    now: Vec<u32>,
    next: Vec<u32>,
    stack: Vec<u32>,
    reached: Reached,
}

/// The steps that were come to with the byte at hand. Emptied at once: each has the number of the byte that it was come to with.
#[derive(Debug, Default)]
struct Reached {
    by_step: Vec<u32>,
    number: u32,
}

impl Reached {
    /// Forgets what was come to; there may be so many steps.
    fn empty(&mut self, steps: usize) {
        if self.by_step.len() < steps {
            self.by_step.resize(steps, 0);
        }
        self.number = self.number.checked_add(1).unwrap_or_else(|| {
            self.by_step.fill(0);
            1
        });
    }

    /// Notes a step; false if it was come to before, or is none.
    #[inline]
    fn add(&mut self, step: u32) -> bool {
        let number = self.number;
        let place = usize::try_from(step).ok().and_then(|step| self.by_step.get_mut(step));
        place.is_some_and(|place| std::mem::replace(place, number) != number)
    }
}

/// Whether some part of the text fits; `None` when that would cost more than `work`, which is counted down.
pub(crate) fn fits(
    image: &Image<'_>,
    expression: &ExpressionRecord,
    text: &[u8],
    threads: &mut Threads,
    work: &mut u64,
) -> Option<bool> {
    let range = Range { first: expression.first, count: expression.count };
    if expression.kind.get() == EXPRESSION_TABLE {
        *work = work.checked_sub((text.len() as u64).saturating_mul(TABLE_COST))?;
        let classes = image.bytes_of(expression.classes).first_chunk()?;
        return Some(walk(slice(image.tables, range), classes, expression, text));
    }
    let program = Program { image, steps: slice(image.programs, range), text };
    program.run(expression.start.get(), threads, work)
}

fn walk(table: &[U16], classes: &[u8; 256], expression: &ExpressionRecord, text: &[u8]) -> bool {
    let (count, match_from) = (expression.class_count.get(), expression.match_from.get());
    let next = |state: u32, class: u32| {
        at(table, state.wrapping_mul(count).wrapping_add(class)).map_or(0, |next| u32::from(next.get()))
    };
    let mut state = expression.start.get();
    for byte in text {
        let class = classes.get(usize::from(*byte)).copied().unwrap_or(0);
        state = next(state, u32::from(class));
        // Dead, or a match: one comparison for both.
        if state.wrapping_sub(1) >= match_from.wrapping_sub(1) {
            return state >= match_from;
        }
    }
    next(state, count.saturating_sub(1)) >= match_from
}

/// Where a step with this byte goes on, if it does.
#[inline]
fn goes_on(step: &StepRecord, byte: Option<u8>) -> Option<u32> {
    let byte = u32::from(byte?);
    (step.first.get() <= byte && byte <= step.count.get()).then(|| step.next.get())
}

struct Program<'p> {
    image: &'p Image<'p>,
    steps: &'p [StepRecord],
    text: &'p [u8],
}

impl Program<'_> {
    fn run(&self, start: u32, threads: &mut Threads, work: &mut u64) -> Option<bool> {
        threads.next.clear();
        for position in 0..=self.text.len() {
            threads.reached.empty(self.steps.len());
            std::mem::swap(&mut threads.now, &mut threads.next);
            threads.next.clear();
            let byte = self.text.get(position).copied();
            // Lent out, so that the rest can be used meanwhile.
            let now = std::mem::take(&mut threads.now);
            let mut is_found = Some(false);
            // A match may begin anywhere.
            for from in now.iter().copied().chain([start]) {
                is_found = self.follow(from, (position, byte), threads, work);
                if is_found != Some(false) {
                    break;
                }
            }
            threads.now = now;
            if is_found != Some(false) || byte.is_none() {
                return is_found;
            }
        }
        Some(false)
    }

    /// Goes on from a step to all that can be reached without a byte, and with this one; true if that is a match, `None` when it would cost
    /// too much.
    #[inline]
    fn follow(
        &self,
        from: u32,
        (position, byte): (usize, Option<u8>),
        threads: &mut Threads,
        work: &mut u64,
    ) -> Option<bool> {
        let Threads { next, stack, reached, .. } = threads;
        stack.clear();
        stack.push(from);
        while let Some(number) = stack.pop() {
            *work = work.checked_sub(REACH_COST)?;
            if !reached.add(number) {
                continue;
            }
            let Some(step) = at(self.steps, number) else { continue };
            match step.kind.get() {
                STEP_BYTES => next.extend(goes_on(step, byte)),
                STEP_MATCH => return Some(true),
                STEP_LOOK if self.is_seen(step.first.get(), position) => stack.push(step.next.get()),
                STEP_SPLIT => {
                    let ways = self.image.words_of(Range { first: step.first, count: step.count });
                    *work = work.checked_sub((ways.len() as u64).saturating_mul(WAY_COST))?;
                    for way in ways.iter().map(|way| way.get()) {
                        match at(self.steps, way) {
                            // Not noted: who comes to the same twice goes on from the same step, which is.
                            Some(step) if step.kind.get() == STEP_BYTES => next.extend(goes_on(step, byte)),
                            _ => stack.push(way),
                        }
                    }
                }
                _ => {}
            }
        }
        Some(false)
    }

    fn is_seen(&self, look: u32, position: usize) -> bool {
        let before = position.checked_sub(1).and_then(|before| self.text.get(before)).copied();
        let after = self.text.get(position).copied();
        let is_word = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match look {
            LOOK_START => before.is_none(),
            LOOK_END => after.is_none(),
            LOOK_LINE_START => before.is_none() || before == Some(b'\n'),
            LOOK_LINE_END => after.is_none() || after == Some(b'\n'),
            LOOK_WORD => is_word(before) != is_word(after),
            LOOK_NOT_WORD => is_word(before) == is_word(after),
            _ => false,
        }
    }
}
