//! Why a rule fired, or what stood in its way: which selections, and which values answered which of their questions.
//!
//! The slow sibling of evaluation: it walks the condition as it was written and asks each question by itself, without the
//! automata and the code that evaluation runs. The tests hold the two to the same verdicts.

use crate::image::layout::{NodeRecord, QuestionRecord, NODE_ALL, NODE_ANY, NODE_IS, NODE_NOT, NODE_SELECTION, NONE};
use crate::image::{at, slice, Image, Rule};
use crate::question;
use crate::scratch::{Scratch, Seen};
use crate::{Field, Fields};

/// Most bytes of a value that an explanation repeats.
const VALUE_BYTES_MAX: usize = 512;

/// Most matches that an explanation lists for one selection. Enough for a reader; a list-of-hashes rule has thousands.
const MATCHES_MAX: usize = 32;

/// Why a rule fired, or why it did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it fired.
    pub is_hit: bool,
    /// The selections that had to be true and were, in the order of the condition.
    pub selections: Vec<SelectionMatch>,
    /// Selections that had to be false and were: `not filter`.
    pub excluded: Vec<String>,
    /// If it did not fire: the selections that came out otherwise than they had to.
    pub missing: Vec<Missing>,
}

/// A selection that was true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectionMatch {
    /// Its name in the rule.
    pub name: String,
    /// What made it true.
    pub matches: Vec<FieldMatch>,
}

/// A selection that stood in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name in the rule.
    pub name: String,
    /// Whether it was true and had to be false, or the other way round.
    pub is_true: bool,
    /// The questions that were answered so, with what the event says.
    pub matches: Vec<FieldMatch>,
}

/// A question and the value that answered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMatch {
    /// The field's name.
    pub field: String,
    /// The value, cut to a readable length; `None` when the field is absent or null.
    pub value: Option<String>,
    /// The question as the rule's author wrote it.
    pub pattern: String,
    /// The field was not read whole: of a value that is too long the beginning and the end, or not all of its values.
    pub is_cut: bool,
}

impl Explanation {
    pub(crate) fn of(image: &Image<'_>, rule: u32, event: &dyn Fields, scratch: &mut Scratch) -> Option<Self> {
        let rule = image.rule(rule)?;
        let mut walk = Walk { image, event, scratch, rule, into: Self::default() };
        let root = rule.record().root.get();
        walk.into.is_hit = walk.is_true(root);
        if walk.into.is_hit {
            walk.fired(root, true);
        } else {
            walk.failed(root, true);
        }
        Some(walk.into)
    }
}

struct Walk<'w, 'i> {
    image: &'w Image<'i>,
    event: &'w dyn Fields,
    scratch: &'w mut Scratch,
    rule: Rule<'i>,
    into: Explanation,
}

/// A node, taken apart. Recursion over them goes no deeper than `Image::open` admits.
enum Node<'i> {
    All(&'i [zerocopy::little_endian::U32]),
    Any(&'i [zerocopy::little_endian::U32]),
    Not(u32),
    Selection { index: u32, body: u32 },
    Is(&'i QuestionRecord),
}

impl<'i> Walk<'_, 'i> {
    fn node(&self, position: u32) -> Option<Node<'i>> {
        let image = *self.image;
        let NodeRecord { kind, first, count } = at(image.nodes, position)?;
        let children = || image.words_of(crate::image::layout::Range { first: *first, count: *count });
        Some(match kind.get() {
            NODE_ALL => Node::All(children()),
            NODE_ANY => Node::Any(children()),
            NODE_NOT => Node::Not(first.get()),
            NODE_SELECTION => Node::Selection { index: first.get(), body: count.get() },
            NODE_IS => Node::Is(at(image.questions, first.get())?),
            _ => return None,
        })
    }

    fn is_true(&mut self, position: u32) -> bool {
        match self.node(position) {
            None => false,
            Some(Node::All(children)) => children.iter().all(|child| self.is_true(child.get())),
            Some(Node::Any(children)) => children.iter().any(|child| self.is_true(child.get())),
            Some(Node::Not(child)) => !self.is_true(child),
            Some(Node::Selection { body, .. }) => self.is_true(body),
            Some(Node::Is(asked)) => question::holds(self.image, asked, self.event, self.scratch).unwrap_or(false),
        }
    }

    fn name(&self, index: u32) -> String {
        let selections = slice(self.image.selections, self.rule.record().selections);
        at(selections, index).map(|selection| self.image.text(selection.name).to_owned()).unwrap_or_default()
    }

    /// Collects what made the node come out as `wanted`.
    fn fired(&mut self, position: u32, wanted: bool) {
        if self.is_true(position) != wanted {
            return;
        }
        match self.node(position) {
            Some(Node::All(children) | Node::Any(children)) => {
                children.iter().for_each(|child| self.fired(child.get(), wanted));
            }
            Some(Node::Not(child)) => self.fired(child, !wanted),
            Some(Node::Selection { index, body }) => {
                let name = self.name(index);
                if wanted {
                    let matches = self.answers(body, true);
                    self.into.selections.push(SelectionMatch { name, matches });
                } else {
                    self.into.excluded.push(name);
                }
            }
            Some(Node::Is(_)) | None => {}
        }
    }

    /// Collects what kept the node from coming out as `wanted`.
    fn failed(&mut self, position: u32, wanted: bool) {
        if self.is_true(position) == wanted {
            return;
        }
        match self.node(position) {
            Some(Node::All(children) | Node::Any(children)) => {
                children.iter().for_each(|child| self.failed(child.get(), wanted));
            }
            Some(Node::Not(child)) => self.failed(child, !wanted),
            Some(Node::Selection { index, body }) => {
                let matches = self.answers(body, !wanted);
                self.into.missing.push(Missing { name: self.name(index), is_true: !wanted, matches });
            }
            Some(Node::Is(_)) | None => {}
        }
    }

    /// The questions below a node that were answered as the node was.
    fn answers(&mut self, body: u32, answer: bool) -> Vec<FieldMatch> {
        let mut matches = Vec::new();
        self.collect(body, answer, &mut matches);
        matches
    }

    fn collect(&mut self, position: u32, answer: bool, matches: &mut Vec<FieldMatch>) {
        if matches.len() >= MATCHES_MAX || self.is_true(position) != answer {
            return;
        }
        match self.node(position) {
            Some(Node::All(children) | Node::Any(children)) => {
                for child in children {
                    self.collect(child.get(), answer, matches);
                }
            }
            Some(Node::Selection { body, .. }) => self.collect(body, answer, matches),
            Some(Node::Not(child)) => self.collect(child, !answer, matches),
            Some(Node::Is(asked)) => matches.push(self.field_match(asked, answer)),
            None => {}
        }
    }

    fn field_match(&mut self, asked: &QuestionRecord, answer: bool) -> FieldMatch {
        let pattern = self.image.text(asked.source).to_owned();
        if asked.field.get() == NONE {
            let (field, value) = self.keyword_match(asked).filter(|_| answer).unzip();
            return FieldMatch { field: field.unwrap_or_default(), value, pattern, is_cut: self.is_cut_anywhere() };
        }
        let name = at(self.image.fields, asked.field.get()).map(|field| self.image.text(field.name).to_owned());
        let slot = u16::try_from(asked.field.get()).unwrap_or(u16::MAX);
        let mut threads = std::mem::take(&mut self.scratch.threads);
        let mut work = self.scratch.work;
        let mut fits =
            |seen: &Seen<'_>| question::fits(self.image, asked, *seen, &mut threads, &mut work) == Some(true);
        let fitting = self.scratch.seen(slot).find(|seen| fits(seen));
        let shown = fitting.or_else(|| self.scratch.seen(slot).next());
        let value = shown.and_then(|seen| seen.texts).map(|(raw, _)| readable(raw.head));
        self.scratch.threads = threads;
        let name = name.unwrap_or_default();
        let is_cut = self.is_cut(Field { slot, name: &name });
        FieldMatch { field: name, value, pattern, is_cut }
    }

    /// Whether less of the field was read than the event has.
    fn is_cut(&self, field: Field<'_>) -> bool {
        let (mut there, mut read) = (0_usize, 0_usize);
        self.event.get(field, &mut |_| there = there.saturating_add(1));
        let is_short = self.scratch.seen(field.slot).any(|seen| {
            read = read.saturating_add(1);
            has_gap(&seen)
        });
        is_short || read < there
    }

    /// The same of all fields, for keywords.
    fn is_cut_anywhere(&mut self) -> bool {
        self.scratch.load_everything(self.event);
        let mut there = 0_usize;
        self.event.all(&mut |_, _, _| there = there.saturating_add(1));
        self.scratch.seen_everything().count() < there || self.scratch.seen_everything().any(|seen| has_gap(&seen))
    }

    fn keyword_match(&mut self, asked: &QuestionRecord) -> Option<(String, String)> {
        let mut names = Vec::new();
        self.event.all(&mut |_, name, _| names.push(name.to_owned()));
        let mut threads = std::mem::take(&mut self.scratch.threads);
        let mut work = self.scratch.work;
        let mut fits =
            |seen: &Seen<'_>| question::fits(self.image, asked, *seen, &mut threads, &mut work) == Some(true);
        let found = names.into_iter().zip(self.scratch.seen_everything()).find(|(_, seen)| fits(seen));
        let found = found.and_then(|(name, seen)| Some((name, readable(seen.texts?.0.head))));
        self.scratch.threads = threads;
        found
    }
}

/// Whether it is the beginning and the end of a longer value.
fn has_gap(seen: &Seen<'_>) -> bool {
    seen.texts.is_some_and(|(raw, _)| raw.tail.is_some())
}

fn readable(text: &[u8]) -> String {
    let cut = text.get(..VALUE_BYTES_MAX).unwrap_or(text);
    String::from_utf8_lossy(cut).into_owned()
}
