//! `watertight status`: what is in force on this machine now, read back from the kernel's own pins.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use serde_json::json;
use watertight_host::account::HookCounts;
use watertight_host::deny::store::Status as Deny;
use watertight_host::lock::RunLock;
use watertight_sensor_abi::HOOKS;
use watertight_sensor_reader::{open_pinned, read_counters};

use super::run::{Form, PINS, STATE};

/// Say what is in force on this machine.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// `live` for people or `json`.
    #[arg(short, long, value_enum, default_value = "live")]
    pub output: Form,
    /// Folder on a bpffs to look under.
    #[arg(long, value_name = "DIR", default_value = PINS)]
    pub pins: PathBuf,
    /// Folder of the lock.
    #[arg(long, value_name = "DIR", default_value = STATE)]
    pub state: PathBuf,
}

/// Exit code 0 if the kernel sensor is attached and read, 3 if something of that is missing.
///
/// # Errors
/// A pin is there but can't be read.
pub fn run(args: &StatusArgs) -> anyhow::Result<u8> {
    let holder = RunLock::holder(&args.state);
    let build = std::fs::read_dir(&args.pins).ok().and_then(|mut builds| builds.next()).and_then(Result::ok);
    let mut hooks = Vec::new();
    if let Some(build) = &build {
        let counters = open_pinned(&build.path().join("counters"))?;
        let counts = read_counters(counters.as_fd())?.into_iter().map(HookCounts::from);
        for (hook, counts) in HOOKS.iter().zip(counts) {
            if build.path().join("links").join(hook.program()).exists() {
                hooks.push((hook.program(), counts));
            }
        }
    }
    let level = if hooks.is_empty() { "none" } else { "observe" };
    let build = build.map(|build| build.file_name().to_string_lossy().into_owned());
    let deny = Deny::read(&args.state);
    let mut out = std::io::stdout().lock();
    if args.output == Form::Json {
        let hooks: Vec<_> = hooks.iter().map(|(name, counts)| json!({ "hook": name, "counts": counts })).collect();
        writeln!(
            out,
            "{}",
            json!({ "kind": "status", "level": level, "run": holder, "build": build, "hooks": hooks, "deny_by_fanotify": deny })
        )?;
    } else {
        match holder {
            Some(pid) => writeln!(out, "run: process {pid}")?,
            None => writeln!(out, "run: none (start it with `watertight run`)")?,
        }
        writeln!(out, "level: {level}, {} hooks attached", hooks.len())?;
        if let Some(deny) = &deny {
            let mut text = String::new();
            super::policy::text::fallback(&mut text, deny);
            write!(out, "{text}")?;
        }
        for (name, counts) in &hooks {
            writeln!(
                out,
                "  {name:<18} hits {:>10}  filtered {:>10}  submitted {:>10}  lost {:>6}",
                counts.hits,
                counts.filtered,
                counts.submitted,
                counts.lost()
            )?;
        }
    }
    Ok(if holder.is_some() && !hooks.is_empty() { 0 } else { 3 })
}
