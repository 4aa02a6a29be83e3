//! The policy that `watertight run` denies by fanotify, and what became of it, as files in the state folder. They are gone
//! after a reboot, as the kernel's tables are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use watertight_policy::Policy;

use super::listener::Marked;
use crate::guard::RefusedRule;
use crate::lock::RunLock;

/// The policy's file.
const POLICY: &str = "deny-policy.json";
/// What is in force of it.
const STATUS: &str = "deny-status.json";

/// What is denied by fanotify.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Status {
    /// `while running` or `none`.
    pub deny: String,
    /// Why nothing is denied.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What is marked.
    #[serde(default)]
    pub marks: Vec<MarkStatus>,
    /// Rules, or parts of rules, that are not in force.
    #[serde(default)]
    pub left_out: Vec<RefusedRule>,
    /// What passes.
    #[serde(default)]
    pub passes: Vec<String>,
}

/// A mark, and how often it was met.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MarkStatus {
    /// What is marked.
    #[serde(flatten)]
    pub mark: Marked,
    /// Execs that were denied, or counted in audit mode.
    pub hits: u64,
}

impl Status {
    /// Nothing is denied.
    #[must_use]
    pub fn none(why: impl Into<String>) -> Self {
        Self { deny: "none".into(), why: why.into(), ..Self::default() }
    }

    /// What is denied now; `None` when no policy asks for this way of denying.
    #[must_use]
    pub fn read(state: &Path) -> Option<Self> {
        let is_asked = load(state).ok().flatten().is_some();
        if RunLock::holder(state).is_none() {
            return is_asked.then(|| Self::none("`watertight run` is not running: start it"));
        }
        let text = fs::read_to_string(state.join(STATUS)).ok();
        let status = text.and_then(|text| serde_json::from_str(&text).ok());
        status.or_else(|| is_asked.then(|| Self::none("`watertight run` has not taken it up")))
    }

    /// Writes it for `status`.
    pub(super) fn write(&self, state: &Path) -> Result<()> {
        replace(&state.join(STATUS), &serde_json::to_vec(self)?).context("writing what is denied")
    }

    /// The run is over.
    pub(super) fn remove(state: &Path) {
        let _ = fs::remove_file(state.join(STATUS)); // without a run nobody reads it
    }
}

/// Keeps the policy for the run that is going on and for those to come until the next boot.
///
/// # Errors
/// The state folder can't be written.
pub fn save(state: &Path, policy: &Policy) -> Result<()> {
    fs::create_dir_all(state).with_context(|| format!("making {}", state.display()))?;
    replace(&state.join(POLICY), &serde_json::to_vec(policy)?)
        .with_context(|| format!("keeping the policy in {}", state.display()))
}

/// The policy that was kept.
///
/// # Errors
/// It is damaged.
pub fn load(state: &Path) -> Result<Option<Policy>> {
    let path = state.join(POLICY);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged: apply the policy again", path.display())),
    }
}

/// Ends denying by fanotify; true if there was something to end.
///
/// # Errors
/// The state folder can't be written.
pub fn remove(state: &Path) -> Result<bool> {
    match fs::remove_file(state.join(POLICY)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("removing the policy from {}", state.display())),
    }
}

/// Tells one kept policy from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(u64, i64, i64);

pub(super) fn stamp(state: &Path) -> Option<Stamp> {
    let found = fs::metadata(state.join(POLICY)).ok()?;
    Some(Stamp(found.ino(), found.mtime(), found.mtime_nsec()))
}

/// A reader finds the old file or the new one, never a part; only root can write or read it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_kept_replaced_and_removed() {
        let state = std::env::temp_dir().join(format!("watertight-store-{}", std::process::id()));
        let policy = Policy { version: 1, fallback_deny: true, rules: Vec::new() };
        save(&state, &policy).expect("kept");
        let first = stamp(&state);
        assert_eq!(load(&state).expect("read"), Some(policy.clone()));
        save(&state, &policy).expect("kept again");
        assert_ne!(stamp(&state), first, "a policy that was applied again is seen as a new one");
        let status = Status::read(&state).expect("asked for");
        assert!(status.deny == "none" && status.why.contains("not running"), "{status:?}");
        fs::write(state.join(POLICY), "{").expect("damaged");
        assert!(load(&state).expect_err("damaged").to_string().contains("apply the policy again"));
        assert!(remove(&state).expect("removed") && !remove(&state).expect("nothing there"));
        assert!(Status::read(&state).is_none());
        fs::remove_dir_all(&state).expect("our own folder");
    }
}
