//! What exceptions leave out of a pack's rules on recorded events. In a pack they are selections of the rules that they are for, and a
//! rule that only those keep from firing was left out by them.

use std::collections::BTreeMap;

use serde::Serialize;
use watertight_content_pack::Pack;
use watertight_engine::Explanation;

use crate::command::recorded::Recorded;

/// How the selections of exceptions begin.
const WORDS: [&str; 2] = ["exception ", "filter "];

/// Counts hits that exceptions left out.
pub(super) struct LeftOut<'p> {
    /// Of its own, so that what is asked here costs nobody anything.
    recorded: Recorded<'p>,
    /// The rules that have exceptions.
    positions: Vec<u32>,
    /// By rule and exception.
    counts: BTreeMap<(u32, String), u64>,
    /// By rule: several exceptions may leave out one hit.
    hits: BTreeMap<u32, u64>,
}

/// What one exception left out of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// Its title.
    pub(super) exception: String,
    pub(super) left_out: u64,
}

impl<'p> LeftOut<'p> {
    pub(super) fn of(pack: &Pack<'p>) -> Self {
        let mut counts = BTreeMap::new();
        for (position, rule) in (0..).zip(pack.rules().rules()) {
            counts.extend(rule.selections().filter_map(title).map(|title| ((position, title.to_owned()), 0)));
        }
        let mut positions: Vec<u32> = counts.keys().map(|(position, _)| *position).collect();
        positions.dedup();
        Self { recorded: Recorded::new(pack.rules()), positions, counts, hits: BTreeMap::new() }
    }

    /// Counts what exceptions leave out of this event's hits.
    pub(super) fn line(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if self.positions.is_empty() {
            return Ok(());
        }
        for (position, explanation) in self.recorded.explain_each(&self.positions, bytes)? {
            let titles = only_exceptions(&explanation);
            if !titles.is_empty() {
                let hits = self.hits.entry(position).or_insert(0);
                *hits = hits.saturating_add(1);
            }
            for title in titles {
                let count = self.counts.entry((position, title.to_owned())).or_insert(0);
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    }

    /// How many hits of the rule at this position were left out.
    pub(super) fn hits(&self, position: u32) -> u64 {
        self.hits.get(&position).copied().unwrap_or(0)
    }

    /// Its exceptions, with those that left out nothing.
    pub(super) fn rows(&self, position: u32) -> Vec<Row> {
        let of_rule = self.counts.iter().filter(|((rule, _), _)| *rule == position);
        of_rule.map(|((_, exception), left_out)| Row { exception: exception.clone(), left_out: *left_out }).collect()
    }
}

/// The exceptions that stand in the way, if nothing else does.
fn only_exceptions(explanation: &Explanation) -> Vec<&str> {
    let mut titles: Vec<&str> = Vec::new();
    for missing in &explanation.missing {
        match title(&missing.name) {
            None => return Vec::new(),
            Some(title) if titles.contains(&title) => {}
            Some(title) => titles.push(title),
        }
    }
    titles
}

/// The title of the exception that the selection is of.
fn title(selection: &str) -> Option<&str> {
    let named = WORDS.iter().find_map(|word| selection.strip_prefix(word))?;
    named.rsplit_once(": ").map(|(title, _)| title)
}
