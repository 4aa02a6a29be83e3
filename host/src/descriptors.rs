//! What whoever started a run had open is not for the run's workers: a file that root opened would stay readable behind every
//! wall that is put up around them.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;

use rustix::io::{fcntl_getfd, fcntl_setfd, FdFlags};

/// First descriptor that is not standard input, output or error.
const FIRST: libc::c_uint = 3;

/// Marks every open descriptor but the standard three as closed on exec. What a worker is to have is handed to it afterwards,
/// one by one; what this process opens itself is marked from the beginning.
///
/// # Errors
/// The descriptors could be neither marked at once nor listed.
pub fn keep_to_ourselves() -> io::Result<()> {
    let all = FIRST..=libc::c_uint::MAX;
    at_once(&all).or_else(|_| one_by_one(&all)) // a kernel before 5.11
}

fn at_once(numbers: &RangeInclusive<libc::c_uint>) -> io::Result<()> {
    // SAFETY: the call takes three numbers, and closing on exec takes nothing from this process.
    match unsafe { libc::syscall(libc::SYS_close_range, *numbers.start(), *numbers.end(), libc::CLOSE_RANGE_CLOEXEC) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn one_by_one(numbers: &RangeInclusive<libc::c_uint>) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<libc::c_uint>().ok());
        let Some(number) = number.filter(|number| numbers.contains(number)) else { continue };
        // SAFETY: borrowed for two calls, which fail without harm if it has been closed since.
        let fd = unsafe { BorrowedFd::borrow_raw(number.cast_signed()) };
        if let Ok(flags) = fcntl_getfd(fd) {
            fcntl_setfd(fd, flags | FdFlags::CLOEXEC)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd as _, AsRawFd as _};

    use super::*;

    /// Whether a descriptor that children would inherit still is one after this.
    fn is_handed_on_after(keep: fn(&RangeInclusive<libc::c_uint>) -> io::Result<()>) -> bool {
        let file = std::fs::File::open("/dev/null").expect("every Linux has it");
        fcntl_setfd(file.as_fd(), FdFlags::empty()).expect("our own");
        let number = file.as_raw_fd().cast_unsigned();
        keep(&(number..=number)).expect("the kernel allows it"); // of the others, other tests hand some on meanwhile
        !fcntl_getfd(file.as_fd()).expect("it is still open").contains(FdFlags::CLOEXEC)
    }

    #[test]
    fn what_was_inherited_is_not_handed_on_and_stays_open_here_on_old_kernels_too() {
        assert!(!is_handed_on_after(one_by_one));
        let has_close_range = at_once(&(libc::c_uint::MAX..=libc::c_uint::MAX)).is_ok();
        assert!(!has_close_range || !is_handed_on_after(at_once));
    }
}
