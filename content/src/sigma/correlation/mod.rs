//! Correlation documents: Sigma's own, whose inputs are rules by id or name, and sequences whose stages stand in the document.
//!
//! Meaning follows the specification 2.1; where it leaves room: windows slide, two events exactly a timespan apart are within it,
//! and what has fired begins anew. Conditions that more events could undo are judged when the timespan that began with a group's
//! first event is over. Whatever is not understood refuses the correlation, as it does a rule.

mod bounds;
mod stages;

use watertight_engine::image::layout::{INPUTS_MAX, PARTS_MAX};
use watertight_engine::image::{is_plain, STATE_BYTES_MAX};

pub(super) use self::stages::IDENTITIES;
use super::document::{author, id, level, need, tags, title, wrong_type};
use super::rejection::{At, Reason};
use super::yaml::{Content, Node};
use super::Span;
use super::{condition, response};
use crate::rule::{Correlation, Expr, Input, InputSource, KeyField, Kind, Measure};

/// What the state of a correlation takes unless it says otherwise: some ten thousand groups.
const STATE_BYTES: u64 = 2 << 20;

/// Most terms that a condition over rules is written out to.
const TERMS_MAX: usize = 64;

/// The keys of a correlation.
const KEYS: [&str; 10] =
    ["type", "rules", "group-by", "timespan", "condition", "aliases", "generate", "join", "stages", "state"];

/// Reads a document that is a correlation.
pub(super) fn read(document: &Node) -> Result<Correlation, At> {
    let node = need(document, "correlation")?;
    let entries = node.map().ok_or_else(|| wrong_type("correlation", "a mapping", node))?;
    if let Some((key, _)) = entries.iter().find(|(key, _)| !KEYS.contains(&key.text.as_str())) {
        return Err(problem(format!("key {:?} is unknown: use {}", key.text, KEYS.join(", "))).at(key.span));
    }
    let type_node = need(node, "type")?;
    let type_name = type_node.text().ok_or_else(|| wrong_type("type", "text", type_node))?;
    let group_by = group_by(node)?;
    let timespan_ns = duration(need(node, "timespan")?, "timespan")?;
    let (id, title) = (id(document)?, title(document)?);
    let read = match node.get("stages") {
        Some(stages) => stages::read(node, stages, type_name, &group_by, (&id, &title))?,
        None => by_rules(node, type_node, type_name, &group_by)?,
    };
    if read.parts > PARTS_MAX as usize {
        let what = format!("it joins by {} fields, more than the {PARTS_MAX} that there may be: use fewer", read.parts);
        return Err(problem(what).at(node.span));
    }
    Ok(Correlation {
        level: level(document)?,
        tags: tags(document)?,
        author: author(document),
        id,
        title,
        kind: read.kind,
        inputs: read.inputs,
        group_by: group_by.into_iter().map(|part| part.field).collect(),
        parts: read.parts,
        timespan_ns,
        state_bytes: state_bytes(node)?,
        state_span: ["state", "condition", "type"]
            .iter()
            .find_map(|key| node.get(key))
            .map_or(node.span, |node| node.span),
        response: response::read(document)?,
        generates: generates(document, node)?,
    })
}

/// What depends on how the inputs are given.
struct Read {
    kind: Kind,
    inputs: Vec<Input>,
    parts: usize,
}

/// What is wrong and, behind the first colon, the mend.
pub(super) fn problem(words: impl Into<String>) -> Reason {
    let words = words.into();
    let (what, mend) = words.split_once(": ").unwrap_or((&words, "write it as docs/rules/correlations.md says"));
    Reason::Correlation { what: what.to_owned(), mend: mend.to_owned() }
}

/// Sigma's own correlations.
fn by_rules(node: &Node, type_node: &Node, type_name: &str, group_by: &[KeyField]) -> Result<Read, At> {
    if let Some(join) = node.get("join") {
        return Err(problem("join needs stages, and there are rules: then group by a field").at(join.span));
    }
    let references = references(need(node, "rules")?)?;
    let measure = match type_name {
        "event_count" => Some(Measure::Count),
        "value_count" => Some(Measure::Values),
        "value_sum" => Some(Measure::Sum),
        "value_avg" => Some(Measure::Average),
        "value_min" => Some(Measure::Least),
        "value_max" => Some(Measure::Greatest),
        "temporal" | "temporal_ordered" => None,
        "value_percentile" | "value_median" => {
            let what = format!("{type_name} needs every value of the timespan, for which no memory is enough: use value_avg or value_max");
            return Err(problem(what).at(type_node.span));
        }
        other => {
            let what = format!(
                "type {other:?} is unknown: use event_count, value_count, value_sum, value_avg, value_min, value_max, temporal or \
                 temporal_ordered"
            );
            return Err(problem(what).at(type_node.span));
        }
    };
    let is_ordered = type_name == "temporal_ordered";
    if let Some((at, twice)) =
        references.iter().enumerate().find(|(at, one)| references.iter().take(*at).any(|(name, _)| name == &one.0))
    {
        if !is_ordered {
            return Err(
                problem(format!("rule {:?} is there twice: remove one (rules, item {})", twice.0, at + 1)).at(twice.1)
            );
        }
    }
    let (kind, value) = match measure {
        Some(measure) => {
            let (bounds, field) = bounds::read(need(node, "condition")?, measure)?;
            (Kind::Window { measure, bounds }, field)
        }
        None if is_ordered => (ordered(node, references.len())?, None),
        None => (Kind::Temporal(terms(node, &references)?), None),
    };
    let aliases = aliases(node, group_by)?;
    let joins = (1_u32 << group_by.len().min(PARTS_MAX as usize)) - 1;
    let inputs = references.into_iter().enumerate().map(|(position, (reference, span))| Input {
        name: reference.clone(),
        span,
        fields: group_by.iter().cloned().map(Some).collect(),
        value: value.clone(),
        source: InputSource::Named { reference, aliases: aliases.clone() },
        joins: if is_ordered && position > 0 { joins } else { 0 },
        differs: 0,
        folds: 0,
    });
    Ok(Read { kind, inputs: inputs.collect(), parts: group_by.len() })
}

/// The rules by id or name, each with its place.
fn references(node: &Node) -> Result<Vec<(String, Span)>, At> {
    let text = |item: &Node| {
        let text = item.text().ok_or_else(|| wrong_type("rules", "a list of ids or names", item))?;
        Ok((text.to_owned(), item.span))
    };
    let found: Vec<_> = match &node.content {
        Content::List(items) => items.iter().map(text).collect::<Result<_, _>>()?,
        _ => vec![text(node)?],
    };
    if found.is_empty() || found.len() > INPUTS_MAX as usize {
        let what = format!("rules has {} entries: name at least one, and at most {INPUTS_MAX}", found.len());
        return Err(problem(what).at(node.span));
    }
    Ok(found)
}

fn ordered(node: &Node, count: usize) -> Result<Kind, At> {
    if let Some(condition) = node.get("condition") {
        let what = "temporal_ordered has no condition, its order says it all: remove it, or use type temporal";
        return Err(problem(what).at(condition.span));
    }
    if count < 2 {
        return Err(problem("an order needs two rules at least: add one").at(node.span));
    }
    Ok(Kind::Sequence { absent_ns: None })
}

/// Which rules must and must not have happened: all of them, unless a condition says otherwise.
fn terms(node: &Node, references: &[(String, Span)]) -> Result<Vec<(u32, u32)>, At> {
    let all = u32::try_from((1_u64 << references.len().min(INPUTS_MAX as usize)) - 1).unwrap_or(u32::MAX);
    let Some(condition) = node.get("condition") else { return Ok(vec![(all, 0)]) };
    let what =
        "the condition of temporal is no text over the names of its rules: write for example rule_a and not rule_b";
    let text = condition.text().ok_or_else(|| problem(what).at(condition.span))?;
    let names: Vec<&str> = references.iter().map(|(name, _)| name.as_str()).collect();
    let parsed = condition::parse(text, &names).map_err(|reason| reason.at(condition.span))?;
    let terms = written_out(&parsed, true).ok_or_else(|| {
        problem(format!("the condition comes to more than {TERMS_MAX} ways to be true: split it")).at(condition.span)
    })?;
    if terms.iter().any(|(must, _)| *must == 0) || terms.is_empty() {
        let what = "the condition can be true without any event, or never: let it ask for a rule in each of its ways";
        return Err(problem(what).at(condition.span));
    }
    Ok(terms)
}

/// The ways in which an expression over inputs comes out so; `None` if they are too many.
fn written_out(expr: &Expr, wanted: bool) -> Option<Vec<(u32, u32)>> {
    let of = |parts: &[Expr]| parts.iter().map(|part| written_out(part, wanted)).collect::<Option<Vec<_>>>();
    let terms = match (expr, wanted) {
        (Expr::Not(part), _) => return written_out(part, !wanted),
        (Expr::Selection(input), _) => {
            let bit = 1_u32.checked_shl(u32::try_from(*input).ok()?)?;
            vec![if wanted { (bit, 0) } else { (0, bit) }]
        }
        (Expr::Any(parts), true) | (Expr::All(parts), false) => of(parts)?.concat(),
        (Expr::All(parts), true) | (Expr::Any(parts), false) => {
            of(parts)?.into_iter().try_fold(vec![(0, 0)], |sum, part| {
                let both = |(must, not): &(u32, u32)| {
                    let sum = (*must, *not);
                    part.iter().map(move |(must, not)| (sum.0 | must, sum.1 | not)).collect::<Vec<_>>()
                };
                let crossed: Vec<_> = sum.iter().flat_map(both).filter(|(must, not)| must & not == 0).collect();
                (crossed.len() <= TERMS_MAX).then_some(crossed)
            })?
        }
        (Expr::Is(_), _) => return None,
    };
    (terms.len() <= TERMS_MAX).then_some(terms)
}

fn group_by(node: &Node) -> Result<Vec<KeyField>, At> {
    let Some(node) = node.get("group-by") else { return Ok(Vec::new()) };
    let text = |item: &Node| {
        let text = item.text().filter(|text| !text.is_empty() && text.chars().all(is_plain));
        let field = text.ok_or_else(|| wrong_type("group-by", "the names of fields", item))?.to_owned();
        Ok(KeyField { field, span: item.span })
    };
    match &node.content {
        Content::List(items) => items.iter().map(text).collect(),
        _ => Ok(vec![text(node)?]),
    }
}

/// For each field of the grouping: by rule, the field that is meant.
fn aliases(node: &Node, group_by: &[KeyField]) -> Result<Vec<Vec<(String, KeyField)>>, At> {
    let mut by_part = vec![Vec::new(); group_by.len()];
    let Some(node) = node.get("aliases") else { return Ok(by_part) };
    for (alias, fields) in node.map().ok_or_else(|| wrong_type("aliases", "a mapping", node))? {
        let unused = || {
            let what = format!("alias {:?} is in no group-by: add it there or remove it", alias.text);
            problem(what).at(alias.span)
        };
        let part = group_by.iter().position(|name| name.field == alias.text).ok_or_else(unused)?;
        let wrong = || wrong_type("an alias", "a mapping of rules to fields", fields);
        for (rule, field) in fields.map().ok_or_else(wrong)? {
            let text = field.text().ok_or_else(|| wrong_type("an alias", "the name of a field", field))?;
            if let Some(fields) = by_part.get_mut(part) {
                fields.push((rule.text.clone(), KeyField { field: text.to_owned(), span: field.span }));
            }
        }
    }
    Ok(by_part)
}

/// `generate` stands in the correlation or beside it: writers and readers of Sigma differ.
fn generates(document: &Node, node: &Node) -> Result<bool, At> {
    match document.get("generate").or_else(|| node.get("generate")) {
        None => Ok(false),
        Some(Node { content: Content::Bool(generates), .. }) => Ok(*generates),
        Some(other) => Err(wrong_type("generate", "true or false", other)),
    }
}

/// `90s`, `5m`, `1h`, `2d`, and `500ms`.
fn duration(node: &Node, key: &'static str) -> Result<u64, At> {
    let wrong = || {
        let what =
            format!("{key} is no length of time up to 366d: write a number and a unit (ms, s, m, h, d) such as 5m");
        problem(what).at(node.span)
    };
    let text = node.text().ok_or_else(wrong)?.trim();
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(unit_at).ok_or_else(wrong)?;
    let unit_ns: u64 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return Err(wrong()),
    };
    let duration = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ns));
    let longest_ns = 366 * 86_400_000_000_000_u64;
    duration.filter(|duration| (1..=longest_ns).contains(duration)).ok_or_else(wrong)
}

/// `state: 16MB`.
fn state_bytes(node: &Node) -> Result<u64, At> {
    let Some(node) = node.get("state") else { return Ok(STATE_BYTES) };
    let wrong = || {
        let what = format!("state is no size up to {}MB: write one such as 512KB or 16MB", STATE_BYTES_MAX >> 20);
        problem(what).at(node.span)
    };
    let text = node.text().ok_or_else(wrong)?.trim();
    let (number, shift) = match (text.strip_suffix("KB"), text.strip_suffix("MB")) {
        (Some(number), _) => (number, 10),
        (_, Some(number)) => (number, 20),
        _ => return Err(wrong()),
    };
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).filter(|bytes| (1..=STATE_BYTES_MAX).contains(bytes)).ok_or_else(wrong)
}
