//! Regular expressions that can't be made to run long: linear time, size capped when the rule is compiled.
//!
//! What the language can't promise that for (look-around, back-references) does not exist here; such an expression is
//! refused when the rule is read, by the name of what it uses. The engine runs the table of a deterministic automaton, or, where
//! that would be too large, a program that follows all threads at once. `\w`, `\d`, `\s` and `\b` speak of ASCII, as in PCRE.

use std::collections::HashMap;

use regex_automata::dfa::{dense, Automaton as _, StartKind};
use regex_automata::nfa::thompson::{self, State, WhichCaptures, NFA};
use regex_automata::util::primitives::StateID;
use regex_automata::util::{look, start};
use regex_automata::Anchored;
use regex_syntax::ast;
use regex_syntax::hir::translate::TranslatorBuilder;
use regex_syntax::hir::{Hir, HirKind, Look};
use watertight_engine::image::layout::{
    LOOK_END, LOOK_LINE_END, LOOK_LINE_START, LOOK_NOT_WORD, LOOK_START, LOOK_WORD, STEP_BYTES, STEP_FAIL, STEP_LOOK,
    STEP_MATCH, STEP_SPLIT,
};
use watertight_engine::image::PROGRAM_STEPS_MAX;

use super::ascii::make_classes_ascii;

/// Most memory that a program may take in the making. Those of public rules take a few
/// kilobytes.
const PROGRAM_BYTES_MAX: usize = 10 << 20;

/// Most memory that a table may take in the making. What needs more becomes a program.
const TABLE_BYTES_MAX: usize = 1 << 20;

/// Most entries of a table, of two bytes each.
const TABLE_ENTRIES_MAX: usize = 64 << 10;

/// Deepest nesting of groups. Far above what people write, far below what exhausts a stack.
const NEST_MAX: u32 = 100;

/// How an expression is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RegexFlags {
    /// `i`: case does not matter.
    pub ignores_case: bool,
    /// `m`: `^` and `$` match at line ends.
    pub is_multi_line: bool,
    /// `s`: `.` matches a line feed too.
    pub dot_matches_line_feed: bool,
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    /// It uses what can't run in linear time, or is not an expression.
    #[error("regular expression {pattern:?}: {what}; only expressions that run in linear time are supported")]
    Syntax {
        /// The expression.
        pattern: String,
        /// What is wrong with it.
        what: String,
    },
    /// It compiles to more than the cap.
    #[error("regular expression {pattern:?} compiles to more than {PROGRAM_STEPS_MAX} steps: shorten its repetitions")]
    TooLarge {
        /// The expression.
        pattern: String,
    },
}

/// A deterministic automaton over classes of bytes. State 0 is dead, the last is the match; the last class is the text's end.
pub(crate) struct Table {
    pub(crate) classes: [u8; 256],
    pub(crate) class_count: u32,
    pub(crate) start: u32,
    pub(crate) match_from: u32,
    pub(crate) entries: Vec<u16>,
}

/// A step of a program: what the engine's `StepRecord` says, with its ways written out.
pub(crate) struct Step {
    pub(crate) kind: u32,
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) next: u32,
    pub(crate) ways: Vec<u32>,
}

/// Whether this expression can be compiled.
///
/// # Errors
/// When it is not an expression, uses what can't run in linear time, or is too large.
pub fn check_regex(pattern: &str, flags: RegexFlags) -> Result<(), RegexError> {
    let too_large = || RegexError::TooLarge { pattern: pattern.to_owned() };
    let program = program(&parse_regex(pattern, flags)?).ok_or_else(too_large)?;
    let is_counted = program.states().len() <= usize::try_from(PROGRAM_STEPS_MAX).unwrap_or(usize::MAX);
    is_counted.then_some(()).ok_or_else(too_large)
}

/// The expression as a tree.
pub(crate) fn parse_regex(pattern: &str, flags: RegexFlags) -> Result<Hir, RegexError> {
    let refused = |what: String| RegexError::Syntax { pattern: pattern.to_owned(), what };
    let written = ast::parse::ParserBuilder::new().nest_limit(NEST_MAX).build().parse(pattern);
    let mut written = written.map_err(|error| refused(error.kind().to_string()))?;
    make_classes_ascii(&mut written);
    let parsed = TranslatorBuilder::new()
        .case_insensitive(flags.ignores_case)
        .multi_line(flags.is_multi_line)
        .dot_matches_new_line(flags.dot_matches_line_feed)
        .utf8(false)
        .build()
        .translate(pattern, &written);
    let parsed = parsed.map_err(|error| refused(error.kind().to_string()))?;
    Ok(in_ascii_words(parsed))
}

/// The same expression with words of ASCII letters, and without groups, which nothing here asks for.
fn in_ascii_words(hir: Hir) -> Hir {
    match hir.into_kind() {
        HirKind::Look(look) => Hir::look(match look {
            Look::WordUnicode => Look::WordAscii,
            Look::WordUnicodeNegate => Look::WordAsciiNegate,
            Look::WordStartUnicode => Look::WordStartAscii,
            Look::WordEndUnicode => Look::WordEndAscii,
            Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
            Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
            other => other,
        }),
        HirKind::Repetition(mut repetition) => {
            repetition.sub = Box::new(in_ascii_words(*repetition.sub));
            Hir::repetition(repetition)
        }
        HirKind::Capture(capture) => in_ascii_words(*capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.into_iter().map(in_ascii_words).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.into_iter().map(in_ascii_words).collect()),
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
    }
}

fn program(hir: &Hir) -> Option<NFA> {
    let config =
        thompson::Config::new().utf8(false).which_captures(WhichCaptures::None).nfa_size_limit(Some(PROGRAM_BYTES_MAX));
    thompson::Compiler::new().configure(config).build_from_hir(hir).ok()
}

/// The expression as a table, `None` if that would be too large.
pub(crate) fn table_of(hir: &Hir) -> Option<Table> {
    if let Some(table) = super::run::table_of(hir) {
        return Some(table);
    }
    let config = dense::Config::new()
        .start_kind(StartKind::Unanchored)
        .accelerate(false)
        .dfa_size_limit(Some(TABLE_BYTES_MAX))
        .determinize_size_limit(Some(4 * TABLE_BYTES_MAX));
    let automaton = dense::Builder::new().configure(config).build_from_nfa(&program(hir)?).ok()?;
    let byte_classes = automaton.byte_classes();
    let mut classes = [0_u8; 256];
    for (byte, class) in (0..=u8::MAX).zip(classes.iter_mut()) {
        *class = byte_classes.get(byte);
    }
    let class_count = automaton.alphabet_len();
    let representatives: Vec<u8> = (0..class_count - 1)
        .filter_map(|class| (0..=u8::MAX).find(|byte| usize::from(byte_classes.get(*byte)) == class))
        .collect();
    let first = automaton.start_state(&start::Config::new().anchored(Anchored::No)).ok()?;
    // All matches are one: the search ends there.
    const DEAD: u16 = 0;
    const MATCH: u16 = u16::MAX;
    let mut numbers: HashMap<StateID, u16> = HashMap::new();
    let mut order = Vec::new();
    let mut number_of = |state: StateID, order: &mut Vec<StateID>| -> Option<u16> {
        if automaton.is_dead_state(state) {
            return Some(DEAD);
        }
        if automaton.is_match_state(state) {
            return Some(MATCH);
        }
        if automaton.is_quit_state(state) {
            return None;
        }
        if let Some(known) = numbers.get(&state) {
            return Some(*known);
        }
        order.push(state);
        let number = u16::try_from(order.len()).ok().filter(|number| *number < MATCH - 1)?;
        numbers.insert(state, number);
        Some(number)
    };
    let start = number_of(first, &mut order)?;
    let mut entries = vec![DEAD; class_count];
    let mut at = 0;
    while let Some(state) = order.get(at).copied() {
        for byte in &representatives {
            entries.push(number_of(automaton.next_state(state, *byte), &mut order)?);
        }
        entries.push(number_of(automaton.next_eoi_state(state), &mut order)?);
        if entries.len() > TABLE_ENTRIES_MAX {
            return None;
        }
        at += 1;
    }
    let last = u16::try_from(order.len() + 1).ok()?;
    entries.extend(std::iter::repeat_n(MATCH, class_count));
    for entry in entries.iter_mut().filter(|entry| **entry == MATCH) {
        *entry = last;
    }
    let start = if start == MATCH { last } else { start };
    Some(Table {
        classes,
        class_count: u32::try_from(class_count).ok()?,
        start: start.into(),
        match_from: last.into(),
        entries,
    })
}

/// The expression as a program and its first step, `None` if it is too large or looks around in a way that programs do not.
pub(crate) fn steps_of(hir: &Hir) -> Option<(Vec<Step>, u32)> {
    let program = program(hir)?;
    if program.states().len() > usize::try_from(PROGRAM_STEPS_MAX).ok()? {
        return None;
    }
    let number = |state: StateID| state.as_u32();
    let mut steps: Vec<Step> = Vec::with_capacity(program.states().len());
    // Steps for the parts of a state that has several come behind all states.
    let mut more: Vec<Step> = Vec::new();
    let states = u32::try_from(program.states().len()).ok()?;
    for state in program.states() {
        let bytes = |first: u8, last: u8, next: StateID| Step {
            kind: STEP_BYTES,
            first: first.into(),
            last: last.into(),
            next: number(next),
            ways: Vec::new(),
        };
        let split = |ways: Vec<u32>| Step { kind: STEP_SPLIT, first: 0, last: 0, next: 0, ways };
        let plain = |kind: u32| Step { kind, first: 0, last: 0, next: 0, ways: Vec::new() };
        steps.push(match state {
            State::ByteRange { trans } => bytes(trans.start, trans.end, trans.next),
            State::Sparse(sparse) => {
                let first = states.checked_add(u32::try_from(more.len()).ok()?)?;
                more.extend(sparse.transitions.iter().map(|trans| bytes(trans.start, trans.end, trans.next)));
                split((first..states.checked_add(u32::try_from(more.len()).ok()?)?).collect())
            }
            State::Dense(_) => return None, // only made on demand, which nothing here does
            State::Look { look, next } => {
                let look = match look {
                    look::Look::Start => LOOK_START,
                    look::Look::End => LOOK_END,
                    look::Look::StartLF => LOOK_LINE_START,
                    look::Look::EndLF => LOOK_LINE_END,
                    look::Look::WordAscii => LOOK_WORD,
                    look::Look::WordAsciiNegate => LOOK_NOT_WORD,
                    _ => return None,
                };
                Step { kind: STEP_LOOK, first: look, last: 0, next: number(*next), ways: Vec::new() }
            }
            State::Union { alternates } => split(alternates.iter().copied().map(number).collect()),
            State::BinaryUnion { alt1, alt2 } => split(vec![number(*alt1), number(*alt2)]),
            State::Capture { next, .. } => split(vec![number(*next)]),
            State::Fail => plain(STEP_FAIL),
            State::Match { .. } => plain(STEP_MATCH),
        });
    }
    steps.extend(more);
    if steps.len() > usize::try_from(PROGRAM_STEPS_MAX).ok()? {
        return None;
    }
    Some((steps, program.start_anchored().as_u32()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_run_in_linear_time_is_refused_by_name() {
        let refused = |pattern| check_regex(pattern, RegexFlags::default()).expect_err(pattern).to_string();
        assert!(refused("(?=a)b").contains("look-around"), "{}", refused("(?=a)b"));
        assert!(refused(r"(a)\1").contains("backreference"), "{}", refused(r"(a)\1"));
        assert!(refused("(a").contains("group"), "{}", refused("(a"));
    }

    #[test]
    fn an_expression_that_explodes_is_refused_not_compiled() {
        let bomb = "((a{100}){100}){100}";
        assert!(matches!(check_regex(bomb, RegexFlags::default()), Err(RegexError::TooLarge { .. })));
    }
}
