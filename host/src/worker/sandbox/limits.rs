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

/// Sets the bounds.
///
/// # Errors
/// The kernel refused.
pub fn set(profile: Profile) -> io::Result<()> {
    let (memory, files) = match profile {
        Profile::Detector => (DETECTOR_BYTES_MAX, DETECTOR_FILES_MAX),
        Profile::Sources { .. } => (SOURCES_BYTES_MAX, SOURCES_FILES_MAX),
    };
    // A core would hold everything that the worker saw.
    for (resource, most) in
        [(Resource::Core, 0), (Resource::Nproc, 0), (Resource::Data, memory), (Resource::Nofile, files)]
    {
        let held = rustix::process::getrlimit(resource).maximum;
        let most = held.map_or(most, |held| most.min(held));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}
