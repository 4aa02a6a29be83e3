//! The dead kernel's memory by virtual address: blocks of a small dump, or physical pages behind page tables.
//!
//! Reading is metered. A forged dump can make lists and tables that lead anywhere; what it can't make is a reading that goes on
//! for ever or takes more than was set.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::bytes::{u16_at, u32_at, u64_at, utf16};
use super::paging::{Outcome, Paging};
use super::physical::{Pages, PAGE_BYTES};
use crate::report::WalkLevel;
use crate::source::Source;

/// Reads of one dump. The largest real ones took a hundredth of it.
const READS_MAX: u64 = 2_000_000;
/// Time for one dump, far from what a real one takes. With what a search takes beside it, it stays below what the worker may take.
const TIME_MAX: Duration = Duration::from_secs(6);
/// Reads between two looks at the clock.
const READS_PER_LOOK: u64 = 1024;
/// Translations that are remembered.
const TRANSLATIONS_MAX: usize = 4096;
/// Longest name in bytes.
const NAME_BYTES_MAX: usize = 1024;
/// How much of a dump is searched for what nothing leads to, and for how long.
const SEARCHED_BYTES_MAX: u64 = 2 << 30;
const SEARCH_TIME_MAX: Duration = Duration::from_secs(2);
/// What is searched at once; a structure lies in one page, and pages lie whole in a piece.
const PIECE_BYTES: usize = 1 << 20;
/// Overlapping blocks that are looked through for one address.
const OVERLAPS_MAX: usize = 4096;

/// A piece of virtual memory in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Block {
    pub address: u64,
    pub size: u64,
    pub offset: u64,
}

/// How virtual memory is found.
#[derive(Debug)]
enum Space {
    /// Blocks sorted by address, and for each the highest end of it and all before it.
    Blocks(Vec<Block>, Vec<u64>),
    /// Pages behind page tables.
    Paged(Pages, Paging),
}

/// The memory of a dump.
pub(crate) struct Memory<'a> {
    source: &'a dyn Source,
    space: Space,
    translations: RefCell<HashMap<u64, Option<u64>>>,
    reads: Cell<u64>,
    deadline: Instant,
    is_spent: Cell<bool>,
}

impl<'a> Memory<'a> {
    /// Memory of blocks.
    pub(crate) fn of_blocks(source: &'a dyn Source, mut blocks: Vec<Block>) -> Self {
        blocks.retain(|block| block.size > 0 && block.address.checked_add(block.size).is_some());
        blocks.sort_unstable();
        let mut highest = 0;
        let ends = blocks.iter().map(|block| {
            highest = highest.max(block.address.saturating_add(block.size));
            highest
        });
        let ends = ends.collect();
        Self::of(source, Space::Blocks(blocks, ends))
    }

    /// Memory of pages.
    pub(crate) fn of_pages(source: &'a dyn Source, pages: Pages, paging: Paging) -> Self {
        let mut memory = Self::of(source, Space::Paged(pages, paging));
        let table = memory.physical(paging.root, PAGE_BYTES);
        if let (Space::Paged(_, paging), Some(table)) = (&mut memory.space, table) {
            paging.find_self_map(&table);
        }
        memory
    }

    fn of(source: &'a dyn Source, space: Space) -> Self {
        Self {
            source,
            space,
            translations: RefCell::default(),
            reads: Cell::new(0),
            deadline: Instant::now().checked_add(TIME_MAX).unwrap_or_else(Instant::now),
            is_spent: Cell::new(false),
        }
    }

    /// The same pages with another depth of tables.
    pub(crate) fn set_levels(&mut self, levels: u32) {
        self.translations.borrow_mut().clear();
        if let Space::Paged(_, paging) = &mut self.space {
            paging.levels = levels;
        }
    }

    /// Whether the memory is that of physical pages.
    pub(crate) fn is_paged(&self) -> bool {
        matches!(self.space, Space::Paged(..))
    }

    /// Whether reading was cut off because the dump asked for too much.
    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent.get()
    }

    /// Reads from an address on; says how many bytes were there before the first that is not.
    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut filled = 0_usize;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let Some(at) = u64::try_from(filled).ok().and_then(|filled| address.checked_add(filled)) else {
                break;
            };
            let Some((offset, left)) = self.locate(at) else {
                break;
            };
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let read = rest.get_mut(..wanted).map_or(0, |rest| self.file(offset, rest));
            if read == 0 {
                break;
            }
            filled = filled.saturating_add(read);
        }
        filled
    }

    /// Bytes from an address on, as many as there are up to `size`.
    pub(crate) fn some(&self, address: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        let read = self.read(address, &mut bytes);
        bytes.truncate(read);
        bytes
    }

    /// Exactly `size` bytes.
    pub(crate) fn all(&self, address: u64, size: usize) -> Option<Vec<u8>> {
        let bytes = self.some(address, size);
        (bytes.len() == size).then_some(bytes)
    }

    /// A 64-bit number.
    pub(crate) fn u64_at(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        (self.read(address, &mut word) == word.len()).then(|| u64::from_le_bytes(word))
    }

    /// A 32-bit number.
    pub(crate) fn u32_at(&self, address: u64) -> Option<u32> {
        let mut word = [0; 4];
        (self.read(address, &mut word) == word.len()).then(|| u32::from_le_bytes(word))
    }

    /// The name of a UNICODE_STRING at an address.
    pub(crate) fn name_at(&self, address: u64) -> Option<String> {
        let head = self.all(address, 16)?;
        let size = usize::from(u16_at(&head, 0)?).min(NAME_BYTES_MAX);
        let text = self.all(u64_at(&head, 8)?, size)?;
        Some(utf16(&text)).filter(|name| !name.is_empty())
    }

    /// The walk through the page tables to an address; `None` where the dump has none.
    pub(crate) fn walk(&self, address: u64) -> Option<(Vec<WalkLevel>, Outcome)> {
        let Space::Paged(_, paging) = &self.space else {
            return None;
        };
        Some(paging.evidence(address, &|physical| self.entry(physical)))
    }

    /// Where in the file an address lies.
    pub(crate) fn file_offset(&self, address: u64) -> Option<u64> {
        self.locate(address).map(|(offset, _)| offset)
    }

    /// Hands out all that the dump holds of memory, in pieces with their offsets in the file, until `look` has seen enough. False when
    /// not all was looked at. What is read here is not metered: it is bounded by itself.
    pub(crate) fn search(&self, look: &mut dyn FnMut(&[u8], u64) -> bool) -> bool {
        let until = Instant::now().checked_add(SEARCH_TIME_MAX).unwrap_or_else(Instant::now);
        let extents: Vec<(u64, u64)> = match &self.space {
            Space::Blocks(blocks, _) => blocks.iter().map(|block| (block.offset, block.size)).collect(),
            Space::Paged(pages, _) => pages.extents(),
        };
        let (mut searched, mut piece) = (0_u64, vec![0; PIECE_BYTES]);
        for (mut offset, mut left) in extents {
            while left > 0 {
                if searched >= SEARCHED_BYTES_MAX || Instant::now() > until {
                    return false;
                }
                let wanted = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
                let Some(buffer) = piece.get_mut(..wanted) else { return false };
                let read = self.source.read_at(offset, buffer).unwrap_or_default();
                let size = u64::try_from(read).unwrap_or_default();
                if read == 0 {
                    break; // the file ends here
                }
                if !look(buffer.get(..read).unwrap_or_default(), offset) {
                    return false;
                }
                (offset, left) = (offset.saturating_add(size), left.saturating_sub(size));
                searched = searched.saturating_add(size);
            }
        }
        true
    }

    /// File offset of an address, and how many bytes follow there.
    fn locate(&self, address: u64) -> Option<(u64, u64)> {
        match &self.space {
            Space::Blocks(blocks, ends) => {
                let before = blocks.partition_point(|block| block.address <= address);
                let candidates = blocks.get(..before)?.iter().zip(ends.get(..before)?).rev().take(OVERLAPS_MAX);
                for (block, end) in candidates {
                    if *end <= address {
                        return None;
                    }
                    let within = address.checked_sub(block.address)?;
                    if within < block.size {
                        return Some((block.offset.checked_add(within)?, block.size.checked_sub(within)?));
                    }
                }
                None
            }
            Space::Paged(pages, paging) => {
                let within = address % PAGE_BYTES;
                let page = address.wrapping_sub(within);
                let known = self.translations.borrow().get(&page).copied();
                let offset = known.unwrap_or_else(|| {
                    let physical = paging.translate(page, &|physical| self.entry(physical));
                    let offset = physical.and_then(|physical| pages.offset_of(physical / PAGE_BYTES));
                    let mut translations = self.translations.borrow_mut();
                    if translations.len() >= TRANSLATIONS_MAX {
                        translations.clear();
                    }
                    translations.insert(page, offset);
                    offset
                })?;
                Some((offset.checked_add(within)?, PAGE_BYTES.checked_sub(within)?))
            }
        }
    }

    /// An entry of a page table.
    fn entry(&self, physical: u64) -> Option<u64> {
        self.physical(physical, 8).and_then(|bytes| u64_at(&bytes, 0))
    }

    /// Physical memory within one page.
    fn physical(&self, physical: u64, size: u64) -> Option<Vec<u8>> {
        let Space::Paged(pages, _) = &self.space else {
            return None;
        };
        let offset = pages.offset_of(physical / PAGE_BYTES)?.checked_add(physical % PAGE_BYTES)?;
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        let read = self.file(offset, &mut bytes);
        (read == bytes.len()).then_some(bytes)
    }

    /// The file's bytes at an offset, as long as the budget lasts. What the system refuses is not there.
    fn file(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let reads = self.reads.get().saturating_add(1);
        self.reads.set(reads);
        if reads > READS_MAX || (reads.is_multiple_of(READS_PER_LOOK) && Instant::now() > self.deadline) {
            self.is_spent.set(true);
        }
        if self.is_spent.get() {
            return 0;
        }
        self.source.read_at(offset, buffer).unwrap_or_default()
    }
}

/// A 32-bit number out of bytes that were read before; zero where there is none.
pub(crate) fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_blocks_are_all_found_and_gaps_end_a_read() {
        let bytes: Vec<u8> = (0..=255).collect();
        let block = |address, size, offset| Block { address, size, offset };
        let blocks = vec![block(0x1000, 64, 0), block(0x1010, 4, 100), block(0x1040, 8, 200), block(u64::MAX, 9, 0)];
        let memory = Memory::of_blocks(&bytes, blocks);
        assert_eq!(memory.some(0x1018, 2), [24, 25]);
        assert_eq!(memory.some(0x1010, 6), [100, 101, 102, 103, 20, 21]);
        assert_eq!(memory.some(0x103e, 100), [62, 63, 200, 201, 202, 203, 204, 205, 206, 207]);
        assert_eq!(memory.u64_at(0x1044), None);
        assert!(memory.some(0xfff, 1).is_empty());
        assert!(memory.some(u64::MAX, 8).is_empty());
    }
}
