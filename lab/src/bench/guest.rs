//! One guest: one kernel, one sensor, time counted in instructions.

use super::image;
use crate::image as root;
use crate::kernel::{Kernel, Series};
use crate::machine::{Clock, Machine, Terms};
use crate::programs::{BenchPrograms, Programs};
use anyhow::{bail, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use watertight_lab_guest::{Finding, Job, Line, Sensor};

/// What a guest is made of.
pub struct Place<'p> {
    pub programs: &'p Programs,
    pub bench: &'p BenchPrograms,
    pub cache: &'p Path,
    pub accelerator: &'p str,
}

/// Everything that one guest found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    /// The kernel line, `6.12`.
    pub series: String,
    /// The kernel's package.
    pub kernel: String,
    /// What watched.
    pub sensor: Sensor,
    /// Version of the package that it came from; none for the product.
    pub package: Option<String>,
    /// In the order in which they were said.
    pub findings: Vec<Finding>,
}

/// Boots, measures, and shows what is found while it runs.
pub fn measure(place: &Place<'_>, series: Series, sensor: Sensor, seconds_max: u64) -> Result<Found> {
    let kernel = Kernel::fetch(series, place.cache)?;
    let mut archive = root::base(&kernel, place.programs)?;
    image::add(&mut archive, sensor, place.bench, place.cache)?;
    let mut initramfs = archive.to_bytes();
    initramfs.extend(root::job(&Job::Bench { sensor })?.to_bytes());
    let terms = Terms {
        hardware: Vec::new(),
        kernel_args: String::new(),
        clock: Clock::Counted,
        accelerator: place.accelerator.to_owned(),
        time_max: Duration::from_secs(seconds_max),
    };
    let mut machine = Machine::boot(&kernel, &initramfs, &terms, place.cache)?;
    eprintln!("== {} {} console: {}", series.name(), sensor.name(), machine.console_log().display());
    let mut findings = Vec::new();
    let mut code = None;
    while let Some(line) = machine.next_line()? {
        match line {
            Line::Found(finding) => {
                eprintln!("   {}", shown(&finding));
                findings.push(finding);
            }
            Line::Exit(ended) => code = Some(ended),
            _ => {}
        }
    }
    if code != Some(0) {
        bail!("the benchmark did not come to its end{}", machine.console_tail());
    }
    machine.finish()?;
    let package = match sensor {
        Sensor::Auditd => Some(super::packages::version("auditd")?),
        Sensor::Execsnoop => Some(super::packages::version("bpftrace")?),
        Sensor::Observe | Sensor::Enforce => None,
    };
    Ok(Found { series: series.name().to_owned(), kernel: kernel.package, sensor, package, findings })
}

fn shown(finding: &Finding) -> String {
    match finding {
        Finding::Measured(found) => format!(
            "{:?} {}: {} instructions each, busy {}, sensor {} k and {} k at rest, events {:?}, lost {:?}",
            found.round,
            found.workload.name(),
            found.cpu_ns / found.operations.max(1),
            found.busy_ns / found.operations.max(1),
            found.sensor_ns / 1_000,
            found.rest_ns / 1_000,
            found.events,
            found.lost
        ),
        Finding::Reader(found) => format!(
            "reader alone, {}: {} records, {} instructions each",
            found.workload.name(),
            found.records,
            found.cpu_ns / found.records.max(1)
        ),
        Finding::Absent(sensor, why) => format!("{} can't be measured: {why}", sensor.name()),
    }
}
