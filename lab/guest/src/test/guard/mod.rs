//! What the policy denies, that its audit twin lets pass and counts, and that no other way leads to the same.

pub mod actions;
pub mod exec;
pub mod files;
pub mod others;
pub mod packs;
pub mod remains;
pub mod together;
pub mod upgrade;

use crate::action::Act;
use crate::guard::counts;
use anyhow::{ensure, Context, Result};

/// The act is refused, and its twin on an audited object is done and counted once.
fn denied_and_audited(denied: &Act, audited: &Act, rules: (&str, &str)) -> Result<()> {
    denied.refused_with(libc::EPERM)?;
    audited.done()?;
    let (count, _) = counts(rules.0)?;
    ensure!(count >= 1, "rule {} has counted {count} denials", rules.0);
    let (_, count) = counts(rules.1)?;
    ensure!(count >= 1, "rule {} has counted {count} audits", rules.1);
    Ok(())
}

fn sha256(path: &str) -> Result<String> {
    let output = std::process::Command::new("sha256sum").arg(path).output().context("running sha256sum")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().map(str::to_owned).with_context(|| format!("no digest of {path}"))
}
