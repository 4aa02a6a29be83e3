//! kdump-compressed cores: a bitmap of the pages that are there, a descriptor for each, and each page compressed by itself.
//!
//! A page is found by counting bits and decompressed when it is asked for; a few thousand stay for who asks again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;

use super::notes::{notes, Note, NOTES_BYTES_MAX};
use crate::machine::bytes::{ascii, u32_at, u64_at};
use crate::machine::physical::{Pages, BITMAP_BYTES_MAX, PAGE_BYTES};
use crate::source::Source;
use crate::Error;

/// Bytes of a page's descriptor: offset, size, flags, the kernel's own flags of the page.
const DESCRIPTOR_BYTES: u64 = 24;
/// VMCOREINFO, at most; the kernel has a page for it.
const VMCOREINFO_BYTES_MAX: u64 = 1 << 20;
/// A page that compression made longer than this is damaged.
const PAGE_STORED_BYTES_MAX: usize = 2 * 4096;
/// Pages that stay decompressed: 8 MiB.
const PAGES_KEPT_MAX: usize = 2048;
/// Where the name of the machine stands in the header: behind signature, version and four names of 65 bytes.
const MACHINE_AT: usize = 12 + 4 * 65;

const ZLIB: u32 = 1;
const LZO: u32 = 2;
const SNAPPY: u32 = 4;
/// Of the header alone.
const INCOMPLETE: u32 = 8;
const ZSTD: u32 = 0x20;

/// An opened core.
pub(super) struct Kdump<'a> {
    source: Box<dyn Source + 'a>,
    pages: Pages,
    descriptors: u64,
    page_end: u64,
    /// What the header says of the pages: how some of them are compressed.
    status: u32,
    kept: RefCell<HashMap<u64, Option<Vec<u8>>>>,
    pub notes: Vec<Note>,
    pub vmcoreinfo: Option<String>,
    pub warnings: Vec<String>,
}

/// Where the parts of the file are.
struct Header {
    version: u64,
    /// The header's own second part.
    sub: Vec<u8>,
    bitmap_at: u64,
    bitmap_bytes: u64,
    page_end: u64,
    status: u32,
}

impl Header {
    fn read(source: &dyn Source) -> Result<Self, Error> {
        let head = source.bytes(0, 4096)?;
        let damaged =
            |offset: u64, what: String| Error::Damaged { offset, what, mend: "copy the core again, or make another" };
        if !head.starts_with(b"KDUMP   ") {
            return Err(damaged(0, "the flattened file holds no KDUMP header".to_owned()));
        }
        let machine = head.get(MACHINE_AT..MACHINE_AT.saturating_add(65)).and_then(ascii).unwrap_or_default();
        if machine != "x86_64" {
            return Err(Error::OtherMachine { what: "the core is of another machine than x86-64" });
        }
        let number = |at: usize| u32_at(&head, at).map(u64::from).unwrap_or_default();
        let (version, block, sub_blocks, bitmap_blocks) = (number(8), number(428), number(432), number(436));
        if block != PAGE_BYTES {
            return Err(damaged(428, format!("the block size is {block} and not {PAGE_BYTES}")));
        }
        let bitmap_bytes = bitmap_blocks.saturating_mul(block);
        let mut header = Self {
            version,
            sub: source.bytes(block, 128)?,
            bitmap_at: block.saturating_mul(sub_blocks.saturating_add(1)),
            bitmap_bytes,
            page_end: number(440),
            status: u32_at(&head, 424).unwrap_or_default(),
        };
        if version >= 6 {
            header.page_end = header.field(96, 6);
        }
        header.page_end = header.page_end.min((bitmap_bytes / 2).saturating_mul(8));
        Ok(header)
    }

    /// A field of the second part. Those that the header's version does not know yet hold anything.
    fn field(&self, at: usize, since: u64) -> u64 {
        if self.version >= since {
            u64_at(&self.sub, at).unwrap_or_default()
        } else {
            0
        }
    }

    /// A part of the file, whose offset and size are fields.
    fn part(
        &self,
        source: &dyn Source,
        (at, since): (usize, u64),
        bytes_max: u64,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<u8>, Error> {
        let (offset, size) = (self.field(at, since), self.field(at.saturating_add(8), since));
        if size > bytes_max {
            warnings.push(format!("a part at byte {offset} claims {size} bytes; only {bytes_max} are read"));
        }
        let size = usize::try_from(size.min(bytes_max)).unwrap_or(0);
        let part = source.bytes(offset, size)?;
        if part.len() < size {
            warnings.push(format!("the file is cut: of {size} bytes at byte {offset} it has {}", part.len()));
        }
        Ok(part)
    }

    /// The pages that the file has. The first bitmap tells what the machine had, the second what the file has.
    fn pages(&self, source: &dyn Source, warnings: &mut Vec<String>) -> Result<Pages, Error> {
        let half = self.bitmap_bytes / 2;
        if half > BITMAP_BYTES_MAX {
            warnings.push(format!("the bitmap claims {half} bytes; only {BITMAP_BYTES_MAX} are read"));
        }
        let size = usize::try_from(half.min(BITMAP_BYTES_MAX)).unwrap_or(0);
        let bitmap = source.bytes(self.bitmap_at.saturating_add(half), size)?;
        if bitmap.len() < size {
            warnings.push("the file ends within its bitmap of pages".to_owned());
        }
        Ok(Pages::of_bitmap(bitmap, self.page_end, 0))
    }

    /// Where the descriptors of pages begin.
    fn descriptors(&self) -> u64 {
        self.bitmap_at.saturating_add(self.bitmap_bytes)
    }
}

impl<'a> Kdump<'a> {
    pub(super) fn open(source: Box<dyn Source + 'a>) -> Result<Self, Error> {
        let header = Header::read(&*source)?;
        let mut warnings = Vec::new();
        let pages = header.pages(&*source, &mut warnings)?;
        let vmcoreinfo = header.part(&*source, (32, 3), VMCOREINFO_BYTES_MAX, &mut warnings)?;
        let notes = notes(&header.part(&*source, (48, 4), NOTES_BYTES_MAX, &mut warnings)?);
        if header.field(12, 2) & 0xffff_ffff != 0 {
            warnings.push("the core is one part of a split dump: join the parts for the whole".to_owned());
        }
        let descriptors = header.descriptors();
        if header.status & INCOMPLETE != 0 {
            warnings.push("whoever wrote the core had no room for all of it and marked it as incomplete".to_owned());
        }
        if source.size_bytes() < descriptors {
            warnings.push("the file is cut before its first page".to_owned());
        }
        if let Some((offset, size)) = last_page(&*source, &pages, descriptors)? {
            if offset.saturating_add(size) > source.size_bytes() {
                warnings.push("the file is cut: it has not all pages that its bitmap names".to_owned());
            }
        }
        Ok(Self {
            pages,
            descriptors,
            page_end: header.page_end,
            status: header.status,
            kept: RefCell::default(),
            notes,
            vmcoreinfo: (!vmcoreinfo.is_empty()).then(|| String::from_utf8_lossy(&vmcoreinfo).into_owned()),
            warnings,
            source,
        })
    }

    /// A page's bytes; `None` if the file does not have it, or not whole.
    fn page(&self, number: u64) -> Option<Vec<u8>> {
        // Pages with a bit lie one behind the other, so the place of the n-th tells n.
        let index = self.pages.offset_of(number)? / PAGE_BYTES;
        let at = self.descriptors.checked_add(index.checked_mul(DESCRIPTOR_BYTES)?)?;
        let descriptor = self.source.bytes(at, usize::try_from(DESCRIPTOR_BYTES).ok()?).ok()?;
        let (offset, flags) = (u64_at(&descriptor, 0)?, u32_at(&descriptor, 12)?);
        let size = usize::try_from(u32_at(&descriptor, 8)?).ok().filter(|size| *size <= PAGE_STORED_BYTES_MAX)?;
        let stored = self.source.bytes(offset, size).ok().filter(|stored| stored.len() == size)?;
        decompress(&stored, flags)
    }

    /// What pages are compressed with, if nothing here can read that: by the header, else by the first page that is there, which may be
    /// one that compression would have made longer.
    pub(super) fn refused(&self) -> Option<&'static str> {
        let descriptor = self.source.bytes(self.descriptors, usize::try_from(DESCRIPTOR_BYTES).ok()?).ok()?;
        let flags = u32_at(&descriptor, 12).unwrap_or_default();
        ((self.status | flags) & LZO != 0).then_some("LZO")
    }
}

/// Where the last page's bytes are, and how many; a descriptor that is not there lies at the end of the world.
fn last_page(source: &dyn Source, pages: &Pages, descriptors: u64) -> Result<Option<(u64, u64)>, Error> {
    let Some(last) = (pages.end() / PAGE_BYTES).checked_sub(1) else { return Ok(None) };
    let at = descriptors.saturating_add(last.saturating_mul(DESCRIPTOR_BYTES));
    let descriptor = source.bytes(at, usize::try_from(DESCRIPTOR_BYTES).unwrap_or(0))?;
    let place = u64_at(&descriptor, 0).zip(u32_at(&descriptor, 8));
    Ok(Some(place.map_or((u64::MAX, 0), |(offset, size)| (offset, u64::from(size)))))
}

/// A page out of its stored form.
fn decompress(stored: &[u8], flags: u32) -> Option<Vec<u8>> {
    let size = usize::try_from(PAGE_BYTES).ok()?;
    let mut page = vec![0; size];
    let whole = match flags & (ZLIB | LZO | SNAPPY | ZSTD) {
        0 => {
            page.clear();
            page.extend(stored);
            stored.len()
        }
        ZLIB => {
            let mut zlib = flate2::Decompress::new(true);
            zlib.decompress(stored, &mut page, flate2::FlushDecompress::Finish).ok()?;
            usize::try_from(zlib.total_out()).ok()?
        }
        SNAPPY => {
            let length = snap::raw::decompress_len(stored).ok()?;
            if length != size {
                return None;
            }
            snap::raw::Decoder::new().decompress(stored, &mut page).ok()?
        }
        ZSTD => ruzstd::decoding::FrameDecoder::new().decode_all(stored, &mut page).ok()?,
        _ => return None,
    };
    (whole == size).then_some(page)
}

impl Source for Kdump<'_> {
    fn size_bytes(&self) -> u64 {
        self.page_end.saturating_mul(PAGE_BYTES)
    }

    /// Offsets are physical addresses; a read ends at the end of a page.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let number = offset / PAGE_BYTES;
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= PAGES_KEPT_MAX && !kept.contains_key(&number) {
            kept.clear();
        }
        let page = kept.entry(number).or_insert_with(|| self.page(number));
        let within = usize::try_from(offset % PAGE_BYTES).unwrap_or(0);
        let rest = page.as_deref().and_then(|page| page.get(within..)).unwrap_or_default();
        let size = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..size), rest.get(..size)) {
            to.copy_from_slice(from);
        }
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_damaged_or_of_another_size_is_none() {
        let page = vec![7; 4096];
        let snappy = snap::raw::Encoder::new().compress_vec(&page).expect("compresses");
        assert_eq!(decompress(&snappy, SNAPPY), Some(page.clone()));
        assert_eq!(decompress(&page, 0), Some(page.clone()));
        assert_eq!(decompress(&page[1..], 0), None);
        assert_eq!(decompress(&snappy[..snappy.len() / 2], SNAPPY), None);
        let long = snap::raw::Encoder::new().compress_vec(&[7; 8192]).expect("compresses");
        assert_eq!(decompress(&long, SNAPPY), None);
        for flags in [ZLIB, ZSTD, LZO, ZLIB | SNAPPY] {
            assert_eq!(decompress(&snappy, flags), None);
        }
    }
}
