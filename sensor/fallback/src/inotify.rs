//! File events of named folders, where filesystems can't be marked. The weakest file source: it doesn't know who did it,
//! and sees the folders themselves, not those below.
//!
//! Record: watch i32, mask u32, cookie u32, name length u32, then the name, padded with NULs.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::bytes::{i32_at, slice_at, u32_at, until_nul};
use crate::error::{Error, Refusal};
use crate::observed::{links, Counts, FileChange, Kind, Observed, OperationSet, Source};

/// Bytes read at once: some hundred events.
const BUFFER_BYTES: usize = 16 * 1024;
/// Reads in one drain, so that a flood can't keep the caller from its other sources.
const READS_MAX: usize = 32;
const HEAD_BYTES: usize = 16;

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    opened: OwnedFd,
}

/// File events of named folders.
#[derive(Debug)]
pub struct Inotify {
    fd: OwnedFd,
    folders: HashMap<i32, Folder>,
    refused: Vec<Refusal>,
}

impl Inotify {
    /// Watches the folders. It fails when none could be watched; those that refused are in [`Self::refused`].
    pub fn open(folders: &[PathBuf]) -> Result<Self, Error> {
        let origin = Source::Inotify;
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|errno| Error::from_call(origin, "inotify_init1", errno))?;
        let mut source = Self { fd, folders: HashMap::new(), refused: Vec::new() };
        for path in folders {
            if let Err(errno) = source.watch(path) {
                source.refused.push(Refusal { place: path.clone(), filesystem: String::new(), errno });
            }
        }
        if source.folders.is_empty() {
            return Err(Error::NothingToWatch { origin, refused: source.refused });
        }
        Ok(source)
    }

    /// Watches through the opened folder, so that the watch and the file kinds read later are of the same folder.
    fn watch(&mut self, path: &Path) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty())?;
        let events = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(&self.fd, format!("/proc/self/fd/{}", opened.as_raw_fd()), events)?;
        self.folders.insert(watch, Folder { path: path.to_owned(), opened });
        Ok(())
    }

    /// Becomes readable when there are events.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Folders that could not be watched, and why.
    #[must_use]
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// Reads what is queued, up to a limit (then `has_more` is set), and hands it to the sink. Never blocks.
    pub fn drain(&mut self, sink: &mut dyn FnMut(Observed)) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        let mut buffer = [0; BUFFER_BYTES];
        for _ in 0..READS_MAX {
            let length = match rustix::io::read(&self.fd, &mut buffer) {
                Ok(length) => length,
                Err(Errno::AGAIN) => return Ok(counts),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::System { origin: Source::Inotify, call: "read of events", errno }),
            };
            self.take_all(buffer.get(..length).unwrap_or_default(), &mut counts, sink);
        }
        counts.has_more = true;
        Ok(counts)
    }

    /// A rename inside the watched folders is two neighbouring records with one cookie: they become one event. A pair
    /// that two reads tear apart stays two.
    fn take_all(&mut self, bytes: &[u8], counts: &mut Counts, sink: &mut dyn FnMut(Observed)) {
        let mut records = Records { rest: bytes }.peekable();
        while let Some(record) = records.next() {
            let Ok(record) = record else {
                counts.refuse();
                continue;
            };
            let other_side = records.next_if(|next| matches!(next, Ok(next) if record.is_moved_to(next)));
            self.take(&record, other_side.and_then(Result::ok).as_ref(), counts, sink);
        }
    }

    fn take(
        &mut self,
        record: &Record,
        other_side: Option<&Record>,
        counts: &mut Counts,
        sink: &mut dyn FnMut(Observed),
    ) {
        if record.mask.contains(ReadFlags::QUEUE_OVERFLOW) {
            return counts.deliver(sink, Observed::Overflow { source: Source::Inotify });
        }
        if record.mask.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF) {
            // A folder that was moved is still watched, but under a path that no longer leads to it: end it aloud.
            let _ = inotify::remove_watch(&self.fd, record.watch); // gone already where the kernel ended the watch
            return match self.folders.remove(&record.watch) {
                Some(folder) => {
                    counts.deliver(sink, Observed::WatchEnded { source: Source::Inotify, place: folder.path });
                }
                None => counts.filter(),
            };
        }
        match self.change(record, other_side) {
            Some(change) => counts.deliver(sink, Observed::File(change)),
            None => counts.filter(),
        }
    }

    fn change(&self, record: &Record, other_side: Option<&Record>) -> Option<FileChange> {
        let folder = self.folders.get(&record.watch)?;
        let both_sides = other_side.map_or(OperationSet::default(), |_| OperationSet::RENAME_TO);
        let operations = operations(record.mask).with(both_sides);
        if operations.is_empty() {
            return None;
        }
        let is_folder = record.mask.contains(ReadFlags::ISDIR);
        let created = operations
            .contains(OperationSet::CREATE)
            .then(|| rustix::fs::statat(&folder.opened, record.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).ok())
            .flatten();
        let new_folder = other_side.and_then(|other| self.folders.get(&other.watch));
        Some(FileChange {
            source: Source::Inotify,
            operations,
            directory: Some(folder.path.clone()),
            name: if record.name.is_empty() { b".".to_vec() } else { record.name.clone() },
            new_directory: new_folder.map(|folder| folder.path.clone()),
            new_name: other_side.map(|other| other.name.clone()),
            pid: None,
            kind: if is_folder {
                Some(Kind::Directory)
            } else {
                created.and_then(|stat| Kind::from_mode(stat.st_mode))
            },
            links: created.filter(|_| !is_folder).map(|stat| links(&stat)),
            merged: false, // inotify joins only records that are all alike
        })
    }
}

fn operations(mask: ReadFlags) -> OperationSet {
    [
        (ReadFlags::CREATE, OperationSet::CREATE),
        (ReadFlags::DELETE, OperationSet::UNLINK),
        (ReadFlags::MOVED_FROM, OperationSet::RENAME_FROM),
        (ReadFlags::MOVED_TO, OperationSet::RENAME_TO),
        (ReadFlags::ATTRIB, OperationSet::ATTRIBUTES),
    ]
    .into_iter()
    .filter(|(bit, _)| mask.contains(*bit))
    .fold(OperationSet::default(), |set, (_, operation)| set.with(operation))
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    watch: i32,
    mask: ReadFlags,
    cookie: u32,
    name: Vec<u8>,
}

impl Record {
    fn is_moved_to(&self, next: &Self) -> bool {
        self.mask.contains(ReadFlags::MOVED_FROM)
            && next.mask.contains(ReadFlags::MOVED_TO)
            && self.cookie == next.cookie
    }
}

/// A record whose length is wrong: nothing behind it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

struct Records<'a> {
    rest: &'a [u8],
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((record, rest)) = split(self.rest) else {
            self.rest = &[];
            return Some(Err(Malformed));
        };
        self.rest = rest;
        Some(Ok(record))
    }
}

fn split(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let name_bytes = usize::try_from(u32_at(bytes, 12)?).ok()?;
    let name = until_nul(slice_at(bytes, HEAD_BYTES, name_bytes)?).to_vec();
    let mask = ReadFlags::from_bits_retain(u32_at(bytes, 4)?);
    let record = Record { watch: i32_at(bytes, 0)?, mask, cookie: u32_at(bytes, 8)?, name };
    Some((record, bytes.get(HEAD_BYTES.checked_add(name_bytes)?..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(mask: ReadFlags, name: &[u8]) -> Vec<u8> {
        let mut bytes = 1_i32.to_ne_bytes().to_vec();
        bytes.extend(mask.bits().to_ne_bytes());
        bytes.extend(9_u32.to_ne_bytes());
        bytes.extend(u32::try_from(name.len()).expect("small").to_ne_bytes());
        bytes.extend(name);
        bytes
    }

    #[test]
    fn names_lose_their_padding() {
        let bytes = [record(ReadFlags::CREATE, b"a\0\0\0"), record(ReadFlags::ATTRIB, b"")].concat();
        let records: Vec<_> = Records { rest: &bytes }.map(|record| record.expect("well formed").name).collect();
        assert_eq!(records, [b"a".to_vec(), vec![]]);
    }

    #[test]
    fn a_record_cut_anywhere_is_refused_without_a_panic() {
        let whole = record(ReadFlags::CREATE, b"name\0\0\0\0");
        for length in 1..whole.len() {
            let records: Vec<_> = Records { rest: &whole[..length] }.collect();
            assert_eq!(records, [Err(Malformed)], "cut at {length}");
        }
        let mut lying = whole;
        lying[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(Records { rest: &lying }.collect::<Vec<_>>(), [Err(Malformed)]);
    }
}
