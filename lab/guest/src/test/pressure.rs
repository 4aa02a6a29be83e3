//! A ring that nobody reads: operations are counted by process instead of lost, and every one of them is told.

use super::Test;
use crate::action::file;
use crate::product::{by, Watertight};
use anyhow::{ensure, Context, Result};
use rustix::process::{kill_process, Pid, Signal};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// Three records each. The ring of 8 MiB is three quarters full after some 20,000 records.
const FILES: &str = "12000";
/// How long the product may take to notice and tell, in emulation.
const TELL_MAX: Duration = Duration::from_secs(60);
/// How often it is looked for.
const BEAT: Duration = Duration::from_secs(1);

/// This file's tests.
pub const TESTS: &[Test] = &[Test {
    name: "rings.counted_by_process",
    claim:
        "with the reader stopped a storm of files is counted by process: none is lost, both changes of the mode are \
            told, and the counts that events tell are the counter",
    run: storm_is_counted,
}];

fn storm_is_counted() -> Result<()> {
    fs::create_dir_all("/tmp/wt-pressure").context("a place for the storm")?;
    let run = Watertight::start()?;
    let detector = worker_of(run.pid(), "detector")?;
    kill_process(detector, Signal::STOP).context("stopping the reader")?;
    let storm = file::storm("/tmp/wt-pressure", FILES)?;
    kill_process(detector, Signal::CONT).context("letting the reader go on")?;
    storm.done()?;
    // The mode ends with the first operation after the ring has been read down to its half.
    let started = Instant::now();
    let has_ended = || run.wait_for("sensor.mode", |event| message(event).contains("one by one again"), BEAT);
    while has_ended().is_err() {
        ensure!(started.elapsed() < TELL_MAX, "the end of the pressure was not told");
        file::storm("/tmp/wt-pressure", "1")?.done()?;
    }
    let after = file::create("/tmp/wt-pressure/after")?;
    let events = run.stop()?;
    fs::remove_dir_all("/tmp/wt-pressure").context("clearing up")?;

    events.expect("sensor.mode", |event| message(event).contains("counted by process"))?;
    events.expect("file.create", |event| by(event, &after))?;
    events.expect("sensor.aggregated", |event| by(event, &storm) && event["operations"][0] == "file_unlink")?;
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for event in events.of_kind("sensor.aggregated") {
        let hook = event["of"].as_str().context("an aggregate without a hook")?;
        let count = event["count"].as_u64().context("an aggregate without a count")?;
        ensure!(count > 0, "nothing was counted: {event}");
        *told.entry(hook.to_owned()).or_default() += count;
    }
    let summary = events.summary()?;
    ensure!(summary["balanced"] == true, "the account: {summary}");
    let mut aggregated = 0;
    for row in summary["hooks"].as_array().context("the summary's hooks")? {
        let name = row["hook"].as_str().context("a row without a hook")?;
        let number = |field: &str| row[field].as_u64().unwrap_or(0);
        ensure!(number("lost_ring_full") == 0 && number("lost_no_scratch") == 0, "lost: {row}");
        ensure!(number("aggregated") == told.get(name).copied().unwrap_or(0), "told {told:?}, counted {row}");
        ensure!(
            number("hits") == number("filtered") + number("submitted") + number("aggregated"),
            "the account of {name}: {row}"
        );
        ensure!(number("submitted") == number("received"), "submitted and received: {row}");
        aggregated += number("aggregated");
    }
    ensure!(aggregated > 1_000, "only {aggregated} operations were counted: the ring was not under pressure");
    Ok(())
}

fn message(event: &Value) -> &str {
    event["message"].as_str().unwrap_or_default()
}

/// A worker of the product, once it is there: a child of the supervisor, told by its arguments.
fn worker_of(supervisor: u32, name: &str) -> Result<Pid> {
    let started = Instant::now();
    loop {
        match find_worker(supervisor, name) {
            Ok(worker) => return Ok(worker),
            Err(error) if started.elapsed() > TELL_MAX => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn find_worker(supervisor: u32, name: &str) -> Result<Pid> {
    let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"));
    for child in children.context("listing the product's processes")?.split_whitespace() {
        let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        if line.split(|byte| *byte == 0).any(|word| word == name.as_bytes()) {
            let pid: i32 = child.parse().context("a process id")?;
            return Pid::from_raw(pid).context("a worker has pid 0");
        }
    }
    anyhow::bail!("the product has no worker {name}")
}
