//! fanotify permission groups and their marks. Files share one group, told apart by inode; each folder has a group of its own,
//! because the kernel hands over the child that is opened and not the folder whose mark it met.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use super::plan::Entry;

/// A group of marks that all ask the same question.
pub(super) struct Group {
    pub(super) fd: OwnedFd,
    /// The mark's number, if the group is a folder's; files are looked up in the table.
    pub(super) folder: Option<usize>,
}

/// A group without marks.
pub(super) fn open_group(folder: Option<usize>) -> Result<Group, String> {
    let flags = libc::FAN_CLASS_CONTENT
        | libc::FAN_CLOEXEC
        | libc::FAN_NONBLOCK
        | libc::FAN_UNLIMITED_QUEUE
        | libc::FAN_UNLIMITED_MARKS;
    let event_flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE | libc::O_NOATIME;
    // SAFETY: takes two numbers and no pointer.
    let fd = unsafe { libc::fanotify_init(flags, event_flags.unsigned_abs()) };
    if fd < 0 {
        let error = std::io::Error::last_os_error();
        return Err(format!("fanotify_init: {error}: it needs CAP_SYS_ADMIN and CONFIG_FANOTIFY_ACCESS_PERMISSIONS"));
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(Group { fd: unsafe { OwnedFd::from_raw_fd(fd) }, folder })
}

/// From here on an open for exec of the entry waits for an answer.
pub(super) fn mark(group: &Group, entry: &Entry) -> Result<(), String> {
    let (flags, children) = match entry.is_folder {
        true => (libc::FAN_MARK_ADD | libc::FAN_MARK_ONLYDIR, libc::FAN_EVENT_ON_CHILD),
        false => (libc::FAN_MARK_ADD, 0),
    };
    let mask = libc::FAN_OPEN_EXEC_PERM | children;
    // SAFETY: a null path means "the file behind the descriptor"; both descriptors are open through the call.
    let result =
        unsafe { libc::fanotify_mark(group.fd.as_raw_fd(), flags, mask, entry.file.as_raw_fd(), std::ptr::null()) };
    if result < 0 {
        let error = std::io::Error::last_os_error();
        return Err(format!("{}: fanotify_mark: {error}", entry.path.display()));
    }
    Ok(())
}
