//! The detection engine beside others, as `content/rivals` measures it. A cargo project of its own, built here alone.

use crate::programs::cargo;
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::env;
use std::path::Path;

/// The public rules that the engines race over: a folder that this names.
pub const CORPORA: &str = "WATERTIGHT_CORPORA";

/// The engines over the rules and events of one scene.
#[derive(Debug, Deserialize, Serialize)]
pub struct Scene {
    /// What the rules are.
    pub scene: String,
    /// Ours first.
    pub engines: Vec<Measured>,
}

/// What one engine showed.
#[derive(Debug, Deserialize, Serialize)]
pub struct Measured {
    /// Its name.
    pub engine: String,
    /// Rules that it took.
    pub rules: usize,
    /// Events that it was given.
    pub events: usize,
    /// How often a rule fired.
    pub hits: u64,
    /// The median of the turns, microseconds.
    pub us_per_event: f64,
    /// From files to ready, milliseconds; ours loads the compiled image.
    pub load_ms: f64,
    /// Resident memory that the rules took, KiB.
    pub rules_kib: u64,
}

/// Lets the engines race and leaves what they showed in `out`. Says so and does nothing where there are no public rules.
pub fn measure(out: &Path) -> Result<()> {
    if env::var_os(CORPORA).is_none() {
        eprintln!("   skipped: no corpus ({CORPORA} names a folder with public rules)");
        return Ok(());
    }
    let status = cargo()
        .args([
            "run",
            "--release",
            "--quiet",
            "--ignore-rust-version",
            "--manifest-path",
            "../content/rivals/Cargo.toml",
        ])
        .args(["--", "bench", "--out"])
        .arg(out)
        .status()
        .context("starting the engines")?;
    if !status.success() {
        bail!("the engines were not measured");
    }
    Ok(())
}
