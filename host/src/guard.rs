//! What the loader's guard commands are told and answer: `guard check | apply | confirm | show | unseal`.
//!
//! A policy crosses as one JSON document on the loader's standard input. What the kernel has taken is on trial: it goes back
//! to what was in force before by itself unless somebody confirms in time, so a policy under which nothing can be started
//! any more ends without anybody's help.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use watertight_policy::{Mode, Operation, Owned, Policy, Target};

use crate::loader::Loader;
use crate::signals::spawn_alone;

/// For commands that take no rules.
const NOTHING: Option<&Policy> = None;

/// The loader's words where the kernel admits no LSM programs.
const NO_BPF_LSM: &str = "refuses BPF LSM";

/// What must still start under a new policy before it is confirmed.
const MUST_START: [(&str, &[&str]); 3] =
    [("/bin/true", &[]), ("/bin/sh", &["-c", ":"]), ("/proc/self/exe", &["--version"])];

/// Why a guard command failed.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// This kernel can't enforce.
    #[error("{0}")]
    NoBpfLsm(String),
    /// The loader refused, or could not be run; its words.
    #[error("{0}")]
    Refused(String),
    /// The loader's answer is not understood.
    #[error("the loader answered {line:?} ({why}): is it of this version?")]
    Answer {
        /// What it printed.
        line: String,
        /// What is wrong with it.
        why: serde_json::Error,
    },
    /// Somebody else was faster, or this took too long.
    #[error(
        "generation {generation} is not confirmed, because it is not on trial any more (generation {found} in state {state:?} is there): another command took it away or its place, or the time to confirm was over; apply it again"
    )]
    Gone {
        /// The generation that was on trial.
        generation: u64,
        /// The one that is there.
        found: u64,
        /// And where it stands.
        state: State,
    },
    /// The policy was taken, then the machine did not work any more, so it was not confirmed.
    #[error(
        "generation {generation} is not confirmed, because under it {what}: the kernel goes back to the policy before by itself; mend the rule that stops it and apply again"
    )]
    Unworkable {
        /// The generation on trial.
        generation: u64,
        /// What did not work.
        what: String,
    },
}

/// How far the kernel is with a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No guard is loaded.
    #[default]
    None,
    /// The guard is loaded and has no policy.
    Empty,
    /// In force until the deadline.
    Trial,
    /// In force.
    Confirmed,
    /// Nobody confirmed: the policy before is in force.
    Returned,
}

/// Answer of `guard check` and `guard apply`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Applied {
    /// Number of the generation.
    #[serde(default)]
    pub generation: u64,
    /// Where it stands.
    #[serde(default)]
    pub state: State,
    /// Rules that are in it.
    #[serde(default)]
    pub rules: Vec<AppliedRule>,
    /// Rules that are not.
    #[serde(default)]
    pub refused: Vec<RefusedRule>,
    /// Why this kernel can't enforce; only `check` answers with that.
    #[serde(default, skip_serializing)]
    pub kernel_refused: Option<String>,
}

/// A rule that was taken.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AppliedRule {
    /// Its id.
    pub id: String,
    /// Keys that it has in the kernel's tables.
    #[serde(default)]
    pub entries: u64,
    /// What it will not do.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A rule, or a part of one, that is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RefusedRule {
    /// Its id.
    pub id: String,
    /// Why not.
    pub why: String,
}

/// Answer of `guard load`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LoadedGuard {
    /// It was not there before.
    pub loaded: bool,
    /// Where its maps and links are pinned.
    pub directory: PathBuf,
    /// Hooks that are attached.
    #[serde(default)]
    pub attached: Vec<String>,
}

/// Answer of `guard show`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Shown {
    /// Where the policy stands.
    #[serde(default)]
    pub state: State,
    /// Number of the generation in force.
    #[serde(default)]
    pub generation: u64,
    /// Hooks that are attached.
    #[serde(default)]
    pub attached: Vec<String>,
    /// Hooks that are not.
    #[serde(default)]
    pub missing: Vec<MissingHook>,
    /// Rules in force.
    #[serde(default)]
    pub rules: Vec<ShownRule>,
    /// Account of each hook, as the loader tells it.
    #[serde(default)]
    pub hooks: Vec<serde_json::Value>,
}

/// Where the loader pins the guard that belongs to telemetry's pin folder: beside it, because it outlives every run.
#[must_use]
pub fn pinned_beside(pins: &Path) -> PathBuf {
    let mut name = pins.file_name().unwrap_or_default().to_owned();
    name.push("-guard");
    pins.with_file_name(name)
}

impl Shown {
    /// In a few words, for the matrix.
    #[must_use]
    pub fn in_words(&self) -> String {
        let rules = self.rules.len();
        match self.state {
            State::None => "none, and no guard".into(),
            State::Empty => "none applied: `watertight policy apply FILE`".into(),
            State::Trial => format!("generation {}, {rules} rules, on trial", self.generation),
            State::Confirmed => format!("generation {}, {rules} rules", self.generation),
            State::Returned => {
                format!("generation {}, {rules} rules, after a later one was not confirmed", self.generation)
            }
        }
    }
}

/// A hook of the guard that is not in force.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MissingHook {
    /// Its name.
    pub hook: String,
    /// Why not.
    pub why: String,
}

/// A rule in force, and what it has done.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ShownRule {
    /// Its id.
    pub id: String,
    /// Its operations.
    pub on: Vec<Operation>,
    /// Whether it denies.
    pub mode: Mode,
    /// What it matches.
    #[serde(rename = "match")]
    pub target: Target,
    /// Operations that it denied.
    #[serde(default)]
    pub denied: u64,
    /// Operations that it would have denied.
    #[serde(default)]
    pub audited: u64,
}

impl Loader {
    /// What the policy would become on this machine, without putting it in force.
    ///
    /// # Errors
    /// As the loader's own: the policy would stop what the machine needs, or this kernel can't enforce.
    pub fn guard_check(&self, policy: &Policy) -> Result<Applied, GuardError> {
        self.ask(&["guard", "check"], Some(policy))
    }

    /// Puts the policy in force on trial.
    ///
    /// # Errors
    /// As [`Self::guard_check`]; what was in force before still is.
    pub fn guard_apply(&self, policy: &Policy, confirm_within_s: Option<u64>) -> Result<Applied, GuardError> {
        let seconds = confirm_within_s.map(|seconds| seconds.to_string());
        // Not the path by which we were started: it may name another file by now.
        let ourselves = format!("/proc/{}/exe", std::process::id());
        let mut arguments = vec!["guard", "apply", "--watertight", &ourselves];
        if let Some(seconds) = &seconds {
            arguments.extend(["--confirm-within", seconds]);
        }
        self.ask(&arguments, Some(policy))
    }

    /// Puts the agent's own rules in force on trial, all of them, beside what was applied.
    ///
    /// # Errors
    /// As [`Self::guard_check`]; what was in force before still is.
    pub fn guard_publish(&self, owned: &Owned, confirm_within_s: u64) -> Result<Applied, GuardError> {
        let ourselves = format!("/proc/{}/exe", std::process::id());
        let seconds = confirm_within_s.to_string();
        self.ask(&["guard", "publish", "--watertight", &ourselves, "--confirm-within", &seconds], Some(owned))
    }

    /// Confirms the generation on trial, if the machine still works under it.
    ///
    /// # Errors
    /// Something could not be started, the generation is not the one on trial, or the loader refused.
    pub fn guard_confirm(&self, generation: u64) -> Result<Shown, GuardError> {
        let unworkable = |what: String| GuardError::Unworkable { generation, what };
        all_start(&MUST_START).map_err(unworkable)?;
        let shown = self.guard_show().map_err(|error| unworkable(format!("it could not be shown ({error})")))?;
        if shown.state != State::Trial || shown.generation != generation {
            return Err(GuardError::Gone { generation, found: shown.generation, state: shown.state });
        }
        self.call(&["guard", "confirm"], None).map_err(|error| refused(&error))?;
        self.guard_show()
    }

    /// Puts the guard in force where it is not; it then protects itself, and denies what a policy says once there is one.
    ///
    /// # Errors
    /// As the loader's own.
    pub fn guard_load(&self) -> Result<LoadedGuard, GuardError> {
        let ourselves = format!("/proc/{}/exe", std::process::id());
        self.ask(&["guard", "load", "--watertight", &ourselves], NOTHING)
    }

    /// Takes the guard away, unless it has a policy.
    ///
    /// # Errors
    /// As the loader's own.
    pub fn guard_release(&self) -> Result<(), GuardError> {
        self.call(&["guard", "release"], None).map(drop).map_err(|error| refused(&error))
    }

    /// What is in force.
    ///
    /// # Errors
    /// As the loader's own.
    pub fn guard_show(&self) -> Result<Shown, GuardError> {
        self.ask(&["guard", "show"], NOTHING)
    }

    /// Takes policy and guard away.
    ///
    /// # Errors
    /// As the loader's own.
    pub fn guard_unseal(&self) -> Result<(), GuardError> {
        self.call(&["guard", "unseal"], None).map(drop).map_err(|error| refused(&error))
    }

    fn ask<A: DeserializeOwned>(&self, arguments: &[&str], rules: Option<&impl Serialize>) -> Result<A, GuardError> {
        let json = rules.map(serde_json::to_vec).transpose();
        let json = json.map_err(|error| GuardError::Refused(format!("writing the policy: {error}")))?;
        let line = self.call(arguments, json.as_deref()).map_err(|error| refused(&error))?;
        serde_json::from_str(&line).map_err(|why| GuardError::Answer { line, why })
    }
}

fn refused(error: &anyhow::Error) -> GuardError {
    let words = format!("{error:#}");
    if words.contains(NO_BPF_LSM) {
        GuardError::NoBpfLsm(words)
    } else {
        GuardError::Refused(words)
    }
}

/// Starts what every machine must be able to start. What is not there can't be stopped by a policy.
fn all_start(programs: &[(&str, &[&str])]) -> Result<(), String> {
    for (program, arguments) in programs.iter().filter(|(program, _)| Path::new(program).exists()) {
        let quiet = || Stdio::null();
        let mut command = Command::new(program);
        command.args(*arguments).stdin(quiet()).stdout(quiet()).stderr(quiet());
        let ended = spawn_alone(&mut command).and_then(|mut child| child.wait());
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("{program} ends with {status}")),
            Err(error) => return Err(format!("{program} does not start: {error}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_lsm_is_told_from_a_refused_policy() {
        let no_lsm = anyhow::anyhow!("the kernel refuses BPF LSM programs (Operation not permitted (os error 1))");
        assert!(matches!(refused(&no_lsm), GuardError::NoBpfLsm(_)));
        assert!(matches!(refused(&anyhow::anyhow!("rule x would stop pid 1")), GuardError::Refused(_)));
    }

    #[test]
    fn what_the_loader_shows_is_read_back() {
        let line = r#"{"state":"confirmed","generation":3,"attached":["bprm"],"missing":[{"hook":"x","why":"y"}],
            "rules":[{"id":"a","on":["exec"],"mode":"enforce","match":{"file":"/x"},"denied":2,"audited":0}],"hooks":[]}"#;
        let shown: Shown = serde_json::from_str(line).expect("the loader's form");
        assert_eq!((shown.state, shown.generation, shown.rules[0].denied), (State::Confirmed, 3, 2));
    }

    #[test]
    fn a_program_that_does_not_start_or_fails_is_named() {
        assert_eq!(all_start(&[("/bin/sh", &["-c", ":"]), ("/there/is/none", &[])]), Ok(()));
        let failed = all_start(&[("/bin/sh", &["-c", "exit 9"])]).expect_err("it fails");
        assert!(failed.contains("/bin/sh ends with"), "{failed}");
        let folder = all_start(&[("/tmp", &[])]).expect_err("a folder does not start");
        assert!(folder.contains("/tmp does not start"), "{folder}");
    }
}
