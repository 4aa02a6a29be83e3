//! Rules made ready to run: field names become slots, predicates that several rules share become one, conditions become a
//! flat list of nodes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::matcher::Matcher;
use crate::plan::Plan;
use crate::regex::RegexError;
use crate::rule::{Expr, LogSource, Op, Predicate, Rule};
use crate::scratch::Scratch;
use crate::witness::Witness;
use crate::{Field, Fields};

/// Deepest nesting of a condition. People write five; evaluation recurses this far and no further.
pub const CONDITION_DEPTH_MAX: usize = 64;

/// Most distinct fields in a ruleset: what a slot number can count.
const FIELDS_MAX: usize = u16::MAX as usize;

/// Why rules can't be made ready. The whole ruleset is refused, so that no rule is missing in silence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// An expression is not acceptable.
    #[error("rule {rule}: {error}")]
    Regex {
        /// The rule's id.
        rule: String,
        /// What is wrong with the expression.
        error: RegexError,
    },
    /// A condition nests deeper than evaluation goes.
    #[error("rule {rule}: its condition nests deeper than {CONDITION_DEPTH_MAX}: split the rule")]
    TooDeep {
        /// The rule's id.
        rule: String,
    },
    /// A selection is referred to that does not exist, or from within a selection.
    #[error("rule {rule}: refers to selection {selection}, which is not there to refer to: the content is damaged")]
    NoSelection {
        /// The rule's id.
        rule: String,
        /// The position referred to.
        selection: usize,
    },
    /// There are more distinct fields, predicates or nodes than can be counted.
    #[error("rule {rule}: the ruleset has more fields or predicates than the engine counts: split the ruleset")]
    TooMany {
        /// The rule at which the limit was reached.
        rule: String,
    },
}

/// Where a predicate looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Slot(u16),
    AnyField,
}

#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) target: Target,
    pub(crate) matcher: Matcher,
    pub(crate) source: String,
}

#[derive(Debug)]
pub(crate) enum Node {
    All(Vec<u32>),
    Any(Vec<u32>),
    Not(u32),
    Selection { index: usize, body: u32 },
    Is(u32),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) rule: Rule,
    pub(crate) root: u32,
    pub(crate) witness: Option<Witness>,
}

/// Rules ready to run.
#[derive(Debug, Default)]
pub struct Ruleset {
    fields: Vec<String>,
    predicates: Vec<Ready>,
    nodes: Vec<Node>,
    entries: Vec<Entry>,
}

impl Ruleset {
    /// Makes the rules ready.
    ///
    /// # Errors
    /// When a rule is one that the engine can't evaluate; content compiled by `watertight-content` has none.
    pub fn build(rules: impl IntoIterator<Item = Rule>) -> Result<Arc<Self>, BuildError> {
        let mut builder = Builder::default();
        for rule in rules {
            builder.add(rule)?;
        }
        Ok(Arc::new(builder.ruleset))
    }

    /// The names of all fields that rules ask for, by slot. An event prepared for this ruleset answers by slot.
    #[must_use]
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// The rules, in the order given; a hit is a position in it.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.entries.iter().map(|entry| &entry.rule)
    }

    /// The rule at this position.
    #[must_use]
    pub fn rule(&self, position: u32) -> Option<&Rule> {
        self.entry(position).map(|entry| &entry.rule)
    }

    /// The rules that apply to events of this log source, indexed. Made once per log source, not per event.
    #[must_use]
    pub fn plan(self: &Arc<Self>, logsource: &LogSource) -> Plan {
        Plan::new(self, logsource)
    }

    pub(crate) fn entry(&self, position: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(position).ok()?)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(node).ok()?)
    }

    pub(crate) fn predicate(&self, predicate: u32) -> Option<&Ready> {
        self.predicates.get(usize::try_from(predicate).ok()?)
    }

    pub(crate) fn field(&self, slot: u16) -> Option<Field<'_>> {
        self.fields.get(usize::from(slot)).map(|name| Field { slot, name })
    }

    pub(crate) fn begin(&self, scratch: &mut Scratch) {
        scratch.begin(self.fields.len(), self.predicates.len(), self.entries.len());
    }

    /// Whether the node is true of the event. Recursion goes no deeper than `CONDITION_DEPTH_MAX`.
    pub(crate) fn is_true(&self, node: u32, event: &dyn Fields, scratch: &mut Scratch) -> bool {
        match self.node(node) {
            None => false,
            Some(Node::All(children)) => children.iter().all(|child| self.is_true(*child, event, scratch)),
            Some(Node::Any(children)) => children.iter().any(|child| self.is_true(*child, event, scratch)),
            Some(Node::Not(child)) => !self.is_true(*child, event, scratch),
            Some(Node::Selection { body, .. }) => self.is_true(*body, event, scratch),
            Some(Node::Is(predicate)) => self.holds(*predicate, event, scratch),
        }
    }

    /// Whether the predicate is true of the event; asked once per event.
    pub(crate) fn holds(&self, predicate: u32, event: &dyn Fields, scratch: &mut Scratch) -> bool {
        if let Some(known) = scratch.verdict(predicate) {
            return known;
        }
        let verdict = self.predicate(predicate).is_some_and(|ready| match ready.target {
            Target::Slot(slot) => {
                self.load(slot, &ready.matcher, event, scratch);
                ready.matcher.holds(scratch, slot)
            }
            Target::AnyField => {
                scratch.load_everything(event);
                scratch.seen_everything().any(|seen| ready.matcher.fits(seen))
            }
        });
        scratch.remember(predicate, verdict);
        verdict
    }

    pub(crate) fn load(&self, slot: u16, matcher: &Matcher, event: &dyn Fields, scratch: &mut Scratch) {
        if let Some(field) = self.field(slot) {
            scratch.load(event, field);
        }
        if let Matcher::SameAs { slot: other, .. } = matcher {
            if let Some(field) = self.field(*other) {
                scratch.load(event, field);
            }
        }
    }
}

#[derive(Default)]
struct Builder {
    ruleset: Ruleset,
    slots: HashMap<String, u16>,
    known: HashMap<(Target, String), Vec<(Op, u32)>>,
}

impl Builder {
    fn add(&mut self, rule: Rule) -> Result<(), BuildError> {
        let root = self.node(&rule, &rule.condition, 0, false)?;
        let slots = &self.slots;
        let witness = Witness::of_rule(&rule, &|field| slots.get(field).copied());
        if u32::try_from(self.ruleset.entries.len()).is_err() {
            return Err(BuildError::TooMany { rule: rule.id });
        }
        self.ruleset.entries.push(Entry { rule, root, witness });
        Ok(())
    }

    fn node(&mut self, rule: &Rule, expr: &Expr, depth: usize, is_in_selection: bool) -> Result<u32, BuildError> {
        let depth = depth.saturating_add(1);
        if depth > CONDITION_DEPTH_MAX {
            return Err(BuildError::TooDeep { rule: rule.id.clone() });
        }
        let node = match expr {
            Expr::All(parts) => Node::All(self.children(rule, parts, depth, is_in_selection)?),
            Expr::Any(parts) => Node::Any(self.children(rule, parts, depth, is_in_selection)?),
            Expr::Not(part) => Node::Not(self.node(rule, part, depth, is_in_selection)?),
            Expr::Selection(index) => {
                let selection = rule.selections.get(*index).filter(|_| !is_in_selection);
                let selection =
                    selection.ok_or_else(|| BuildError::NoSelection { rule: rule.id.clone(), selection: *index })?;
                Node::Selection { index: *index, body: self.node(rule, &selection.body, depth, true)? }
            }
            Expr::Is(predicate) => Node::Is(self.predicate(rule, predicate)?),
        };
        let position = u32::try_from(self.ruleset.nodes.len());
        let position = position.map_err(|_| BuildError::TooMany { rule: rule.id.clone() })?;
        self.ruleset.nodes.push(node);
        Ok(position)
    }

    /// The parts' nodes, regular expressions after everything that is cheaper than they are.
    fn children(&mut self, rule: &Rule, parts: &[Expr], depth: usize, inside: bool) -> Result<Vec<u32>, BuildError> {
        let mut parts: Vec<&Expr> = parts.iter().collect();
        parts.sort_by_key(|part| match part {
            Expr::Is(Predicate { op: Op::Regex { .. }, .. }) => 2,
            Expr::Is(Predicate { field: None, .. }) => 3,
            Expr::Is(_) => 0,
            _ => 1,
        });
        parts.into_iter().map(|part| self.node(rule, part, depth, inside)).collect()
    }

    fn predicate(&mut self, rule: &Rule, predicate: &Predicate) -> Result<u32, BuildError> {
        let too_many = || BuildError::TooMany { rule: rule.id.clone() };
        let target = match &predicate.field {
            Some(field) => Target::Slot(self.slot(field).ok_or_else(too_many)?),
            None => Target::AnyField,
        };
        let key = (target, predicate.source.clone());
        if let Some((_, known)) = self.known.get(&key).and_then(|same| same.iter().find(|(op, _)| *op == predicate.op))
        {
            return Ok(*known);
        }
        let mut is_overfull = false;
        let matcher = Matcher::new(&predicate.op, &mut |field| {
            self.slot(field).unwrap_or_else(|| {
                is_overfull = true;
                0
            })
        });
        let matcher = matcher.map_err(|error| BuildError::Regex { rule: rule.id.clone(), error })?;
        let position =
            u32::try_from(self.ruleset.predicates.len()).ok().filter(|_| !is_overfull).ok_or_else(too_many)?;
        self.ruleset.predicates.push(Ready { target, matcher, source: predicate.source.clone() });
        self.known.entry(key).or_default().push((predicate.op.clone(), position));
        Ok(position)
    }

    fn slot(&mut self, field: &str) -> Option<u16> {
        if let Some(slot) = self.slots.get(field) {
            return Some(*slot);
        }
        let slot = u16::try_from(self.ruleset.fields.len()).ok().filter(|slot| usize::from(*slot) < FIELDS_MAX)?;
        self.ruleset.fields.push(field.to_owned());
        self.slots.insert(field.to_owned(), slot);
        Some(slot)
    }
}
