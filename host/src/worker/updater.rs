//! The two workers of an update, seen from within: one speaks to a web server and reads nothing of what that sends; the other reads it,
//! without a network and without a file. Each gets messages on standard input and answers on standard output.

use std::fs::File;
use std::io;
use std::net::ToSocketAddrs as _;
use std::os::fd::{AsFd as _, BorrowedFd, RawFd};

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::Serialize;

use super::frames;
use super::report::{Report, Reporter};
use super::sandbox::{self, Profile};

/// Both ways to who started this process.
#[derive(Debug)]
pub struct Link {
    from: File,
    to: File,
    /// Open for as long as this process lives: a forbidden call is told on it.
    reporter: Reporter,
}

impl Link {
    /// Takes what this process was started with. It is not confined yet.
    ///
    /// # Errors
    /// It was not started as a worker.
    pub fn inherit(report: RawFd) -> Result<Self> {
        let reporter = Reporter::inherit(report).context("taking the report pipe")?;
        sandbox::die_with_parent().context("tying this worker to who started it")?;
        crate::say::prepare();
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from).context("taking a pipe");
        Ok(Self { from: own(io::stdin().as_fd())?, to: own(io::stdout().as_fd())?, reporter })
    }

    /// Confines the process, and says so. From here on strangers' bytes may come.
    ///
    /// # Errors
    /// It can't be confined.
    pub fn confine(&mut self, profile: Profile) -> Result<()> {
        self.confine_after(profile, || ())
    }

    /// The same for who looks names up. The C library loads what it needs for that when it looks up the first name, this one's, which a
    /// filter would refuse. Whether the name is known does not matter here.
    ///
    /// # Errors
    /// As [`Self::confine`].
    pub fn confine_with_names(&mut self, host: &str) -> Result<()> {
        self.confine_after(Profile::Downloader, || drop((host, 0).to_socket_addrs()))
    }

    fn confine_after(&mut self, profile: Profile, before: impl FnOnce()) -> Result<()> {
        let start = || {
            before();
            Ok(())
        };
        let confined = sandbox::enter_with(profile, self.reporter.as_fd(), start);
        let (sandbox, ()) = confined.context("giving up privileges")?;
        self.reporter.say(&Report::Ready { sandbox }).context("speaking to who started this")
    }

    /// The next message; `None` where there are no more.
    ///
    /// # Errors
    /// As [`frames::receive`].
    pub fn receive<H: DeserializeOwned>(&mut self) -> io::Result<Option<(H, Vec<u8>)>> {
        frames::receive(&mut self.from)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// As [`frames::send`].
    pub fn send(&mut self, head: &impl Serialize, body: &[u8]) -> io::Result<()> {
        frames::send(&mut self.to, head, body)
    }
}
