//! The condition of a count or a measure: `gte: 10`, with `field` where values are looked at.

use watertight_engine::image::is_plain;

use super::problem;
use crate::rule::{Bounds, KeyField, Measure};
use crate::sigma::document::wrong_type;
use crate::sigma::rejection::At;
use crate::sigma::yaml::{Content, Node};

/// Numbers are measured in thousandths.
const THOUSANDTHS: i64 = 1000;

/// The bounds, and the field that is looked at.
pub(super) fn read(node: &Node, measure: Measure) -> Result<(Bounds, Option<KeyField>), At> {
    let entries = node.map().ok_or_else(|| wrong_type("condition", "a mapping such as {gte: 10}", node))?;
    let is_number = !matches!(measure, Measure::Count | Measure::Values);
    let mut bounds = Bounds { least: i64::MIN, most: i64::MAX, is_above: false, is_below: false, is_at_end: false };
    let (mut field, mut is_bound) = (None, false);
    for (key, value) in entries {
        if key.text == "field" {
            let name = value.text().filter(|text| !text.is_empty() && text.chars().all(is_plain));
            let name = name.ok_or_else(|| wrong_type("field", "the name of one field", value))?.to_owned();
            field = Some(KeyField { field: name, span: value.span });
            continue;
        }
        let number = if is_number { thousandths(value) } else { whole(value) };
        let wanted = if is_number { "a number" } else { "a whole number from 0" };
        let number = number.ok_or_else(|| wrong_type(&format!("condition {}", key.text), wanted, value))?;
        // Between whole numbers nothing lies, so counts know no "above" beside "from the next".
        let step = i64::from(!is_number);
        match key.text.as_str() {
            "gte" => bounds.least = number,
            "gt" => (bounds.least, bounds.is_above) = (number.saturating_add(step), is_number),
            "lte" => bounds.most = number,
            "lt" => (bounds.most, bounds.is_below) = (number.saturating_sub(step), is_number),
            "eq" => (bounds.least, bounds.most) = (number, number),
            other => {
                let what = format!("condition {other:?} is unknown: use gt, gte, lt, lte or eq");
                return Err(problem(what).at(key.span));
            }
        }
        is_bound = true;
        bounds.is_at_end |= matches!(key.text.as_str(), "lt" | "lte" | "eq");
    }
    bounds.is_at_end |= matches!(measure, Measure::Average | Measure::Least | Measure::Greatest);
    check(node, measure, &bounds, is_bound, field.is_some())?;
    Ok((bounds, field))
}

fn check(node: &Node, measure: Measure, bounds: &Bounds, is_bound: bool, has_field: bool) -> Result<(), At> {
    let refuse = |what: &str| Err(problem(what).at(node.span));
    if !is_bound {
        return refuse("the condition has no number to compare with: add one such as gte: 10");
    }
    if has_field && measure == Measure::Count {
        return refuse("event_count counts events and looks at no field: remove field, or use type value_count");
    }
    if !has_field && measure != Measure::Count {
        return refuse("the condition does not say which field it looks at: add field");
    }
    let is_counted = matches!(measure, Measure::Count | Measure::Values);
    if is_counted && !bounds.is_at_end && bounds.least < 1 {
        return refuse("the condition is true of nothing at all: ask for 1 at least");
    }
    let is_empty = bounds.least > bounds.most
        || bounds.least == bounds.most && (bounds.is_above || bounds.is_below)
        || is_counted && bounds.most < 1;
    if is_empty {
        return refuse("no group with an event can fulfil the condition: correct its numbers");
    }
    Ok(())
}

fn whole(node: &Node) -> Option<i64> {
    match node.content {
        Content::Int(number) => Some(number).filter(|number| *number >= 0),
        _ => None,
    }
}

fn thousandths(node: &Node) -> Option<i64> {
    match node.content {
        Content::Int(number) => number.checked_mul(THOUSANDTHS),
        // Beyond what thousandths hold, a number is no bound.
        Content::Real(number, _) => {
            let scaled = number * THOUSANDTHS as f64;
            (scaled.abs() < 9e18).then_some(scaled.round() as i64)
        }
        _ => None,
    }
}
