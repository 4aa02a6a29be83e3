//! Makes a kernel's empty root into a system: file systems, loopback, modules.

use anyhow::{Context, Result};
use rustix::mount::{mount, MountFlags};
use std::fs::{self, File};
use std::path::Path;

/// Type, place and options of what every guest has. BPF's file system is not here: tests choose.
const FILE_SYSTEMS: [(&str, &str, &str); 8] = [
    ("devtmpfs", "/dev", "mode=0755"),
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tmpfs", "/run", "mode=0755"),
    ("securityfs", "/sys/kernel/security", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
    ("cgroup2", CONTROL_GROUPS, ""),
];

/// Where control groups are.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
/// The one of those who work on the machine.
const USERS: &str = "user.slice";

/// Mounts everything, brings the loopback up, sets what children inherit.
pub fn make() -> Result<()> {
    for (kind, place, options) in FILE_SYSTEMS {
        mount_at(kind, place, options)?;
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        std::os::unix::fs::symlink(target, link).with_context(|| format!("linking {link}"))?;
    }
    loopback_up()?;
    std::env::set_var("PATH", "/usr/bin:/bin");
    std::env::set_var("HOME", "/root");
    // An emulated processor takes many times as long over a pack's canaries.
    std::env::set_var("WATERTIGHT_LOADER_CPU_S", "30");
    Ok(())
}

/// Mounts BPF's file system where pins go, unless it is there.
pub fn mount_bpf() -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts").context("reading /proc/mounts")?;
    if mounts.lines().any(|line| line.split(' ').nth(1) == Some("/sys/fs/bpf")) {
        return Ok(());
    }
    mount_at("bpf", "/sys/fs/bpf", "mode=0700")
}

/// Puts control groups to use as systemd does: a kernel in which nobody uses them yet does less for every fork and page, and the first
/// who does would be charged with it.
pub fn use_control_groups() -> Result<()> {
    let all = Path::new(CONTROL_GROUPS).join("cgroup.subtree_control");
    fs::write(&all, "+cpu +memory +pids").with_context(|| format!("writing {}", all.display()))?;
    let user = Path::new(CONTROL_GROUPS).join(USERS);
    fs::create_dir_all(&user).with_context(|| format!("making {}", user.display()))
}

/// Does something as a member of the users' control group; whoever is started in it stays in it.
pub fn as_user<T>(act: impl FnOnce() -> Result<T>) -> Result<T> {
    let go = |group: &str| {
        let file = Path::new(CONTROL_GROUPS).join(group).join("cgroup.procs");
        fs::write(&file, "0").with_context(|| format!("writing {}", file.display()))
    };
    go(USERS)?;
    let done = act();
    go("")?;
    done
}

/// What the kernel holds against itself: the taint flags for an oops, a warning and a soft lockup.
pub fn kernel_troubles() -> u64 {
    const OOPS: u64 = 1 << 7;
    const WARNING: u64 = 1 << 9;
    const SOFT_LOCKUP: u64 = 1 << 14;
    let flags = fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
    flags.trim().parse::<u64>().unwrap_or(0) & (OOPS | WARNING | SOFT_LOCKUP)
}

/// Takes the exit of every process whose parent has gone. Only between tests: a test's own children are its own to wait for.
pub fn reap_orphans() {
    while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
}

/// Loads one of the modules that the lab brought; true if it was not loaded yet.
pub fn insert_module(name: &str) -> Result<bool> {
    let path = Path::new("/lab/modules").join(format!("{name}.ko"));
    let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("loading {}", path.display())),
    }
}

fn mount_at(kind: &str, place: &str, options: &str) -> Result<()> {
    fs::create_dir_all(place).with_context(|| format!("making {place}"))?;
    let options = std::ffi::CString::new(options)?;
    mount(kind, place, kind, MountFlags::empty(), Some(options.as_c_str()))
        .with_context(|| format!("mounting {kind} at {place}"))
}

/// Sets `lo` up by ioctl: the kernel gives it 127.0.0.1 and ::1 by itself.
fn loopback_up() -> Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").context("opening a socket to configure lo")?;
    // SAFETY: ifreq is plain old C data; all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = i8::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: the descriptor is open for the call and the request is a whole ifreq that the kernel only reads.
    let done = unsafe { libc::ioctl(descriptor, libc::SIOCSIFFLAGS, &request) };
    if done != 0 {
        return Err(std::io::Error::last_os_error()).context("bringing lo up");
    }
    Ok(())
}
