//! The account of a run: for programs as one line, for people as a table.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use serde_json::{json, Value as Json};
use watertight_sensor_abi::Ring;

use super::{content, no_content, Output};
use crate::account::ring::RingCounts;
use crate::account::{guard_rows, hook_rows, HookCounts, Receipts, SourceCounts};
use crate::loss;
use crate::patience;
use crate::whole_lines::NOT_READ;
use crate::worker::budget;
use crate::worker::correlation_loss::{self, LIMITS};
use crate::worker::protocol::{Format, Given};
use crate::worker::rules::rules_in_words;

/// The end of a run.
pub struct Summary<'s> {
    /// Kernel's counters by hook.
    pub kernel: &'s [HookCounts],
    /// The guard's counters by hook.
    pub guard: &'s [HookCounts],
    /// Verdicts received by hook.
    pub verdicts: &'s [u64],
    /// Both halves of the guard's account are of this run.
    pub is_guard_exact: bool,
    /// Records taken from the rings by hook.
    pub received: &'s [u64],
    /// Of these, lost with a detector that died before it had written them.
    pub lost_with_detector: &'s [u64],
    /// Detectors that died during the run.
    pub deaths: u64,
    /// Operations by hook that were told as counted by process.
    pub aggregated: &'s [u64],
    /// The account of each ring.
    pub rings: Vec<RingCounts>,
    /// Records and lines that could not be read.
    pub malformed: u64,
    /// Sequence numbers that did not come.
    pub missing_sequences: u64,
    /// Both halves of the account are of this run.
    pub is_exact: bool,
    /// Accounts of the other sources.
    pub sources: &'s [SourceCounts],
    /// Length of the run.
    pub seconds: f64,
    /// Processes that are known at the end.
    pub processes: usize,
    /// The content in force at the end.
    pub content: Option<&'s Given>,
    /// Times that it was changed while the last detector ran.
    pub changes: u64,
    /// Longest time for which that kept events waiting.
    pub pause_ns_max: u64,
    /// What correlations could not do within their bounds.
    pub correlation_limits: [u64; LIMITS.len()],
}

impl Output {
    /// Writes the account of the run. Returns whether it balances.
    ///
    /// # Errors
    /// Standard output is gone.
    pub fn summary(&mut self, summary: &Summary<'_>) -> io::Result<bool> {
        let receipts = Receipts {
            taken: summary.received,
            lost: summary.lost_with_detector,
            aggregated: summary.aggregated,
            deaths: summary.deaths,
        };
        let (hooks, is_balanced) = hook_rows(summary.kernel, &receipts, summary.is_exact);
        // What a detector that died had taken is, for the next one, taken before.
        let is_first = summary.is_exact && summary.deaths == 0;
        let rings: Vec<Json> = summary.rings.iter().map(|ring| ring.to_json(is_first)).collect();
        let are_rings_balanced = summary.rings.iter().all(|ring| ring.is_balanced(is_first));
        let (guard, is_guard_balanced) = guard_rows(summary.guard, summary.verdicts, summary.is_guard_exact);
        let is_balanced = is_balanced && are_rings_balanced && is_guard_balanced && summary.malformed == 0;
        let events: BTreeMap<&str, u64> = self.events.iter().map(|(kind, count)| (kind.native(), *count)).collect();
        let sources: Vec<Json> = summary.sources.iter().map(SourceCounts::to_json).collect();
        let by_ring = loss::by_ring(summary.kernel);
        let lost: BTreeMap<&str, u64> = Ring::ALL.iter().map(|ring| loss::name(*ring)).zip(by_ring).collect();
        let line = json!({
            "kind": "summary",
            "seconds": summary.seconds,
            "events": events,
            "alerts": self.alerts,
            "rules": self.rules.in_force,
            "rules_rejected": self.rules.refused,
            "rules_replaced": self.rules.replaced,
            "hooks": hooks,
            "rings": rings,
            "guard": guard,
            "sources": sources,
            "lost": lost,
            "malformed": summary.malformed,
            "missing_sequences": summary.missing_sequences,
            "detector_deaths": summary.deaths,
            "account": account(summary),
            "balanced": is_balanced,
            "processes_known": summary.processes,
            "content": summary.content.map_or_else(no_content, content),
            "content_changes": summary.changes,
            "content_pause_ns_max": summary.pause_ns_max,
            "correlations": correlation_loss::named(summary.correlation_limits),
            "over_budget": budget::named(self.over_budget.events()),
        });
        if let Some(live) = &mut self.live {
            if !live.close(&|since_ms| patience::wait(&self.tally, since_ms))? {
                self.out.get_mut().give_up(NOT_READ);
            }
            patience::wait_no_more(&self.tally);
        }
        if self.format == Format::Live {
            self.summary_for_people(&line)?;
        } else {
            writeln!(self.out, "{line}")?;
        }
        self.account = Some(line);
        Ok(is_balanced)
    }

    fn summary_for_people(&mut self, line: &Json) -> io::Result<()> {
        let total: u64 = self.events.values().sum();
        let rules = rules_in_words(self.rules.in_force, self.rules.replaced);
        writeln!(self.out, "\n{total} events, {} alerts, {rules}", self.alerts)?;
        writeln!(
            self.out,
            "  {:<18}{:>10}{:>10}{:>10}{:>10}{:>8}{:>10}",
            "hook", "hits", "filtered", "submitted", "received", "lost", "balanced"
        )?;
        for hook in line.get("hooks").and_then(Json::as_array).into_iter().flatten() {
            let number = |name: &str| hook.get(name).and_then(Json::as_u64).unwrap_or(0);
            let lost = ["lost_ring_full", "lost_no_scratch", "lost_with_detector"].into_iter().map(number).sum::<u64>();
            writeln!(
                self.out,
                "  {:<18}{:>10}{:>10}{:>10}{:>10}{:>8}{:>10}",
                hook.get("hook").and_then(Json::as_str).unwrap_or_default(),
                number("hits"),
                number("filtered"),
                number("submitted"),
                number("received"),
                lost,
                if hook.get("balanced") == Some(&Json::Bool(true)) { "yes" } else { "NO" }
            )?;
        }
        for ring in line.get("rings").and_then(Json::as_array).into_iter().flatten() {
            let number = |name: &str| ring.get(name).and_then(Json::as_u64).unwrap_or(0);
            if number("received_before") > 0 {
                writeln!(
                    self.out,
                    "  {}: {} submitted since the load = {} received by earlier runs and detectors + {} by this one",
                    ring.get("ring").and_then(Json::as_str).unwrap_or_default(),
                    number("submitted"),
                    number("received_before"),
                    number("received"),
                )?;
            }
        }
        for source in line.get("sources").and_then(Json::as_array).into_iter().flatten() {
            let number = |name: &str| source.get(name).and_then(Json::as_u64).unwrap_or(0);
            writeln!(
                self.out,
                "  {:<18}{:>10}{:>10}{:>10}{:>10}{:>8}",
                source.get("source").and_then(Json::as_str).unwrap_or_default(),
                "unknown",
                number("filtered"),
                "-",
                number("received"),
                format!("{}x", number("overflows"))
            )?;
        }
        for (name, count) in line.get("correlations").and_then(Json::as_object).into_iter().flatten() {
            if count.as_u64() > Some(0) {
                writeln!(self.out, "  correlations: {count} {}", name.replace('_', " "))?;
            }
        }
        for (name, count) in line.get("over_budget").and_then(Json::as_object).into_iter().flatten() {
            if count.as_u64() > Some(0) {
                writeln!(self.out, "  over budget: {count} {}", budget::in_words(name))?;
            }
        }
        Ok(())
    }
}

/// How far the account can be trusted.
fn account(summary: &Summary<'_>) -> &'static str {
    match (summary.is_exact, summary.deaths) {
        (true, 0) => "exact",
        (true, _) => "a detector died: what it had not written counts as lost, up to one record a ring was read twice",
        (false, _) => "adopted: since the load; rings say what earlier runs received",
    }
}
