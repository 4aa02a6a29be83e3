//! The worker with the fallback sources: what the kernel sensor does not cover.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::pipe::{pipe_with, PipeFlags};
use watertight_sensor_abi::Hook;

use super::dumps::{self, Noter};
use super::ending::Allowance;
use super::hang::{Beats, STILL_MAX};
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
    /// In which the worker shows that it lives. Not the detector's: what that counts is not this one's to change.
    page: Tally,
    beats: Beats,
    /// What holds the worker.
    pub sandbox: Sandbox,
}

/// Starts what the kernel sensor does not cover, and writes into `found` what opened.
pub fn start(found: &mut Found) -> Result<Option<Sources>> {
    let mut arguments = match &found.recording {
        Some(recording) => {
            let path = recording.to_str().context("the recording's path is no text: give it another name")?;
            vec![format!("--recording={path}")]
        }
        None => uncovered(found),
    };
    if arguments.is_empty() {
        return Ok(None);
    }
    arguments.push(format!("--ignore-pid={}", std::process::id()));
    let (events, writer) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
    let writer = Some(File::from(writer));
    let page = Tally::create().context("making the page in which the sources show that they live")?;
    arguments.push(format!("--page-fd={}", page.fd().as_raw_fd()));
    let beats = Beats::from(Instant::now());
    let mut sources = Sources { worker: None, arguments, events, writer, page, beats, sandbox: Sandbox::default() };
    found.fallbacks = sources.launch().context("the sources worker")?;
    Ok(Some(sources))
}

/// What to open on this machine beside the kernel sensor, or in its place.
fn uncovered(found: &Found) -> Vec<String> {
    let has_network = found.has(Hook::SockState) || found.has(Hook::SockConnect);
    let sources = [
        ("--fanotify", found.has(Hook::FileOpen)),
        ("--proc-connector", found.has(Hook::TaskExec)),
        ("--sock-diag", has_network),
    ];
    sources.into_iter().filter(|(_, is_covered)| !is_covered).map(|(name, _)| name.to_owned()).collect()
}

impl Sources {
    /// Starts the worker, for the first time or again, and returns what opened.
    pub fn launch(&mut self) -> Result<Fallbacks> {
        let writer = self.writer.as_ref().context("the run is ending")?;
        let stdout = Stdio::from(writer.try_clone().context("sharing the pipe")?);
        let mut worker =
            Worker::start("sources", &self.arguments, (Stdio::piped(), stdout), &[self.page.fd()], Some(noter()))?;
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
        self.beats = Beats::from(Instant::now());
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

    /// What it died of, if it did. One that stands still is ended. A line that it had begun is ended too, so that the next worker's
    /// first line stands alone.
    pub fn death(&mut self) -> Option<Death> {
        let is_hung = self.is_hung(Instant::now());
        let worker = self.worker.as_mut()?;
        let death = match worker.death() {
            None if is_hung => {
                dumps::of_hung("sources", worker.child.id(), &noter());
                worker.end_hung(STILL_MAX)
            }
            death => death?,
        };
        self.worker = None;
        if let Some(writer) = &mut self.writer {
            let _ = writer.write_all(b"\n"); // else one more line is not readable, and is counted
        }
        Some(death)
    }

    /// Whether it stands still, though what it writes to has room: one that waits for the detector to read waits for somebody else.
    fn is_hung(&mut self, now: Instant) -> bool {
        let Some(writer) = &self.writer else { return false };
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let has_room = matches!(poll(&mut [PollFd::new(writer, PollFlags::OUT)], Some(&at_once)), Ok(1..));
        if !has_room {
            self.beats = Beats::from(now);
        }
        has_room && self.beats.is_hung(&self.page, now)
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

/// Nothing is known of what it does.
fn noter() -> Noter {
    Box::new(Vec::new)
}

impl Drop for Sources {
    /// Before the pipe is: it would speak of that.
    fn drop(&mut self) {
        self.end();
    }
}
