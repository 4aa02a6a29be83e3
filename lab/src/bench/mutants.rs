//! A million mutants of packs through the door that every host has: none may be accepted and then fail, none may panic.

use crate::programs::cargo;
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How many are tried. The first ten thousand of the same seed are among the tests.
const MUTANTS: u64 = 1_000_000;

/// What became of them.
#[derive(Debug, Deserialize, Serialize)]
pub struct Found {
    /// How many there were.
    pub mutants: u64,
    /// The generator's first number: the same one gives the same mutants.
    pub seed: u64,
    /// Refused by name.
    pub refused: u64,
    /// Opened, and their own canaries came out otherwise than they must: not activated.
    pub fail_canaries: u64,
    /// Taken, and they worked.
    pub accepted: u64,
    /// Taken, and then the engine could not run them.
    pub accepted_then_failed: u64,
    /// Panics.
    pub panics: u64,
    /// How long it took.
    pub seconds: u64,
}

/// Tries them and leaves what became of them in `out`.
pub fn measure(out: &Path) -> Result<()> {
    eprintln!("   {MUTANTS} mutants of packs");
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "-p", "watertight-content", "--example", "pack_mutants", "--"]);
    let status = command.arg(MUTANTS.to_string()).arg("--out").arg(out).status().context("starting the mutants")?;
    // One is for mutants that got through: the page tells of them.
    match status.code() {
        Some(0 | 1) => Ok(()),
        _ => bail!("the mutants were not tried"),
    }
}
