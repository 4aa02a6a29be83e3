//! A YAML document to a rule, a correlation, or an exception from rules.

use crate::rule::{Correlation, Expr, FieldUse, Level, LogSource, Rule, Selection};

use watertight_engine::image::is_plain;

use super::exception::{self, Exception};
use super::reason::did_you_mean;
use super::rejection::{At, Kind, Reason, Rejection};
use super::yaml::{read, Content, Node};
use super::Span;
use super::{condition, correlation, detection, response};

/// Longest identifier. A UUID has 36 characters.
const ID_CHARACTERS_MAX: usize = 128;

/// Levels as rules write them.
const LEVELS: [&str; 5] = ["informational", "low", "medium", "high", "critical"];

/// Keys of a log source.
const LOGSOURCE_KEYS: [&str; 4] = ["category", "product", "service", "definition"];

/// What a document says.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// A rule.
    Rule(Box<Rule>),
    /// A filter, or an exception of ours.
    Exception(Box<Exception>),
    /// A correlation, whose rules are not looked up yet.
    Correlation(Box<Correlation>),
}

/// A document and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What it says.
    pub document: Document,
    /// The name that correlations may call it by.
    pub name: Option<String>,
    /// The line, from 1.
    pub line: usize,
    /// Where its id stands.
    pub id_span: Span,
}

/// Reads every document of a file; `file` names it in refusals. A refused document does not keep its neighbours from being
/// read; a file that is not YAML is refused whole.
#[must_use]
pub fn parse(file: &str, text: &str) -> Vec<Result<Parsed, Box<Rejection>>> {
    let refuse = |kind: Kind, rule: Option<String>, at: At| Box::new(Rejection::new(kind, rule, file, text, at));
    match read(text) {
        Err(at) => vec![Err(refuse(Kind::Rule, None, at))],
        Ok(documents) if documents.is_empty() => vec![Err(refuse(Kind::Rule, None, Reason::NoDocument {}.at(1)))],
        Ok(documents) => documents
            .iter()
            .map(|document| {
                let id_span = document.get("id").map_or(document.span, |id| id.span);
                let parsed = one(document).and_then(|what| {
                    Ok(Parsed { document: what, name: name(document)?, line: document.line, id_span })
                });
                parsed.map_err(|at| refuse(kind_of(document), id_if_any(document), at))
            })
            .collect(),
    }
}

fn id_if_any(document: &Node) -> Option<String> {
    document.get("id").and_then(Node::text).map(str::to_owned)
}

fn kind_of(document: &Node) -> Kind {
    if exception::KEYS.iter().any(|key| document.get(key).is_some()) {
        Kind::Exception
    } else if document.get("correlation").is_some() {
        Kind::Correlation
    } else {
        Kind::Rule
    }
}

fn one(document: &Node) -> Result<Document, At> {
    if document.map().is_none() {
        return Err(document.at(Reason::NotAMapping { found: document.kind() }));
    }
    refuse_other_kinds(document)?;
    match kind_of(document) {
        Kind::Exception => Ok(Document::Exception(Box::new(exception::read(document)?))),
        Kind::Correlation => Ok(Document::Correlation(Box::new(correlation::read(document)?))),
        Kind::Rule => Ok(Document::Rule(Box::new(rule(document)?))),
    }
}

/// What correlations may call it by.
fn name(document: &Node) -> Result<Option<String>, At> {
    let Some(node) = document.get("name") else { return Ok(None) };
    let text = node.text().ok_or_else(|| wrong_type("name", "text", node))?;
    if !text.chars().all(is_plain) {
        return Err(node.at(Reason::NotPlain { field: "name", text: text.to_owned() }));
    }
    Ok(Some(text.to_owned()))
}

fn rule(document: &Node) -> Result<Rule, At> {
    let Detection { selections, condition, uses } = detection(need(document, "detection")?, &[])?;
    Ok(Rule {
        id: id(document)?,
        title: title(document)?,
        level: level(document)?,
        tags: tags(document)?,
        author: author(document),
        logsource: logsource(need(document, "logsource")?)?,
        selections,
        condition,
        response: response::read(document)?,
        uses,
    })
}

/// Documents of the Sigma family that are not rules.
fn refuse_other_kinds(document: &Node) -> Result<(), At> {
    match document.get("action") {
        Some(node) if response::is_of_old_sigma(node) => {
            Err(node.at(Reason::Unsupported { kind: "global, reset and repeat documents of old Sigma" }))
        }
        _ => Ok(()),
    }
}

pub(super) fn need<'d>(document: &'d Node, field: &'static str) -> Result<&'d Node, At> {
    document.get(field).ok_or_else(|| Reason::Missing { field }.at(document.span))
}

fn need_text<'d>(document: &'d Node, field: &'static str) -> Result<&'d str, At> {
    let node = need(document, field)?;
    node.text().ok_or_else(|| wrong_type(field, "text", node))
}

pub(super) fn wrong_type(field: &str, wanted: &'static str, node: &Node) -> At {
    node.at(Reason::WrongType { field: field.to_owned(), wanted, found: node.kind() })
}

pub(super) fn id(document: &Node) -> Result<String, At> {
    let text = need_text(document, "id")?;
    // Behind # stands the name of a stage.
    let is_printable = text.chars().all(|character| character.is_ascii_graphic() && character != '#');
    if text.is_empty() || text.len() > ID_CHARACTERS_MAX || !is_printable {
        return Err(document.get("id").unwrap_or(document).at(Reason::BadId { id: text.to_owned() }));
    }
    Ok(text.to_owned())
}

pub(super) fn title(document: &Node) -> Result<String, At> {
    let text = need_text(document, "title")?.trim();
    let at = |reason: Reason| document.get("title").unwrap_or(document).at(reason);
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
        other => {
            let mend = did_you_mean(other, LEVELS, format!("use {}", LEVELS.join(", ")));
            Err(node.at(Reason::UnknownLevel { level: other.to_owned(), mend }))
        }
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
            other => {
                let mend = did_you_mean(other, LOGSOURCE_KEYS, format!("use {}", LOGSOURCE_KEYS.join(", ")));
                return Err(key.at(Reason::UnknownLogsourceKey { key: other.to_owned(), mend }));
            }
        };
        let text = value.text().ok_or_else(|| wrong_type(&format!("logsource {}", key.text), "text", value))?;
        *part = Some(text.to_owned());
    }
    if logsource == LogSource::default() {
        return Err(node.at(Reason::EmptyLogsource {}));
    }
    Ok(logsource)
}

/// Selections with the condition over them, and where each field is asked for.
pub(super) struct Detection {
    pub(super) selections: Vec<Selection>,
    pub(super) condition: Expr,
    pub(super) uses: Vec<FieldUse>,
}

/// Reads selections and the condition over them; the keys in `beside` are somebody else's.
pub(super) fn detection(node: &Node, beside: &[&str]) -> Result<Detection, At> {
    let entries = node.map().ok_or_else(|| wrong_type("detection", "a mapping", node))?;
    let (mut selections, mut uses) = (Vec::new(), Vec::new());
    for (key, value) in entries {
        match key.text.as_str() {
            "condition" => {}
            other if beside.contains(&other) => {}
            "timeframe" => {
                let mend = "it only has a meaning for aggregations; write a correlation document instead";
                return Err(key.at(Reason::UnsupportedDetectionKey { key: key.text.clone(), mend }));
            }
            name => {
                selections.push(Selection { name: name.to_owned(), body: detection::selection(name, value)? });
                detection::uses(value, &mut uses);
            }
        }
    }
    let conditions = node.get("condition").ok_or_else(|| Reason::Missing { field: "condition" }.at(node.span))?;
    let names: Vec<&str> = selections.iter().map(|selection| selection.name.as_str()).collect();
    let one = |node: &Node| {
        let text = node.text().ok_or_else(|| wrong_type("condition", "text or a list of texts", node))?;
        condition::parse(text, &names).map_err(|reason| node.at(reason))
    };
    let condition = match &conditions.content {
        Content::List(items) if items.is_empty() => {
            return Err(wrong_type("condition", "text or a list of texts that is not empty", conditions));
        }
        Content::List(items) => Expr::Any(items.iter().map(one).collect::<Result<_, _>>()?),
        _ => one(conditions)?,
    };
    Ok(Detection { selections, condition, uses })
}
