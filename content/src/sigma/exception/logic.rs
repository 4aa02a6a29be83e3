//! What can be said of conditions without an event: whether they are true of events that nobody named, and whether one is true
//! wherever another is.
//!
//! Questions are taken as letters of propositional logic, with what is certain between them: a text that ends with `/bin/sh` ends
//! with `sh`, and a field that has a value is there. What can't be said so, or only by trying too much, is not said.

use crate::rule::{fits_everything, Comparison, Expr, Op, Part, Pattern, Predicate, Selection};

/// Most different questions of which all answers are tried: 65,536 of them.
const QUESTIONS_MAX: usize = 16;

/// A text that may stand anywhere, at the beginning or at the end names something if it has as many bytes.
const NAMING_BYTES_MIN: usize = 2;

/// The condition when every selection is answered so.
pub(super) fn with_selections(expr: &Expr, answer: bool) -> bool {
    match expr {
        Expr::All(parts) => parts.iter().all(|part| with_selections(part, answer)),
        Expr::Any(parts) => parts.iter().any(|part| with_selections(part, answer)),
        Expr::Not(part) => !with_selections(part, answer),
        Expr::Selection(_) | Expr::Is(_) => answer,
    }
}

/// Whether it can be true of an event in which nothing is what some question names: such an exception leaves out what its author
/// never saw.
pub(super) fn is_broad(expr: &Expr, selections: &[Selection]) -> bool {
    can_be(expr, selections, true)
}

/// Whether it can come out so while every question that names something is answered no.
fn can_be(expr: &Expr, selections: &[Selection], wanted: bool) -> bool {
    match (expr, wanted) {
        (Expr::All(parts), true) | (Expr::Any(parts), false) => {
            parts.iter().all(|part| can_be(part, selections, wanted))
        }
        (Expr::All(parts), false) | (Expr::Any(parts), true) => {
            parts.iter().any(|part| can_be(part, selections, wanted))
        }
        (Expr::Not(part), _) => can_be(part, selections, !wanted),
        (Expr::Selection(position), _) => {
            selections.get(*position).is_some_and(|selection| can_be(&selection.body, selections, wanted))
        }
        (Expr::Is(predicate), _) => !wanted || !names(predicate),
    }
}

/// Whether a yes names something: a text, a number, a network.
fn names(predicate: &Predicate) -> bool {
    match &predicate.op {
        Op::Text(pattern) => {
            let size_bytes: usize = pattern.parts().iter().map(literal_size_bytes).sum();
            let is_open = pattern.parts().contains(&Part::AnyMany);
            size_bytes >= if is_open { NAMING_BYTES_MIN } else { 1 } || pattern.parts().is_empty()
        }
        Op::Regex { pattern, flags } => {
            let letters = pattern.chars().filter(|character| character.is_alphanumeric()).count();
            letters >= NAMING_BYTES_MIN && !fits_everything(pattern, *flags)
        }
        Op::Compare { by, .. } | Op::Time { by, .. } => *by == Comparison::Equal,
        Op::Within(network) => network.parts().1 > 0,
        Op::SameAs { .. } => true,
        Op::Exists(_) | Op::Null => false,
    }
}

fn literal_size_bytes(part: &Part) -> usize {
    match part {
        Part::Literal(text) => text.len(),
        Part::AnyOne | Part::AnyMany | Part::Dash => 0,
    }
}

/// A condition with its selections.
#[derive(Clone, Copy)]
pub(super) struct Condition<'c> {
    pub(super) expr: &'c Expr,
    pub(super) selections: &'c [Selection],
}

/// Whether `left` is true of some event and `right` of each of them; `false` where that can't be said.
pub(super) fn implies(left: Condition<'_>, right: Condition<'_>) -> bool {
    let mut questions: Vec<&Predicate> = Vec::new();
    collect(left, left.expr, &mut questions);
    collect(right, right.expr, &mut questions);
    if questions.len() > QUESTIONS_MAX {
        return false;
    }
    let implied: Vec<(usize, usize, bool)> = relations(&questions);
    let mut is_left_ever_true = false;
    for answers in 0..1_u32 << questions.len() {
        let answer = |position: usize| answers >> position & 1 != 0;
        if implied.iter().any(|(from, to, value)| answer(*from) && answer(*to) != *value) {
            continue;
        }
        let of =
            |predicate: &Predicate| questions.iter().position(|known| is_same(known, predicate)).is_some_and(answer);
        if is_true(left, left.expr, &of) {
            is_left_ever_true = true;
            if !is_true(right, right.expr, &of) {
                return false;
            }
        }
    }
    is_left_ever_true
}

fn is_true(condition: Condition<'_>, expr: &Expr, answer: &dyn Fn(&Predicate) -> bool) -> bool {
    match expr {
        Expr::All(parts) => parts.iter().all(|part| is_true(condition, part, answer)),
        Expr::Any(parts) => parts.iter().any(|part| is_true(condition, part, answer)),
        Expr::Not(part) => !is_true(condition, part, answer),
        Expr::Selection(position) => {
            let selection = condition.selections.get(*position);
            selection.is_some_and(|selection| is_true(condition, &selection.body, answer))
        }
        Expr::Is(predicate) => answer(predicate),
    }
}

fn collect<'c>(condition: Condition<'c>, expr: &'c Expr, questions: &mut Vec<&'c Predicate>) {
    match expr {
        _ if questions.len() > QUESTIONS_MAX => {}
        Expr::All(parts) | Expr::Any(parts) => parts.iter().for_each(|part| collect(condition, part, questions)),
        Expr::Not(part) => collect(condition, part, questions),
        Expr::Selection(position) => {
            if let Some(selection) = condition.selections.get(*position) {
                collect(condition, &selection.body, questions);
            }
        }
        Expr::Is(predicate) => {
            if !questions.iter().any(|known| is_same(known, predicate)) {
                questions.push(predicate);
            }
        }
    }
}

fn is_same(left: &Predicate, right: &Predicate) -> bool {
    left.field == right.field && left.op == right.op
}

/// Pairs of which a yes to the first means this answer to the second.
fn relations(questions: &[&Predicate]) -> Vec<(usize, usize, bool)> {
    let mut found = Vec::new();
    for (from, first) in questions.iter().enumerate() {
        for (to, second) in questions.iter().enumerate() {
            if from == to || first.field != second.field || first.field.is_none() {
                continue;
            }
            let is_there = !matches!(first.op, Op::Null | Op::Exists(_));
            let meant = match (&first.op, &second.op) {
                (_, Op::Exists(wanted)) if is_there => Some(*wanted),
                (_, Op::Null) if is_there => Some(false),
                // Any value has a text, which fits `*`.
                (_, Op::Text(pattern)) if is_there && pattern.parts() == [Part::AnyMany] => Some(true),
                (Op::Text(narrow), Op::Text(wide)) if fits_in(narrow, wide) => Some(true),
                _ => None,
            };
            found.extend(meant.map(|value| (from, to, value)));
        }
    }
    found
}

/// Whether every text that fits `narrow` fits `wide`, found where each is one literal.
fn fits_in(narrow: &Pattern, wide: &Pattern) -> bool {
    let (Some(narrow_text), Some(wide_text)) = (only_literal(narrow), only_literal(wide)) else { return false };
    if wide.is_cased() != narrow.is_cased() {
        return false;
    }
    let (narrow_start, narrow_end) = open_ends(narrow);
    match open_ends(wide) {
        (true, true) => narrow_text.windows(wide_text.len().max(1)).any(|window| window == wide_text),
        (false, true) => !narrow_start && narrow_text.starts_with(wide_text),
        (true, false) => !narrow_end && narrow_text.ends_with(wide_text),
        (false, false) => !narrow_start && !narrow_end && narrow_text == wide_text,
    }
}

/// The pattern's literal, if it is nothing but that and open ends.
fn only_literal(pattern: &Pattern) -> Option<&[u8]> {
    let (open_start, open_end) = open_ends(pattern);
    let inner =
        pattern.parts().get(usize::from(open_start)..pattern.parts().len().checked_sub(usize::from(open_end))?)?;
    match inner {
        [Part::Literal(text)] => Some(text),
        _ => None,
    }
}

fn open_ends(pattern: &Pattern) -> (bool, bool) {
    let parts = pattern.parts();
    (parts.first() == Some(&Part::AnyMany), parts.len() > 1 && parts.last() == Some(&Part::AnyMany))
}
