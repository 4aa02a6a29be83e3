//! The detection engine by itself: what hostile events cost, and what correlations and sequences cost and remember. The measuring is
//! done by examples of `content`, which can be run by hand.

use super::rivals::CORPORA;
use crate::programs::cargo;
use anyhow::{bail, Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::env;
use std::path::{Path, PathBuf};

/// What was measured.
#[derive(Debug, Deserialize, Serialize)]
pub struct Found {
    /// Events made to be dear.
    pub hostile: Vec<Hostile>,
    /// Correlations and sequences.
    pub correlations: Vec<Correlation>,
}

/// An event made to be dear.
#[derive(Debug, Deserialize, Serialize)]
pub struct Hostile {
    /// What it is full of.
    pub name: String,
    /// The median, microseconds.
    pub us: f64,
    /// Values of which only a part was read, and rules that were given up.
    pub cut: u64,
}

/// A correlation at work.
#[derive(Debug, Deserialize, Serialize)]
pub struct Correlation {
    /// What it counts.
    pub name: String,
    /// The best round, nanoseconds.
    pub ns_per_event: f64,
    /// Events that it was given.
    pub events: u64,
    /// How often it fired.
    pub hits: u64,
    /// What its state took of memory, KiB.
    pub state_kib: u64,
}

/// Runs the examples. Hostile events go to the public Linux rules, or where there are none to those that ship.
pub fn measure() -> Result<Found> {
    let public = env::var_os(CORPORA).map(|folder| PathBuf::from(folder).join("sigma/rules/linux"));
    let rules = public.filter(|folder| folder.is_dir()).unwrap_or_else(|| PathBuf::from("../rules/linux"));
    let rules = absolute(&rules)?;
    Ok(Found { hostile: lines("adversarial", &[&rules])?, correlations: lines("correlate", &["5"])? })
}

/// Programs that cargo starts run in the folder that it was started in.
fn absolute(path: &Path) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let path = path.canonicalize().with_context(|| format!("looking for rules in {}", path.display()))?;
    path.into_os_string().into_string().ok().context("the folder of rules has a name that is no text")
}

/// What an example tells, a JSON line for each figure.
fn lines<T: DeserializeOwned>(example: &str, args: &[&str]) -> Result<Vec<T>> {
    let output = cargo()
        .args(["run", "--release", "--quiet", "-p", "watertight-content", "--example", example, "--", "--json"])
        .args(args)
        .output()
        .with_context(|| format!("starting {example}"))?;
    if !output.status.success() {
        bail!("{example} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout).with_context(|| format!("reading what {example} says"))?;
    let read = |line: &str| serde_json::from_str(line).with_context(|| format!("{example} says {line:?}"));
    text.lines().map(read).collect()
}
