//! What a small dump holds, by the table at 2000h: pieces of memory, the drivers, and copies of the kernel's own records.

use crate::machine::bytes::{u32_at, u64_at, utf16};
use crate::machine::memory::{number, Block};
use crate::machine::modules::Loaded;
use crate::source::Source;

/// Size of the table.
const TABLE_BYTES: usize = 0xc0;
/// Most drivers that are read; machines with more than a few hundred are rare.
const DRIVERS_MAX: u64 = 4096;
/// Most pieces of memory that are read.
const BLOCKS_MAX: u64 = 1 << 16;
/// Longest driver name.
const NAME_CHARS_MAX: u64 = 512;
/// How much is looked at of the copies of EPROCESS and ETHREAD.
const RECORD_BYTES_MAX: u64 = 0x1_0000;

/// A small dump's own records.
#[derive(Debug, Default)]
pub(super) struct Small {
    pub blocks: Vec<Block>,
    pub drivers: Vec<Loaded>,
    pub unloaded: Vec<Loaded>,
    /// The thread that crashed, its process and its processor.
    pub thread: Option<u64>,
    pub process: Option<u64>,
    pub cpu: Option<u32>,
    /// The memory manager's word of its own, where it blamed a driver.
    pub broken_driver: Option<String>,
    /// Lowest and first unsaved address of the saved stack.
    pub stack: Option<(u64, u64)>,
    /// The debugger's block in the file.
    pub debugger_block: Option<(u64, u64)>,
}

/// The table's fields that are used.
struct Table(Vec<u8>);

impl Table {
    fn at(&self, at: usize) -> u64 {
        number(&self.0, at)
    }

    fn long(&self, at: usize) -> u64 {
        u64_at(&self.0, at).unwrap_or_default()
    }
}

impl Small {
    /// Reads the table and what it points at; what is missing costs a warning each.
    pub(super) fn read(source: &dyn Source, debugger_block: u64, warnings: &mut Vec<String>) -> Self {
        let table = Table(source.bytes(0x2000, TABLE_BYTES).unwrap_or_default());
        if table.0.len() < TABLE_BYTES {
            warnings.push("the file ends before its table at 0x2000: only the header can be read".to_owned());
            return Self::default();
        }
        if source.bytes(table.at(8), 4).ok().as_deref() != Some(b"TRGD") {
            let size = source.size_bytes();
            warnings.push(format!("no end mark (TRGD) at {:#x}: the file of {size} bytes is cut short", table.at(8)));
        }
        let mut small = Self {
            drivers: drivers(source, &table, warnings),
            unloaded: unloaded(source, &table, warnings),
            ..Self::default()
        };
        small.blocks = blocks(source, &table, warnings);
        small.add_stack(&table);
        small.add_records(source, &table, debugger_block);
        small.broken_driver = Some(table.at(0x40)).filter(|at| *at != 0).and_then(|at| pool_name(source, at));
        small
    }

    /// The stack is saved apart from the other pieces.
    fn add_stack(&mut self, table: &Table) {
        let (top, size) = (table.long(0x48), table.at(0x2c));
        if top != 0 && size != 0 {
            self.blocks.push(Block { address: top, size, offset: table.at(0x28) });
            self.stack = Some((top, top.saturating_add(size)));
        }
        let (page, size) = (table.long(0x60), table.at(0x6c));
        if page != 0 && size != 0 {
            self.blocks.push(Block { address: page, size, offset: table.at(0x68) });
        }
    }

    /// KPRCB names the thread, the thread its process; of each there is a copy in the file, up to whatever lies behind it.
    fn add_records(&mut self, source: &dyn Source, table: &Table, debugger_block: u64) {
        let (prcb, process, thread) = (table.at(0x1c), table.at(0x20), table.at(0x24));
        let others = [0x08, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x30, 0x38, 0x68, 0x70, 0x78].map(|at| table.at(at));
        let size_of = |offset: u64| {
            let behind = others.into_iter().filter(|other| *other > offset).min().unwrap_or(u64::MAX);
            behind.saturating_sub(offset).min(RECORD_BYTES_MAX)
        };
        if prcb != 0 {
            let head = source.bytes(prcb, 0x28).unwrap_or_default();
            self.thread = u64_at(&head, 8).filter(|thread| *thread != 0);
            self.cpu = u32_at(&head, 0x24);
        }
        if let (Some(address), true) = (self.thread, thread != 0) {
            self.blocks.push(Block { address, size: size_of(thread), offset: thread });
            let head = source.bytes(thread, 0xc0).unwrap_or_default();
            self.process = u64_at(&head, 0xb8).filter(|process| *process != 0);
        }
        if let (Some(address), true) = (self.process, process != 0) {
            self.blocks.push(Block { address, size: size_of(process), offset: process });
        }
        let (offset, size) = (table.at(0x70), table.at(0x74));
        if offset != 0 && size != 0 {
            self.debugger_block = Some((offset, size));
            self.blocks.push(Block { address: debugger_block, size, offset });
        }
    }
}

/// The pieces of memory.
fn blocks(source: &dyn Source, table: &Table, warnings: &mut Vec<String>) -> Vec<Block> {
    let count = table.at(0x7c);
    if count > BLOCKS_MAX {
        warnings.push(format!("the file claims {count} pieces of memory; only {BLOCKS_MAX} are read"));
    }
    let size = count.min(BLOCKS_MAX).saturating_mul(16);
    let bytes = source.bytes(table.at(0x78), usize::try_from(size).unwrap_or(0)).unwrap_or_default();
    let blocks = bytes.chunks_exact(16).filter_map(|entry| {
        let address = u64_at(entry, 0)?;
        Some(Block { address, offset: number(entry, 8), size: number(entry, 12) })
    });
    let blocks: Vec<Block> = blocks.collect();
    let file = source.size_bytes();
    let missing = blocks.iter().filter(|block| block.offset.saturating_add(block.size) > file).count();
    let missing = u64::try_from(missing).unwrap_or(u64::MAX);
    let cut = count.min(BLOCKS_MAX).saturating_sub(u64::try_from(blocks.len()).unwrap_or(u64::MAX));
    if missing > 0 || cut > 0 {
        let missing = missing.saturating_add(cut);
        warnings.push(format!("{missing} of {count} pieces of memory lie behind the file's end"));
    }
    blocks
}

/// The loaded drivers.
fn drivers(source: &dyn Source, table: &Table, warnings: &mut Vec<String>) -> Vec<Loaded> {
    /// Size of an entry.
    const ENTRY_BYTES: u64 = 0x90;
    let claimed = table.at(0x34);
    if claimed > DRIVERS_MAX {
        warnings.push(format!("the file claims {claimed} drivers; only {DRIVERS_MAX} are read"));
    }
    let count = claimed.min(DRIVERS_MAX);
    let size = usize::try_from(count.saturating_mul(ENTRY_BYTES)).unwrap_or(0);
    let entries = source.bytes(table.at(0x30), size).unwrap_or_default();
    let mut drivers = Vec::new();
    for entry in entries.chunks_exact(usize::try_from(ENTRY_BYTES).unwrap_or(1)) {
        let Some(base) = u64_at(entry, 0x38).filter(|base| *base != 0) else {
            continue;
        };
        let path = pool_name(source, number(entry, 0));
        drivers.push(Loaded {
            path: path.unwrap_or_else(|| "(no name)".to_owned()),
            base,
            size: number(entry, 0x48),
            timestamp: u32_at(entry, 0x88),
            checksum: u32_at(entry, 0x80),
        });
    }
    if u64::try_from(drivers.len()).is_ok_and(|read| read < count) {
        warnings.push(format!("{} of {claimed} drivers could be read", drivers.len()));
    }
    drivers
}

/// A name in the string pool: a count of characters, then UTF-16.
fn pool_name(source: &dyn Source, at: u64) -> Option<String> {
    let count = u32_at(&source.bytes(at, 4).ok()?, 0)?;
    let size = usize::try_from(u64::from(count).min(NAME_CHARS_MAX).saturating_mul(2)).ok()?;
    let name = utf16(&source.bytes(at.checked_add(4)?, size).ok()?);
    Some(name).filter(|name| !name.is_empty())
}

/// The drivers that were unloaded before.
fn unloaded(source: &dyn Source, table: &Table, warnings: &mut Vec<String>) -> Vec<Loaded> {
    /// Size of an entry, and how many the kernel keeps.
    const ENTRY_BYTES: usize = 0x38;
    const ENTRIES_MAX: u64 = 50;
    let at = table.at(0x18);
    if at == 0 {
        return Vec::new();
    }
    let count = source.bytes(at, 8).ok().and_then(|bytes| u64_at(&bytes, 0)).unwrap_or_default();
    if count > ENTRIES_MAX {
        warnings.push(format!("the file claims {count} unloaded drivers; the kernel keeps {ENTRIES_MAX}"));
    }
    let size = usize::try_from(count.min(ENTRIES_MAX)).unwrap_or(0).saturating_mul(ENTRY_BYTES);
    let entries = source.bytes(at.saturating_add(8), size).unwrap_or_default();
    let read = entries.chunks_exact(ENTRY_BYTES).filter_map(|entry| {
        let (start, end) = (u64_at(entry, 0x28)?, u64_at(entry, 0x30)?);
        Some(Loaded {
            path: utf16(entry.get(0x10..0x28)?),
            base: start,
            size: end.saturating_sub(start),
            timestamp: None,
            checksum: None,
        })
    });
    read.filter(|one| one.base != 0).collect()
}
