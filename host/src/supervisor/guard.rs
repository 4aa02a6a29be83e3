//! The guard's half of a run: its ring for the detector, its account for the summary. What it denies it denies without us.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use watertight_sensor_reader::{open_pinned, read_guard_counters, ring_size};

use crate::account::HookCounts;
use crate::guard::LoadedGuard;

/// How often a program of the guard may be found between its first and its last count before that is called an imbalance.
const LOOKS_MAX: u32 = 50;
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Open maps of the guard in force.
pub struct GuardMaps {
    /// Its verdicts, and the ring's size in bytes.
    pub verdicts: (OwnedFd, u32),
    counters: OwnedFd,
    /// This run has loaded it: both halves of its account are of this run.
    pub is_new: bool,
}

impl GuardMaps {
    /// Opens what the loader reported.
    ///
    /// # Errors
    /// This process has not the guard's trust.
    pub fn open(guard: &LoadedGuard) -> Result<Self> {
        let ring = open_pinned(&guard.directory.join("wtg_verdicts"))?;
        let bytes = ring_size(ring.as_fd()).context("asking for the size of the guard's ring")?;
        let counters = open_pinned(&guard.directory.join("wtg_counters"))?;
        Ok(Self { verdicts: (ring, bytes), counters, is_new: guard.loaded })
    }

    /// What its hooks have counted since they were loaded. They run while they are read, so looked at again until every hit is
    /// accounted for; what is not by then is told as it is.
    pub fn counters(&self) -> Result<Vec<HookCounts>> {
        let read = || -> Result<Vec<HookCounts>> {
            Ok(read_guard_counters(self.counters.as_fd())?.into_iter().map(HookCounts::from).collect())
        };
        let mut counts = read()?;
        for _ in 0..LOOKS_MAX {
            if counts.iter().all(HookCounts::is_balanced) {
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
            counts = read()?;
        }
        Ok(counts)
    }
}
