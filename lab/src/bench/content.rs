//! What a host bears of content: how soon it is back on known content after some that kills the engine, how long a change of content
//! keeps events waiting, and what the child takes that loads it.
//!
//! Content that kills exists in builds with debug assertions alone (`host/src/worker/fault.rs`), so that the recovery is measured with
//! such a build, which is slower than what ships. The rest is measured with what ships.

mod child;
mod watched;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context as _, Result};
use serde::{Deserialize, Serialize};

use self::watched::Watched;
use super::machine::TemporaryFolder;
use crate::tool;

pub use self::child::LoaderCost;

/// Times that content kills the engine, and is recovered from.
const RECOVERIES: u64 = 200;
/// Times that other content comes into force.
const CHANGES: u64 = 20;
/// The first version of the shipped rules that is not the factory's own content, which is in force already.
const NEXT: u64 = 1_000;
/// Name of the files that the rules of this measurement fire on.
const TRIGGER: &str = "watertight-bench-trigger";
/// Between two events.
const EVENT_EVERY: Duration = Duration::from_millis(5);

/// What was measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    /// How long each recovery took, milliseconds, the shortest first.
    pub recoveries_ms: Vec<f64>,
    /// Times that other content came into force.
    pub changes: u64,
    /// The longest time for which one of them kept events waiting, microseconds.
    pub pause_us_max: f64,
    /// The child that loads content.
    pub loader: LoaderCost,
}

impl Found {
    /// The time within which this share of the recoveries, in percent, was over.
    pub fn recovered_ms(&self, percent: usize) -> f64 {
        let last = self.recoveries_ms.len().saturating_sub(1);
        self.recoveries_ms.get(last.saturating_mul(percent).div_ceil(100)).copied().unwrap_or(f64::INFINITY)
    }
}

/// Measures it all. `product` is what ships, `killable` one with debug assertions. Needs root: nothing sees events without.
pub fn measure(product: &Path, killable: &Path) -> Result<Found> {
    let folder = TemporaryFolder::make()?;
    let recoveries_ms =
        recoveries(killable, &folder.0.join("recovery")).context("recovering from content that kills")?;
    let (changes, pause_us_max) = pause(product, &folder.0.join("changes")).context("changing content")?;
    let pack = shipped(product, &folder.0.join("loader"), 1)?;
    let loader = child::cost(product, &pack).context("loading content")?;
    Ok(Found { recoveries_ms, changes, pause_us_max, loader })
}

/// From the end of an install to the detector that is back on the last-known-good, events that kill coming all the while: the change,
/// two deaths and two starts are in it.
fn recoveries(killable: &Path, folder: &Path) -> Result<Vec<f64>> {
    fs::create_dir_all(folder)?;
    let state = folder.join("state");
    let install = |pack: &Path| install(killable, &state, pack);
    install(&one_rule(killable, folder, "known", 1, "Quiet")?)?;
    let mut run = Watched::start(killable, &state, "10ms")?;
    let is_trusted = |line: &serde_json::Value| line.to_string().contains("lived through its trial");
    with_events(&state, || run.until("the trial's end", is_trusted))?;
    run.stop()?;

    let mut run = Watched::start(killable, &state, "1h")?;
    let slot = run.began_with.get("slot").and_then(serde_json::Value::as_str);
    ensure!(slot == Some("last-known-good"), "the run began with {slot:?} and not with what is known to live");
    let took = with_events(&state, || {
        let mut took = Vec::new();
        for version in 1..=RECOVERIES {
            install(&one_rule(killable, folder, "killer", version, "fault-abort")?)?;
            let began = Instant::now();
            run.until_content("candidate", version)?;
            run.until_content("last-known-good", 1)?;
            took.push(began.elapsed().as_secs_f64() * 1e3);
            if version % 20 == 0 {
                eprintln!("   {version} of {RECOVERIES} recoveries");
            }
        }
        Ok(took)
    });
    let mut took = took?;
    let deaths = run.stop()?.get("detector_deaths").and_then(serde_json::Value::as_u64);
    ensure!(deaths == Some(2 * RECOVERIES), "{RECOVERIES} killers cost {deaths:?} detectors and not two each");
    took.sort_by(f64::total_cmp);
    Ok(took)
}

/// Packs of all shipped rules, one after the other, while events come: how often one came into force, and the longest pause, us.
fn pause(product: &Path, folder: &Path) -> Result<(u64, f64)> {
    let state = folder.join("state");
    let packs: Vec<_> = (0..CHANGES)
        .map(|more| shipped(product, &folder.join("source"), NEXT.saturating_add(more)))
        .collect::<Result<_>>()?;
    let mut run = Watched::start(product, &state, "1h")?;
    with_events(&state, || {
        for pack in &packs {
            install(product, &state, pack)?;
            run.until("a change of content", |line| line.to_string().contains("content changed from"))?;
        }
        Ok(())
    })?;
    let summary = run.stop()?;
    let number = |name: &str| summary.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let changes = number("content_changes");
    ensure!(changes == CHANGES, "{CHANGES} packs were installed and {changes} came into force");
    Ok((changes, number("content_pause_ns_max") as f64 / 1e3))
}

/// Makes events that the rules of this measurement fire on, as long as this takes.
fn with_events<T>(state: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = state.join(TRIGGER);
            while !is_over.load(Ordering::Relaxed) {
                // Where it fails no event comes, and what is waited for does not come either.
                let _ = fs::write(&file, "x").and_then(|()| fs::remove_file(&file));
                std::thread::sleep(EVENT_EVERY);
            }
        });
        let done = work();
        is_over.store(true, Ordering::Relaxed);
        done
    })
}

fn install(product: &Path, state: &Path, pack: &Path) -> Result<()> {
    let mut command = Command::new(product);
    tool::output(command.args(["content", "install"]).arg(pack).arg("--state").arg(state)).map(drop)
}

/// A pack of one rule of this title.
fn one_rule(product: &Path, folder: &Path, name: &str, version: u64, title: &str) -> Result<PathBuf> {
    let source = folder.join("source");
    fs::create_dir_all(&source)?;
    let event = |path: &str| {
        format!(
            "  - category: file_event\n    product: linux\n    event: {{TargetFilename: {path}}}\n    why: its name\n"
        )
    };
    fs::write(source.join("pack.yml"), format!("name: {name}\nversion: {version}\n"))?;
    fs::write(
        source.join("rule.yml"),
        format!(
            "title: {title}\nid: 7d1c1f0e-5f1b-4c5e-9a55-0c7d6f1f2a02\nlogsource: {{category: file_event, product: linux}}\n\
             detection:\n  selection:\n    TargetFilename|endswith: /{TRIGGER}\n  condition: selection\n"
        ),
    )?;
    let tests = format!("fires:\n{}silent:\n{}", event(&format!("/tmp/{TRIGGER}")), event("/tmp/other"));
    fs::write(source.join("rule.tests.yml"), tests)?;
    build(product, &source, &folder.join("pack"))
}

/// The shipped rules as a pack of this version.
fn shipped(product: &Path, folder: &Path, version: u64) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/linux");
    if !folder.join("linux").exists() {
        tool::output(Command::new("cp").arg("-r").arg(rules).arg(folder))?;
    }
    fs::write(folder.join("pack.yml"), format!("name: linux\nversion: {version}\n"))?;
    build(product, folder, &folder.with_extension(format!("{version}.pack")))
}

fn build(product: &Path, source: &Path, pack: &Path) -> Result<PathBuf> {
    tool::output(Command::new(product).args(["content", "build"]).arg(source).arg("-o").arg(pack))?;
    Ok(pack.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_recoveries_is_told_by_the_slowest_of_it() {
        let found = |recoveries_ms: Vec<f64>| Found {
            recoveries_ms,
            changes: 0,
            pause_us_max: 0.0,
            loader: LoaderCost::default(),
        };
        let many = found((1..=200).map(f64::from).collect());
        assert_eq!((many.recovered_ms(50), many.recovered_ms(99), many.recovered_ms(100)), (101.0, 199.0, 200.0));
        assert_eq!(found(vec![3.0, 9.0]).recovered_ms(99), 9.0);
        assert_eq!(found(Vec::new()).recovered_ms(99), f64::INFINITY, "nothing measured meets no bar");
    }
}
