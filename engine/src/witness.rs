//! What must be seen in an event before a rule can be true of it.
//!
//! A witness is a set of literals, each in a field, of which at least one occurs in every event that the rule fires on. The
//! plan looks for all witnesses of all rules in one pass per field and evaluates only rules that have one. A rule without a
//! witness (negations only, comparisons, very short patterns) is evaluated on every event.

use std::collections::BTreeSet;

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::fold::{fold_char, fold_text};
use crate::rule::{Expr, Op, Rule};
use crate::{Part, RegexFlags};

/// Most literals in one witness. A rule with more is cheaper to evaluate than to index.
const LITERALS_MAX: usize = 512;

/// Literals longer than this are cut: the index only needs to be rare, not complete.
const LITERAL_BYTES_MAX: usize = 32;

/// Most texts that a run of an expression's alternatives is written out to.
const CROSSED_MAX: usize = 64;

/// Most characters of a class that are written out.
const CLASS_CHARACTERS_MAX: u32 = 16;

/// A literal in a field, or in any field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Literal {
    pub(crate) slot: Option<u16>,
    pub(crate) text: Vec<u8>,
}

/// Literals of which one must occur.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) literals: Vec<Literal>,
}

impl Witness {
    /// The best witness of a rule, `None` when it has none.
    pub(crate) fn of_rule(rule: &Rule, slot_of: &dyn Fn(&str) -> Option<u16>) -> Option<Self> {
        of_expr(rule, &rule.condition, slot_of)
    }

    /// How rare an event with this witness is likely to be: by its shortest literal, then by how few there are.
    fn rarity(&self) -> (usize, usize) {
        let shortest = self.literals.iter().map(|literal| literal.text.len()).min().unwrap_or(0);
        (shortest, LITERALS_MAX.saturating_sub(self.literals.len()))
    }
}

fn of_expr(rule: &Rule, expr: &Expr, slot_of: &dyn Fn(&str) -> Option<u16>) -> Option<Witness> {
    match expr {
        Expr::All(parts) => parts.iter().filter_map(|part| of_expr(rule, part, slot_of)).max_by_key(Witness::rarity),
        Expr::Any(parts) => {
            let mut literals = Vec::new();
            for part in parts {
                literals.extend(of_expr(rule, part, slot_of)?.literals);
                if literals.len() > LITERALS_MAX {
                    return None;
                }
            }
            Some(Witness { literals })
        }
        Expr::Not(_) => None,
        Expr::Selection(index) => of_expr(rule, &rule.selections.get(*index)?.body, slot_of),
        Expr::Is(predicate) => {
            let slot = match &predicate.field {
                Some(field) => Some(slot_of(field)?),
                None => None,
            };
            let texts = of_op(&predicate.op)?;
            let literals = texts.into_iter().map(|text| Literal { slot, text: cut(text) }).collect();
            Some(Witness { literals })
        }
    }
}

fn cut(mut text: Vec<u8>) -> Vec<u8> {
    text.truncate(LITERAL_BYTES_MAX);
    text
}

/// Folded texts of which one occurs in the folded value whenever the question is answered yes.
fn of_op(op: &Op) -> Option<Vec<Vec<u8>>> {
    match op {
        Op::Text(pattern) => {
            let longest = pattern.parts().iter().filter_map(|part| match part {
                // Bytes that are not text need not fold alike alone and beside their neighbours.
                Part::Literal(text) if pattern.is_cased() && std::str::from_utf8(text).is_err() => None,
                Part::Literal(text) => Some(fold_text(text)),
                Part::AnyOne | Part::AnyMany | Part::Dash => None,
            });
            longest.max_by_key(Vec::len).map(|text| vec![text])
        }
        Op::Regex { pattern, flags } => of_regex(pattern, *flags),
        Op::SameAs { .. } | Op::Compare { .. } | Op::Time { .. } | Op::Within(_) | Op::Exists(_) | Op::Null => None,
    }
}

fn of_regex(pattern: &str, flags: RegexFlags) -> Option<Vec<Vec<u8>>> {
    let hir = regex_syntax::ParserBuilder::new()
        .case_insensitive(flags.ignores_case)
        .multi_line(flags.is_multi_line)
        .dot_matches_new_line(flags.dot_matches_line_feed)
        .utf8(false)
        .build()
        .parse(pattern)
        .ok()?;
    of_hir(&hir)
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
    use super::*;

    fn texts(pattern: &str) -> Vec<String> {
        let flags = RegexFlags { ignores_case: true, ..RegexFlags::default() };
        let found = of_regex(pattern, flags).unwrap_or_default();
        found.into_iter().map(|text| String::from_utf8(text).expect("text")).collect()
    }

    #[test]
    fn an_expression_gives_the_longest_text_that_it_can_not_match_without() {
        assert_eq!(texts(r"\s+Invoke-[a-z]+Kit.*x"), ["invoke-"]);
        assert_eq!(texts(r"(foo|bar)\d"), ["foo", "bar"]);
        assert_eq!(texts(r"-(W|R)\s"), ["-r", "-w"]);
        assert_eq!(texts(r"a[xy]\d"), ["ax", "ay"]);
        assert_eq!(texts(r"(foo|\d)?abc+"), ["ab"]);
        assert!(texts(r"[a-z]{3}\d*").is_empty());
        assert!(texts(r"(foo)?(bar)*").is_empty());
    }
}
