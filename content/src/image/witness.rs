//! What must be seen in a value before a question about it can be answered yes: sets of texts, one of each of which occurs in it.
//!
//! The automata look for these, so that expressions and patterns with wildcards are only tried where they may fit. Several sets,
//! because a single one is often a word of everyday: `set` is in most scripts, `set` and `&&` and `-f` together are not.

use std::collections::BTreeSet;

use regex_syntax::hir::{Class, Hir, HirKind};
use watertight_engine::{fold_char, fold_text};

use crate::rule::{Part, Pattern};

/// Most texts of one witness. A question with more is cheaper to ask than to look for.
const LITERALS_MAX: usize = 512;

/// Least bytes of a text worth looking for.
const LITERAL_BYTES_MIN: usize = 2;

/// Single bytes worth looking for all the same: signs that are in few values.
const RARE: &[u8] = b"`^~!@#$&*+;<>?[]{}|";

/// Most texts that a run of an expression's alternatives is written out to.
const CROSSED_MAX: usize = 64;

/// Most characters of a class that are written out.
const CLASS_CHARACTERS_MAX: u32 = 16;

/// Most sets that a question waits for. Each keeps texts in an automaton; the rarest tell nearly all there is to tell.
const SETS_MAX: usize = 4;

/// Folded texts of which one must occur.
pub(crate) type Set = Vec<Vec<u8>>;

/// The literals of a pattern, folded: each must occur.
pub(crate) fn of_pattern(pattern: &Pattern) -> Vec<Set> {
    let literals = pattern.parts().iter().filter_map(|part| match part {
        // Bytes that are not text need not fold alike alone and beside their neighbours.
        Part::Literal(text) if pattern.is_cased() && std::str::from_utf8(text).is_err() => None,
        Part::Literal(text) => Some(vec![fold_text(text)]),
        Part::AnyOne | Part::AnyMany | Part::Dash => None,
    });
    rarest(literals.collect())
}

/// Sets of which each has a text that occurs in the folded form of everything that the expression matches.
pub(crate) fn of_expression(hir: &Hir) -> Vec<Set> {
    rarest(of_hir(hir))
}

/// The sets that are worth looking for, the rarest first.
fn rarest(mut sets: Vec<Set>) -> Vec<Set> {
    let is_telling = |text: &Vec<u8>| text.len() >= LITERAL_BYTES_MIN || text.iter().any(|byte| RARE.contains(byte));
    sets.retain(|set| !set.is_empty() && set.iter().all(is_telling));
    sets.sort_by_key(|set| std::cmp::Reverse(rarity(set)));
    let mut kept: Vec<Set> = Vec::new();
    for set in sets {
        if kept.len() < SETS_MAX && !kept.iter().any(|known| follows(known, &set)) {
            kept.push(set);
        }
    }
    kept
}

/// How rarely some text of the set is likely to occur.
fn rarity(set: &Set) -> (usize, usize) {
    (shortest(set), usize::MAX - set.len())
}

fn shortest(set: &Set) -> usize {
    set.iter().map(Vec::len).min().unwrap_or(0)
}

/// Whether wherever a text of `known` occurs, one of `set` does.
fn follows(known: &Set, set: &Set) -> bool {
    known.iter().all(|text| set.iter().any(|part| text.windows(part.len()).any(|within| within == part)))
}

/// Sets of which each has a text that occurs in the folded form of everything that the expression matches. The parser has capped
/// the depth.
fn of_hir(hir: &Hir) -> Vec<Set> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Vec::new(),
        HirKind::Literal(_) | HirKind::Class(_) => exact(hir).and_then(not_empty).into_iter().collect(),
        HirKind::Repetition(repetition) if repetition.min == 0 => Vec::new(),
        HirKind::Repetition(repetition) => of_hir(&repetition.sub),
        HirKind::Capture(capture) => of_hir(&capture.sub),
        HirKind::Alternation(branches) => {
            // One text of some branch: the rarest set of each.
            let rarest = branches.iter().map(|branch| of_hir(branch).into_iter().max_by_key(rarity));
            let texts: Option<Vec<Set>> = rarest.collect();
            let texts: Option<Set> = texts.map(|sets| sets.into_iter().flatten().collect());
            texts.filter(|texts| texts.len() <= LITERALS_MAX).into_iter().collect()
        }
        HirKind::Concat(parts) => {
            let (mut sets, mut run) = (Vec::new(), vec![Vec::new()]);
            for part in parts {
                if let Some(longer) = exact(part).and_then(|texts| crossed(&run, &texts)) {
                    run = longer;
                    continue;
                }
                sets.extend(not_empty(std::mem::replace(&mut run, vec![Vec::new()])));
                sets.extend(of_hir(part));
            }
            sets.extend(not_empty(run));
            sets
        }
    }
}

/// Every text of one set followed by every text of the other, unless those are too many.
fn crossed(left: &[Vec<u8>], right: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    if left.len().saturating_mul(right.len()) > CROSSED_MAX {
        return None;
    }
    Some(left.iter().flat_map(|left| right.iter().map(move |right| [left.as_slice(), right].concat())).collect())
}

/// The set, unless it has a text that says nothing.
fn not_empty(texts: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    (!texts.is_empty() && texts.iter().all(|text| !text.is_empty())).then_some(texts)
}

/// The few folded texts that this piece stands for, all of them. A literal that is not whole characters could fold
/// differently beside its neighbours, so it does not count.
fn exact(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(|text| vec![fold_text(text.as_bytes())]),
        HirKind::Class(Class::Unicode(class)) => {
            let characters = class.iter().try_fold(0_u32, |sum, range| {
                sum.checked_add(u32::from(range.end()).checked_sub(u32::from(range.start()))?.checked_add(1)?)
            })?;
            if characters == 0 || characters > CLASS_CHARACTERS_MAX {
                return None;
            }
            let folded = class.iter().flat_map(|range| range.start()..=range.end()).map(fold_char);
            let distinct: BTreeSet<char> = folded.collect();
            Some(distinct.into_iter().map(|character| character.to_string().into_bytes()).collect())
        }
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Alternation(branches) => {
            let mut texts = Vec::new();
            for branch in branches {
                texts.extend(exact(branch)?);
            }
            (texts.len() <= CROSSED_MAX).then_some(texts)
        }
        HirKind::Concat(parts) => parts.iter().try_fold(vec![Vec::new()], |run, part| crossed(&run, &exact(part)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::rule::{parse_regex, RegexFlags};

    use super::*;

    fn texts(pattern: &str) -> Vec<Vec<String>> {
        let flags = RegexFlags { ignores_case: true, ..RegexFlags::default() };
        let found = of_hir(&parse_regex(pattern, flags).expect("an expression"));
        let text = |text: Vec<u8>| String::from_utf8(text).expect("text");
        rarest(found).into_iter().map(|set| set.into_iter().map(text).collect()).collect()
    }

    #[test]
    fn an_expression_gives_the_texts_that_it_can_not_match_without() {
        assert_eq!(texts(r"\s+Invoke-[a-z]+Kit.*x"), [["invoke-"], ["kit"]]);
        assert_eq!(texts(r"(foo|bar)[a-z]"), [["foo", "bar"]]);
        assert_eq!(texts(r"-(W|R)[a-z]"), [["-r", "-w"]]);
        assert_eq!(texts(r"a[xy][a-z]"), [["ax", "ay"]]);
        assert_eq!(texts(r"(foo|[a-z])?abc+"), [["ab"]]);
        assert_eq!(texts(r"(foo+|bar)[a-z]+-o"), [vec!["-o"], vec!["fo", "bar"]]);
        assert!(texts(r"[a-z]{3}\d*").is_empty());
        assert!(texts(r"(foo)?(bar)*").is_empty());
    }

    #[test]
    fn single_bytes_are_looked_for_if_they_are_rare() {
        assert_eq!(texts(r"\w+`\w+"), [["`"]]);
        assert!(texts(r"\w+-\w+/\w+").is_empty());
        assert!(texts(r"\w+(`|-)\w+").is_empty());
    }

    #[test]
    fn a_text_within_another_says_nothing_more() {
        assert_eq!(texts(r"command[0-9]+and[0-9]+man"), [["command"]]);
        assert_eq!(texts(r"(upload|download)[0-9]+load"), [["upload", "download"]]);
    }
}
