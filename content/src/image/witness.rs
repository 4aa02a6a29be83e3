//! What must be seen in a value before a question about it can be answered yes: texts of which one occurs in it.
//!
//! The automata look for these, so that expressions and patterns with wildcards are only tried where they may fit.

use std::collections::BTreeSet;

use regex_syntax::hir::{Class, Hir, HirKind};
use watertight_engine::{fold_char, fold_text};

use crate::rule::{Part, Pattern};

/// Most texts of one witness. A question with more is cheaper to ask than to look for.
const LITERALS_MAX: usize = 512;

/// Least bytes of a text worth looking for.
const LITERAL_BYTES_MIN: usize = 2;

/// Most texts that a run of an expression's alternatives is written out to.
const CROSSED_MAX: usize = 64;

/// Most characters of a class that are written out.
const CLASS_CHARACTERS_MAX: u32 = 16;

/// The longest literal of a pattern, folded.
pub(crate) fn of_pattern(pattern: &Pattern) -> Option<Vec<Vec<u8>>> {
    let longest = pattern.parts().iter().filter_map(|part| match part {
        // Bytes that are not text need not fold alike alone and beside their neighbours.
        Part::Literal(text) if pattern.is_cased() && std::str::from_utf8(text).is_err() => None,
        Part::Literal(text) => Some(fold_text(text)),
        Part::AnyOne | Part::AnyMany | Part::Dash => None,
    });
    longest.max_by_key(Vec::len).filter(|text| text.len() >= LITERAL_BYTES_MIN).map(|text| vec![text])
}

/// Folded texts of which one occurs in the folded form of everything that the expression matches.
pub(crate) fn of_expression(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    of_hir(hir).filter(|texts| texts.iter().all(|text| text.len() >= LITERAL_BYTES_MIN))
}

/// The rarer of two sets: by the shortest text in it.
fn rarer(left: Option<Vec<Vec<u8>>>, right: Option<Vec<Vec<u8>>>) -> Option<Vec<Vec<u8>>> {
    let shortest = |set: &Vec<Vec<u8>>| set.iter().map(Vec::len).min().unwrap_or(0);
    match (left, right) {
        (Some(left), Some(right)) if shortest(&right) > shortest(&left) => Some(right),
        (Some(left), _) => Some(left),
        (None, right) => right,
    }
}

/// Texts of which one occurs in the folded form of everything that the expression matches. The parser has capped the depth.
fn of_hir(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => None,
        HirKind::Literal(_) | HirKind::Class(_) => exact(hir).and_then(not_empty),
        HirKind::Repetition(repetition) => (repetition.min > 0).then(|| of_hir(&repetition.sub)).flatten(),
        HirKind::Capture(capture) => of_hir(&capture.sub),
        HirKind::Alternation(branches) => {
            let mut texts = Vec::new();
            for branch in branches {
                texts.extend(of_hir(branch)?);
            }
            (texts.len() <= LITERALS_MAX).then_some(texts)
        }
        HirKind::Concat(parts) => {
            let (mut best, mut run) = (None, vec![Vec::new()]);
            for part in parts {
                if let Some(longer) = exact(part).and_then(|texts| crossed(&run, &texts)) {
                    run = longer;
                    continue;
                }
                best = rarer(best, not_empty(std::mem::replace(&mut run, vec![Vec::new()])));
                best = rarer(best, of_hir(part));
            }
            rarer(best, not_empty(run))
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

    fn texts(pattern: &str) -> Vec<String> {
        let flags = RegexFlags { ignores_case: true, ..RegexFlags::default() };
        let found = of_hir(&parse_regex(pattern, flags).expect("an expression")).unwrap_or_default();
        found.into_iter().map(|text| String::from_utf8(text).expect("text")).collect()
    }

    #[test]
    fn an_expression_gives_the_longest_text_that_it_can_not_match_without() {
        assert_eq!(texts(r"\s+Invoke-[a-z]+Kit.*x"), ["invoke-"]);
        assert_eq!(texts(r"(foo|bar)[a-z]"), ["foo", "bar"]);
        assert_eq!(texts(r"-(W|R)[a-z]"), ["-r", "-w"]);
        assert_eq!(texts(r"a[xy][a-z]"), ["ax", "ay"]);
        assert_eq!(texts(r"(foo|[a-z])?abc+"), ["ab"]);
        assert!(texts(r"[a-z]{3}\d*").is_empty());
        assert!(texts(r"(foo)?(bar)*").is_empty());
    }
}
