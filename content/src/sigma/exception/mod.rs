//! What is left out of rules without a change to them: filters as Sigma has them, and exceptions of ours in the same style.
//!
//! Both name rules, and events by selections and a condition. A filter may name all rules (`any`); an exception names rules by their
//! ids. Sigma's specification writes a filter's condition as what is left out (`selection`), the tools that came first as what stays
//! (`not selection`). Both are read, and tell themselves apart: whatever is written, an event that fits no selection stays.

mod apply;
mod logic;
mod usage;

use crate::rule::{Expr, FieldUse, LogSource, Selection};

use super::document::{detection, id, logsource, need, title, wrong_type, Detection};
use super::place::Span;
use super::rejection::{At, Reason};
use super::yaml::{Content, Node};

pub(super) use apply::in_words;
pub use apply::{apply, Applied, Finding, FoundIn};
pub use usage::{Usage, UsageRow};

/// The keys that make a document one of these.
pub(super) const KEYS: [&str; 2] = ["filter", "exception"];

/// A filter or an exception.
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// Its id; where a filter has none, its title.
    pub id: String,
    /// What it is for.
    pub title: String,
    /// `filter` or `exception`.
    pub word: &'static str,
    /// The rules that it is for.
    pub targets: Targets,
    /// If set: rules of this log source alone.
    pub logsource: Option<LogSource>,
    /// Named parts that `excluded` refers to by position.
    pub selections: Vec<Selection>,
    /// True of the events that are left out.
    pub excluded: Expr,
    /// Where it asks for fields.
    pub uses: Vec<FieldUse>,
}

/// The rules that an exception is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// All of its log source.
    Any,
    /// Those with these ids or names, and where each is named.
    Named(Vec<(String, Span)>),
}

/// Reads a document that has one of the keys.
pub(super) fn read(document: &Node) -> Result<Exception, At> {
    let is_filter = document.get("filter").is_some();
    let word = if is_filter { "filter" } else { "exception" };
    let body = need(document, word)?;
    if body.map().is_none() {
        return Err(wrong_type(word, "a mapping with rules, selections and a condition", body));
    }
    let title = title(document)?;
    // Sigma lets a filter be without id.
    let id = if is_filter && document.get("id").is_none() { title.clone() } else { id(document)? };
    let targets = targets(need(body, "rules")?, is_filter)?;
    let logsource = match document.get("logsource") {
        Some(node) => Some(logsource(node)?),
        None if is_filter => return Err(Reason::Missing { field: "logsource" }.at(document.span)),
        None => None,
    };
    let Detection { selections, condition, uses } = detection(body, &["rules"])?;
    let is_of_nothing = logic::with_selections(&condition, false);
    let excluded = match (is_of_nothing, is_filter) {
        (false, _) => condition,
        (true, true) => Expr::Not(Box::new(condition)),
        (true, false) => {
            let node = body.get("condition").unwrap_or(body);
            return Err(node.at(Reason::ExceptsAnything { kind: word }));
        }
    };
    Ok(Exception { id, title, word, targets, logsource, selections, excluded, uses })
}

fn targets(node: &Node, is_filter: bool) -> Result<Targets, At> {
    let one = |item: &Node| {
        let text = item.text().ok_or_else(|| wrong_type("rules", "a list of the ids or names of rules", item))?;
        Ok((text.to_owned(), item.span))
    };
    let none = || node.at(Reason::NoTarget { field: "rules".to_owned() });
    match &node.content {
        Content::Text(text) if text == "any" && is_filter => Ok(Targets::Any),
        Content::Null => Err(none()),
        Content::Text(text) if text == "any" => Err(none()),
        Content::List(items) if items.is_empty() => Err(none()),
        Content::List(items) => Ok(Targets::Named(items.iter().map(one).collect::<Result<_, _>>()?)),
        _ => Ok(Targets::Named(vec![one(node)?])),
    }
}
