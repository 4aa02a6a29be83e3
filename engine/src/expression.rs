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
const REACH_COST: u64 = 2;
/// What it costs to keep a step until the next byte, and to compare it with that.
const KEEP_COST: u64 = 4;

/// Working memory of programs, kept between texts.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    now: Set,
    next: Set,
    stack: Vec<u32>,
}

/// A set of steps that is emptied at once: a step is in it if its place in `order` says so.
#[derive(Debug, Default)]
struct Set {
    order: Vec<u32>,
    place: Vec<u32>,
}

impl Set {
    fn empty(&mut self, steps: usize) {
        self.order.clear();
        if self.place.len() < steps {
            self.place.resize(steps, 0);
        }
    }

    fn add(&mut self, step: u32) -> bool {
        let Some(place) = usize::try_from(step).ok().and_then(|step| self.place.get_mut(step)) else { return false };
        let is_in = usize::try_from(*place).ok().and_then(|place| self.order.get(place)) == Some(&step);
        if !is_in {
            *place = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
            self.order.push(step);
        }
        !is_in
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

struct Program<'p> {
    image: &'p Image<'p>,
    steps: &'p [StepRecord],
    text: &'p [u8],
}

impl Program<'_> {
    fn run(&self, start: u32, threads: &mut Threads, work: &mut u64) -> Option<bool> {
        let Threads { now, next, stack } = threads;
        now.empty(self.steps.len());
        next.empty(self.steps.len());
        for position in 0..=self.text.len() {
            // A match may begin anywhere.
            if self.follow(start, position, now, stack, work)? {
                return Some(true);
            }
            *work = work.checked_sub((now.order.len() as u64).saturating_mul(KEEP_COST).saturating_add(1))?;
            let Some(byte) = self.text.get(position) else { break };
            for step in &now.order {
                let Some(step) = at(self.steps, *step).filter(|step| step.kind.get() == STEP_BYTES) else { continue };
                let is_between = step.first.get() <= u32::from(*byte) && u32::from(*byte) <= step.count.get();
                if is_between && self.follow(step.next.get(), position.saturating_add(1), next, stack, work)? {
                    return Some(true);
                }
            }
            std::mem::swap(now, next);
            next.empty(self.steps.len());
        }
        Some(false)
    }

    /// Adds what can be reached without a byte; true if that is a match, `None` when it would cost too much.
    fn follow(&self, from: u32, position: usize, set: &mut Set, stack: &mut Vec<u32>, work: &mut u64) -> Option<bool> {
        stack.clear();
        stack.push(from);
        while let Some(number) = stack.pop() {
            *work = work.checked_sub(REACH_COST)?;
            let Some(step) = at(self.steps, number) else { continue };
            if !set.add(number) {
                continue;
            }
            match step.kind.get() {
                STEP_MATCH => return Some(true),
                STEP_LOOK if self.is_seen(step.first.get(), position) => stack.push(step.next.get()),
                STEP_SPLIT => {
                    let ways = self.image.words_of(Range { first: step.first, count: step.count });
                    stack.extend(ways.iter().map(|way| way.get()));
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
