//! YAML as a tree whose nodes know where they stand.
//!
//! Only what a policy needs: one document of mappings, lists and scalars. Aliases, anchors, tags and merge keys are refused,
//! because what they hide from a reader's eye would be enforced. Without aliases a file can't unfold to more than itself.

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::problem::{quoted, Place, Problems, START};

/// Deepest nesting. A policy needs five: file, rules, rule, match or on, item.
const DEPTH_MAX: usize = 16;

/// A node and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// The text as it is written; a plain one has no quotes.
    Scalar {
        text: String,
        is_plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something that was refused already: nothing more is to be said of it.
    Refused,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

impl Node {
    /// What a reader would call it.
    pub(super) fn kind(&self) -> &'static str {
        match &self.content {
            Content::Scalar { .. } if self.is_null() => "nothing",
            Content::Scalar { .. } => "text or a number",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
            Content::Refused => "refused",
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self.content, Content::Refused)
    }

    /// Whether nothing is written here, or one of YAML's words for it.
    pub(super) fn is_null(&self) -> bool {
        let Content::Scalar { text, is_plain: true } = &self.content else { return false };
        matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

/// The only document of the file, or `None` when there is none that can be read.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    let mut reader = Reader { open: Vec::new(), documents: 0, root: None, problems };
    for event in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        match event {
            Ok((event, span)) => reader.accept(event, place_of(span)),
            Err(error) => {
                let marker = error.marker();
                let place = Place { line: marker.line().max(1), column: marker.col().saturating_add(1), width: 1 };
                reader.problems.add(
                    place,
                    format!("the file is not YAML: {}", error.info()),
                    "the reader could not go on here",
                    "look here and at the line above for a missing quote, bracket, colon or indentation",
                );
                return None;
            }
        }
        if reader.open.len() > DEPTH_MAX {
            return None;
        }
    }
    if reader.documents == 0 {
        problems.add(START, "the file is empty", "no policy here", "begin with `version: 1` and `rules: []`");
        return None;
    }
    reader.root
}

/// Width is told only of what stands in one line.
fn place_of(span: Span) -> Place {
    let is_one_line = span.start.line() == span.end.line();
    let width = if is_one_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    Place { line: span.start.line().max(1), column: span.start.col().saturating_add(1), width: width.max(1) }
}

/// A collection whose end has not come yet.
enum Open {
    List { place: Place, items: Vec<Node> },
    Map { place: Place, entries: Vec<Entry>, key: Option<(String, Place)>, keys: HashSet<String> },
}

struct Reader<'p> {
    open: Vec<Open>,
    documents: usize,
    root: Option<Node>,
    problems: &'p mut Problems,
}

impl Reader<'_> {
    fn accept(&mut self, event: Event<'_>, place: Place) {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain;
                let content = Content::Scalar { text: text.into_owned(), is_plain };
                let is_refused = self.refuse_extras(anchor, tag.is_some(), place);
                self.place(Node { place, content: if is_refused { Content::Refused } else { content } });
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), place);
                self.descend(Open::List { place, items: Vec::new() }, place);
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), place);
                self.descend(Open::Map { place, entries: Vec::new(), key: None, keys: HashSet::new() }, place);
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { place, items }) => self.place(Node { place, content: Content::List(items) }),
                Some(Open::Map { place, entries, .. }) => self.place(Node { place, content: Content::Map(entries) }),
                None => {}
            },
            Event::Alias(_) => {
                self.problems.add(
                    place,
                    "aliases are refused in a policy",
                    "an alias",
                    "write the value out, so that everybody sees what is denied",
                );
                self.place(Node { place, content: Content::Refused });
            }
            Event::DocumentStart(_) => {
                self.documents = self.documents.saturating_add(1);
                if self.documents == 2 {
                    self.problems.add(
                        place,
                        "the file has a second document, which would not be in force",
                        "begins here",
                        "put all rules under one `rules:`, or into a file of their own",
                    );
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }

    fn refuse_extras(&mut self, anchor: usize, has_tag: bool, place: Place) -> bool {
        if anchor != 0 {
            self.problems.add(place, "anchors are refused in a policy", "has an anchor", "remove the `&name`");
        }
        if has_tag {
            self.problems.add(place, "tags are refused in a policy", "has a tag", "remove the `!name`");
        }
        anchor != 0 || has_tag
    }

    fn descend(&mut self, open: Open, place: Place) {
        self.open.push(open);
        if self.open.len() > DEPTH_MAX {
            self.problems.add(
                place,
                format!("the file nests deeper than {DEPTH_MAX} levels"),
                "one level too many",
                "a policy needs five: look for brackets that are not closed",
            );
        }
    }

    /// Puts a finished node where it belongs: into the open collection, or at the root.
    fn place(&mut self, node: Node) {
        match self.open.last_mut() {
            None if self.documents == 1 => self.root = Some(node),
            None => {}
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, keys, .. }) => match key.take() {
                Some((text, place)) => {
                    if keys.insert(text.clone()) {
                        entries.push(Entry { key: text, place, value: node });
                    }
                }
                None => *key = Some(key_text(&node, keys, self.problems)),
            },
        }
    }
}

/// A key's text. One that is not text gets a name that no key has, after it was told.
fn key_text(node: &Node, known: &HashSet<String>, problems: &mut Problems) -> (String, Place) {
    let text = match &node.content {
        Content::Scalar { text, .. } => text.clone(),
        _ => {
            if !node.is_refused() {
                problems.add(node.place, format!("{} can't be a key", node.kind()), "not text", "write a name");
            }
            String::new()
        }
    };
    if known.contains(&text) && !text.is_empty() {
        problems.add(
            node.place,
            format!("the key {} is there twice", quoted(&text)),
            "the second time",
            "keep one of them: a reader would believe either",
        );
    }
    (text, node.place)
}
