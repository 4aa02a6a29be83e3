//! An expression that asks for so many characters of one class in a row, as a table: `.{1000,}` finds long command lines.
//!
//! Made in the usual way, such an expression has a thread for each place at which a run may have begun, and no table of bearable
//! size; here a state is how many characters the run at hand has, because the one that began first is always the longest.

use std::collections::HashMap;

use regex_syntax::hir::{Class, Hir, HirKind};
use regex_syntax::utf8::{Utf8Sequence, Utf8Sequences};

use super::expression::Table;

/// Most entries of the table of a run, of two bytes each: as much as the program of a long one takes.
const ENTRIES_MAX: usize = 256 << 10;

/// What a byte of a character leads to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// The character is not of the class, or none.
    Broken,
    /// More bytes of it are to come: a state of `Characters`.
    Within(usize),
    /// The character is complete.
    Whole,
}

/// The characters of a class, byte by byte. State 0 is before one.
struct Characters(Vec<[Step; 256]>);

/// The first and the last of a range of bytes.
type Bytes = (u8, u8);

impl Characters {
    fn of(class: &Class) -> Self {
        let sequences: Vec<Vec<Bytes>> = match class {
            Class::Unicode(class) => {
                let sequences = class.iter().flat_map(|range| Utf8Sequences::new(range.start(), range.end()));
                let bytes =
                    |sequence: Utf8Sequence| sequence.as_slice().iter().map(|range| (range.start, range.end)).collect();
                sequences.map(bytes).collect()
            }
            Class::Bytes(class) => class.iter().map(|range| vec![(range.start(), range.end())]).collect(),
        };
        // A state is what may still come.
        let mut known = HashMap::from([(sequences.clone(), 0)]);
        let mut states = vec![sequences];
        let mut steps = Vec::new();
        while let Some(state) = states.get(steps.len()).cloned() {
            let mut row = [Step::Broken; 256];
            for (byte, step) in (0..=u8::MAX).zip(&mut row) {
                let going = state
                    .iter()
                    .filter(|sequence| sequence.first().is_some_and(|range| (range.0..=range.1).contains(&byte)));
                let rest: Vec<Vec<Bytes>> = going.filter_map(|sequence| Some(sequence.get(1..)?.to_vec())).collect();
                *step = match rest.first() {
                    None => Step::Broken,
                    // No character begins with another.
                    Some(first) if first.is_empty() => Step::Whole,
                    Some(_) => Step::Within(*known.entry(rest.clone()).or_insert_with(|| {
                        states.push(rest);
                        states.len() - 1
                    })),
                };
            }
            steps.push(row);
        }
        Self(steps)
    }

    fn step(&self, state: usize, byte: u8) -> Step {
        self.0[state][usize::from(byte)]
    }

    /// A class for each byte, and of each a byte: those alike in every state.
    fn classes(&self) -> ([u8; 256], Vec<u8>) {
        let (mut classes, mut examples) = ([0_u8; 256], Vec::new());
        let mut known: HashMap<Vec<Step>, u8> = HashMap::new();
        for byte in 0..=u8::MAX {
            let column: Vec<Step> = self.0.iter().map(|row| row[usize::from(byte)]).collect();
            classes[usize::from(byte)] = *known.entry(column).or_insert_with(|| {
                examples.push(byte);
                // There are no more classes than bytes.
                (examples.len() - 1) as u8
            });
        }
        (classes, examples)
    }
}

/// The table of an expression that is a run of one class and nothing else, unless that would be too large.
pub(crate) fn table_of(hir: &Hir) -> Option<Table> {
    let HirKind::Repetition(repetition) = hir.kind() else { return None };
    let HirKind::Class(class) = repetition.sub.kind() else { return None };
    // A longer run has one of the least length in it.
    let length = usize::try_from(repetition.min).ok().filter(|length| *length > 1)?;
    let characters = Characters::of(class);
    let (classes, examples) = characters.classes();
    let (width, within) = (examples.len() + 1, characters.0.len());
    let last = length.checked_mul(within)?.checked_add(1)?;
    if last.checked_add(1)?.checked_mul(width)? > ENTRIES_MAX || examples.len() > usize::from(u8::MAX) {
        return None;
    }
    // State 0 is dead and never reached: a run may begin anywhere.
    let number = |run: usize, state: usize| if run == length { last } else { 1 + run * within + state };
    let next = |run: usize, state: usize, byte: u8| match (characters.step(state, byte), characters.step(0, byte)) {
        (Step::Within(state), _) => number(run, state),
        (Step::Whole, _) => number(run + 1, 0),
        // What broke off a character may begin another.
        (Step::Broken, Step::Within(begun)) => number(0, begun),
        (Step::Broken, Step::Whole) => number(1, 0),
        (Step::Broken, Step::Broken) => number(0, 0),
    };
    let mut entries = vec![0; width];
    for (run, state) in (0..length).flat_map(|run| (0..within).map(move |state| (run, state))) {
        let row = examples.iter().map(|byte| u16::try_from(next(run, state, *byte)));
        entries.extend(row.collect::<Result<Vec<u16>, _>>().ok()?);
        // At the text's end it is as long as it is.
        entries.push(0);
    }
    let match_from = u16::try_from(last).ok()?;
    entries.extend(std::iter::repeat_n(match_from, width));
    Some(Table { classes, class_count: width as u32, start: 1, match_from: match_from.into(), entries })
}

#[cfg(test)]
mod tests {
    use regex_automata::meta::Regex;

    use super::*;
    use crate::rule::{parse_regex, RegexFlags};

    /// Whether the table finds a run in the text.
    fn finds(table: &Table, text: &[u8]) -> bool {
        let next = |state: usize, class: usize| usize::from(table.entries[state * table.class_count as usize + class]);
        let mut state = table.start as usize;
        for byte in text {
            state = next(state, usize::from(table.classes[usize::from(*byte)]));
            if state as u32 >= table.match_from {
                return true;
            }
        }
        next(state, table.class_count as usize - 1) as u32 >= table.match_from
    }

    #[test]
    fn a_run_is_found_where_the_expression_matches_also_among_bytes_that_are_no_text() {
        // Every text of up to six of these pieces.
        let pieces: [&[u8]; 8] =
            [b"a", b"\n", "ä".as_bytes(), "€".as_bytes(), "𝄞".as_bytes(), b"\xC3", b"\xE2\x82", b"\x82"];
        for pattern in [".{3,}", "(.){3}", ".{2,5}", "[aä€]{3,}", "[^a]{2,}", "(?-u:[^a]){3}", r"\w{2,}"] {
            let hir = parse_regex(pattern, RegexFlags::default()).expect("an expression");
            let table = table_of(&hir).expect("a table");
            let whole = Regex::builder().configure(Regex::config().utf8_empty(false)).build_from_hir(&hir).expect("it");
            let (mut texts, mut found) = (vec![Vec::new()], 0);
            for _ in 0..5 {
                texts = texts
                    .iter()
                    .flat_map(|text| pieces.iter().map(move |piece| [text.as_slice(), *piece].concat()))
                    .collect();
                for text in &texts {
                    assert_eq!(finds(&table, text), whole.is_match(text), "{pattern} in {text:?}");
                    found += usize::from(whole.is_match(text));
                }
            }
            assert!(found > 100, "{pattern} was found {found} times");
        }
    }

    #[test]
    fn a_long_run_has_a_table_where_a_program_would_follow_a_thousand_threads() {
        let hir = |pattern| parse_regex(pattern, RegexFlags::default()).expect("an expression");
        let table = table_of(&hir(".{1000,}")).expect("a table");
        assert!(finds(&table, &[b'x'; 1000]) && !finds(&table, &[b'x'; 999]));
        assert!(finds(&table, "ä".repeat(1000).as_bytes()) && !finds(&table, "ä".repeat(999).as_bytes()));
        assert!(table_of(&hir(".{60000,}")).is_none());
        assert!(table_of(&hir("a.{1000,}")).is_none());
    }
}
