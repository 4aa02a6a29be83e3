//! A YAML document to a rule or a correlation.

use crate::rule::{Correlation, Expr, Level, LogSource, Rule, Selection};

use watertight_engine::image::is_plain;

use super::rejection::{At, Reason, Rejection};
use super::yaml::{read, Content, Node};
use super::{condition, correlation, detection};

/// Longest identifier. A UUID has 36 characters.
const ID_CHARACTERS_MAX: usize = 128;

/// What a document holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// A rule.
    Rule(Box<Rule>),
    /// A correlation, whose rules are not looked up yet.
    Correlation(Box<Correlation>),
}

/// What a document holds and the line it begins at.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The rule or correlation.
    pub document: Document,
    /// The name that correlations may call it by.
    pub name: Option<String>,
    /// The line, from 1.
    pub line: usize,
}

/// Reads every document of a file; `file` names it in refusals. A refused document does not keep its neighbours from being
/// read; a file that is not YAML is refused whole.
#[must_use]
pub fn parse(file: &str, text: &str) -> Vec<Result<Parsed, Box<Rejection>>> {
    let refuse = |rule: Option<String>, At { line, reason }: At| {
        Box::new(Rejection { rule, file: file.to_owned(), line, reason })
    };
    match read(text) {
        Err(at) => vec![Err(refuse(None, at))],
        Ok(documents) if documents.is_empty() => vec![Err(refuse(None, Reason::NoDocument.at(1)))],
        Ok(documents) => documents
            .iter()
            .map(|document| {
                let parsed = parsed(document);
                parsed.map_err(|at| refuse(id_if_any(document), at))
            })
            .collect(),
    }
}

fn id_if_any(document: &Node) -> Option<String> {
    document.get("id").and_then(Node::text).map(str::to_owned)
}

fn parsed(document: &Node) -> Result<Parsed, At> {
    if document.map().is_none() {
        return Err(Reason::NotAMapping { found: document.kind() }.at(document.line));
    }
    refuse_other_kinds(document)?;
    let held = match document.get("correlation") {
        Some(node) => Document::Correlation(Box::new(correlation::read(document, node)?)),
        None => Document::Rule(Box::new(rule(document)?)),
    };
    Ok(Parsed { document: held, name: name(document)?, line: document.line })
}

/// What correlations may call it by.
fn name(document: &Node) -> Result<Option<String>, At> {
    let Some(node) = document.get("name") else { return Ok(None) };
    let text = node.text().ok_or_else(|| wrong_type("name", "text", node))?;
    if !text.chars().all(is_plain) {
        return Err(Reason::NotPlain { field: "name", text: text.to_owned() }.at(node.line));
    }
    Ok(Some(text.to_owned()))
}

fn rule(document: &Node) -> Result<Rule, At> {
    let (selections, condition) = detection(need(document, "detection")?)?;
    Ok(Rule {
        id: id(document)?,
        title: title(document)?,
        level: level(document)?,
        tags: tags(document)?,
        author: author(document),
        logsource: logsource(need(document, "logsource")?)?,
        selections,
        condition,
    })
}

/// Documents of the Sigma family that are not rules.
fn refuse_other_kinds(document: &Node) -> Result<(), At> {
    let kinds = [("filter", "filters"), ("action", "global, reset and repeat documents of old Sigma")];
    for (key, kind) in kinds {
        if let Some(node) = document.get(key) {
            return Err(Reason::Unsupported { kind }.at(node.line));
        }
    }
    Ok(())
}

pub(super) fn need<'d>(document: &'d Node, field: &'static str) -> Result<&'d Node, At> {
    document.get(field).ok_or_else(|| Reason::Missing { field }.at(document.line))
}

pub(super) fn need_text<'d>(document: &'d Node, field: &'static str) -> Result<&'d str, At> {
    let node = need(document, field)?;
    node.text().ok_or_else(|| wrong_type(field, "text", node))
}

pub(super) fn wrong_type(field: &str, wanted: &'static str, node: &Node) -> At {
    Reason::WrongType { field: field.to_owned(), wanted, found: node.kind() }.at(node.line)
}

pub(super) fn id(document: &Node) -> Result<String, At> {
    let text = need_text(document, "id")?;
    let is_printable = text.chars().all(|character| character.is_ascii_graphic());
    if text.is_empty() || text.len() > ID_CHARACTERS_MAX || !is_printable {
        let line = document.get("id").map_or(document.line, |node| node.line);
        return Err(Reason::BadId { id: text.to_owned() }.at(line));
    }
    Ok(text.to_owned())
}

pub(super) fn title(document: &Node) -> Result<String, At> {
    let text = need_text(document, "title")?.trim();
    let at = |reason: Reason| reason.at(document.get("title").map_or(document.line, |node| node.line));
    if text.is_empty() {
        return Err(at(Reason::Missing { field: "title" }));
    }
    if !text.chars().all(is_plain) {
        return Err(at(Reason::NotPlain { field: "title", text: text.to_owned() }));
    }
    Ok(text.to_owned())
}

pub(super) fn level(document: &Node) -> Result<Option<Level>, At> {
    let Some(node) = document.get("level") else { return Ok(None) };
    match node.text().ok_or_else(|| wrong_type("level", "text", node))? {
        "informational" => Ok(Some(Level::Informational)),
        "low" => Ok(Some(Level::Low)),
        "medium" => Ok(Some(Level::Medium)),
        "high" => Ok(Some(Level::High)),
        "critical" => Ok(Some(Level::Critical)),
        other => Err(Reason::UnknownLevel { level: other.to_owned() }.at(node.line)),
    }
}

/// Licences of rules ask that it is named with every hit. Nobody reads more into it, so nothing is refused for it.
pub(super) fn author(document: &Node) -> Option<String> {
    let node = document.get("author")?;
    let names: Vec<&str> = match &node.content {
        Content::List(items) => items.iter().filter_map(Node::text).collect(),
        _ => node.text().into_iter().collect(),
    };
    (!names.is_empty()).then(|| names.join(", "))
}

pub(super) fn tags(document: &Node) -> Result<Vec<String>, At> {
    let Some(node) = document.get("tags") else { return Ok(Vec::new()) };
    let text = |item: &Node| item.text().map(str::to_owned).ok_or_else(|| wrong_type("tags", "a list of texts", item));
    match &node.content {
        Content::Null => Ok(Vec::new()),
        Content::List(items) => items.iter().map(text).collect(),
        _ => Ok(vec![text(node)?]),
    }
}

pub(super) fn logsource(node: &Node) -> Result<LogSource, At> {
    let entries = node.map().ok_or_else(|| wrong_type("logsource", "a mapping", node))?;
    let mut logsource = LogSource::default();
    for (key, value) in entries {
        let part = match key.text.as_str() {
            "category" => &mut logsource.category,
            "product" => &mut logsource.product,
            "service" => &mut logsource.service,
            "definition" => continue,
            other => return Err(Reason::UnknownLogsourceKey { key: other.to_owned() }.at(key.line)),
        };
        let text = value.text().ok_or_else(|| wrong_type(&format!("logsource {}", key.text), "text", value))?;
        *part = Some(text.to_owned());
    }
    if logsource == LogSource::default() {
        return Err(Reason::EmptyLogsource.at(node.line));
    }
    Ok(logsource)
}

pub(super) fn detection(node: &Node) -> Result<(Vec<Selection>, Expr), At> {
    let entries = node.map().ok_or_else(|| wrong_type("detection", "a mapping", node))?;
    let mut selections = Vec::new();
    for (key, value) in entries {
        match key.text.as_str() {
            "condition" => {}
            "timeframe" => {
                let mend = "it only has a meaning for aggregations; write a correlation document instead";
                return Err(Reason::UnsupportedDetectionKey { key: key.text.clone(), mend }.at(key.line));
            }
            name => selections.push(Selection { name: name.to_owned(), body: detection::selection(name, value)? }),
        }
    }
    let conditions = node.get("condition").ok_or_else(|| Reason::Missing { field: "condition" }.at(node.line))?;
    let names: Vec<&str> = selections.iter().map(|selection| selection.name.as_str()).collect();
    let one = |node: &Node| {
        let text = node.text().ok_or_else(|| wrong_type("condition", "text or a list of texts", node))?;
        condition::parse(text, &names).map_err(|reason| reason.at(node.line))
    };
    let condition = match &conditions.content {
        Content::List(items) if items.is_empty() => {
            return Err(wrong_type("condition", "text or a list of texts that is not empty", conditions));
        }
        Content::List(items) => Expr::Any(items.iter().map(one).collect::<Result<_, _>>()?),
        _ => one(conditions)?,
    };
    Ok((selections, condition))
}
