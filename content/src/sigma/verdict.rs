//! Whether a rule can ever fire on the events that a sensor supplies, and what of it can't.
//!
//! A rule that is accepted and never fires is the worst kind: it looks like protection. So every rule gets a verdict, found by
//! evaluating its condition over what could be true: a field that is not supplied is absent, everything else may be anything.

use std::collections::{BTreeMap, BTreeSet};

use crate::image::types;
use crate::rule::{Expr, LogSource, Op, Rule};
use serde::Serialize;

use watertight_engine::image::layout::TYPE_ANY;

use super::condition::fits;
use super::exception::{apply, Exception, FoundIn};
use super::reason::did_you_mean;
use super::{verdict_together, Kind, Library, Loaded, Rejection};

/// Most fields that a reason names.
const NAMED_FIELDS_MAX: usize = 5;

/// What a sensor supplies.
#[derive(Clone, Debug, Default)]
pub struct Supply {
    /// One entry per kind of event.
    pub entries: Vec<Supplied>,
}

/// A kind of event that is supplied.
#[derive(Clone, Debug, Default)]
pub struct Supplied {
    /// The event's category, if it has one.
    pub category: Option<String>,
    /// The event's product, if it has one.
    pub product: Option<String>,
    /// Patterns (`*` for any text) of the services that such events may carry; none when they carry no service.
    pub services: Vec<String>,
    /// The fields that such events may have.
    pub fields: BTreeSet<String>,
    /// Of fields whose types are known: the `TYPE_` bits.
    pub types: BTreeMap<String, u32>,
}

/// What a rule is worth on a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything it asks for is supplied.
    CanFire,
    /// It can fire, but some part of it can't do its work.
    Degraded,
    /// No event that is supplied can make it fire.
    Never,
    /// It was refused.
    Rejected,
}

/// A rule's verdict and the reason; or an exception's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What the row is about.
    pub kind: Kind,
    /// The rule's id; empty when the file could not be read that far.
    pub rule: String,
    /// The file it is in.
    pub file: String,
    /// The verdict.
    pub verdict: Verdict,
    /// One sentence; empty when there is nothing to say.
    pub reason: String,
    /// Of what was refused: where exactly, and what to do.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// Where exactly something was refused, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The code, which stays the same for ever.
    pub code: &'static str,
    /// From 1.
    pub line: usize,
    /// The character in the line, from 1; 0 where only the line is known.
    pub column: usize,
    /// The line of the end, and the character behind the last.
    pub end: (usize, usize),
    /// What is there.
    pub label: String,
    /// What to do.
    pub mend: String,
}

/// The verdict of every document of a library, by file.
#[must_use]
pub fn rows(library: &Library, supply: &Supply) -> Vec<Row> {
    let applied = apply(library);
    let changed = applied.rules.iter().zip(&applied.emptied_by);
    let accepted = library.rules.iter().zip(changed).map(|(loaded, (changed, emptied_by))| {
        let (verdict, reason) = judge_with(&loaded.rule, changed, emptied_by.as_deref(), supply);
        let row = Row {
            kind: Kind::Rule,
            rule: loaded.rule.id.clone(),
            file: loaded.file.clone(),
            verdict,
            reason,
            refusal: None,
        };
        (loaded.line, row)
    });
    let exceptions = library.exceptions.iter().zip(&applied.exceptions).map(|(loaded, found)| {
        let (verdict, reason) = judge_exception(&loaded.exception, found, library, supply);
        let (rule, file) = (loaded.exception.id.clone(), loaded.file.clone());
        (loaded.line, Row { kind: Kind::Exception, rule, file, verdict, reason, refusal: None })
    });
    let together = library.correlations.iter().zip(verdict_together::verdicts(library, &applied, supply));
    let together = together.map(|(loaded, (verdict, reason))| {
        let (rule, file) = (loaded.correlation.id.clone(), loaded.file.clone());
        (loaded.line, Row { kind: Kind::Correlation, rule, file, verdict, reason, refusal: None })
    });
    let rejected = library.rejections.iter().map(|rejection| (rejection.line, rejected(rejection)));
    let mut rows: Vec<(usize, Row)> = accepted.chain(together).chain(exceptions).chain(rejected).collect();
    rows.sort_by(|(left_line, left), (right_line, right)| (&left.file, left_line).cmp(&(&right.file, right_line)));
    rows.into_iter().map(|(_, row)| row).collect()
}

fn rejected(rejection: &Rejection) -> Row {
    let Rejection { kind, rule, file, line, span, reason, .. } = rejection;
    Row {
        kind: *kind,
        rule: rule.clone().unwrap_or_default(),
        file: file.clone(),
        verdict: Verdict::Rejected,
        reason: format!("line {line}: {reason}: {}", reason.mend()),
        refusal: Some(Refusal {
            code: reason.code(),
            line: *line,
            column: span.column,
            end: (span.end_line, span.end_column),
            label: reason.label(),
            mend: reason.mend(),
        }),
    }
}

/// The verdict of a rule with its exceptions in it. What of an exception is not supplied does not make the rule worth less.
fn judge_with(rule: &Rule, changed: &Rule, emptied_by: Option<&str>, supply: &Supply) -> (Verdict, String) {
    let (verdict, reason) = judge(rule, supply);
    if verdict == Verdict::Never {
        return (verdict, reason);
    }
    if let Some(exception) = emptied_by {
        return (Verdict::Never, format!("every hit is excluded by {exception}"));
    }
    match judge(changed, supply) {
        (Verdict::Never, _) => {
            (Verdict::Never, "every hit that this sensor's events allow is excluded by exceptions".to_owned())
        }
        _ => (verdict, reason),
    }
}

/// What an exception is worth: never if it can't leave anything out, degraded if something is wrong with it.
fn judge_exception(exception: &Exception, found: &FoundIn, library: &Library, supply: &Supply) -> (Verdict, String) {
    let mut reasons: Vec<String> = found.findings.iter().map(ToString::to_string).collect();
    // The condition over the exception's own selections, as a rule of each log source that it is put into.
    let can_exclude = |position: &usize| {
        let Some(Loaded { rule, .. }) = library.rules.get(*position) else { return false };
        let alone =
            Rule { selections: exception.selections.clone(), condition: exception.excluded.clone(), ..rule.clone() };
        let mut sources = supply.entries.iter().filter(|entry| entry.serves(&rule.logsource)).peekable();
        sources.peek().is_none()
            || sources
                .any(|entry| possible(&alone, &alone.condition, &|field, types| entry.has(field, types)).can_be_true)
    };
    let is_in_vain = found.sequences.is_empty() && !found.rules.is_empty() && !found.rules.iter().any(can_exclude);
    if is_in_vain {
        reasons.push("unused: every way to be true needs what the log source does not supply".to_owned());
    }
    if let Some(names) = found.rules.iter().find_map(|position| asks_for_more(exception, *position, library, supply)) {
        reasons.push(format!("its log source does not supply {names}: a host refuses the {}", exception.word));
    }
    let verdict = match (found.rules.is_empty() && found.sequences.is_empty() || is_in_vain, reasons.is_empty()) {
        (true, _) => Verdict::Never,
        (false, false) => Verdict::Degraded,
        (false, true) => Verdict::CanFire,
    };
    (verdict, reasons.join("; "))
}

/// The fields of an exception that the events of the rule at this position do not have.
fn asks_for_more(exception: &Exception, position: usize, library: &Library, supply: &Supply) -> Option<String> {
    let Loaded { rule, .. } = library.rules.get(position)?;
    let entries: Vec<&Supplied> = supply.entries.iter().filter(|entry| entry.serves(&rule.logsource)).collect();
    let alone = Rule {
        selections: exception.selections.clone(),
        condition: exception.excluded.clone(),
        uses: exception.uses.clone(),
        ..rule.clone()
    };
    let mut asked = Asked::default();
    asked.collect(&alone, &alone.condition);
    let is_missing = |(field, types): &&(&'_ str, u32)| !entries.iter().any(|entry| entry.has(field, *types));
    let missing: Vec<&str> = asked.fields.iter().filter(is_missing).map(|(field, _)| *field).collect();
    (!missing.is_empty() && !entries.is_empty()).then(|| named(&missing, &alone, &entries))
}

/// The verdict of one rule: the best that any kind of event gives it.
#[must_use]
pub fn judge(rule: &Rule, supply: &Supply) -> (Verdict, String) {
    let sources = supply.entries.iter().filter(|entry| entry.serves(&rule.logsource));
    let best = sources.map(|entry| judge_on(rule, entry)).min_by_key(|(verdict, _)| *verdict);
    best.unwrap_or_else(|| {
        let reason = format!("the log source {} is not supplied", shown(&rule.logsource));
        (Verdict::Never, reason)
    })
}

fn judge_on(rule: &Rule, entry: &Supplied) -> (Verdict, String) {
    let outcome = possible(rule, &rule.condition, &|field, types| entry.has(field, types));
    let mut asked = Asked::default();
    asked.collect(rule, &rule.condition);
    let is_missing = |(field, wanted): &&(&'_ str, u32)| !entry.has(field, *wanted);
    let mut missing: Vec<&str> = asked.fields.iter().filter(is_missing).map(|(field, _)| *field).collect();
    missing.dedup();
    let names = named(&missing, rule, &[entry]);
    let source = shown(&rule.logsource);
    if !outcome.can_be_true {
        let reason = format!("every way to be true needs what {source} does not supply: {names}");
        return (Verdict::Never, reason);
    }
    if !missing.is_empty() {
        let without_fields = possible(rule, &rule.condition, &|_, _| false);
        let reason = if without_fields.can_be_true {
            format!("it fires where fields are absent, and {source} does not supply {names}: a host refuses the rule")
        } else {
            format!(
                "{source} does not supply {names}: the parts that ask for it never apply, and a host refuses the rule"
            )
        };
        return (Verdict::Degraded, reason);
    }
    let unused = rule
        .selections
        .iter()
        .enumerate()
        .find(|(position, selection)| !selection.name.starts_with('_') && !asked.selections.contains(position));
    match unused {
        Some((_, selection)) => (Verdict::Degraded, format!("the condition never uses selection {}", selection.name)),
        None => (Verdict::CanFire, String::new()),
    }
}

impl Supplied {
    /// Whether such events may have the field, with a value of one of these types.
    pub(super) fn has(&self, field: &str, types: u32) -> bool {
        self.fields.contains(field) && self.types.get(field).is_none_or(|known| known & types != 0)
    }

    pub(super) fn serves(&self, wanted: &LogSource) -> bool {
        let agrees = |wanted: &Option<String>, given: &Option<String>| wanted.is_none() || wanted == given;
        let has_service = wanted
            .service
            .as_ref()
            .is_none_or(|service| self.services.iter().any(|pattern| fits(pattern.as_bytes(), service.as_bytes())));
        agrees(&wanted.category, &self.category) && agrees(&wanted.product, &self.product) && has_service
    }
}

/// What can come out of a condition.
#[derive(Clone, Copy)]
struct Possible {
    can_be_true: bool,
    can_be_false: bool,
}

/// Depth is that of the condition, which the parser has capped.
fn possible(rule: &Rule, expr: &Expr, is_supplied: &dyn Fn(&str, u32) -> bool) -> Possible {
    match expr {
        Expr::All(parts) => {
            let start = Possible { can_be_true: true, can_be_false: false };
            parts.iter().map(|part| possible(rule, part, is_supplied)).fold(start, |sum, part| Possible {
                can_be_true: sum.can_be_true && part.can_be_true,
                can_be_false: sum.can_be_false || part.can_be_false,
            })
        }
        Expr::Any(parts) => {
            let start = Possible { can_be_true: false, can_be_false: true };
            parts.iter().map(|part| possible(rule, part, is_supplied)).fold(start, |sum, part| Possible {
                can_be_true: sum.can_be_true || part.can_be_true,
                can_be_false: sum.can_be_false && part.can_be_false,
            })
        }
        Expr::Not(part) => {
            let inner = possible(rule, part, is_supplied);
            Possible { can_be_true: inner.can_be_false, can_be_false: inner.can_be_true }
        }
        Expr::Selection(position) => match rule.selections.get(*position) {
            Some(selection) => possible(rule, &selection.body, is_supplied),
            None => Possible { can_be_true: false, can_be_false: true },
        },
        Expr::Is(predicate) => {
            let wanted = types(&predicate.op);
            let field_is_there = predicate.field.as_deref().is_none_or(|field| is_supplied(field, wanted));
            let other_is_there = match &predicate.op {
                Op::SameAs { field, .. } => is_supplied(field, TYPE_ANY),
                _ => true,
            };
            let holds_when_absent = matches!(predicate.op, Op::Null | Op::Exists(false));
            match field_is_there && other_is_there {
                true => Possible { can_be_true: true, can_be_false: true },
                false => Possible { can_be_true: holds_when_absent, can_be_false: !holds_when_absent },
            }
        }
    }
}

/// What a condition asks for.
#[derive(Default)]
struct Asked<'r> {
    /// With the types that can answer.
    fields: BTreeSet<(&'r str, u32)>,
    selections: BTreeSet<usize>,
}

impl<'r> Asked<'r> {
    fn collect(&mut self, rule: &'r Rule, expr: &'r Expr) {
        match expr {
            Expr::All(parts) | Expr::Any(parts) => parts.iter().for_each(|part| self.collect(rule, part)),
            Expr::Not(part) => self.collect(rule, part),
            Expr::Selection(position) => {
                if self.selections.insert(*position) {
                    if let Some(selection) = rule.selections.get(*position) {
                        self.collect(rule, &selection.body);
                    }
                }
            }
            Expr::Is(predicate) => {
                self.fields.extend(predicate.field.as_deref().map(|field| (field, types(&predicate.op))));
                if let Op::SameAs { field, .. } = &predicate.op {
                    self.fields.insert((field, TYPE_ANY));
                }
            }
        }
    }
}

/// The fields that are missing, each with the line that asks for it.
fn named(fields: &[&str], rule: &Rule, entries: &[&Supplied]) -> String {
    let line = |field: &str| rule.uses.iter().find(|used| used.field == field).map_or(0, |used| used.span.line);
    let shown: Vec<String> =
        fields.iter().take(NAMED_FIELDS_MAX).map(|field| lacking(field, line(field), entries)).collect();
    match fields.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A field that none of these events has as it is asked for: the line that asks, and what may have been meant.
pub(super) fn lacking(field: &str, line: usize, entries: &[&Supplied]) -> String {
    let mut notes = Vec::new();
    if line > 0 {
        notes.push(format!("line {line}"));
    }
    if entries.iter().any(|entry| entry.fields.contains(field)) {
        notes.push("which is of another type there".to_owned());
    } else {
        let known = entries.iter().flat_map(|entry| entry.fields.iter().map(String::as_str));
        notes.extend(Some(did_you_mean(field, known, "")).filter(|mend| !mend.is_empty()));
    }
    match notes.is_empty() {
        true => field.to_owned(),
        false => format!("{field} ({})", notes.join("; ")),
    }
}

fn shown(logsource: &LogSource) -> String {
    let parts = [("category", &logsource.category), ("product", &logsource.product), ("service", &logsource.service)];
    let set = parts.iter().filter_map(|(name, part)| part.as_ref().map(|part| format!("{name} {part}")));
    set.collect::<Vec<_>>().join(", ")
}
