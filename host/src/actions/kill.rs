//! Ends a process that is named by its id and its start, and no other: the descriptor of the process is opened first, then its start is
//! looked at, and the signal goes by the descriptor. An id that another process has got meanwhile hits nobody.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal};

use super::Outcome;

const NS_A_SECOND: u64 = 1_000_000_000;

/// What /proc says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// The kernel's flags of its first task.
    pub flags: u64,
    /// It has ended, and nobody has asked for its exit code.
    pub is_ended: bool,
    /// Its start, in ticks since boot.
    pub start_ticks: u64,
}

impl Seen {
    /// Looks.
    #[must_use]
    pub fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// proc_pid_stat(5): the name is in parentheses and may hold anything, parentheses too.
    fn parse(pid: u32, stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbered from 3, as the page does.
        let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
        Some(Self {
            pid,
            parent: field(4)?.parse().ok()?,
            flags: field(9)?.parse().ok()?,
            is_ended: matches!(field(3)?, "Z" | "X" | "x"),
            start_ticks: field(22)?.parse().ok()?,
        })
    }

    /// Its start, as far as /proc tells.
    #[must_use]
    pub fn start_ns(&self) -> u64 {
        self.start_ticks.saturating_mul(ns_a_tick())
    }
}

fn ns_a_tick() -> u64 {
    NS_A_SECOND.checked_div(rustix::param::clock_ticks_per_second()).unwrap_or(NS_A_SECOND)
}

/// A process that is held on to.
#[derive(Debug)]
pub struct Target {
    process: OwnedFd,
    seen: Seen,
}

impl Target {
    /// The process with this id that began then.
    ///
    /// # Errors
    /// It is gone, or the kernel lets nobody hold on to it.
    pub fn open(pid: u32, start_ns: u64) -> Result<Self, Outcome> {
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Outcome::Gone)?;
        let process = match pidfd_open(id, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(Errno::SRCH | Errno::INVAL) => return Err(Outcome::Gone),
            Err(error) => return Err(Outcome::Refused(format!("the kernel opens no descriptor of it: {error}"))),
        };
        let seen = Seen::read(pid).ok_or(Outcome::Gone)?;
        let began = start_ns.checked_div(ns_a_tick()).unwrap_or_default();
        if seen.start_ticks != began || seen.is_ended {
            return Err(Outcome::Gone);
        }
        Ok(Self { process, seen })
    }

    /// What is known of it.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Ends it.
    #[must_use]
    pub fn kill(&self) -> Outcome {
        match pidfd_send_signal(&self.process, Signal::KILL) {
            Ok(()) => Outcome::Done,
            Err(Errno::SRCH) => Outcome::Gone,
            Err(error) => Outcome::Refused(format!("the kernel does not signal it: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_moves_no_field() {
        let line = |name: &str| format!("7 ({name}) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 10");
        for name in ["sh", ") R 1 (", "a b) Z 1 1"] {
            let seen = Seen::parse(7, &line(name)).expect("a line of /proc");
            assert_eq!((seen.parent, seen.flags, seen.start_ticks, seen.is_ended), (3, 4_194_560, 4_711, false));
        }
        assert_eq!(Seen::parse(7, "7 (sh) S"), None);
        assert_eq!(Seen::parse(7, ""), None);
    }

    #[test]
    fn our_own_start_is_the_one_that_the_sensor_would_tell() {
        let seen = Seen::read(std::process::id()).expect("we are there");
        assert!(seen.start_ns() <= crate::output::boot_ns_now());
        assert!(Target::open(std::process::id(), seen.start_ns()).is_ok());
        assert!(matches!(Target::open(std::process::id(), 0), Err(Outcome::Gone)), "another start is another process");
        assert!(matches!(Target::open(0, 0), Err(Outcome::Gone)));
        assert!(matches!(Target::open(u32::MAX, 0), Err(Outcome::Gone)));
    }
}
