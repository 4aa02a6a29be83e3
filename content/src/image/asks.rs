//! What each question of a rule needs of its field, by the types of the event table: a host that has the field otherwise refuses the
//! rule by name instead of never answering yes.

use std::collections::BTreeSet;

use watertight_engine::image::layout::{
    Range, TYPE_ADDRESS, TYPE_ANY, TYPE_BOOL, TYPE_LIST, TYPE_NUMBER, TYPE_SIGNED, TYPE_TEXT,
};

use super::tables::Tables;
use super::{CompileError, Source};
use crate::rule::{Comparison, Expr, FieldUse, Number, Op, Part, Pattern, Predicate, Rule};

/// Values that are strings to a rule.
const TEXTS: u32 = TYPE_TEXT | TYPE_LIST | TYPE_ADDRESS;

/// Values that are numbers to a rule.
pub(super) const NUMBERS: u32 = TYPE_NUMBER | TYPE_SIGNED;

/// The questions of a rule, each once for a line.
pub(super) fn of(tables: &mut Tables, source: &Source<'_>) -> Result<Range, CompileError> {
    let mut asks = BTreeSet::new();
    collect(tables, source.rule, &source.rule.condition, &mut asks)?;
    let flat: Vec<u32> = asks.into_iter().flatten().collect();
    Ok(tables.list(&flat))
}

fn collect(tables: &mut Tables, rule: &Rule, expr: &Expr, asks: &mut BTreeSet<[u32; 3]>) -> Result<(), CompileError> {
    match expr {
        Expr::All(parts) | Expr::Any(parts) => parts.iter().try_for_each(|part| collect(tables, rule, part, asks)),
        Expr::Not(part) => collect(tables, rule, part, asks),
        Expr::Selection(position) => match rule.selections.get(*position) {
            Some(selection) => collect(tables, rule, &selection.body, asks),
            None => Ok(()),
        },
        Expr::Is(predicate) => {
            if let Some(field) = &predicate.field {
                let line = line_of(rule, field, predicate);
                asks.insert([tables.slot(rule, field)?, types(&predicate.op), line]);
                if let Op::SameAs { field, .. } = &predicate.op {
                    asks.insert([tables.slot(rule, field)?, TYPE_ANY, line]);
                }
            }
            Ok(())
        }
    }
}

/// The line that asks; 0 where that is not known.
fn line_of(rule: &Rule, field: &str, predicate: &Predicate) -> u32 {
    let line = FieldUse::of(&rule.uses, field, predicate).map_or(0, |used| used.span.line);
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// The types of which some value can answer yes.
pub(crate) fn types(op: &Op) -> u32 {
    match op {
        Op::Text(pattern) => types_of_text(pattern),
        Op::Regex { .. } => TEXTS,
        // Numbers of events are whole and have 64 bits.
        Op::Compare { by, than: Number::Real(than) } if !can_hold(*by, *than) => TYPE_TEXT | TYPE_LIST,
        Op::Compare { by: Comparison::Equal, .. } => NUMBERS | TYPE_TEXT | TYPE_LIST,
        Op::Compare { .. } | Op::Time { .. } => NUMBERS | TYPE_TEXT,
        Op::Within(_) => TYPE_ADDRESS,
        Op::Exists(_) | Op::Null | Op::SameAs { .. } => TYPE_ANY,
    }
}

/// Whether some whole number of 64 bits compares so.
fn can_hold(by: Comparison, than: f64) -> bool {
    const PAST: f64 = 18_446_744_073_709_551_616.0; // 2^64
    match by {
        Comparison::Equal => than.fract() == 0.0 && than.abs() < PAST,
        Comparison::Greater | Comparison::GreaterOrEqual => than < PAST,
        Comparison::Less | Comparison::LessOrEqual => than > -PAST,
    }
}

/// Numbers and truth values are compared by their text, but only whole: a rule that looks for a part of one was written for a
/// field that is text.
fn types_of_text(pattern: &Pattern) -> u32 {
    let [Part::Literal(text)] = pattern.parts() else {
        return if pattern.parts() == [Part::AnyMany] { TYPE_ANY } else { TEXTS };
    };
    let Ok(text) = std::str::from_utf8(text) else { return TEXTS };
    let is_number = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    let is_truth = ["true", "false"].iter().any(|truth| text.eq_ignore_ascii_case(truth));
    TEXTS | if is_number { NUMBERS } else { 0 } | if is_truth { TYPE_BOOL } else { 0 }
}
