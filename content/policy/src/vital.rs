//! What a machine is started and mended with: one table for the loader, which refuses a policy that would stop any of it, and
//! for denial by fanotify, which never marks it. What is not on a machine can't be stopped there.

/// Programs that stand and fall together.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// What is stopped without them; `None` for those that a policy may stop, but a stopped listener may not.
    pub what: Option<&'static str>,
    /// Why.
    pub why: &'static str,
    /// They are only needed where one of these is there; always if it is empty.
    pub needed_by: &'static [&'static str],
    /// Their names in the [`PROGRAM_FOLDERS`].
    pub names: &'static [&'static str],
}

/// A folder or a file, and what it is needed for.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Where.
    pub path: &'static str,
    /// Why.
    pub why: &'static str,
}

/// How process 1 is called where it is spoken of.
pub const PROCESS_1: &str = "process 1";
/// Our own part.
pub const LOADER: &str = "the loader";
/// What one rescues a machine with.
pub const RESCUE_SHELL: &str = "the rescue shell";
/// What brings a mend.
pub const PACKAGE_MANAGER: &str = "the package manager";

/// Where programs are looked for by name.
pub const PROGRAM_FOLDERS: [&str; 8] =
    ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/lib/systemd", "/lib/systemd"];

/// Debian's and its relatives'.
const DPKG: &[&str] = &["dpkg"];
/// Package managers that start scripts of packages.
const SCRIPTED: &[&str] = &["dpkg", "rpm", "apk", "pacman"];

/// Programs by what they are needed for. Process 1, and the loader that is running, count too, whatever their names.
pub const PROGRAMS: [Programs; 11] = [
    Programs {
        what: Some(PROCESS_1),
        why: "it starts the machine and its services",
        needed_by: &[],
        names: &["init", "systemd", "systemd-executor"],
    },
    Programs {
        what: Some(LOADER),
        why: "it takes a policy away again",
        needed_by: &[],
        names: &["watertight-loader", "watertight"],
    },
    Programs {
        what: Some(RESCUE_SHELL),
        why: "it is what a machine is mended by, and how one gets to it",
        needed_by: &[],
        names: &["sh", "bash", "dash", "ash", "busybox", "sulogin", "login", "agetty", "getty"],
    },
    Programs {
        what: Some(PACKAGE_MANAGER),
        why: "it installs packages, or scripts of packages start it",
        needed_by: DPKG,
        names: &[
            "dpkg",
            "dpkg-deb",
            "dpkg-split",
            "dpkg-query",
            "dpkg-divert",
            "dpkg-statoverride",
            "dpkg-trigger",
            "dpkg-realpath",
            "dpkg-maintscript-helper",
            "dpkg-preconfigure",
            "debconf",
            "update-alternatives",
            "update-rc.d",
            "invoke-rc.d",
            "deb-systemd-helper",
            "deb-systemd-invoke",
        ],
    },
    Programs {
        what: Some(PACKAGE_MANAGER),
        why: "dpkg unpacks, clears up and configures with it",
        needed_by: DPKG,
        names: &["tar", "rm", "diff", "ldconfig", "start-stop-daemon"],
    },
    Programs {
        what: Some(PACKAGE_MANAGER),
        why: "apt fetches packages, or checks their signatures with it",
        needed_by: &["apt-get"],
        names: &[
            "apt",
            "apt-get",
            "apt-cache",
            "apt-config",
            "apt-key",
            "apt-mark",
            "apt-extracttemplates",
            "gpgv",
            "gpgv-sq",
            "sqv",
        ],
    },
    Programs {
        what: Some(PACKAGE_MANAGER),
        why: "it fetches and installs packages",
        needed_by: &[],
        names: &["rpm", "rpmkeys", "dnf", "dnf5", "yum", "microdnf", "zypper", "apk", "pacman", "pacman-key"],
    },
    Programs {
        what: Some(PACKAGE_MANAGER),
        why: "it checks the packages' signatures with it",
        needed_by: &["pacman", "zypper"],
        names: &["gpg", "gpgconf"],
    },
    Programs {
        what: Some(PACKAGE_MANAGER),
        why: "after every package with libraries it is started",
        needed_by: &["rpm", "pacman"],
        names: &["ldconfig"],
    },
    Programs {
        what: Some(PACKAGE_MANAGER),
        why: "the scripts of packages start it",
        needed_by: SCRIPTED,
        names: &[
            "cat", "chgrp", "chmod", "chown", "cp", "env", "grep", "ln", "ls", "mkdir", "mktemp", "mv", "readlink",
            "rm", "rmdir", "sed", "touch", "true",
        ],
    },
    Programs {
        what: None,
        why: "one gets to a machine, looks at it or starts it anew with it",
        needed_by: &[],
        names: &[
            "systemctl",
            "runc",
            "zsh",
            "su",
            "sudo",
            "doas",
            "sshd",
            "sshd-session",
            "mount",
            "umount",
            "kill",
            "reboot",
            "shutdown",
            "python3",
        ],
    },
];

/// Folders that the package manager starts programs and scripts of packages from: an exec rule may not name one of them,
/// anything in them, or a folder above.
pub const RUN_FOLDERS: [Place; 7] = [
    Place { path: "/usr/lib/apt", why: "apt starts its methods from it" },
    Place { path: "/var/lib/dpkg/info", why: "dpkg starts the scripts of packages from it" },
    Place { path: "/var/lib/dpkg/tmp.ci", why: "dpkg starts the scripts of the package that it unpacks from it" },
    Place { path: "/usr/share/debconf", why: "scripts of packages are started through debconf" },
    Place { path: "/usr/lib/rpm", why: "rpm starts its own programs from it" },
    Place { path: "/lib/apk/exec", why: "apk starts the scripts of packages from it" },
    Place { path: "/usr/share/libalpm/scripts", why: "pacman starts its hooks from it" },
];

/// The one of the [`RUN_FOLDERS`] that holds only programs, all of them needed.
pub const APT_PROGRAMS: &str = "/usr/lib/apt";

/// Folders that packages are unpacked to, or that the package manager works in: a change may not be denied to the whole of one
/// of them, or of a folder above.
pub const WRITTEN_FOLDERS: [Place; 24] = [
    Place { path: "/usr", why: UNPACKED },
    Place { path: "/usr/bin", why: UNPACKED },
    Place { path: "/usr/sbin", why: UNPACKED },
    Place { path: "/usr/lib", why: UNPACKED },
    Place { path: "/usr/lib64", why: UNPACKED },
    Place { path: "/usr/lib/x86_64-linux-gnu", why: UNPACKED },
    Place { path: "/usr/lib/aarch64-linux-gnu", why: UNPACKED },
    Place { path: "/usr/libexec", why: UNPACKED },
    Place { path: "/usr/share", why: UNPACKED },
    Place { path: "/usr/share/doc", why: UNPACKED },
    Place { path: "/bin", why: UNPACKED },
    Place { path: "/sbin", why: UNPACKED },
    Place { path: "/lib", why: UNPACKED },
    Place { path: "/lib64", why: UNPACKED },
    Place { path: "/etc", why: UNPACKED },
    Place { path: "/var", why: UNPACKED },
    Place { path: "/var/lib", why: UNPACKED },
    Place { path: "/var/cache", why: "packages that were fetched lie in it" },
    Place { path: "/tmp", why: "apt, dpkg and scripts of packages put what they are working on in it" },
    Place { path: "/var/tmp", why: "rpm and dnf put what they are working on in it" },
    Place { path: "/var/log", why: "what was installed is logged in it" },
    Place { path: "/var/log/apt", why: "what was installed is logged in it" },
    Place { path: "/run", why: "locks are taken in it" },
    Place { path: "/dev", why: "terminals are opened in it, and output is thrown away" },
];

const UNPACKED: &str = "packages are unpacked to it";

/// Folders in which package managers keep their books: nothing in them may be denied to be changed.
pub const BOOK_FOLDERS: [Place; 7] = [
    Place { path: "/var/lib/dpkg", why: BOOKS },
    Place { path: "/var/lib/apt", why: BOOKS },
    Place { path: "/var/cache/apt", why: "packages that were fetched lie in it" },
    Place { path: "/var/lib/rpm", why: BOOKS },
    Place { path: "/usr/lib/sysimage/rpm", why: BOOKS },
    Place { path: "/var/lib/pacman", why: BOOKS },
    Place { path: "/lib/apk", why: BOOKS },
];

const BOOKS: &str = "its books lie in it";

/// Single files without which nothing is installed.
pub const WRITTEN_FILES: [Place; 2] = [
    Place { path: "/dev/null", why: "scripts of packages throw output away there" },
    Place { path: "/etc/ld.so.cache", why: "ldconfig makes it anew after every package with libraries" },
];

/// Program loaders, which also tell the libraries of a program.
pub const LINKERS: [&str; 4] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// Where a program of this name may lie.
pub fn candidates(name: &str) -> impl Iterator<Item = std::path::PathBuf> + '_ {
    PROGRAM_FOLDERS.iter().map(move |folder| std::path::Path::new(folder).join(name))
}

impl Programs {
    /// Whether this machine has what needs them.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        let is_there = |name: &&str| candidates(name).any(|path| path.exists());
        self.needed_by.is_empty() || self.needed_by.iter().any(is_there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_by_what_is_not_there_is_not_needed() {
        let of = |needed_by: &'static [&'static str]| Programs { what: None, why: "", needed_by, names: &[] };
        assert!(of(&[]).is_needed());
        assert!(of(&["there-is-no-such-program", "sh"]).is_needed());
        assert!(!of(&["there-is-no-such-program"]).is_needed());
    }

    #[test]
    fn every_place_is_absolute_and_has_its_reason() {
        for place in RUN_FOLDERS.iter().chain(&WRITTEN_FOLDERS).chain(&BOOK_FOLDERS).chain(&WRITTEN_FILES) {
            assert!(place.path.starts_with('/') && !place.path.ends_with('/'), "{place:?}");
            assert!(!place.why.is_empty(), "{place:?}");
        }
        assert!(PROGRAMS.iter().all(|programs| !programs.why.is_empty() && !programs.names.is_empty()));
        assert!(RUN_FOLDERS.iter().any(|place| place.path == APT_PROGRAMS));
    }
}
