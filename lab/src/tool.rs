//! Programs of the machine that the lab calls, with errors that name the program and what it said.

use anyhow::{bail, Context, Result};
use std::process::{Command, Stdio};

/// Runs a program to its end; its output goes to our stderr.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(std::io::stderr()).status().with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Runs a program and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&bytes(command)?).into_owned())
}

/// Runs a program and returns the bytes that it printed.
pub fn bytes(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// Runs a program whose output goes to a file.
pub fn into(command: &mut Command, file: Stdio) -> Result<()> {
    let child = command.stdout(file).stderr(Stdio::piped()).spawn().with_context(|| format!("starting {command:?}"))?;
    let output = child.wait_with_output().with_context(|| format!("waiting for {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
