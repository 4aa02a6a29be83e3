//! The folder of a worker that keeps files: its working directory, which is the user's that the worker becomes, with all that is in it.
//! Working directory, because who has nothing but that needs no right to any folder above it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{chownat, fchown, fstat, openat, statat, AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, CWD};
use rustix::io::Errno;

/// Folders in folders of it.
const DEPTH_MAX: usize = 4;

/// Whose it is.
pub fn owner() -> io::Result<u32> {
    Ok(statat(CWD, ".", AtFlags::empty())?.st_uid)
}

/// Makes it this user's. A file with a second name is left to whoever has it: that name may be anywhere.
pub fn give_to(id: u32) -> io::Result<()> {
    let home = openat(CWD, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    give(home.as_fd(), id, DEPTH_MAX)
}

/// The folder before what is in it: what somebody makes there meanwhile is found.
fn give(folder: BorrowedFd<'_>, id: u32, deeper: usize) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
    if !is_of(&fstat(folder)?, id) {
        fchown(folder, uid, gid)?;
    }
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let found = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue, // taken away meanwhile
            found => found?,
        };
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if deeper > 0 {
                give(openat(folder, name, flags, Mode::empty())?.as_fd(), id, deeper.saturating_sub(1))?;
            }
        } else if kind == FileType::RegularFile && found.st_nlink == 1 && !is_of(&found, id) {
            match chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                given => given?,
            }
        }
    }
    Ok(())
}

fn is_of(found: &Stat, id: u32) -> bool {
    (found.st_uid, found.st_gid) == (id, id)
}
