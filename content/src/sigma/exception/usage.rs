//! What exceptions leave out of a run: counted by evaluating, beside the rules as they are, the same rules without exceptions.
//!
//! An exception that leaves out more than half of a rule's hits hides more than it mends, and one that is never used is a hole that
//! waits; only events can show either.

use std::collections::HashMap;

use crate::image::{compile, CompileError, Source};
use crate::rule::Rule;
use crate::sigma::{Library, Loaded};

use super::apply::{apply, put_aside};

/// Counts what exceptions leave out.
#[derive(Debug)]
pub struct Usage {
    /// The rules that are counted, compiled: they are evaluated over the same events, and each hit is told to `count`.
    pub image: Vec<u8>,
    rows: Vec<UsageRow>,
    /// By the id of a rule in the image: rows of which it is the hits, and the row of which it is what is left out.
    hits: HashMap<String, Vec<usize>>,
    left_out: HashMap<String, usize>,
}

/// What one exception leaves out of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The exception's id.
    pub exception: String,
    /// `filter` or `exception`.
    pub word: &'static str,
    /// The exception's file.
    pub file: String,
    /// The rule's id.
    pub rule: String,
    /// Events that the rule is true of, without any exception.
    pub hits: u64,
    /// Those of them that the exception leaves out.
    pub left_out: u64,
}

impl Usage {
    /// Counts for the exceptions of a library; `None` when none of them applies to any rule.
    ///
    /// # Errors
    /// The rules exceed what an image may hold.
    pub fn of(library: &Library) -> Result<Option<Self>, CompileError> {
        let applied = apply(library);
        let mut rules: Vec<(Rule, &Loaded)> = Vec::new();
        let (mut rows, mut hits, mut left_out) = (Vec::new(), HashMap::<String, Vec<usize>>::new(), HashMap::new());
        for (number, (loaded, found)) in library.exceptions.iter().zip(&applied.exceptions).enumerate() {
            for position in &found.rules {
                let Some(rule) = library.rules.get(*position) else { continue };
                let row = rows.len();
                rows.push(UsageRow {
                    exception: loaded.exception.id.clone(),
                    word: loaded.exception.word,
                    file: loaded.file.clone(),
                    rule: rule.rule.id.clone(),
                    hits: 0,
                    left_out: 0,
                });
                let bare = format!("rule-{position}");
                if !hits.contains_key(&bare) {
                    rules.push((Rule { id: bare.clone(), ..rule.rule.clone() }, rule));
                }
                hits.entry(bare).or_default().push(row);
                let id = format!("exception-{number}-of-{position}");
                rules.push((Rule { id: id.clone(), ..put_aside(&loaded.exception, &rule.rule) }, rule));
                left_out.insert(id, row);
            }
        }
        if rules.is_empty() {
            return Ok(None);
        }
        let sources = rules.iter().map(|(rule, loaded)| Source { rule, file: &loaded.file, line: loaded.line });
        Ok(Some(Self { image: compile(sources)?, rows, hits, left_out }))
    }

    /// Counts a hit of a rule of `image`, by its id.
    pub fn count(&mut self, rule: &str) {
        for row in self.hits.get(rule).into_iter().flatten() {
            if let Some(row) = self.rows.get_mut(*row) {
                row.hits = row.hits.saturating_add(1);
            }
        }
        if let Some(row) = self.left_out.get(rule).and_then(|row| self.rows.get_mut(*row)) {
            row.left_out = row.left_out.saturating_add(1);
        }
    }

    /// What was counted.
    #[must_use]
    pub fn rows(&self) -> &[UsageRow] {
        &self.rows
    }

    /// What people are told: exceptions that were never used, and those that leave out more than half of a rule's hits.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        let mut told = Vec::new();
        for row in self.rows.iter().filter(|row| row.left_out.saturating_mul(2) > row.hits) {
            told.push(format!(
                "{}: {} {} is over-broad: it left out {} of {} hits of rule {}: name less, or mend the rule",
                row.file, row.word, row.exception, row.left_out, row.hits, row.rule
            ));
        }
        let mut unused: Vec<&UsageRow> = Vec::new();
        for row in &self.rows {
            let of_same = |other: &&UsageRow| other.exception == row.exception && other.file == row.file;
            let is_known = unused.iter().any(&of_same);
            if !is_known && self.rows.iter().filter(of_same).all(|other| other.left_out == 0) {
                unused.push(row);
            }
        }
        told.extend(unused.iter().map(|row| {
            format!("{}: {} {} was never used on these events: is it still needed?", row.file, row.word, row.exception)
        }));
        told
    }
}
