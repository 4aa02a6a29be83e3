//! What a run's summary says, as tests ask it: the account of a hook, that of a ring, and whether everything went somewhere.

use crate::product::Events;
use anyhow::{ensure, Context, Result};
use serde_json::Value;

/// One hook's row of the summary.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Times that the hook ran.
    pub hits: u64,
    /// Records put into the ring.
    pub submitted: u64,
    /// Records that the reader took.
    pub received: u64,
    /// Counted by process instead.
    pub aggregated: u64,
    /// Left out by a filter.
    pub filtered: u64,
    /// Lost, whatever the cause.
    pub lost: u64,
}

/// The row of a hook, which must have run, and which must balance.
pub fn row(events: &Events, hook: &str) -> Result<Row> {
    let summary = events.summary()?;
    let rows = summary["hooks"].as_array().context("the summary has no hooks")?;
    let row = rows.iter().find(|row| row["hook"] == hook).with_context(|| format!("{hook} never ran: {summary}"))?;
    let number = |name: &str| row[name].as_u64().with_context(|| format!("{hook} has no {name}: {row}"));
    let read = Row {
        hits: number("hits")?,
        submitted: number("submitted")?,
        received: number("received")?,
        aggregated: number("aggregated")?,
        filtered: number("filtered")?,
        lost: number("lost_ring_full")?.saturating_add(number("lost_no_scratch")?),
    };
    let became = [read.filtered, read.submitted, read.aggregated, read.lost].iter().sum::<u64>();
    ensure!(became == read.hits, "{hook}: {became} of {} hits went somewhere: {row}", read.hits);
    ensure!(read.received == read.submitted, "{hook}: submitted and received differ: {row}");
    Ok(read)
}

/// As many lines of the kinds were printed as the hooks' records were received, and as the summary says.
pub fn printed(events: &Events, hooks: &[&str], kinds: &[&str]) -> Result<u64> {
    let counted = &events.summary()?["events"];
    let mut lines = 0;
    for kind in kinds {
        let of_kind = events.lines_with(kind, "");
        ensure!(counted[kind].as_u64().unwrap_or(0) == of_kind, "{kind}: {of_kind} lines, counted {counted}");
        lines += of_kind;
    }
    let mut received = 0;
    for hook in hooks {
        received += row(events, hook)?.received;
    }
    ensure!(lines == received, "{lines} lines of {kinds:?}, {received} records of {hooks:?}");
    Ok(lines)
}

/// How many events of a ring were lost: the summary's number, which the loss events must add up to.
pub fn lost(events: &Events, ring: &str) -> Result<u64> {
    let lost = events.summary()?["lost"][ring].as_u64().with_context(|| format!("the summary has no lost.{ring}"))?;
    let told: u64 = events
        .of_kind("sensor.loss")
        .filter(|event| event["of"] == ring)
        .filter_map(|event| event["count"].as_u64())
        .sum();
    ensure!(told == lost, "events tell of {told} losses in {ring}, the summary of {lost}");
    Ok(lost)
}

/// The account as a whole says that it balances.
pub fn balances(events: &Events) -> Result<&Value> {
    let summary = events.summary()?;
    ensure!(summary["balanced"] == true, "the account does not balance: {summary}");
    Ok(summary)
}
