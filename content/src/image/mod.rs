//! Rules to an image: everything that evaluation needs, worked out here so that the engine only looks things up.
//!
//! For each log source (`group`): questions about literals become entries of automata (`automaton`), the others predicates that
//! are asked when a rule comes to them, behind a literal that announces them (`witness`); conditions become code that jumps to
//! its end (`hot`). Beside that lies each condition as it was written, for explanations.

mod asks;
mod automaton;
mod correlation;
mod group;
mod hot;
mod tables;
mod witness;

use std::collections::BTreeMap;

use watertight_engine::image::layout::{GroupRecord, Range, RuleRecord, FLAG_FOREIGN, NONE};
use watertight_engine::{Budget, Image, ImageError, Level, Unsupplied};

use crate::rule::{Expr, LogSource, Rule};
use crate::sigma::host::types_here;
pub(crate) use asks::types;
pub use correlation::{Correlation, Input, Listened, Place};
use group::{Group, Laid};
use tables::Tables;

/// A rule and where it came from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'s> {
    /// The rule.
    pub rule: &'s Rule,
    /// The file it is in.
    pub file: &'s str,
    /// The line its document begins at, from 1.
    pub line: usize,
}

/// Why rules can't be compiled. They are refused together, so that no rule is missing in silence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// An expression is not acceptable.
    #[error("{error}")]
    Regex {
        /// The rule's id.
        rule: String,
        /// What is wrong with the expression.
        error: crate::rule::RegexError,
    },
    /// A condition needs more code than a rule may have.
    #[error("its condition takes more than {limit} steps when it is written out: split the rule")]
    TooLong {
        /// The rule's id.
        rule: String,
        /// The limit.
        limit: usize,
    },
    /// There is more than an image counts.
    #[error("the rules have more {what} than one image counts: split them")]
    TooMany {
        /// The rule at which the limit was reached.
        rule: String,
        /// What there is too much of.
        what: &'static str,
    },
    /// A selection is referred to that does not exist, or from within a selection.
    #[error("it refers to a selection that is not there, or within a selection")]
    NoSelection {
        /// The rule's id.
        rule: String,
    },
    /// A correlation's state has no room for one group that fires.
    #[error(
        "its state of {state_bytes} bytes has no room for what one group must remember: raise state, or ask for less"
    )]
    NoRoom {
        /// The correlation's id.
        rule: String,
        /// What it may take.
        state_bytes: u64,
    },
    /// All correlations together take too much.
    #[error(
        "its state and that of the correlations before it take more than {limit_bytes} bytes: lower state in some"
    )]
    TooMuchState {
        /// The correlation at which the limit was reached.
        rule: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// What was written can't be read again: a defect of the compiler, found before anybody else could.
    #[error("the image that was compiled is refused by the engine: {0}")]
    Refused(#[from] ImageError),
    /// A rule asks for what the host does not have.
    #[error("{0}")]
    Unsupplied(#[from] Unsupplied),
}

impl CompileError {
    /// The rule that is refused, if it is one rule's fault.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Regex { rule, .. }
            | Self::TooLong { rule, .. }
            | Self::TooMany { rule, .. }
            | Self::NoRoom { rule, .. }
            | Self::TooMuchState { rule, .. }
            | Self::NoSelection { rule } => Some(rule),
            Self::Unsupplied(Unsupplied { rule, .. }) => Some(rule),
            Self::Refused(_) => None,
        }
    }
}

/// Whose events an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any sensor's: a host does not load it.
    Foreign,
    /// This host's, by the event table: what it does not have is refused.
    Host,
}

/// The rules as an image for any sensor's events, which the engine has read once.
///
/// # Errors
/// When a rule exceeds what an image may hold. What the reader of rules accepts is never refused for another reason.
pub fn compile<'s>(rules: impl IntoIterator<Item = Source<'s>>) -> Result<Vec<u8>, CompileError> {
    compile_for(Target::Foreign, rules, &[])
}

/// The rules and the correlations that stand on them as an image, which was opened once in the way in which it will be.
///
/// # Errors
/// When a rule exceeds what an image may hold, or asks for what its target does not have.
pub fn compile_for<'s>(
    target: Target,
    rules: impl IntoIterator<Item = Source<'s>>,
    correlations: &[Correlation<'_>],
) -> Result<Vec<u8>, CompileError> {
    compile_within(Budget::default(), target, rules, correlations)
}

/// The same with less than the engine's own limits for what one event may cost.
///
/// # Errors
/// As above, and when the budget is more than those, or nothing.
pub fn compile_within<'s>(
    budget: Budget,
    target: Target,
    rules: impl IntoIterator<Item = Source<'s>>,
    correlations: &[Correlation<'_>],
) -> Result<Vec<u8>, CompileError> {
    let mut by_source: BTreeMap<&LogSource, Vec<Source<'s>>> = BTreeMap::new();
    let mut given_as: BTreeMap<&LogSource, Vec<usize>> = BTreeMap::new();
    let mut count = 0;
    for source in rules {
        by_source.entry(&source.rule.logsource).or_default().push(source);
        given_as.entry(&source.rule.logsource).or_default().push(count);
        count += 1;
    }
    let mut tables = Tables::default();
    for (logsource, sources) in by_source {
        add_group(&mut tables, logsource, &sources)?;
    }
    // Rules lie by log source; correlations name them as they were given.
    let mut positions = vec![NONE; count];
    for (position, given) in (0_u32..).zip(given_as.into_values().flatten()) {
        if let Some(place) = positions.get_mut(given) {
            *place = position;
        }
    }
    correlation::add(&mut tables, correlations, &positions)?;
    let image = tables.finish(if target == Target::Foreign { FLAG_FOREIGN } else { 0 }, budget);
    let opened = Image::open(&image)?;
    if target == Target::Host {
        opened.check_supply(&types_here)?;
    }
    Ok(image)
}

fn add_group(tables: &mut Tables, logsource: &LogSource, sources: &[Source<'_>]) -> Result<(), CompileError> {
    let first_rule = tables.rules.len() as u32;
    let first_predicate = tables.predicates.len() as u32;
    let mut group = Group::new(first_predicate);
    for source in sources {
        let record = rule_record(tables, source)?;
        group.add(tables, source.rule)?;
        tables.rules.push(record);
    }
    let Laid { automata, keywords, always, code } = group.finish(tables, first_rule)?;
    for (rule, code) in tables.rules.iter_mut().skip(first_rule as usize).zip(code) {
        rule.code = code.into();
    }
    let mut part = |text: &Option<String>| text.as_deref().map_or(Range::unset(), |text| tables.text(text));
    let (category, product, service) = (part(&logsource.category), part(&logsource.product), part(&logsource.service));
    let always = tables.list(&always);
    tables.groups.push(GroupRecord {
        category,
        product,
        service,
        rules: Range::new(first_rule, tables.rules.len() as u32 - first_rule),
        automata,
        keywords: keywords.unwrap_or(NONE).into(),
        always,
        predicates: Range::new(first_predicate, tables.predicates.len() as u32 - first_predicate),
    });
    Ok(())
}

/// The rule without its code, which its group lays out.
fn rule_record(tables: &mut Tables, source: &Source<'_>) -> Result<RuleRecord, CompileError> {
    let rule = source.rule;
    if rule.selections.iter().any(|selection| has_selection(&selection.body)) {
        return Err(CompileError::NoSelection { rule: rule.id.clone() });
    }
    let names: Vec<Range> = rule.selections.iter().map(|selection| tables.text(&selection.name)).collect();
    let selections = tables.selections_of(&names);
    let mut fields = Vec::new();
    let root = tables.nodes_of(rule, &rule.condition, &mut fields)?;
    fields.sort_unstable();
    fields.dedup();
    Ok(RuleRecord {
        id: tables.text(&rule.id),
        title: tables.text(&rule.title),
        tags: tables.text(&rule.tags.join("\n")),
        author: rule.author.as_deref().map_or(Range::unset(), |author| tables.text(author)),
        file: tables.text(source.file),
        line: u32::try_from(source.line).unwrap_or(u32::MAX).into(),
        level: Level::number(rule.level).into(),
        selections,
        root: root.into(),
        code: NONE.into(),
        fields: tables.list(&fields),
        action: rule.response.numbers().0.into(),
        mode: rule.response.numbers().1.into(),
        asks: asks::of(tables, source)?,
    })
}

/// Whether it refers to a selection: within one, that could lead in circles.
fn has_selection(expr: &Expr) -> bool {
    match expr {
        Expr::All(parts) | Expr::Any(parts) => parts.iter().any(has_selection),
        Expr::Not(part) => has_selection(part),
        Expr::Selection(_) => true,
        Expr::Is(_) => false,
    }
}
