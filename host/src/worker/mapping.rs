//! Memory of another's that is read where it lies: sealed by who handed it over, so that it stays as it is.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{fcntl_get_seals, fstat, SealFlags};
use rustix::mm::{madvise, mmap, munmap, Advice, MapFlags, ProtFlags};

/// A read-only mapping of a sealed memory file.
#[derive(Debug)]
pub struct Mapping {
    start: *mut std::ffi::c_void,
    bytes: usize,
}

// SAFETY: the mapping is read-only and belongs to this value; nothing about it is tied to a thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared references only read it.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Everything behind this descriptor.
    ///
    /// # Errors
    /// It is no memory file, or not sealed: somebody could change it while it is read.
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let wanted = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
        if !fcntl_get_seals(fd)?.contains(wanted) {
            return Err(io::Error::other("it is not sealed: who started this is not `watertight run`"));
        }
        let bytes = usize::try_from(fstat(fd)?.st_size).map_err(|_| io::Error::other("it has no size"))?;
        if bytes == 0 {
            return Ok(Self { start: std::ptr::null_mut(), bytes });
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice, within the file's size.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::PRIVATE, fd, 0)? };
        Ok(Self { start, bytes })
    }

    /// Lets the pages go that were read, of which one reading was enough. What is needed again comes again.
    pub fn let_go(&self) {
        if self.bytes > 0 {
            // SAFETY: a read-only mapping of a sealed memory file: its pages come back from the file as they were.
            let _ = unsafe { madvise(self.start, self.bytes, Advice::LinuxDontNeed) };
            // only memory is at stake
        }
    }

    /// What is there.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if self.bytes == 0 {
            return &[];
        }
        // SAFETY: the mapping is this long and lives as long as self; its seals keep everybody from changing or cutting it.
        unsafe { std::slice::from_raw_parts(self.start.cast::<u8>(), self.bytes) }
    }
}

/// Lets the pages of the shipped pack go, which lies in the executable and is read once.
pub fn let_go_of_factory_pack() {
    let pack = watertight_rules::factory_pack();
    let page = rustix::param::page_size();
    let before = pack.as_ptr().align_offset(page);
    let whole = pack.get(before..).map_or(0, |rest| rest.len() / page * page);
    if whole > 0 {
        let start = pack.as_ptr().wrapping_add(before).cast_mut().cast();
        // SAFETY: whole pages of constant data, which the executable's file backs: they come back from it as they were.
        let _ = unsafe { madvise(start, whole, Advice::LinuxDontNeed) }; // only memory is at stake
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: the mapping was made by `of` with this size, and no reference to it outlives self.
            unsafe {
                let _ = munmap(self.start, self.bytes);
            }
        }
    }
}
