//! Whom no rule may have killed: process 1 and what belongs to it, kernel threads, ourselves, a package transaction, the way in over
//! the network. And whose next start no rule may have denied.
//!
//! Compared by the identity of executables; but whoever may start one of these programs may have it do his work (`LD_PRELOAD`), so
//! that it counts only where it was root, or what root has started, that did.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use watertight_policy::vital::{candidates, PROCESS_1, PROGRAMS};

use super::kill::Seen;
use super::transaction::Locks;
use crate::deny::vital::Vital;

/// include/linux/sched.h: it has no program.
const PF_KTHREAD: u64 = 0x0020_0000;
/// How one gets to a machine that has no screen.
const WAYS_IN: [&str; 4] = ["sshd", "sshd-session", "sshd-auth", "dropbear"];
/// Threads that are asked for their executable.
const THREADS_MAX: usize = 64;
/// The parts of the service manager lie in them.
const SERVICE_MANAGER: [&str; 2] = ["/usr/lib/systemd", "/lib/systemd"];
/// Its own services, below the group that it keeps them in: nobody but root gets a process into one.
const SERVICES: &str = "/system.slice/systemd-";
/// Folders of the system: a policy may deny what lies in them, after a look at what that would stop; a rule that fires may not.
const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"];
/// Of these, what the machine's owner has put there.
const LOCAL: &str = "/usr/local";

/// Device and inode.
pub type Identity = (u64, u64);

/// Why a process is not killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It never is.
    Never(&'static str),
    /// It is not as long as this process changes the package database above it.
    While(u32),
}

/// What is looked up once.
pub struct Judge {
    ours: HashSet<Identity>,
    process_1: HashSet<Identity>,
    ways_in: HashSet<Identity>,
    package_locks: Locks,
    vital: Vital,
}

impl Judge {
    /// Of this machine; `loader` is our own one's executable.
    #[must_use]
    pub fn of_this_machine(loader: Option<&Path>, package_locks: Locks) -> Self {
        let of_names = |names: &[&str]| -> HashSet<Identity> {
            names.iter().flat_map(|name| candidates(name)).filter_map(|path| identity(&path)).collect()
        };
        let first = PROGRAMS.iter().filter(|group| group.what == Some(PROCESS_1));
        let mut process_1: HashSet<Identity> = first.flat_map(|group| of_names(group.names)).collect();
        process_1.extend(identity(Path::new("/proc/1/exe")));
        Self {
            ours: [Some(Path::new("/proc/self/exe")), loader].into_iter().flatten().filter_map(identity).collect(),
            process_1,
            ways_in: of_names(&WAYS_IN),
            package_locks,
            vital: Vital::of_this_machine(loader),
        }
    }

    /// Why this process is not killed; `None` when it may be.
    #[must_use]
    pub fn refusal(&self, seen: &Seen) -> Option<Refusal> {
        if seen.pid == 1 {
            return Some(Refusal::Never("it is process 1"));
        }
        if seen.flags & PF_KTHREAD != 0 {
            return Some(Refusal::Never("it is a thread of the kernel"));
        }
        if seen.pid == std::process::id() {
            return Some(Refusal::Never("it is a process of ours"));
        }
        // By the open link: the name may be another file's by now.
        let Some((link, executable)) = executable(seen.pid) else {
            return Some(Refusal::Never("its executable can't be looked at"));
        };
        let is_manager = |path: PathBuf| SERVICE_MANAGER.iter().any(|folder| path.starts_with(folder));
        let is_of_root = seen.is_of_root();
        if self.ours.contains(&executable) && (is_of_root || seen.parent == std::process::id()) {
            return Some(Refusal::Never("it is a process of ours"));
        }
        if (self.process_1.contains(&executable) || std::fs::read_link(&link).is_ok_and(is_manager))
            && (is_of_root || is_service_of_manager(seen.pid))
        {
            return Some(Refusal::Never("it starts the machine and its services"));
        }
        if self.ways_in.contains(&executable) && (is_of_root || self.is_below_way_in(seen)) {
            return Some(Refusal::Never("it is the way in over the network"));
        }
        self.package_locks.holder_above(seen).map(Refusal::While)
    }

    /// Whether it is what root's way in has started for somebody: that runs as its user.
    fn is_below_way_in(&self, seen: &Seen) -> bool {
        let is_way_in =
            |pid| identity(Path::new(&format!("/proc/{pid}/exe"))).is_some_and(|of| self.ways_in.contains(&of));
        Seen::read(seen.parent).is_some_and(|parent| parent.is_of_root() && is_way_in(parent.pid))
    }

    /// Why the next start of this executable is not denied; `None` when it may be. `path` has its links resolved.
    #[must_use]
    pub fn refusal_of_start(&self, path: &Path, of: Identity) -> Option<String> {
        if self.ours.contains(&of) {
            return Some("it is ours".to_owned());
        }
        if let Some(why) = self.vital.refusal(path, of, false) {
            return Some(why);
        }
        let is_system = SYSTEM.iter().any(|folder| path.starts_with(folder)) && !path.starts_with(LOCAL);
        is_system
            .then(|| "it belongs to the system: deny it by the policy of the pack, which is tried first".to_owned())
    }
}

/// The link to what a process executes, and what that is. A process whose first thread has ended has it by the others alone.
#[must_use]
pub fn executable(pid: u32) -> Option<(PathBuf, Identity)> {
    let of = |link: PathBuf| identity(&link).map(|of| (link, of));
    of(PathBuf::from(format!("/proc/{pid}/exe"))).or_else(|| {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        threads.take(THREADS_MAX).flatten().find_map(|thread| of(thread.path().join("exe")))
    })
}

/// Whether the process is in the control group of one of the service manager's own services.
fn is_service_of_manager(pid: u32) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    // `0::` is version 2's hierarchy; version 1 has one that the service manager names after itself.
    let mut own = groups
        .lines()
        .filter_map(|line| line.strip_prefix("0::").or(line.split_once(":name=systemd:").map(|(_, path)| path)));
    own.any(|path| path.starts_with(SERVICES))
}

/// Device and inode of what lies at the path.
#[must_use]
pub fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_spared(judge: &Judge, seen: &Seen, why: &str) -> bool {
        matches!(judge.refusal(seen), Some(Refusal::Never(said)) if said.contains(why))
    }

    #[test]
    fn the_first_process_the_kernels_and_our_own_are_refused() {
        let judge = Judge::of_this_machine(None, Locks::default());
        let own = Seen::read(std::process::id()).expect("we are there");
        assert!(is_spared(&judge, &own, "ours"));
        let thread = Seen { pid: own.parent, flags: PF_KTHREAD, ..own };
        assert!(is_spared(&judge, &thread, "kernel"));
        let first = Seen { pid: 1, ..own };
        assert!(is_spared(&judge, &first, "process 1"));
    }

    #[test]
    fn a_program_of_ours_or_of_the_machine_that_another_user_started_is_killed_as_any_other() {
        let child = std::process::Command::new("/bin/sleep").arg("600").spawn();
        let mut child = child.expect("sleep starts");
        let seen = Seen::read(child.id()).expect("it is there");
        let sleep = identity(Path::new("/bin/sleep")).into_iter().collect::<HashSet<Identity>>();
        let judge = |ours: bool, first: bool, way_in: bool| {
            let of = |is: bool| if is { sleep.clone() } else { HashSet::new() };
            let known = Judge::of_this_machine(None, Locks::default());
            Judge { ours: of(ours), process_1: of(first), ways_in: of(way_in), ..known }
        };
        let (root, other) = (Seen { uids: [0; 2], parent: 1, ..seen }, Seen { uids: [1_000; 2], parent: 1, ..seen });
        for (judge, why) in [
            (judge(true, false, false), "ours"),
            (judge(false, true, false), "starts the machine"),
            (judge(false, false, true), "way in"),
        ] {
            assert!(is_spared(&judge, &root, why), "{why}");
            assert_eq!(judge.refusal(&other), None, "{why}");
        }
        assert!(is_spared(&judge(true, false, false), &Seen { uids: [1_000; 2], ..seen }, "ours"), "a worker");
        child.kill().and_then(|()| child.wait()).expect("our child");
    }

    #[test]
    fn a_program_of_the_system_is_not_denied_and_another_is() {
        let judge = Judge::of_this_machine(None, Locks::default());
        for path in ["/usr/bin/env", "/bin/sh", "/usr/bin/sleep"] {
            let real = std::fs::canonicalize(path).expect("every machine has it");
            let of = identity(&real).expect("it is there");
            assert!(judge.refusal_of_start(&real, of).is_some(), "{path}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dropped");
        std::fs::write(&path, "x").expect("our own folder");
        let of = identity(&path).expect("it is there");
        assert_eq!(judge.refusal_of_start(&path, of), None);
    }
}
