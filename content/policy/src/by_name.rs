//! What a policy would stop on any machine, by the names in it alone: the publisher's look at deny rules, long before a machine is
//! asked.
//!
//! The loader judges the same by identity on the machine itself, through every link and mount, and has the last word. This look is
//! coarser and needs no machine, so it can be taken where a pack is built for a fleet.

use std::path::{Path, PathBuf};

use crate::vital::{candidates, BOOK_FOLDERS, LINKERS, PROGRAMS, PROGRAM_FOLDERS, RUN_FOLDERS};
use crate::vital::{WRITTEN_FILES, WRITTEN_FOLDERS};
use crate::{Mode, Operation, Policy, Rule, Target};

/// A deny rule that machines could not be started or mended with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule} would stop {}: {why}: take the rule out, or narrow what it matches", what.display())]
pub struct StopsByName {
    /// The rule's id.
    pub rule: String,
    /// The program, folder or file.
    pub what: PathBuf,
    /// What it is needed for.
    pub why: &'static str,
}

/// Refuses a policy that names what machines are started and mended with. Rules that only audit stop nothing.
///
/// # Errors
/// The first rule that does.
pub fn refuse_vital_by_name(policy: &Policy) -> Result<(), StopsByName> {
    policy.rules.iter().filter(|rule| rule.mode == Mode::Enforce).try_for_each(|rule| match stopped_by(rule) {
        Some((what, why)) => Err(StopsByName { rule: rule.id.clone(), what: what.to_owned(), why }),
        None => Ok(()),
    })
}

fn stopped_by(rule: &Rule) -> Option<(&Path, &'static str)> {
    let is_started = rule.on.contains(&Operation::Exec);
    let is_changed = rule.on.iter().any(|on| matches!(on, Operation::Write | Operation::Unlink | Operation::Rename));
    let started = |path| if is_started { needed_to_start(path, &rule.target) } else { None };
    let changed = |path| if is_changed { needed_to_change(path, &rule.target) } else { None };
    match &rule.target {
        Target::File(path) | Target::Under(path) => {
            let why = started(path).or_else(|| changed(path))?;
            Some((path, why))
        }
        Target::Sha256(_) | Target::Address { .. } => None,
    }
}

/// Why a program must go on starting, or what lies in a folder.
fn needed_to_start(path: &Path, target: &Target) -> Option<&'static str> {
    if matches!(target, Target::Under(_)) {
        let is_above = |place: &str| Path::new(place).starts_with(path);
        let run = RUN_FOLDERS.iter().find(|place| is_above(place.path) || path.starts_with(place.path));
        let has_programs = PROGRAM_FOLDERS.into_iter().chain(LINKERS).any(is_above);
        return run
            .map(|place| place.why)
            .or(has_programs.then_some("programs that machines are mended with lie in it"));
    }
    if LINKERS.iter().any(|linker| Path::new(linker) == path) {
        return Some("every program with libraries is started through it");
    }
    let vital = PROGRAMS.iter().filter(|programs| programs.what.is_some());
    let mut named = vital.filter(|programs| programs.names.iter().any(|name| candidates(name).any(|one| one == path)));
    named.next().map(|programs| programs.why)
}

/// Why a file or folder must go on being written.
fn needed_to_change(path: &Path, target: &Target) -> Option<&'static str> {
    if matches!(target, Target::File(_)) {
        return WRITTEN_FILES.iter().find(|place| Path::new(place.path) == path).map(|place| place.why);
    }
    let is_above = |place: &str| Path::new(place).starts_with(path);
    let written = WRITTEN_FOLDERS.iter().chain(&WRITTEN_FILES).find(|place| is_above(place.path));
    let books = BOOK_FOLDERS.iter().find(|place| is_above(place.path) || path.starts_with(place.path));
    written.or(books).map(|place| place.why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, VERSION};

    fn refused(on: &[Operation], target: Target, mode: Mode) -> Option<StopsByName> {
        let rule = Rule { id: "a".to_owned(), action: Action::Deny, on: on.to_vec(), target, mode };
        refuse_vital_by_name(&Policy { version: VERSION, fallback_deny: false, rules: vec![rule] }).err()
    }

    #[test]
    fn a_rule_that_names_what_machines_are_started_and_mended_with_is_refused() {
        for file in
            ["/sbin/init", "/usr/lib/systemd/systemd", "/bin/sh", "/usr/bin/dpkg", "/usr/bin/apt-get", "/usr/bin/rpm"]
        {
            let refused = refused(&[Operation::Exec], Target::File(file.into()), Mode::Enforce).expect(file);
            assert!(refused.to_string().contains(file) && refused.rule == "a", "{refused}");
        }
        for under in
            ["/usr", "/usr/bin", "/bin", "/var/lib/dpkg", "/var/lib/dpkg/info", "/usr/lib/apt/methods", "/lib64"]
        {
            assert!(refused(&[Operation::Exec], Target::Under(under.into()), Mode::Enforce).is_some(), "{under}");
        }
        for under in ["/etc", "/var/lib/dpkg/updates", "/var", "/usr/share"] {
            assert!(refused(&[Operation::Write], Target::Under(under.into()), Mode::Enforce).is_some(), "{under}");
        }
        assert!(refused(&[Operation::Unlink], Target::File("/dev/null".into()), Mode::Enforce).is_some());
    }

    #[test]
    fn a_rule_that_only_audits_or_names_something_else_is_not() {
        assert_eq!(refused(&[Operation::Exec], Target::File("/bin/sh".into()), Mode::Audit), None);
        assert_eq!(refused(&[Operation::Exec], Target::File("/opt/tools/sh".into()), Mode::Enforce), None);
        assert_eq!(refused(&[Operation::Exec], Target::Under("/opt".into()), Mode::Enforce), None);
        assert_eq!(refused(&[Operation::Write], Target::Under("/etc/ssh".into()), Mode::Enforce), None);
        assert_eq!(refused(&[Operation::Write], Target::File("/bin/sh".into()), Mode::Enforce), None);
    }
}
