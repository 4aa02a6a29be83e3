//! The worker with the fallback sources: what the kernel sensor does not cover.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::pipe::{pipe_with, PipeFlags};
use watertight_sensor_abi::Hook;

use super::ending::Allowance;
use super::process::{Death, Worker};
use crate::matrix::{Fallbacks, Found};
use crate::worker::report::Report;
use crate::worker::sandbox::Sandbox;
use crate::worker::tally::Tally;

/// How long the worker may take to drain its sources.
const STOP_MAX: Duration = Duration::from_secs(10);

/// The worker and its pipe, of which the supervisor keeps both ends: it outlives both workers.
pub struct Sources {
    worker: Option<Worker>,
    arguments: Vec<String>,
    /// What it writes and the detector reads.
    events: OwnedFd,
    /// Its other end; given up when the run ends, so that the detector sees the end.
    writer: Option<File>,
    /// What holds the worker.
    pub sandbox: Sandbox,
}

/// Starts what the kernel sensor does not cover, and writes into `found` what opened.
pub fn start(found: &mut Found) -> Result<Option<Sources>> {
    let mut arguments = Vec::new();
    if !found.has(Hook::FileOpen) {
        arguments.push("--fanotify".to_owned());
    }
    if !found.has(Hook::TaskExec) {
        arguments.push("--proc-connector".to_owned());
    }
    if !found.has(Hook::SockState) && !found.has(Hook::SockConnect) {
        arguments.push("--sock-diag".to_owned());
    }
    if arguments.is_empty() {
        return Ok(None);
    }
    arguments.push(format!("--ignore-pid={}", std::process::id()));
    let (events, writer) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
    let writer = Some(File::from(writer));
    let mut sources = Sources { worker: None, arguments, events, writer, sandbox: Sandbox::default() };
    found.fallbacks = sources.launch().context("the sources worker")?;
    Ok(Some(sources))
}

impl Sources {
    /// Starts the worker, for the first time or again, and returns what opened.
    pub fn launch(&mut self) -> Result<Fallbacks> {
        let writer = self.writer.as_ref().context("the run is ending")?;
        let stdout = Stdio::from(writer.try_clone().context("sharing the pipe")?);
        let mut worker =
            Worker::start("sources", &self.arguments, (Stdio::piped(), stdout), &[], Some(Box::new(Vec::new)))?;
        let mut fallbacks = Fallbacks::default();
        self.sandbox = worker.wait_ready(&mut |said| {
            let Report::Trial { source, refused } = said else { return };
            let opened = Some(refused.map_or(Ok(()), Err));
            match source.as_str() {
                "fanotify" => fallbacks.fanotify = opened,
                "proc connector" => fallbacks.proc_connector = opened,
                _ => fallbacks.sock_diag = opened,
            }
        })?;
        self.worker = Some(worker);
        Ok(fallbacks)
    }

    /// What the detector reads.
    #[must_use]
    pub fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Process id of the worker, while there is one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.worker.as_ref().map(|worker| worker.child.id())
    }

    /// What it died of, if it did. A line that it had begun is ended, so that the next worker's first line stands alone.
    pub fn death(&mut self) -> Option<Death> {
        let death = self.worker.as_mut()?.death()?;
        self.worker = None;
        if let Some(writer) = &mut self.writer {
            let _ = writer.write_all(b"\n"); // else one more line is not readable, and is counted
        }
        Some(death)
    }

    /// Its input ends: it drains once more and ends; then the pipe does. Where nobody reads the pipe it is ended at once: it
    /// would wait for ever to write its last line. While the detector waits for its own reader, that is not this one's fault.
    pub fn stop(&mut self, is_read: bool, tally: &Tally) {
        if let Some(worker) = &mut self.worker {
            drop(worker.child.stdin.take());
            let mut allowance = Allowance::of(STOP_MAX);
            while is_read && matches!(worker.child.try_wait(), Ok(None)) && !allowance.is_used_up(tally) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut worker) = self.worker.take() {
            let _ = worker.child.kill(); // it is ours; a failure means that it has ended
            let _ = worker.child.wait(); // its exit says nothing that its lines did not
        }
        self.writer = None;
    }
}

impl Drop for Sources {
    /// Before the pipe is: it would speak of that.
    fn drop(&mut self) {
        self.end();
    }
}
