//! `watertight policy check | apply FILE | show | unseal`: typed deny rules, from the file to the kernel and back.
//!
//! The file is read here; the loader gets typed rules and does what needs root. A policy that was applied is confirmed only
//! once programs still start under it: otherwise the kernel goes back by itself.

pub(crate) mod text;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::Serialize;
use serde_json::json;
use watertight_host::deny::plan::Plan;
use watertight_host::deny::store::{self, Status};
use watertight_host::deny::BYPASSES;
use watertight_host::guard::{Applied, AppliedRule, GuardError, RefusedRule, Shown, State};
use watertight_host::loader::Loader;
use watertight_host::matrix::Mend;
use watertight_host::printable::{printable, printable_lines};
use watertight_host::say::not_written;
use watertight_policy::yaml::{self, LoadError};
use watertight_policy::Policy;

use super::run::{Form, PINS, STATE};

/// Exit codes as everywhere in this command.
const OK: u8 = 0;
const FAILED: u8 = 1;
/// Something is not in force as it was asked for.
const PARTIAL: u8 = 3;

/// Deny rules: check a policy file, put it in force, show it, take it away.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PolicyCommand {
    /// Say what a policy file would deny on this machine, and every problem that it has.
    Check(FileArgs),
    /// Put a policy file in force; it is confirmed once programs still start under it.
    Apply {
        #[command(flatten)]
        file: FileArgs,
        /// Seconds until the kernel goes back by itself to the policy before, unless this one is confirmed.
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
        confirm_within: Option<u64>,
    },
    /// Show the policy in force and how often each rule was met.
    Show(PlaceArgs),
    /// Take policy and guard away.
    Unseal(PlaceArgs),
}

#[derive(Debug, clap::Args)]
struct FileArgs {
    /// The policy file (docs/policy.md).
    file: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, clap::Args)]
struct PlaceArgs {
    /// `live` for people or `json`.
    #[arg(short, long, value_enum, default_value = "live")]
    output: Form,
    /// The loader, when it does not lie beside this executable.
    #[arg(long, value_name = "FILE")]
    loader: Option<PathBuf>,
    /// Folder on a bpffs to pin under.
    #[arg(long, value_name = "DIR", default_value = PINS)]
    pins: PathBuf,
    /// Folder of the lock.
    #[arg(long, value_name = "DIR", default_value = STATE)]
    state: PathBuf,
}

impl PlaceArgs {
    fn loader(&self) -> anyhow::Result<Loader> {
        Loader::find(self.loader.as_deref(), &self.pins)
    }

    fn say(&self, json: &impl Serialize, text: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match self.output {
            Form::Json => writeln!(out, "{}", serde_json::to_string(json)?),
            Form::Live => write!(out, "{text}"),
        }
        .and_then(|()| out.flush())
        .map_err(not_written("the answer"))
    }
}

/// What `check` and `apply` say.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    kind: &'static str,
    command: &'static str,
    file: &'a Path,
    /// `kernel`, `fanotify while running`, or `nothing`.
    enforced_by: &'static str,
    /// Why the kernel does not enforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_refused: Option<String>,
    /// What would make it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
    #[serde(flatten)]
    applied: Applied,
    /// What passes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passes: Vec<&'static str>,
}

/// Runs the subcommand and gives its exit code.
///
/// # Errors
/// The file can't be read, root is missing, or the loader refused; what was in force still is.
pub fn run(args: &PolicyArgs) -> anyhow::Result<u8> {
    match &args.command {
        PolicyCommand::Check(args) => match read(args)? {
            Some(policy) => check(args, &policy),
            None => Ok(FAILED),
        },
        PolicyCommand::Apply { file, confirm_within } => match read(file)? {
            Some(policy) => apply(file, &policy, *confirm_within),
            None => Ok(FAILED),
        },
        PolicyCommand::Show(args) => show(args),
        PolicyCommand::Unseal(args) => unseal(args),
    }
}

/// The policy; a file with problems is told and gives none.
fn read(args: &FileArgs) -> anyhow::Result<Option<Policy>> {
    match yaml::load(&args.file) {
        Ok(policy) => Ok(Some(policy)),
        Err(LoadError::Refused(refusal)) => {
            if args.place.output == Form::Json {
                let line = json!({ "kind": "policy", "file": refusal.file, "problems": refusal.problems, "more": refusal.more });
                writeln!(std::io::stdout(), "{line}").map_err(not_written("the refusal"))?;
            }
            watertight_host::say!("{}", printable_lines(&refusal.to_string()));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Exit code 0 if every rule would be in force, 3 if some or all would not.
fn check(args: &FileArgs, policy: &Policy) -> anyhow::Result<u8> {
    let loader = args.place.loader()?;
    match loader.guard_check(policy) {
        Ok(Applied { kernel_refused: None, rules, refused, .. }) => {
            answer("check", args, Applied { rules, refused, ..Applied::default() }, None)
        }
        Ok(Applied { kernel_refused: Some(words), .. }) | Err(GuardError::NoBpfLsm(words)) => {
            let applied = without_kernel(policy, &loader);
            answer("check", args, applied, Some((words, policy.fallback_deny)))
        }
        Err(error) => Err(needs_root(error)),
    }
}

/// Exit code 0 if every rule is in force, 3 if some are not, or only while `run` runs.
fn apply(args: &FileArgs, policy: &Policy, confirm_within_s: Option<u64>) -> anyhow::Result<u8> {
    as_root("applying a policy")?;
    let loader = args.place.loader()?;
    match loader.guard_apply(policy, confirm_within_s) {
        Ok(mut applied) => {
            if applied.state == State::Trial {
                let shown = loader.guard_confirm(applied.generation)?;
                // A later generation is another command's: it comes only after this one was confirmed.
                applied.state = if shown.generation > applied.generation { State::Confirmed } else { shown.state };
            }
            store::remove(&args.place.state)?; // the kernel denies: the fallback has nothing left to do
            answer("apply", args, applied, None)
        }
        Err(GuardError::NoBpfLsm(words)) if policy.fallback_deny => {
            let applied = without_kernel(policy, &loader);
            store::save(&args.place.state, policy)?;
            answer("apply", args, applied, Some((words, true)))
        }
        Err(GuardError::NoBpfLsm(words)) => {
            watertight_host::say!(
                "watertight: {}; nothing is denied\n  mend: {}\n  or: `fallback_deny: true` in {} denies exec by fanotify while `watertight run` \
                 runs (docs/policy.md says what passes it)",
                printable(&words),
                printable(&Mend::of_this_machine().lsm),
                printable(&args.file.display().to_string())
            );
            Ok(FAILED)
        }
        Err(error) => Err(needs_root(error)),
    }
}

/// What fanotify can do of the policy, if it may.
fn without_kernel(policy: &Policy, loader: &Loader) -> Applied {
    if !policy.fallback_deny {
        let why = "this kernel can't enforce, and the policy does not say `fallback_deny: true`";
        let refused = policy.rules.iter().map(|rule| RefusedRule { id: rule.id.clone(), why: why.into() }).collect();
        return Applied { refused, ..Applied::default() };
    }
    let plan = Plan::of(policy, Some(loader.executable()));
    let rules =
        plan.entries.iter().map(|entry| AppliedRule { id: entry.rule.clone(), entries: 1, warnings: Vec::new() });
    Applied { rules: rules.collect(), refused: plan.left_out, ..Applied::default() }
}

fn answer(
    command: &'static str,
    args: &FileArgs,
    applied: Applied,
    no_kernel: Option<(String, bool)>,
) -> anyhow::Result<u8> {
    let (enforced_by, passes) = match no_kernel {
        None => ("kernel", Vec::new()),
        Some((_, true)) => ("fanotify while running", BYPASSES.to_vec()),
        Some((_, false)) => ("nothing", Vec::new()),
    };
    let kernel_refused = no_kernel.map(|(words, _)| words);
    let mend = kernel_refused.is_some().then(|| Mend::of_this_machine().lsm);
    let is_whole = kernel_refused.is_none() && applied.refused.is_empty();
    let answer =
        Answer { kind: "policy", command, file: &args.file, enforced_by, kernel_refused, mend, applied, passes };
    args.place.say(&answer, &text::answer(&answer))?;
    Ok(if is_whole { OK } else { PARTIAL })
}

/// Exit code 0, or 3 if the kernel went back to an older policy, lacks a hook, or a policy that was applied is not in force.
fn show(args: &PlaceArgs) -> anyhow::Result<u8> {
    as_root("asking what is denied")?;
    let deny = Status::read(&args.state);
    let shown = match args.loader()?.guard_show() {
        Ok(shown) => shown,
        Err(GuardError::NoBpfLsm(_)) => Shown::default(),
        Err(error) => return Err(needs_root(error)),
    };
    let mut json = serde_json::to_value(&shown)?;
    json["kind"] = "policy".into();
    json["fallback"] = serde_json::to_value(&deny)?;
    args.say(&json, &text::show(&shown, deny.as_ref()))?;
    let is_fallback_off = deny.is_some_and(|deny| deny.deny == "none");
    let is_partial = !shown.missing.is_empty() || matches!(shown.state, State::Trial | State::Returned);
    Ok(if is_fallback_off || is_partial { PARTIAL } else { OK })
}

/// Exit code 0: nothing is denied any more.
fn unseal(args: &PlaceArgs) -> anyhow::Result<u8> {
    as_root("taking a policy back")?;
    // The fallback first: it must end whatever the loader says.
    let had_fallback = store::remove(&args.state)?;
    match args.loader()?.guard_unseal() {
        Ok(()) | Err(GuardError::NoBpfLsm(_)) => {}
        Err(error) => return Err(needs_root(error)),
    }
    let json = json!({ "kind": "policy", "unsealed": true, "fallback_removed": had_fallback });
    let fallback =
        if had_fallback { "; a `watertight run` that is going on stops denying within a second" } else { "" };
    args.say(&json, &format!("nothing is denied any more{fallback}\n"))?;
    Ok(OK)
}

/// Without root nothing can be changed, nor even seen: what would be said of the kernel would not be known.
fn as_root(what: &str) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("{what} needs root: run it with sudo");
    }
    Ok(())
}

/// Most refusals of the system without root are for want of root.
fn needs_root(error: GuardError) -> anyhow::Error {
    let is_root = rustix::process::geteuid().is_root();
    let error = anyhow::Error::from(error);
    if is_root {
        return error;
    }
    error.context("the guard can only be asked as root: run it with sudo")
}
