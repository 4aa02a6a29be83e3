//! Exceptions put into the rules that they name, and what is wrong with them: those that name no rule, can never apply, or leave out
//! more than anybody named.

use crate::rule::{Expr, LogSource, Rule, Selection};

use super::logic::{implies, is_broad, Condition};
use super::{Exception, Targets};
use crate::sigma::load::same_id;
use crate::sigma::reason::did_you_mean;
use crate::sigma::{Loaded, LoadedException};

/// Rules with their exceptions in them.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The rules, in the order that they were given in.
    pub rules: Vec<Rule>,
    /// Of each rule: the exceptions that together leave out every event that it is true of, in words.
    pub emptied_by: Vec<Option<String>>,
    /// Of each exception: where it applies, and what is wrong with it.
    pub exceptions: Vec<FoundIn>,
}

/// Where an exception applies, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundIn {
    /// The positions of the rules that it is put into.
    pub rules: Vec<usize>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What is wrong with an exception.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// It names a rule that is not there.
    #[error("dangling: there is no rule {name}: {mend}")]
    Dangling {
        /// As it is named.
        name: String,
        /// What to do.
        mend: String,
    },
    /// Several rules have the name that it names.
    #[error("dangling: {count} rules are called {name}: name the id of one")]
    Ambiguous {
        /// As it is named.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// It names a rule of another log source.
    #[error("unused: rule {rule} is of {found}, not of the log source that this {word} is for: correct its logsource")]
    OtherLogSource {
        /// The rule's id.
        rule: String,
        /// The rule's log source.
        found: String,
        /// `filter` or `exception`.
        word: &'static str,
    },
    /// It is for all rules of a log source, and there is none.
    #[error("unused: there is no rule of its log source")]
    NoRule,
    /// It is true of events in which nothing is what it names.
    #[error("over-broad: it is true without any text, number or address that it names: name what is left out")]
    Broad,
    /// Nothing is left of a rule.
    #[error("over-broad: it leaves out every hit of rule {rule}: remove the rule, or name less")]
    EmptiesRule {
        /// The rule's id.
        rule: String,
    },
}

/// The rules with the exceptions in them. Each becomes selections of its own, named for it, so that an explanation can tell it from
/// what the rule's author left out.
#[must_use]
pub fn apply(loaded: &[Loaded], exceptions: &[LoadedException]) -> Applied {
    let mut applied = Applied {
        rules: loaded.iter().map(|loaded| loaded.rule.clone()).collect(),
        emptied_by: vec![None; loaded.len()],
        exceptions: Vec::with_capacity(exceptions.len()),
    };
    for LoadedException { exception, .. } in exceptions {
        let mut found = place(exception, loaded);
        if is_broad(&exception.excluded, &exception.selections) {
            found.findings.push(Finding::Broad);
        }
        for position in found.rules.iter().copied() {
            let Some(rule) = applied.rules.get_mut(position) else { continue };
            if is_emptied(rule, exception) {
                found.findings.push(Finding::EmptiesRule { rule: rule.id.clone() });
                if let Some(emptied) = applied.emptied_by.get_mut(position) {
                    emptied.get_or_insert_with(|| format!("{} {}", exception.word, exception.id));
                }
            }
            put(exception, rule, !applied.exceptions.iter().any(|before: &FoundIn| before.rules.contains(&position)));
        }
        applied.exceptions.push(found);
    }
    applied
}

/// Whether nothing is left: all that the rule is true of, with the exceptions that are in it already, is excluded.
fn is_emptied(rule: &Rule, exception: &Exception) -> bool {
    let left = Condition { expr: &rule.condition, selections: &rule.selections };
    implies(left, Condition { expr: &exception.excluded, selections: &exception.selections })
}

/// The rules that it is for.
fn place(exception: &Exception, loaded: &[Loaded]) -> FoundIn {
    let fits = |rule: &Rule| exception.logsource.as_ref().is_none_or(|own| own.applies_to(&rule.logsource));
    let mut found = FoundIn::default();
    match &exception.targets {
        Targets::Any => {
            found.rules = (0..).zip(loaded).filter(|(_, loaded)| fits(&loaded.rule)).map(|(at, _)| at).collect();
            if found.rules.is_empty() {
                found.findings.push(Finding::NoRule);
            }
        }
        Targets::Named(names) => {
            for (name, _) in names {
                match rules_called(name, loaded).as_slice() {
                    [_, others @ ..] if !others.is_empty() => {
                        let count = others.len().saturating_add(1);
                        found.findings.push(Finding::Ambiguous { name: name.clone(), count });
                    }
                    [] => {
                        let known = loaded.iter().map(|loaded| loaded.rule.id.as_str());
                        let mend = did_you_mean(name, known, "remove it, or add the rule");
                        found.findings.push(Finding::Dangling { name: name.clone(), mend });
                    }
                    [position, ..] if found.rules.contains(position) => {}
                    [position, ..] => match loaded.get(*position).map(|loaded| &loaded.rule) {
                        Some(rule) if !fits(rule) => found.findings.push(Finding::OtherLogSource {
                            rule: rule.id.clone(),
                            found: in_words(&rule.logsource),
                            word: exception.word,
                        }),
                        _ => found.rules.push(*position),
                    },
                }
            }
        }
    }
    found
}

/// The rule of that id, else the rules of that name: an id is one rule's.
fn rules_called(name: &str, loaded: &[Loaded]) -> Vec<usize> {
    let by = |is: &dyn Fn(&Loaded) -> bool| -> Vec<usize> {
        (0..).zip(loaded).filter(|(_, loaded)| is(loaded)).map(|(position, _)| position).collect()
    };
    let by_id = by(&|loaded| same_id(&loaded.rule.id) == same_id(name));
    match by_id.is_empty() {
        true => by(&|loaded| loaded.name.as_deref() == Some(name)),
        false => by_id,
    }
}

/// Adds "and not" to a rule; all exceptions of a rule stand side by side, so that many of them do not nest.
fn put(exception: &Exception, rule: &mut Rule, is_first: bool) {
    let excluded = Expr::Not(Box::new(selections_of(exception, rule)));
    let own = std::mem::replace(&mut rule.condition, Expr::All(Vec::new()));
    rule.condition = match own {
        Expr::All(mut parts) if !is_first => {
            parts.push(excluded);
            Expr::All(parts)
        }
        own => Expr::All(vec![own, excluded]),
    };
}

/// The rule where the exception is true of it, for counting.
pub(super) fn put_aside(exception: &Exception, rule: &Rule) -> Rule {
    let mut rule = rule.clone();
    let excluded = selections_of(exception, &mut rule);
    rule.condition = Expr::All(vec![rule.condition, excluded]);
    rule
}

/// Gives the rule the exception's selections; the exception's condition over them.
fn selections_of(exception: &Exception, rule: &mut Rule) -> Expr {
    let first = rule.selections.len();
    let name = |selection: &Selection| format!("{} {}: {}", exception.word, exception.title, selection.name);
    let own = exception.selections.iter().map(|part| Selection { name: name(part), body: part.body.clone() });
    rule.selections.extend(own);
    rule.uses.extend(exception.uses.iter().cloned());
    moved(&exception.excluded, first)
}

/// The condition with its selections so much further on.
fn moved(expr: &Expr, by: usize) -> Expr {
    match expr {
        Expr::All(parts) => Expr::All(parts.iter().map(|part| moved(part, by)).collect()),
        Expr::Any(parts) => Expr::Any(parts.iter().map(|part| moved(part, by)).collect()),
        Expr::Not(part) => Expr::Not(Box::new(moved(part, by))),
        Expr::Selection(position) => Expr::Selection(position.saturating_add(by)),
        Expr::Is(predicate) => Expr::Is(predicate.clone()),
    }
}

/// A log source for people.
pub(in crate::sigma) fn in_words(logsource: &LogSource) -> String {
    let parts = [("category", &logsource.category), ("product", &logsource.product), ("service", &logsource.service)];
    let set = parts.iter().filter_map(|(name, part)| part.as_ref().map(|part| format!("{name} {part}")));
    set.collect::<Vec<_>>().join(", ")
}
