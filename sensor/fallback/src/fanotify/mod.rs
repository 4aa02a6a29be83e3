//! File events of whole filesystems, by fanotify notification marks. The kernel never waits for us.
//!
//! Marks are on *filesystems*, because only those report names created, renamed and removed (a mount mark reports none).
//! Two things are not asked for, by design: permission events, because a stopped listener would hang the machine, and
//! FAN_MODIFY, because every write of every process would queue a record.

mod handles;
mod record;

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use self::handles::{fsid_of, handle_of, last_errno, open_mount_point, Handles};
use self::record::{Handle, Malformed, Record, Records, VERSION};
use crate::error::{Error, Refusal};
use crate::mounts::{self, Mount};
use crate::observed::{Counts, FileChange, Kind, Observed, OperationSet, Source};

/// Bytes read at once: about 500 events.
const BUFFER_BYTES: usize = 64 * 1024;
/// Reads in one drain, so that a flood of file events can't keep the caller from its other sources (about 16,000 events).
const READS_MAX: usize = 32;

/// Which filesystems to mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Places {
    /// Each that stores files, by `/proc/self/mountinfo`.
    AllStorage,
    /// Only those that hold these paths.
    Holding(Vec<PathBuf>),
}

/// What to ask the kernel for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which filesystems.
    pub places: Places,
    /// Don't bound the kernel's queue (needs privileges). A bounded queue holds fs.fanotify.max_queued_events, then
    /// overflows.
    pub unlimited_queue: bool,
    /// Ask for both sides of a rename in one event and for the handle of what was created (Linux 5.17). Off, the source
    /// does what it falls back to on older kernels.
    pub rename_pairs: bool,
    /// Report files closed after they were open for writing. Off by default: the machine's most frequent file event.
    pub close_writes: bool,
    /// Report files opened to be executed. Off by default: the process sources report exec.
    pub exec_opens: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            places: Places::AllStorage,
            unlimited_queue: true,
            rename_pairs: true,
            close_writes: false,
            exec_opens: false,
        }
    }
}

/// What a change of the table of mounts came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountChange {
    /// Places that are watched from now on. What was done there before is not known.
    pub begun: Vec<PathBuf>,
    /// Places whose filesystem is gone.
    pub ended: Vec<PathBuf>,
}

/// File events of whole filesystems.
pub struct Fanotify {
    fd: OwnedFd,
    options: Options,
    mask: u64,
    handles: Handles,
    watched: Vec<PathBuf>,
    refused: Vec<Refusal>,
    ignored_pids: HashSet<i32>,
    ignored_folders: HashSet<Handle>,
    buffer: Vec<u8>,
}

impl Fanotify {
    /// Opens the source and marks the filesystems. It fails when none could be marked; those that refused while others
    /// did not are in [`Self::refused`].
    pub fn open(options: Options) -> Result<Self, Error> {
        let (fd, has_rename) = init(&options)?;
        let mut source = Self {
            fd,
            mask: mask(&options, has_rename),
            options,
            handles: Handles::default(),
            watched: Vec::new(),
            refused: Vec::new(),
            ignored_pids: HashSet::new(),
            ignored_folders: HashSet::new(),
            buffer: vec![0; BUFFER_BYTES],
        };
        source.mark_new()?;
        if !source.watched.is_empty() {
            return Ok(source);
        }
        // Since Linux 5.13 everybody may open the descriptor; it is the mark that needs the privilege.
        if !source.refused.is_empty() && source.refused.iter().all(|refusal| refusal.errno == Errno::PERM) {
            return Err(Error::from_call(Source::Fanotify, "fanotify_mark of a filesystem", Errno::PERM));
        }
        Err(Error::NothingToWatch { origin: Source::Fanotify, refused: source.refused })
    }

    /// Marks filesystems that were mounted since, and forgets those that are gone; to be called when
    /// `/proc/self/mountinfo` polls POLLPRI. A filesystem that is mounted once more lost its mark in between though it has the
    /// same id, so every one is marked each time: the kernel takes a mark that is there already for the same.
    ///
    /// # Errors
    /// The table of mounts can't be read.
    pub fn mark_new(&mut self) -> Result<MountChange, Error> {
        let before: HashSet<PathBuf> = self.watched.drain(..).collect();
        self.refused.clear();
        let mut there = HashSet::new();
        match self.options.places.clone() {
            Places::AllStorage => {
                let table = std::fs::read("/proc/self/mountinfo").map_err(|error| Error::System {
                    origin: Source::Fanotify,
                    call: "read of /proc/self/mountinfo",
                    errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
                })?;
                for mount in mounts::storage(mounts::parse(&table)) {
                    self.mark(&mount.point, Some(&mount), &mut there);
                }
            }
            Places::Holding(paths) => paths.iter().for_each(|path| self.mark(path, None, &mut there)),
        }
        let ended = self.handles.keep_filesystems(&there);
        let begun = self.watched.iter().filter(|place| !before.contains(*place)).cloned().collect();
        Ok(MountChange { begun, ended })
    }

    /// Marks the filesystem that holds `path`; what is refused is kept for [`Self::refused`].
    fn mark(&mut self, path: &Path, mount: Option<&Mount>, there: &mut HashSet<u64>) {
        match self.mark_filesystem(path, mount) {
            Ok(fsid) => {
                there.insert(fsid);
            }
            Err(errno) => {
                let filesystem = mount.map(|mount| mount.filesystem.clone()).unwrap_or_default();
                self.refused.push(Refusal { place: path.to_owned(), filesystem, errno });
            }
        }
    }

    fn mark_filesystem(&mut self, path: &Path, mount: Option<&Mount>) -> Result<u64, Errno> {
        let root = open_mount_point(path)?;
        if mount.is_some_and(|mount| is_hidden(root.as_fd(), mount)) {
            return Err(Errno::NOENT);
        }
        let fsid = fsid_of(root.as_fd())?;
        // SAFETY: a null path means "the file behind the descriptor"; both descriptors are open through the call.
        let result = unsafe {
            libc::fanotify_mark(
                self.fd.as_raw_fd(),
                libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM,
                self.mask,
                root.as_raw_fd(),
                std::ptr::null(),
            )
        };
        if result < 0 {
            return Err(last_errno());
        }
        self.handles.add_filesystem(fsid, path);
        self.watched.push(path.to_owned());
        Ok(fsid)
    }

    /// Becomes readable when there are events.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Where the watched filesystems are mounted.
    #[must_use]
    pub fn watched(&self) -> &[PathBuf] {
        &self.watched
    }

    /// Filesystems that could not be marked, and why: file events there are not seen.
    #[must_use]
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// Whether a rename comes as one event with both sides (Linux 5.17), or as two that nothing joins.
    #[must_use]
    pub fn has_rename_pairs(&self) -> bool {
        self.mask & libc::FAN_RENAME != 0
    }

    /// Leaves out what this process does: the product must not answer to its own output.
    pub fn ignore_pid(&mut self, pid: i32) {
        self.ignored_pids.insert(pid);
    }

    /// Leaves out what happens directly in this folder, by whomever. The folder is told by its identity, so one that
    /// takes its name is not ignored; it must be one that only the product can write to, or it is a place to hide.
    pub fn ignore_folder(&mut self, folder: BorrowedFd<'_>) -> Result<(), Error> {
        let handle = handle_of(folder)
            .map_err(|errno| Error::from_call(Source::Fanotify, "name_to_handle_at of an ignored folder", errno))?;
        self.ignored_folders.insert(handle);
        Ok(())
    }

    /// Reads what is queued, up to a limit (then `has_more` is set), and hands it to the sink. Never blocks.
    pub fn drain(&mut self, sink: &mut dyn FnMut(Observed)) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.drain_into(&mut buffer, &mut counts, sink);
        self.buffer = buffer;
        result.map(|()| counts)
    }

    fn drain_into(
        &mut self,
        buffer: &mut [u8],
        counts: &mut Counts,
        sink: &mut dyn FnMut(Observed),
    ) -> Result<(), Error> {
        for _ in 0..READS_MAX {
            let length = match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(length) => length,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::System { origin: Source::Fanotify, call: "read of events", errno }),
            };
            for record in Records::new(buffer.get(..length).unwrap_or_default()) {
                match record {
                    Ok(record) => self.take(record, counts, sink),
                    Err(Malformed::Version(found)) => {
                        return Err(Error::UnknownVersion { origin: Source::Fanotify, expected: VERSION, found });
                    }
                    Err(Malformed::Length | Malformed::Information) => counts.refuse(),
                }
            }
        }
        counts.has_more = true;
        Ok(())
    }

    fn take(&mut self, record: Record, counts: &mut Counts, sink: &mut dyn FnMut(Observed)) {
        if record.mask & libc::FAN_Q_OVERFLOW != 0 {
            self.handles.forget_folders(); // a rename of a folder may be among what was lost
            return counts.deliver(sink, Observed::Overflow { source: Source::Fanotify });
        }
        let change = self.change(&record);
        if record.mask & libc::FAN_ONDIR != 0 && moves_or_removes(record.mask) {
            self.handles.forget_folders();
        }
        match change {
            Some(change) => counts.deliver(sink, Observed::File(change)),
            None => counts.filter(),
        }
    }

    /// What the record means, or `None` when the filter leaves it out.
    fn change(&mut self, record: &Record) -> Option<FileChange> {
        let operations = operations(record.mask);
        let places = [record.place.as_ref(), record.new_place.as_ref()];
        let mut folders = places.iter().flatten().map(|place| &place.directory).peekable();
        let is_ours = folders.peek().is_some() && folders.all(|folder| self.ignored_folders.contains(folder));
        if operations.is_empty() || is_ours || self.ignored_pids.contains(&record.pid) {
            return None;
        }
        // A link made or removed changes the file's link count: an event without a name, beside the one that has it.
        if record.place.is_none() && operations == OperationSet::ATTRIBUTES {
            return None;
        }
        let created = operations
            .contains(OperationSet::CREATE)
            .then(|| self.handles.kind_and_links(record.target.as_ref(), record.place.as_ref()))
            .flatten();
        let is_folder = record.mask & libc::FAN_ONDIR != 0;
        let directory = record.place.as_ref().and_then(|place| self.handles.path(&place.directory));
        let new_directory = record.new_place.as_ref().and_then(|place| self.handles.path(&place.directory));
        Some(FileChange {
            source: Source::Fanotify,
            operations,
            directory,
            name: record.place.as_ref().map(|place| place.name.clone()).unwrap_or_default(),
            new_directory,
            new_name: record.new_place.as_ref().map(|place| place.name.clone()),
            pid: (record.pid > 0).then_some(record.pid),
            kind: if is_folder { Some(Kind::Directory) } else { created.and_then(|(kind, _)| kind) },
            links: created.map(|(_, links)| links).filter(|_| !is_folder),
            merged: (record.mask & !libc::FAN_ONDIR).count_ones() > 1,
        })
    }
}

/// Opens the descriptor with the most that this kernel gives: with both sides of renames (5.17), or without; with an
/// unlimited queue, or without.
fn init(options: &Options) -> Result<(OwnedFd, bool), Error> {
    let base = libc::FAN_CLASS_NOTIF
        | libc::FAN_CLOEXEC
        | libc::FAN_NONBLOCK
        | libc::FAN_REPORT_DFID_NAME
        | libc::FAN_REPORT_FID;
    let unlimited = if options.unlimited_queue { libc::FAN_UNLIMITED_QUEUE } else { 0 };
    let mut first = None;
    for (flags, has_rename) in [
        (base | unlimited | libc::FAN_REPORT_TARGET_FID, true),
        (base | libc::FAN_REPORT_TARGET_FID, true),
        (base | unlimited, false),
        (base, false),
    ] {
        if has_rename && !options.rename_pairs {
            continue;
        }
        let event_flags = libc::O_RDONLY | libc::O_CLOEXEC;
        // SAFETY: takes two numbers and no pointer.
        let fd = unsafe { libc::fanotify_init(flags, event_flags.unsigned_abs()) };
        if fd >= 0 {
            // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
            return Ok((unsafe { OwnedFd::from_raw_fd(fd) }, has_rename));
        }
        first.get_or_insert(last_errno());
    }
    Err(Error::from_call(Source::Fanotify, "fanotify_init", first.unwrap_or(Errno::IO)))
}

fn mask(options: &Options, has_rename: bool) -> u64 {
    let renames = if has_rename { libc::FAN_RENAME } else { libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO };
    let close_writes = if options.close_writes { libc::FAN_CLOSE_WRITE } else { 0 };
    let exec_opens = if options.exec_opens { libc::FAN_OPEN_EXEC } else { 0 };
    libc::FAN_CREATE | libc::FAN_DELETE | libc::FAN_ATTRIB | libc::FAN_ONDIR | renames | close_writes | exec_opens
}

fn moves_or_removes(mask: u64) -> bool {
    mask & (libc::FAN_RENAME | libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO | libc::FAN_DELETE) != 0
}

fn operations(mask: u64) -> OperationSet {
    [
        (libc::FAN_CREATE, OperationSet::CREATE),
        (libc::FAN_DELETE, OperationSet::UNLINK),
        (libc::FAN_RENAME, OperationSet::RENAME_FROM.with(OperationSet::RENAME_TO)),
        (libc::FAN_MOVED_FROM, OperationSet::RENAME_FROM),
        (libc::FAN_MOVED_TO, OperationSet::RENAME_TO),
        (libc::FAN_ATTRIB, OperationSet::ATTRIBUTES),
        (libc::FAN_CLOSE_WRITE, OperationSet::CLOSE_WRITE),
        (libc::FAN_OPEN_EXEC, OperationSet::OPEN_EXEC),
    ]
    .into_iter()
    .filter(|(bit, _)| mask & bit != 0)
    .fold(OperationSet::default(), |set, (_, operation)| set.with(operation))
}

/// Another mount lies over this one, so its path leads elsewhere. btrfs gives its files device numbers of their own.
fn is_hidden(root: BorrowedFd<'_>, mount: &Mount) -> bool {
    let Ok(stat) = rustix::fs::fstat(root) else { return true };
    let device = format!("{}:{}", rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    mount.filesystem != "btrfs" && device != mount.device
}
