//! The rules of one log source, as they are evaluated: predicates, what announces each rule, and code (`hot`).
//!
//! What a rule asks of literals in one field by "any of" is one predicate, however long the list: the automaton answers it with
//! the first literal that it finds.

use std::collections::{BTreeMap, HashMap};

use watertight_engine::image::layout::{
    CodeRecord, PredicateRecord, Range, ACCEPT, CODE_FOUND, NONE, PLACE_ANYWHERE, PLACE_END, PLACE_START, PLACE_WHOLE,
    REJECT, USE_PREDICATE_MASK,
};
use watertight_engine::DASHES;

use super::automaton::{Literals, Use, Where};
use super::hot::{likelihood, Hot, Known, Literal, Predicates, CERTAIN};
use super::tables::Tables;
use super::{witness, CompileError};
use crate::rule::{parse_regex, Expr, Op, Part, Predicate, Rule};

/// Most steps of one rule's code. The longest public rule has some hundreds.
const CODE_STEPS_MAX: usize = 65_536;

/// Most texts that a pattern with dashes is written out to.
const DASHED_MAX: usize = 32;

/// Longest literal that automata look for; longer ones are asked for.
const LITERAL_BYTES_MAX: usize = 1024;

/// The rules of a log source in the making.
pub(super) struct Group {
    first_predicate: u32,
    predicates: Vec<Hotness>,
    /// What automata find, by field (`NONE` for any) and literals.
    found: HashMap<(u32, Vec<Literal>), u32>,
    /// By question: what must be found before, and last what asks.
    asked: HashMap<u32, Vec<u32>>,
    /// What automata look for, by field.
    literals: BTreeMap<u32, Vec<(Vec<u8>, Use)>>,
    /// How often conditions ask for a literal of a field, and for any of the field.
    uses: HashMap<(u32, Literal), usize>,
    uses_of_field: HashMap<u32, usize>,
    /// By position.
    conditions: Vec<Condition>,
}

/// The condition of a rule.
struct Condition {
    id: String,
    hot: Hot,
}

/// A group laid out.
pub(super) struct Laid {
    /// Its automata for fields.
    pub(super) automata: Range,
    /// That for keywords.
    pub(super) keywords: Option<u32>,
    /// Rules that nothing announces.
    pub(super) always: Vec<u32>,
    /// Where the code of each rule begins.
    pub(super) code: Vec<u32>,
}

/// What is known of a predicate.
struct Hotness {
    question: u32,
    needs: u32,
    /// The rules that it announces.
    rules: Vec<u32>,
    /// How much asking costs: 0 if it is found.
    cost: u32,
}

impl Group {
    pub(super) fn new(first_predicate: u32) -> Self {
        Self {
            first_predicate,
            predicates: Vec::new(),
            found: HashMap::new(),
            asked: HashMap::new(),
            literals: BTreeMap::new(),
            uses: HashMap::new(),
            uses_of_field: HashMap::new(),
            conditions: Vec::new(),
        }
    }

    /// Adds a rule. Its code is laid out with that of all.
    pub(super) fn add(&mut self, tables: &mut Tables, rule: &Rule) -> Result<(), CompileError> {
        let hot = self.hot(tables, rule, &rule.condition)?;
        self.conditions.push(Condition { id: rule.id.clone(), hot });
        Ok(())
    }

    /// Lays the group out, whose first rule has this number.
    pub(super) fn finish(mut self, tables: &mut Tables, first_rule: u32) -> Result<Laid, CompileError> {
        let (code, always) = self.conditions(tables, first_rule)?;
        for predicate in &self.predicates {
            let rules = tables.list(&predicate.rules);
            tables.predicates.push(PredicateRecord {
                question: predicate.question.into(),
                needs: predicate.needs.into(),
                rules,
            });
        }
        for (_, used) in self.literals.values_mut().flatten() {
            used.announces = !self.predicates[(used.predicate - self.first_predicate) as usize].rules.is_empty();
        }
        let keywords = self.literals.remove(&NONE);
        let first = tables.automata();
        for (field, literals) in &self.literals {
            for automaton in by_place(literals) {
                tables.automaton(*field, &automaton);
            }
        }
        let automata = Range::new(first, tables.automata() - first);
        let keywords = keywords.map(|literals| {
            let mut anywhere = Literals::new(Where::Anywhere);
            literals.iter().for_each(|(text, used)| anywhere.add(text, *used));
            tables.automaton(NONE, &anywhere)
        });
        Ok(Laid { automata, keywords, always, code })
    }

    /// Lays out the code of all rules and notes what announces each; where each begins, and those that nothing announces.
    fn conditions(&mut self, tables: &mut Tables, first_rule: u32) -> Result<(Vec<u32>, Vec<u32>), CompileError> {
        let predicates = self.known();
        let (mut code, mut always) = (Vec::with_capacity(self.conditions.len()), Vec::new());
        for (number, Condition { id, mut hot }) in (first_rule..).zip(std::mem::take(&mut self.conditions)) {
            predicates.order(&mut hot);
            let announcing = predicates.announcing(&hot);
            let found = announcing.as_ref().and_then(|all| <[u32; 1]>::try_from(all.as_slice()).ok());
            let before = tables.code.len();
            code.push(hot.code(tables, found.map(|[found]| found), ACCEPT, REJECT));
            self.tell_found(&mut tables.code[before..]);
            if tables.code.len() - before > CODE_STEPS_MAX {
                return Err(CompileError::TooLong { rule: id, limit: CODE_STEPS_MAX });
            }
            match announcing {
                Some(all) => all.into_iter().for_each(|predicate| self.predicate(predicate).rules.push(number)),
                None => always.push(number),
            }
        }
        Ok((code, always))
    }

    /// Notes of each step of code whether automata find its predicate.
    fn tell_found(&self, code: &mut [CodeRecord]) {
        for step in code {
            let number = step.predicate.get();
            if self.predicates[(number - self.first_predicate) as usize].question == NONE {
                step.predicate = (number | CODE_FOUND).into();
            }
        }
    }

    /// What is known of the predicates.
    fn known(&self) -> Predicates {
        let mut likely = vec![0; self.predicates.len()];
        for ((field, literals), number) in &self.found {
            let of = self.uses_of_field.get(field).copied().unwrap_or(0).min(self.conditions.len());
            let each = literals.iter().map(|literal| {
                let uses = self.uses.get(&(*field, literal.clone())).copied().unwrap_or(0);
                likelihood(literal, uses, of)
            });
            likely[(number - self.first_predicate) as usize] = each.fold(0, u32::saturating_add).min(CERTAIN);
        }
        let known = |(number, predicate): (u32, &Hotness)| {
            let needs = if predicate.question == NONE { number } else { predicate.needs };
            let needs = Some(needs).filter(|needs| *needs != NONE);
            let likelihood = needs.map_or(CERTAIN, |needs| likely[(needs - self.first_predicate) as usize]);
            Known { needs, cost: predicate.cost, likelihood }
        };
        let known = (self.first_predicate..).zip(&self.predicates).map(known).collect();
        Predicates { first: self.first_predicate, known }
    }

    fn predicate(&mut self, number: u32) -> &mut Hotness {
        let position = (number - self.first_predicate) as usize;
        &mut self.predicates[position]
    }

    fn hot(&mut self, tables: &mut Tables, rule: &Rule, expr: &Expr) -> Result<Hot, CompileError> {
        Ok(match expr {
            Expr::All(parts) => Hot::All(self.each(tables, rule, parts.iter())?),
            Expr::Any(parts) => {
                let (literals, rest) = self.literals_by_field(tables, rule, parts)?;
                let mut any = Vec::new();
                for (field, literals) in literals {
                    any.push(Hot::Is(self.find(rule, field, literals)?));
                }
                any.extend(self.each(tables, rule, rest.into_iter())?);
                Hot::Any(any)
            }
            Expr::Not(part) => Hot::Not(Box::new(self.hot(tables, rule, part)?)),
            Expr::Selection(index) => {
                let selection = rule.selections.get(*index);
                let selection = selection.ok_or_else(|| CompileError::NoSelection { rule: rule.id.clone() })?;
                self.hot(tables, rule, &selection.body)?
            }
            Expr::Is(predicate) => Hot::Is(match literals_of(predicate) {
                Some(literals) => {
                    let field = field_of(tables, rule, predicate)?;
                    self.find(rule, field, literals)?
                }
                None => return self.ask(tables, rule, predicate),
            }),
        })
    }

    /// Of alternatives: the literals of each field, and what is no literal.
    #[allow(clippy::type_complexity)] // two lists, told apart by the names that they are given
    fn literals_by_field<'e>(
        &self,
        tables: &mut Tables,
        rule: &Rule,
        parts: &'e [Expr],
    ) -> Result<(BTreeMap<u32, Vec<Literal>>, Vec<&'e Expr>), CompileError> {
        let mut by_field: BTreeMap<u32, Vec<Literal>> = BTreeMap::new();
        let mut rest = Vec::new();
        for part in parts {
            let literals = match part {
                Expr::Is(predicate) => literals_of(predicate).map(|literals| (predicate, literals)),
                _ => None,
            };
            match literals {
                Some((predicate, literals)) => {
                    by_field.entry(field_of(tables, rule, predicate)?).or_default().extend(literals);
                }
                None => rest.push(part),
            }
        }
        Ok((by_field, rest))
    }

    fn each<'e>(
        &mut self,
        tables: &mut Tables,
        rule: &Rule,
        parts: impl Iterator<Item = &'e Expr>,
    ) -> Result<Vec<Hot>, CompileError> {
        parts.map(|part| self.hot(tables, rule, part)).collect()
    }

    /// The predicate that one of these literals is found.
    fn find(&mut self, rule: &Rule, field: u32, mut literals: Vec<Literal>) -> Result<u32, CompileError> {
        literals.sort();
        literals.dedup();
        *self.uses_of_field.entry(field).or_default() += literals.len();
        for literal in &literals {
            *self.uses.entry((field, literal.clone())).or_default() += 1;
        }
        if let Some(known) = self.found.get(&(field, literals.clone())) {
            return Ok(*known);
        }
        let number = self.push(rule, Hotness { question: NONE, needs: NONE, rules: Vec::new(), cost: 0 })?;
        let looked_for = self.literals.entry(field).or_default();
        let used = |(place, text): &Literal| (text.clone(), Use { predicate: number, place: *place, announces: false });
        looked_for.extend(literals.iter().map(used));
        self.found.insert((field, literals), number);
        Ok(number)
    }

    /// That a question is answered yes, behind what must be found before.
    fn ask(&mut self, tables: &mut Tables, rule: &Rule, predicate: &Predicate) -> Result<Hot, CompileError> {
        let question = tables.question(rule, predicate)?;
        if let Some(known) = self.asked.get(&question) {
            return Ok(behind(known));
        }
        let sets = match &predicate.op {
            Op::Text(pattern) => witness::of_pattern(pattern),
            Op::Regex { pattern, flags } => {
                parse_regex(pattern, *flags).map(|hir| witness::of_expression(&hir)).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let mut numbers = Vec::new();
        for set in sets {
            let cut = |mut text: Vec<u8>| {
                text.truncate(LITERAL_BYTES_MAX);
                (PLACE_ANYWHERE, text)
            };
            let field = field_of(tables, rule, predicate)?;
            numbers.push(self.find(rule, field, set.into_iter().map(cut).collect())?);
        }
        let is_costly = matches!(predicate.op, Op::Regex { .. });
        let cost = if predicate.field.is_none() {
            100
        } else if is_costly {
            20
        } else {
            5
        };
        let needs = numbers.first().copied().unwrap_or(NONE);
        numbers.push(self.push(rule, Hotness { question, needs, rules: Vec::new(), cost })?);
        let asked = behind(&numbers);
        self.asked.insert(question, numbers);
        Ok(asked)
    }

    fn push(&mut self, rule: &Rule, predicate: Hotness) -> Result<u32, CompileError> {
        let number = self.first_predicate + self.predicates.len() as u32;
        if number > USE_PREDICATE_MASK {
            return Err(CompileError::TooMany { rule: rule.id.clone(), what: "questions" });
        }
        self.predicates.push(predicate);
        Ok(number)
    }
}

/// The automata of a field: what stands at an end of a value is looked for there alone. Whole values are ends too, and mostly share
/// theirs with others (`.exe`).
fn by_place(literals: &[(Vec<u8>, Use)]) -> Vec<Literals> {
    let has_ends = literals.iter().any(|(_, used)| used.place == PLACE_END);
    let from = |place: u32| match place {
        PLACE_START => Where::Start,
        PLACE_END => Where::End,
        PLACE_WHOLE if has_ends => Where::End,
        PLACE_WHOLE => Where::Start,
        _ => Where::Anywhere,
    };
    let mut automata: BTreeMap<Where, Literals> = BTreeMap::new();
    for (text, used) in literals {
        let from = from(used.place);
        automata.entry(from).or_insert_with(|| Literals::new(from)).add(text, *used);
    }
    automata.into_values().collect()
}

/// The last of these predicates, behind the others. The first of them the last needs by itself.
fn behind(numbers: &[u32]) -> Hot {
    let rest = numbers.get(1..).filter(|rest| !rest.is_empty()).unwrap_or(numbers);
    Hot::All(rest.iter().map(|number| Hot::Is(*number)).collect())
}

fn field_of(tables: &mut Tables, rule: &Rule, predicate: &Predicate) -> Result<u32, CompileError> {
    predicate.field.as_deref().map_or(Ok(NONE), |field| tables.slot(rule, field))
}

/// The literals of which one must be found for the question to be answered yes, if that is all there is to it.
fn literals_of(predicate: &Predicate) -> Option<Vec<Literal>> {
    let Op::Text(pattern) = &predicate.op else { return None };
    if pattern.is_cased() {
        return None;
    }
    let parts = pattern.parts();
    let is_open = |part: Option<&Part>| part == Some(&Part::AnyMany);
    let (open_start, open_end) = (is_open(parts.first()), parts.len() > 1 && is_open(parts.last()));
    let inner = parts.get(usize::from(open_start)..parts.len() - usize::from(open_end))?;
    let place = match (open_start, open_end) {
        (false, false) => PLACE_WHOLE,
        (false, true) => PLACE_START,
        (true, false) => PLACE_END,
        (true, true) => PLACE_ANYWHERE,
    };
    let mut texts: Vec<Vec<u8>> = vec![Vec::new()];
    for part in inner {
        let ways: Vec<&[u8]> = match part {
            Part::Literal(text) => vec![text],
            Part::Dash => DASHES.iter().map(|dash| dash.as_bytes()).collect(),
            Part::AnyOne | Part::AnyMany => return None,
        };
        if texts.len() * ways.len() > DASHED_MAX {
            return None;
        }
        texts = texts.iter().flat_map(|text| ways.iter().map(move |way| [text, *way].concat())).collect();
    }
    let is_findable = |text: &Vec<u8>| !text.is_empty() && text.len() <= LITERAL_BYTES_MAX;
    texts.iter().all(is_findable).then(|| texts.into_iter().map(|text| (place, text)).collect())
}

#[cfg(test)]
mod tests {
    use crate::rule::{Pattern, Place};

    use super::*;

    fn literals(parts: Vec<Part>, place: Place, is_cased: bool) -> Option<Vec<(u32, String)>> {
        let op = Op::Text(Pattern::new(parts, place, is_cased));
        let found = literals_of(&Predicate { field: None, op, source: String::new() })?;
        Some(found.into_iter().map(|(place, text)| (place, String::from_utf8(text).expect("text"))).collect())
    }

    #[test]
    fn plain_texts_are_found_and_those_with_wildcards_inside_are_asked_for() {
        let text = |text: &str| Part::Literal(text.into());
        assert_eq!(literals(vec![text("A")], Place::Whole, false), Some(vec![(PLACE_WHOLE, "a".into())]));
        assert_eq!(literals(vec![text("A")], Place::Start, false), Some(vec![(PLACE_START, "a".into())]));
        assert_eq!(literals(vec![text("A")], Place::End, false), Some(vec![(PLACE_END, "a".into())]));
        assert_eq!(literals(vec![text("A")], Place::Anywhere, false), Some(vec![(PLACE_ANYWHERE, "a".into())]));
        let dashed = literals(vec![text(" "), Part::Dash, text("x")], Place::Anywhere, false).expect("literals");
        assert_eq!(dashed.len(), DASHES.len());
        assert!(dashed.contains(&(PLACE_ANYWHERE, " /x".into())));
        for parts in [vec![text("a"), Part::AnyMany, text("b")], vec![Part::AnyOne], Vec::new(), vec![Part::AnyMany]] {
            assert_eq!(literals(parts, Place::Whole, false), None);
        }
        assert_eq!(literals(vec![text("A")], Place::Whole, true), None);
    }
}
