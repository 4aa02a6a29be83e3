//! The exec rules of a policy as files and folders to mark, and everything that can't be denied this way, each with its
//! reason. What is found is kept open, so that what was judged is what gets marked.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{fstatfs, Mode as FileMode, OFlags};
use watertight_policy::{Mode, Operation, Policy, Rule, Target};

use super::page::MARKS_MAX;
use super::vital::Vital;
use crate::guard::RefusedRule;

/// Most folders: each takes an fanotify group of its own, of which the kernel gives a user 128.
const FOLDERS_MAX: usize = 64;

/// File systems whose answers wait for another machine or process: fuse, nfs, cifs, smb2, 9p, ceph, afs.
const REMOTE: [i64; 7] = [0x6573_5546, 0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x00c3_6400, 0x5346_414f];

/// One file or folder to mark.
#[derive(Debug)]
pub struct Entry {
    /// The rule's id.
    pub rule: String,
    /// Deny or count.
    pub mode: Mode,
    /// The path in the rule.
    pub path: PathBuf,
    /// Its direct children are meant, not itself.
    pub is_folder: bool,
    /// Device and inode.
    pub identity: (u64, u64),
    pub(super) file: OwnedFd,
}

/// What will be marked, and what not.
#[derive(Debug, Default)]
pub struct Plan {
    /// At most [`MARKS_MAX`].
    pub entries: Vec<Entry>,
    /// Rules, or operations of rules, that are not in force.
    pub left_out: Vec<RefusedRule>,
}

impl Plan {
    /// Looks up the files and folders of every exec rule. `loader` is never marked.
    #[must_use]
    pub fn of(policy: &Policy, loader: Option<&Path>) -> Self {
        let vital = Vital::of_this_machine(loader);
        let mut plan = Self::default();
        for rule in &policy.rules {
            let outcome = plan.add(rule, &vital);
            let others: Vec<&str> =
                rule.on.iter().filter(|on| **on != Operation::Exec).map(|operation| operation.name()).collect();
            let why = match outcome {
                Err(why) => why,
                Ok(()) if !others.is_empty() => {
                    format!("only exec is denied here; {} needs BPF LSM", others.join(", "))
                }
                Ok(()) => continue,
            };
            plan.left_out.push(RefusedRule { id: rule.id.clone(), why });
        }
        plan
    }

    fn add(&mut self, rule: &Rule, vital: &Vital) -> Result<(), String> {
        if !rule.on.contains(&Operation::Exec) {
            return Err("fanotify can deny exec only: the other operations need BPF LSM".into());
        }
        let (path, is_folder) = match &rule.target {
            Target::File(path) => (path, false),
            Target::Under(path) => (path, true),
            Target::Sha256(_) => return Err("fanotify can't match contents: name the file, or have BPF LSM".into()),
            Target::Address { .. } => return Err("an address is not met on exec".into()),
        };
        let folders = self.entries.iter().filter(|entry| entry.is_folder).count();
        if self.entries.len() >= MARKS_MAX || (is_folder && folders >= FOLDERS_MAX) {
            return Err(format!(
                "it is beyond the {MARKS_MAX} files, {FOLDERS_MAX} folders among them, that are marked"
            ));
        }
        let (file, identity) = look_up(path, is_folder, vital)?;
        let (rule, mode, path) = (rule.id.clone(), rule.mode, path.clone());
        self.entries.push(Entry { rule, mode, path, is_folder, identity, file });
        Ok(())
    }
}

/// Opens what the path names, if it may be marked.
fn look_up(path: &Path, is_folder: bool, vital: &Vital) -> Result<(OwnedFd, (u64, u64)), String> {
    let shown = path.display();
    let real = std::fs::canonicalize(path).map_err(|error| format!("{shown}: {error}: create it, then apply again"))?;
    // Judged by metadata first: opening a device or a FIFO may have effects or never return.
    let found = std::fs::symlink_metadata(&real).map_err(|error| format!("{shown}: {error}"))?;
    let is_right_kind = if is_folder { found.is_dir() } else { found.is_file() };
    if !is_right_kind {
        let mend = if is_folder { "is no folder: use file" } else { "is no regular file: use under for a folder" };
        return Err(format!("{shown} {mend}"));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&real, flags, FileMode::empty()).map_err(|error| format!("{shown}: {error}"))?;
    let opened = std::fs::File::from(file);
    let identity = opened.metadata().map(|opened| (opened.dev(), opened.ino())).map_err(|error| error.to_string())?;
    if identity != (found.dev(), found.ino()) {
        return Err(format!("{shown} was replaced while it was looked at: apply again"));
    }
    if let Some(why) = vital.refusal(&real, identity, is_folder) {
        return Err(format!("{shown} is not marked: {why}; a stopped listener would stop the machine with it"));
    }
    let file = OwnedFd::from(opened);
    refuse_remote(file.as_fd()).map_err(|why| format!("{shown} {why}"))?;
    Ok((file, identity))
}

fn refuse_remote(file: impl AsFd) -> Result<(), String> {
    let kind = fstatfs(file).map_err(|error| format!("has no readable file system: {error}"))?.f_type;
    if REMOTE.contains(&kind) {
        return Err("lies on a file system whose answers wait for another machine or process".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use watertight_policy::Action;

    use super::*;

    fn plan(on: &[Operation], target: Target) -> Plan {
        let rule = Rule { id: "r".into(), action: Action::Deny, on: on.to_vec(), target, mode: Mode::Enforce };
        Plan::of(&Policy { version: 1, fallback_deny: true, rules: vec![rule] }, None)
    }

    fn only_why(plan: &Plan) -> &str {
        assert!(plan.entries.is_empty(), "{plan:?}");
        &plan.left_out[0].why
    }

    #[test]
    fn what_fanotify_can_not_deny_is_left_out_by_name() {
        assert!(only_why(&plan(&[Operation::Write], Target::File("/tmp".into()))).contains("exec only"));
        assert!(only_why(&plan(&[Operation::Exec], Target::Sha256([1; 32]))).contains("contents"));
        assert!(only_why(&plan(&[Operation::Exec], Target::File("/there/is/none".into()))).contains("create it"));
        assert!(only_why(&plan(&[Operation::Exec], Target::File("/tmp".into()))).contains("no regular file"));
        assert!(only_why(&plan(&[Operation::Exec], Target::File("/dev/null".into()))).contains("no regular file"));
    }

    #[test]
    fn the_system_is_left_out_with_the_reason() {
        assert!(only_why(&plan(&[Operation::Exec], Target::Under("/usr/bin".into()))).contains("not marked"));
        assert!(only_why(&plan(&[Operation::Exec], Target::File("/bin/sh".into()))).contains("not marked"));
    }

    #[test]
    fn an_exec_rule_on_more_operations_is_in_force_in_part() {
        let folder = std::env::temp_dir().join(format!("watertight-plan-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let plan = plan(&[Operation::Exec, Operation::Write], Target::Under(folder.clone()));
        std::fs::remove_dir_all(&folder).expect("our own folder");
        assert_eq!(plan.entries.len(), 1);
        assert!(plan.left_out[0].why.contains("write needs BPF LSM"));
    }
}
