//! Identity and capabilities: an id that no user has, without groups, with the few capabilities that a profile keeps and no way to gain
//! any. What shares an id may signal, stop and bound what has it: a worker's id is its own.

use std::io;
use std::path::Path;

use rustix::thread::{capabilities, set_capabilities, CapabilitySet, CapabilitySets};

use super::home;
use crate::signals;
use crate::users::Names;

/// uid and gid of `nobody` on every distribution that we know; the kernel's overflow id.
pub(super) const NOBODY: u32 = 65_534;
/// Ids that no distribution gives to a user: systemd lends them to services that have none of their own.
const LENT_FIRST: u32 = 61_184;
const LENT_LAST: u32 = 65_519;
/// Where systemd keeps which of them are lent.
const LENT: &str = "/run/systemd/dynamic-uid";
/// Ids that are looked at before a worker is nobody.
const LOOKED_AT_MAX: u32 = 256;

/// The kernel keeps capabilities in 64 bits.
const CAPABILITIES_MAX: libc::c_ulong = 64;

/// Becomes a user that there is not, without groups and with these capabilities alone. Without root there is nothing to give up but the way to
/// gain more.
///
/// # Errors
/// The kernel refused; the worker must then not go on.
pub fn give_up(kept: CapabilitySet) -> io::Result<()> {
    let own = free_id(&Names::of_this_machine(), std::process::id());
    // A namespace of users may have no such id.
    give_up_as(kept, || own.map_or(Err(io::ErrorKind::NotFound.into()), turn_into).or_else(|_| turn_into(NOBODY)))
}

/// The same for who keeps files in its working directory: that becomes the user's. It stays the same user's as long as nobody else has
/// the id. Where a file system gives no file away the worker keeps its user, without capabilities, and says so.
///
/// # Errors
/// As [`give_up`].
pub fn give_up_at_home(kept: CapabilitySet) -> io::Result<()> {
    let names = Names::of_this_machine();
    let before = home::owner().ok().filter(|id| (LENT_FIRST..=LENT_LAST).contains(id) && is_free(&names, *id));
    let own = before.or_else(|| free_id(&names, std::process::id()));
    let is_moved_to = |id: u32| home::give_to(id).and_then(|()| turn_into(id)).is_ok();
    give_up_as(kept, || {
        let is_own = own.is_some_and(is_moved_to) || is_moved_to(NOBODY);
        if !is_own {
            let _ = home::give_to(0); // what could not be said of all of it
        }
        Ok(())
    })
}

fn give_up_as(kept: CapabilitySet, become_another: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let held = capabilities(None)?.permitted;
    let kept = kept & held;
    // SAFETY: plain system calls on our own process, which has one thread at this point.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        if libc::geteuid() == 0 {
            empty_bounding_set()?;
            check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
            check(libc::setgroups(0, std::ptr::null()))?;
            become_another()?;
            check(libc::prctl(libc::PR_SET_KEEPCAPS, 0, 0, 0, 0))?;
        }
        check(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))?;
    }
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    Ok(())
}

/// Every capability that this kernel knows, also those that are younger than this program: it says itself where they end. It does not
/// touch what is held. Root of a container may lack the right to; then there is no way left to gain any all the same.
fn empty_bounding_set() -> io::Result<()> {
    for capability in bounding_set() {
        // SAFETY: a plain system call on our own process.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Ok(()),
            dropped => dropped?,
        }
    }
    Ok(())
}

/// The numbers of the capabilities that this process, or what it executes, could gain.
pub fn bounding_set() -> Vec<libc::c_ulong> {
    // SAFETY: it asks for a bit. A number beyond the last capability is refused.
    let read = |capability: libc::c_ulong| unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
    (0..CAPABILITIES_MAX)
        .take_while(|capability| read(*capability) >= 0)
        .filter(|capability| read(*capability) > 0)
        .collect()
}

fn turn_into(id: u32) -> io::Result<()> {
    // SAFETY: plain system calls on our own process, which has one thread at this point.
    unsafe {
        check(libc::setresgid(id, id, id))?;
        check(libc::setresuid(id, id, id))
    }
}

/// An id that no user, no group and no process has. Two workers begin to look at two places.
fn free_id(names: &Names, from: u32) -> Option<u32> {
    let count = LENT_LAST.saturating_sub(LENT_FIRST).saturating_add(1);
    let mut ids = (0..LOOKED_AT_MAX).map(|step| LENT_FIRST.saturating_add(from.wrapping_add(step) % count));
    ids.find(|id| is_free(names, *id))
}

fn is_free(names: &Names, id: u32) -> bool {
    let number = u64::from(id);
    let is_named = names.user(number).is_some() || names.group(number).is_some();
    !is_named && !Path::new(LENT).join(id.to_string()).exists() && !is_running(id)
}

/// Whether a process of this user is there.
fn is_running(uid: u32) -> bool {
    // SAFETY: it asks for a number.
    let answer = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_USER, uid) };
    answer != -1 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_a_user_has_is_not_taken() {
        let free = free_id(&Names::default(), 7).expect("one of so many");
        assert!((LENT_FIRST..=LENT_LAST).contains(&free));
        let named = Names::read(&format!("service:x:{free}:{free}\n"), "");
        assert_ne!(free_id(&named, 7), Some(free));
        let named = Names::read("", &format!("service:x:{free}:\n"));
        assert_ne!(free_id(&named, 7), Some(free));
        assert!(is_running(rustix::process::getuid().as_raw()), "this process");
    }
}
