//! A control group for each worker: bounds on memory, processor time and tasks that the kernel keeps for all of the worker together,
//! whatever becomes of those that it has set for itself.
//!
//! Version 2 alone, and only where this process may make groups without taking anything from others: below the root of the hierarchy,
//! or in a service's group that systemd has given away. Where that is not so the workers have their own bounds, and it is said.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What bounds are made of.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
/// In which processor time is counted; a share of it is a share of one processor.
const PERIOD_US: u64 = 100_000;
/// One processor, of however many there are: no worker computes with more than one thread.
const PROCESSORS_MAX: u64 = 1;
/// Two threads are the most that a worker has.
const TASKS_MAX: u64 = 8;
/// What every folder of a run is called, with its process behind it.
const PREFIX: &str = "watertight-";
/// Where this process goes where its own group is to have groups in it: one with both is not allowed.
const SUPERVISOR: &str = "supervisor";
const DELEGATED: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// Memory of a worker, bytes: what it may have for itself (`worker::sandbox::limits`) and half as much for what the kernel keeps for it.
fn memory_bytes_max(worker: &str) -> u64 {
    match worker {
        "load" => 192 << 20,
        "sources" => 384 << 20,
        _ => 768 << 20,
    }
}

/// The groups of this run's workers.
#[derive(Debug)]
pub struct Groups {
    folder: PathBuf,
    controllers: Vec<&'static str>,
}

static OF_THIS_RUN: OnceLock<Result<Groups, String>> = OnceLock::new();

/// Makes the folder of this run's groups. From here on every worker gets one.
pub fn begin() {
    let _ = OF_THIS_RUN.set(Groups::make()); // there is one run a process
}

/// Takes the folder away; the workers are gone.
pub fn end() {
    if let Some(Ok(groups)) = OF_THIS_RUN.get() {
        remove(&groups.folder);
    }
}

/// A worker's place in its group.
#[derive(Clone, Debug, Default)]
pub struct Member {
    group: Option<PathBuf>,
    /// In words: its bounds, or why there are none.
    pub words: String,
    /// Processes of the group that the kernel had ended for want of memory before this one came.
    ended_before: u64,
}

impl Member {
    /// Puts a process into the group of its kind.
    #[must_use]
    pub fn put(worker: &str, pid: u32) -> Self {
        let none = |why: &str| Self { words: format!("none: {why}"), ..Self::default() };
        match OF_THIS_RUN.get() {
            None => none("only a run has some"),
            Some(Err(why)) => none(why),
            Some(Ok(groups)) => groups.put(worker, pid).unwrap_or_else(|error| none(&error)),
        }
    }

    /// Why the kernel ended it, if it was for want of memory in its group.
    #[must_use]
    pub fn end(&self) -> Option<String> {
        let group = self.group.as_ref()?;
        (ended(group) > self.ended_before).then(|| format!("used up the memory of its control group ({})", self.words))
    }
}

impl Groups {
    fn make() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("root alone makes control groups".into());
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mount = mount_in(&mounts).ok_or("no control groups of version 2 are mounted")?;
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own_in(&own).ok_or("our own control group is not known")?;
        let group = mount.join(own.trim_start_matches('/'));
        Self::below(&group, own == "/", std::process::id())
    }

    /// The folder of the run with this process id, in this group of its own.
    fn below(own: &Path, is_root: bool, run: u32) -> Result<Self, String> {
        let found = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
        let mut controllers: Vec<&'static str> = CONTROLLERS.into();
        controllers.retain(|wanted| found.split_whitespace().any(|one| one == *wanted));
        if controllers.is_empty() {
            return Err("no controller of memory, processor time or tasks is of version 2 here".into());
        }
        if !is_root {
            move_out(own, run)?;
        }
        sweep(own);
        let folder = own.join(format!("{PREFIX}{run}"));
        enable(own, &mut controllers);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        enable(&folder, &mut controllers);
        if controllers.is_empty() {
            remove(&folder);
            return Err(format!("{} gives no controller to groups below it", own.display()));
        }
        Ok(Self { folder, controllers })
    }

    fn put(&self, worker: &str, pid: u32) -> Result<Member, String> {
        let group = self.folder.join(worker);
        let failed = |file: &Path, error: std::io::Error| format!("{}: {error}", file.display());
        fs::create_dir_all(&group).map_err(|error| failed(&group, error))?;
        let memory = memory_bytes_max(worker);
        let mut words = Vec::new();
        for controller in &self.controllers {
            let (file, bound, in_words) = match *controller {
                "memory" => ("memory.max", memory.to_string(), format!("memory {} MiB", memory >> 20)),
                "cpu" => {
                    let share = PERIOD_US.saturating_mul(PROCESSORS_MAX);
                    ("cpu.max", format!("{share} {PERIOD_US}"), format!("processors {PROCESSORS_MAX}"))
                }
                _ => ("pids.max", TASKS_MAX.to_string(), format!("tasks {TASKS_MAX}")),
            };
            let file = group.join(file);
            fs::write(&file, bound).map_err(|error| failed(&file, error))?;
            words.push(in_words);
        }
        let ended_before = ended(&group);
        let members = group.join("cgroup.procs");
        fs::write(&members, pid.to_string()).map_err(|error| failed(&members, error))?;
        Ok(Member { group: Some(group), words: words.join(", "), ended_before })
    }
}

/// Out of the way of the groups that are to be made in our own.
fn move_out(own: &Path, run: u32) -> Result<(), String> {
    let is_ours = DELEGATED.iter().any(|name| {
        let mut value = [0; 8];
        matches!(rustix::fs::getxattr(own, *name, &mut value), Ok(1..)) && value.first() == Some(&b'1')
    });
    if !is_ours {
        return Err("our control group is not ours to divide: start the run as a service with `Delegate=yes`".into());
    }
    let members = fs::read_to_string(own.join("cgroup.procs")).unwrap_or_default();
    if members.lines().any(|pid| pid.parse() != Ok(run)) {
        return Err("there are other processes in our control group: start the run as a service of its own".into());
    }
    let group = own.join(SUPERVISOR);
    let moved = fs::create_dir_all(&group).and_then(|()| fs::write(group.join("cgroup.procs"), run.to_string()));
    moved.map_err(|error| format!("{}: {error}", group.display()))
}

/// Hands the controllers on to groups below this one; those that it can't are left out.
fn enable(group: &Path, controllers: &mut Vec<&'static str>) {
    let file = group.join("cgroup.subtree_control");
    controllers.retain(|controller| fs::write(&file, format!("+{controller}")).is_ok());
}

/// What runs have left that were killed.
fn sweep(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if run.is_some_and(|run| !Path::new("/proc").join(run.to_string()).exists()) {
            remove(&entry.path());
        }
    }
}

/// A group goes only when nothing is in it.
fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let _ = fs::remove_dir(entry.path()); // the files of a group go with it
    }
    let _ = fs::remove_dir(folder); // the next run sweeps
}

/// How many processes the kernel has ended in this group for want of memory.
fn ended(group: &Path) -> u64 {
    let events = fs::read_to_string(group.join("memory.events")).unwrap_or_default();
    let events: BTreeMap<&str, &str> = events.lines().filter_map(|line| line.split_once(' ')).collect();
    events.get("oom_kill").and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Where the hierarchy of version 2 is mounted.
fn mount_in(mounts: &str) -> Option<PathBuf> {
    let of_version_2 = |line: &&str| line.split_once(" - ").is_some_and(|(_, kind)| kind.starts_with("cgroup2 "));
    mounts.lines().find(of_version_2).and_then(|line| line.split(' ').nth(4)).map(PathBuf::from)
}

/// Our own group in it; none where it lies outside of what we see.
fn own_in(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| !path.contains(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As files of a folder, which take whatever is written: what the kernel makes of it shows in a guest.
    fn tree(controllers: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("cgroup.controllers"), controllers).expect("a file");
        folder
    }

    #[test]
    fn a_worker_gets_the_bounds_that_the_kernel_has_controllers_for() {
        let tree = tree("cpuset memory pids\n");
        let groups = Groups::below(tree.path(), true, 7).expect("two controllers");
        let member = groups.put("detector", 99).expect("files");
        assert_eq!(member.words, "memory 768 MiB, tasks 8");
        let said = |name: &str| fs::read_to_string(tree.path().join("watertight-7/detector").join(name));
        assert_eq!(said("memory.max").expect("it is bounded"), (768_u64 << 20).to_string());
        assert_eq!(said("cgroup.procs").expect("it is in"), "99");
        assert!(said("cpu.max").is_err(), "no controller of that");
    }

    #[test]
    fn where_there_is_no_controller_that_is_said() {
        let tree = tree("hugetlb\n");
        assert!(Groups::below(tree.path(), true, 7).is_err_and(|why| why.contains("no controller of memory")));
    }

    #[test]
    fn a_group_that_others_have_given_us_no_right_to_is_left_alone() {
        let tree = tree("memory\n");
        assert!(Groups::below(tree.path(), false, 7).is_err_and(|why| why.contains("Delegate=yes")));
        assert_eq!(fs::read_dir(tree.path()).expect("a folder").count(), 1, "nothing was made in it");
    }

    #[test]
    fn a_worker_that_the_kernel_ended_for_want_of_memory_is_told_from_one_that_somebody_killed() {
        let tree = tree("memory\n");
        let groups = Groups::below(tree.path(), true, 7).expect("a controller");
        let events = tree.path().join("watertight-7/load/memory.events");
        groups.put("load", 1).expect("files");
        fs::write(&events, "low 0\noom 3\noom_kill 2\n").expect("a file");
        let member = groups.put("load", 99).expect("files");
        assert_eq!(member.end(), None, "those were others");
        fs::write(&events, "low 0\noom 4\noom_kill 3\n").expect("a file");
        assert!(member.end().is_some_and(|why| why.contains("control group (memory 192 MiB")));
    }

    #[test]
    fn what_a_killed_run_has_left_goes_with_the_next() {
        let tree = tree("memory\n");
        let (gone, here) = (tree.path().join("watertight-4294967295"), tree.path().join("watertight-1"));
        fs::create_dir_all(gone.join("load")).expect("a folder");
        fs::create_dir_all(&here).expect("a folder");
        Groups::below(tree.path(), true, std::process::id()).expect("a controller");
        assert!(!gone.exists() && here.exists());
    }

    #[test]
    fn our_group_is_found_beside_those_of_version_1_and_not_outside_of_a_container() {
        let mounts = "31 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      42 23 0:37 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_in(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_in("31 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"), None);
        assert_eq!(
            own_in("4:memory:/a\n0::/system.slice/watertight.service\n"),
            Some("/system.slice/watertight.service")
        );
        assert_eq!(own_in("0::/../../elsewhere\n"), None);
    }
}
