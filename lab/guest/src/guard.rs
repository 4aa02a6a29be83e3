//! Policies in the guest: written, applied, counted, and the guard's answers compared with what was asked for.

use crate::product::watertight;
use crate::world;
use anyhow::{bail, ensure, Context, Result};
use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

/// Where the product pins what denies.
pub const PINS: &str = "/sys/fs/bpf/watertight-guard";
/// The loader in the guest.
pub const LOADER: &str = "/usr/bin/watertight-loader";
/// The policy file that `apply` writes.
pub const POLICY: &str = "/tmp/wt-policy.yaml";

/// A rule for a policy file: `rule("id", "exec", "file: /tmp/x", "enforce")`.
pub fn rule(id: &str, on: &str, target: &str, mode: &str) -> String {
    format!("  - {{ id: {id}, action: deny, on: {on}, match: {{ {target} }}, mode: {mode} }}\n")
}

/// Tries to put rules in force as a user would.
pub fn try_apply(rules: &[String]) -> Result<Output> {
    fs::write(POLICY, format!("version: 1\nrules:\n{}", rules.concat())).context("writing a policy")?;
    // A slow emulation must not make the kernel go back.
    watertight(&["policy", "apply", "--confirm-within", "300", POLICY, "-o", "json"])
}

/// Puts rules in force; they are confirmed when this returns.
pub fn apply(rules: &[String]) -> Result<()> {
    world::mount_bpf()?;
    let output = try_apply(rules)?;
    ensure!(
        output.status.success(),
        "policy apply ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let shown = show()?;
    ensure!(shown["state"] == "confirmed", "the policy was applied, but {shown}");
    Ok(())
}

/// What the kernel has, by the loader.
pub fn show() -> Result<Value> {
    loader(&["guard", "show"])
}

/// Runs the loader; its answer is one JSON line.
pub fn loader(arguments: &[&str]) -> Result<Value> {
    let output = Command::new(LOADER).args(arguments).output().context("running the loader")?;
    if !output.status.success() {
        bail!("{arguments:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("the loader's answer to {arguments:?}"))
}

/// How often a rule has denied and would have.
pub fn counts(id: &str) -> Result<(u64, u64)> {
    let shown = show()?;
    let rules = shown["rules"].as_array().context("rules")?;
    let rule = rules.iter().find(|rule| rule["id"] == id).with_context(|| format!("no rule {id} in {shown}"))?;
    Ok((rule["denied"].as_u64().context("denied")?, rule["audited"].as_u64().context("audited")?))
}

/// Whether a program starts: `Ok(true)`, or `Ok(false)` if the kernel says that it is not permitted.
pub fn starts(program: &str) -> Result<bool> {
    match Command::new(program).status() {
        Ok(status) => {
            ensure!(status.signal().is_none(), "{program} was ended by a signal");
            Ok(true)
        }
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("starting {program}")),
    }
}

/// An empty folder for a test.
pub fn folder(name: &str) -> Result<String> {
    let path = format!("/tmp/wt-guard-{name}");
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).with_context(|| format!("making {path}"))?;
    Ok(path)
}

/// A copy of `/bin/true`, with a tail of its own so that no other file has its contents.
pub fn program(path: &str) -> Result<()> {
    program_of_its_own("/bin/true", path)
}

/// The same of any program.
pub fn program_of_its_own(from: &str, path: &str) -> Result<()> {
    let mut bytes = fs::read(from).with_context(|| format!("reading {from}"))?;
    bytes.extend_from_slice(path.as_bytes());
    fs::write(path, bytes).with_context(|| format!("writing {path}"))?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

/// A program that the policy in force denies.
pub fn deny_one(name: &str) -> Result<String> {
    let denied = format!("{}/denied", folder(name)?);
    program(&denied)?;
    apply(&[rule("no-start", "exec", &format!("file: {denied}"), "enforce")])?;
    ensure!(!starts(&denied)?, "it starts before anybody has done anything");
    Ok(denied)
}
