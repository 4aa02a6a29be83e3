//! The pinned maps that the supervisor opens: rings to hand to the detector, counters to read.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use watertight_sensor_abi::Ring;
use watertight_sensor_reader::{open_pinned, read_counters, read_sequences, ring_size};

use crate::account::HookCounts;
use crate::loader::Report;

/// Open maps of the build in force.
pub struct Pins {
    rings: Vec<(OwnedFd, u32)>,
    counters: OwnedFd,
    sequences: OwnedFd,
}

impl Pins {
    /// Opens what the loader reported; `None` where nothing is loaded.
    pub fn open(report: Option<&Report>) -> Result<Option<Self>> {
        let Some(report) = report else { return Ok(None) };
        let mut rings = Vec::new();
        for ring in Ring::ALL {
            let fd = open_pinned(&report.directory.join(ring.map_name()))?;
            let bytes = ring_size(fd.as_fd()).context("asking for the size of a ring")?;
            rings.push((fd, bytes));
        }
        let counters = open_pinned(&report.directory.join("counters"))?;
        let sequences = open_pinned(&report.directory.join("sequences"))?;
        Ok(Some(Self { rings, counters, sequences }))
    }

    /// Rings and their sizes, bytes, in the order of [`Ring::ALL`].
    #[must_use]
    pub fn rings(&self) -> &[(OwnedFd, u32)] {
        &self.rings
    }

    /// Sequence numbers that were used up so far, by ring and processor.
    pub fn sequences(&self) -> Result<Vec<Vec<u64>>> {
        Ok(read_sequences(self.sequences.as_fd())?)
    }

    /// What the hooks have counted so far.
    pub fn counters(&self) -> Result<Vec<HookCounts>> {
        Ok(read_counters(self.counters.as_fd())?.into_iter().map(HookCounts::from).collect())
    }
}
