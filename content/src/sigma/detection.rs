//! Selections: mappings of fields to values, lists of such mappings, and keywords.

use crate::rule::{check_regex, Part, Pattern};
use crate::rule::{Comparison, Expr, FieldUse, Number, Op, Place, Predicate};

use watertight_engine::image::is_plain;

use super::encode::{base64, base64_at_offsets, utf16};
use super::modifier::{Encoding, Kind, Question};
use super::rejection::{At, Reason};
use super::value::{parts, with_any_dash};
use super::yaml::{Content, Node};

/// What a selection demands.
pub(crate) fn selection(name: &str, node: &Node) -> Result<Expr, At> {
    let empty = || Reason::EmptySelection { selection: name.to_owned() }.at(node.span);
    match &node.content {
        Content::Null => Err(empty()),
        Content::Map(entries) if entries.is_empty() => Err(empty()),
        Content::Map(entries) => {
            let parts = entries.iter().map(|(key, value)| {
                let question = Question::read(&key.text).map_err(|reason| key.at(reason))?;
                values(&question, value)
            });
            Ok(Expr::All(parts.collect::<Result<_, _>>()?))
        }
        Content::List(items) if items.is_empty() => Err(empty()),
        Content::List(items) => {
            Ok(Expr::Any(items.iter().map(|item| item_of_list(name, item)).collect::<Result<_, _>>()?))
        }
        _ => item_of_list(name, node),
    }
}

/// Notes where a selection, which was read, asks for fields.
pub(crate) fn uses(node: &Node, uses: &mut Vec<FieldUse>) {
    match &node.content {
        Content::List(items) => items.iter().for_each(|item| self::uses(item, uses)),
        Content::Map(entries) => {
            for (key, value) in entries {
                let (field, modifiers) = key.text.split_once('|').unwrap_or((&key.text, ""));
                if !field.is_empty() {
                    let (field, modifiers) = (field.to_owned(), modifiers.to_owned());
                    uses.push(FieldUse { field, modifiers, span: key.span });
                }
                if modifiers.split('|').any(|modifier| modifier == FieldUse::REFERRED_BY) {
                    referred(value, uses);
                }
            }
        }
        _ => {}
    }
}

/// The fields that a value names.
fn referred(value: &Node, uses: &mut Vec<FieldUse>) {
    match &value.content {
        Content::List(items) => items.iter().for_each(|item| referred(item, uses)),
        _ => uses.extend(value.text().map(|field| FieldUse {
            field: field.to_owned(),
            modifiers: FieldUse::REFERRED.to_owned(),
            span: value.span,
        })),
    }
}

fn item_of_list(name: &str, node: &Node) -> Result<Expr, At> {
    match &node.content {
        Content::Map(_) => selection(name, node),
        Content::List(_) | Content::Null => {
            Err(Reason::BadSelection { selection: name.to_owned(), found: node.kind() }.at(node.span))
        }
        _ => {
            let question = Question::read("").map_err(|reason| reason.at(node.span))?;
            values(&question, node)
        }
    }
}

/// The question asked with one value or a list of them.
fn values(question: &Question, node: &Node) -> Result<Expr, At> {
    let mut alternatives = match &node.content {
        Content::List(items) if items.is_empty() => {
            return Err(Reason::NoValues { field: question.key.clone() }.at(node.span));
        }
        Content::List(items) => items.iter().map(|item| value(question, item)).collect::<Result<Vec<_>, _>>()?,
        _ => vec![value(question, node)?],
    };
    let joined = match (alternatives.len(), question.joins_all, question.is_negated) {
        (1, ..) => alternatives.pop().unwrap_or(Expr::Any(Vec::new())),
        // "Differs from all of these" and "differs from each of these" are the same demand.
        (_, true, false) => Expr::All(alternatives),
        _ => Expr::Any(alternatives),
    };
    Ok(if question.is_negated { Expr::Not(Box::new(joined)) } else { joined })
}

/// The question asked with one value. Several predicates when one value stands for several texts.
fn value(question: &Question, node: &Node) -> Result<Expr, At> {
    let bad = |wanted: &'static str| {
        let found = shown(node);
        Reason::BadValue { field: question.key.clone(), wanted, found }.at(node.span)
    };
    if matches!(node.content, Content::List(_) | Content::Map(_)) {
        return Err(bad("a text, a number, a truth value or null"));
    }
    let source = if question.modifiers.is_empty() {
        if question.field.is_some() {
            format!("is {}", shown(node))
        } else {
            format!("keyword {}", shown(node))
        }
    } else {
        format!("{} {}", question.modifiers, shown(node))
    };
    let is = |op: Op| Expr::Is(Predicate { field: question.field.clone(), op, source: source.clone() });
    if question.expands {
        let text = node.text().unwrap_or_default();
        let placeholder = text.split('%').nth(1).map_or_else(|| text.to_owned(), |name| format!("%{name}%"));
        return Err(Reason::NoPlaceholderValue { field: question.key.clone(), placeholder }.at(node.span));
    }
    match question.kind {
        Kind::Text(place) => texts(question, place, node, &is, &bad),
        Kind::Regex(mut flags) => {
            let pattern = node.text().map(str::to_owned).or_else(|| plain_text(node)).ok_or_else(|| bad("a text"))?;
            flags.ignores_case &= !question.is_cased;
            check_regex(&pattern, flags)
                .map_err(|error| Reason::Regex { field: question.key.clone(), error }.at(node.span))?;
            Ok(is(Op::Regex { pattern, flags }))
        }
        Kind::Compare(by) => Ok(is(Op::Compare { by, than: number(node).ok_or_else(|| bad("a number"))? })),
        Kind::Time(part, by) => Ok(is(Op::Time { part, by, than: number(node).ok_or_else(|| bad("a number"))? })),
        Kind::Cidr => {
            let network = node.text().and_then(|text| text.parse().ok());
            Ok(is(Op::Within(network.ok_or_else(|| bad("a network such as 10.0.0.0/8 or fc00::/7"))?)))
        }
        Kind::Exists => match node.content {
            Content::Bool(wanted) => Ok(is(Op::Exists(wanted))),
            _ => Err(bad("true or false")),
        },
        Kind::SameAs(place) => {
            let field = node
                .text()
                .filter(|name| !name.is_empty() && name.chars().all(is_plain))
                .ok_or_else(|| bad("the name of a field"))?;
            Ok(is(Op::SameAs { field: field.to_owned(), place, is_cased: question.is_cased }))
        }
    }
}

fn texts(
    question: &Question,
    place: Option<Place>,
    node: &Node,
    is: &dyn Fn(Op) -> Expr,
    bad: &dyn Fn(&'static str) -> At,
) -> Result<Expr, At> {
    let is_plain = place.is_none() && question.encodings.is_empty() && !question.widens_dashes;
    match &node.content {
        Content::Null if is_plain && question.field.is_some() => return Ok(is(Op::Null)),
        Content::Null => return Err(bad("a text")),
        Content::Real(than, _) if is_plain => {
            return Ok(is(Op::Compare { by: Comparison::Equal, than: Number::Real(*than) }));
        }
        _ => {}
    }
    let text = plain_text(node).ok_or_else(|| bad("a text"))?;
    let is_keyword = question.field.is_none();
    if is_keyword && text.is_empty() {
        return Err(bad("a keyword that is not empty"));
    }
    let is_text = matches!(node.content, Content::Text(_));
    let default = if is_keyword && is_text { Place::Anywhere } else { Place::Whole };
    let place = place.unwrap_or(default);
    let pattern = |parts: Vec<Part>| is(Op::Text(Pattern::new(parts, place, question.is_cased)));
    let mut parts = if is_text { parts(&text) } else { vec![Part::Literal(text.into_bytes())] };
    if question.widens_dashes {
        parts = with_any_dash(parts);
    }
    let Some(base64_step) = question.encodings.last().filter(|step| !matches!(step, Encoding::Utf16(_))) else {
        return Ok(pattern(parts.into_iter().map(|part| widened(part, &question.encodings)).collect()));
    };
    let plain = match parts.as_slice() {
        [] => Vec::new(),
        [Part::Literal(text)] => text.clone(),
        _ => return Err(bad("a text without wildcards, for Base64 of them is not defined,")),
    };
    let Part::Literal(bytes) = widened(Part::Literal(plain), &question.encodings) else {
        return Err(bad("a text"));
    };
    let literal = |text: String| vec![Part::Literal(text.into_bytes())];
    Ok(match base64_step {
        Encoding::Base64AtOffsets => {
            let variants = base64_at_offsets(&bytes);
            if variants.iter().any(String::is_empty) {
                return Err(bad("a longer text, for of this one nothing is certain at some offset,"));
            }
            Expr::Any(variants.into_iter().map(|text| pattern(literal(text))).collect())
        }
        Encoding::Base64 | Encoding::Utf16(_) => pattern(literal(base64(&bytes))),
    })
}

/// The part as UTF-16, if an encoding says so. Rules are UTF-8, so the text is whole.
fn widened(part: Part, encodings: &[Encoding]) -> Part {
    match (part, encodings.first()) {
        (Part::Literal(bytes), Some(Encoding::Utf16(order))) => {
            Part::Literal(utf16(&String::from_utf8_lossy(&bytes), *order))
        }
        (part, _) => part,
    }
}

/// The scalar as the text that it is compared by.
fn plain_text(node: &Node) -> Option<String> {
    match &node.content {
        Content::Text(text) | Content::Real(_, text) => Some(text.clone()),
        Content::Int(number) => Some(number.to_string()),
        Content::Bool(truth) => Some(truth.to_string()),
        Content::Null | Content::List(_) | Content::Map(_) => None,
    }
}

fn number(node: &Node) -> Option<Number> {
    match &node.content {
        Content::Int(number) => Some(Number::Int(*number)),
        Content::Real(number, _) => Some(Number::Real(*number)),
        Content::Text(text) => {
            let whole = text.parse().ok().map(Number::Int);
            whole.or_else(|| text.parse().ok().filter(|real: &f64| real.is_finite()).map(Number::Real))
        }
        _ => None,
    }
}

fn shown(node: &Node) -> String {
    match &node.content {
        Content::Text(text) => format!("'{text}'"),
        _ => plain_text(node).unwrap_or_else(|| node.kind().to_owned()),
    }
}
