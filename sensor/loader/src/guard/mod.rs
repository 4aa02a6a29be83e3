//! `watertight-loader guard ...`: the deny rules' way into the kernel.
//!
//! check    rules -> entries -> would they stop what the machine needs?
//! apply    check, load the guard where there is none, publish the entries as a generation on trial; the agent's own rules stay
//! publish  the same for the agent's own rules; those that were applied stay
//! confirm  the generation on trial becomes the one that stays
//! show     what the kernel has, read back from it
//! unseal   policy and guard go
//!
//! Once the guard is loaded only a process with its trust bit may open its maps. Whoever loads it does not have that bit yet,
//! so it executes itself again and does the rest as a trusted process. From the first look to the last change it holds the
//! loader's lock: the guard that it has found is the one that it changes.

mod entries;
mod generation;
mod kept;
mod pins;
mod protected;
mod removal;
mod show;
mod trust;

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use watertight_policy::{Owned, Owner, Policy, Rule};

use self::entries::Entries;
use self::pins::GuardPins;
use crate::lock::Lock;

/// Largest policy that is read, in bytes of JSON: 4,096 rules with paths of 4,096 bytes.
const POLICY_BYTES_MAX: u64 = 32 << 20;
/// How long somebody else's policy on trial is waited for: longer than a trial takes unless it was asked to.
const TRIAL_WAIT_MAX: Duration = Duration::from_secs(15);
const TRIAL_LOOK_EVERY: Duration = Duration::from_millis(50);

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
    /// Put the agent's own rules (JSON on standard input) in force on trial, beside what was applied.
    Publish {
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
    trust::leave_linker_variables()?;
    let pins = GuardPins::beside(pins)?;
    match command {
        GuardCommand::Check => check(&pins),
        GuardCommand::Apply { confirm_within, ours } => {
            // Before the lock, which nobody's slow writing shall hold.
            let input = read_input()?;
            apply(&pins, &input, applied, Duration::from_secs(*confirm_within), &ours.watertight)
        }
        GuardCommand::Publish { confirm_within, ours } => {
            let input = read_input()?;
            apply(&pins, &input, published, Duration::from_secs(*confirm_within), &ours.watertight)
        }
        GuardCommand::Show => {
            let _lock = Lock::share()?;
            pins.refuse_unseen()?;
            pins.refuse_other_builds()?;
            pins.refuse_remains()?;
            if pins.is_loaded() {
                trust::ensure_known(None, None, true)?;
            }
            Ok(show::show(&pins)?.to_string())
        }
        _ => change(&pins, command),
    }
}

fn check(pins: &GuardPins) -> Result<String> {
    let entries = Entries::resolve(&applied(&read_input()?)?.rules)?;
    protected::refuse_if_vital(&entries, &pins.folders())?;
    let mut report = entries.report(0, "none");
    // Rules that can be resolved are not yet rules that can be enforced.
    if let (false, Err(why)) = (pins.is_loaded(), crate::trial::admits_lsm()) {
        report["kernel_refused"] = why.into();
    }
    Ok(report.to_string())
}

/// A policy that another loader has on trial is waited for: its confirmation, or its end.
fn apply(
    pins: &GuardPins,
    input: &[u8],
    read: fn(&[u8]) -> Result<Wanted>,
    confirm_within: Duration,
    watertight: &[PathBuf],
) -> Result<String> {
    let wanted = read(input)?;
    let asked = Instant::now();
    let mut lock = Lock::take()?;
    pins.refuse_unseen()?;
    make_known(pins, &lock, Some(input))?;
    loop {
        if pins.ensure_loaded(watertight)? {
            trust::again(Some(&lock), Some(input))?;
        }
        match generation::on_trial(pins)? {
            Some(number) if asked.elapsed() > TRIAL_WAIT_MAX => bail!(
                "generation {number} is on trial: confirm it (`watertight-loader guard confirm`) or wait until the kernel goes back"
            ),
            Some(_) => {
                lock = lock.give_way(TRIAL_LOOK_EVERY)?;
                make_known(pins, &lock, Some(input))?;
            }
            None => break,
        }
    }
    let before = generation::in_force(pins)?;
    let kept = before.map_or(Ok(Vec::new()), |before| kept::of(&before.table, |owner| !wanted.replaces(owner)))?;
    let entries = Entries::beside(kept, &wanted.rules)?;
    protected::refuse_if_vital(&entries, &pins.folders())?;
    let number = generation::publish_trial(pins, &entries, confirm_within)?;
    Ok(entries.report(number, "trial").to_string())
}

fn change(pins: &GuardPins, command: &GuardCommand) -> Result<String> {
    let lock = Lock::take()?;
    pins.refuse_unseen()?;
    // A guard that is there already is not touched by a load: any loader may find it.
    if !(matches!(command, GuardCommand::Load { .. }) && pins.is_loaded()) {
        make_known(pins, &lock, None)?;
    }
    let done = match command {
        GuardCommand::Load { ours } => {
            let is_new = pins.ensure_loaded(&ours.watertight)?;
            json!({ "loaded": is_new, "directory": pins.directory(), "attached": pins.attached()? })
        }
        GuardCommand::Confirm => {
            pins.refuse_remains()?;
            let number = generation::confirm(pins)?;
            json!({ "generation": number, "state": "confirmed" })
        }
        GuardCommand::Release => {
            let has_policy = pins.is_loaded() && generation::has_policy(pins)?;
            if !has_policy {
                pins.remove()?;
            }
            json!({ "released": !has_policy })
        }
        _ => {
            let programs = pins.remove()?;
            drop(lock); // the rest is only waiting
            removal::wait_until_gone(&programs)?;
            json!({ "unsealed": true })
        }
    };
    Ok(done.to_string())
}

/// Nothing that is pinned can be changed by a process that the guard does not know.
fn make_known(pins: &GuardPins, lock: &Lock, input: Option<&[u8]>) -> Result<()> {
    pins.refuse_other_builds()?;
    if pins.is_anything_pinned()? {
        trust::ensure_known(Some(lock), input, pins.gives_trust()?)?;
    }
    Ok(())
}

fn read_input() -> Result<Vec<u8>> {
    let input = std::io::stdin();
    if input.is_terminal() {
        bail!("a policy in JSON is expected on standard input: `watertight policy apply FILE` writes it");
    }
    let mut bytes = Vec::new();
    input.lock().take(POLICY_BYTES_MAX).read_to_end(&mut bytes).context("reading the policy")?;
    Ok(bytes)
}

/// What is to be put in force.
struct Wanted {
    /// With ids as the kernel has them.
    rules: Vec<Rule>,
    /// They are the agent's, and take the place of the agent's alone; else of the administrator's alone.
    is_of_agent: bool,
}

impl Wanted {
    fn replaces(&self, owner: Owner) -> bool {
        self.is_of_agent == (owner != Owner::Administrator)
    }
}

/// A policy of the administrator's. Whoever sent it has read a file, and is not believed for that.
fn applied(bytes: &[u8]) -> Result<Wanted> {
    let policy: Policy = serde_json::from_slice(bytes)
        .context("reading the policy: it is not the JSON that `watertight policy` writes")?;
    policy.check().context("checking the policy")?;
    Ok(Wanted { rules: policy.rules, is_of_agent: false })
}

/// All rules of the agent.
fn published(bytes: &[u8]) -> Result<Wanted> {
    let owned: Owned =
        serde_json::from_slice(bytes).context("reading the agent's rules: they are not the JSON that it writes")?;
    owned.check().context("checking the agent's rules")?;
    Ok(Wanted { rules: owned.labelled(), is_of_agent: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_no_file_could_say_are_refused_whoever_sends_them() {
        let rule = |id: &str, path: &str| {
            format!(r#"{{"id":"{id}","action":"deny","on":["exec"],"match":{{"file":"{path}"}},"mode":"enforce"}}"#)
        };
        let policy = |rule: &str| format!(r#"{{"version":1,"rules":[{rule}]}}"#);
        let owned = |rule: &str| format!(r#"{{"pack":[{rule}],"trial":[],"next":[]}}"#);
        assert!(applied(policy(&rule("a", "/opt/x")).as_bytes()).is_ok());
        assert!(published(owned(&rule("a", "/opt/x")).as_bytes()).is_ok());
        for (id, path) in [("", "/opt/x"), ("pack:a", "/opt/x"), ("a", ""), ("a", "/"), ("a", "/opt/../x")] {
            assert!(applied(policy(&rule(id, path)).as_bytes()).is_err(), "{id:?} {path:?}");
            assert!(published(owned(&rule(id, path)).as_bytes()).is_err(), "{id:?} {path:?}");
        }
    }
}
