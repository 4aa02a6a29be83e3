//! Why a rule fired: which selections, and which values satisfied which of their questions.
//!
//! The slow sibling of evaluation, run for hits only. It walks the same nodes and asks the same predicates, so it can't
//! disagree with the verdict it explains.

use crate::matcher::Matcher;
use crate::ruleset::{Node, Target};
use crate::scratch::{write_text, Scratch, Seen};
use crate::{Field, Fields, Ruleset, Value};

/// Most bytes of a value that an explanation repeats.
const VALUE_BYTES_MAX: usize = 512;

/// Most matches that an explanation lists for one selection. Enough for a reader; a list-of-hashes rule has thousands.
const MATCHES_MAX: usize = 32;

/// Why a rule fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The selections that had to be true and were, in the order of the condition.
    pub selections: Vec<SelectionMatch>,
    /// Selections that had to be false and were: `not filter`.
    pub excluded: Vec<String>,
}

/// A selection that was true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectionMatch {
    /// Its name in the rule.
    pub name: String,
    /// What made it true.
    pub matches: Vec<FieldMatch>,
}

/// A value that satisfied a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMatch {
    /// The field's name.
    pub field: String,
    /// The value, cut to a readable length; empty when the field is absent or null.
    pub value: String,
    /// The question as the rule's author wrote it.
    pub pattern: String,
}

impl Explanation {
    pub(crate) fn of(ruleset: &Ruleset, rule: u32, event: &dyn Fields, scratch: &mut Scratch) -> Option<Self> {
        let entry = ruleset.entry(rule)?;
        if !ruleset.is_true(entry.root, event, scratch) {
            return None;
        }
        let mut explanation = Self { selections: Vec::new(), excluded: Vec::new() };
        let mut walk = Walk { ruleset, event, scratch };
        walk.condition(entry.root, true, &mut explanation, &entry.rule.selections);
        Some(explanation)
    }
}

struct Walk<'w> {
    ruleset: &'w Ruleset,
    event: &'w dyn Fields,
    scratch: &'w mut Scratch,
}

impl Walk<'_> {
    /// Collects what made the condition come out as `wanted`.
    fn condition(&mut self, node: u32, wanted: bool, into: &mut Explanation, selections: &[crate::rule::Selection]) {
        if self.ruleset.is_true(node, self.event, self.scratch) != wanted {
            return;
        }
        match self.ruleset.node(node) {
            None => {}
            Some(Node::All(children) | Node::Any(children)) => {
                for child in children {
                    self.condition(*child, wanted, into, selections);
                }
            }
            Some(Node::Not(child)) => self.condition(*child, !wanted, into, selections),
            Some(Node::Selection { index, body }) => {
                let name = selections.get(*index).map(|selection| selection.name.clone()).unwrap_or_default();
                if !wanted {
                    into.excluded.push(name);
                    return;
                }
                let mut matches = Vec::new();
                self.matches(*body, &mut matches);
                into.selections.push(SelectionMatch { name, matches });
            }
            Some(Node::Is(_)) => {}
        }
    }

    /// Collects the predicates that are true below a node that is true. What a negation is made of is not listed.
    fn matches(&mut self, node: u32, matches: &mut Vec<FieldMatch>) {
        if matches.len() >= MATCHES_MAX || !self.ruleset.is_true(node, self.event, self.scratch) {
            return;
        }
        match self.ruleset.node(node) {
            Some(Node::All(children) | Node::Any(children)) => {
                for child in children {
                    self.matches(*child, matches);
                }
            }
            Some(Node::Selection { body, .. }) => self.matches(*body, matches),
            Some(Node::Is(predicate)) => matches.extend(self.field_match(*predicate)),
            Some(Node::Not(_)) | None => {}
        }
    }

    fn field_match(&mut self, predicate: u32) -> Option<FieldMatch> {
        let ready = self.ruleset.predicate(predicate)?;
        let (field, value) = match ready.target {
            Target::Slot(slot) => {
                self.ruleset.load(slot, &ready.matcher, self.event, self.scratch);
                let name = self.ruleset.field(slot).map(|Field { name, .. }| name.to_owned())?;
                let fitting = self.scratch.seen(slot).find(|seen| ready.matcher.fits(*seen));
                let shown = fitting.or_else(|| self.scratch.seen(slot).next());
                (name, shown.and_then(|seen| seen.raw).map(readable).unwrap_or_default())
            }
            Target::AnyField => self.keyword_match(&ready.matcher)?,
        };
        Some(FieldMatch { field, value, pattern: ready.source.clone() })
    }

    fn keyword_match(&self, matcher: &Matcher) -> Option<(String, String)> {
        let mut found = None;
        self.event.all(&mut |_, name, value| {
            if found.is_some() || value == Value::Null {
                return;
            }
            let mut raw = Vec::new();
            write_text(value, &mut raw);
            let folded = crate::fold_text(&raw);
            if matcher.fits(Seen { value, raw: Some(&raw), folded: Some(&folded) }) {
                found = Some((name.to_owned(), readable(&raw)));
            }
        });
        found
    }
}

fn readable(text: &[u8]) -> String {
    let cut = text.get(..VALUE_BYTES_MAX).unwrap_or(text);
    String::from_utf8_lossy(cut).into_owned()
}
