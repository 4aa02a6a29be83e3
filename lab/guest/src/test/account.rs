//! What is counted when a run dies, and what `status` reads back from the kernel: one run that is killed, what happens while
//! nobody reads, and its heir. Each test asks for its own part.

use super::Test;
use crate::action::{process, storm, Act};
use crate::product::{by, watertight, Events, Watertight};
use crate::story::Story;
use anyhow::{ensure, Context, Result};
use serde_json::Value;
use std::time::Duration;

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test {
        name: "product.run.killed_and_adopted",
        claim: "after kill -9 the programs stay, and the next run reads what the rings held and reports the gap",
        run: killed_run_is_adopted,
    },
    Test {
        name: "truth.adopted",
        claim: "after kill -9 the account is exact: what the dead run received and what its heir received is what was submitted",
        run: adopted_account_is_exact,
    },
    Test {
        name: "truth.told_alike",
        claim: "run, status and doctor tell the same of how the processes from before are read",
        run: told_alike,
    },
    Test {
        name: "truth.status",
        claim: "status reads links and counters back from the kernel, and calls programs that nobody reads no protection",
        run: status_is_read_back,
    },
];

const RUNS: u64 = 300;
/// How long a run may take to print what a storm has caused.
const SAID_MAX: Duration = Duration::from_secs(60);

/// The story of both runs.
struct Seen {
    /// The first run's process, and what it said before it was killed.
    first: u32,
    before: Events,
    /// A storm that the first run printed in full.
    heard: Act,
    /// A storm and a program that nobody read at first.
    unread: Act,
    program: Act,
    /// What the heir said.
    after: Events,
    /// What `status` said while the first ran, after its death, and after the heir's end.
    during: Value,
    orphaned: Value,
    stopped: Value,
}

fn seen() -> Result<&'static Seen> {
    static SEEN: Story<Seen> = Story::new();
    SEEN.told(do_all)
}

fn do_all() -> Result<Seen> {
    let run = Watertight::start()?;
    let heard = storm::exec(&RUNS.to_string())?;
    // The dead run's share is certain once its last event is out; the rest stays in the rings.
    run.wait_for("process.exit", |event| by(event, &heard), SAID_MAX)?;
    let during = status()?;
    let first = run.pid();
    let before = run.kill()?;
    let orphaned = status()?;
    let unread = storm::exec(&RUNS.to_string())?;
    let program = process::exec_many("wt-unread", "2")?;
    let after = Watertight::start()?.stop()?;
    let stopped = status()?;
    Ok(Seen { first, before, heard, unread, program, after, during, orphaned, stopped })
}

fn killed_run_is_adopted() -> Result<()> {
    let Seen { after, program, .. } = seen()?;
    after.expect("process.exec", |event| by(event, program) && event.to_string().contains("wt-unread-1"))?;
    after.expect("sensor.gap", |_| true)?;
    Ok(())
}

fn adopted_account_is_exact() -> Result<()> {
    let Seen { before, heard, unread, after, .. } = seen()?;
    let forks = after.count_by("process.fork", unread);
    ensure!(forks == RUNS, "{forks} forks of the {RUNS} that nobody read");
    after.expect_none("process.exec", |event| event["process"]["parent"]["pid"] == u64::from(heard.pid))?;
    let summary = after.summary()?;
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
    asked("status")
}

fn asked(command: &str) -> Result<Value> {
    let output = watertight(&[command, "-o", "json"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim()).with_context(|| format!("{command} printed {text:?}"))
}

fn told_alike() -> Result<()> {
    let Seen { before, during, stopped, .. } = seen()?;
    let row = |of: &Value| {
        let rows = of["rows"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["class"] == "processes from before").with_context(|| format!("no row in {of}"))
    };
    let (run, status, doctor) = (row(before.matrix()?)?, row(during)?, row(&asked("doctor")?)?);
    ensure!(run["source"] == "BPF iterator" && run == status && run == doctor, "{run} {status} {doctor}");
    ensure!(row(stopped)?["source"] == "none", "there is no run");
    Ok(())
}

fn status_is_read_back() -> Result<()> {
    let Seen { first, during, orphaned, stopped, .. } = seen()?;
    ensure!(during["run"] == *first && during["level"] != "none", "with a run: {during}");
    let rows = during["rows"].as_array().context("rows")?;
    ensure!(rows.iter().any(|row| row["class"] == "file" && row["source"] == "BPF LSM"), "rows: {during}");
    let hooks = during["hooks"].as_array().context("hooks")?;
    for hook in hooks {
        ensure!(hook["link"].as_u64() > Some(0) && hook["program"].as_u64() > Some(0), "no ids: {hook}");
        ensure!(
            hook["counts"]["hits"].is_u64() && hook["received"].is_u64(),
            "no counts: {hook}, {}",
            during["received_unknown"]
        );
    }
    ensure!(hooks.len() > 40, "{} hooks", hooks.len());
    let left = orphaned["hooks"].as_array().map(Vec::len);
    ensure!(orphaned["run"].is_null() && left == Some(hooks.len()), "{orphaned}");
    ensure!(orphaned["level"] == "none" && orphaned["degraded"].to_string().contains("no run reads"), "{orphaned}");
    ensure!(stopped["hooks"] == Value::Array(Vec::new()) && stopped["level"] == "none", "{stopped}");
    Ok(())
}
