//! Measures in the guest what a sensor costs: each workload without it, with it, and without it again.
//!
//! The lab boots the guest so that virtual time counts instructions; processor time is then repeatable, and what the sensor's
//! own processes use is told apart from what the work pays. The work is done by a small driver process that never had
//! anything to do with BPF.

mod sensor;
mod work;

use crate::report::Report;
use crate::world;
use anyhow::{Context, Result};
use sensor::Running;
use std::thread;
use watertight_lab_guest::{Finding, Line, Measurement, ReaderCost, Round, Sensor, Workload};

/// Runs the benchmark of one sensor and says each finding at once.
pub fn run(report: &Report, sensor: Sensor) -> Result<()> {
    world::mount_bpf()?;
    world::use_control_groups()?;
    work::prepare()?;
    if let Some(why) = sensor::absent(sensor) {
        report.say(&Line::Found(Finding::Absent(sensor, why)));
        return Ok(());
    }
    round(report, sensor, Round::Before, None)?;
    let mut running = Running::start(sensor).with_context(|| format!("starting {}", sensor.name()))?;
    round(report, sensor, Round::With, Some(&mut running))?;
    running.stop().with_context(|| format!("stopping {}", sensor.name()))?;
    thread::sleep(work::REST);
    round(report, sensor, Round::After, None)?;
    if sensor == Sensor::Observe {
        for workload in [Workload::OpenWrite, Workload::ExecTrue] {
            report.say(&Line::Found(Finding::Reader(reader_alone(workload)?)));
        }
    }
    Ok(())
}

fn round(report: &Report, sensor: Sensor, round: Round, mut running: Option<&mut Running>) -> Result<()> {
    for workload in Workload::ALL {
        eprintln!("== {} {round:?} {}", sensor.name(), workload.name());
        work::warm_up(workload)?;
        let mut cost = || running.as_mut().map(|running| running.cost()).transpose();
        let rested = cost()?.unwrap_or_default();
        let before = cost()?.unwrap_or_default();
        let rest_ns = before.cpu_ns.saturating_sub(rested.cpu_ns);
        let used_before = running.as_ref().map_or(0, |running| running.cpu_ns());
        let taken = work::run(workload)?;
        let used = running.as_ref().map_or(0, |running| running.cpu_ns()).saturating_sub(used_before);
        let after = running.as_mut().map(|running| running.cost()).transpose()?.unwrap_or_default();
        let since = |after: Option<u64>, before: Option<u64>| Some(after?.saturating_sub(before?));
        report.say(&Line::Found(Finding::Measured(Measurement {
            sensor,
            round,
            workload,
            operations: taken.operations,
            cpu_ns: taken.cpu_ns,
            busy_ns: taken.elapsed_ns.saturating_sub(used),
            sensor_ns: after.cpu_ns.saturating_sub(before.cpu_ns).saturating_sub(rest_ns),
            rest_ns,
            events: since(after.events, before.events),
            lost: since(after.lost, before.lost),
        })));
    }
    Ok(())
}

/// Loads the kernel programs without anybody who reads, fills the rings, and lets the reader alone empty them.
fn reader_alone(workload: Workload) -> Result<ReaderCost> {
    let pins = sensor::load_kernel_side()?;
    work::run(workload)?;
    let line = work::output("/bench/drain", &[&pins])?;
    sensor::unload_kernel_side()?;
    let [records, cpu_ns] = work::numbers(&line)?;
    Ok(ReaderCost { workload, records, cpu_ns })
}
