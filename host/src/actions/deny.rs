//! An executable that a rule does not want to be started again becomes a deny rule of the guard: by its path and, as every such rule,
//! by its identity.
//!
//! Where the process is still there its own link names the file; where it has ended, which short ones have, the event's path does,
//! if what lies there is still the file that was executed.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::fs::{major, minor};
use watertight_policy::{Action, Mode, Operation, Rule, Target as Match};

use super::judge::{executable, identity, Judge};
use super::kill::Target;
use super::request::Request;
use super::{Outcome, Wanted};
use crate::slots::ContentId;

/// The deny rule for a request.
///
/// # Errors
/// The file is gone, or is not to be denied.
pub fn wanted(request: &Request, judge: &Judge) -> Result<Wanted, Outcome> {
    let path = match Target::open(request.pid, request.start_ns) {
        Ok(target) => of_process(target.seen().pid)?,
        Err(Outcome::Gone) => of_event(request)?,
        Err(outcome) => return Err(outcome),
    };
    let real = std::fs::canonicalize(&path).map_err(|_| Outcome::Gone)?;
    if real.to_str().is_none() {
        return Err(Outcome::Refused("its path is not UTF-8".to_owned()));
    }
    let of = identity(&real).ok_or(Outcome::Gone)?;
    if let Some(why) = judge.refusal_of_start(&real, of) {
        return Err(Outcome::Refused(why));
    }
    let id = format!("x-{}", ContentId::of(real.as_os_str().as_encoded_bytes()).short());
    let (on, target) = (vec![Operation::Exec], Match::File(real.clone()));
    let deny = Rule { id, action: Action::Deny, on, target, mode: Mode::Enforce };
    Ok(Wanted { deny, path: real, rule: request.rule.clone() })
}

/// The file of a process that is there.
fn of_process(pid: u32) -> Result<PathBuf, Outcome> {
    let (link, running) = executable(pid).ok_or(Outcome::Gone)?;
    let path = std::fs::read_link(&link).map_err(|_| Outcome::Gone)?;
    match identity(&path) == Some(running) {
        true => Ok(path),
        false => Err(Outcome::Refused("its executable has no name any more by which it could be denied".to_owned())),
    }
}

/// The file that the event names, if it is still that.
fn of_event(request: &Request) -> Result<PathBuf, Outcome> {
    let path = PathBuf::from(&request.executable);
    let found = std::fs::symlink_metadata(&path).map_err(|_| Outcome::Gone)?;
    // The kernel's own encoding, include/linux/kdev_t.h.
    let dev = (u64::from(major(found.dev())) << 20) | u64::from(minor(found.dev()));
    match request.inode != 0 && (dev, found.ino()) == (request.dev, request.inode) && path.is_absolute() {
        true => Ok(path),
        false => Err(Outcome::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::transaction::Locks;

    #[test]
    fn a_short_programs_file_is_denied_only_while_it_is_still_that_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dropped");
        std::fs::write(&path, "x").expect("our own folder");
        let found = std::fs::metadata(&path).expect("it is there");
        let dev = (u64::from(major(found.dev())) << 20) | u64::from(minor(found.dev()));
        let executable = path.to_str().expect("text").to_owned();
        let request = Request { pid: u32::MAX, executable, dev, inode: found.ino(), ..Request::default() };
        let judge = Judge::of_this_machine(None, Locks::default());
        let denied = wanted(&request, &judge).expect("it may be denied");
        assert_eq!(denied.deny.target, Match::File(std::fs::canonicalize(&path).expect("it is there")));
        let other = Request { inode: found.ino().wrapping_add(1), ..request.clone() };
        assert_eq!(wanted(&other, &judge), Err(Outcome::Gone), "another file");
        assert_eq!(wanted(&Request { inode: 0, ..request.clone() }, &judge), Err(Outcome::Gone), "an unknown one");
        std::fs::remove_file(&path).expect("our own file");
        assert_eq!(wanted(&request, &judge), Err(Outcome::Gone), "none");
    }

    #[test]
    fn a_process_of_the_system_has_its_next_start_not_denied() {
        let child = std::process::Command::new("/bin/sleep").arg("600").spawn();
        let mut child = child.expect("sleep starts");
        let start_ns = super::super::kill::Seen::read(child.id()).expect("it is there").start_ns();
        let request = Request { pid: child.id(), start_ns, ..Request::default() };
        let refused = wanted(&request, &Judge::of_this_machine(None, Locks::default()));
        child.kill().and_then(|()| child.wait()).expect("our child");
        assert!(matches!(refused, Err(Outcome::Refused(_))), "{refused:?}");
    }
}
