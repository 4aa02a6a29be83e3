//! Other executables in the place of those that put a policy in force: refused, and the order that works.

use crate::action::file;
use crate::guard::{apply, deny_one, program_of_its_own, rule, starts, LOADER, POLICY};
use crate::product::{watertight, PROGRAM};
use crate::test::Test;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::process::Output;

/// This file's tests.
pub const TESTS: &[Test] = &[Test {
    name: "guard.upgrade",
    claim: "nobody takes the names of the executables in force, and another loader can't touch the policy; after an unseal both work",
    run: upgrade,
}];

/// Another build of the loader, as an installer unpacks it.
const FRESH: &str = "/usr/bin/watertight-loader.new";

fn is_refused(output: &Output) -> Result<()> {
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "the new loader may touch the policy: {}", output.status);
    ensure!(words.contains("does not know this process as its loader"), "it does not say why: {words}");
    Ok(())
}

fn upgrade() -> Result<()> {
    let denied = deny_one("upgrade")?;
    let policy = [rule("no-start", "exec", &format!("file: {denied}"), "enforce")];
    program_of_its_own(LOADER, FRESH)?;
    for name in [LOADER, PROGRAM] {
        file::rename(FRESH, name)?.refused_with(libc::EPERM).with_context(|| format!("a new file over {name}"))?;
        file::rename(name, "/usr/bin/elsewhere")?
            .refused_with(libc::EPERM)
            .with_context(|| format!("moving {name}"))?;
        file::unlink(name)?.refused_with(libc::EPERM).with_context(|| format!("removing {name}"))?;
    }
    is_refused(&watertight(&["policy", "unseal", "--loader", FRESH])?).context("unseal")?;
    let apply_with = ["policy", "apply", POLICY, "--loader", FRESH];
    is_refused(&watertight(&apply_with)?).context("apply")?;
    ensure!(!starts(&denied)?, "it starts");
    let unsealed = watertight(&["policy", "unseal"])?;
    ensure!(unsealed.status.success(), "the installed loader: {}", String::from_utf8_lossy(&unsealed.stderr));
    ensure!(starts(&denied)?, "it starts not after the unseal");
    // As package managers do it: the new file takes the name, the old one is not written.
    fs::rename(FRESH, LOADER).context("a new file takes the loader's name")?;
    apply(&policy)?;
    ensure!(!starts(&denied)?, "it starts under the new loader's policy");
    let unsealed = watertight(&["policy", "unseal"])?;
    ensure!(unsealed.status.success(), "the new loader: {}", String::from_utf8_lossy(&unsealed.stderr));
    Ok(())
}
