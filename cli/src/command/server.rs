//! `watertight server`: starts `watertight-server`, the executable that lies beside this one. This program links none of it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

const EXECUTABLE: &str = "watertight-server";

/// Run the fleet server (`server run`), or make a token with which hosts enrol (`server token`) or people and programs come (`server
/// operator`); `server help` tells the options.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct ServerArgs {
    /// What the server is told.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Becomes the server: its signals, output and exit code are its own.
///
/// # Errors
/// It can't be started.
pub fn run(args: &ServerArgs) -> anyhow::Result<u8> {
    let executable = beside_us()?;
    let error = Command::new(&executable).args(&args.arguments).exec();
    let mend = format!("starting {}: install the {EXECUTABLE} of this version there", executable.display());
    Err(error).context(mend)
}

fn beside_us() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe().context("finding our own executable")?.with_file_name(EXECUTABLE))
}
