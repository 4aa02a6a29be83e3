//! Whether a package transaction is at work above a process: then a kill would cut it in half.
//!
//! What makes a transaction is the lock of the machine's package database, not the name of an executable: anybody may start `apt-get`,
//! which then waits for a program of his, but only root can open the lock for writing, which all package managers do to change the
//! database, and keep it open until that is done. It protects what is below its holder by live parent links: what a package's script
//! leaves behind has another parent as soon as the script is over.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::judge::{identity, Identity};
use super::kill::Seen;

/// Deepest ancestry looked at; a loop is impossible, an end is not.
const ANCESTORS_MAX: usize = 64;
/// Descriptors of one process that are looked at. A package manager has some ten.
const DESCRIPTORS_MAX: usize = 1_024;
/// Of dpkg, rpm, apk and pacman, each with whatever is in front of it.
const LOCKS: [&str; 9] = [
    "/var/lib/dpkg/lock",
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/rpm/.rpm.lock",
    "/usr/lib/sysimage/rpm/.rpm.lock",
    "/usr/share/rpm/.rpm.lock",
    "/lib/apk/db/lock",
    "/usr/lib/apk/db/lock",
    "/var/lib/apk/db/lock",
    "/var/lib/pacman/db.lck",
];

/// Where the locks of package databases lie.
#[must_use]
pub fn paths() -> Vec<PathBuf> {
    LOCKS.iter().map(PathBuf::from).collect()
}

/// Those that are there, by identity.
#[derive(Clone, Debug, Default)]
pub struct Locks(HashSet<Identity>);

impl Locks {
    /// Looks.
    #[must_use]
    pub fn at(paths: &[PathBuf]) -> Self {
        Self(paths.iter().filter_map(|path| identity(path)).collect())
    }

    /// Who holds one, the process or the nearest of its ancestors.
    #[must_use]
    pub fn holder_above(&self, seen: &Seen) -> Option<u32> {
        if self.0.is_empty() {
            return None;
        }
        let mut next = Some(*seen);
        for _ in 0..ANCESTORS_MAX {
            let now = next?;
            if self.is_held_by(now.pid) {
                return Some(now.pid);
            }
            next = Seen::read(now.parent);
        }
        None
    }

    fn is_held_by(&self, pid: u32) -> bool {
        let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        descriptors.take(DESCRIPTORS_MAX).flatten().any(|descriptor| {
            let is_lock = identity(&descriptor.path()).is_some_and(|of| self.0.contains(&of));
            is_lock && is_for_writing(pid, Path::new(&descriptor.file_name()))
        })
    }
}

/// Whether this descriptor was opened for writing: proc_pid_fdinfo(5), in octal.
fn is_for_writing(pid: u32, descriptor: &Path) -> bool {
    let folder = PathBuf::from(format!("/proc/{pid}/fdinfo"));
    let told = std::fs::read_to_string(folder.join(descriptor)).unwrap_or_default();
    let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell with this redirection that says when it has it and waits.
    fn shell(redirection: &str) -> Child {
        let script = format!("exec {redirection}; echo; read wait");
        let mut command = Command::new("/bin/sh");
        let mut child = command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let child_mut = child.as_mut().expect("a shell");
        std::io::Read::read_exact(child_mut.stdout.as_mut().expect("piped"), &mut [0]).expect("it says so");
        child.expect("a shell")
    }

    #[test]
    fn who_changes_the_database_is_found_and_who_only_reads_it_or_another_file_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (lock, other) = (folder.path().join("lock"), folder.path().join("other"));
        for path in [&lock, &other] {
            std::fs::write(path, "").expect("our own folder");
        }
        let locks = Locks::at(&[lock.clone(), folder.path().join("none")]);
        let holder = |redirection: String| {
            let mut child = shell(&redirection);
            let found = locks.holder_above(&Seen::read(child.id()).expect("it is there"));
            child.kill().and_then(|()| child.wait()).expect("our child");
            found.is_some_and(|pid| pid == child.id())
        };
        assert!(holder(format!("9<>{}", lock.display())));
        assert!(holder(format!("9>>{}", lock.display())));
        assert!(!holder(format!("9<{}", lock.display())), "any user may read it");
        assert!(!holder(format!("9<>{}", other.display())));
    }
}
