//! What a worker tells the supervisor of itself, one line each, on a pipe of its own: what opened, what holds it, why it ends.
//!
//! Not on standard output, which carries events, and not on standard error, which people read. The pipe's end is the
//! worker's end.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::sandbox::Sandbox;

/// Most that a worker may say of itself; more is not kept.
const SAID_BYTES_MAX: u64 = 64 << 10;

/// What a worker that is gone has said is there to be read; a process that it left behind does not hold us up.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// One line.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Report {
    /// A source was tried.
    Trial {
        /// Its name.
        source: String,
        /// Why it did not open, if it did not.
        refused: Option<String>,
    },
    /// Set up and confined: it works from now on.
    Ready {
        /// What holds it.
        sandbox: Sandbox,
    },
    /// It does not take the content that it was given.
    Refused {
        /// Why, with place and mend.
        why: String,
    },
    /// It ends because nobody takes what it writes: starting it again would not help.
    Output {
        /// The kernel's answer.
        why: String,
    },
}

/// The worker's end.
#[derive(Debug)]
pub struct Reporter(File);

impl Reporter {
    /// Takes the descriptor that the supervisor left for it.
    ///
    /// # Errors
    /// There is no such descriptor: this was not started by the supervisor.
    pub fn inherit(fd: RawFd) -> io::Result<Self> {
        // SAFETY: fcntl of a number that is no descriptor fails without harm.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is open, and the supervisor passes it to this process for this one use.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// Says one line.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub fn say(&mut self, report: &Report) -> io::Result<()> {
        writeln!(self.0, "{}", serde_json::to_string(report)?)
    }
}

impl AsFd for Reporter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The supervisor's end.
#[derive(Debug)]
pub struct Reports {
    pipe: File,
}

impl Reports {
    /// Reads from the pipe's other end.
    #[must_use]
    pub fn new(pipe: OwnedFd) -> Self {
        Self { pipe: pipe.into() }
    }

    /// The next line, waiting for it; `None` when the worker is gone. One byte at a time: a worker says a few lines in its life.
    ///
    /// # Errors
    /// The pipe can't be read, or nothing was said by then.
    pub fn wait_line(&mut self, until: Instant) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut byte = [0_u8];
        while (line.len() as u64) < SAID_BYTES_MAX {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match self.pipe.read(&mut byte) {
                Ok(0) => break,
                Ok(_) if byte == *b"\n" => return Ok(Some(String::from_utf8_lossy(&line).into_owned())),
                Ok(_) => line.extend(byte),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// What a worker that is gone said last.
    #[must_use]
    pub fn last_words(mut self) -> Vec<String> {
        let mut said = Vec::new();
        let until = Instant::now() + LAST_WORDS_MAX;
        while let Ok(Some(line)) = self.wait_line(until) {
            said.push(line);
        }
        said
    }
}
