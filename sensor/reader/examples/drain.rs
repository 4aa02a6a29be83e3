//! Empties the pinned rings once and says `RECORDS CPU_NS`: what reading and translating costs without anything behind it.
//!
//! `drain FOLDER` after `watertight-loader load`, which names the folder; the benchmarks use it.

use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::time::{clock_gettime, ClockId};
use watertight_sensor_abi::Ring;
use watertight_sensor_reader::{open_pinned, ring_size, Reader};

/// As long as a real boot's id.
const BOOT_ID: &str = "0123456789abcdef0123456789abcdef";

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).context("usage: drain FOLDER-OF-PINS")?;
    let mut rings = Vec::new();
    for ring in Ring::ALL {
        let fd = open_pinned(&Path::new(&folder).join(ring.map_name()))?;
        let bytes = ring_size(fd.as_fd())?;
        rings.push((ring, fd, bytes));
    }
    let mut reader = Reader::new(rings, BOOT_ID)?;
    let before = cpu_ns();
    let mut records = 0_u64;
    while reader
        .drain(&mut |_, event| {
            std::hint::black_box(event);
            records = records.saturating_add(1);
        })
        .records
        > 0
    {}
    println!("{records} {}", cpu_ns().saturating_sub(before));
    Ok(())
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
