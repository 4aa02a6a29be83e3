//! Many operations at once: each is hit, submitted, received and printed, exactly once. The numbers are large enough that a
//! reader which is a little slower than the kernel falls behind by more than a ring.

use super::ledger::{balances, lost, printed, row, Row};
use super::Test;
use crate::action::{storm, Act};
use crate::product::{by, Events, Watertight};
use anyhow::{ensure, Context, Result};
use serde::Deserialize;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "storm.unlinks",
        claim: "50,000 files are made and removed, and hits are what was printed and what was told as counted",
        run: unlinks,
    },
    Test {
        name: "storm.connects",
        claim: "20,000 connections are opened, and hits are what was printed and what was told as counted",
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

/// Every hit of a hook was submitted or, where the reader is slower than the kernel, told as counted by process. At least so
/// many hits.
fn all_told(events: &Events, hook: &str, least: u64) -> Result<Row> {
    let row = row(events, hook)?;
    ensure!(row.hits >= least, "{hook}: {} hits of at least {least}", row.hits);
    ensure!(row.submitted + row.aggregated + row.filtered == row.hits, "{hook}: not every hit was told: {row:?}");
    Ok(row)
}

/// Threads of our own that may begin meanwhile: a thread is no process, so that its fork is filtered.
const OWN_THREADS_MAX: u64 = 4;

/// Every hit of a hook was submitted: nothing filtered but threads of our own, nothing only counted. At least so many.
fn all_submitted(events: &Events, hook: &str, least: u64) -> Result<()> {
    let row = row(events, hook)?;
    ensure!(row.hits >= least, "{hook}: {} hits of at least {least}", row.hits);
    ensure!(row.submitted + row.filtered == row.hits, "{hook}: not every hit was submitted: {row:?}");
    ensure!(row.filtered <= OWN_THREADS_MAX, "{hook}: hits were filtered: {row:?}");
    Ok(())
}

fn unlinks() -> Result<()> {
    std::fs::create_dir_all("/tmp/wt-weather")?;
    let (_, events) = weather(|| storm::unlink("/tmp/wt-weather", &UNLINKS.to_string()))?;
    printed(&events, &["file_unlink"], &["file.unlink"])?;
    for (hook, kind) in [("file_mknod", "file.create"), ("file_unlink", "file.unlink")] {
        let told = all_told(&events, hook, UNLINKS)?;
        let lines = events.lines_with(kind, "\"path\":\"/tmp/wt-weather/wt-storm\"");
        ensure!(lines <= UNLINKS && lines + told.aggregated >= UNLINKS, "{lines} {kind} lines of {UNLINKS}: {told:?}");
    }
    Ok(())
}

/// What is asked of a connection's event, of which there are too many to read in whole.
#[derive(Deserialize)]
struct Connection<'e> {
    outcome: &'e str,
    process: Process,
    network: Network,
}

#[derive(Deserialize)]
struct Process {
    pid: u32,
}

#[derive(Deserialize)]
struct Network {
    #[serde(default)]
    local: End,
    #[serde(default)]
    remote: End,
}

#[derive(Default, Deserialize)]
struct End {
    #[serde(default)]
    port: u64,
}

fn connects() -> Result<()> {
    let (act, events) = weather(|| storm::connect(&CONNECTS.to_string()))?;
    let (accept, connect) = (all_told(&events, "sock_accept", CONNECTS)?, all_told(&events, "sock_connect", CONNECTS)?);
    let port = act.number("port")?;
    let is_done = |event: &Connection| event.outcome == "done" && event.process.pid == act.pid;
    let accepted = events.read::<Connection>("network.accept").filter(is_done);
    let accepted = accepted.filter(|event| event.network.local.port == port).count() as u64;
    ensure!(accepted <= CONNECTS && accepted + accept.aggregated >= CONNECTS, "{accepted} accepted: {accept:?}");
    let opened = ["network.connect", "network.established"].map(|kind| {
        let done = events.read::<Connection>(kind).filter(is_done);
        done.filter(|event| event.network.remote.port == port).count()
    });
    let opened = opened.iter().sum::<usize>() as u64;
    let counted = connect.aggregated + row(&events, "sock_state")?.aggregated;
    ensure!(opened <= CONNECTS && opened + counted >= CONNECTS, "{opened} opened, {counted} counted");
    Ok(())
}

fn processes() -> Result<()> {
    let (act, events) = weather(|| storm::exec(&PROCESSES.to_string()))?;
    for (hook, kind) in [("task_fork", "process.fork"), ("task_exec", "process.exec"), ("task_exit", "process.exit")] {
        all_submitted(&events, hook, PROCESSES)?;
        printed(&events, &[hook], &[kind])?;
    }
    // The driver's stable id is its own in its forks, and the parent's in its children's execs and exits; one more of each is the
    // driver's own, of which its fork names it as the child.
    let own = events.expect("process.exec", |event| by(event, &act))?;
    let id = own["process"]["id"].as_str().context("the driver has no id")?;
    for (kind, own) in [("process.fork", 1), ("process.exec", 1), ("process.exit", 1)] {
        let lines = events.lines_with(kind, &format!("\"id\":\"{id}\""));
        ensure!(lines == PROCESSES + own, "{lines} {kind} lines name the driver, of {}", PROCESSES + own);
    }
    Ok(())
}
