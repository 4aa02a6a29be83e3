//! What must never be marked: the folders that hold the system, and the programs that a machine is mended with.
//!
//! Compared by identity and not by name, so that no bind mount or link leads around it.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use watertight_policy::vital::{candidates, BOOK_FOLDERS, PROGRAMS, PROGRAM_FOLDERS, RUN_FOLDERS};

/// Folders that are never marked, nor any folder below them; those of package managers come from the table of what is vital.
const TREES: [&str; 13] = [
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr",
    "/etc",
    "/boot",
    "/proc",
    "/sys",
    "/dev",
    "/run/systemd",
];

/// All of them.
fn trees() -> impl Iterator<Item = &'static str> {
    let packages = BOOK_FOLDERS.iter().chain(&RUN_FOLDERS).map(|place| place.path);
    TREES.into_iter().chain(packages)
}

/// Where the dynamic loader may lie; every dynamic program is started through it.
const LIBRARY_FOLDERS: [&str; 6] =
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu"];

type Identity = (u64, u64);

/// Identities that are never marked.
pub(crate) struct Vital {
    files: HashSet<Identity>,
    folders: HashSet<Identity>,
}

impl Vital {
    /// Looks up what this machine has of it; `loader` is our own one's executable.
    pub(crate) fn of_this_machine(loader: Option<&Path>) -> Self {
        let mut vital = Self { files: HashSet::new(), folders: HashSet::new() };
        vital.folders.extend(identity(Path::new("/")));
        vital.folders.extend(trees().chain(PROGRAM_FOLDERS).filter_map(|path| identity(Path::new(path))));
        for running in ["/proc/1/exe", "/proc/self/exe"] {
            vital.files.extend(identity(Path::new(running)));
            // Where pid 1's own can't be read, its usual names below must do.
            if let Some(folder) = std::fs::read_link(running).ok().as_deref().and_then(Path::parent) {
                vital.folders.extend(identity(folder));
            }
        }
        let shells = std::fs::read_to_string("/etc/shells").unwrap_or_default();
        let shells = shells.lines().filter(|line| line.starts_with('/')).map(|line| PathBuf::from(line.trim()));
        let named = PROGRAMS.iter().flat_map(|programs| programs.names).flat_map(|name| candidates(name));
        for program in shells.chain(named).chain(loader.map(Path::to_owned)) {
            vital.add_program(&program);
        }
        for folder in LIBRARY_FOLDERS {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let loaders = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"ld-"));
            loaders.for_each(|entry| vital.files.extend(identity(&entry.path())));
        }
        vital
    }

    fn add_program(&mut self, program: &Path) {
        if let Some(found) = identity(program) {
            self.files.insert(found);
            let real = std::fs::canonicalize(program).ok();
            self.folders.extend(real.as_deref().and_then(Path::parent).and_then(identity));
        }
    }

    /// Why this file or folder is not marked; `None` when it may be. `path` is where it really is, links resolved.
    pub(crate) fn refusal(&self, path: &Path, of: Identity, is_folder: bool) -> Option<String> {
        if self.files.contains(&of) {
            return Some("it is one of the programs that start, open or mend this machine".into());
        }
        if !is_folder {
            return None;
        }
        if self.folders.contains(&of) {
            return Some("programs that start, open or mend this machine lie in it".into());
        }
        // By identity along the way up: also a folder that is bind-mounted from there by another name has them above it.
        let above = path.ancestors().skip(1).filter(|folder| *folder != Path::new("/"));
        let trees: HashSet<Identity> = trees().filter_map(|tree| identity(Path::new(tree))).collect();
        let is_below = above.filter_map(identity).any(|folder| trees.contains(&folder));
        is_below.then(|| "it belongs to the system".into())
    }
}

fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &str) -> Option<String> {
        let found = std::fs::metadata(path).expect("it is there");
        let real = std::fs::canonicalize(path).expect("it is there");
        Vital::of_this_machine(None).refusal(&real, (found.dev(), found.ino()), found.is_dir())
    }

    #[test]
    fn the_system_and_what_mends_it_are_never_marked() {
        for path in
            ["/", "/bin", "/usr", "/usr/bin", "/usr/lib", "/lib", "/sbin", "/etc", "/usr/share", "/proc", "/etc/../bin"]
        {
            assert!(refusal(path).is_some(), "{path}");
        }
        for path in ["/bin/sh", "/usr/bin/env", "/proc/self/exe"] {
            assert!(refusal(path).is_some(), "{path}");
        }
    }

    #[test]
    fn a_link_to_the_system_is_refused_like_the_system() {
        let folder = std::env::temp_dir().join(format!("watertight-vital-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let link = folder.join("link");
        std::os::unix::fs::symlink("/usr/bin", &link).expect("a link");
        assert!(refusal(link.to_str().expect("text")).is_some());
        assert_eq!(refusal(folder.to_str().expect("text")), None, "an ordinary folder");
        std::fs::remove_dir_all(&folder).expect("our own folder");
    }
}
