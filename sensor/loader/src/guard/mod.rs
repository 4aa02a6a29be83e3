//! `watertight-loader guard ...`: the deny rules' way into the kernel.
//!
//! check    rules -> entries -> would they stop what the machine needs?
//! apply    check, load the guard where there is none, publish the entries as a generation on trial
//! confirm  the generation on trial becomes the one that stays
//! show     what the kernel has, read back from it
//! unseal   policy and guard go
//!
//! Once the guard is loaded only a process with its trust bit may open its maps. Whoever loads it does not have that bit yet,
//! so it executes itself again and does the rest as a trusted process.

mod entries;
mod generation;
mod pins;
mod protected;
mod show;

use std::convert::Infallible;
use std::io::{IsTerminal as _, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use watertight_policy::Policy;

use self::entries::Entries;
use self::pins::GuardPins;

/// Largest policy that is read, in bytes of JSON: 4,096 rules with paths of 4,096 bytes.
const POLICY_BYTES_MAX: u64 = 32 << 20;
/// Set when this process has executed itself again.
const AGAIN: &str = "WATERTIGHT_LOADER_AGAIN";

/// What is to be done with the guard.
#[derive(Subcommand)]
pub enum GuardCommand {
    /// Resolve a policy (JSON on standard input) and say what it would become.
    Check,
    /// Put a policy (JSON on standard input) in force on trial.
    Apply {
        /// Seconds after which the kernel goes back to the policy before, unless somebody confirms.
        #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
        confirm_within: u64,
        #[command(flatten)]
        ours: Ours,
    },
    /// Load the guard without a policy: it protects itself, and denies nothing else.
    Load {
        #[command(flatten)]
        ours: Ours,
    },
    /// Confirm the generation on trial.
    Confirm,
    /// Say what is in force.
    Show,
    /// Take the policy and the guard away.
    Unseal,
    /// Take the guard away if it has no policy.
    Release,
}

/// Which executables may touch the guard.
#[derive(Args)]
pub struct Ours {
    /// An executable `watertight` whose processes are ours; the one beside this executable when none is given.
    #[arg(long, value_name = "FILE")]
    watertight: Vec<PathBuf>,
}

/// Does it, and returns the line that says what was done.
pub fn run(pins: &Path, command: &GuardCommand) -> Result<String> {
    leave_linker_variables()?;
    let pins = GuardPins::beside(pins)?;
    if !matches!(command, GuardCommand::Check) {
        pins.refuse_unseen()?;
    }
    match command {
        GuardCommand::Check => {
            let entries = Entries::resolve(&read_policy()?)?;
            protected::refuse_if_vital(&entries)?;
            let mut report = entries.report(0, "none");
            // Rules that can be resolved are not yet rules that can be enforced.
            if let (false, Err(why)) = (pins.is_loaded(), crate::trial::admits_lsm()) {
                report["kernel_refused"] = why.into();
            }
            Ok(report.to_string())
        }
        GuardCommand::Apply { confirm_within, ours } => {
            if pins.ensure_loaded(&ours.watertight)? {
                again()?;
            }
            let entries = Entries::resolve(&read_policy()?)?;
            protected::refuse_if_vital(&entries)?;
            let number = generation::publish_trial(&pins, &entries, Duration::from_secs(*confirm_within))?;
            Ok(entries.report(number, "trial").to_string())
        }
        GuardCommand::Load { ours } => {
            let is_new = pins.ensure_loaded(&ours.watertight)?;
            Ok(json!({ "loaded": is_new, "directory": pins.directory(), "attached": pins.attached()? }).to_string())
        }
        GuardCommand::Confirm => {
            let number = generation::confirm(&pins)?;
            Ok(json!({ "generation": number, "state": "confirmed" }).to_string())
        }
        GuardCommand::Show => Ok(show::show(&pins)?.to_string()),
        GuardCommand::Unseal => {
            pins.unseal()?;
            Ok(json!({ "unsealed": true }).to_string())
        }
        GuardCommand::Release => {
            let has_policy = pins.is_loaded() && generation::has_policy(&pins)?;
            if !has_policy {
                pins.remove()?;
            }
            Ok(json!({ "released": !has_policy }).to_string())
        }
    }
}

fn read_policy() -> Result<Policy> {
    let input = std::io::stdin();
    if input.is_terminal() {
        bail!("a policy in JSON is expected on standard input: `watertight policy apply FILE` writes it");
    }
    let mut text = String::new();
    input.lock().take(POLICY_BYTES_MAX).read_to_string(&mut text).context("reading the policy")?;
    serde_json::from_str(&text).context("reading the policy: it is not the JSON that `watertight policy` writes")
}

/// Variables that begin with LD_ cost the trust bit, because they can put foreign code into this process.
fn leave_linker_variables() -> Result<()> {
    let is_foreign = |name: &std::ffi::OsString| name.as_encoded_bytes().starts_with(b"LD_");
    if std::env::vars_os().any(|(name, _)| is_foreign(&name)) {
        again()?;
    }
    Ok(())
}

/// Executes this program again with the same arguments and standard input, and an environment without foreign variables.
fn again() -> Result<Infallible> {
    if std::env::var_os(AGAIN).is_some_and(|count| count.len() > 1) {
        bail!("this process is not known as the loader that put the guard in force, even after it was started anew");
    }
    let mut command = std::process::Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env_clear();
    for name in ["PATH", "HOME", "LANG", "TERM"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let count = std::env::var_os(AGAIN).map_or(0, |count| count.len());
    command.env(AGAIN, "x".repeat(count.saturating_add(1)));
    Err(command.exec()).context("executing the loader again as a trusted process")
}
