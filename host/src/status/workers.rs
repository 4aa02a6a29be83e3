//! What holds the workers of the run at work, by its own word: a worker that is no longer its child is left out.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::worker::sandbox::Sandbox;

/// Those that last as long as a run.
const WORKERS: [&str; 2] = ["detector", "sources"];

/// A worker and what holds it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Held {
    /// What it does.
    pub worker: String,
    /// Its process.
    pub pid: u32,
    /// What holds it.
    pub sandbox: Sandbox,
}

/// The workers of this run.
#[must_use]
pub fn of_run(state: &Path, run: Option<u32>) -> Vec<Held> {
    let Some(run) = run else { return Vec::new() };
    let said = WORKERS.iter().filter_map(|worker| fs::read(state.join(format!("{worker}.json"))).ok());
    let held = said.filter_map(|said| serde_json::from_slice::<Held>(&said).ok());
    held.filter(|held| parent(held.pid) == Some(run)).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_not_a_child_of_the_run_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = std::process::id();
        let held = Held { worker: "detector".into(), pid: own, sandbox: Sandbox::default() };
        fs::write(folder.path().join("detector.json"), serde_json::to_vec(&held).expect("JSON")).expect("a file");
        let run = parent(own).expect("we have one");
        assert_eq!(of_run(folder.path(), Some(run)).len(), 1);
        assert!(of_run(folder.path(), Some(own)).is_empty() && of_run(folder.path(), None).is_empty());
    }
}
