//! What builds left whose place this one has taken: an upgrade, or a run with other filters after one that was killed. Their
//! programs are silent; what their rings hold is read before this build's, so that the order of events is that of the
//! machine.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use watertight_event::{Event, Field, Kind};
use watertight_sensor_abi::Ring;
use watertight_sensor_reader::{open_pinned, ring_size};

use crate::loader::{Loader, Report};
use crate::output::sensor_event;
use crate::pressure::Pressure;

/// Rings that are still to be read, and counts that are to be told.
pub struct Previous {
    rings: Vec<(OwnedFd, u32)>,
    counted: Vec<Event>,
    builds: usize,
    failures: Vec<String>,
}

impl Previous {
    /// Opens what the loader's report names; what can't be opened is told as a gap.
    #[must_use]
    pub fn open(report: Option<&Report>, boot_id: &str) -> Self {
        let mut previous = Self { rings: Vec::new(), counted: Vec::new(), builds: 0, failures: Vec::new() };
        for directory in report.iter().flat_map(|report| &report.previous) {
            previous.builds = previous.builds.saturating_add(1);
            if let Err(error) = previous.add(directory, boot_id) {
                // Of another version, perhaps: what it held is lost, and that is told.
                previous.failures.push(format!("{}: {error:#}", directory.display()));
            }
        }
        previous
    }

    fn add(&mut self, directory: &Path, boot_id: &str) -> Result<()> {
        let mut rings = Vec::new();
        for ring in Ring::ALL {
            let fd = open_pinned(&directory.join(ring.map_name()))?;
            let bytes = ring_size(fd.as_fd()).context("asking for the size of a ring")?;
            rings.push((fd, bytes));
        }
        self.rings.append(&mut rings);
        for mut event in Pressure::open(directory, boot_id)?.finish()? {
            // Not of this build's account: it must not be taken for one of its hooks.
            let of = event.text(Field::Of).unwrap_or_default().into_owned();
            event.set(Field::Of, format!("{of} of another build").as_str());
            self.counted.push(event);
        }
        Ok(())
    }

    /// Rings with their sizes: as many for each build as there are rings, in their order.
    #[must_use]
    pub fn rings(&self) -> &[(OwnedFd, u32)] {
        &self.rings
    }

    /// That there was an earlier build, what could not be read of it, and what it counted.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.builds > 0 {
            let words = "another build's programs were replaced without a pause; what their rings held is read first";
            events.push(sensor_event(Kind::SensorMode, "loader", words));
        }
        for failure in &self.failures {
            let words = format!("what another build's rings held can't be read: {failure}");
            events.push(sensor_event(Kind::SensorGap, "loader", &words));
        }
        events.extend(self.counted.iter().cloned());
        events
    }

    /// Removes the pins of the builds, beside everything else: the kernel may take seconds, and the descriptors are held.
    pub fn forget(&self, loader: &Loader, report: Option<&Report>) -> Option<JoinHandle<()>> {
        let build = report.filter(|_| self.builds > 0)?.build.clone();
        let loader = loader.clone();
        Some(std::thread::spawn(move || {
            if let Err(error) = loader.forget_all_but(&build) {
                crate::say!("watertight: {error:#}");
            }
        }))
    }
}
