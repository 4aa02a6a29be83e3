//! `watertight pause` and `watertight resume`: nothing new comes onto this host meanwhile, whatever the fleet's server says. They need no
//! server and no agent that runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use watertight_fleet_agent::clock::now_ms;
use watertight_fleet_agent::folder::Folder;
use watertight_fleet_agent::pause;

use crate::command::run::duration;

/// Let no new content onto this host. What runs goes on, and what was recalled is taken out all the same.
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// How long: `30m`, `8h`; until `watertight resume` when not given.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// State folder of the agent.
    #[arg(long, value_name = "DIR", default_value = super::STATE)]
    state: PathBuf,
}

/// Let new content onto this host again.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// State folder of the agent.
    #[arg(long, value_name = "DIR", default_value = super::STATE)]
    state: PathBuf,
}

/// # Errors
/// There is no agent, or the time can't be kept.
pub(super) fn pause(args: &PauseArgs) -> anyhow::Result<u8> {
    ensure!(
        args.duration.is_none_or(|duration| !duration.is_zero()),
        "--for 0s is no pause: leave --for out for one without an end"
    );
    let for_ms = args.duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    pause::begin(&of_an_agent(&args.state)?, now_ms(), for_ms)?;
    let until = args.duration.map_or_else(
        || "until `watertight resume`".to_owned(),
        |duration| format!("for {} s, or until `watertight resume`", duration.as_secs()),
    );
    watertight_host::say!("watertight: paused {until}: nothing new is installed");
    Ok(0)
}

/// A folder in which an agent has been: who pauses another one pauses nobody.
fn of_an_agent(state: &Path) -> anyhow::Result<Folder> {
    ensure!(
        super::layout::uplink(state).is_dir(),
        "{}: no agent was ever at work there: name the folder that `watertight agent run` has by --state",
        state.display()
    );
    super::folder(state)
}

/// # Errors
/// There is no agent, or the disk says no.
pub(super) fn resume(args: &ResumeArgs) -> anyhow::Result<u8> {
    let was_paused = pause::end(&of_an_agent(&args.state)?, now_ms())?;
    let words = if was_paused { "resumed: the next check-in fetches what there is" } else { "it was not paused" };
    watertight_host::say!("watertight: {words}");
    Ok(0)
}
