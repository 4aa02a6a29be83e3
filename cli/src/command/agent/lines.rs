//! The lines between the uplink and the updater, as the parent has them: both ends of each, so that the death of either does not end the
//! other. It takes nothing of what is said there; that nobody takes it is all that it looks for.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{poll, PollFd, PollFlags, Timespec};

use super::words;

/// A question that waits for so long is one to an updater that hangs: each is asked for some seconds.
const TAKEN_MAX: Duration = Duration::from_secs(20);

/// A line.
pub(super) struct Line {
    uplink: OwnedFd,
    updater: OwnedFd,
    /// Since when a question is there whenever it is looked for.
    waits: Option<Instant>,
}

impl Line {
    pub(super) fn new() -> anyhow::Result<Self> {
        let (uplink, updater) = words::line().context("making a line between the uplink and the updater")?;
        Ok(Self { uplink, updater, waits: None })
    }

    pub(super) fn of_uplink(&self) -> anyhow::Result<Stdio> {
        super::parent::shared(&self.uplink)
    }

    pub(super) fn of_updater(&self) -> anyhow::Result<Stdio> {
        super::parent::shared(&self.updater)
    }

    /// Whether the updater, if it is there, takes no questions any more. It is said once for each time that this takes.
    pub(super) fn is_stuck(&mut self, has_updater: bool) -> bool {
        let now = Instant::now();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let has_question = matches!(poll(&mut [PollFd::new(&self.updater, PollFlags::IN)], Some(&at_once)), Ok(1..));
        if !has_updater || !has_question {
            self.waits = None;
            return false;
        }
        let is_stuck = now.duration_since(*self.waits.get_or_insert(now)) >= TAKEN_MAX;
        if is_stuck {
            self.waits = None; // the kernel may take its time to end it
        }
        is_stuck
    }
}
