//! Several commands that put a guard in force or take it away, at the same time: one after the other, whichever comes first.

use crate::guard::{apply, deny_one, folder, loader, program, rule, show, starts, PINS, POLICY};
use crate::product::{watertight, Watertight};
use crate::test::Test;
use anyhow::{bail, ensure, Context, Result};
use std::fs;
use std::path::Path;
use std::process::Output;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// This file's tests. They begin and end without a guard.
pub const TESTS: &[Test] = &[
    Test {
        name: "guard.together.run",
        claim: "a policy that is applied while a run starts is in force, and the run says so",
        run: with_run,
    },
    Test {
        name: "guard.together.apply",
        claim: "of two policies that are applied at once both are put in force, one after the other",
        run: with_apply,
    },
    Test {
        name: "guard.together.unseal",
        claim: "a policy that is applied while another command unseals is wholly in force or wholly gone",
        run: with_unseal,
    },
];

/// When the second command begins, from the first's beginning: spread over a load, which takes seconds in emulation.
const DELAYS_MS: [u64; 2] = [0, 600];

/// Denies one program, by the policy file as it lies there.
fn write_policy(name: &str) -> Result<String> {
    let denied = format!("{}/denied", folder(name)?);
    program(&denied)?;
    fs::write(
        POLICY,
        format!("version: 1\nrules:\n{}", rule("no-start", "exec", &format!("file: {denied}"), "enforce")),
    )?;
    Ok(denied)
}

fn later(delay_ms: u64, arguments: &'static [&'static str]) -> JoinHandle<Result<Output>> {
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(delay_ms));
        watertight(arguments)
    })
}

/// A slow emulation must not make the kernel go back.
const APPLY: &[&str] = &["policy", "apply", "--confirm-within", "300", POLICY];
const UNSEAL: &[&str] = &["policy", "unseal"];

fn ended(command: JoinHandle<Result<Output>>) -> Result<Output> {
    command.join().map_err(|_| anyhow::anyhow!("the command's thread panicked"))?
}

fn succeeded(output: &Output) -> Result<()> {
    ensure!(output.status.success(), "it ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn unseal() -> Result<()> {
    succeeded(&watertight(UNSEAL)?).context("unseal")?;
    ensure!(!Path::new(PINS).exists(), "unseal has left pins");
    Ok(())
}

fn with_run() -> Result<()> {
    let denied = write_policy("together-run")?;
    unseal()?;
    for delay_ms in DELAYS_MS {
        let applied = later(delay_ms, APPLY);
        let run = Watertight::start_guarded()?;
        let told = || format!("{delay_ms} ms after the run's start");
        succeeded(&ended(applied)?).with_context(told)?;
        ensure!(!starts(&denied)?, "{}: applied, and it starts", told());
        let events = run.stop()?;
        ensure!(events.matrix()?["level"] == "enforce", "{}: {}", told(), events.matrix()?);
        ensure!(!starts(&denied)?, "{}: it starts after the run's end", told());
        ensure!(show()?["state"] == "confirmed", "{}: {}", told(), show()?);
        unseal().with_context(told)?;
        ensure!(starts(&denied)?, "{}: it starts not after the unseal", told());
    }
    Ok(())
}

fn with_apply() -> Result<()> {
    let denied = write_policy("together-apply")?;
    for round in 0..2 {
        unseal()?;
        let both = [later(0, APPLY), later(round * 200, APPLY)];
        for applied in both {
            succeeded(&ended(applied)?).with_context(|| format!("round {round}"))?;
        }
        ensure!(!starts(&denied)?, "round {round}: it starts");
        let shown = show()?;
        ensure!(shown["state"] == "confirmed" && shown["generation"] == 2, "round {round}: {shown}");
    }
    unseal()
}

fn with_unseal() -> Result<()> {
    let denied = write_policy("together-unseal")?;
    for delay_ms in DELAYS_MS {
        let commands = (later(0, APPLY), later(delay_ms, UNSEAL));
        let applied = ended(commands.0)?;
        succeeded(&ended(commands.1)?).with_context(|| format!("unseal after {delay_ms} ms"))?;
        let shown = show().with_context(|| format!("after {delay_ms} ms"))?;
        match shown["state"].as_str() {
            Some("confirmed") => {
                succeeded(&applied)?;
                ensure!(!starts(&denied)?, "after {delay_ms} ms it is in force, and it starts");
            }
            // Applied first; it says so, or that it was taken away before it was confirmed.
            Some("none") => ensure!(starts(&denied)?, "after {delay_ms} ms nothing is in force, and it starts not"),
            _ => bail!("after {delay_ms} ms: {shown}"),
        }
        unseal()?;
        ensure!(starts(&denied)?, "it starts not after the unseal");
    }
    // And what works alone still does.
    let denied = deny_one("together-alone")?;
    apply(&[rule("no-start", "exec", &format!("file: {denied}"), "enforce")])?;
    ensure!(loader(&["guard", "release"])?["released"] == false, "a guard with a policy is released");
    unseal()
}
