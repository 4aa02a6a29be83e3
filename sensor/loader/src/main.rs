//! `watertight-loader`: root, one-shot. Probes what the kernel admits, loads, attaches, pins, says what it did, exits.
//!
//! The only executable that links libbpf. What it pins lives on without it; any error leaves nothing half attached, because
//! links that are not yet pinned end with this process and pins already made are taken back. Whatever changes something holds
//! the loader's lock meanwhile (`lock.rs`).

#![deny(clippy::print_stderr, clippy::print_stdout)] // they panic where the words go nowhere

mod bpffs;
mod counters;
mod filter;
mod guard;
mod identify;
mod inspect;
mod lock;
mod manifest;
mod objects;
mod phase;
mod pin;
mod processes;
mod trial;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::lock::Lock;

/// Loads, pins and unloads Watertight's kernel programs. JSON lines on stdout say what is in force.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Folder on a bpffs under which everything is pinned; a bpffs is mounted where there is none.
    #[arg(long, default_value = "/sys/fs/bpf/watertight")]
    pins: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load and attach what the kernel admits; what is pinned already is adopted.
    Load {
        /// Do not try LSM programs.
        #[arg(long)]
        without_lsm: bool,
        /// An executable `watertight` whose processes are ours; may be given more than once. The one beside this
        /// executable when none is given.
        #[arg(long, value_name = "FILE")]
        watertight: Vec<PathBuf>,
        /// File and network events that are not wanted: a JSON list, as the host makes it.
        #[arg(long, value_name = "JSON", default_value = "[]")]
        filters: String,
    },
    /// Detach the telemetry programs; maps stay until `unload`.
    Detach,
    /// Remove the pins of every build but one: their rings have been read.
    Forget {
        /// Name of the build that stays.
        #[arg(long, value_name = "BUILD")]
        keep: String,
    },
    /// Remove every pin of telemetry.
    Unload,
    /// Write the processes that are there already: a JSON line that says how they were read, then their records.
    Processes,
    /// Print what each hook has counted, one JSON line a hook.
    Counters,
    /// The object that denies, and its policy.
    #[command(subcommand)]
    Guard(guard::GuardCommand),
}

fn main() -> ExitCode {
    match run(&Args::parse(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody takes the words they are lost; `eprintln!` would panic.
            let _ = std::io::stderr().write_all(format!("watertight-loader: {error:#}\n").as_bytes());
            match error.is::<objects::Damaged>() || error.is::<bpffs::NoPlace>() {
                true => ExitCode::from(objects::EXIT_DAMAGED),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let pins = pin::Pins::new(&args.pins);
    match &args.command {
        Command::Load { without_lsm, watertight, filters } => {
            trial::silence_libbpf();
            let _lock = Lock::take()?;
            bpffs::ensure(&args.pins)?;
            let (manifest, manifest_refused) = match manifest::ours(watertight) {
                Ok(entries) => (entries, None),
                Err(error) => (Vec::new(), Some(format!("{error:#}"))),
            };
            let filters = filter::resolve(filters)?;
            let wanted = pin::Wanted { without_lsm: *without_lsm, manifest, manifest_refused, filters };
            let report = pins.load(&wanted)?;
            writeln!(out, "{}", serde_json::to_string(&report)?)?;
        }
        Command::Detach => {
            let _lock = Lock::take()?;
            let count = pins.detach()?;
            writeln!(out, "{}", serde_json::json!({ "detached": count }))?;
        }
        Command::Forget { keep } => {
            let _lock = Lock::take()?;
            let count = pins.forget(keep)?;
            writeln!(out, "{}", serde_json::json!({ "forgotten": count }))?;
        }
        Command::Unload => {
            let _lock = Lock::take()?;
            pins.detach()?;
            pins.remove()?;
            writeln!(out, "{}", serde_json::json!({ "unloaded": true }))?;
        }
        Command::Processes => processes::write(out)?,
        Command::Counters => {
            let _lock = Lock::share()?;
            for row in pins.counters()? {
                writeln!(out, "{}", serde_json::to_string(&row)?)?;
            }
        }
        Command::Guard(command) => {
            trial::silence_libbpf();
            writeln!(out, "{}", guard::run(&args.pins, command)?)?;
        }
    }
    Ok(())
}
