//! The rules of one log source, as they are evaluated: predicates, what announces each rule, and code.
//!
//! What a rule asks of literals in one field by "any of" is one predicate, however long the list: the automaton answers it with
//! the first literal that it finds.

use std::collections::{BTreeMap, HashMap};

use watertight_engine::image::layout::{
    CodeRecord, PredicateRecord, Range, ACCEPT, NONE, PLACE_ANYWHERE, PLACE_END, PLACE_START, PLACE_WHOLE, REJECT,
    USE_PREDICATE_MASK,
};
use watertight_engine::DASHES;

use super::automaton::{Literals, Use};
use super::tables::Tables;
use super::{witness, CompileError};
use crate::rule::{parse_regex, Expr, Op, Part, Predicate, Rule};

/// Most steps of one rule's code. The longest public rule has some hundreds.
const CODE_STEPS_MAX: usize = 65_536;

/// Most texts that a pattern with dashes is written out to.
const DASHED_MAX: usize = 32;

/// Longest literal that automata look for; longer ones are asked for.
const LITERAL_BYTES_MAX: usize = 1024;

/// A literal and where in a value it must stand.
type Literal = (u32, Vec<u8>);

/// A condition over predicates.
enum Hot {
    All(Vec<Hot>),
    Any(Vec<Hot>),
    Not(Box<Hot>),
    Is(u32),
}

/// The rules of a log source in the making.
pub(super) struct Group {
    first_predicate: u32,
    predicates: Vec<Hotness>,
    /// What automata find, by field (`NONE` for any) and literals.
    found: HashMap<(u32, Vec<Literal>), u32>,
    /// By question: what must be found before, and last what asks.
    asked: HashMap<u32, Vec<u32>>,
    literals: BTreeMap<u32, Literals>,
    always: Vec<u32>,
}

/// What is known of a predicate.
struct Hotness {
    question: u32,
    needs: u32,
    /// The rules that it announces.
    rules: Vec<u32>,
    /// How rarely it is likely to be found.
    rarity: usize,
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
            always: Vec::new(),
        }
    }

    /// Adds a rule; where its code begins.
    pub(super) fn add(&mut self, tables: &mut Tables, rule: &Rule, number: u32) -> Result<u32, CompileError> {
        let condition = self.hot(tables, rule, &rule.condition)?;
        match self.announced_by(&condition) {
            Some(predicates) => {
                for predicate in predicates {
                    let rules = &mut self.predicate(predicate).rules;
                    if rules.last() != Some(&number) {
                        rules.push(number);
                    }
                }
            }
            None => self.always.push(number),
        }
        let before = tables.code.len();
        let entry = self.code(tables, &condition, ACCEPT, REJECT);
        if tables.code.len() - before > CODE_STEPS_MAX {
            return Err(CompileError::TooLong { rule: rule.id.clone(), limit: CODE_STEPS_MAX });
        }
        Ok(entry)
    }

    /// Lays the group out: its automata for fields and for keywords, and the rules that nothing announces.
    pub(super) fn finish(mut self, tables: &mut Tables) -> (Range, Option<u32>, Vec<u32>) {
        for predicate in &self.predicates {
            let rules = tables.list(&predicate.rules);
            tables.predicates.push(PredicateRecord {
                question: predicate.question.into(),
                needs: predicate.needs.into(),
                rules,
            });
        }
        let keywords = self.literals.remove(&NONE);
        let first = tables.automata();
        for (field, literals) in &self.literals {
            tables.automaton(*field, literals);
        }
        let automata = Range::new(first, tables.automata() - first);
        let keywords = keywords.map(|literals| tables.automaton(NONE, &literals));
        (automata, keywords, self.always)
    }

    fn predicate(&mut self, number: u32) -> &mut Hotness {
        let position = (number - self.first_predicate) as usize;
        &mut self.predicates[position]
    }

    fn hotness(&self, number: u32) -> &Hotness {
        &self.predicates[(number - self.first_predicate) as usize]
    }

    fn hot(&mut self, tables: &mut Tables, rule: &Rule, expr: &Expr) -> Result<Hot, CompileError> {
        Ok(match expr {
            Expr::All(parts) => Hot::All(self.sorted(tables, rule, parts)?),
            Expr::Any(parts) => {
                let (literals, rest) = self.literals_by_field(tables, rule, parts)?;
                let mut any = Vec::new();
                for (field, literals) in literals {
                    any.push(Hot::Is(self.find(rule, field, literals)?));
                }
                any.extend(self.sorted_of(tables, rule, rest)?);
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

    fn sorted(&mut self, tables: &mut Tables, rule: &Rule, parts: &[Expr]) -> Result<Vec<Hot>, CompileError> {
        self.sorted_of(tables, rule, parts.iter().collect())
    }

    /// The parts, what is cheap before what is not.
    fn sorted_of(&mut self, tables: &mut Tables, rule: &Rule, parts: Vec<&Expr>) -> Result<Vec<Hot>, CompileError> {
        let mut parts = parts.into_iter().map(|part| self.hot(tables, rule, part)).collect::<Result<Vec<_>, _>>()?;
        parts.sort_by_cached_key(|part| self.cost(part));
        Ok(parts)
    }

    fn cost(&self, hot: &Hot) -> u32 {
        match hot {
            Hot::All(parts) | Hot::Any(parts) => {
                parts.iter().map(|part| self.cost(part)).sum::<u32>().saturating_add(1)
            }
            Hot::Not(part) => self.cost(part),
            Hot::Is(predicate) => self.hotness(*predicate).cost,
        }
    }

    /// The predicate that one of these literals is found.
    fn find(&mut self, rule: &Rule, field: u32, mut literals: Vec<Literal>) -> Result<u32, CompileError> {
        literals.sort();
        literals.dedup();
        if let Some(known) = self.found.get(&(field, literals.clone())) {
            return Ok(*known);
        }
        let rarity = literals.iter().map(rarity).min().unwrap_or(0);
        let number = self.push(rule, Hotness { question: NONE, needs: NONE, rules: Vec::new(), rarity, cost: 0 })?;
        let automaton = self.literals.entry(field).or_default();
        for (place, text) in &literals {
            automaton.add(text, Use { predicate: number, place: *place });
        }
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
        numbers.push(self.push(rule, Hotness { question, needs, rules: Vec::new(), rarity: 0, cost })?);
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

    /// Predicates of which one is found in every event that the condition is true of: the rarest such set.
    fn announced_by(&self, hot: &Hot) -> Option<Vec<u32>> {
        match hot {
            Hot::All(parts) => {
                parts.iter().filter_map(|part| self.announced_by(part)).max_by_key(|set| self.rarity_of(set))
            }
            Hot::Any(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(self.announced_by(part)?);
                }
                (!all.is_empty()).then_some(all)
            }
            Hot::Not(_) => None,
            Hot::Is(number) => {
                let predicate = self.hotness(*number);
                match (predicate.question, predicate.needs) {
                    (NONE, _) => Some(vec![*number]),
                    (_, NONE) => None,
                    (_, needs) => Some(vec![needs]),
                }
            }
        }
    }

    fn rarity_of(&self, set: &[u32]) -> (usize, usize) {
        let least = set.iter().map(|predicate| self.hotness(*predicate).rarity).min().unwrap_or(0);
        (least, usize::MAX - set.len())
    }

    /// The condition's code, which goes on at one of two places; where it begins. What it goes on to is laid out before it.
    fn code(&self, tables: &mut Tables, hot: &Hot, if_true: u32, if_false: u32) -> u32 {
        match hot {
            Hot::All(parts) => parts.iter().rev().fold(if_true, |then, part| self.code(tables, part, then, if_false)),
            Hot::Any(parts) => {
                parts.iter().rev().fold(if_false, |or_else, part| self.code(tables, part, if_true, or_else))
            }
            Hot::Not(part) => self.code(tables, part, if_false, if_true),
            Hot::Is(predicate) => {
                let number = tables.code.len() as u32;
                tables.code.push(CodeRecord {
                    predicate: (*predicate).into(),
                    if_true: if_true.into(),
                    if_false: if_false.into(),
                });
                number
            }
        }
    }
}

/// The last of these predicates, behind the others. The first of them the last needs by itself.
fn behind(numbers: &[u32]) -> Hot {
    let rest = numbers.get(1..).filter(|rest| !rest.is_empty()).unwrap_or(numbers);
    Hot::All(rest.iter().map(|number| Hot::Is(*number)).collect())
}

fn field_of(tables: &mut Tables, rule: &Rule, predicate: &Predicate) -> Result<u32, CompileError> {
    predicate.field.as_deref().map_or(Ok(NONE), |field| tables.slot(rule, field))
}

/// How rarely a literal is likely to be found: longer ones are rarer, and those that must stand somewhere.
fn rarity((place, text): &Literal) -> usize {
    let placed = match *place {
        PLACE_WHOLE => 8,
        PLACE_START | PLACE_END => 2,
        _ => 0,
    };
    text.len() + placed
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
