//! Headers of images in the dead kernel's memory: when they were linked, and where their tables of functions lie.

use crate::machine::bytes::{array_at, ascii, u16_at, u32_at};
use crate::machine::memory::Memory;
use crate::symbols::pdb::Identity;

/// How much of an image's start is looked at.
const HEAD_BYTES: usize = 0x1000;

/// An image's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    pub timestamp: u32,
    pub checksum: u32,
    /// The table of functions, as offset and size; (0, 0) without one.
    pub functions: (u32, u32),
    /// The debug directory, in the same way.
    pub debug: (u32, u32),
}

/// Reads the headers at an image's base, as far as they are in the dump.
pub(super) fn headers(memory: &Memory<'_>, base: u64) -> Option<Headers> {
    /// Magic number of the 64-bit optional header.
    const PE64: u16 = 0x20b;
    let head = memory.some(base, HEAD_BYTES);
    if head.get(..2) != Some(b"MZ") {
        return None;
    }
    let at = usize::try_from(u32_at(&head, 0x3c)?).ok()?;
    let coff = head.get(at..)?;
    if coff.get(..4) != Some(b"PE\0\0") || u16_at(coff, 0x18)? != PE64 {
        return None;
    }
    let count = u32_at(coff, 0x84).unwrap_or_default();
    // The fourth directory is that of exceptions, the seventh that of what ties the image to its symbols.
    let directory = |number: u32, at: usize| {
        let place = u32_at(coff, at).zip(u32_at(coff, at.saturating_add(4)));
        place.filter(|_| count > number).unwrap_or_default()
    };
    Some(Headers {
        timestamp: u32_at(coff, 8)?,
        checksum: u32_at(coff, 0x58)?,
        functions: directory(3, 0xa0),
        debug: directory(6, 0xb8),
    })
}

/// When an image was linked, and its checksum.
pub(super) fn stamp(memory: &Memory<'_>, base: u64) -> Option<(u32, u32)> {
    headers(memory, base).map(|headers| (headers.timestamp, headers.checksum))
}

/// Reads what ties an image to its PDB: the CodeView record of its debug directory.
pub(super) fn identity(memory: &Memory<'_>, base: u64) -> Option<Identity> {
    /// Size of an entry, how many are looked at, and the type of the one that is sought.
    const ENTRY_BYTES: usize = 28;
    const ENTRIES_MAX: usize = 16;
    const CODEVIEW: u32 = 2;
    /// Longest path in the record.
    const PATH_BYTES_MAX: usize = 512;
    let (table, size) = headers(memory, base)?.debug;
    let size = usize::try_from(size).ok()?.min(ENTRY_BYTES.saturating_mul(ENTRIES_MAX));
    let entries = memory.all(base.checked_add(u64::from(table))?, size)?;
    let entry = entries.chunks_exact(ENTRY_BYTES).find(|entry| u32_at(entry, 0xc) == Some(CODEVIEW))?;
    let record = memory.some(base.checked_add(u64::from(u32_at(entry, 0x14)?))?, PATH_BYTES_MAX);
    if record.get(..4) != Some(b"RSDS") {
        return None;
    }
    let path = ascii(record.get(24..)?)?;
    let pdb = path.rsplit(['\\', '/']).next().filter(|name| !matches!(*name, "" | "." | ".."))?.to_owned();
    Some(Identity { guid: array_at(&record, 4)?, age: u32_at(&record, 20)?, pdb })
}
