//! The signals that end a run are the supervisor's business alone, though they may reach all of its processes: a terminal,
//! `timeout` and systemd signal whole groups. A worker that ended at once would take with it what it had read.
//!
//! A process that a run starts is started with them held back: the few moments before it has set them aside by itself would
//! be enough for one to end it.

use std::io;
use std::mem::MaybeUninit;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Each asks a run to end in good order. `SIGQUIT` too: a run that it killed would leave the terminal as the live view has set it.
pub const ENDING: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// Holds them back, also from processes that are started meanwhile.
///
/// # Errors
/// The kernel refused.
pub fn hold() -> io::Result<()> {
    mask(libc::SIG_BLOCK).map(drop)
}

/// Lets those come that were held back: the handlers are there.
///
/// # Errors
/// The kernel refused.
pub fn accept() -> io::Result<()> {
    mask(libc::SIG_UNBLOCK).map(drop)
}

/// Starts a process that none of them reaches, now and later, unless it lets them come.
///
/// # Errors
/// The program can't be started, or the kernel refused to hold signals back.
pub fn spawn_sheltered(command: &mut Command) -> io::Result<Child> {
    let _alone = starting();
    sheltered(command)
}

/// The same by whoever is [`starting`] already.
///
/// # Errors
/// As [`spawn_sheltered`].
pub fn sheltered(command: &mut Command) -> io::Result<Child> {
    let before = mask(libc::SIG_BLOCK)?;
    let child = command.spawn();
    restore(&before)?;
    child
}

/// Starts a process while no other thread does.
///
/// # Errors
/// The program can't be started.
pub fn spawn_alone(command: &mut Command) -> io::Result<Child> {
    let _alone = starting();
    command.spawn()
}

/// As long as this is held no other thread starts a process: none gets a descriptor that is meant for another.
pub fn starting() -> MutexGuard<'static, ()> {
    static STARTING: Mutex<()> = Mutex::new(());
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets them aside for the rest of this process's life, and those that wait.
///
/// # Errors
/// The kernel refused.
pub fn ignore() -> io::Result<()> {
    for signal in ENDING {
        // SAFETY: ignoring a signal runs no code.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Changes the calling thread's mask by them; gives what it was.
fn mask(how: libc::c_int) -> io::Result<libc::sigset_t> {
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: both sets are ours; all zeroes is a valid set, and sigemptyset initialises the one that is read.
    let (answer, before) = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in ENDING {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        let answer = libc::pthread_sigmask(how, set.as_ptr(), before.as_mut_ptr());
        (answer, before.assume_init())
    };
    told(answer).map(|()| before)
}

fn restore(before: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the set was filled by the kernel when the mask was changed.
    told(unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) })
}

/// pthread functions give the error instead of keeping it in errno.
fn told(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(answer))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    /// The set bits of `SigBlk` in a status file of /proc.
    fn blocked(status: &str) -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("every process has it");
        u64::from_str_radix(line.trim(), 16).expect("hexadecimal")
    }

    #[test]
    fn a_sheltered_process_has_them_held_back_and_who_started_it_has_not() {
        let own = || blocked(&std::fs::read_to_string("/proc/thread-self/status").expect("our own"));
        let before = own();
        let mut command = Command::new("/bin/cat");
        let child = spawn_sheltered(command.arg("/proc/self/status").stdout(Stdio::piped())).expect("cat runs");
        assert_eq!(own(), before, "our own mask is as it was");
        let output = child.wait_with_output().expect("it ends");
        let status = String::from_utf8(output.stdout).expect("text");
        for signal in ENDING {
            assert_ne!(blocked(&status) & (1 << (signal - 1)), 0, "signal {signal} reaches it");
        }
    }
}
