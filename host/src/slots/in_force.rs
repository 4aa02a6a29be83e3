//! The word that a run leaves of the content that it has in force, for `status`. It is the run's own: believed as long as that is at work.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::planner::Slot;
use crate::worker::budget;

const WORD: &str = "content.json";

/// Content in force.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// The run that says so.
    pub run: u32,
    /// Its slot; `local` for rules that were named to the run.
    pub slot: String,
    /// Its id; none where events are only collected.
    pub id: Option<String>,
    /// Name of the release.
    pub name: Option<String>,
    /// Its number.
    pub version: Option<u64>,
    /// Rules that are evaluated.
    pub rules: usize,
    /// Rules that were refused.
    pub rejected: usize,
    /// What correlations could not do within their bounds since the run began.
    #[serde(default)]
    pub correlations: BTreeMap<String, u64>,
    /// Events since the run began of which rules saw less than all, by cause.
    #[serde(default)]
    pub over_budget: BTreeMap<String, u64>,
}

impl InForce {
    /// Leaves it in the state folder.
    ///
    /// # Errors
    /// It can't be written.
    pub fn leave(&self, state: &Path) -> io::Result<()> {
        std::fs::write(state.join(WORD), serde_json::to_vec(self)?)
    }

    /// What this run left.
    #[must_use]
    pub fn of_run(state: &Path, run: u32) -> Option<Self> {
        let word: Self = serde_json::from_slice(&std::fs::read(state.join(WORD)).ok()?).ok()?;
        (word.run == run).then_some(word)
    }

    /// Whether anything is evaluated.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.slot != Slot::CollectOnly.name()
    }
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, id, name, version, rules, rejected, .. } = self;
        let (Some(id), Some(name), Some(version)) = (id, name, version) else {
            return write!(f, "{slot}: no rules are evaluated, events are collected and handed on");
        };
        write!(f, "{slot}: {name} version {version}, {rules} rules, {rejected} rejected ({id})")?;
        // Of the run, not of this content alone.
        let is_some = |(_, count): &(&String, &u64)| **count > 0;
        let of_correlations = self.correlations.iter().filter(is_some);
        let of_correlations =
            of_correlations.map(|(name, count)| format!("{count} {} of correlations", name.replace('_', " ")));
        let of_events = self.over_budget.iter().filter(is_some);
        let of_events = of_events.map(|(name, count)| format!("{count} {}", budget::in_words(name)));
        let since: Vec<String> = of_correlations.chain(of_events).collect();
        if since.is_empty() {
            return Ok(());
        }
        write!(f, "; since the run began, whatever was in force: {}", since.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_in_a_run_is_not_told_as_if_this_content_had_lost_it() {
        let counts = |name: &str, count| BTreeMap::from([(name.to_owned(), count)]);
        let mut word = InForce {
            id: Some("1234".into()),
            name: Some("linux".into()),
            version: Some(1),
            correlations: counts("hurried_hits", 0),
            ..InForce::default()
        };
        assert!(word.to_string().ends_with("(1234)"), "{word}");
        word.correlations = counts("hurried_hits", 12);
        word.over_budget = counts("source", 3);
        let (_, since) = word
            .to_string()
            .split_once("; since the run began, ")
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .expect("told");
        assert!(since.contains("12 hurried hits of correlations, 3 events of which the sensor"), "{since}");
    }

    #[test]
    fn the_word_of_another_run_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let word = InForce { run: 7, slot: "factory".into(), ..InForce::default() };
        word.leave(folder.path()).expect("our own folder");
        assert_eq!(InForce::of_run(folder.path(), 7), Some(word));
        assert_eq!(InForce::of_run(folder.path(), 8), None);
    }
}
