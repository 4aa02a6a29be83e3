//! Content packs in the guest: written, built, installed and tried as a user would.

use crate::guard::folder;
use crate::product::{watertight, Watertight, PROGRAM};
use crate::world;
use anyhow::{ensure, Context, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Files of this name fire the rule of every pack here.
pub const TRIGGER: &str = "/tmp/wt-pack-trigger";
/// Where the slots are.
const SLOTS: &str = "/var/lib/watertight/slots";
/// What a run says of its deny rules.
const WORD: &str = "/run/watertight/policy.json";
/// Emulation is slow: what a run does by itself takes seconds there.
pub const WAIT_MAX: Duration = Duration::from_secs(150);

/// The rule of every pack here; more lines may follow.
const RULE: &str = "title: A file of the test\nid: 7d1c1f0e-5f1b-4c5e-9a55-0c7d6f1f2a01\nlogsource: {category: file_event, product: linux}\ndetection:\n  selection:\n    TargetFilename: /tmp/wt-pack-trigger\n  condition: selection\n";
const TESTS: &str = "fires:\n  - category: file_event\n    product: linux\n    event: {TargetFilename: /tmp/wt-pack-trigger}\nsilent:\n  - category: file_event\n    product: linux\n    event: {TargetFilename: /tmp/other}\n    why: another name\n";

/// What is in a pack.
#[derive(Clone, Copy, Default)]
pub struct Pack<'p> {
    /// Its release number.
    pub version: u64,
    /// It is signed as urgent.
    pub is_urgent: bool,
    /// Its deny rules, as [`crate::guard::rule`] writes them.
    pub policy: &'p [String],
    /// More lines of its rule.
    pub rule: &'p str,
}

/// No pack, no policy, no guard.
pub fn fresh() -> Result<()> {
    world::mount_bpf()?;
    unseal()?;
    let _ = fs::remove_dir_all(SLOTS);
    let _ = fs::remove_file(WORD);
    Ok(())
}

/// Policy and guard go.
pub fn unseal() -> Result<()> {
    let output = watertight(&["policy", "unseal"])?;
    ensure!(output.status.success(), "unseal: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Builds a pack and puts it on trial.
pub fn install(pack: Pack<'_>) -> Result<()> {
    let source = folder(&format!("pack-{}", pack.version))?;
    let write = |name: &str, text: String| fs::write(Path::new(&source).join(name), text).context("writing a pack");
    let urgent = if pack.is_urgent { "urgent: true\n" } else { "" };
    write("pack.yml", format!("name: guest\nversion: {}\n{urgent}", pack.version))?;
    write("rule.yml", format!("{RULE}{}", pack.rule))?;
    write("rule.tests.yml", TESTS.to_owned())?;
    if !pack.policy.is_empty() {
        write("policy.yml", format!("version: 1\nrules:\n{}", pack.policy.concat()))?;
    }
    let file = format!("/tmp/wt-pack-{}", pack.version);
    for arguments in [["content", "build", &source, "-o", &file].as_slice(), &["content", "install", &file]] {
        let output = watertight(arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// A run as a user starts it, with a trial that leaves time to look, in emulation too.
pub fn run(arguments: &[&str]) -> Result<Watertight> {
    Watertight::start_program(PROGRAM, &[&["--trial", "25s"], arguments].concat())
}

/// Waits until the run says this of the policy.
pub fn wait_policy(run: &Watertight, words: &str) -> Result<()> {
    let fits = |event: &Value| event["message"].as_str().is_some_and(|message| message.contains(words));
    run.wait_for("sensor.mode", fits, WAIT_MAX).with_context(|| format!("waiting for {words:?}")).map(drop)
}

/// What the run says of its deny rules, as it lies there.
pub fn word() -> Value {
    fs::read(WORD).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}
