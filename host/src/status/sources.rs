//! Which fallback sources the workers of a run hold open, told by the kernel's own tables of their descriptors.

use std::collections::HashSet;
use std::fs;

use crate::matrix::Fallbacks;

/// Protocols of netlink in /proc/net/netlink; include/uapi/linux/netlink.h.
const NETLINK_SOCK_DIAG: u64 = 4;
const NETLINK_CONNECTOR: u64 = 11;

/// What the children of the run's process have open.
pub fn of_run(run: Option<u32>) -> Fallbacks {
    let Some(run) = run else {
        let absent = || Some(Err("no run is at work".to_owned()));
        return Fallbacks { fanotify: absent(), proc_connector: absent(), sock_diag: absent() };
    };
    let open: Vec<Open> = children_of(run).into_iter().flat_map(open_by).collect();
    let netlink = fs::read_to_string("/proc/net/netlink").unwrap_or_default();
    let has_socket = |protocol| {
        let inodes = netlink_inodes(&netlink, protocol);
        said(open.iter().any(|open| matches!(open, Open::Socket(inode) if inodes.contains(inode))))
    };
    Fallbacks {
        fanotify: said(open.iter().any(|open| matches!(open, Open::Fanotify { marks: 1.. }))),
        proc_connector: has_socket(NETLINK_CONNECTOR),
        sock_diag: has_socket(NETLINK_SOCK_DIAG),
    }
}

fn said(is_open: bool) -> Option<Result<(), String>> {
    Some(if is_open { Ok(()) } else { Err("not open in the run's workers".into()) })
}

/// A descriptor that a source needs.
#[derive(Debug, PartialEq, Eq)]
enum Open {
    Fanotify { marks: usize },
    Socket(u64),
}

fn children_of(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name, which may hold anything: the state, then the parent.
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(parent.to_string().as_str())
    })
    .collect()
}

fn open_by(pid: u32) -> Vec<Open> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let mut open = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy();
        if target == "anon_inode:[fanotify]" {
            let number = entry.file_name().to_string_lossy().into_owned();
            let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
            open.push(Open::Fanotify { marks: marks(&text) });
        } else if let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
            open.extend(inode.parse().ok().map(Open::Socket));
        }
    }
    open
}

/// Lines of marks on filesystems; without one, the descriptor hears of nothing.
fn marks(fdinfo: &str) -> usize {
    fdinfo.lines().filter(|line| line.starts_with("fanotify sdev:")).count()
}

/// Columns of /proc/net/netlink: sk, Eth (the protocol), Pid, Groups, Rmem, Wmem, Dump, Locks, Drops, Inode.
fn netlink_inodes(table: &str, protocol: u64) -> HashSet<u64> {
    let inode = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is_it = columns.get(1)?.parse::<u64>().ok()? == protocol;
        is_it.then(|| columns.get(9)?.parse().ok())?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn sockets_are_told_by_protocol_and_marks_by_their_lines() {
        let table = "sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode\n\
                     0000 11 7 00000001 0 0 0 2 0 4711\n\
                     0000 4 7 00000000 0 0 0 2 0 4712\nbroken line\n";
        assert_eq!(netlink_inodes(table, NETLINK_CONNECTOR), HashSet::from([4711]));
        assert_eq!(netlink_inodes(table, NETLINK_SOCK_DIAG), HashSet::from([4712]));
        let info = "pos:\t0\nfanotify flags:0 event-flags:0\nfanotify sdev:1f mflags:0 mask:1 ignored_mask:0\n";
        assert_eq!(marks(info), 1);
    }

    #[test]
    fn a_process_is_found_below_its_parent_with_what_it_has_open() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        assert!(children_of(own).contains(&child.id()));
        child.kill().expect("our own");
        child.wait().expect("our own");
        let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("its link");
        let found = open_by(own).into_iter().any(|open| match open {
            Open::Socket(inode) => link.to_string_lossy() == format!("socket:[{inode}]"),
            Open::Fanotify { .. } => false,
        });
        assert!(found);
    }

    #[test]
    fn without_a_run_no_source_is_in_force() {
        assert!(matches!(of_run(None).fanotify, Some(Err(_))));
    }
}
