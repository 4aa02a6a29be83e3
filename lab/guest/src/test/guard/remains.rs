//! What is left of a guard: by a loader that was killed, or by whoever was trusted. It is not called a guard, and the next
//! command mends it.

use crate::action::{file, ACTOR};
use crate::guard::{apply, deny_one, folder, loader, program, rule, show, starts, LOADER, PINS};
use crate::product::{watertight, Watertight};
use crate::test::Test;
use anyhow::{ensure, Context, Result};
use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// This file's tests. They begin and end without a guard.
pub const TESTS: &[Test] = &[
    Test {
        name: "guard.remains.told",
        claim: "a guard without its maps is not called one; apply and run put a whole one in its place, unseal takes it away",
        run: told,
    },
    Test {
        name: "guard.remains.killed",
        claim: "a loader that is killed while it loads or unseals leaves nothing that the next command does not mend",
        run: killed,
    },
];

/// How many moments of a load, and of an unseal, are tried.
const MOMENTS: u32 = 2;

fn unseal() -> Result<()> {
    let output = watertight(&["policy", "unseal"])?;
    ensure!(output.status.success(), "unseal: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(!Path::new(PINS).exists(), "unseal has left pins");
    Ok(())
}

/// A guard with a policy whose map pins are gone, its links still attached: only who is trusted can do that.
fn wedge(name: &str) -> Result<String> {
    unseal()?;
    loader(&["guard", "load", "--watertight", ACTOR])?;
    let denied = deny_one(name)?;
    let build = fs::read_dir(PINS)?.next().context("a build")??.path();
    for entry in fs::read_dir(&build)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"wtg_")) {
            file::unlink(path.to_str().context("a name")?)?.done().with_context(|| format!("{}", path.display()))?;
        }
    }
    ensure!(fs::read_dir(build.join("links"))?.count() > 20, "the links are gone too");
    Ok(denied)
}

/// Status does not call it enforcement, and `show` says what it is.
fn is_told() -> Result<()> {
    let status = watertight(&["status", "-o", "json"])?;
    let status: Value = serde_json::from_slice(&status.stdout).context("the status")?;
    ensure!(status["level"] != "enforce", "{status}");
    ensure!(status["rows"].to_string().contains("what is left of a guard"), "{status}");
    let shown = watertight(&["policy", "show"])?;
    let said = String::from_utf8_lossy(&shown.stderr);
    ensure!(!shown.status.success() && said.contains("what is left of a guard"), "show: {} {said}", shown.status);
    Ok(())
}

fn told() -> Result<()> {
    let denied = wedge("remains-unseal")?;
    is_told()?;
    unseal()?;
    ensure!(starts(&denied)?, "it starts not after the unseal");

    let denied = wedge("remains-apply")?;
    is_told()?;
    apply(&[rule("no-start", "exec", &format!("file: {denied}"), "enforce")])?;
    ensure!(!starts(&denied)?, "applied, and it starts");

    let denied = wedge("remains-run")?;
    let events = Watertight::start_guarded()?.stop()?;
    ensure!(events.matrix()?["level"] == "enforce", "a run has not put a whole one in its place: {}", events.matrix()?);
    ensure!(starts(&denied)?, "the guard of the run has no policy, and it starts not");
    unseal()
}

/// Runs the loader and kills it after a time; true if it was still at work.
fn killed_after(arguments: &[&str], time: Duration) -> Result<bool> {
    let mut child = Command::new(LOADER)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    thread::sleep(time);
    child.kill()?;
    Ok(child.wait()?.signal() == Some(libc::SIGKILL))
}

fn killed() -> Result<()> {
    let denied = format!("{}/denied", folder("remains-killed")?);
    program(&denied)?;
    let policy = [rule("no-start", "exec", &format!("file: {denied}"), "enforce")];
    unseal()?;
    let began = Instant::now();
    loader(&["guard", "load"])?;
    let load = began.elapsed();
    let began = Instant::now();
    unseal()?;
    let removal = began.elapsed();
    let mut cut = 0;
    for moment in 1..=MOMENTS {
        let told = || format!("killed at {moment} of {MOMENTS}");
        cut += u32::from(killed_after(&["guard", "load"], load * moment / MOMENTS)?);
        // What mends it takes turns.
        if moment % 2 == 0 {
            apply(&policy).with_context(|| format!("apply after a load that was {}", told()))?;
        } else {
            unseal().with_context(|| format!("unseal after a load that was {}", told()))?;
            apply(&policy).with_context(|| format!("after a load that was {}", told()))?;
        }
        ensure!(!starts(&denied)?, "{}: applied, and it starts", told());
        cut += u32::from(killed_after(&["guard", "unseal"], removal * moment / MOMENTS)?);
        if moment % 2 == 0 {
            unseal().with_context(|| format!("unseal after an unseal that was {}", told()))?;
        } else {
            apply(&policy).with_context(|| format!("apply after an unseal that was {}", told()))?;
            ensure!(!starts(&denied)? && show()?["state"] == "confirmed", "{}: {}", told(), show()?);
            unseal()?;
        }
        ensure!(starts(&denied)?, "{}: unsealed, and it starts not", told());
    }
    ensure!(cut > 0, "no loader was at work when it was killed");
    Ok(())
}
