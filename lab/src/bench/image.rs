//! What a benchmark's guest has beside the usual: driver, reader, compiler, policy, and the sensor that it compares with.

use super::packages;
use crate::archive::Archive;
use crate::image::{add_program, read, GROUP};
use crate::programs::{self, BenchPrograms};
use crate::tool;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use watertight_lab_guest::Sensor;

/// Debian's own rules with an exec rule and file watches: what most people who want this of auditd write.
const AUDIT_RULES: &str = "-D
-b 8192
--backlog_wait_time 60000
-f 1
-a always,exit -F arch=b64 -S execve,execveat -k exec
-w /etc/passwd -p wa -k identity
-w /etc/group -p wa -k identity
-w /etc/shadow -p wa -k identity
-w /etc/sudoers -p wa -k identity
-w /etc/ld.so.preload -p wa -k persistence
-w /tmp/bench -p wa -k bench
";

/// What `nsswitch.conf` says on a small system: auditd asks for the names of users.
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files\n";

/// Adds it all.
pub fn add(archive: &mut Archive, sensor: Sensor, programs: &BenchPrograms, cache: &Path) -> Result<()> {
    archive.file("/bench/driver", 0o755, read(&programs.driver)?);
    archive.file("/bench/bare", 0o755, read(&programs.bare)?);
    add_program(archive, "/bench/drain", &programs.drain, None)?;
    archive.file("/bench/policy.yaml", 0o600, super::policy::text().into());
    for target in super::policy::targets() {
        archive.file(&target, 0o755, b"#!/bin/sh\n".to_vec());
    }
    add_compiler(archive)?;
    match sensor {
        Sensor::Observe | Sensor::Enforce => Ok(()),
        Sensor::Auditd => add_auditd(archive, &packages::unpacked(&["auditd"], cache)?),
        Sensor::Execsnoop => add_execsnoop(archive, &packages::unpacked(&["bpftrace"], cache)?),
    }
}

/// gcc's driver, compiler proper and assembler, and the linker, from this machine.
fn add_compiler(archive: &mut Archive) -> Result<()> {
    let asked =
        |option: &str| -> Result<PathBuf> { Ok(PathBuf::from(tool::output(Command::new("gcc").arg(option))?.trim())) };
    let compiler = asked("-print-prog-name=cc1")?;
    add_program(archive, &compiler.to_string_lossy(), &compiler, None)?;
    for name in ["gcc", "as", "ld"] {
        let file =
            programs::in_path(name).with_context(|| format!("{name} is not in PATH: is the package gcc there?"))?;
        add_program(archive, &format!("/usr/bin/{name}"), &file, None)?;
    }
    Ok(())
}

fn add_auditd(archive: &mut Archive, root: &Path) -> Result<()> {
    for name in ["auditd", "auditctl"] {
        add_program(archive, &format!("/sbin/{name}"), &root.join("sbin").join(name), Some(root))?;
    }
    archive.directory("/var/log/audit", 0o700);
    archive.directory("/etc/audit/plugins.d", 0o750);
    archive.file("/etc/audit/auditd.conf", 0o640, read(&root.join("etc/audit/auditd.conf"))?);
    archive.file("/etc/group", 0o644, format!("{GROUP}adm:x:4:\n").into()); // who may read its log
    archive.file("/etc/nsswitch.conf", 0o644, NSSWITCH.into());
    archive.file("/bench/audit.rules", 0o600, AUDIT_RULES.into());
    Ok(())
}

fn add_execsnoop(archive: &mut Archive, root: &Path) -> Result<()> {
    add_program(archive, "/usr/bin/bpftrace", &root.join("usr/bin/bpftrace"), Some(root))?;
    archive.file("/usr/sbin/execsnoop.bt", 0o755, read(&root.join("usr/sbin/execsnoop.bt"))?);
    Ok(())
}
