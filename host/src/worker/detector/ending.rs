//! The detector's end in good order: everything that is there is taken, and the account of the run written.

use std::io;

use anyhow::Result;

use super::{Detector, OutputGone, SETTLE_NS};
use crate::account::ring::ring_counts;
use crate::account::HookCounts;
use crate::loss;
use crate::output::{boot_ns_now, Summary};
use crate::whole_lines::Untaken;

/// What the supervisor says at the end.
pub struct Ending {
    pub kernel: Vec<HookCounts>,
    pub sequences: Vec<Vec<u64>>,
    pub guard: Vec<HookCounts>,
    pub is_guard_new: bool,
    pub seconds: f64,
}

impl Detector {
    /// The programs are detached: what is in the rings and the pipe is all there will be.
    pub(super) fn finish(&mut self, ending: &Ending) -> Result<u8> {
        while self.take()? > 0 || self.sources.is_some() {}
        self.correlate(boot_ns_now().saturating_add(SETTLE_NS))?;
        self.tell_losses(&loss::by_ring(&ending.kernel))?;
        self.flush()?; // what was told counts once it is written
        let account = self.reader.account();
        let (received, lost) = self.tally.by_hook();
        let aggregated = self.tally.aggregated();
        let summary = Summary {
            kernel: &ending.kernel,
            guard: &ending.guard,
            verdicts: &account.verdicts,
            is_guard_exact: ending.is_guard_new && self.deaths == 0,
            received: &received,
            lost_with_detector: &lost,
            deaths: self.deaths,
            aggregated: &aggregated,
            rings: ring_counts(&ending.kernel, &ending.sequences, &account.taken),
            malformed: account.malformed.saturating_add(self.malformed),
            missing_sequences: account.missing,
            is_exact: !self.is_adopted,
            sources: &self.source_counts,
            seconds: ending.seconds,
            processes: self.tree.len(),
            content: self.active.given(),
            changes: self.changes.count,
            pause_ns_max: self.changes.pause_ns_max,
            correlation_limits: self.tally.correlation_limits(),
        };
        let is_balanced = self.output.summary(&summary).map_err(OutputGone)?;
        self.flush()?;
        if let Some(Untaken { why, lines }) = self.output.tell_untaken() {
            let lines_in_words = format!("{why}; {lines} lines are not in it, the account is on standard error");
            return Err(OutputGone(io::Error::other(lines_in_words)).into());
        }
        Ok(if is_balanced { 0 } else { 3 })
    }
}
