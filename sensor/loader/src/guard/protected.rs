//! What no policy may stop: process 1, the loader, the shell that one rescues a machine with, and the package manager that
//! brings a mend. A policy that would is refused, whole, with the rule and the program that it would stop. The table is
//! `watertight_policy::vital`; here are the programs, `places` judges what is written and where from is started, `network` the
//! addresses.

mod network;
mod places;

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context as _, Result};
use sha2::{Digest as _, Sha256};
use watertight_policy::vital::{self, candidates, LINKERS, LOADER, PACKAGE_MANAGER, PROCESS_1, PROGRAMS};
use watertight_policy::{Mode, Operation as On, Target};
use watertight_sensor_abi::{EntryKind, PolicyKey};

use super::entries::{digest_key, identities, identity_key, place, Entries, Resolved};

/// Longest first line of a script.
const FIRST_LINE_BYTES_MAX: u64 = 256;

/// A program that must go on working, with everything that it is made of.
struct Vital {
    what: &'static str,
    why: &'static str,
    program: PathBuf,
    keys: Vec<(PolicyKey, PathBuf)>,
    digests: Vec<(PolicyKey, PathBuf)>,
}

/// Refuses a policy under which the machine could not be mended any more. Rules that only audit stop nothing. `pins` are the
/// folders that the loader pins in.
///
/// # Errors
/// Names the rule and what it would stop.
pub fn refuse_if_vital(entries: &Entries, pins: &[PathBuf]) -> Result<()> {
    let enforced: Vec<&Resolved> =
        entries.rules().iter().filter(|resolved| resolved.rule.mode == Mode::Enforce).collect();
    let starts: Vec<&Resolved> =
        enforced.iter().copied().filter(|resolved| resolved.rule.on.contains(&On::Exec)).collect();
    if !starts.is_empty() {
        let has_digests = starts.iter().any(|resolved| matches!(resolved.rule.target, Target::Sha256(_)));
        for vital in vitals(has_digests)? {
            starts.iter().try_for_each(|resolved| vital.refuse_if_stopped_by(resolved))?;
        }
        starts.iter().try_for_each(|resolved| places::refuse_if_started_from(resolved))?;
    }
    enforced.iter().try_for_each(|resolved| places::refuse_if_written(resolved, pins))?;
    network::refuse_if_unreachable(&enforced)
}

impl Vital {
    fn refuse_if_stopped_by(&self, resolved: &Resolved) -> Result<()> {
        let found = self.keys.iter().chain(&self.digests).find(|(key, _)| resolved.keys.contains(key));
        let Some((_, part)) = found else { return Ok(()) };
        let by = if *part == self.program { String::new() } else { format!(" through {}", part.display()) };
        bail!(
            "rule {} would stop {} ({}: {}){by}: take the rule out, or narrow what it matches",
            resolved.rule.id,
            self.what,
            self.program.display(),
            self.why
        )
    }
}

fn vitals(has_digests: bool) -> Result<Vec<Vital>> {
    let mut vitals = Vec::new();
    let mut known = Known::default();
    let mut seen = BTreeSet::new();
    for (what, why, program) in programs() {
        let Ok(program) = fs::canonicalize(program) else { continue };
        if !program.is_file() || !seen.insert(program.clone()) {
            continue;
        }
        let parts = known.parts(&program);
        let keys = known.keys(&parts).with_context(|| format!("looking at {}", program.display()))?;
        let digests = if has_digests { known.digests(&parts)? } else { Vec::new() };
        vitals.push(Vital { what, why, program, keys, digests });
    }
    Ok(vitals)
}

/// What this machine has of it, each with what it is to the machine.
fn programs() -> Vec<(&'static str, &'static str, PathBuf)> {
    let mut programs = vec![
        (PROCESS_1, "it runs as process 1", PathBuf::from("/proc/1/exe")),
        (LOADER, "it takes a policy away again", PathBuf::from("/proc/self/exe")),
    ];
    for group in PROGRAMS.iter().filter(|group| group.is_needed()) {
        let Some(what) = group.what else { continue };
        let named = group.names.iter().flat_map(|name| candidates(name));
        programs.extend(named.map(|program| (what, group.why, program)));
    }
    let apt = vital::RUN_FOLDERS.iter().find(|place| place.path == vital::APT_PROGRAMS);
    if let Some(place) = apt {
        programs.extend(executables(Path::new(place.path), 1).map(|program| (PACKAGE_MANAGER, place.why, program)));
    }
    programs
}

/// Executable files in a folder and so many folders below.
fn executables(folder: &Path, below: u32) -> Box<dyn Iterator<Item = PathBuf>> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    Box::new(entries.flat_map(move |entry| -> Box<dyn Iterator<Item = PathBuf>> {
        let path = entry.path();
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() && below > 0 => executables(&path, below.saturating_sub(1)),
            Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => Box::new(std::iter::once(path)),
            _ => Box::new(std::iter::empty()),
        }
    }))
}

/// Most programs share their interpreters and libraries: each file is looked at once.
#[derive(Default)]
struct Known {
    libraries: BTreeMap<PathBuf, Vec<PathBuf>>,
    keys: BTreeMap<PathBuf, Vec<PolicyKey>>,
    digests: BTreeMap<PathBuf, PolicyKey>,
}

impl Known {
    /// The program, its interpreter if it is a script, the program loader and the libraries.
    fn parts(&mut self, program: &Path) -> Vec<PathBuf> {
        let mut parts = vec![program.to_owned()];
        let binaries = interpreters(program).unwrap_or_else(|| vec![program.to_owned()]);
        parts.extend(binaries.iter().filter(|binary| *binary != program).cloned());
        for binary in binaries {
            let libraries = self.libraries.entry(binary).or_insert_with_key(|binary| libraries(binary));
            parts.extend(libraries.iter().cloned());
        }
        parts
    }

    /// Every key by which an entry of the kernel's table could match a part.
    fn keys(&mut self, parts: &[PathBuf]) -> Result<Vec<(PolicyKey, PathBuf)>> {
        let mut keys = Vec::new();
        for part in parts {
            let of_part = match self.keys.entry(part.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(keys_of(part)?),
            };
            keys.extend(of_part.iter().map(|key| (*key, part.clone())));
        }
        Ok(keys)
    }

    /// The keys of the parts' contents.
    fn digests(&mut self, parts: &[PathBuf]) -> Result<Vec<(PolicyKey, PathBuf)>> {
        let mut digests = Vec::new();
        for part in parts {
            let key = match self.digests.entry(part.clone()) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    let bytes = fs::read(part).with_context(|| format!("reading {}", part.display()))?;
                    *new.insert(digest_key(&Sha256::digest(bytes).into()))
                }
            };
            digests.push((key, part.clone()));
        }
        Ok(digests)
    }
}

/// Of a script: what its first line names, and what `env` is told to start. `None` for others.
fn interpreters(program: &Path) -> Option<Vec<PathBuf>> {
    let mut line = Vec::new();
    fs::File::open(program).ok()?.take(FIRST_LINE_BYTES_MAX).read_to_end(&mut line).ok()?;
    let line = line.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line).into_owned();
    let mut words = line.split_whitespace();
    let first = PathBuf::from(words.next()?);
    let is_env = first.ends_with("env");
    let second = words.find(|word| !word.starts_with('-')).filter(|_| is_env);
    let second = second.and_then(|name| candidates(name).find(|path| path.is_file()));
    Some(std::iter::once(first).chain(second).filter_map(|path| fs::canonicalize(path).ok()).collect())
}

/// The program loader and the libraries of a binary; none where it is a static one.
fn libraries(binary: &Path) -> Vec<PathBuf> {
    let mut parts = Vec::new();
    for linker in LINKERS.iter().map(Path::new).filter(|linker| linker.exists()) {
        let listed = Command::new(linker).arg("--list").arg(binary).stdin(Stdio::null()).output();
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

/// By itself, by its place, by its folders.
fn keys_of(part: &Path) -> Result<Vec<PolicyKey>> {
    let mut keys = Vec::new();
    let own = identities(&[part.to_owned()])?;
    keys.extend(own.into_iter().map(|identity| identity_key(EntryKind::File, identity)));
    keys.extend(place(part)?);
    let folders: Vec<PathBuf> = part.ancestors().skip(1).map(Path::to_owned).collect();
    keys.extend(identities(&folders)?.into_iter().map(|identity| identity_key(EntryKind::Folder, identity)));
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use watertight_policy::{Action, Rule};

    use super::*;

    fn refused(on: On, target: Target, mode: Mode) -> Option<String> {
        all_refused(vec![(on, target)], mode)
    }

    fn all_refused(rules: Vec<(On, Target)>, mode: Mode) -> Option<String> {
        let rule = |(on, target)| Rule { id: "bad".into(), action: Action::Deny, on: vec![on], target, mode };
        let rules: Vec<Rule> = rules.into_iter().map(rule).collect();
        let entries = Entries::resolve(&rules).expect("it resolves");
        let pins = [PathBuf::from("/sys/fs/bpf/watertight"), PathBuf::from("/sys/fs/bpf/watertight-guard")];
        refuse_if_vital(&entries, &pins).err().map(|error| format!("{error:#}"))
    }

    #[test]
    fn the_shell_its_folder_its_library_and_its_contents_may_not_be_denied() {
        let shell = fs::canonicalize("/bin/sh").expect("a shell");
        let library = Known::default().parts(&shell).into_iter().find(|part| part.to_string_lossy().contains("libc"));
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
    fn what_the_package_manager_starts_may_not_be_denied_whichever_way_it_is_named() {
        // Where there is none of them, nothing of them can be stopped.
        if !Path::new("/usr/bin/dpkg").exists() {
            return;
        }
        let names = ["tar", "rm", "ldconfig", "start-stop-daemon", "dpkg-split", "dpkg-query", "diff"];
        let programs = names.into_iter().filter_map(|name| candidates(name).find(|path| path.is_file()));
        let methods = executables(Path::new(vital::APT_PROGRAMS), 1).take(3);
        for program in programs.chain(methods) {
            let target = Target::File(program.clone());
            let why = refused(On::Exec, target, Mode::Enforce).unwrap_or_else(|| panic!("{program:?} was taken"));
            assert!(why.contains(PACKAGE_MANAGER), "{why}");
        }
        let contents: [u8; 32] = Sha256::digest(fs::read("/usr/bin/dpkg").expect("readable")).into();
        let why = refused(On::Exec, Target::Sha256(contents), Mode::Enforce).expect("it was taken");
        assert!(why.contains(PACKAGE_MANAGER), "{why}");
        for folder in
            ["/usr/lib/apt", "/usr/lib/apt/methods", "/var", "/var/lib", "/var/lib/dpkg", "/var/lib/dpkg/info"]
        {
            let why = refused(On::Exec, Target::Under(folder.into()), Mode::Enforce);
            assert!(why.is_some_and(|why| why.contains(PACKAGE_MANAGER)), "{folder}");
        }
        let own = Target::File("/var/lib/dpkg/info/of-a-package.postinst".into());
        assert!(refused(On::Exec, own, Mode::Enforce).is_some(), "a script of a package");
        for folder in ["/var/log", "/var/cache", "/usr/share/doc"] {
            assert_eq!(refused(On::Exec, Target::Under(folder.into()), Mode::Enforce), None, "{folder}");
        }
    }

    #[test]
    fn an_interpreter_of_a_vital_script_is_vital() {
        let folder = std::env::temp_dir().join(format!("watertight-protected-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("our own folder");
        let script = folder.join("script");
        let shell = fs::canonicalize("/bin/sh").expect("a shell");
        for line in ["#!/bin/sh -e\nexit\n", "#! /usr/bin/env sh\n", "#!/usr/bin/env -S sh -e\n"] {
            fs::write(&script, line).expect("our own file");
            assert!(Known::default().parts(&script).contains(&shell), "{line}");
        }
        fs::write(&script, "exit\n").expect("our own file");
        assert_eq!(Known::default().parts(&script), std::slice::from_ref(&script));
        fs::remove_dir_all(&folder).expect("our own folder");
    }

    #[test]
    fn what_the_package_manager_writes_may_not_be_denied_as_a_whole() {
        let folders =
            ["/", "/usr", "/etc", "/var/lib/dpkg", "/var/lib", "/var/lib/dpkg/info", "/tmp", "/var/log", "/usr/lib"];
        let libraries = Known::default().parts(&fs::canonicalize("/bin/sh").expect("a shell")).into_iter().skip(1);
        let libraries = libraries.filter_map(|library| library.parent().map(Path::to_owned));
        for folder in folders.into_iter().map(PathBuf::from).filter(|folder| folder.exists()).chain(libraries) {
            for on in [On::Write, On::Unlink, On::Rename] {
                let why = refused(on, Target::Under(folder.clone()), Mode::Enforce);
                assert!(why.is_some_and(|why| why.contains("rule bad would stop")), "{folder:?}");
                assert_eq!(refused(on, Target::Under(folder.clone()), Mode::Audit), None);
            }
        }
        for file in ["/var/lib/dpkg/status", "/dev/null", "/etc/ld.so.cache"] {
            assert!(refused(On::Write, Target::File(file.into()), Mode::Enforce).is_some(), "{file}");
        }
        let own = std::env::temp_dir().join(format!("watertight-own-{}", std::process::id()));
        fs::create_dir_all(&own).expect("our own folder");
        assert_eq!(refused(On::Write, Target::Under(own.clone()), Mode::Enforce), None);
        fs::remove_dir_all(&own).expect("our own folder");
        for file in ["/etc/hostname", "/tmp/a-file", "/var/log/dpkg.log", "/usr/share/doc/a-file"] {
            assert_eq!(refused(On::Write, Target::File(file.into()), Mode::Enforce), None, "{file}");
        }
    }

    #[test]
    fn what_the_loader_writes_may_not_be_denied() {
        let ours = [
            Target::Under("/sys".into()),
            Target::Under("/sys/fs/bpf".into()),
            Target::Under("/sys/fs/bpf/watertight".into()),
            Target::File("/sys/fs/bpf/watertight-guard".into()),
            Target::Under("/run/watertight".into()),
            Target::File("/run/watertight/loader.lock".into()),
        ];
        for target in ours {
            for on in [On::Write, On::Unlink, On::Rename] {
                let why = refused(on, target.clone(), Mode::Enforce).unwrap_or_else(|| panic!("{target:?} was taken"));
                assert!(why.contains(LOADER), "{why}");
            }
        }
        assert_eq!(refused(On::Write, Target::File("/sys/fs/bpf/other".into()), Mode::Enforce), None);
    }

    fn network(address: &str, port: Option<u16>) -> (On, Target) {
        let (address, bits) = address.split_once('/').expect("a range");
        let (address, prefix_bits) = (address.parse().expect("an address"), bits.parse().expect("a number"));
        (On::Connect, Target::Address { address, prefix_bits, port })
    }

    #[test]
    fn all_addresses_may_not_be_denied_in_one_rule_or_in_many() {
        let refused = |ranges: &[&str], port| {
            all_refused(ranges.iter().map(|range| network(range, port)).collect(), Mode::Enforce).is_some()
        };
        for port in [None, Some(53), Some(80), Some(443)] {
            assert!(refused(&["0.0.0.0/0"], port));
            assert!(refused(&["::/0"], port), "IPv4 is a part of it");
            assert!(refused(&["0.0.0.0/1", "128.0.0.0/1"], port));
            assert!(refused(&["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/3"], port), "the rest is no peer's");
            assert!(!refused(&["128.0.0.0/1"], port));
            assert!(!refused(&["0.0.0.0/2", "128.0.0.0/1"], port));
        }
        assert!(!refused(&["0.0.0.0/1", "128.0.0.0/1"], Some(4444)));
        let mixed = vec![network("0.0.0.0/1", None), network("128.0.0.0/1", Some(443))];
        assert!(all_refused(mixed, Mode::Enforce).is_some(), "together they cover port 443");
        let apart = vec![network("0.0.0.0/1", Some(80)), network("128.0.0.0/1", Some(443))];
        assert_eq!(all_refused(apart, Mode::Enforce), None, "no port is denied on all of it");
        let halves = vec![network("0.0.0.0/1", None), network("128.0.0.0/1", None)];
        assert_eq!(all_refused(halves, Mode::Audit), None);
    }

    #[test]
    fn this_machines_own_addresses_may_not_be_denied_as_a_whole() {
        let refused = |range: &str, port| all_refused(vec![network(range, port)], Mode::Enforce).is_some();
        assert!(refused("127.0.0.0/8", None) && refused("127.0.0.0/8", Some(53)));
        assert!(!refused("127.0.0.0/8", Some(4446)) && !refused("127.0.0.2/32", None));
        let halves = vec![network("127.0.0.0/9", None), network("127.128.0.0/9", None)];
        assert!(all_refused(halves, Mode::Enforce).is_some());
    }
}
