//! Parses what a fanotify descriptor delivers: events, each with typed information records behind its fixed head.
//!
//! Head (24 bytes): length u32, version u8, reserved u8, head length u16, mask u64, fd i32, pid i32.
//! Information: type u8, padding u8, length u16; for the types below: fsid 2 x u32, handle length u32, handle type i32,
//! handle, and for the named types the name, ended by NUL.

use crate::bytes::{i32_at, slice_at, u16_at, u32_at, u64_at, u8_at, until_nul};

/// The record layout that this parser reads (FANOTIFY_METADATA_VERSION).
pub(super) const VERSION: u8 = 3;
/// Most bytes of a file handle (MAX_HANDLE_SZ): a longer one can't be given back to the kernel.
pub(super) const HANDLE_BYTES_MAX: usize = 128;

const HEAD_BYTES: usize = 24;
const INFORMATION_HEAD_BYTES: usize = 4;
/// From the start of an information record to its handle.
const HANDLE_OFFSET: usize = 20;

/// A file's identity: its filesystem and the handle that the filesystem knows it by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handle {
    /// The filesystem's id, composed as in statvfs(3).
    pub fsid: u64,
    /// The handle's type, meaningful to the filesystem only.
    pub handle_type: i32,
    /// At most [`HANDLE_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub directory: Handle,
    pub name: Vec<u8>,
}

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub mask: u64,
    pub pid: i32,
    /// Where; for a rename of which both sides are known, where from.
    pub place: Option<Place>,
    /// Where to.
    pub new_place: Option<Place>,
    /// The file itself.
    pub target: Option<Handle>,
}

/// Why bytes are not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The length is wrong: nothing behind it can be trusted.
    Length,
    /// Another version of the layout.
    Version(u8),
    /// The information is inconsistent; the next event can still be read.
    Information,
}

/// The events in what one read(2) returned.
pub(super) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((event, rest)) = split_event(self.rest) else {
            self.rest = &[];
            return Some(Err(Malformed::Length));
        };
        self.rest = rest;
        Some(parse_event(event))
    }
}

fn split_event(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    if length < HEAD_BYTES {
        return None;
    }
    bytes.split_at_checked(length)
}

fn parse_event(event: &[u8]) -> Result<Record, Malformed> {
    let version = u8_at(event, 4).ok_or(Malformed::Length)?;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let head = || Some((usize::from(u16_at(event, 6)?), u64_at(event, 8)?, i32_at(event, 20)?));
    let (head_bytes, mask, pid) = head().ok_or(Malformed::Length)?;
    if head_bytes < HEAD_BYTES {
        return Err(Malformed::Length);
    }
    let mut record = Record { mask, pid, ..Record::default() };
    let mut rest = event.get(head_bytes..).ok_or(Malformed::Length)?;
    while !rest.is_empty() {
        let length = usize::from(u16_at(rest, 2).ok_or(Malformed::Information)?);
        if length < INFORMATION_HEAD_BYTES {
            return Err(Malformed::Information);
        }
        let (information, next) = rest.split_at_checked(length).ok_or(Malformed::Information)?;
        take_information(&mut record, information).ok_or(Malformed::Information)?;
        rest = next;
    }
    Ok(record)
}

/// Adds what one information record says. Types that we don't know are passed over: newer kernels may add some.
fn take_information(record: &mut Record, information: &[u8]) -> Option<()> {
    match u8_at(information, 0)? {
        libc::FAN_EVENT_INFO_TYPE_FID => record.target = Some(handle(information)?.0),
        libc::FAN_EVENT_INFO_TYPE_DFID => {
            record.place = Some(Place { directory: handle(information)?.0, name: b".".to_vec() });
        }
        libc::FAN_EVENT_INFO_TYPE_DFID_NAME | libc::FAN_EVENT_INFO_TYPE_OLD_DFID_NAME => {
            record.place = Some(place(information)?);
        }
        libc::FAN_EVENT_INFO_TYPE_NEW_DFID_NAME => record.new_place = Some(place(information)?),
        _ => {}
    }
    Some(())
}

fn place(information: &[u8]) -> Option<Place> {
    let (directory, name) = handle(information)?;
    let name = until_nul(name);
    (!name.is_empty()).then(|| Place { directory, name: name.to_vec() })
}

/// The handle, and what follows it.
fn handle(information: &[u8]) -> Option<(Handle, &[u8])> {
    let fsid = u64::from(u32_at(information, 4)?) | u64::from(u32_at(information, 8)?) << u32::BITS;
    let length = usize::try_from(u32_at(information, 12)?).ok()?;
    let handle_type = i32_at(information, 16)?;
    if length > HANDLE_BYTES_MAX {
        return None;
    }
    let bytes = slice_at(information, HANDLE_OFFSET, length)?.to_vec();
    let rest = information.get(HANDLE_OFFSET.checked_add(length)?..)?;
    Some((Handle { fsid, handle_type, bytes }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn information(kind: u8, handle: &[u8], name: &[u8]) -> Vec<u8> {
        let length = (HANDLE_OFFSET + handle.len() + name.len()).next_multiple_of(4);
        let mut bytes = vec![kind, 0];
        bytes.extend(u16::try_from(length).expect("small").to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(1_u32.to_ne_bytes());
        bytes.extend(u32::try_from(handle.len()).expect("small").to_ne_bytes());
        bytes.extend(2_i32.to_ne_bytes());
        bytes.extend(handle);
        bytes.extend(name);
        bytes.resize(length, 0);
        bytes
    }

    fn event(mask: u64, informations: &[Vec<u8>]) -> Vec<u8> {
        let body = informations.concat();
        let mut bytes = u32::try_from(HEAD_BYTES + body.len()).expect("small").to_ne_bytes().to_vec();
        bytes.extend([VERSION, 0]);
        bytes.extend(24_u16.to_ne_bytes());
        bytes.extend(mask.to_ne_bytes());
        bytes.extend((-1_i32).to_ne_bytes());
        bytes.extend(99_i32.to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    fn only(bytes: &[u8]) -> Result<Record, Malformed> {
        let mut records = Records::new(bytes);
        let first = records.next().expect("one event");
        assert!(records.next().is_none());
        first
    }

    #[test]
    fn a_create_gives_folder_name_and_target() {
        let bytes =
            event(libc::FAN_CREATE, &[information(2, b"dir-handle", b"name\0"), information(1, b"target", b"")]);
        let record = only(&bytes).expect("well formed");
        assert_eq!((record.mask, record.pid), (libc::FAN_CREATE, 99));
        let place = record.place.expect("a place");
        assert_eq!(place.name, b"name");
        assert_eq!(place.directory, Handle { fsid: 7 | 1 << 32, handle_type: 2, bytes: b"dir-handle".to_vec() });
        assert_eq!(record.target.expect("a target").bytes, b"target");
    }

    #[test]
    fn a_rename_gives_both_sides() {
        let bytes = event(libc::FAN_RENAME, &[information(10, b"old", b"a\0"), information(12, b"new!", b"b\0")]);
        let record = only(&bytes).expect("well formed");
        assert_eq!(record.place.expect("old").name, b"a");
        assert_eq!(record.new_place.expect("new").directory.bytes, b"new!");
    }

    #[test]
    fn information_of_a_type_we_do_not_know_is_passed_over() {
        let bytes = event(libc::FAN_CREATE, &[vec![200, 0, 8, 0, 1, 2, 3, 4], information(2, b"d", b"n\0")]);
        assert_eq!(only(&bytes).expect("well formed").place.expect("a place").name, b"n");
    }

    #[test]
    fn a_record_cut_anywhere_is_refused_without_a_panic() {
        let whole =
            event(libc::FAN_CREATE, &[information(2, b"dir-handle", b"name\0"), information(1, b"target", b"")]);
        for length in 1..whole.len() {
            assert_eq!(only(&whole[..length]), Err(Malformed::Length), "cut at {length}");
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let mut long_handle = event(libc::FAN_CREATE, &[information(2, b"dir", b"n\0")]);
        long_handle[HEAD_BYTES + 12..HEAD_BYTES + 16].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(only(&long_handle), Err(Malformed::Information));

        let mut zero_information = event(libc::FAN_CREATE, &[information(2, b"dir", b"n\0")]);
        zero_information[HEAD_BYTES + 2..HEAD_BYTES + 4].copy_from_slice(&[0, 0]);
        assert_eq!(only(&zero_information), Err(Malformed::Information));

        let mut zero_event = event(libc::FAN_CREATE, &[]);
        zero_event[0..4].copy_from_slice(&[0; 4]);
        assert_eq!(only(&zero_event), Err(Malformed::Length));

        let mut long_head = event(libc::FAN_CREATE, &[]);
        long_head[6..8].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(only(&long_head), Err(Malformed::Length));
    }

    #[test]
    fn a_bad_event_does_not_hide_the_next() {
        let mut bad = event(libc::FAN_CREATE, &[information(2, b"dir", b"n\0")]);
        bad[HEAD_BYTES + 2..HEAD_BYTES + 4].copy_from_slice(&[1, 0]);
        bad.extend(event(libc::FAN_DELETE, &[]));
        let records: Vec<_> = Records::new(&bad).collect();
        assert_eq!(records.first(), Some(&Err(Malformed::Information)));
        assert!(matches!(records.get(1), Some(Ok(record)) if record.mask == libc::FAN_DELETE));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = event(libc::FAN_CREATE, &[]);
        bytes[4] = 9;
        assert_eq!(only(&bytes), Err(Malformed::Version(9)));
    }

    #[test]
    fn every_single_flipped_byte_is_survived() {
        let whole =
            event(libc::FAN_CREATE, &[information(2, b"dir-handle", b"name\0"), information(1, b"target", b"")]);
        for position in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[position] = value;
                assert!(Records::new(&bytes).count() <= whole.len());
            }
        }
    }
}
