//! The index of pages of a dump with physical memory. Three layouts: runs (type 1), a bitmap (5, 6), ranges (8, 9, A).

use super::header::{DumpType, Header, HEADER_BYTES};
use crate::machine::bytes::{u32_at, u64_at};
use crate::machine::physical::{Pages, BITMAP_BYTES_MAX};
use crate::source::Source;

/// Most ranges that are read.
const RANGES_MAX: u64 = 1 << 20;

/// Reads the index of a dump with physical memory.
pub(super) fn read(source: &dyn Source, header: &Header, kind: DumpType, warnings: &mut Vec<String>) -> Option<Pages> {
    match kind {
        DumpType::Full => Some(Pages::of_runs(header.runs.iter().copied(), u64::try_from(HEADER_BYTES).ok()?)),
        DumpType::Bitmap => bitmap(source, warnings),
        DumpType::Ranges => ranges(source, warnings),
        DumpType::Summary | DumpType::Small => None,
    }
}

fn bitmap(source: &dyn Source, warnings: &mut Vec<String>) -> Option<Pages> {
    let head = source.bytes(0x2000, 0x38).ok()?;
    let is_marked = matches!(head.get(..4), Some(b"SDMP" | b"FDMP")) && head.get(4..8) == Some(b"DUMP");
    if !is_marked {
        warnings.push("no bitmap header (SDMP DUMP) at 0x2000: memory can't be read".to_owned());
        return None;
    }
    let (first_page, bits) = (u64_at(&head, 0x20)?, u64_at(&head, 0x30)?);
    let size = bits.div_ceil(8);
    if size > BITMAP_BYTES_MAX {
        warnings.push(format!("the bitmap claims {bits} pages; only {} are read", BITMAP_BYTES_MAX.saturating_mul(8)));
    }
    let size = usize::try_from(size.min(BITMAP_BYTES_MAX)).ok()?;
    let bitmap = source.bytes(0x2038, size).ok()?;
    if bitmap.len() < size {
        warnings.push("the file ends within its bitmap of pages".to_owned());
    }
    Some(Pages::of_bitmap(bitmap, bits, first_page))
}

fn ranges(source: &dyn Source, warnings: &mut Vec<String>) -> Option<Pages> {
    let head = source.bytes(0x2000, 0x30).ok()?;
    let is_marked = u32_at(&head, 0) == Some(0x40) && head.get(4..12) == Some(b"RDMPDUMP");
    if !is_marked {
        warnings.push("no range header (RDMP DUMP) at 0x2000: memory can't be read".to_owned());
        return None;
    }
    let first_page = u64_at(&head, 0x18)?;
    let room = first_page.saturating_sub(0x2030) / 16;
    if room > RANGES_MAX {
        warnings.push(format!("the header has room for {room} ranges of pages; only {RANGES_MAX} are read"));
    }
    let size = usize::try_from(room.min(RANGES_MAX).saturating_mul(16)).ok()?;
    let table = source.bytes(0x2030, size).ok()?;
    if table.len() < size {
        warnings.push("the file ends within its list of pages".to_owned());
    }
    let pairs = table.chunks_exact(16).filter_map(|pair| Some((u64_at(pair, 0)?, u64_at(pair, 8)?)));
    Some(Pages::of_runs(pairs.take_while(|(first, pages)| *pages != 0 && (*first != 0)), first_page))
}
