//! From file handles back to files: opens them, reads what kind they are, and remembers where folders are.
//!
//! The kernel names a folder by a handle that stays the same when the folder moves. Its path is looked up when the record
//! is read, so it says where the folder is then. Looking it up costs an open and a readlink, so paths are kept until a
//! folder is renamed or removed.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::record::{Handle, Place, HANDLE_BYTES_MAX};
use crate::observed::{links, Kind};

/// Folders remembered. 4,096 covers the folders that a busy machine writes to, at about 200 bytes each: under a megabyte.
/// When full, all are forgotten: simpler than ageing, and costs one more lookup per folder.
const FOLDERS_MAX: usize = 4096;

/// `struct file_handle` with room for the longest handle.
#[repr(C)]
struct RawHandle {
    handle_bytes: libc::c_uint,
    handle_type: libc::c_int,
    bytes: [u8; HANDLE_BYTES_MAX],
}

/// Where filesystems are mounted, by id, and the folders found on them.
#[derive(Default)]
pub(super) struct Handles {
    /// The kernel wants an open file of the filesystem that a handle is of. It is opened for each look-up and not kept: an
    /// open file would keep the administrator from unmounting.
    filesystems: HashMap<u64, PathBuf>,
    folders: HashMap<Handle, PathBuf>,
}

impl Handles {
    pub(super) fn add_filesystem(&mut self, fsid: u64, mount_point: &Path) {
        self.filesystems.insert(fsid, mount_point.to_owned());
    }

    /// Forgets the filesystems that are mounted no more, and says where they were.
    pub(super) fn keep_filesystems(&mut self, there: &HashSet<u64>) -> Vec<PathBuf> {
        let mut gone = Vec::new();
        self.filesystems.retain(|fsid, mount_point| {
            let is_there = there.contains(fsid);
            if !is_there {
                gone.push(mount_point.clone());
            }
            is_there
        });
        if !gone.is_empty() {
            self.forget_folders();
        }
        gone
    }

    /// Forgets every path: a folder was renamed or removed, and paths below it with it.
    pub(super) fn forget_folders(&mut self) {
        self.folders.clear();
    }

    /// Where a folder is now, or `None` when it no longer exists or lies outside what our mounts show.
    pub(super) fn path(&mut self, folder: &Handle) -> Option<PathBuf> {
        if let Some(path) = self.folders.get(folder) {
            return Some(path.clone());
        }
        let opened = self.open(folder).ok()?;
        let path = path_of(&opened)?;
        if self.folders.len() >= FOLDERS_MAX {
            self.folders.clear();
        }
        self.folders.insert(folder.clone(), path.clone());
        Some(path)
    }

    /// What was created: by its own handle where the kernel gave one (right even after a rename), else by its name.
    pub(super) fn kind_and_links(&self, target: Option<&Handle>, place: Option<&Place>) -> Option<(Option<Kind>, u64)> {
        let by_handle = target.and_then(|target| rustix::fs::fstat(self.open(target).ok()?).ok());
        let stat = by_handle.or_else(|| self.stat_by_name(place?))?;
        Some((Kind::from_mode(stat.st_mode), links(&stat)))
    }

    fn stat_by_name(&self, place: &Place) -> Option<Stat> {
        let folder = self.open(&place.directory).ok()?;
        rustix::fs::statat(folder, place.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Opens a file as a mere location (O_PATH): a FIFO doesn't block, a device isn't touched.
    fn open(&self, handle: &Handle) -> Result<OwnedFd, Errno> {
        let filesystem = open_mount_point(self.filesystems.get(&handle.fsid).ok_or(Errno::NOENT)?)?;
        if fsid_of(filesystem.as_fd())? != handle.fsid {
            return Err(Errno::NOENT); // something else is mounted there by now
        }
        let mut raw = RawHandle {
            handle_bytes: u32::try_from(handle.bytes.len()).map_err(|_| Errno::OVERFLOW)?,
            handle_type: handle.handle_type,
            bytes: [0; HANDLE_BYTES_MAX],
        };
        raw.bytes.get_mut(..handle.bytes.len()).ok_or(Errno::OVERFLOW)?.copy_from_slice(&handle.bytes);
        // SAFETY: `raw` has the layout of `struct file_handle` and holds as many bytes as `handle_bytes` says (checked by
        // the slice above); the kernel only reads it, during the call.
        let fd = unsafe {
            libc::open_by_handle_at(
                filesystem.as_raw_fd(),
                (&raw mut raw).cast(),
                libc::O_PATH | libc::O_CLOEXEC | libc::O_NOFOLLOW,
            )
        };
        if fd < 0 {
            return Err(last_errno());
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// A mount's root, without waiting for what may be behind it.
pub(super) fn open_mount_point(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open(path, flags, Mode::empty())
}

/// The handle of an open file, as events will name it.
pub(super) fn handle_of(file: BorrowedFd<'_>) -> Result<Handle, Errno> {
    let mut raw = RawHandle {
        handle_bytes: u32::try_from(HANDLE_BYTES_MAX).map_err(|_| Errno::OVERFLOW)?,
        handle_type: 0,
        bytes: [0; HANDLE_BYTES_MAX],
    };
    let mut mount_id = 0;
    // SAFETY: `raw` has the layout of `struct file_handle` with room for `handle_bytes`, which the kernel doesn't exceed;
    // the empty path is a NUL-terminated literal; both pointers live through the call.
    let result = unsafe {
        libc::name_to_handle_at(
            file.as_raw_fd(),
            c"".as_ptr(),
            (&raw mut raw).cast(),
            &raw mut mount_id,
            libc::AT_EMPTY_PATH,
        )
    };
    if result < 0 {
        return Err(last_errno());
    }
    let length = usize::try_from(raw.handle_bytes).map_err(|_| Errno::OVERFLOW)?;
    let bytes = raw.bytes.get(..length).ok_or(Errno::OVERFLOW)?.to_vec();
    Ok(Handle { fsid: fsid_of(file)?, handle_type: raw.handle_type, bytes })
}

/// The id of the filesystem that a file is on, composed as [`Handle::fsid`] is.
pub(super) fn fsid_of(file: BorrowedFd<'_>) -> Result<u64, Errno> {
    rustix::fs::fstatvfs(file).map(|filesystem| filesystem.f_fsid)
}

fn path_of(folder: &OwnedFd) -> Option<PathBuf> {
    const DELETED: &[u8] = b" (deleted)";
    let link = format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd());
    let bytes = rustix::fs::readlink(link, Vec::new()).ok()?.into_bytes();
    if !bytes.starts_with(b"/") {
        return None; // "(unreachable)/...": no mount of ours shows it
    }
    let is_removed = bytes.ends_with(DELETED) && rustix::fs::fstat(folder).is_ok_and(|stat| stat.st_nlink == 0);
    let path = if is_removed { bytes.strip_suffix(DELETED)? } else { &bytes };
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

pub(super) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
