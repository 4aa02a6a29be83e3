//! Reads what `/proc` says of a process: for the first process tree, and to enrich an exec.
//!
//! Every file is read through one descriptor of `/proc/PID`, which stays with *that* process: when it ends and its number
//! is reused, reads fail instead of telling the new process's story. All is best effort; a process may vanish half-way.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::container::{cgroup_path, Container};

/// Most bytes read of `stat`, `status` or `cgroup`. They are a few kilobytes at most, unless a process has very many groups.
pub(crate) const MAX_FILE_BYTES: usize = 64 * 1024;

/// Most bytes of a command line. The kernel allows 2 MiB and more; rules look at the first part, and a snapshot of 10,000
/// processes must stay small.
pub const MAX_COMMAND_LINE_BYTES: usize = 32 * 1024;

/// What the kernel appends to the link of a program whose file was removed.
const DELETED: &[u8] = b" (deleted)";

/// One identity in its four forms, as in `/proc/PID/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// Whose rights it has.
    pub effective: u32,
    /// What it may switch back to.
    pub saved: u32,
    /// Whose rights it has to files.
    pub filesystem: u32,
}

/// Namespaces by inode number; `None` where the link could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Mounts.
    pub mount: Option<u64>,
    /// Process ids.
    pub pid: Option<u64>,
    /// Network.
    pub network: Option<u64>,
    /// Users.
    pub user: Option<u64>,
    /// Control groups.
    pub cgroup: Option<u64>,
    /// Host name.
    pub uts: Option<u64>,
    /// System V IPC.
    pub ipc: Option<u64>,
}

/// A process as `/proc` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Parent's process id; 0 for those that the kernel started.
    pub parent_pid: i32,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
    /// State letter (`R`, `S`, `Z`...).
    pub state: u8,
    /// Start in clock ticks since boot. With the pid, it names the process for as long as the machine is up.
    pub start_ticks: u64,
    /// Name, at most 15 bytes, settable by the process itself.
    pub name: Vec<u8>,
    /// Program file; `None` for kernel threads, or where we may not look.
    pub executable: Option<PathBuf>,
    /// The program file has been removed (or never had a name: memfd).
    pub executable_deleted: bool,
    /// Arguments, settable by the process itself. Empty for kernel threads and zombies.
    pub arguments: Vec<Vec<u8>>,
    /// The command line was longer than [`MAX_COMMAND_LINE_BYTES`].
    pub arguments_truncated: bool,
    /// Working directory.
    pub directory: Option<PathBuf>,
    /// Users.
    pub users: Ids,
    /// Groups.
    pub groups: Ids,
    /// Effective capabilities, as a bit set.
    pub capabilities_effective: u64,
    /// Process that traces this one; 0 for none.
    pub tracer_pid: i32,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: u8,
    /// The process can't gain privileges by exec.
    pub no_new_privileges: bool,
    /// Its id in its own PID namespace.
    pub namespace_pid: Option<i32>,
    /// Control group path.
    pub cgroup: Option<String>,
    /// Container, where the control group's name tells one.
    pub container: Option<Container>,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// The process ended while it was read: there are gaps.
    pub vanished: bool,
}

impl Process {
    /// Reads one process, or `None` when there is none of that id (any more).
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        let folder = open_folder(pid)?;
        let stat = Stat::parse(&read_file(&folder, "stat", MAX_FILE_BYTES).ok()?.bytes)?;
        let mut process = Self {
            pid,
            parent_pid: stat.parent_pid,
            group: stat.group,
            session: stat.session,
            state: stat.state,
            start_ticks: stat.start_ticks,
            name: stat.name,
            ..Self::default()
        };
        if let Ok(status) = read_file(&folder, "status", MAX_FILE_BYTES) {
            process.take_status(&String::from_utf8_lossy(&status.bytes));
        }
        process.take_executable(&folder);
        process.take_command_line(&folder);
        process.directory = read_link(&folder, "cwd").map(path_of);
        process.cgroup = read_file(&folder, "cgroup", MAX_FILE_BYTES)
            .ok()
            .and_then(|cgroup| cgroup_path(&String::from_utf8_lossy(&cgroup.bytes)));
        process.container = process.cgroup.as_deref().and_then(Container::from_cgroup_path);
        process.namespaces = Namespaces {
            mount: namespace(&folder, "ns/mnt"),
            pid: namespace(&folder, "ns/pid"),
            network: namespace(&folder, "ns/net"),
            user: namespace(&folder, "ns/user"),
            cgroup: namespace(&folder, "ns/cgroup"),
            uts: namespace(&folder, "ns/uts"),
            ipc: namespace(&folder, "ns/ipc"),
        };
        let state_at_end = read_file(&folder, "stat", MAX_FILE_BYTES).ok().and_then(|stat| Stat::parse(&stat.bytes));
        process.vanished = !matches!(state_at_end, Some(Stat { state, .. }) if !is_dead(state));
        Some(process)
    }

    fn take_status(&mut self, status: &str) {
        for (key, value) in status.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match key {
                "Uid" => self.users = ids(value).unwrap_or_default(),
                "Gid" => self.groups = ids(value).unwrap_or_default(),
                "CapEff" => self.capabilities_effective = u64::from_str_radix(value, 16).unwrap_or_default(),
                "TracerPid" => self.tracer_pid = value.parse().unwrap_or_default(),
                "Seccomp" => self.seccomp = value.parse().unwrap_or_default(),
                "NoNewPrivs" => self.no_new_privileges = value == "1",
                "NSpid" => self.namespace_pid = value.split_whitespace().last().and_then(|pid| pid.parse().ok()),
                _ => {}
            }
        }
    }

    fn take_executable(&mut self, folder: &OwnedFd) {
        let Some(link) = read_link(folder, "exe") else { return };
        self.executable_deleted = link.ends_with(DELETED);
        let path = if self.executable_deleted { link.strip_suffix(DELETED).unwrap_or(&link).to_vec() } else { link };
        self.executable = Some(path_of(path));
    }

    fn take_command_line(&mut self, folder: &OwnedFd) {
        let Ok(file) = read_file(folder, "cmdline", MAX_COMMAND_LINE_BYTES) else { return };
        self.arguments_truncated = file.truncated;
        self.arguments = arguments(&file.bytes);
    }
}

/// All processes, for the first process tree. Those that end while we read are left out or marked `vanished`.
#[must_use]
pub fn snapshot() -> Vec<Process> {
    pids().into_iter().filter_map(Process::read).collect()
}

/// Every process id in `/proc`, in no order.
pub(crate) fn pids() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The little that is compared at every poll: cheap, one file and one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    pub start_ticks: u64,
    pub name: Vec<u8>,
    pub executable: Option<Vec<u8>>,
}

impl Glance {
    pub(crate) fn read(pid: i32) -> Option<Self> {
        let folder = open_folder(pid)?;
        let stat = Stat::parse(&read_file(&folder, "stat", MAX_FILE_BYTES).ok()?.bytes)?;
        if is_dead(stat.state) {
            return None;
        }
        Some(Self { start_ticks: stat.start_ticks, name: stat.name, executable: read_link(&folder, "exe") })
    }
}

fn is_dead(state: u8) -> bool {
    matches!(state, b'Z' | b'X' | b'x')
}

fn open_folder(pid: i32) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty()).ok()
}

struct FileBytes {
    bytes: Vec<u8>,
    truncated: bool,
}

fn read_file(folder: impl AsFd, name: &str, bytes_max: usize) -> Result<FileBytes, Errno> {
    let file = rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let count = match rustix::io::read(&file, &mut chunk) {
            Ok(0) => return Ok(FileBytes { bytes, truncated: false }),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if bytes.len() > bytes_max {
            bytes.truncate(bytes_max);
            return Ok(FileBytes { bytes, truncated: true });
        }
    }
}

fn read_link(folder: impl AsFd, name: &str) -> Option<Vec<u8>> {
    rustix::fs::readlinkat(folder, name, Vec::new()).ok().map(std::ffi::CString::into_bytes)
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&bytes))
}

/// `mnt:[4026531841]` as the number.
fn namespace(folder: impl AsFd, name: &str) -> Option<u64> {
    inode_in_link(&read_link(folder, name)?)
}

/// The number between the brackets of a link such as `socket:[123]`.
pub(crate) fn inode_in_link(link: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(link).ok()?;
    text.strip_suffix(']')?.split_once('[')?.1.parse().ok()
}

fn arguments(command_line: &[u8]) -> Vec<Vec<u8>> {
    let trimmed = command_line.strip_suffix(b"\0").unwrap_or(command_line);
    if trimmed.is_empty() {
        return Vec::new();
    }
    trimmed.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

fn ids(value: &str) -> Option<Ids> {
    let mut numbers = value.split_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Ids { real: next()?, effective: next()?, saved: next()?, filesystem: next()? })
}

/// The fields that we use of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: Vec<u8>,
    state: u8,
    parent_pid: i32,
    group: i32,
    session: i32,
    start_ticks: u64,
}

impl Stat {
    /// The name may hold spaces and brackets, so the fields start behind the *last* closing bracket.
    fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|byte| *byte == b'(')?;
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let name = line.get(open.checked_add(1)?..close)?.to_vec();
        let rest = std::str::from_utf8(line.get(close.checked_add(1)?..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i32>().ok();
        Some(Self {
            name,
            state: fields.first()?.bytes().next()?,
            parent_pid: number(1)?,
            group: number(2)?,
            session: number(3)?,
            start_ticks: fields.get(19)?.parse().ok()?, // field 22 of proc(5), counted from the state
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let line = b"42 (a) S 1 (b) R 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 1000 2 184\n";
        let stat = Stat::parse(line).expect("a valid line");
        assert_eq!(stat.name, b"a) S 1 (b");
        assert_eq!((stat.state, stat.parent_pid, stat.group, stat.session), (b'R', 7, 8, 9));
        assert_eq!(stat.start_ticks, 777);
    }

    #[test]
    fn a_broken_stat_line_is_none_and_not_a_panic() {
        for line in [&b""[..], b"42", b"42 )x(", b"42 (x", b"42 (x) R", b"42 (x) R 1 2", b")(", b"\xff(\xfe) \xfd"] {
            assert_eq!(Stat::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn empty_arguments_are_kept() {
        assert_eq!(arguments(b"sh\0\0-c\0"), [b"sh".to_vec(), vec![], b"-c".to_vec()]);
        assert_eq!(arguments(b"title without nul"), [b"title without nul".to_vec()]);
        assert!(arguments(b"").is_empty() && arguments(b"\0").is_empty());
    }

    #[test]
    fn links_with_inodes_are_read_and_others_are_none() {
        assert_eq!(inode_in_link(b"socket:[123]"), Some(123));
        assert_eq!(inode_in_link(b"socket:[-1]"), None);
        assert_eq!(inode_in_link(b"/etc/[1"), None);
        assert_eq!(inode_in_link(b"]["), None);
    }

    #[test]
    fn we_find_ourselves_in_proc() {
        let pid = i32::try_from(std::process::id()).expect("pids are positive i32");
        let process = Process::read(pid).expect("we exist");
        assert_eq!(process.executable, std::env::current_exe().ok());
        assert_eq!(process.directory, std::env::current_dir().ok());
        assert_eq!(process.users.effective, rustix::process::geteuid().as_raw());
        assert!(!process.arguments.is_empty() && !process.vanished && process.namespaces.pid.is_some());
        assert!(process.cgroup.is_some() || !std::path::Path::new("/proc/self/cgroup").exists());
        assert!(snapshot().iter().any(|other| other.pid == pid && other.start_ticks == process.start_ticks));
    }

    #[test]
    fn a_process_that_is_not_there_is_none() {
        assert_eq!(Process::read(i32::MAX), None);
        assert_eq!(Process::read(-1), None);
    }
}
