//! Exceptions put into the rules that they name, and what is wrong with them: those that name no rule, can never apply, or leave out
//! more than anybody named.

use crate::rule::{Expr, InputSource, LogSource, Rule, Selection};

use super::logic::{implies, is_broad, Condition};
use super::{Exception, Targets};
use crate::sigma::host::is_supplied;
use crate::sigma::load::same_id;
use crate::sigma::reason::did_you_mean;
use crate::sigma::{Library, Loaded, LoadedCorrelation};

/// Rules with their exceptions in them.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The rules, in the order that they were given in.
    pub rules: Vec<Rule>,
    /// The correlations alike: an exception of a sequence is put into its stages.
    pub correlations: Vec<LoadedCorrelation>,
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
    /// The positions of the sequences.
    pub sequences: Vec<usize>,
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
    /// It names a correlation that has no stages of its own.
    #[error("unused: correlation {rule} listens to rules by name: name those, {listens}")]
    ListensByName {
        /// The correlation's id.
        rule: String,
        /// What it listens to.
        listens: String,
    },
    /// It names a sequence whose stages never see such events.
    #[error("unused: no stage of {rule} is of a log source that has what it asks for: name a field of one")]
    NoStage {
        /// The sequence's id.
        rule: String,
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
pub fn apply(library: &Library) -> Applied {
    let Library { rules: loaded, exceptions, correlations, .. } = library;
    let mut applied = Applied {
        rules: loaded.iter().map(|loaded| loaded.rule.clone()).collect(),
        correlations: correlations.clone(),
        emptied_by: vec![None; loaded.len()],
        exceptions: Vec::with_capacity(exceptions.len()),
    };
    for exception in exceptions.iter().map(|loaded| &loaded.exception) {
        let mut found = place(exception, library);
        if is_broad(&exception.excluded, &exception.selections) {
            found.findings.push(Finding::Broad);
        }
        for position in found.rules.iter().copied() {
            let (Some(rule), Some(Loaded { rule: own, .. })) = (applied.rules.get_mut(position), loaded.get(position))
            else {
                continue;
            };
            // Beside the others, and by itself: one that leaves nothing over must not hide the next.
            if is_emptied(own, exception) || is_emptied(rule, exception) {
                found.findings.push(Finding::EmptiesRule { rule: rule.id.clone() });
                if let Some(emptied) = applied.emptied_by.get_mut(position) {
                    emptied.get_or_insert_with(|| format!("{} {}", exception.word, exception.id));
                }
            }
            put(exception, rule, !applied.exceptions.iter().any(|before: &FoundIn| before.rules.contains(&position)));
        }
        for position in found.sequences.iter().copied() {
            let is_first = !applied.exceptions.iter().any(|before| before.sequences.contains(&position));
            let stages = applied.correlations.get_mut(position).into_iter().flat_map(stages_mut);
            let mut own = correlations.get(position).cloned();
            for (stage, own) in stages.zip(own.iter_mut().flat_map(stages_mut)) {
                if !fits_stage(exception, stage) {
                    continue;
                }
                if is_emptied(own, exception) || is_emptied(stage, exception) {
                    found.findings.push(Finding::EmptiesRule { rule: stage.id.clone() });
                }
                put(exception, stage, is_first);
            }
        }
        applied.exceptions.push(found);
    }
    applied
}

fn stages_mut(loaded: &mut LoadedCorrelation) -> impl Iterator<Item = &mut Rule> {
    loaded.correlation.inputs.iter_mut().filter_map(|input| match &mut input.source {
        InputSource::Inline(rule) => Some(rule.as_mut()),
        InputSource::Named { .. } => None,
    })
}

/// Whether the stage's events can be what the exception is about: one stage is of files, the next of processes.
fn fits_stage(exception: &Exception, stage: &Rule) -> bool {
    exception.logsource.as_ref().is_none_or(|own| own.applies_to(&stage.logsource))
        && is_supplied(exception, &stage.logsource)
}

/// Whether nothing is left: all that the rule is true of, with the exceptions that are in it already, is excluded.
fn is_emptied(rule: &Rule, exception: &Exception) -> bool {
    let left = Condition { expr: &rule.condition, selections: &rule.selections };
    implies(left, Condition { expr: &exception.excluded, selections: &exception.selections })
}

/// The rules and sequences that it is for.
fn place(exception: &Exception, library: &Library) -> FoundIn {
    let loaded = library.rules.as_slice();
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
                    [] => place_in_correlation(exception, name, library, &mut found),
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

/// The sequence of that id or name; what else has it can't have an exception.
fn place_in_correlation(exception: &Exception, name: &str, library: &Library, found: &mut FoundIn) {
    let correlations = &library.correlations;
    let by_id = correlations.iter().position(|one| same_id(&one.correlation.id) == same_id(name));
    let mut by_name = (0..).zip(correlations).filter(|(_, one)| one.name.as_deref() == Some(name)).map(|(at, _)| at);
    let Some(position) = by_id.or_else(|| by_name.next()) else {
        let ids = correlations.iter().map(|one| one.correlation.id.as_str());
        let known = library.rules.iter().map(|loaded| loaded.rule.id.as_str()).chain(ids);
        let mend = did_you_mean(name, known, "remove it, or add the rule");
        found.findings.push(Finding::Dangling { name: name.to_owned(), mend });
        return;
    };
    if by_id.is_none() && by_name.next().is_some() {
        let count = by_name.count().saturating_add(2);
        found.findings.push(Finding::Ambiguous { name: name.to_owned(), count });
        return;
    }
    let Some(correlation) = correlations.get(position).map(|one| &one.correlation) else { return };
    let (mut stages, mut listens) = (Vec::new(), Vec::new());
    for input in &correlation.inputs {
        match &input.source {
            InputSource::Inline(rule) => stages.push(rule.as_ref()),
            InputSource::Named { reference, .. } => listens.push(reference.as_str()),
        }
    }
    let rule = correlation.id.clone();
    if !listens.is_empty() {
        found.findings.push(Finding::ListensByName { rule, listens: listens.join(", ") });
    } else if !stages.iter().any(|stage| fits_stage(exception, stage)) {
        found.findings.push(Finding::NoStage { rule });
    } else if !found.sequences.contains(&position) {
        found.sequences.push(position);
    }
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
