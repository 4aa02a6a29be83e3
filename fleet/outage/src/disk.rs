//! A small disk for the server's state, in a mount namespace of our own, which can be filled.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::mount::{mount, mount_change, unmount, MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;

/// The server wants 64 MiB left.
const SIZE: &str = "size=192m,mode=700";
/// What is in the way.
const FILLER: &str = "filler";

/// Mounted until it is dropped; what is started by the thread that has mounted it sees it.
#[derive(Debug)]
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts it on a folder that is made.
    ///
    /// # Errors
    /// This user may not: only root has namespaces of its own here.
    pub(crate) fn mount(at: &Path) -> io::Result<Self> {
        fs::create_dir_all(at)?;
        // SAFETY: not `FILES`: no descriptor of another thread changes.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        let options = std::ffi::CString::new(SIZE)?;
        mount("outage", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?;
        Ok(Self(at.to_owned()))
    }

    /// Takes all that is left of it.
    pub(crate) fn fill(&self) -> io::Result<()> {
        let mut filler = File::create(self.0.join(FILLER))?;
        let piece = vec![0; 1 << 20];
        loop {
            match filler.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
        // The last bytes, too.
        while matches!(filler.write(&[0; 512]), Ok(1..)) {}
        Ok(())
    }

    /// Gives it back.
    pub(crate) fn free(&self) -> io::Result<()> {
        fs::remove_file(self.0.join(FILLER))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH); // the namespace ends with its last process
    }
}
