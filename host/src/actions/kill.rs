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
    /// All of it has ended, and nobody has asked for its exit code.
    pub is_ended: bool,
    /// Its start, in ticks since boot.
    pub start_ticks: u64,
    /// Its real and its effective user.
    pub uids: [u32; 2],
}

impl Seen {
    /// Looks.
    #[must_use]
    pub fn read(pid: u32) -> Option<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        Some(Self { uids: uids(&read("status")?)?, ..Self::parse(pid, &read("stat")?)? })
    }

    /// Whether it is root's, and nobody else has started it as such.
    #[must_use]
    pub fn is_of_root(&self) -> bool {
        self.uids == [0; 2]
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
            // A first thread that has ended leaves the others at work: proc_pid_stat(5), num_threads.
            is_ended: matches!(field(3)?, "Z" | "X" | "x") && field(20)?.parse::<u32>().ok()? <= 1,
            start_ticks: field(22)?.parse().ok()?,
            uids: [u32::MAX; 2],
        })
    }

    /// Its start, as far as /proc tells.
    #[must_use]
    pub fn start_ns(&self) -> u64 {
        self.start_ticks.saturating_mul(ns_a_tick())
    }
}

/// proc_pid_status(5): `Uid:` real, effective, saved, of files. A name is in a line of its own before, its line ends escaped.
fn uids(status: &str) -> Option<[u32; 2]> {
    let mut uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace();
    Some([uids.next()?.parse().ok()?, uids.next()?.parse().ok()?])
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

    /// The same process as it is now: its parent may be another.
    ///
    /// # Errors
    /// It is gone.
    pub fn anew(self) -> Result<Self, Outcome> {
        let seen = Seen::read(self.seen.pid).ok_or(Outcome::Gone)?;
        match seen.start_ticks == self.seen.start_ticks && !seen.is_ended {
            true => Ok(Self { seen, ..self }),
            false => Err(Outcome::Gone),
        }
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
        let ended = |threads: u32| format!("7 (a) Z 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 4711 9 10");
        assert_eq!(
            [1, 2].map(|threads| Seen::parse(7, &ended(threads)).map(|seen| seen.is_ended)),
            [Some(true), Some(false)]
        );
        assert_eq!(Seen::parse(7, "7 (sh) S"), None);
        assert_eq!(Seen::parse(7, ""), None);
        assert_eq!(uids("Name:\tUid:\\n\nUid:\t1000\t0\t0\t0\nGid:\t1\n"), Some([1_000, 0]));
    }

    /// A process whose first thread has ended and whose second sleeps.
    fn headless() -> std::process::Child {
        use std::os::unix::process::CommandExt as _;
        extern "C" fn sleep(_: *mut libc::c_void) -> *mut libc::c_void {
            loop {
                // SAFETY: it waits for a signal.
                unsafe { libc::pause() };
            }
        }
        let mut command = std::process::Command::new("/bin/true");
        // SAFETY: in the child, which has one thread here and never comes back: it starts another one, closes what it has from us
        // (which tells us that it is there) and ends its first.
        unsafe {
            command.pre_exec(|| {
                let mut thread = std::mem::zeroed();
                libc::pthread_create(&mut thread, std::ptr::null(), sleep, std::ptr::null_mut());
                libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
                libc::syscall(libc::SYS_exit, 0);
                Ok(())
            });
        }
        command.spawn().expect("a child")
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_is_not_gone_and_is_killed() {
        let mut child = headless();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it is there");
        while !state().contains(") Z ") {
            std::thread::yield_now();
        }
        let seen = Seen::read(child.id()).expect("it is there");
        assert!(!seen.is_ended && crate::actions::judge::executable(child.id()).is_some(), "{seen:?}");
        let target = Target::open(child.id(), seen.start_ns()).expect("its second thread goes on");
        assert_eq!(target.kill(), Outcome::Done);
        assert!(!child.wait().expect("our child").success());
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
