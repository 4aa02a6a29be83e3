//! A timer as a descriptor, so that polling sources can be waited for like the others.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

/// Shortest interval between polls: more often would cost a core on a machine with many processes or sockets.
pub const INTERVAL_MS_MIN: u64 = 100;

#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    /// Fires once now, then at every `interval` (raised to [`INTERVAL_MS_MIN`]).
    pub(crate) fn start(interval: Duration) -> Result<Self, Errno> {
        let interval = interval.max(Duration::from_millis(INTERVAL_MS_MIN));
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let it_interval = Timespec::try_from(interval).map_err(|_| Errno::INVAL)?;
        let now = Timespec { tv_sec: 0, tv_nsec: 1 };
        let times = Itimerspec { it_interval, it_value: now };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
        Ok(Self(timer))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Whether it fired since the last call.
    pub(crate) fn has_fired(&self) -> bool {
        let mut expirations = [0_u8; 8];
        rustix::io::read(&self.0, &mut expirations).is_ok()
    }
}
