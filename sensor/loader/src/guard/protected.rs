//! What no policy may stop: process 1, the loader, the shell that one rescues a machine with, and the package manager that
//! brings a mend. A policy that would is refused, whole, with the rule and the program that it would stop.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context as _, Result};
use sha2::{Digest as _, Sha256};
use watertight_policy::{Mode, Operation as On, Target};
use watertight_sensor_abi::{EntryKind, PolicyKey};

use super::entries::{digest_key, identities, identity_key, place, Entries, Resolved};

/// Programs by what they are to the machine. Those that are not there can't be stopped.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("process 1", &["/proc/1/exe"]),
    ("the loader", &["/proc/self/exe"]),
    (
        "the rescue shell",
        &["/bin/sh", "/bin/bash", "/bin/dash", "/bin/busybox", "/sbin/sulogin", "/sbin/agetty", "/bin/login"],
    ),
    (
        "the package manager",
        &[
            "/usr/bin/dpkg",
            "/usr/bin/dpkg-deb",
            "/usr/bin/apt",
            "/usr/bin/apt-get",
            "/usr/bin/rpm",
            "/usr/bin/dnf",
            "/usr/bin/dnf5",
            "/usr/bin/yum",
            "/usr/bin/zypper",
            "/usr/bin/pacman",
            "/sbin/apk",
        ],
    ),
];

/// Program loaders, which also tell the libraries of a program.
const LINKERS: [&str; 4] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// Folders in which packages put their files: a change in one of them may not be denied for the whole of it.
const PACKAGE_FOLDERS: [&str; 14] = [
    "/usr",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc",
    "/var",
    "/run",
    "/dev",
];

/// Folders in which the package manager keeps its own books: nothing in them may be denied to be changed.
const BOOK_FOLDERS: [&str; 7] = [
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/cache/apt",
    "/var/lib/rpm",
    "/usr/lib/sysimage/rpm",
    "/var/lib/pacman",
    "/lib/apk",
];

/// A program that must go on working, with everything that it is made of.
struct Vital {
    what: &'static str,
    program: PathBuf,
    keys: Vec<(PolicyKey, PathBuf)>,
    digests: Vec<(PolicyKey, PathBuf)>,
}

/// Refuses a policy under which the machine could not be mended any more. Rules that only audit stop nothing.
///
/// # Errors
/// Names the rule and what it would stop.
pub fn refuse_if_vital(entries: &Entries) -> Result<()> {
    let enforced = || entries.rules().iter().filter(|resolved| resolved.rule.mode == Mode::Enforce);
    if enforced().any(|resolved| resolved.rule.on.contains(&On::Exec)) {
        let has_digests = enforced().any(|resolved| matches!(resolved.rule.target, Target::Sha256(_)));
        for vital in vitals(has_digests)? {
            for resolved in enforced().filter(|resolved| resolved.rule.on.contains(&On::Exec)) {
                vital.refuse_if_stopped_by(resolved)?;
            }
        }
    }
    for resolved in enforced() {
        refuse_if_packages_stop(resolved)?;
        refuse_if_network_stops(resolved)?;
    }
    Ok(())
}

impl Vital {
    fn refuse_if_stopped_by(&self, resolved: &Resolved) -> Result<()> {
        let found = self.keys.iter().chain(&self.digests).find(|(key, _)| resolved.keys.contains(key));
        let Some((_, part)) = found else { return Ok(()) };
        let by = if *part == self.program { String::new() } else { format!(" through {}", part.display()) };
        bail!(
            "rule {} would stop {} ({}){by}: take the rule out, or narrow what it matches",
            resolved.rule.id,
            self.what,
            self.program.display()
        )
    }
}

fn vitals(has_digests: bool) -> Result<Vec<Vital>> {
    let mut vitals = Vec::new();
    for (what, programs) in PROGRAMS {
        let real = programs.iter().filter_map(|program| fs::canonicalize(program).ok());
        let programs: BTreeSet<PathBuf> = real.filter(|path| path.is_file()).collect();
        for program in programs {
            let parts = parts(&program);
            let keys = keys_of_parts(&parts).with_context(|| format!("looking at {}", program.display()))?;
            let digests = if has_digests { digests(&parts)? } else { Vec::new() };
            vitals.push(Vital { what, program, keys, digests });
        }
    }
    Ok(vitals)
}

/// The program, its loader and its libraries.
fn parts(program: &Path) -> Vec<PathBuf> {
    let mut parts = vec![program.to_owned()];
    for linker in LINKERS.iter().map(Path::new).filter(|linker| linker.exists()) {
        let listed = Command::new(linker).arg("--list").arg(program).stdin(Stdio::null()).output();
        let Ok(output) = listed else { continue };
        if !output.status.success() {
            continue; // a static program, or of another machine
        }
        parts.extend(fs::canonicalize(linker));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let paths = text.lines().filter_map(|line| {
            let place = line.split_once("=>").map_or(line, |(_, place)| place);
            place.split_whitespace().next().filter(|word| word.starts_with('/'))
        });
        parts.extend(paths.filter_map(|path| fs::canonicalize(path).ok()));
        break;
    }
    parts
}

/// Every key by which an entry of the kernel's table could match a part: itself, its place, its folders.
fn keys_of_parts(parts: &[PathBuf]) -> Result<Vec<(PolicyKey, PathBuf)>> {
    let mut keys = Vec::new();
    for (part, identity) in parts.iter().zip(identities(parts)?) {
        keys.push((identity_key(EntryKind::File, identity), part.clone()));
        keys.extend(place(part)?.map(|key| (key, part.clone())));
        let folders: Vec<PathBuf> = part.ancestors().skip(1).map(Path::to_owned).collect();
        for identity in identities(&folders)? {
            keys.push((identity_key(EntryKind::Folder, identity), part.clone()));
        }
    }
    Ok(keys)
}

fn digests(parts: &[PathBuf]) -> Result<Vec<(PolicyKey, PathBuf)>> {
    let mut digests = Vec::new();
    for part in parts {
        let bytes = fs::read(part).with_context(|| format!("reading {}", part.display()))?;
        digests.push((digest_key(&Sha256::digest(bytes).into()), part.clone()));
    }
    Ok(digests)
}

fn refuse_if_packages_stop(resolved: &Resolved) -> Result<()> {
    let rule = &resolved.rule;
    let changes = [On::Write, On::Unlink, On::Rename];
    let (Target::File(path) | Target::Under(path)) = &rule.target else { return Ok(()) };
    if !rule.on.iter().any(|on| changes.contains(on)) {
        return Ok(());
    }
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let is_folder = matches!(rule.target, Target::Under(_));
    let real_of = |folder: &str| fs::canonicalize(folder).unwrap_or_else(|_| PathBuf::from(folder));
    let covered = PACKAGE_FOLDERS.iter().find(|folder| is_folder && real_of(folder).starts_with(&real));
    let in_books = BOOK_FOLDERS.iter().find(|folder| {
        let folder = real_of(folder);
        real.starts_with(&folder) || (is_folder && folder.starts_with(&real))
    });
    let Some(folder) = covered.or(in_books) else { return Ok(()) };
    bail!(
        "rule {} would stop the package manager, which writes in {folder}: name single files or a folder of your own",
        rule.id
    )
}

fn refuse_if_network_stops(resolved: &Resolved) -> Result<()> {
    let Target::Address { prefix_bits: 0, port, .. } = resolved.rule.target else { return Ok(()) };
    if matches!(port, None | Some(53 | 80 | 443)) {
        bail!(
            "rule {} would stop the package manager, which reaches its repositories over every address: name networks, or another port",
            resolved.rule.id
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use watertight_policy::{Action, Policy, Rule};

    use super::*;

    fn refused(on: On, target: Target, mode: Mode) -> Option<String> {
        let rule = Rule { id: "bad".into(), action: Action::Deny, on: vec![on], target, mode };
        let policy = Policy { version: 1, fallback_deny: false, rules: vec![rule] };
        let entries = Entries::resolve(&policy).expect("it resolves");
        refuse_if_vital(&entries).err().map(|error| format!("{error:#}"))
    }

    #[test]
    fn the_shell_its_folder_its_library_and_its_contents_may_not_be_denied() {
        let shell = fs::canonicalize("/bin/sh").expect("a shell");
        let library = parts(&shell).into_iter().find(|part| part.to_string_lossy().contains("libc"));
        let contents: [u8; 32] = Sha256::digest(fs::read(&shell).expect("readable")).into();
        let mut targets = vec![
            Target::File("/bin/sh".into()),
            Target::Under(shell.parent().expect("a folder").to_owned()),
            Target::Under("/".into()),
            Target::Sha256(contents),
        ];
        targets.extend(library.map(Target::File));
        for target in targets {
            let why =
                refused(On::Exec, target.clone(), Mode::Enforce).unwrap_or_else(|| panic!("{target:?} was taken"));
            assert!(why.contains("rule bad would stop"), "{why}");
            assert_eq!(refused(On::Exec, target, Mode::Audit), None, "what only audits stops nothing");
        }
    }

    #[test]
    fn the_package_managers_books_and_folders_stay_writable() {
        for folder in ["/", "/usr", "/etc", "/var/lib/dpkg", "/var/lib"] {
            let why = refused(On::Write, Target::Under(folder.into()), Mode::Enforce);
            assert!(why.is_some_and(|why| why.contains("package manager")), "{folder}");
        }
        let own = std::env::temp_dir();
        assert_eq!(refused(On::Write, Target::Under(own), Mode::Enforce), None);
        assert_eq!(refused(On::Write, Target::File("/etc/hostname".into()), Mode::Enforce), None);
    }

    #[test]
    fn all_addresses_may_not_be_denied_on_the_ports_that_packages_come_by() {
        let all = |port| Target::Address { address: "0.0.0.0".parse().expect("an address"), prefix_bits: 0, port };
        assert!(refused(On::Connect, all(None), Mode::Enforce).is_some());
        assert!(refused(On::Connect, all(Some(443)), Mode::Enforce).is_some());
        assert_eq!(refused(On::Connect, all(Some(4444)), Mode::Enforce), None);
    }
}
