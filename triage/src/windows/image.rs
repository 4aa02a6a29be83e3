//! Headers of images in the dead kernel's memory: when they were linked, and where their tables of functions lie.

use super::bytes::{u16_at, u32_at};
use super::memory::Memory;

/// How much of an image's start is looked at.
const HEAD_BYTES: usize = 0x1000;

/// An image's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    pub timestamp: u32,
    pub checksum: u32,
    /// The table of functions, as offset and size; (0, 0) without one.
    pub functions: (u32, u32),
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
    // The fourth directory is that of exceptions.
    let functions = if count > 3 { u32_at(coff, 0xa0).zip(u32_at(coff, 0xa4)) } else { None };
    Some(Headers {
        timestamp: u32_at(coff, 8)?,
        checksum: u32_at(coff, 0x58)?,
        functions: functions.unwrap_or_default(),
    })
}

/// When an image was linked, and its checksum.
pub(super) fn stamp(memory: &Memory<'_>, base: u64) -> Option<(u32, u32)> {
    headers(memory, base).map(|headers| (headers.timestamp, headers.checksum))
}
