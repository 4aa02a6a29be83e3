//! What a worker gives up before it reads the first byte that others wrote: identity, capabilities, files, network, system
//! calls. Each layer holds without the others, and none is taken for granted: the worker says which of them the kernel gave.

mod calls;
mod filesystem;
mod home;
mod limits;
mod privileges;

pub use limits::LOADER_CPU_S_VARIABLE;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

pub use calls::name_of as call_name;
pub use privileges::die_with_parent;

/// How much a worker is left with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Reads rings, pipes and its terminal; writes to what is open. Opens nothing.
    Detector,
    /// Turns a pack into an image: what it reads is open, and it answers into a pipe. Opens nothing.
    Loader,
    /// Turns rules in text into an image. As the loader, with the room that a compiler needs.
    Compiler,
    /// Reads crash files that come to it as descriptors, and answers into a pipe. Opens nothing.
    Triage,
    /// Reads what a repository sent, which it asks for and answers into a pipe. Opens nothing and has no network.
    Updater,
    /// Speaks to web servers, and reads what looking up their names needs. What comes it passes on.
    Downloader,
    /// Speaks to a fleet's server, as the downloader does, and keeps files in its working directory, which becomes its own.
    Uplink,
    /// Makes a dump of a worker that has crashed: stops it, reads its registers, its memory and what /proc tells of it. Changes nothing.
    Dumper,
    /// Looks at files and processes of others, as its open sources need it.
    Sources {
        /// fanotify marks are open.
        has_fanotify: bool,
        /// The proc connector is open.
        has_proc_connector: bool,
    },
}

/// What holds a worker, as the kernel granted it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Sandbox {
    /// User that the worker runs as.
    pub uid: u32,
    /// Names of the capabilities that it kept.
    pub capabilities: Vec<String>,
    /// How many are left in its bounding set.
    #[serde(default)]
    pub bounding: usize,
    /// System calls that it may make; every other one ends it.
    pub calls: usize,
    /// What Landlock holds: `files and network (ABI 4)`, `partly (ABI 2)`, or why nothing.
    pub landlock: String,
    /// What its control group bounds, or `none` and why: the supervisor's word, which alone can make one.
    #[serde(default)]
    pub group: String,
}

impl Profile {
    /// Capabilities that stay: what the sources do after they are open, and nothing to gain more with.
    fn capabilities(self) -> CapabilitySet {
        match self {
            Self::Detector
            | Self::Loader
            | Self::Compiler
            | Self::Triage
            | Self::Updater
            | Self::Downloader
            | Self::Uplink => CapabilitySet::empty(),
            // Another user's process, and files of /proc that only root may read.
            Self::Dumper => CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH,
            Self::Sources { has_fanotify, has_proc_connector } => {
                // Folders by handle and /proc of every user.
                let mut kept = CapabilitySet::DAC_READ_SEARCH | CapabilitySet::SYS_PTRACE;
                if has_fanotify {
                    kept |= CapabilitySet::SYS_ADMIN; // the kernel wants it for a mark on a file system mounted later
                }
                if has_proc_connector {
                    kept |= CapabilitySet::NET_ADMIN; // to subscribe and to end the subscription
                }
                kept
            }
        }
    }
}

/// Gives up everything that the profile does not need; there is no way back. A forbidden call is named on `report` before
/// the kernel ends the process.
///
/// # Errors
/// The kernel refused a layer that every kernel has; the worker must then not go on. Landlock may be missing: it is said.
pub fn enter(profile: Profile, report: BorrowedFd<'_>) -> io::Result<Sandbox> {
    enter_with(profile, report, || Ok(())).map(|(sandbox, ())| sandbox)
}

/// The same for a worker with more than one thread: `start` starts them when identity, capabilities and files are given up, which
/// each thread does for itself, and before the system calls are restricted, for all threads at once.
///
/// # Errors
/// As [`enter`], or of `start`.
pub fn enter_with<T>(
    profile: Profile,
    report: BorrowedFd<'_>,
    start: impl FnOnce() -> io::Result<T>,
) -> io::Result<(Sandbox, T)> {
    keep_one_arena();
    // The C library's wrappers look these up once, in files that are out of reach afterwards.
    let _ = rustix::param::page_size();
    let _ = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    match profile {
        Profile::Uplink => privileges::give_up_at_home(profile.capabilities())?,
        _ => privileges::give_up(profile.capabilities())?,
    }
    privileges::die_with_parent()?; // once more: a change of identity ends the tie
    let limits = limits::of(profile)?;
    let landlock = match profile {
        Profile::Detector | Profile::Loader | Profile::Compiler | Profile::Triage | Profile::Updater => {
            filesystem::close()
        }
        Profile::Downloader => filesystem::leave_names(),
        Profile::Uplink => filesystem::leave_names_and_home(),
        // Landlock forbids to look at processes outside of it, which is what this worker is for.
        Profile::Dumper | Profile::Sources { .. } => "none: it would hide other processes from this worker".to_owned(),
    };
    let started = start()?;
    limits::set(&limits)?; // from here on there are no more threads
    let uid = rustix::process::geteuid().as_raw();
    let capabilities = privileges::names(privileges::effective()?);
    let bounding = privileges::bounding_set().len();
    let calls = calls::restrict(profile, report)?;
    Ok((Sandbox { uid, capabilities, bounding, calls, landlock, group: String::new() }, started))
}

/// The C library gives each thread an arena of its own, and before it gives back some of it reads in /proc whether the kernel overcommits:
/// a forbidden call in the middle of a `free`. The first arena never asks.
fn keep_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number of the C library's; this process has one thread at this point.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

impl Sandbox {
    /// Whether a layer is missing that this worker should have.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.uid == 0 || self.calls == 0 || self.landlock.starts_with("none") || self.landlock.starts_with("partly")
    }
}

impl std::fmt::Display for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { uid, capabilities, calls, landlock, group, .. } = self;
        let capabilities = if capabilities.is_empty() { "none".to_owned() } else { capabilities.join(" ") };
        let shared = if *uid == privileges::NOBODY { " (shared with others: no id of its own is free)" } else { "" };
        write!(
            f,
            "uid {uid}{shared}, capabilities {capabilities}, {calls} system calls, Landlock {landlock}, control group {group}"
        )
    }
}
