//! The rules that apply to one log source, with the index that spares evaluating most of them.
//!
//! Per field one Aho-Corasick automaton over all witness literals: a single pass over a field's text gives every rule whose
//! witness occurs in it. Keyword literals are part of every field's automaton, so that no text is read twice. Small automata
//! are dense (fast), large ones compact: dense ones of large rulesets would take several times the memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aho_corasick::automaton::Automaton;
use aho_corasick::dfa::DFA;
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, BuildError, MatchKind, StartKind};

use crate::rule::{LogSource, Rule};
use crate::scratch::{write_text, Scratch};
use crate::witness::Literal;
use crate::{Explanation, Fields, Ruleset, Value};

/// Literals of an automaton that may be dense, in bytes all together: about the number of its states, each of which takes some
/// 250 bytes, so that one automaton takes at most 1 MB.
const DENSE_LITERALS_BYTES_MAX: usize = 4096;

/// The rules of a ruleset that apply to one log source, ready to be evaluated over its events.
#[derive(Debug)]
pub struct Plan {
    ruleset: Arc<Ruleset>,
    /// All rules that apply.
    rules: Vec<u32>,
    /// Those without a witness: candidates of every event.
    unwitnessed: Vec<u32>,
    /// By field slot.
    by_slot: Vec<Option<FieldIndex>>,
    /// For values of fields that have no automaton of their own; there only if some rule searches all fields.
    keywords: Option<FieldIndex>,
}

#[derive(Debug)]
struct FieldIndex {
    search: Search,
    /// By literal: the rules that it makes candidates.
    rules: Vec<Vec<u32>>,
}

#[derive(Debug)]
enum Search {
    Dense(DFA),
    Compact(NFA),
}

impl Search {
    fn new(texts: &[Vec<u8>]) -> Result<Self, BuildError> {
        let bytes = texts.iter().map(Vec::len).sum::<usize>();
        if bytes <= DENSE_LITERALS_BYTES_MAX {
            let mut builder = DFA::builder();
            builder.match_kind(MatchKind::Standard).start_kind(StartKind::Unanchored).ascii_case_insensitive(true);
            return builder.build(texts).map(Self::Dense);
        }
        NFA::builder().match_kind(MatchKind::Standard).ascii_case_insensitive(true).build(texts).map(Self::Compact)
    }

    fn scan(&self, text: &[u8], found: &mut dyn FnMut(usize)) {
        match self {
            Self::Dense(dense) => walk(dense, text, found),
            Self::Compact(compact) => walk(compact, text, found),
        }
    }
}

/// Calls `found` for every literal that occurs in the text, as often as it does. The library's own search for overlapping
/// matches starts anew after each of them; this is one step per byte whatever occurs.
fn walk<A: Automaton>(automaton: &A, text: &[u8], found: &mut dyn FnMut(usize)) {
    // Fails only for automata built another way than ours are.
    let Ok(mut state) = automaton.start_state(Anchored::No) else { return };
    let mut last_match = state;
    for byte in text {
        state = automaton.next_state(Anchored::No, state, *byte);
        // The same state again says the same again: long runs of one letter are common in hostile input.
        if automaton.is_special(state) && automaton.is_match(state) && state != last_match {
            last_match = state;
            for position in 0..automaton.match_len(state) {
                found(automaton.match_pattern(state, position).as_usize());
            }
        }
    }
}

impl Plan {
    pub(crate) fn new(ruleset: &Arc<Ruleset>, logsource: &LogSource) -> Self {
        let mut plan = Self {
            ruleset: Arc::clone(ruleset),
            rules: Vec::new(),
            unwitnessed: Vec::new(),
            by_slot: Vec::new(),
            keywords: None,
        };
        let mut literals: BTreeMap<Option<u16>, Literals> = BTreeMap::new();
        for (position, entry) in (0_u32..).zip(ruleset.entries()) {
            if !entry.rule.logsource.applies_to(logsource) {
                continue;
            }
            plan.rules.push(position);
            match &entry.witness {
                None => plan.unwitnessed.push(position),
                Some(witness) => {
                    for Literal { slot, text } in &witness.literals {
                        literals.entry(*slot).or_default().add(text, position);
                    }
                }
            }
        }
        plan.index(literals);
        plan
    }

    /// Builds the automata. If one can't be built (more states than it can count), its rules are evaluated on every event:
    /// slower, but no hit is lost.
    fn index(&mut self, mut literals: BTreeMap<Option<u16>, Literals>) {
        let keywords = literals.remove(&None);
        for (slot, mut own) in literals {
            if let Some(keywords) = &keywords {
                own.merge(keywords);
            }
            let position = slot.map_or(0, usize::from);
            if self.by_slot.len() <= position {
                self.by_slot.resize_with(position.saturating_add(1), || None);
            }
            let automaton = self.automaton(own);
            if let Some(place) = self.by_slot.get_mut(position) {
                *place = automaton;
            }
        }
        if let Some(keywords) = keywords {
            self.keywords = self.automaton(keywords);
        }
    }

    fn automaton(&mut self, literals: Literals) -> Option<FieldIndex> {
        match Search::new(&literals.texts) {
            Ok(search) => Some(FieldIndex { search, rules: literals.rules }),
            Err(_) => {
                self.unwitnessed.extend(literals.rules.into_iter().flatten());
                self.unwitnessed.sort_unstable();
                self.unwitnessed.dedup();
                None
            }
        }
    }

    /// Calls `hit` with the position of every rule that is true of the event, each once.
    pub fn evaluate(&self, event: &dyn Fields, scratch: &mut Scratch, hit: &mut dyn FnMut(u32)) {
        if self.rules.is_empty() {
            return;
        }
        self.ruleset.begin(scratch);
        self.find_candidates(event, scratch);
        for rule in &self.unwitnessed {
            scratch.add_candidate(*rule);
        }
        let mut position = 0_usize;
        while let Some(rule) = scratch.candidate(position) {
            position = position.saturating_add(1);
            if self.is_hit(rule, event, scratch) {
                hit(rule);
            }
        }
    }

    /// The same answer without the index: every rule that applies is evaluated. For tests and comparison.
    pub fn evaluate_without_index(&self, event: &dyn Fields, scratch: &mut Scratch, hit: &mut dyn FnMut(u32)) {
        self.ruleset.begin(scratch);
        for rule in &self.rules {
            if self.is_hit(*rule, event, scratch) {
                hit(*rule);
            }
        }
    }

    /// Why the rule at this position is true of the event; `None` when it is not.
    #[must_use]
    pub fn explain(&self, rule: u32, event: &dyn Fields, scratch: &mut Scratch) -> Option<Explanation> {
        self.rules.binary_search(&rule).ok()?;
        self.ruleset.begin(scratch);
        Explanation::of(&self.ruleset, rule, event, scratch)
    }

    /// The rule at this position.
    #[must_use]
    pub fn rule(&self, position: u32) -> Option<&Rule> {
        self.ruleset.rule(position)
    }

    /// How many rules apply to this log source.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether no rule applies to this log source: its events need not be shown to the plan.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn is_hit(&self, rule: u32, event: &dyn Fields, scratch: &mut Scratch) -> bool {
        self.ruleset.entry(rule).is_some_and(|entry| self.ruleset.is_true(entry.root, event, scratch))
    }

    fn find_candidates(&self, event: &dyn Fields, scratch: &mut Scratch) {
        let mut buffer = scratch.take_folded();
        let own = |slot: u16| self.by_slot.get(usize::from(slot)).and_then(Option::as_ref);
        if self.keywords.is_some() {
            event.all(&mut |slot, _, value| {
                if let Some(automaton) = slot.and_then(own).or(self.keywords.as_ref()) {
                    automaton.scan(value, &mut buffer, scratch);
                }
            });
        } else {
            for slot in 0_u16..=u16::MAX {
                if usize::from(slot) >= self.by_slot.len() {
                    break;
                }
                if let (Some(automaton), Some(field)) = (own(slot), self.ruleset.field(slot)) {
                    event.get(field, &mut |value| automaton.scan(value, &mut buffer, scratch));
                }
            }
        }
        scratch.put_folded(buffer);
    }
}

impl FieldIndex {
    fn scan(&self, value: Value<'_>, buffer: &mut Vec<u8>, scratch: &mut Scratch) {
        match value {
            Value::Null => {}
            Value::Text(text) => self.scan_text(Scratch::folded_unless_ascii(buffer, text), scratch),
            Value::Bool(_) | Value::Int(_) | Value::Real(_) => {
                buffer.clear();
                write_text(value, buffer);
                self.scan_text(buffer, scratch);
            }
        }
    }

    fn scan_text(&self, text: &[u8], scratch: &mut Scratch) {
        self.search.scan(text, &mut |literal| {
            for rule in self.rules.get(literal).into_iter().flatten() {
                scratch.add_candidate(*rule);
            }
        });
    }
}

/// The literals of one automaton in the making.
#[derive(Default)]
struct Literals {
    known: HashMap<Vec<u8>, usize>,
    texts: Vec<Vec<u8>>,
    rules: Vec<Vec<u32>>,
}

impl Literals {
    fn add(&mut self, text: &[u8], rule: u32) {
        let next = self.texts.len();
        let position = *self.known.entry(text.to_vec()).or_insert(next);
        if position == next {
            self.texts.push(text.to_vec());
            self.rules.push(Vec::new());
        }
        if let Some(rules) = self.rules.get_mut(position) {
            if rules.last() != Some(&rule) {
                rules.push(rule);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for (text, rules) in other.texts.iter().zip(&other.rules) {
            for rule in rules {
                self.add(text, *rule);
            }
        }
    }
}
