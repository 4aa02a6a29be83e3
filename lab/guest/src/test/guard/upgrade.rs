//! Other executables in the place of those that put a policy in force: what that costs, and the order that works.

use crate::guard::{apply, deny_one, program_of_its_own, rule, starts, try_apply, LOADER};
use crate::product::watertight;
use crate::test::Test;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::process::Output;

/// This file's tests.
pub const TESTS: &[Test] = &[Test {
    name: "guard.upgrade",
    claim: "a loader put in the place of the installed one can't touch the policy in force; after an unseal it can",
    run: upgrade,
}];

/// Where the installed loader stays reachable.
const KEPT: &str = "/usr/bin/watertight-loader.kept";

/// As package managers do it: a new file takes the name, the old one is not written.
fn replace_loader() -> Result<()> {
    let fresh = "/usr/bin/watertight-loader.new";
    program_of_its_own(LOADER, fresh)?;
    fs::rename(fresh, LOADER).context("a new file takes the loader's name")
}

fn is_refused(output: &Output) -> Result<()> {
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "the new loader may touch the policy: {}", output.status);
    ensure!(words.contains("does not know this process as its loader"), "it does not say why: {words}");
    Ok(())
}

fn upgrade() -> Result<()> {
    let denied = deny_one("upgrade")?;
    let policy = [rule("no-start", "exec", &format!("file: {denied}"), "enforce")];
    let _ = fs::remove_file(KEPT);
    fs::hard_link(LOADER, KEPT).context("keeping the installed loader")?;
    replace_loader()?;
    is_refused(&watertight(&["policy", "unseal"])?).context("unseal")?;
    is_refused(&try_apply(&policy)?).context("apply")?;
    ensure!(!starts(&denied)?, "it starts");
    let unsealed = watertight(&["policy", "unseal", "--loader", KEPT])?;
    ensure!(unsealed.status.success(), "the installed loader: {}", String::from_utf8_lossy(&unsealed.stderr));
    ensure!(starts(&denied)?, "it does not start after the unseal");
    // The order that works: unsealed before, applied after.
    replace_loader()?;
    apply(&policy)?;
    ensure!(!starts(&denied)?, "it starts under the new loader's policy");
    let unsealed = watertight(&["policy", "unseal"])?;
    ensure!(unsealed.status.success(), "the new loader: {}", String::from_utf8_lossy(&unsealed.stderr));
    fs::rename(KEPT, LOADER).context("putting the installed loader back")
}
