//! What a bad content costs a fleet of a million hosts, and how often a good one is halted: `watertight sim rollout`, run for long.

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use watertight_fleet::sim::Summary;

/// Rollouts of a case.
const RUNS: u64 = 200;
/// Rollouts of good content.
const GOOD_RUNS: u64 = 3_000;
/// Rollouts that are timed, on one processor.
const TIMED_RUNS: u64 = 20;

/// What was measured.
#[derive(Debug, Deserialize, Serialize)]
pub struct Found {
    /// In the order of the page.
    pub cases: Vec<Case>,
    /// Content that the gate is nearly blind to.
    pub blind_spots: Vec<Case>,
    /// Seconds of one processor for a rollout of good content.
    pub good_s: f64,
    /// The dearest rollout of the others, on average.
    pub bad_s: f64,
}

/// A case with its bars.
#[derive(Debug, Deserialize, Serialize)]
pub struct Case {
    /// What the content does.
    pub name: String,
    /// The options that make it.
    pub options: Vec<String>,
    /// With the statistic alone.
    pub alone: Summary,
    /// With the rule of new buckets beside it.
    pub with_rule: Summary,
    /// What hosts may fail, p95.
    pub failed_max: Option<f64>,
    /// When the halt may be decided at the latest, p95, s.
    pub halt_s_max: Option<f64>,
    /// When 99 % of the hosts must have good content, p95, s.
    pub full_s_max: Option<f64>,
}

/// Name, options, and bars: hosts failed, seconds to the halt, seconds to 99 %.
type Row = (&'static str, &'static [&'static str], [Option<f64>; 3]);

const fn killer(failed: f64, halt_s: Option<f64>) -> [Option<f64>; 3] {
    [Some(failed), halt_s, None]
}

const BAD: [Row; 6] = [
    ("kills 100 % at once", &["--fail-share", "1"], killer(10.0, Some(60.0))),
    ("kills 10 % at once", &["--fail-share", "0.1"], killer(15.0, Some(900.0))),
    ("kills 1 % at once", &["--fail-share", "0.01"], killer(20.0, Some(1_800.0))),
    ("kills 0.1 % at once", &["--fail-share", "0.001"], killer(30.0, None)),
    ("kills 1 %, after 5 min on average", &["--fail-share", "0.01", "--latency-s", "300"], killer(20.0, None)),
    ("kills 1 %, after 1 h on average", &["--fail-share", "0.01", "--latency-s", "3600"], killer(40.0, None)),
];
const GOOD: [Row; 4] = [
    ("good", &["--kind", "good"], [None, None, Some(3_600.0)]),
    ("good, ten times the background", &["--kind", "good", "--background-x", "10"], [None; 3]),
    ("good, 30 times in stage 2", &["--kind", "good", "--spike-x", "30", "--spike-stage", "2"], [None; 3]),
    ("good, emergency lane", &["--kind", "good", "--lane", "emergency"], [None, None, Some(1_080.0)]),
];
const BLIND: [Row; 2] = [
    ("late and rare: kills 0.1 %, after 1 h on average", &["--fail-share", "0.001", "--latency-s", "3600"], [None; 3]),
    (
        "silent and late: 1 % gone without a word, after 1 h on average",
        &["--kind", "silent", "--fail-share", "0.01", "--latency-s", "3600"],
        [None; 3],
    ),
];

/// Runs them all.
pub fn measure(product: &Path) -> Result<Found> {
    let mut cases = Vec::new();
    for row in BAD {
        cases.push(case(product, row, RUNS)?);
    }
    for (place, row) in GOOD.into_iter().enumerate() {
        cases.push(case(product, row, if place == 0 { GOOD_RUNS } else { RUNS })?);
    }
    let blind_spots = BLIND.into_iter().map(|row| case(product, row, RUNS)).collect::<Result<_>>()?;
    let timed = |options: &[&str]| -> Result<f64> {
        let begun = Instant::now();
        run(product, options, "off", TIMED_RUNS, &["--jobs", "1"])?;
        Ok(begun.elapsed().as_secs_f64() / TIMED_RUNS as f64)
    };
    let good_s = timed(&["--kind", "good"])?;
    let bad_s = BAD.into_iter().map(|(_, options, _)| timed(options)).collect::<Result<Vec<f64>>>()?;
    Ok(Found { cases, blind_spots, good_s, bad_s: bad_s.into_iter().fold(0.0, f64::max) })
}

fn case(product: &Path, (name, options, bars): Row, runs: u64) -> Result<Case> {
    eprintln!("   {runs} rollouts of a content: {name}");
    let [failed_max, halt_s_max, full_s_max] = bars;
    Ok(Case {
        name: name.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        alone: run(product, options, "off", runs, &[])?,
        with_rule: run(product, options, "on", RUNS, &[])?,
        failed_max,
        halt_s_max,
        full_s_max,
    })
}

fn run(product: &Path, options: &[&str], rule: &str, runs: u64, more: &[&str]) -> Result<Summary> {
    let mut command = Command::new(product);
    command.args(["sim", "rollout", "--bucket-rule", rule, "--runs", &runs.to_string(), "-o", "json"]);
    let output = command.args(options).args(more).output().context("starting the simulator")?;
    if !output.status.success() {
        bail!("the simulator failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("reading what the simulator says")
}
