//! A bpffs to pin on: the one that is there, or one mounted now.

use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::statfs;
use rustix::mount::{mount, MountFlags};

/// Magic number of bpffs, include/uapi/linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Makes sure that the folder's parent is a bpffs, mounting one there if it is not.
///
/// # Errors
/// The parent does not exist or the mount is refused.
pub fn ensure(pins: &Path) -> Result<()> {
    let parent = pins.parent().context("the pin folder needs a parent on a bpffs")?;
    let kind = statfs(parent).with_context(|| format!("looking at {}: has this kernel BPF?", parent.display()))?;
    #[allow(clippy::unnecessary_cast)] // the field's type differs between libc versions
    if kind.f_type as i64 == BPF_FS_MAGIC {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", parent, "bpf", flags, c"mode=0700")
        .with_context(|| format!("mounting a bpffs on {}: root with CAP_SYS_ADMIN is needed", parent.display()))
}
