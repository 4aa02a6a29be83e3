//! An ELF file of 64 bits: where its parts lie in memory, its build id, its functions.

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::cfi::Rules;
use crate::machine::bytes::{hex, u16_at, u32_at, u64_at};
use crate::source::{FileSource, Source as _};

/// Program and section headers, at most.
const HEADERS_MAX: usize = 4096;
/// Bytes of symbols, their names and rules that are held of all files together: libraries of a browser are that large.
pub(super) const HELD_BYTES_MAX: usize = 192 << 20;
/// Bytes of notes.
const NOTES_BYTES_MAX: usize = 64 << 10;
/// Longest name of a function.
const NAME_BYTES_MAX: usize = 4096;
/// Where memory is mapped from a file it begins at a page.
const PAGE_MASK: u64 = !0xfff;

const PROGRAM_HEADER_BYTES: usize = 56;
const SECTION_HEADER_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
pub(super) const PT_EH_FRAME: u32 = 0x6474_e550;
const PF_W: u32 = 2;
const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;
const STT_FUNC: u8 = 2;
const STT_IFUNC: u8 = 10;
const NT_GNU_BUILD_ID: u32 = 3;

/// A part of the file, and where in memory it is mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub kind: u32,
    flags: u32,
    pub offset: u64,
    pub address: u64,
    pub file_bytes: u64,
    memory_bytes: u64,
}

/// A table of symbols, and where in the file their names are.
#[derive(Clone, Copy, Debug)]
struct Table {
    is_full: bool,
    offset: u64,
    size: u64,
    names: (u64, u64),
}

/// Functions by address: start, size, where the name is.
struct Functions {
    list: Vec<(u64, u64, u32)>,
    names: Vec<u8>,
}

/// An opened file.
pub(super) struct Elf {
    source: FileSource,
    segments: Vec<Segment>,
    tables: Vec<Table>,
    build_id: Option<String>,
    /// What may still be held.
    left: Arc<AtomicUsize>,
    functions: OnceLock<Functions>,
    rules: OnceLock<Option<Rules>>,
}

impl Elf {
    /// Reads the headers; `None` of what is no such file. `left` is what may still be held of all files.
    pub(super) fn read(file: File, size_bytes: u64, left: &Arc<AtomicUsize>) -> Option<Self> {
        let source = FileSource::of(file, size_bytes);
        let head = source.bytes(0, 64).ok()?;
        // 64 bits, little-endian.
        if head.get(..6) != Some(b"\x7fELF\x02\x01") {
            return None;
        }
        let table = |start: usize, count: usize, size: usize| {
            let count = usize::from(u16_at(&head, count)?).min(HEADERS_MAX);
            source.bytes(u64_at(&head, start)?, count.saturating_mul(size)).ok()
        };
        let programs = table(0x20, 0x38, PROGRAM_HEADER_BYTES)?;
        let segment = |header: &[u8]| {
            Some(Segment {
                kind: u32_at(header, 0)?,
                flags: u32_at(header, 4)?,
                offset: u64_at(header, 8)?,
                address: u64_at(header, 16)?,
                file_bytes: u64_at(header, 32)?,
                memory_bytes: u64_at(header, 40)?,
            })
        };
        let segments: Vec<Segment> = programs.chunks_exact(PROGRAM_HEADER_BYTES).filter_map(segment).collect();
        let sections = table(0x28, 0x3c, SECTION_HEADER_BYTES).unwrap_or_default();
        let tables = tables(&sections);
        let build_id = segments.iter().filter(|segment| segment.kind == PT_NOTE).find_map(|segment| {
            let size = usize::try_from(segment.file_bytes).unwrap_or(usize::MAX).min(NOTES_BYTES_MAX);
            build_id(&source.bytes(segment.offset, size).ok()?)
        });
        let (functions, rules) = (OnceLock::new(), OnceLock::new());
        Some(Self { source, segments, tables, build_id, left: Arc::clone(left), functions, rules })
    }

    pub(super) fn build_id(&self) -> Option<&str> {
        self.build_id.as_deref()
    }

    /// Whether it names functions that nobody outside needs.
    pub(super) fn has_symbols(&self) -> bool {
        self.tables.iter().any(|table| table.is_full)
    }

    /// The address, as the file has it, of what is mapped first.
    pub(super) fn first_address(&self) -> u64 {
        let first = self.loads().min_by_key(|segment| segment.address);
        first.map_or(0, |segment| segment.address.wrapping_sub(segment.offset) & PAGE_MASK)
    }

    fn loads(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.kind == PT_LOAD)
    }

    /// Bytes at an address, as far as one segment has them that nobody may write to.
    pub(super) fn code(&self, address: u64, size: usize) -> Vec<u8> {
        let is_there = |segment: &&Segment| address.wrapping_sub(segment.address) < segment.file_bytes;
        let segment = self.loads().filter(|segment| segment.flags & PF_W == 0).find(is_there);
        let read = segment.and_then(|segment| {
            let within = address.checked_sub(segment.address)?;
            let left = usize::try_from(segment.file_bytes.checked_sub(within)?).unwrap_or(usize::MAX);
            self.source.bytes(segment.offset.checked_add(within)?, size.min(left)).ok()
        });
        read.unwrap_or_default()
    }

    /// Everything from an address to its segment's end, to be held.
    pub(super) fn rest(&self, address: u64) -> Vec<u8> {
        let is_there = |segment: &&Segment| address.wrapping_sub(segment.address) < segment.file_bytes;
        let segment = self.loads().filter(|segment| segment.flags & PF_W == 0).find(is_there);
        let part = segment.and_then(|segment| {
            let within = address.checked_sub(segment.address)?;
            Some(self.held(segment.offset.checked_add(within)?, segment.file_bytes.checked_sub(within)?))
        });
        part.unwrap_or_default()
    }

    /// A part of the file that is held: whole, or not at all where there is no room for it any more.
    pub(super) fn held(&self, offset: u64, size: u64) -> Vec<u8> {
        let there = self.source.size_bytes().saturating_sub(offset).min(size);
        let size = usize::try_from(there).unwrap_or(usize::MAX);
        match self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(size)) {
            Ok(_) => self.source.bytes(offset, size).unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    pub(super) fn segment(&self, kind: u32) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.kind == kind)
    }

    /// How callers are found.
    pub(super) fn rules(&self) -> Option<&Rules> {
        self.rules.get_or_init(|| Rules::read(self)).as_ref()
    }

    /// The function that an address lies in, with its start.
    pub(super) fn function(&self, address: u64) -> Option<(String, u64)> {
        let functions = self.functions.get_or_init(|| self.read_functions());
        let before = functions.list.partition_point(|(start, ..)| *start <= address);
        let (start, size, name) = *functions.list.get(before.checked_sub(1)?)?;
        // Assembly leaves functions without a size: up to the next one is theirs.
        if size > 0 && address.wrapping_sub(start) >= size || !self.is_mapped(address) {
            return None;
        }
        let name = functions.names.get(usize::try_from(name).ok()?..)?;
        let name = name.get(..name.len().min(NAME_BYTES_MAX))?.split(|byte| *byte == 0).next()?;
        Some((String::from_utf8_lossy(name).into_owned(), start)).filter(|(name, _)| !name.is_empty())
    }

    fn is_mapped(&self, address: u64) -> bool {
        self.loads().any(|segment| address.wrapping_sub(segment.address) < segment.memory_bytes)
    }

    /// Reads the fullest table of symbols.
    fn read_functions(&self) -> Functions {
        let table = self.tables.iter().max_by_key(|table| table.is_full);
        let Some(table) = table else { return Functions { list: Vec::new(), names: Vec::new() } };
        let symbols = self.held(table.offset, table.size);
        let function = |symbol: &[u8]| {
            let is_function = matches!(symbol.get(4)? & 0xf, STT_FUNC | STT_IFUNC) && u16_at(symbol, 6)? != 0;
            let place = (u64_at(symbol, 8)?, u64_at(symbol, 16)?, u32_at(symbol, 0)?);
            (is_function && place.0 != 0).then_some(place)
        };
        let mut list: Vec<_> = symbols.chunks_exact(SYMBOL_BYTES).filter_map(function).collect();
        // Of several names for one place the longest function's, and of these always the same.
        list.sort_unstable();
        Functions { list, names: self.held(table.names.0, table.names.1) }
    }
}

/// The tables of symbols among the sections.
fn tables(sections: &[u8]) -> Vec<Table> {
    let part = |header: &[u8]| Some((u64_at(header, 0x18)?, u64_at(header, 0x20)?));
    let table = |header: &[u8]| {
        let kind = u32_at(header, 4)?;
        let names = usize::try_from(u32_at(header, 0x28)?).ok()?;
        let names = sections.chunks_exact(SECTION_HEADER_BYTES).nth(names).and_then(part)?;
        let (offset, size) = part(header)?;
        matches!(kind, SHT_SYMTAB | SHT_DYNSYM).then_some(Table { is_full: kind == SHT_SYMTAB, offset, size, names })
    };
    sections.chunks_exact(SECTION_HEADER_BYTES).filter_map(table).collect()
}

/// The build id among notes, in hexadecimal.
fn build_id(notes: &[u8]) -> Option<String> {
    let mut rest = notes;
    while let Some((kind, payload, behind)) = crate::process::elf_core::next_note(rest) {
        if kind == NT_GNU_BUILD_ID && !payload.is_empty() {
            return Some(hex(payload));
        }
        rest = behind;
    }
    None
}
