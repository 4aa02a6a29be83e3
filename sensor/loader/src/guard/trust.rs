//! Whether the guard that is attached knows this process as its loader, and how it comes to know it.
//!
//! A process that began before the guard was attached, such as one that waited while another loaded it, is not known until it
//! executes itself again.

use std::convert::Infallible;
use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};
use libbpf_rs::{ErrorKind, MapHandle, MapType};
use rustix::fs::{memfd_create, MemfdFlags};

use crate::lock::Lock;

/// Set when this process has executed itself again, as many letters as times.
const AGAIN: &str = "WATERTIGHT_LOADER_AGAIN";
/// Without foreign variables; known to a guard that was there; known to the one that it loaded.
const AGAIN_MAX: usize = 3;
/// How long programs without pins may go on refusing: grace periods, seconds in emulation.
const GONE_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The guard lets nobody else make a map whose name begins so.
const OWN_MAP: &str = "wtg_trust";

/// Whether what is attached lets this process handle its maps. True where no guard is.
pub fn is_known() -> Result<bool> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: std::mem::size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    match MapHandle::create(MapType::Array, Some(OWN_MAP), 4, 4, 1, &options) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(error).context("asking whether the guard knows this process"),
    }
}

/// Executes this process again if the guard does not know it. Returns once it does. Where nothing that gives trust is pinned
/// any more, the guard is on its way out and its end is waited for.
///
/// # Errors
/// It is none that the guard would ever know.
pub fn ensure_known(lock: Option<&Lock>, input: Option<&[u8]>, gives_trust: bool) -> Result<()> {
    let asked = Instant::now();
    loop {
        if is_known()? {
            return Ok(());
        }
        if gives_trust || asked.elapsed() > GONE_MAX {
            break;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    if times() < AGAIN_MAX.saturating_sub(1) {
        again(lock, input)?;
    }
    bail!(
        "the guard in force does not know this process as its loader; run the watertight-loader that was installed when the policy was applied, untraced, or reboot"
    )
}

/// Variables that begin with LD_ cost the trust bit, because they can put foreign code into this process.
pub fn leave_linker_variables() -> Result<()> {
    let is_foreign = |name: &std::ffi::OsString| name.as_encoded_bytes().starts_with(b"LD_");
    if std::env::vars_os().any(|(name, _)| is_foreign(&name)) {
        again(None, None)?;
    }
    Ok(())
}

fn times() -> usize {
    std::env::var_os(AGAIN).map_or(0, |count| count.len())
}

/// Executes this program again with the same arguments, the lock, and an environment without foreign variables. What has been
/// read from standard input is there to be read again.
pub fn again(lock: Option<&Lock>, input: Option<&[u8]>) -> Result<Infallible> {
    let count = times();
    if count >= AGAIN_MAX {
        bail!("this process is not known as the loader that put the guard in force, even after it was started anew");
    }
    let mut command = std::process::Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env_clear();
    for name in ["PATH", "HOME", "LANG", "TERM"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env(AGAIN, "x".repeat(count.saturating_add(1)));
    if let Some(lock) = lock {
        let (name, value) = lock.hand_on()?;
        command.env(name, value);
    }
    if let Some(bytes) = input {
        command.stdin(OwnedFd::from(memory_with(bytes)?));
    }
    Err(command.exec()).context("executing the loader again as a trusted process")
}

fn memory_with(bytes: &[u8]) -> Result<std::fs::File> {
    let mut memory = std::fs::File::from(memfd_create("input", MemfdFlags::CLOEXEC).context("keeping the policy")?);
    memory.write_all(bytes).and_then(|()| memory.rewind()).context("keeping the policy")?;
    Ok(memory)
}
