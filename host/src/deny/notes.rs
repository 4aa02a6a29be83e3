//! What the listener notes of the execs that met a mark, once everybody who waited has an answer.
//!
//! Until then the program stays open: its descriptor tells its identity and, through a folder of /proc that was opened before
//! the first mark, its path. Nothing is opened and nothing is allocated for that.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::path::DecInt;

use super::denials::{Denial, Denials, PATH_BYTES_MAX};
use super::listener::BATCH;
use crate::output::boot_ns_now;

/// Where the kernel shows the paths of our descriptors.
const DESCRIPTORS: &str = "/proc/self/fd";
/// What the kernel writes behind the path of a file without a name.
const DELETED: &[u8] = b" (deleted)";

/// An exec that met a mark and was answered.
pub(super) struct Met {
    /// The program.
    pub(super) file: OwnedFd,
    /// The mark's number.
    pub(super) mark: u16,
    /// The process that asked.
    pub(super) pid: i32,
}

/// Room for those of one batch.
pub(super) struct Notes {
    met: [Option<Met>; BATCH],
    count: usize,
    path: [u8; PATH_BYTES_MAX],
    /// `None` where /proc is not mounted: the paths are then not told.
    descriptors: Option<OwnedFd>,
}

impl Notes {
    /// Opens what is needed later.
    pub(super) fn prepare() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptors = match rustix::fs::open(DESCRIPTORS, flags, Mode::empty()) {
            Ok(folder) => Some(folder),
            Err(rustix::io::Errno::NOENT) => None,
            Err(error) => return Err(error).with_context(|| format!("opening {DESCRIPTORS}")),
        };
        Ok(Self { met: [const { None }; BATCH], count: 0, path: [0; PATH_BYTES_MAX], descriptors })
    }

    /// Keeps one until all are answered. A batch has room for as many as are read at once.
    pub(super) fn keep(&mut self, met: Option<Met>) {
        if let (Some(met), Some(place)) = (met, self.met.get_mut(self.count)) {
            *place = Some(met);
            self.count = self.count.saturating_add(1);
        }
    }

    /// Tells all that are kept, and closes their files.
    pub(super) fn tell(&mut self, denials: &Denials) {
        let Self { met, count, path, descriptors } = self;
        for met in met.iter_mut().map_while(Option::take) {
            // Without a sync no other machine is asked.
            let (flags, wanted) = (AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::INO | StatxFlags::NLINK);
            let found = rustix::fs::statx(&met.file, c"", flags, wanted).ok();
            let identity = found
                .map_or((0, 0), |found| (rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino));
            let length = descriptors.as_ref().and_then(|folder| {
                rustix::fs::readlinkat_raw(folder, DecInt::from_fd(met.file.as_fd()), &mut path[..]).ok()
            });
            let whole = path.get(..length.unwrap_or(0)).unwrap_or_default();
            let has_name = found.is_none_or(|found| found.stx_nlink > 0);
            denials.tell(&Denial {
                mark: met.mark,
                pid: u32::try_from(met.pid).unwrap_or(0),
                boot_ns: boot_ns_now(),
                identity,
                path: whole.strip_suffix(DELETED).filter(|_| !has_name).unwrap_or(whole),
                is_cut: whole.len() >= PATH_BYTES_MAX,
            });
        }
        *count = 0;
    }
}
