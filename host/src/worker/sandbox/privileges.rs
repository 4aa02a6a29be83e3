//! Identity and capabilities: nobody, without groups, with the few capabilities that a profile keeps and no way to gain any.

use std::io;

use rustix::thread::{capabilities, set_capabilities, CapabilitySet, CapabilitySets};

use crate::signals;

/// uid and gid of `nobody` on every distribution that we know; the kernel's overflow id.
const NOBODY: u32 = 65_534;

/// Becomes nobody, without groups and with these capabilities alone. Without root there is nothing to give up but the way to
/// gain more.
///
/// # Errors
/// The kernel refused; the worker must then not go on.
pub fn give_up(kept: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?.permitted;
    let kept = kept & held;
    // SAFETY: plain system calls on our own process, which has one thread at this point.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        if libc::geteuid() == 0 {
            check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setresgid(NOBODY, NOBODY, NOBODY))?;
            check(libc::setresuid(NOBODY, NOBODY, NOBODY))?;
            check(libc::prctl(libc::PR_SET_KEEPCAPS, 0, 0, 0, 0))?;
        }
        check(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))?;
    }
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    Ok(())
}

/// What the process may do now.
///
/// # Errors
/// The kernel does not tell.
pub fn effective() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.effective)
}

/// Names as in capabilities(7), without `CAP_`.
pub fn names(set: CapabilitySet) -> Vec<String> {
    set.iter_names().map(|(name, _)| name.to_owned()).collect()
}

/// The supervisor's death ends the worker: nobody would read what it says. Signals that ask a run to end reach the whole group
/// (a Ctrl-C or hang-up of the terminal, `timeout`, systemd's stop); it is the supervisor that decides, so that the worker can
/// still drain what is there.
///
/// # Errors
/// The kernel refused.
pub fn die_with_parent() -> io::Result<()> {
    signals::ignore()?;
    // SAFETY: a plain system call on our own process.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
