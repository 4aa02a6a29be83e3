//! Starting a worker with descriptors of its own, and saying what it died of.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::io::{fcntl_setfd, FdFlags};
use rustix::net::{socketpair, AddressFamily, SocketFlags, SocketType};
use rustix::pipe::{pipe_with, PipeFlags};

use super::dumps::{self, Noter};
use super::group::Member;
use crate::signals::{sheltered, starting};
use crate::worker::report::{Report, Reports};
use crate::worker::sandbox::LOADER_CPU_S_VARIABLE;
use crate::worker::sandbox::{call_name, Sandbox};

/// How long a worker may take until it is confined: far more than the largest content and a busy machine need together.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long the kernel may take to end one that was killed.
const END_MAX: Duration = Duration::from_secs(5);

/// A worker's process and what it says of itself.
pub struct Worker {
    pub child: Child,
    reports: Option<Reports>,
    /// What it said after it was set up, as far as that was listened to.
    heard: Vec<String>,
    member: Member,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// Nobody takes its output: the kernel's answer.
    Output(String),
    /// Somebody ended it from outside, in words that follow its name.
    Killed(String),
    /// Anything else, in words that follow its name.
    Other(String),
}

impl Death {
    /// In words that follow the worker's name.
    #[must_use]
    pub fn words(&self) -> &str {
        let (Self::Output(words) | Self::Killed(words) | Self::Other(words)) = self;
        words
    }
}

/// Signals that a process does not get by its own doing.
const FROM_OUTSIDE: [libc::c_int; 5] = [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

impl Worker {
    /// Starts `watertight worker <name>` with these descriptors, under their own numbers, and none else. Its crash leaves a dump with
    /// what is known of it, if somebody knows and a run keeps dumps.
    pub fn start(
        name: &str,
        arguments: &[String],
        (stdin, stdout): (Stdio, Stdio),
        inherited: &[BorrowedFd<'_>],
        noter: Option<Noter>,
    ) -> Result<Self> {
        let (reports, report) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
        let mut command = Command::new("/proc/self/exe");
        command.args(["worker", name, "--report-fd", &report.as_raw_fd().to_string()]).args(arguments);
        // No other variable of whoever started us reaches a worker: LD_PRELOAD, RUST_BACKTRACE and their like.
        command.env_clear().stdin(stdin).stdout(stdout);
        if let Some(seconds) = std::env::var_os(LOADER_CPU_S_VARIABLE) {
            command.env(LOADER_CPU_S_VARIABLE, seconds);
        }
        let mut given: Vec<BorrowedFd<'_>> = inherited.to_vec();
        given.push(report.as_fd());
        let watched = match noter.filter(|_| dumps::are_kept()) {
            Some(noter) => {
                let ends = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
                Some((ends.context("making a socket")?, noter))
            }
            None => None,
        };
        if let Some(((_, theirs), _)) = &watched {
            command.args(["--crash-fd", &theirs.as_raw_fd().to_string()]);
            given.push(theirs.as_fd());
        }
        // No other process of ours begins before they are taken back.
        let alone = starting();
        for fd in &given {
            fcntl_setfd(fd, FdFlags::empty()).context("handing a descriptor on")?;
        }
        let child = sheltered(&mut command).with_context(|| format!("starting the {name} worker"));
        for fd in &given {
            fcntl_setfd(fd, FdFlags::CLOEXEC).context("taking a descriptor back")?;
        }
        drop(alone);
        let child = child?;
        if let Some(((ours, _), noter)) = watched {
            dumps::watch(name, child.id(), ours, noter);
        }
        let member = Member::put(name, child.id());
        Ok(Self { child, reports: Some(Reports::new(reports)), heard: Vec::new(), member })
    }

    /// Waits until the worker is set up and confined; what it says before goes to `hear`.
    ///
    /// # Errors
    /// It ended before that; the error says of what.
    pub fn wait_ready(&mut self, hear: &mut dyn FnMut(Report)) -> Result<Sandbox> {
        let until = Instant::now() + READY_MAX;
        loop {
            let line = match self.reports.as_mut().map(|reports| reports.wait_line(until)) {
                Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                    let _ = self.child.kill(); // it is ours; a failure means that it ended meanwhile
                    let _ = self.child.wait(); // its exit says nothing more
                    anyhow::bail!("it was not set up within {} s and was ended", READY_MAX.as_secs());
                }
                Some(line) => line.context("hearing a worker")?,
                None => None,
            };
            let Some(line) = line else {
                let status = self.child.wait().context("waiting for a worker")?;
                anyhow::bail!("it {} before it was set up", cause(status, &[]));
            };
            match serde_json::from_str(&line).with_context(|| format!("a worker said {line:?}"))? {
                Report::Ready { sandbox } => return Ok(Sandbox { group: self.member.words.clone(), ..sandbox }),
                other => hear(other),
            }
        }
    }

    /// What it died of, if it did.
    pub fn death(&mut self) -> Option<Death> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(self.death_by(status))
    }

    /// Ends one that has stood still for so long. Where even the kernel can't end it (it waits for a disk) it is left to itself.
    pub fn end_hung(&mut self, still: Duration) -> Death {
        let _ = self.child.kill(); // it is ours; a failure means that it has ended
        let until = Instant::now() + END_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        Death::Other(format!("made no progress for {} s and was ended", still.as_secs()))
    }

    /// What it says until it ends, or until then.
    pub fn said_until(&mut self, until: Instant) -> Vec<Report> {
        while let Some(Ok(Some(line))) = self.reports.as_mut().map(|reports| reports.wait_line(until)) {
            self.heard.push(line);
        }
        self.heard.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What it died of, given its status.
    pub fn death_by(&mut self, status: ExitStatus) -> Death {
        let mut said = std::mem::take(&mut self.heard);
        said.extend(self.reports.take().map(Reports::last_words).unwrap_or_default());
        let output = said.iter().rev().find_map(|line| match serde_json::from_str(line) {
            Ok(Report::Output { why }) => Some(why),
            _ => None,
        });
        let is_killed = status.signal().is_some_and(|signal| FROM_OUTSIDE.contains(&signal));
        let by_group = if is_killed { self.member.end() } else { None };
        match output {
            Some(why) => Death::Output(why),
            None if by_group.is_some() => Death::Other(by_group.unwrap_or_default()),
            None if is_killed => Death::Killed(cause(status, &said)),
            None => Death::Other(cause(status, &said)),
        }
    }
}

/// In words: what the kernel says, and where a call was forbidden, which.
fn cause(status: ExitStatus, said: &[String]) -> String {
    let call = said.iter().rev().find_map(|line| call_name(line));
    match (status.signal(), call) {
        (Some(libc::SIGSYS), Some(call)) => format!("was ended by the kernel: its sandbox forbids {call}"),
        (Some(libc::SIGSYS), None) => "was ended by the kernel: its sandbox forbids the call that it made".into(),
        (Some(libc::SIGABRT), _) => "gave up (SIGABRT): no memory within its bound, or a panic".into(),
        (Some(libc::SIGXCPU), _) => "used up the processor time that it may take".into(),
        (Some(libc::SIGSEGV | libc::SIGBUS), _) => {
            "was ended by the kernel: it touched memory that it does not have".into()
        }
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
