//! The rules of an image that apply to one log source, evaluated over its events.
//!
//! Each field that rules look for literals in is searched by automata that know them all; what they find are the
//! answers to those questions, and the rules that might fire. Only those rules' code is run, which asks the other questions
//! (expressions, comparisons, patterns) as it comes to them. A rule that nothing can announce is run on every event.

use std::collections::BTreeMap;

use zerocopy::little_endian::U32;

use crate::automaton::{Automaton, Extent};
use crate::fold::folds_as_ascii;
use crate::image::layout::{GroupRecord, Range, ACCEPT, CODE_FOUND, NONE, REJECT, USE_ANNOUNCES, USE_PREDICATE_MASK};
use crate::image::{at, slice, Image, LogSource};
use crate::leaps::Leaps;
use crate::question;
use crate::scratch::{ends, write_text, Candidate, Room, Scratch};
use crate::{Explanation, Field, Fields, Value};

/// The rules that apply to one log source.
#[derive(Clone, Debug)]
pub struct Plan<'i> {
    image: Image<'i>,
    /// A rule's log source may set less than an event's: there are at most eight ways to leave something out.
    groups: Vec<&'i GroupRecord>,
    /// The fields that are searched, for all groups at once, ascending by slot.
    fields: Vec<Field<'i>>,
    /// What each of them is searched for.
    sought: Vec<Sought<'i>>,
    /// What all fields are searched for.
    keywords: Sought<'i>,
    /// Rules that nothing announces.
    always: Vec<Candidate>,
}

/// What a value is searched for.
#[derive(Clone, Debug)]
struct Sought<'i> {
    automata: Vec<Automaton<'i>>,
    /// By all of them at once, if each may leap: mostly there is nothing to be found.
    leaps: Option<Leaps>,
}

impl<'i> Sought<'i> {
    fn of(automata: Vec<Automaton<'i>>) -> Self {
        Self { leaps: Automaton::leaps_of(&automata), automata }
    }

    /// Whether something that is sought may be in the text, wherever it must stand. Both halves are looked at side by side: each leap waits for
    /// the one before. A text that is made to have many beginnings has too many of them: whether something is there it does not tell.
    fn occurs_in(&self, text: &[u8]) -> bool {
        let Some(leaps) = &self.leaps else { return true };
        let (half, mut work) = (text.len() / 2, text.len());
        let (mut one, mut other) = (0, half);
        while one < half || other < text.len() {
            (one, other) = leaps.next_of_two(text, one.min(half), half, other);
            for (from, end) in [(&mut one, half), (&mut other, text.len())] {
                if *from < end {
                    match self.passes(text, *from, &mut work) {
                        Some(next) => *from = next,
                        None => return true,
                    }
                }
            }
        }
        false
    }

    /// Where the next thing that is sought may begin, behind what has begun here; `None` if some is there, or if finding out takes more than
    /// what may still be looked at, in bytes.
    fn passes(&self, text: &[u8], from: usize, work: &mut usize) -> Option<usize> {
        let rest = text.get(from..).unwrap_or_default();
        let mut left: &[u8] = &[];
        for automaton in &self.automata {
            let behind = automaton.passes(rest)?;
            *work = work.checked_sub(rest.len().saturating_sub(behind.len()))?;
            left = if behind.len() > left.len() { behind } else { left };
        }
        Some(text.len().saturating_sub(left.len()))
    }

    /// Whether a text of this size may have something that is sought.
    fn fits(&self, size_bytes: usize) -> bool {
        self.leaps.as_ref().is_none_or(|leaps| size_bytes >= leaps.least_bytes())
    }
}

/// What an evaluation could not do within its limits. The event is as good as any other, but rules saw less of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Values of which only the beginning and the end were read, or that were not read at all.
    pub cut_values: u32,
    /// The event has less of a value that was asked for than there was: see [`Fields::is_cut`].
    pub is_cut_at_source: bool,
    /// Rules that were given up, because finding out would have cost too much.
    pub undecided_rules: u32,
    /// The position of the first of them.
    pub first_undecided: Option<u32>,
}

impl<'i> Image<'i> {
    /// The rules that apply to events of this log source. Made once for each, not for each event.
    #[must_use]
    pub fn plan(&self, logsource: &LogSource<'_>) -> Plan<'i> {
        let applies = |group: &&GroupRecord| self.log_source(group).applies_to(logsource);
        let groups: Vec<&GroupRecord> = self.groups.iter().filter(applies).collect();
        let mut fields = BTreeMap::<u32, Vec<Automaton<'i>>>::new();
        for automaton in groups.iter().flat_map(|group| slice(self.automata, group.automata)) {
            fields.entry(automaton.field.get()).or_default().extend(Automaton::of(self, automaton));
        }
        let keywords = groups.iter().filter_map(|group| at(self.automata, group.keywords.get()));
        let keywords = keywords.filter_map(|automaton| Automaton::of(self, automaton)).collect();
        let named = |(slot, automata): (u32, Vec<Automaton<'i>>)| {
            let name = self.text(at(self.fields, slot)?.name);
            Some((Field { slot: u16::try_from(slot).ok()?, name }, Sought::of(automata)))
        };
        let (fields, sought) = fields.into_iter().filter_map(named).unzip();
        let always =
            groups.iter().flat_map(|group| self.words_of(group.always)).filter_map(|rule| self.candidate(rule.get()));
        Plan { image: *self, fields, sought, keywords: Sought::of(keywords), always: always.collect(), groups }
    }
}

impl Image<'_> {
    /// A rule as it is evaluated.
    #[inline]
    fn candidate(&self, rule: u32) -> Option<Candidate> {
        at(self.rules, rule).map(|record| Candidate { rule, code: record.code.get() })
    }
}

impl<'i> Plan<'i> {
    /// The image that the rules are of.
    #[must_use]
    pub fn image(&self) -> Image<'i> {
        self.image
    }

    /// Calls `hit` with the position of every rule that is true of the event, each once.
    pub fn evaluate(&self, event: &dyn Fields, scratch: &mut Scratch, hit: &mut dyn FnMut(u32)) -> Limits {
        let mut limits = Limits::default();
        self.begin(scratch);
        Evaluation { plan: self, image: &self.image, event, scratch, limits: &mut limits }.run(hit);
        limits.cut_values = scratch.cuts;
        limits.is_cut_at_source = event.is_cut();
        limits
    }

    /// Why the rule at this position is true of the event, or what of it is not; `None` when it does not apply.
    #[must_use]
    pub fn explain(&self, rule: u32, event: &dyn Fields, scratch: &mut Scratch) -> Option<Explanation> {
        self.applies(rule).then(|| self.begin(scratch))?;
        Explanation::of(&self.image, rule, event, scratch)
    }

    /// How many rules apply to this log source.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| slice(self.image.rules, group.rules).len()).sum()
    }

    /// Whether no rule applies to this log source: its events need not be shown to the plan.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether the rule at this position applies.
    #[must_use]
    pub fn applies(&self, rule: u32) -> bool {
        let has = |rules: Range| rule.checked_sub(rules.first.get()).is_some_and(|at| at < rules.count.get());
        self.groups.iter().any(|group| has(group.rules))
    }

    fn begin(&self, scratch: &mut Scratch) {
        let Image { fields, predicates, rules, .. } = self.image;
        scratch.begin(fields.len(), predicates.len(), rules.len(), self.image.budget());
    }
}

struct Evaluation<'e, 'i> {
    plan: &'e Plan<'i>,
    image: &'e Image<'i>,
    event: &'e dyn Fields,
    scratch: &'e mut Scratch,
    limits: &'e mut Limits,
}

impl<'i> Evaluation<'_, 'i> {
    fn run(&mut self, hit: &mut dyn FnMut(u32)) {
        self.search();
        for rule in &self.plan.always {
            self.scratch.add_candidate(*rule);
        }
        let candidates = self.scratch.take_candidates();
        for Candidate { rule, code } in &candidates {
            self.scratch.at_rule(*rule);
            let work_left = self.scratch.work;
            let outcome = self.is_true(*code);
            self.scratch.charge(*rule, work_left, outcome);
            match outcome {
                Some(true) => hit(*rule),
                Some(false) => {}
                None => {
                    self.limits.undecided_rules = self.limits.undecided_rules.saturating_add(1);
                    self.limits.first_undecided.get_or_insert(*rule);
                }
            }
        }
        self.scratch.put_candidates(candidates);
    }

    /// Finds the literals of all fields.
    fn search(&mut self) {
        let plan = self.plan;
        let mut search = self.searching(&plan.keywords);
        let (event, mut last) = (search.event, usize::MAX);
        event.get_each(&plan.fields, &mut |position, value| {
            if position != last {
                let Some(sought) = plan.sought.get(position) else { return };
                (search.sought, search.room, last) = (sought, Room::of(search.scratch.field_bytes_max), position);
            }
            search.value(value);
        });
        if !plan.keywords.automata.is_empty() && self.may_have_keyword() {
            let mut search = self.searching(&plan.keywords);
            let event = search.event;
            event.all(&mut |_, _, value| search.value(value));
        }
    }

    /// Whether some value may have a keyword. Not, if all of them lie in one piece, as far as each would be read, and no keyword is in it.
    fn may_have_keyword(&self) -> bool {
        let Some(texts) = self.event.texts().filter(|_| self.plan.keywords.leaps.is_some()) else { return true };
        let bytes = texts.bytes;
        !Room::of(self.scratch.field_bytes_max).takes_all(texts)
            || !(bytes.is_ascii() || folds_as_ascii(bytes))
            || self.plan.keywords.occurs_in(bytes)
    }

    fn searching<'s>(&'s mut self, sought: &'s Sought<'i>) -> Search<'s, 'i> {
        let room = Room::of(self.scratch.field_bytes_max);
        Search { sought, image: self.image, event: self.event, scratch: self.scratch, room }
    }

    /// Runs a rule's code from this step; `None` if that would cost too much. Jumps go backwards, so it ends.
    fn is_true(&mut self, mut step: u32) -> Option<bool> {
        loop {
            match step {
                ACCEPT => return Some(true),
                REJECT => return Some(false),
                _ => {}
            }
            let code = at(self.image.code, step)?;
            let predicate = code.predicate.get();
            let is_true = if predicate & CODE_FOUND != 0 {
                self.scratch.verdict(predicate & !CODE_FOUND) == Some(true)
            } else {
                self.holds(predicate)?
            };
            let next = if is_true { &code.if_true } else { &code.if_false };
            step = next_step(next, step)?;
        }
    }

    /// Whether the predicate is true of the event; asked once per event.
    fn holds(&mut self, number: u32) -> Option<bool> {
        if let Some(known) = self.scratch.verdict(number) {
            return Some(known);
        }
        let predicate = at(self.image.predicates, number)?;
        let Some(question) = at(self.image.questions, predicate.question.get()) else { return Some(false) };
        let needs = predicate.needs.get();
        let holds = if needs != NONE && self.scratch.verdict(needs) != Some(true) {
            false
        } else {
            self.scratch.questions = self.scratch.questions.checked_sub(1)?;
            self.scratch.count_question();
            question::holds(self.image, question, self.event, self.scratch)?
        };
        self.scratch.remember(number, holds);
        Some(holds)
    }
}

/// Most bytes that a value other than text is written with.
fn size_most(value: Value<'_>) -> usize {
    match value {
        // Its sign and digits.
        Value::Int(number) => number
            .unsigned_abs()
            .checked_ilog10()
            .map_or(2, |tens| usize::try_from(tens).map_or(usize::MAX, |tens| tens.saturating_add(2))),
        _ => usize::MAX,
    }
}

/// Where code goes on: at its end, or before.
fn next_step(next: &U32, step: u32) -> Option<u32> {
    let next = next.get();
    (next == ACCEPT || next == REJECT || next < step).then_some(next)
}

/// A search of the values of a field, or of all.
struct Search<'s, 'i> {
    sought: &'s Sought<'i>,
    image: &'s Image<'i>,
    event: &'s dyn Fields,
    scratch: &'s mut Scratch,
    room: Room,
}

impl Search<'_, '_> {
    fn value(&mut self, value: Value<'_>) {
        if !self.room.takes(value) {
            self.scratch.cuts = self.scratch.cuts.saturating_add(1);
            return;
        }
        let Value::Text(text) = value else {
            if value != Value::Null && self.sought.fits(size_most(value)) {
                self.aside(Extent::Whole, |buffer| write_text(value, buffer));
            }
            return;
        };
        if !self.sought.fits(text.len()) {
            return;
        }
        match ends(text) {
            (whole, None) => self.text(whole, Extent::Whole),
            (head, Some(tail)) => {
                self.scratch.cuts = self.scratch.cuts.saturating_add(1);
                self.text(head, Extent::Head);
                self.text(tail, Extent::Tail);
            }
        }
    }

    fn text(&mut self, text: &[u8], extent: Extent) {
        match text.is_ascii() || folds_as_ascii(text) {
            true => self.found_in(text, extent),
            false => self.aside(extent, |buffer| crate::fold::fold_into(text, buffer)),
        }
    }

    /// Searches what is written into the scratch's buffer, which is lent out so that the rest of it can be used meanwhile.
    #[cold]
    fn aside(&mut self, extent: Extent, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = std::mem::take(&mut self.scratch.folded);
        buffer.clear();
        write(&mut buffer);
        self.found_in(&buffer, extent);
        self.scratch.folded = buffer;
    }

    /// Notes each predicate that is found, and the rules that it announces.
    fn found_in(&mut self, text: &[u8], extent: Extent) {
        let Self { sought, image, scratch, .. } = self;
        // One alone leaps by itself.
        let leaps = sought.leaps.as_ref().filter(|_| sought.automata.len() > 1);
        if leaps.is_some_and(|leaps| leaps.next(text, 0) == text.len()) {
            return;
        }
        for automaton in &sought.automata {
            automaton.search(text, extent, &mut |used| {
                let number = used & USE_PREDICATE_MASK;
                if scratch.remember(number, true) && used & USE_ANNOUNCES != 0 {
                    let rules = at(image.predicates, number).map(|predicate| image.words_of(predicate.rules));
                    // Where a rule's code begins is asked for here, so that it is there when its turn comes.
                    for candidate in rules.unwrap_or_default().iter().filter_map(|rule| image.candidate(rule.get())) {
                        scratch.add_candidate(candidate);
                    }
                }
            });
        }
    }
}
