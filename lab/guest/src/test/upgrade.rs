//! One build's programs take the place of another's under load: every operation is told once, whichever build saw it.

use super::Test;
use crate::action::storm;
use crate::product::{by, Events, Watertight};
use anyhow::{ensure, Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

const FOLDER: &str = "/tmp/wt-upgrade";
const FLAG: &str = "/tmp/wt-upgrade-ends";

/// This file's tests.
pub const TESTS: &[Test] = &[Test {
    name: "rings.no_gap_no_doubles",
    claim: "a new build takes the place of a killed run's under load: what the old rings held is told first, each \
            operation by exactly one of the two builds, and the old build's pins go",
    run: new_build_takes_over,
}];

fn new_build_takes_over() -> Result<()> {
    fs::create_dir_all(FOLDER).context("a place for the storm")?;
    Watertight::start()?.kill()?;
    let old = builds()?;
    ensure!(old.len() == 1, "the killed run left {old:?}");
    let storm = thread::spawn(|| storm::until(FOLDER, FLAG));
    // The old build has to have something to tell.
    thread::sleep(Duration::from_secs(2));
    // Other filters are another build: other programs, maps and rings. This one mutes nobody who is there.
    let run = Watertight::start_with(&["--mute", "uid=4000000000"])?;
    thread::sleep(Duration::from_secs(2));
    fs::write(FLAG, "").context("ending the storm")?;
    let storm = storm.join().ok().context("the storm's thread panicked")??;
    let events = run.stop()?;
    fs::remove_file(FLAG).and_then(|()| fs::remove_dir_all(FOLDER)).context("clearing up")?;

    let rounds = storm.number("count")?;
    let paths = counted(events.of_kind("file.create").filter(|event| by(event, &storm)), "/file/path");
    once_each(&paths, rounds, |round| format!("{FOLDER}/round-{round}")).context("file.create")?;
    let paths = counted(events.of_kind("file.unlink").filter(|event| by(event, &storm)), "/file/path");
    once_each(&paths, rounds, |round| format!("{FOLDER}/round-{round}")).context("file.unlink")?;
    let names = counted(events.of_kind("process.exec"), "/process/argv/1");
    once_each(&names, rounds, |round| format!("round-{round}")).context("process.exec")?;
    let forks = events.count("process.fork", |event| by(event, &storm));
    ensure!(forks as u64 == rounds, "{forks} forks of {rounds} rounds were told");
    both_told(&events, rounds)?;
    events.expect("sensor.mode", |event| event["of"] == "loader")?;
    ensure!(events.summary()?["balanced"] == true, "the account: {}", events.summary()?);
    ensure!(builds()?.is_empty(), "pins are left: {:?}", builds()?);
    Ok(())
}

/// The account is the new build's alone: it must have told some of the rounds, and not all.
fn both_told(events: &Events, rounds: u64) -> Result<()> {
    for hook in ["file_mknod", "file_unlink", "task_exec"] {
        let rows = events.summary()?["hooks"].as_array().context("the summary's hooks")?;
        let row = rows.iter().find(|row| row["hook"] == hook).with_context(|| format!("no row of {hook}"))?;
        let submitted = row["submitted"].as_u64().context("submitted")?;
        ensure!(submitted > 10 && submitted < rounds, "the new build told {submitted} of {rounds} rounds at {hook}");
    }
    Ok(())
}

fn counted<'e>(events: impl Iterator<Item = &'e Value>, place: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for name in events.filter_map(|event| event.pointer(place)?.as_str()) {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

fn once_each(counts: &BTreeMap<String, u64>, rounds: u64, name: impl Fn(u64) -> String) -> Result<()> {
    let wrong: Vec<(u64, u64)> = (0..rounds)
        .map(|round| (round, counts.get(&name(round)).copied().unwrap_or(0)))
        .filter(|(_, count)| *count != 1)
        .collect();
    ensure!(wrong.is_empty(), "of {rounds} rounds these were not told once (round, times): {wrong:?}");
    Ok(())
}

/// Folders of builds that are pinned.
fn builds() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir("/sys/fs/bpf/watertight").context("listing the pins")? {
        let entry = entry?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}
