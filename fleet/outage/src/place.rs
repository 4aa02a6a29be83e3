//! The folder of the trial, and commands of the product in it.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{ensure, Context as _, Result};
use rustix::process::{set_parent_process_death_signal, Signal};

/// Where everything lies, and which product is tried.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) watertight: PathBuf,
}

impl Place {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A command of the product in the folder.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.watertight);
        command.args(line.split_whitespace()).current_dir(&self.folder).stdin(Stdio::null());
        // SAFETY: one system call, which allocates nothing and takes no lock.
        unsafe {
            // Whoever ends the trial by force ends the fleet with it.
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
        }
        command
    }

    /// Its standard output.
    ///
    /// # Errors
    /// It did not end well; the error says what it said.
    pub(crate) fn run(&self, line: &str) -> Result<String> {
        output(&mut self.command(line))
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        write(&self.path(name), text)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// Runs a command to its end and gives its standard output.
///
/// # Errors
/// It did not end well; the error says what it said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("starting {command:?}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?} ended with {}: {}", done.status, said.trim());
    String::from_utf8(done.stdout).with_context(|| format!("what {command:?} said"))
}
