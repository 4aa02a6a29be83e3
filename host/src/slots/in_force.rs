//! The word that a run leaves of the content that it has in force, for `status`. It is the run's own: believed as long as that is at work.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::planner::Slot;

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
        let limits = self.correlations.iter().filter(|(_, count)| **count > 0);
        limits
            .into_iter()
            .try_for_each(|(name, count)| write!(f, ", {count} {} of correlations", name.replace('_', " ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_another_run_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let word = InForce { run: 7, slot: "factory".into(), ..InForce::default() };
        word.leave(folder.path()).expect("our own folder");
        assert_eq!(InForce::of_run(folder.path(), 7), Some(word));
        assert_eq!(InForce::of_run(folder.path(), 8), None);
    }
}
