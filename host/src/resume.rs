//! The supervisor starts anew after the load: it executes itself once more, so that the programs that are attached now judge
//! it and know it as ours. Same process, same lock, same arguments.
//!
//! What it knows by then is handed on in a memfd, and the lock by its open descriptor. Signals are held back from before the
//! load until the new start has its handlers: none is lost, none ends the process with the programs still attached.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::fs::{memfd_create, MemfdFlags};
use rustix::io::{fcntl_setfd, FdFlags};
use serde::{Deserialize, Serialize};

use crate::guard::LoadedGuard;
use crate::loader::Report;
use crate::lock::RunLock;

/// The hidden option that names the descriptor; the executable's own parser knows it.
const OPTION: &str = "--resumed";

/// What is handed on.
#[derive(Deserialize, Serialize)]
struct State {
    locks: Vec<RawFd>,
    report: Report,
    guard: Result<LoadedGuard, String>,
}

/// Executes this executable again. Returns only if that failed, with the lock and the reason.
pub fn start_anew(lock: RunLock, report: &Report, guard: &Result<LoadedGuard, String>) -> (RunLock, anyhow::Error) {
    let locks = lock.into_fds();
    let error = match exec(&locks, report, guard) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    // Workers must not hold the lock after us.
    for lock in &locks {
        let _ = fcntl_setfd(lock, FdFlags::CLOEXEC);
    }
    (RunLock::from_fds(locks), error)
}

fn exec(locks: &[OwnedFd], report: &Report, guard: &Result<LoadedGuard, String>) -> Result<std::convert::Infallible> {
    let numbers = locks.iter().map(|lock| lock.as_raw_fd()).collect();
    let state = State { locks: numbers, report: report.clone(), guard: guard.clone() };
    let memory = memfd_create(c"watertight-resumed", MemfdFlags::CLOEXEC).context("making a memfd")?;
    let mut memory = File::from(memory);
    memory.write_all(&serde_json::to_vec(&state)?).and_then(|()| memory.rewind()).context("writing to a memfd")?;
    for lock in locks {
        fcntl_setfd(lock, FdFlags::empty()).context("handing the lock on")?;
    }
    fcntl_setfd(&memory, FdFlags::empty()).context("handing the state on")?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("watertight"));
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(arguments).arg(OPTION).arg(memory.as_raw_fd().to_string());
    Err(command.exec()).context("executing ourselves again")
}

/// What this process left itself, after its exec.
///
/// # Errors
/// The descriptor is not one that [`start_anew`] made.
pub fn resume(fd: RawFd) -> Result<(RunLock, Report, Result<LoadedGuard, String>)> {
    anyhow::ensure!(fd > 2, "{OPTION} is not for people: it names a descriptor of this process");
    // SAFETY: the option is given by `exec` above alone, which left this descriptor open for this process; who gives it by
    // hand names a descriptor that nothing here uses yet.
    let mut memory = unsafe { File::from_raw_fd(fd) };
    let mut text = Vec::new();
    memory.read_to_end(&mut text).with_context(|| format!("reading the state from descriptor {fd}"))?;
    let state: State = serde_json::from_slice(&text).context("reading the state that was left before the exec")?;
    let mut locks = Vec::new();
    for number in state.locks {
        // SAFETY: as above; the locks' descriptors were left open beside the state's, each once.
        let lock = unsafe { OwnedFd::from_raw_fd(number) };
        fcntl_setfd(&lock, FdFlags::CLOEXEC).context("taking the lock over")?;
        locks.push(lock);
    }
    Ok((RunLock::from_fds(locks), state.report, state.guard))
}
