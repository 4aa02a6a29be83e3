//! YAML as a tree whose nodes know where they stand, so that every complaint can point there.
//!
//! Scalars keep the text as written and whether it was quoted: `"9389"` and `9389` mean the same to the matcher, but `null`
//! and `"null"` do not. Plain scalars are read by the YAML 1.2 core schema: `yes` and `no` are text.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::place::Span;
use super::rejection::{At, Reason};

/// Deepest nesting. Rules need six.
const DEPTH_MAX: usize = 32;

/// Most nodes in a file, those that aliases repeat included: a few letters of YAML can otherwise stand for gigabytes.
const NODES_MAX: usize = 200_000;

/// A YAML node and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) span: Span,
    /// Of a scalar: without its quotes.
    pub(crate) inner: Span,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64, String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) span: Span,
    inner: Span,
    pub(crate) text: String,
}

impl Key {
    /// A reason about this key; at the part of it that it names.
    pub(crate) fn at(&self, reason: Reason) -> At {
        reason.within(self.inner, &self.text, true)
    }
}

impl Node {
    /// What a reader would call it.
    pub(crate) fn kind(&self) -> &'static str {
        match self.content {
            Content::Null => "null",
            Content::Bool(_) => "a truth value",
            Content::Int(_) | Content::Real(..) => "a number",
            Content::Text(_) => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }

    /// A reason about this node; of text, at the part of it that the reason names.
    pub(crate) fn at(&self, reason: Reason) -> At {
        match self.text() {
            Some(text) if !reason.part().is_empty() => reason.within(self.inner, text, false),
            _ => reason.at(self.span),
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn map(&self) -> Option<&[(Key, Node)]> {
        match &self.content {
            Content::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.map()?.iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
    }

    fn size(&self) -> usize {
        let inner = match &self.content {
            Content::List(items) => items.iter().map(Self::size).sum(),
            Content::Map(entries) => entries.iter().map(|(_, node)| node.size().saturating_add(1)).sum(),
            _ => 0_usize,
        };
        inner.saturating_add(1)
    }
}

/// A collection whose end has not come yet.
enum Open {
    List { span: Span, anchor: usize, items: Vec<Node> },
    Map { span: Span, anchor: usize, entries: Vec<(Key, Node)>, key: Option<Key> },
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    documents: Vec<Node>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// The documents of a file. Documents that hold nothing (after a last `---`) are left out.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, At> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        let (event, span) = event.map_err(|error| {
            let at = error.marker();
            let place = Span::of(at.line().max(1), at.col().saturating_add(1), 1);
            Reason::Yaml { what: error.info().to_owned() }.at(place)
        })?;
        reader.accept(event, span.into())?;
    }
    reader.documents.retain(|document| document.content != Content::Null);
    Ok(reader.documents)
}

impl Reader {
    fn accept(&mut self, event: Event<'_>, span: Span) -> Result<(), At> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_forced_text = tag.as_ref().is_some_and(|tag| tag.suffix == "str");
                let content = if style == ScalarStyle::Plain && !is_forced_text {
                    plain(&text)
                } else {
                    Content::Text(text.into_owned())
                };
                let is_quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
                let inner = if is_quoted { without_quotes(span) } else { span };
                self.place(Node { line: span.line, span, inner, content }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.descend(Open::List { span, anchor, items: Vec::new() }, span),
            Event::MappingStart(anchor, _) => {
                self.descend(Open::Map { span, anchor, entries: Vec::new(), key: None }, span)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { span, anchor, items }) => {
                    self.place(Node { line: span.line, span, inner: span, content: Content::List(items) }, anchor)
                }
                Some(Open::Map { span, anchor, entries, .. }) => {
                    self.place(Node { line: span.line, span, inner: span, content: Content::Map(entries) }, anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().ok_or_else(|| {
                    Reason::Yaml { what: "an alias refers to what is not finished or not there".to_owned() }.at(span)
                })?;
                self.count(node.size(), span)?;
                self.place(node, 0)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn descend(&mut self, open: Open, span: Span) -> Result<(), At> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Reason::TooLarge { what: "levels of nesting", limit: DEPTH_MAX }.at(span));
        }
        self.open.push(open);
        Ok(())
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), At> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return Err(Reason::TooLarge { what: "YAML nodes", limit: NODES_MAX }.at(span));
        }
        Ok(())
    }

    /// Puts a finished node where it belongs: into the open collection, or among the documents.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), At> {
        self.count(1, node.span)?;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
            self.count(node.size(), node.span)?;
        }
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let fresh = Key { line: node.line, span: node.span, inner: node.inner, text: key_text(&node)? };
                    if fresh.text == "<<" {
                        let what = "merge keys (<<) are not supported: write out what they would merge".to_owned();
                        return Err(Reason::Yaml { what }.at(fresh.span));
                    }
                    if entries.iter().any(|(known, _)| known.text == fresh.text) {
                        return Err(Reason::DuplicateKey { key: fresh.text }.at(fresh.span));
                    }
                    *key = Some(fresh);
                }
            },
        }
        Ok(())
    }
}

fn key_text(node: &Node) -> Result<String, At> {
    match &node.content {
        Content::Text(text) | Content::Real(_, text) => Ok(text.clone()),
        Content::Int(number) => Ok(number.to_string()),
        Content::Bool(truth) => Ok(truth.to_string()),
        Content::Null => Ok("null".to_owned()),
        Content::List(_) | Content::Map(_) => {
            Err(Reason::Yaml { what: format!("{} can't be a key", node.kind()) }.at(node.span))
        }
    }
}

fn without_quotes(span: Span) -> Span {
    let width = span.end_column.saturating_sub(span.column);
    if span.line == span.end_line && width >= 2 {
        span.part(1..width.saturating_sub(1))
    } else {
        span
    }
}

/// A plain scalar by the core schema.
fn plain(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" => return Content::Bool(true),
        "false" | "False" | "FALSE" => return Content::Bool(false),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return Content::Int(number);
    }
    let looks_real = text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse::<f64>() {
        Ok(number) if looks_real && number.is_finite() => Content::Real(number, text.to_owned()),
        _ => Content::Text(text.to_owned()),
    }
}

fn integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).ok();
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_lines_and_scalars_their_kind() {
        let documents =
            read("a: 1\nb:\n  - null\n  - 'null'\n  - 0x10\n  - yes\n  - 1.5\n---\nc: true\n---\n").expect("yaml");
        assert_eq!(documents.len(), 2);
        let list = documents[0].get("b").expect("b");
        let Content::List(items) = &list.content else { panic!("not a list") };
        let kinds: Vec<&Content> = items.iter().map(|item| &item.content).collect();
        assert_eq!(
            kinds,
            [
                &Content::Null,
                &Content::Text("null".into()),
                &Content::Int(16),
                &Content::Text("yes".into()),
                &Content::Real(1.5, "1.5".into())
            ]
        );
        assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
        assert_eq!(documents[1].get("c").map(|node| node.line), Some(9));
    }

    #[test]
    fn nodes_and_keys_know_their_columns_and_texts_where_they_begin_within_quotes() {
        let documents = read("key|x:  'quoted'\nother: plain text # comment\n").expect("yaml");
        let map = documents[0].map().expect("a mapping");
        assert_eq!(map[0].0.span, Span::of(1, 1, 5));
        assert_eq!((map[0].1.span, map[0].1.inner), (Span::of(1, 9, 8), Span::of(1, 10, 6)));
        assert_eq!((map[1].1.span, map[1].1.inner), (Span::of(2, 8, 10), Span::of(2, 8, 10)));
    }

    #[test]
    fn a_key_given_twice_is_refused_at_its_line() {
        assert_eq!(read("a: 1\nb: 2\na: 3\n").expect_err("twice").span, Span::of(3, 1, 1));
    }

    #[test]
    fn a_merge_key_is_refused_by_its_name() {
        let refused = read("a: &a {x: 1}\nb:\n  <<: *a\n").expect_err("a merge key");
        assert_eq!(refused.span.line, 3);
        assert!(refused.reason.to_string().contains("merge keys (<<)"), "{}", refused.reason);
    }

    #[test]
    fn an_alias_bomb_is_refused_before_it_expands() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
        }
        assert!(matches!(read(&bomb), Err(At { reason: Reason::TooLarge { .. }, .. })));
    }

    #[test]
    fn text_that_is_not_yaml_is_refused_with_a_line() {
        let refused = read("a: 1\nb: [1, 2\nc: 3\n").expect_err("not yaml");
        assert!(refused.span.line >= 2, "{refused:?}");
    }
}
