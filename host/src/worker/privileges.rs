//! Gives up everything that a worker does not need. After this there is no way back.

use std::io;

/// uid and gid of `nobody` on every distribution that we know; the kernel's overflow id.
const NOBODY: u32 = 65_534;

/// Becomes nobody, without groups, capabilities or a way to gain any. Without root there is nothing to give up but the way
/// to gain more.
///
/// # Errors
/// The kernel refused; the worker must then not go on.
pub fn drop_all() -> io::Result<()> {
    // SAFETY: plain system calls on our own process, which has one thread at this point.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        if libc::geteuid() == 0 {
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setresgid(NOBODY, NOBODY, NOBODY))?;
            check(libc::setresuid(NOBODY, NOBODY, NOBODY))?;
        }
    }
    Ok(())
}

/// The supervisor's death ends the worker: nobody would read what it says. A Ctrl-C at the terminal reaches the whole group;
/// it is the supervisor that decides, so that the worker can still drain what is there.
///
/// # Errors
/// The kernel refused.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: plain system calls on our own process; ignoring a signal runs no code.
    unsafe {
        if libc::signal(libc::SIGINT, libc::SIG_IGN) == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))
    }
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
