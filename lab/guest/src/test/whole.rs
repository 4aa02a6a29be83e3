//! The run that tests share, as a whole: what is true of it only once everybody has used it and it has ended.

use super::Test;
use crate::action::storm;
use crate::product::{Events, PROGRAM};
use crate::shared;
use anyhow::{bail, ensure, Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// This file's tests. The first ends the shared run.
pub const TESTS: &[Test] = &[
    Test {
        name: "product.account.storm",
        claim: "2,000 processes are forked, started and ended, each is counted and none is lost",
        run: storm_is_accounted,
    },
    Test {
        name: "mute.own.files",
        claim: "a run's own file operations go without events, supervisor and workers, and are counted as filtered",
        run: own_files_are_muted,
    },
];

/// Of an event no more than whose child its process is.
#[derive(Deserialize)]
struct Child {
    process: ChildProcess,
}

#[derive(Deserialize)]
struct ChildProcess {
    parent: Parent,
}

#[derive(Deserialize)]
struct Parent {
    pid: u32,
}

fn storm_is_accounted() -> Result<()> {
    const RUNS: u64 = 2_000;
    let watch = shared::watch()?;
    let act = storm::exec(&RUNS.to_string())?;
    act.done()?;
    let events = watch.events()?;
    let children = events.count_by("process.fork", &act);
    ensure!(children == RUNS, "{children} forks of {RUNS} were reported");
    let of_child = |event: &Child| event.process.parent.pid == act.pid;
    let [execs, exits] = ["process.exec", "process.exit"].map(|kind| events.read(kind).filter(of_child).count() as u64);
    ensure!(execs == RUNS && exits == RUNS, "{execs} execs and {exits} exits of {RUNS}");
    let whole = shared::whole()?; // which balances, and has lost nothing
    for hook in ["task_fork", "task_exec", "task_exit"] {
        let row = hook_row(&whole, hook)?;
        ensure!(row["hits"].as_u64() >= Some(RUNS) && row["submitted"] == row["received"], "{row}");
    }
    Ok(())
}

fn own_files_are_muted() -> Result<()> {
    let events = shared::whole()?;
    ensure!(events.matrix()?["own_events"] == "", "the matrix: {}", events.matrix()?["own_events"]);
    let detector = events.expect("sandbox", |line| line["worker"] == "detector")?["pid"].clone();
    let exec = events.expect("process.exec", |event| event["process"]["pid"] == detector)?;
    ensure!(exec["process"]["executable"] == PROGRAM, "the detector's exec: {exec}");
    // The supervisor writes a file at every beat.
    let supervisor = exec["process"]["parent"]["pid"].clone();
    let is_own = |event: &&Value| [&supervisor, &detector].contains(&&event["process"]["pid"]);
    if let Some(event) = events.of_kinds("file.").find(is_own) {
        bail!("there should be no such event: {event}");
    }
    let filtered = hook_row(&events, "file_open")?["filtered"].as_u64().context("filtered")?;
    ensure!(filtered > 10, "{filtered} opened files were filtered");
    Ok(())
}

fn hook_row<'e>(events: &'e Events, hook: &str) -> Result<&'e Value> {
    let hooks = events.summary()?["hooks"].as_array().context("the summary's hooks")?;
    hooks.iter().find(|row| row["hook"] == hook).with_context(|| format!("no row of {hook}"))
}
