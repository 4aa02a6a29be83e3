//! The word that a run leaves of the deny rules that it put in force, for `status`. It is the run's own: believed as long as that is
//! at work. What the kernel has is told by `watertight policy show`.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

const WORD: &str = "policy.json";

/// How far the rules are.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// There are none.
    #[default]
    None,
    /// They are on their way.
    Coming,
    /// The kernel has them, and goes back unless the run confirms them.
    OnTrial,
    /// They are in force.
    InForce,
    /// They are not.
    NotInForce,
}

/// The release that the rules are from.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Its slot.
    pub slot: String,
    /// Its name.
    pub name: String,
    /// Its number.
    pub version: u64,
    /// Its id.
    pub id: String,
}

/// An executable that is not to start again.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Denied {
    /// The deny rule's id.
    pub id: String,
    /// The executable.
    pub path: String,
    /// The rule of the content that demanded it.
    pub rule: String,
    /// Until when, nanoseconds since boot.
    pub until_boot_ns: u64,
}

/// Deny rules of the agent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Word {
    /// The run that says so.
    pub run: u32,
    /// How far they are.
    pub progress: Progress,
    /// Why they are not in force.
    pub why: String,
    /// The generation that holds them.
    pub generation: u64,
    /// The pack in force.
    pub from: Option<Release>,
    /// Rules of packs that are in force as they are declared.
    pub rules: usize,
    /// Ids of those that only count until the pack's trial has ended well.
    pub audit: Vec<String>,
    /// How long a pack is on trial, seconds.
    pub trial_s: u64,
    /// Executables that are not to start again.
    pub next: Vec<Denied>,
}

impl Word {
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
        Self::read(state).filter(|word| word.run == run)
    }

    /// What the last run left, whichever it was.
    #[must_use]
    pub fn read(state: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(state.join(WORD)).ok()?).ok()
    }

    /// Whether rules that are wanted are not in force.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.progress == Progress::NotInForce
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { generation, why, rules, audit, trial_s, .. } = self;
        let from = self.from.as_ref().map_or_else(String::new, |Release { slot, name, version, id }| {
            let short: String = id.chars().take(12).collect();
            format!(" of {slot} {name} version {version} ({short})")
        });
        let count = rules.saturating_add(audit.len()).saturating_add(self.next.len());
        let mut text = match self.progress {
            Progress::None => return String::new(),
            Progress::Coming => format!("pack policy: {count} rules{from}, being put in force\n"),
            Progress::OnTrial => {
                format!("pack policy: {count} rules{from}, generation {generation}, not confirmed yet\n")
            }
            Progress::InForce => format!("pack policy: {count} rules{from}, generation {generation}\n"),
            Progress::NotInForce => format!("pack policy: {count} rules{from} are NOT in force: {why}\n"),
        };
        if !audit.is_empty() {
            let ids = audit.join(", ");
            let _ = writeln!(
                text,
                "  in audit until the pack has lived through its trial ({trial_s} s, and an event): {ids}"
            );
        }
        for Denied { path, rule, .. } in &self.next {
            let _ = writeln!(text, "  not started again: {path}, because of rule {rule}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_another_run_is_not_believed_and_what_is_not_in_force_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let from = Some(Release { slot: "candidate".into(), name: "p".into(), version: 2, id: "a".repeat(64) });
        let word = Word { run: 7, audit: vec!["a".into()], from, trial_s: 60, ..Word::default() };
        word.leave(folder.path()).expect("our own folder");
        assert_eq!(Word::of_run(folder.path(), 7), Some(word.clone()));
        assert_eq!(Word::of_run(folder.path(), 8), None);
        assert_eq!(word.to_text(), "", "without rules there is nothing to say");
        let refused = Word { progress: Progress::NotInForce, why: "no BPF LSM".into(), ..word };
        let text = refused.to_text();
        assert!(refused.is_short() && text.contains("NOT in force: no BPF LSM"), "{text}");
        assert!(text.contains("in audit until") && text.contains("candidate p version 2 (aaaaaaaaaaaa)"), "{text}");
    }
}
