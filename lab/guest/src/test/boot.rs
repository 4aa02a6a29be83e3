//! What every other test relies on: a kernel of the right line with what the sensor needs, and a world that works.

use super::Test;
use crate::action::process;
use crate::world;
use anyhow::{bail, ensure, Context, Result};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// This file's tests.
pub const TESTS: &[Test] = &[
    Test { name: "boot.release", claim: "the kernel is a stock Debian cloud kernel", run: release },
    Test { name: "boot.bpf_lsm", claim: "the BPF LSM is active without a boot parameter", run: bpf_lsm },
    Test { name: "boot.btf", claim: "the kernel describes its own types", run: btf },
    Test { name: "boot.bpf_file_system", claim: "pins have a place", run: bpf_file_system },
    Test { name: "boot.loopback", claim: "TCP over loopback carries bytes, IPv4 and IPv6", run: loopback },
    Test { name: "boot.reaping", claim: "100 processes end and none is left as a zombie", run: reaping },
    Test { name: "boot.modules", claim: "overlayfs can be loaded and used", run: modules },
    Test { name: "boot.shared_libraries", claim: "a dynamically linked program runs", run: shared_libraries },
];

fn release() -> Result<()> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    ensure!(release.ends_with("-cloud-amd64"), "the release is {release}");
    Ok(())
}

fn bpf_lsm() -> Result<()> {
    let modules = fs::read_to_string("/sys/kernel/security/lsm").context("reading the list of security modules")?;
    ensure!(modules.split(',').any(|module| module.trim() == "bpf"), "only {modules}");
    Ok(())
}

fn btf() -> Result<()> {
    let types = fs::read("/sys/kernel/btf/vmlinux").context("reading the kernel's types")?;
    ensure!(types.starts_with(&0xeb9f_u16.to_le_bytes()), "{} bytes without the BTF magic", types.len());
    Ok(())
}

fn bpf_file_system() -> Result<()> {
    world::mount_bpf()?;
    fs::create_dir_all("/sys/fs/bpf/lab").context("making a folder for pins")
}

fn loopback() -> Result<()> {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).with_context(|| format!("binding {address}"))?;
        let mut caller = TcpStream::connect(listener.local_addr()?).with_context(|| format!("calling {address}"))?;
        let (mut callee, _) = listener.accept()?;
        caller.write_all(b"lab")?;
        let mut heard = [0; 3];
        callee.read_exact(&mut heard)?;
        ensure!(&heard == b"lab", "heard {heard:?}");
    }
    Ok(())
}

fn reaping() -> Result<()> {
    for _ in 0..100 {
        let act = process::exit_with("0")?;
        ensure!(act.status.success(), "ended with {}", act.status);
    }
    for entry in fs::read_dir("/proc")? {
        let Ok(status) = fs::read_to_string(entry?.path().join("status")) else { continue };
        if status.contains("State:\tZ") {
            bail!("a zombie is left: {status}");
        }
    }
    Ok(())
}

fn modules() -> Result<()> {
    world::insert_module("overlay")?;
    let known = fs::read_to_string("/proc/filesystems")?;
    ensure!(known.contains("overlay"), "overlay is loaded and not among the file systems");
    Ok(())
}

fn shared_libraries() -> Result<()> {
    let output = std::process::Command::new("/bin/sh").args(["-c", "exec cat /etc/passwd"]).output()?;
    ensure!(output.status.success(), "ended with {}", output.status);
    ensure!(output.stdout.starts_with(b"root:"), "printed {:?}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
