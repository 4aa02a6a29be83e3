//! A bpffs to pin on: the one that is there, or one mounted now.

use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};
use rustix::fs::statfs;
use rustix::mount::{mount, MountFlags};

/// Magic number of bpffs, include/uapi/linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// A folder below which nothing can be pinned.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is no bpffs, and has files that a mount would hide: leave the pin folder to the default, or name one on a bpffs (`findmnt -t bpf`)",
    .0.display()
)]
pub struct NoPlace(PathBuf);

/// Makes sure that the folder's parent is a bpffs, mounting one there if it is an empty folder.
///
/// # Errors
/// [`NoPlace`]; or the parent does not exist, or the mount is refused.
pub fn ensure(pins: &Path) -> Result<()> {
    let parent = pins.parent().context("the pin folder needs a parent on a bpffs")?;
    let kind = statfs(parent).with_context(|| format!("looking at {}: has this kernel BPF?", parent.display()))?;
    #[allow(clippy::unnecessary_cast)] // the field's type differs between libc versions
    if kind.f_type as i64 == BPF_FS_MAGIC {
        return Ok(());
    }
    let mut entries = std::fs::read_dir(parent).with_context(|| format!("looking at {}", parent.display()))?;
    if entries.next().is_some() {
        bail!(NoPlace(parent.to_owned()));
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", parent, "bpf", flags, c"mode=0700")
        .with_context(|| format!("mounting a bpffs on {}: root with CAP_SYS_ADMIN is needed", parent.display()))
}
