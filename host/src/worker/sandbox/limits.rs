//! Bounds on what a worker can take from the machine before the kernel says no.

use std::io;

use rustix::process::{setrlimit, Resource, Rlimit};

use super::Profile;

/// Private memory of the detector: six times what a run with a million processes and every rule of a large public collection
/// took. The mapped rings are shared and do not count.
const DETECTOR_BYTES_MAX: u64 = 512 << 20;
/// Private memory of the sources: one batch of records and a path cache.
const SOURCES_BYTES_MAX: u64 = 256 << 20;
/// poll(2) refuses more descriptors than this: rings, pipes and the terminal are fewer than ten.
const DETECTOR_FILES_MAX: u64 = 16;
/// A folder of each watched file system stays open, and /proc is walked.
const SOURCES_FILES_MAX: u64 = 4_096;

/// Private memory of the loader: a pack is used where it lies, and a self-test needs some hundred kilobytes.
const LOADER_BYTES_MAX: u64 = 64 << 20;
/// Processor time of the loader: a hundred times what the largest pack takes.
const LOADER_CPU_S_MAX: u64 = 2;
/// Where that is not enough because the processor itself is emulated, whoever starts the run may name more seconds here.
pub const LOADER_CPU_S_VARIABLE: &str = "WATERTIGHT_LOADER_CPU_S";
/// And no more than this: a loader that spins must come to an end.
const LOADER_CPU_S_MOST: u64 = 30;
/// Private memory of the compiler: three times what a large public collection of rules took.
const COMPILER_BYTES_MAX: u64 = 512 << 20;
/// Processor time of the compiler: ten times what that collection took without optimization.
const COMPILER_CPU_S_MAX: u64 = 120;
/// Private memory of who reads crash files: twice what the longest text that is read at once takes.
const TRIAGE_BYTES_MAX: u64 = 512 << 20;
/// Its processor time, for all files of a run; who hands them over counts it by file and lets a worker go before.
const TRIAGE_CPU_S_MAX: u64 = 600;
/// Private memory of who makes dumps: a dump is made in memory, twice.
const DUMPER_BYTES_MAX: u64 = 64 << 20;
/// Its processor time.
const DUMPER_CPU_S_MAX: u64 = 5;
/// Private memory of an update's workers: the largest pack, as it grows and as it is passed on.
const UPDATER_BYTES_MAX: u64 = 384 << 20;
/// Their processor time: ten times what the longest metadata and the largest pack took without optimization.
const UPDATER_CPU_S_MAX: u64 = 120;
/// Private memory of the uplink: batches as they are read, packed and sent, by four threads; many times what it takes.
const UPLINK_BYTES_MAX: u64 = 256 << 20;
/// Its connections, with those that are kept for the next request, and a file or two.
const UPLINK_FILES_MAX: u64 = 64;
/// Standard input, output, error and the report.
const LOADER_FILES_MAX: u64 = 8;

/// The bounds of a profile; to be asked for while files can be opened.
///
/// # Errors
/// /proc does not tell how much is mapped.
pub fn of(profile: Profile) -> io::Result<Vec<(Resource, u64)>> {
    let (memory, files) = match profile {
        Profile::Detector => (DETECTOR_BYTES_MAX, DETECTOR_FILES_MAX),
        Profile::Loader => (LOADER_BYTES_MAX, LOADER_FILES_MAX),
        Profile::Compiler => (COMPILER_BYTES_MAX, LOADER_FILES_MAX),
        Profile::Triage => (TRIAGE_BYTES_MAX, DETECTOR_FILES_MAX),
        Profile::Updater => (UPDATER_BYTES_MAX, LOADER_FILES_MAX),
        Profile::Downloader => (UPDATER_BYTES_MAX, DETECTOR_FILES_MAX),
        Profile::Uplink => (UPLINK_BYTES_MAX, UPLINK_FILES_MAX),
        Profile::Dumper => (DUMPER_BYTES_MAX, DETECTOR_FILES_MAX),
        Profile::Sources { .. } => (SOURCES_BYTES_MAX, SOURCES_FILES_MAX),
    };
    // A core would hold everything that the worker saw.
    let mut bounds =
        vec![(Resource::Core, 0), (Resource::Nproc, 0), (Resource::Data, memory), (Resource::Nofile, files)];
    match profile {
        Profile::Loader => bounds.push((Resource::Cpu, loader_cpu_s())),
        Profile::Compiler => bounds.push((Resource::Cpu, COMPILER_CPU_S_MAX)),
        Profile::Triage => bounds.push((Resource::Cpu, TRIAGE_CPU_S_MAX)),
        Profile::Updater | Profile::Downloader => bounds.push((Resource::Cpu, UPDATER_CPU_S_MAX)),
        Profile::Dumper => bounds.push((Resource::Cpu, DUMPER_CPU_S_MAX)),
        Profile::Detector | Profile::Uplink | Profile::Sources { .. } => {} // for months
    }
    if matches!(profile, Profile::Loader | Profile::Compiler | Profile::Triage | Profile::Updater) {
        bounds.push((Resource::As, mapped_bytes()?.saturating_add(memory)));
    }
    Ok(bounds)
}

/// What is named, within reason; what is no number is as good as nothing.
fn loader_cpu_s() -> u64 {
    let named = std::env::var(LOADER_CPU_S_VARIABLE).ok().and_then(|named| named.parse().ok());
    named.unwrap_or(LOADER_CPU_S_MAX).clamp(1, LOADER_CPU_S_MOST)
}

/// Sets the bounds.
///
/// # Errors
/// The kernel refused.
pub fn set(bounds: &[(Resource, u64)]) -> io::Result<()> {
    for (resource, most) in bounds.iter().copied() {
        let held = rustix::process::getrlimit(resource).maximum;
        let within = |most: u64| held.map_or(most, |held| most.min(held));
        // At the first bound of time the kernel says why (SIGXCPU), a second later it kills.
        let maximum = if resource == Resource::Cpu { most.saturating_add(1) } else { most };
        setrlimit(resource, Rlimit { current: Some(within(most)), maximum: Some(within(maximum)) })?;
    }
    Ok(())
}

/// What is mapped already: the executable, the C library, what is to be read.
fn mapped_bytes() -> io::Result<u64> {
    let told = std::fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = told.split(' ').next().and_then(|pages| pages.parse().ok());
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm is not in its form"))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}
