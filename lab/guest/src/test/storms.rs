//! Many operations at once: each is hit, submitted, received and printed, exactly once. The numbers are large enough that a
//! reader which is a little slower than the kernel falls behind by more than a ring.

use super::account::{balances, lost, printed, row};
use super::Test;
use crate::action::{storm, Act};
use crate::product::{by, Events, Watertight};
use anyhow::{ensure, Context, Result};

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "storm.unlinks",
        claim: "50,000 files are made and removed, and hits, submitted, received and printed events are equal",
        run: unlinks,
    },
    Test {
        name: "storm.connects",
        claim: "20,000 connections are opened, and hits, submitted, received and printed events are equal",
        run: connects,
    },
    Test {
        name: "storm.processes",
        claim: "30,000 processes are forked, executed and ended, and hits, submitted, received and printed events are equal",
        run: processes,
    },
];

const UNLINKS: u64 = 50_000;
const CONNECTS: u64 = 20_000;
const PROCESSES: u64 = 30_000;

/// Runs the storm and returns what was said of it; every ring must have come through without a loss.
fn weather(storm: impl Fn() -> Result<Act>) -> Result<(Act, Events)> {
    let run = Watertight::start()?;
    let act = storm()?;
    act.done()?;
    let events = run.stop()?;
    balances(&events)?;
    for ring in ["critical", "file", "net"] {
        let lost = lost(&events, ring)?;
        ensure!(lost == 0, "{lost} events were lost in the {ring} ring");
    }
    Ok((act, events))
}

/// Every hit of a hook was submitted: nothing filtered, nothing only counted. At least so many.
fn all_submitted(events: &Events, hook: &str, least: u64) -> Result<()> {
    let row = row(events, hook)?;
    ensure!(row.hits >= least, "{hook}: {} hits of at least {least}", row.hits);
    ensure!(row.submitted == row.hits, "{hook}: not every hit was submitted: {row:?}");
    Ok(())
}

fn unlinks() -> Result<()> {
    std::fs::create_dir_all("/tmp/wt-weather")?;
    let (_, events) = weather(|| storm::unlink("/tmp/wt-weather", &UNLINKS.to_string()))?;
    all_submitted(&events, "file_unlink", UNLINKS)?;
    all_submitted(&events, "file_mknod", UNLINKS)?;
    printed(&events, &["file_unlink"], &["file.unlink"])?;
    for kind in ["file.create", "file.unlink"] {
        let lines = events.lines_with(kind, "\"path\":\"/tmp/wt-weather/wt-storm\"");
        ensure!(lines == UNLINKS, "{lines} {kind} lines of {UNLINKS}");
    }
    Ok(())
}

fn connects() -> Result<()> {
    let (act, events) = weather(|| storm::connect(&CONNECTS.to_string()))?;
    all_submitted(&events, "sock_accept", CONNECTS)?;
    let connect = row(&events, "sock_connect")?;
    ensure!(connect.hits >= CONNECTS && connect.lost == 0, "{connect:?}");
    let port = act.number("port")?;
    let done = events
        .of_kind("network.connect")
        .filter(|event| by(event, &act) && event["outcome"] == "done" && event["network"]["remote"]["port"] == port);
    let done = done.count() as u64;
    ensure!(done == CONNECTS, "{done} connections are told as done, of {CONNECTS}");
    let accepted = events.count("network.accept", |event| by(event, &act) && event["source"] == "bpf-lsm") as u64;
    ensure!(accepted == CONNECTS, "{accepted} connections are told as accepted, of {CONNECTS}");
    Ok(())
}

fn processes() -> Result<()> {
    let (act, events) = weather(|| storm::exec(&PROCESSES.to_string()))?;
    for (hook, kind) in [("task_fork", "process.fork"), ("task_exec", "process.exec"), ("task_exit", "process.exit")] {
        all_submitted(&events, hook, PROCESSES)?;
        printed(&events, &[hook], &[kind])?;
    }
    // The driver's stable id is its own in its forks, and the parent's in its children's execs and exits.
    let own = events.expect("process.exec", |event| by(event, &act))?;
    let id = own["process"]["id"].as_str().context("the driver has no id")?;
    for (kind, own) in [("process.fork", 0), ("process.exec", 1), ("process.exit", 1)] {
        let lines = events.lines_with(kind, &format!("\"id\":\"{id}\""));
        ensure!(lines == PROCESSES + own, "{lines} {kind} lines name the driver, of {}", PROCESSES + own);
    }
    Ok(())
}
