//! Starting a worker with descriptors of its own, and saying what it died of.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};
use rustix::io::{fcntl_setfd, FdFlags};
use rustix::pipe::{pipe_with, PipeFlags};

use crate::signals::spawn_sheltered;
use crate::worker::report::{Report, Reports};
use crate::worker::sandbox::{call_name, Sandbox};

/// A worker's process and what it says of itself.
pub struct Worker {
    pub child: Child,
    reports: Option<Reports>,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// Nobody takes its output: the kernel's answer.
    Output(String),
    /// Anything else, in words that follow its name.
    Other(String),
}

impl Worker {
    /// Starts `watertight worker <name>` with these descriptors, under their own numbers, and none else.
    pub fn start(name: &str, arguments: &[String], stdout: Stdio, inherited: &[BorrowedFd<'_>]) -> Result<Self> {
        let (reports, report) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
        let mut command = Command::new("/proc/self/exe");
        command.args(["worker", name, "--report-fd", &report.as_raw_fd().to_string()]).args(arguments);
        // No variable of whoever started us reaches a worker: LD_PRELOAD, RUST_BACKTRACE and their like.
        command.env_clear().stdin(Stdio::piped()).stdout(stdout);
        let mut given: Vec<BorrowedFd<'_>> = inherited.to_vec();
        given.push(report.as_fd());
        for fd in &given {
            // The supervisor starts processes from one thread alone: none other before they are taken back.
            fcntl_setfd(fd, FdFlags::empty()).context("handing a descriptor on")?;
        }
        let child = spawn_sheltered(&mut command).with_context(|| format!("starting the {name} worker"));
        for fd in &given {
            fcntl_setfd(fd, FdFlags::CLOEXEC).context("taking a descriptor back")?;
        }
        Ok(Self { child: child?, reports: Some(Reports::new(reports)) })
    }

    /// Waits until the worker is set up and confined; what it says before goes to `hear`.
    ///
    /// # Errors
    /// It ended before that; the error says of what.
    pub fn wait_ready(&mut self, hear: &mut dyn FnMut(Report)) -> Result<Sandbox> {
        loop {
            let line = match &mut self.reports {
                Some(reports) => reports.wait_line().context("hearing a worker")?,
                None => None,
            };
            let Some(line) = line else {
                let status = self.child.wait().context("waiting for a worker")?;
                anyhow::bail!("it {} before it was set up", cause(status, &[]));
            };
            match serde_json::from_str(&line).with_context(|| format!("a worker said {line:?}"))? {
                Report::Ready { sandbox } => return Ok(sandbox),
                other => hear(other),
            }
        }
    }

    /// What it died of, if it did.
    pub fn death(&mut self) -> Option<Death> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(self.death_by(status))
    }

    /// What it died of, given its status.
    pub fn death_by(&mut self, status: ExitStatus) -> Death {
        let said = self.reports.take().map(Reports::last_words).unwrap_or_default();
        let output = said.iter().rev().find_map(|line| match serde_json::from_str(line) {
            Ok(Report::Output { why }) => Some(why),
            _ => None,
        });
        output.map_or_else(|| Death::Other(cause(status, &said)), Death::Output)
    }
}

/// In words: what the kernel says, and where a call was forbidden, which.
fn cause(status: ExitStatus, said: &[String]) -> String {
    let call = said.iter().rev().find_map(|line| call_name(line));
    match (status.signal(), call) {
        (Some(libc::SIGSYS), Some(call)) => format!("was ended by the kernel: its sandbox forbids {call}"),
        (Some(libc::SIGSYS), None) => "was ended by the kernel: its sandbox forbids the call that it made".into(),
        (Some(libc::SIGABRT), _) => "gave up (SIGABRT): no memory within its bound, or a panic".into(),
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, _) => format!("ended with exit code {}", status.code().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_call_is_named_and_a_kill_has_its_signal() {
        let said = [format!("call {:010}", libc::SYS_socket)];
        let words = cause(ExitStatus::from_raw(libc::SIGSYS), &said);
        assert_eq!(words, "was ended by the kernel: its sandbox forbids socket");
        assert_eq!(cause(ExitStatus::from_raw(libc::SIGKILL), &[]), "was killed by signal 9");
        assert_eq!(cause(ExitStatus::from_raw(1 << 8), &[]), "ended with exit code 1");
    }
}
