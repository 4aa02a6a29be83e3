//! An update's workers, seen from who has rights: whatever strangers send is read in a process that has none. This side keeps the files and
//! passes messages on; of what a worker says it reads the form.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{ChildStdin, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::outlet::Outlet;
use crate::supervisor::process::Worker;
use crate::worker::frames;

/// How long a worker may take to take a message: it waits for one whenever it is sent one.
const TAKEN_MAX: Duration = Duration::from_secs(60);
/// Between the end of a worker's pipe and its own.
const END_MAX: Duration = Duration::from_secs(1);

/// A worker of an update.
pub struct Updater {
    name: &'static str,
    worker: Worker,
    to: Outlet<ChildStdin>,
    from: File,
}

impl std::fmt::Debug for Updater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} worker {}", self.name, self.worker.child.id())
    }
}

impl Updater {
    /// Starts `watertight worker <name>` and sends its task; it is confined when this returns.
    ///
    /// # Errors
    /// It can't be started, or can't confine itself.
    pub fn start(name: &'static str, task: &impl Serialize, body: &[u8]) -> Result<Self> {
        let what = || format!("the {name} worker");
        let mut worker = Worker::start(name, &[], (Stdio::piped(), Stdio::piped()), &[], None).with_context(what)?;
        let pipes = worker.child.stdin.take().zip(worker.child.stdout.take());
        let (to, from) = pipes.context("it has no pipes").with_context(what)?;
        let mut updater = Self { name, worker, to: Outlet::new(to), from: File::from(OwnedFd::from(from)) };
        updater.send(task, body).map_err(anyhow::Error::msg)?;
        updater.worker.wait_ready(&mut |_| {}).with_context(what)?;
        Ok(updater)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// It does not take it, in words: what became of the worker.
    pub fn send(&mut self, head: &impl Serialize, body: &[u8]) -> Result<(), String> {
        let sent = frames::send(&mut Sink { to: &self.to, until: Instant::now() + TAKEN_MAX }, head, body);
        sent.map_err(|error| self.end(&error, TAKEN_MAX))
    }

    /// Its next message, waited for as long as it may take.
    ///
    /// # Errors
    /// None comes, or it is none, in words: what became of the worker.
    pub fn receive<H: DeserializeOwned>(&mut self, most: Duration) -> Result<(H, Vec<u8>), String> {
        let received = frames::receive(&mut Spring { from: &self.from, until: Instant::now() + most });
        let received = received.and_then(|received| received.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
        received.map_err(|error| self.end(&error, most))
    }

    /// It is no good any more: ends it, and says what became of it.
    fn end(&mut self, error: &io::Error, waited: Duration) -> String {
        let until = Instant::now() + END_MAX;
        let mut ended = self.worker.child.try_wait().ok().flatten();
        while ended.is_none() && error.kind() != io::ErrorKind::TimedOut && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
            ended = self.worker.child.try_wait().ok().flatten();
        }
        let _ = self.worker.child.kill(); // it is ours; a failure means that it has ended
        let _ = self.worker.child.wait(); // what it says of itself was asked before
        match ended {
            Some(status) => format!("the {} worker {}", self.name, self.worker.death_by(status).words()),
            None if error.kind() == io::ErrorKind::TimedOut => {
                format!("the {} worker gave no answer for {} s and was ended", self.name, waited.as_secs())
            }
            None => format!("the {} worker makes no sense and was ended: {error}", self.name),
        }
    }
}

impl Drop for Updater {
    fn drop(&mut self) {
        let _ = self.worker.child.kill(); // it is ours; a failure means that it has ended
        let _ = self.worker.child.wait(); // nobody asks any more
    }
}

/// A pipe that is not written to without end.
struct Sink<'u> {
    to: &'u Outlet<ChildStdin>,
    until: Instant,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        self.to.write_within(bytes, left)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe that is not waited for without end.
struct Spring<'u> {
    from: &'u File,
    until: Instant,
}

impl Read for Spring<'_> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(self.from, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return (&mut &*self.from).read(piece),
            }
        }
    }
}
