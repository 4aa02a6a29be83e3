//! Rings that nobody reads: the detector is stopped, each ring overrun, the detector goes on. What is missing then must be
//! counted exactly and told: by events, by the summary, by ring.

use super::ledger::{balances, lost, printed, row};
use super::Test;
use crate::action::storm;
use crate::product::{Events, Watertight};
use crate::story::Story;
use anyhow::{ensure, Result};
use rustix::process::Signal;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "overflow.critical",
        claim: "a full critical ring loses events, and how many is told exactly",
        run: critical,
    },
    Test {
        name: "overflow.file",
        claim: "a file ring that nobody reads counts or loses events, and how many is told exactly",
        run: file_ring,
    },
    Test {
        name: "overflow.net",
        claim: "a net ring that nobody reads counts or loses events, and how many is told exactly",
        run: net,
    },
];

/// Processes with arguments of this size: three records each, nearly twice what the critical ring of 8 MiB holds.
const LONG_EXECS: &str = "1000";
const LONG_ARGUMENT_BYTES: &str = "16000";
/// Files at the end of a path of 3,500 bytes: two records each, more than 1.5 times what the file ring of 2 MiB holds.
const LONG_PATHS: &str = "500";
/// Connections: some 1,000 bytes of records each, more than 1.5 times what the net ring of 1 MiB holds.
const CONNECTIONS: &str = "2000";
const DEEP: &str = "/tmp/wt-deep";

/// The events of a run whose detector was stopped while each ring was overrun.
fn unread() -> Result<&'static Events> {
    static UNREAD: Story<Events> = Story::new();
    UNREAD.told(overrun)
}

fn overrun() -> Result<Events> {
    let folder = format!("{DEEP}{}", format!("/{}", "d".repeat(240)).repeat(14));
    std::fs::create_dir_all(&folder)?;
    let run = Watertight::start()?;
    let detector = run.worker("detector")?;
    rustix::process::kill_process(detector, Signal::STOP)?;
    let storms = [
        storm::exec_long(LONG_EXECS, LONG_ARGUMENT_BYTES),
        storm::unlink(&folder, LONG_PATHS),
        storm::connect(CONNECTIONS),
    ];
    rustix::process::kill_process(detector, Signal::CONT)?;
    for storm in storms {
        storm?.done()?;
    }
    let events = run.stop()?;
    std::fs::remove_dir_all(DEEP)?;
    balances(&events)?;
    Ok(events)
}

fn critical() -> Result<()> {
    let events = unread()?;
    let count: u64 = LONG_EXECS.parse()?;
    let mut missing = 0;
    for (hook, kind) in [("task_fork", "process.fork"), ("task_exec", "process.exec"), ("task_exit", "process.exit")] {
        let row = row(events, hook)?;
        ensure!(row.hits >= count, "{hook}: {} hits of at least {count}", row.hits);
        printed(events, &[hook], &[kind])?;
        missing += row.lost;
    }
    ensure!(missing > 0, "the ring was not overrun: nothing is proved");
    let lost = lost(events, "critical")?;
    ensure!(lost >= missing, "{missing} records of processes are missing, {lost} are told as lost");
    ensure!(row(events, "task_exec")?.lost > 0, "no exec was lost, though they are the largest");
    Ok(())
}

fn file_ring() -> Result<()> {
    let events = unread()?;
    missing(events, &["file_mknod", "file_unlink"], "file", LONG_PATHS.parse()?)?;
    printed(events, &["file_unlink"], &["file.unlink"])?;
    Ok(())
}

fn net() -> Result<()> {
    missing(unread()?, &["sock_connect", "sock_accept"], "net", CONNECTIONS.parse()?)
}

/// Under pressure these rings may count by process instead of losing: what is missing must be one or the other.
fn missing(events: &Events, hooks: &[&str], ring: &str, least: u64) -> Result<()> {
    let (mut missing, mut lost_by_hook) = (0, 0);
    for hook in hooks {
        let row = row(events, hook)?;
        ensure!(row.hits >= least, "{hook}: {} hits of at least {least}", row.hits);
        missing += row.aggregated + row.lost;
        lost_by_hook += row.lost;
    }
    ensure!(missing > 0, "the ring was not overrun: nothing is proved");
    let told = lost(events, ring)?;
    ensure!(told >= lost_by_hook, "{lost_by_hook} records are missing, {told} are told as lost");
    Ok(())
}
