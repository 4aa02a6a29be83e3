//! Finds the subject of a report: the function that it is about.

use super::dispatch::{is_dispatcher, is_waiting, joined, without_call_prefix};
use super::evidence::TRACES;
use super::format::{Format, Pick, Step, INTERRUPTS};
use super::frame::{calls, demangled, pointer, symbol, Pointer};
use super::skip::{self, Skip};
use super::words::Words;

/// What a report calls a subject that could not be found.
pub(super) const UNKNOWN: &str = "corrupted";

/// Functions of a report that are looked at: no real stack is as deep.
const FUNCTIONS_MAX: usize = 4_096;

/// A subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// The name that titles use.
    pub(super) name: String,
    /// The name as it was printed, where that is different.
    pub(super) exact: String,
}

/// What a walk over the lines gave: a subject for each stack that the format looks at.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    pub(super) found: Vec<Option<Subject>>,
    /// Another report's stack is mixed into this one's.
    pub(super) is_mixed: bool,
    /// Words behind which the first function stood, where the message says who it was.
    pub(super) said: Option<&'static str>,
    /// The first function that was passed over, and why.
    pub(super) passed: Option<(String, &'static str)>,
}

impl Subjects {
    /// Whether every stack has its subject.
    pub(super) fn is_complete(&self) -> bool {
        !self.is_mixed && self.found.iter().all(Option::is_some)
    }
}

/// Looks for the subjects of a report of this format. `first` is the headline from its first word on.
pub(super) fn subjects(format: &Format, first: &str, lines: &[&str]) -> Subjects {
    if format.steps.is_empty() {
        return Subjects::default();
    }
    let subjects = walk(format, format.steps, first, lines);
    // ARM's kernels up to 6.7 may print a stack without words before it.
    if !subjects.is_complete() && !lines.iter().any(|line| is_trace(line)) && lines.iter().any(|line| is_arm(line)) {
        let steps: Vec<Step> = format.steps.iter().copied().filter(|step| !matches!(step, Step::Trace)).collect();
        return walk(format, &steps, first, lines);
    }
    if subjects.is_complete() || format.otherwise.is_empty() {
        return subjects;
    }
    let others = walk(format, format.otherwise, first, lines);
    if others.is_complete() || others.is_mixed || format.finally.is_empty() || !shows_the_stalled(lines) {
        return others;
    }
    walk(format, format.finally, first, lines)
}

/// Whether the report shows the stack of the processor that stood still: its registers, in a function of the kernel, come first, and the
/// interrupt that found it left no frames there. A stack without registers before it is another task's, of the thread that ends grace
/// periods or of one that waits.
fn shows_the_stalled(lines: &[&str]) -> bool {
    let first = lines.iter().find_map(|line| match pointer(line) {
        None => is_trace(line).then_some(false),
        Some(pointer) => Some(matches!(pointer, Pointer::At(_))),
    });
    let is_interrupt = |line: &&str| !line.contains("? ") && INTERRUPTS.iter().any(|words| line.contains(words));
    first == Some(true) && !lines.iter().any(is_interrupt)
}

/// Takes the steps one after the other over the lines.
fn walk(format: &Format, steps: &[Step], first: &str, lines: &[&str]) -> Subjects {
    let mut lines = std::iter::once(first).chain(lines.iter().skip(1).copied());
    let mut subjects = Subjects::default();
    let mut names: Vec<String> = Vec::new();
    let mut stacks = 0_usize;
    let mut steps = steps.iter().peekable();
    let mut passed = None;
    let mut looked_at = 0_usize;
    let mut keep = |name: &str, names: &mut Vec<String>| {
        looked_at = looked_at.saturating_add(1);
        if looked_at > FUNCTIONS_MAX {
            return;
        }
        // Only the innermost is asked for: what is further out is neither passed over nor taken.
        if format.pick == Pick::First && !names.is_empty() {
            return;
        }
        let name = demangled(name);
        if let Some(group) = skip::group(&name) {
            passed.get_or_insert((name, group.why));
        } else if !format.skip.iter().any(|skip: &Skip| skip.fits(&name)) {
            names.push(name);
        }
    };
    while let Some(step) = steps.next() {
        if !matches!(step, Step::Frames) {
            for line in lines.by_ref() {
                if is_foreign(line) {
                    subjects.is_mixed = true;
                    break;
                }
                if let Some(name) = taken(step, line) {
                    name.iter().for_each(|name| keep(name, &mut names));
                    if let Step::Said(words) = step {
                        subjects.said = Some(words);
                    }
                    break;
                }
            }
            continue;
        }
        if stacks > 0 {
            subjects.found.push(picked(format.pick, std::mem::take(&mut names)));
        }
        stacks = stacks.saturating_add(1);
        for line in lines.by_ref() {
            if is_foreign(line) {
                subjects.is_mixed = true;
                break;
            }
            if starts_stack(line) {
                break;
            }
            if let Some(name) = steps.peek().and_then(|next| taken(next, line)) {
                name.iter().for_each(|name| keep(name, &mut names));
                steps.next();
                break;
            }
            // What the interrupt's mark stands before is told even where it is a leftover.
            let calls = calls(line).filter(|call| !call.is_leftover || !line.contains("<EOI>"));
            calls.for_each(|call| keep(call.name, &mut names));
        }
    }
    subjects.found.push(picked(format.pick, names));
    subjects.passed = passed;
    subjects
}

/// Whether the line is the one that a step looks for; with the function that it names.
fn taken<'a>(step: &Step, line: &'a str) -> Option<Option<&'a str>> {
    match step {
        Step::Headline => line.split_once(" in ").map(|(_, name)| symbol_or_name(name)),
        Step::Pointer => match pointer(line)? {
            Pointer::At(call) => Some(Some(call.name)),
            Pointer::Nowhere => Some(None),
        },
        Step::Trace => is_trace(line).then_some(None),
        Step::HeldAt => held_at(line).map(Some),
        Step::Symbol => bracketed_symbol(line).map(Some),
        Step::Said(words) => {
            let (_, rest) = line.split_once(words)?;
            symbol(rest).map(|call| Some(call.name))
        }
        Step::Line(words) => words.iter().any(|words| line.contains(words)).then_some(None),
        Step::Frames => None,
    }
}

/// A function in a headline: an offset may be missing.
fn symbol_or_name(text: &str) -> Option<&str> {
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')).count();
    text.get(..length).filter(|name| !name.is_empty())
}

/// The function of `at: [<address>] function+0x1/0x2`.
pub(super) fn held_at(line: &str) -> Option<&str> {
    line.match_indices("at: ").find_map(|(at, words)| {
        let rest = line.get(at.saturating_add(words.len())..)?;
        let rest = super::frame::bracketed(rest).map_or(rest, |(_, rest)| rest.trim_start());
        symbol(rest).map(|call| call.name)
    })
}

/// The function of `[<address>] function+0x1/0x2`, wherever in the line.
pub(super) fn bracketed_symbol(line: &str) -> Option<&str> {
    line.match_indices('[').find_map(|(at, _)| {
        let (_, rest) = super::frame::bracketed(line.get(at..)?)?;
        symbol(rest.strip_prefix(' ')?.trim_start()).map(|call| call.name)
    })
}

/// `Call Trace:`, and what arm calls it.
pub(super) fn is_trace(line: &str) -> bool {
    TRACES.are_in(line)
}

/// Words without which no stack begins behind a line.
static STACK_WORDS: Words = Words::of(&["Call Trace", "trace", "Allocated", "Freed", "Uninit was stored", "status: "]);

/// Whether a stack begins behind the line.
pub(super) fn starts_stack(line: &str) -> bool {
    STACK_WORDS.are_in(line) && begins_stack(line)
}

fn begins_stack(line: &str) -> bool {
    is_trace(line)
        || line.contains("Call Trace")
        || ["Allocated", "Freed"].iter().any(|words| {
            line.split_once(words).is_some_and(|(_, rest)| {
                rest.starts_with(':')
                    || rest.strip_prefix(" by task ").is_some_and(|task| {
                        task.split_once(':').is_some_and(|(task, _)| task.bytes().all(|byte| byte.is_ascii_digit()))
                    })
            })
        })
        || line.contains(" backtrace:") && !line.contains("k backtrace:")
        || line.contains(" backtrace (crc ")
        || line.contains("Uninit was stored to memory at")
        || line.contains("status: ") && line.contains(" badaddr: ") && line.contains(" cause: ")
}

/// Whether a line is of ARM's form, which has two functions.
fn is_arm(line: &str) -> bool {
    calls(line).nth(1).is_some()
}

/// Whether the line is a frame of a failure that was asked for; such stacks are printed amid reports.
fn is_foreign(line: &str) -> bool {
    calls(line).next().is_some_and(|call| matches!(call.name, "should_fail" | "should_failslab"))
}

/// The subject among the functions that were kept, from the innermost.
fn picked(pick: Pick, names: Vec<String>) -> Option<Subject> {
    let shorts: Vec<&str> = names.iter().map(|name| without_call_prefix(name)).collect();
    let (name, at) = match pick {
        Pick::First => (shorts.first().copied()?, 0),
        Pick::Stall => stalled(&shorts)?,
        Pick::Hang => hung(&shorts)?,
    };
    Some(Subject { name: name.to_owned(), exact: names.get(at)?.clone() })
}

/// What the innermost dispatcher called.
fn stalled<'a>(names: &[&'a str]) -> Option<(&'a str, usize)> {
    let at = names.iter().position(|name| is_dispatcher(name))?;
    if names.get(at)?.contains("smp_call_function") {
        return Some(("smp_call_function", at)); // it is the loop itself: it waits for the other processors
    }
    let before = at.saturating_sub(1);
    Some((names.get(before)?, before))
}

/// The innermost that does not wait, unless all wait for one of the things that many wait for.
fn hung<'a>(names: &[&'a str]) -> Option<(&'a str, usize)> {
    let mut numbered = names.iter().enumerate();
    if let Some(found) = numbered.find_map(|(at, name)| Some((joined(name)?, at))) {
        return Some(found);
    }
    names.iter().enumerate().find(|(_, name)| !is_waiting(name)).map(|(at, name)| (*name, at))
}
