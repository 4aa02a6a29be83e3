//! Whom no rule may have killed: process 1 and what belongs to it, kernel threads, ourselves, the package manager and what it has
//! started, the way in over the network. And whose next start no rule may have denied. Compared by the identity of executables.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use watertight_policy::vital::{candidates, PACKAGE_MANAGER, PROCESS_1, PROGRAMS};

use super::kill::Seen;
use crate::deny::vital::Vital;

/// include/linux/sched.h: it has no program.
const PF_KTHREAD: u64 = 0x0020_0000;
/// Deepest ancestry looked at; a loop is impossible, an end is not.
const ANCESTORS_MAX: usize = 64;
/// How one gets to a machine that has no screen.
const WAYS_IN: [&str; 4] = ["sshd", "sshd-session", "sshd-auth", "dropbear"];
/// The parts of the service manager lie in them.
const SERVICE_MANAGER: [&str; 2] = ["/usr/lib/systemd", "/lib/systemd"];
/// Package managers by the first name of their group; the other groups of the table are programs that everybody uses.
const PACKAGE_MANAGERS: [&str; 3] = ["dpkg", "apt", "rpm"];
/// Folders of the system: a policy may deny what lies in them, after a look at what that would stop; a rule that fires may not.
const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"];
/// Of these, what the machine's owner has put there.
const LOCAL: &str = "/usr/local";

type Identity = (u64, u64);

/// What is looked up once.
pub struct Judge {
    ours: HashSet<Identity>,
    process_1: HashSet<Identity>,
    ways_in: HashSet<Identity>,
    package_managers: HashSet<Identity>,
    vital: Vital,
}

impl Judge {
    /// Of this machine; `loader` is our own one's executable.
    #[must_use]
    pub fn of_this_machine(loader: Option<&Path>) -> Self {
        let of_names = |names: &[&str]| -> HashSet<Identity> {
            names.iter().flat_map(|name| candidates(name)).filter_map(|path| identity(&path)).collect()
        };
        let group = |fits: &dyn Fn(&&watertight_policy::vital::Programs) -> bool| -> HashSet<Identity> {
            PROGRAMS.iter().filter(fits).flat_map(|group| of_names(group.names)).collect()
        };
        let is_package_manager = |group: &&watertight_policy::vital::Programs| {
            let first = group.names.first();
            group.what == Some(PACKAGE_MANAGER) && first.is_some_and(|name| PACKAGE_MANAGERS.contains(name))
        };
        let mut process_1 = group(&|group| group.what == Some(PROCESS_1));
        process_1.extend(identity(Path::new("/proc/1/exe")));
        Self {
            ours: [Some(Path::new("/proc/self/exe")), loader].into_iter().flatten().filter_map(identity).collect(),
            process_1,
            ways_in: of_names(&WAYS_IN),
            package_managers: group(&is_package_manager),
            vital: Vital::of_this_machine(loader),
        }
    }

    /// Why this process is not killed; `None` when it may be.
    #[must_use]
    pub fn refusal(&self, seen: &Seen) -> Option<String> {
        if seen.pid == 1 {
            return Some("it is process 1".to_owned());
        }
        if seen.flags & PF_KTHREAD != 0 {
            return Some("it is a thread of the kernel".to_owned());
        }
        if seen.pid == std::process::id() {
            return Some("it is a process of ours".to_owned());
        }
        // By the open link: the name may be another file's by now.
        let link = format!("/proc/{}/exe", seen.pid);
        let Some(executable) = identity(Path::new(&link)) else {
            return Some("its executable can't be looked at".to_owned());
        };
        let is_manager = |path: std::path::PathBuf| SERVICE_MANAGER.iter().any(|folder| path.starts_with(folder));
        match () {
            () if self.ours.contains(&executable) => return Some("it is a process of ours".to_owned()),
            () if self.process_1.contains(&executable) || std::fs::read_link(&link).is_ok_and(is_manager) => {
                return Some("it starts the machine and its services".to_owned());
            }
            () if self.ways_in.contains(&executable) => return Some("it is the way in over the network".to_owned()),
            () => {}
        }
        let manager = self.package_manager_above(seen)?;
        Some(format!("the package manager (process {manager}) is, or has started, it"))
    }

    /// The nearest package manager among the process and its ancestors.
    fn package_manager_above(&self, seen: &Seen) -> Option<u32> {
        let mut next = Some(*seen);
        for _ in 0..ANCESTORS_MAX {
            let now = next?;
            let executable = identity(Path::new(&format!("/proc/{}/exe", now.pid)));
            if executable.is_some_and(|executable| self.package_managers.contains(&executable)) {
                return Some(now.pid);
            }
            next = Seen::read(now.parent);
        }
        None
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

/// Device and inode of what lies at the path.
#[must_use]
pub fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_the_kernels_and_our_own_are_refused() {
        let judge = Judge::of_this_machine(None);
        let own = Seen::read(std::process::id()).expect("we are there");
        assert!(judge.refusal(&own).is_some_and(|why| why.contains("ours")));
        let thread = Seen { pid: own.parent, flags: PF_KTHREAD, ..own };
        assert!(judge.refusal(&thread).is_some_and(|why| why.contains("kernel")));
        let first = Seen { pid: 1, ..own };
        assert!(judge.refusal(&first).is_some_and(|why| why.contains("process 1")));
    }

    #[test]
    fn a_program_of_the_system_is_not_denied_and_another_is() {
        let judge = Judge::of_this_machine(None);
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
