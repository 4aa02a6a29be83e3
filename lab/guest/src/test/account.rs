//! What is counted when a run dies, and what `status` reads back from the kernel.

use super::Test;
use crate::action::process;
use crate::product::{by, watertight, Watertight};
use anyhow::{ensure, Context, Result};
use serde_json::Value;
use std::time::Duration;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "truth.adopted",
        claim: "after kill -9 the account is exact: what the dead run received and what its heir received is what was submitted",
        run: adopted_account_is_exact,
    },
    Test {
        name: "truth.status",
        claim: "status reads links and counters back from the kernel, and calls programs that nobody reads no protection",
        run: status_is_read_back,
    },
];

const RUNS: u64 = 300;

fn adopted_account_is_exact() -> Result<()> {
    let first = Watertight::start()?;
    let heard = process::storm(&RUNS.to_string())?;
    // The dead run's share is certain once its last event is out; the rest stays in the rings.
    first.wait_for("process.exit", |event| by(event, &heard), Duration::from_secs(30))?;
    let before = first.kill()?;
    let unread = process::storm(&RUNS.to_string())?;
    let second = Watertight::start()?;
    let events = second.stop()?;
    let forks = events.count("process.fork", |event| by(event, &unread));
    ensure!(forks as u64 == RUNS, "{forks} forks of the {RUNS} that nobody read");
    events.expect("sensor.gap", |_| true)?;
    events.expect_none("process.exec", |event| event["process"]["parent"]["pid"] == u64::from(heard.pid))?;
    let summary = events.summary()?;
    ensure!(summary["balanced"] == true, "the account does not balance: {summary}");
    let rings = summary["rings"].as_array().context("rings")?;
    let number = |ring: &Value, name: &str| ring[name].as_u64().with_context(|| format!("{name} in {ring}"));
    let mut received = 0;
    for ring in rings {
        let (submitted, earlier) = (number(ring, "submitted")?, number(ring, "received_before")?);
        ensure!(submitted == earlier + number(ring, "received")?, "{ring}");
        ensure!(number(ring, "missing")? == 0 && number(ring, "lost_ring_full")? == 0, "lost: {ring}");
        received += number(ring, "received")?;
    }
    let hooks = summary["hooks"].as_array().context("hooks")?;
    let by_hook: u64 = hooks.iter().filter_map(|hook| hook["received"].as_u64()).sum();
    ensure!(received == by_hook, "{received} by ring, {by_hook} by hook");
    // Each fork, exec and exit of the first storm was printed by the run that died.
    let printed = ["process.fork", "process.exec", "process.exit"].map(|kind| before.of_kind(kind).count() as u64);
    let critical = rings.iter().find(|ring| ring["ring"] == "ring_critical").context("the critical ring")?;
    let earlier = number(critical, "received_before")?;
    ensure!(printed.iter().sum::<u64>() <= earlier && earlier >= 3 * RUNS, "{earlier} before, printed {printed:?}");
    Ok(())
}

fn status() -> Result<Value> {
    let output = watertight(&["status", "-o", "json"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim()).with_context(|| format!("status printed {text:?}"))
}

fn status_is_read_back() -> Result<()> {
    let run = Watertight::start()?;
    let during = status()?;
    ensure!(during["run"] == run.pid() && during["level"] != "none", "with a run: {during}");
    let rows = during["rows"].as_array().context("rows")?;
    ensure!(rows.iter().any(|row| row["class"] == "file" && row["source"] == "BPF LSM"), "rows: {during}");
    let hooks = during["hooks"].as_array().context("hooks")?;
    for hook in hooks {
        ensure!(hook["link"].as_u64() > Some(0) && hook["program"].as_u64() > Some(0), "no ids: {hook}");
        ensure!(hook["counts"]["hits"].is_u64(), "no counts: {hook}");
    }
    ensure!(hooks.len() > 40, "{} hooks", hooks.len());
    run.kill()?;
    let after = status()?;
    ensure!(
        after["run"].is_null() && after["hooks"].as_array().is_some_and(|left| left.len() == hooks.len()),
        "{after}"
    );
    ensure!(after["level"] == "none" && after["degraded"].to_string().contains("no run reads"), "{after}");
    // Nothing is left for the next test.
    Watertight::start()?.stop()?;
    let stopped = status()?;
    ensure!(stopped["hooks"] == Value::Array(Vec::new()) && stopped["level"] == "none", "{stopped}");
    Ok(())
}
