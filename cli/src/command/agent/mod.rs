//! `watertight agent ...`: this host as one of a fleet. Five processes, so that what faces the network protects nothing and has no rights,
//! and what protects or has rights faces no network:
//!
//! ```text
//! agent run      parent: starts the others, starts them again, ends them; reads nothing
//! run            the sensor, the detector, the slots, as without a fleet   --output-->  agent intake: makes records, into the spool
//! agent uplink   identity, check-in, doorbell, sends the spool; confined: the network and its own folder (`layout.rs`)
//!      | asks how things stand, and for a fetch (`words.rs`, `remote.rs`)
//! agent updater  tells how things stand; starts `content fetch` and `content install`, whose own workers have the network
//! ```

mod child;
mod down;
mod fetched;
mod host;
mod intake;
mod layout;
mod parent;
mod pause;
mod remote;
mod still;
mod updater;
mod uplink;
mod words;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::{set_parent_process_death_signal, Signal};
use watertight_fleet_agent::folder::Folder;

pub use self::pause::{PauseArgs, ResumeArgs};
use super::run::Watching;

/// The agent's state folder unless told otherwise.
const STATE: &str = "/var/lib/watertight/agent";
/// State of the run, in it.
const RUN: &str = "run";
/// What the server can't be reached or refuses at the start with: as everywhere in this command.
const FORBIDDEN: u8 = 5;

/// This host as one of a fleet.
#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    #[command(subcommand)]
    command: AgentCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AgentCommand {
    /// Protect this machine as one of a fleet.
    Run(FleetArgs),
    /// The part that faces the network.
    #[command(hide = true)]
    Uplink(uplink::UplinkArgs),
    /// The part that has the machine's rights.
    #[command(hide = true)]
    Updater(updater::UpdaterArgs),
    /// The part that makes records of what the run says.
    #[command(hide = true)]
    Intake(intake::IntakeArgs),
}

/// Which fleet, and as what.
#[derive(Debug, clap::Args)]
struct FleetArgs {
    /// The fleet's server: `https://HOST:PORT`.
    #[arg(long, value_name = "URL")]
    server: String,
    /// Whom to trust as the server: `ca.pem` of its state folder.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// The token to enrol with (`watertight server token`); read once, at the first start.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Folder of identity, spool, content and the run's own state.
    #[arg(long, value_name = "DIR", default_value = STATE)]
    state: PathBuf,
    /// The root of the content repository that came with the product; without it, and without what an earlier one left, no content is fetched.
    #[arg(long, value_name = "FILE")]
    content_root: Option<PathBuf>,
    /// What the host is for, in a word: hosts that are alike are told apart by it.
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// The kernel's release line, where it is not this machine's own that counts.
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// Distribution and version, where they are not this machine's own that count.
    #[arg(long, value_name = "NAME")]
    distribution: Option<String>,
    /// Hosts like this one, as the director names them; made of kernel, distribution, architecture, version and workload when not given.
    #[arg(long, value_name = "NAME")]
    stratum: Option<String>,
    /// Watch only: load no guard.
    #[arg(long)]
    observe: bool,
    /// Take events from a recording (`run -o json`), over and over, in place of this machine, which then is not watched: to try a fleet.
    #[arg(long, value_name = "FILE")]
    source: Option<PathBuf>,
    /// Folder on a bpffs to pin under.
    #[arg(long, value_name = "DIR", default_value = super::run::PINS)]
    pins: PathBuf,
    /// How long new content has to live before it is the last known good.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    trial: String,
    /// As of `watertight run`.
    #[command(flatten)]
    watching: Watching,
}

/// Runs the subcommand and gives its exit code.
///
/// # Errors
/// It could not be started.
pub fn run(args: &AgentArgs) -> anyhow::Result<u8> {
    match &args.command {
        AgentCommand::Run(args) => parent::run(args),
        AgentCommand::Uplink(args) => uplink::run(args),
        AgentCommand::Updater(args) => updater::run(args),
        AgentCommand::Intake(args) => intake::run(args),
    }
}

/// # Errors
/// The time can't be kept.
pub fn pause(args: &PauseArgs) -> anyhow::Result<u8> {
    pause::pause(args)
}

/// # Errors
/// The disk says no.
pub fn resume(args: &ResumeArgs) -> anyhow::Result<u8> {
    pause::resume(args)
}

/// Without the parent nobody starts a part again, and the next parent's would be a second one beside it.
///
/// # Errors
/// The kernel refused.
pub(super) fn end_with_parent(signal: Signal) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(signal)).context("tying this process to its parent")
}

fn folder(path: &Path) -> anyhow::Result<Folder> {
    Folder::make(path).context("the agent's state folder")
}
