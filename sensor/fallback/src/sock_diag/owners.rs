//! Which process holds a socket: one walk over every process's open files, for a whole batch of sockets.

use std::collections::{HashMap, HashSet};

use crate::process::{inode_in_link, pids};

/// Open files looked at in one walk: about a second's work. Sockets not found by then have no owner told.
const FILES_MAX: usize = 500_000;

/// A holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The lowest process id among the holders: mostly the one that made the socket.
    pub pid: i32,
    pub is_shared: bool,
}

/// Holders by socket inode.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<u32, Owner>);

impl Owners {
    /// Walks only if there is a socket to find.
    pub(super) fn of(inodes: impl Iterator<Item = u32>) -> Self {
        let wanted: HashSet<u32> = inodes.filter(|inode| *inode != 0).collect();
        let mut owners = Self::default();
        if wanted.is_empty() {
            return owners;
        }
        let mut pids = pids();
        pids.sort_unstable();
        let mut files_left = FILES_MAX;
        for pid in pids {
            let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
            for file in files.flatten() {
                let Some(left) = files_left.checked_sub(1) else { return owners };
                files_left = left;
                if let Some(inode) = socket_inode(&file.path()).filter(|inode| wanted.contains(inode)) {
                    owners.add(inode, pid);
                }
            }
        }
        owners
    }

    fn add(&mut self, inode: u32, pid: i32) {
        let owner = self.0.entry(inode).or_insert(Owner { pid, is_shared: false });
        owner.is_shared |= owner.pid != pid;
    }

    pub(super) fn get(&self, inode: u32) -> Option<Owner> {
        self.0.get(&inode).copied()
    }
}

fn socket_inode(link: &std::path::Path) -> Option<u32> {
    let target = std::fs::read_link(link).ok()?;
    let target = target.as_os_str().as_encoded_bytes();
    if !target.starts_with(b"socket:") {
        return None;
    }
    inode_in_link(target)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_held_by_two_processes_is_shared() {
        let mut owners = Owners::default();
        owners.add(5, 100);
        owners.add(5, 100);
        assert_eq!(owners.get(5), Some(Owner { pid: 100, is_shared: false }));
        owners.add(5, 200);
        assert_eq!(owners.get(5), Some(Owner { pid: 100, is_shared: true }));
    }
}
