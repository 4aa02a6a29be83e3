//! A registry hive (`regf`) beside a dump: keys by path, and their values.
//!
//! Read in place, a cell at a time. A hive comes with the dump and is as hostile: lists are capped, a path is walked once and down
//! only, and what can't be read is not there. Layout: the public description of the format by J. Metz (libyal, "Windows NT Registry
//! File"), sections 4 to 6.

use crate::machine::bytes::{ascii, u16_at, u32_at, utf16};
use crate::source::Source;

/// Where cells begin; their offsets count from here.
const CELLS_AT: u64 = 0x1000;
/// Where the base block says which key is the root.
const ROOT_AT: usize = 0x24;
/// No offset.
const NONE: u32 = u32::MAX;
/// Longest cell that is read; the longest list of keys of a real hive is 8 KiB.
const CELL_BYTES_MAX: u64 = 64 << 10;
/// Keys below one key that are looked through.
const KEYS_MAX: usize = 8_192;
/// Values of a key that are looked through.
const VALUES_MAX: usize = 1_024;
/// Longest value.
const VALUE_BYTES_MAX: u32 = 16 << 10;

const REG_SZ: u32 = 1;
const REG_EXPAND_SZ: u32 = 2;
const REG_DWORD: u32 = 4;
const REG_MULTI_SZ: u32 = 7;

/// A hive.
pub(super) struct Hive<'a>(&'a dyn Source);

/// A key: its cell.
pub(super) struct Key(Vec<u8>);

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u32),
}

impl<'a> Hive<'a> {
    /// Takes a file that says that it is a hive.
    pub(super) fn open(source: &'a dyn Source) -> Option<Self> {
        let head = source.bytes(0, ROOT_AT).ok()?;
        head.starts_with(b"regf").then_some(Self(source))
    }

    /// A key by its path from the root.
    pub(super) fn key(&self, path: &[&str]) -> Option<Key> {
        let head = self.0.bytes(0, ROOT_AT.checked_add(4)?).ok()?;
        let root = self.key_at(u32_at(&head, ROOT_AT)?)?;
        path.iter().try_fold(root, |key, name| self.below(&key).find(|key| key.name().eq_ignore_ascii_case(name)))
    }

    /// The keys below a key.
    pub(super) fn below<'k>(&'k self, key: &Key) -> impl Iterator<Item = Key> + 'k {
        let list = u32_at(&key.0, 0x1c).unwrap_or(NONE);
        let mut offsets = Vec::new();
        for list in self.lists(list) {
            let step = match list.get(..2) {
                Some(b"lf" | b"lh") => 8,
                Some(b"li") => 4,
                _ => continue,
            };
            let room = KEYS_MAX.saturating_sub(offsets.len());
            offsets.extend(entries(&list, step).take(room));
        }
        offsets.into_iter().filter_map(|offset| self.key_at(offset))
    }

    /// A value of a key by its name.
    pub(super) fn value(&self, key: &Key, name: &str) -> Option<Value> {
        let count = usize::try_from(u32_at(&key.0, 0x24)?).ok()?.min(VALUES_MAX);
        let list = self.cell(u32_at(&key.0, 0x28)?)?;
        let mut cells = list.chunks_exact(4).take(count).filter_map(|at| self.cell(u32_at(at, 0)?));
        let cell = cells.find(|cell| value_name(cell).is_some_and(|own| own.eq_ignore_ascii_case(name)))?;
        let (size, offset) = (u32_at(&cell, 4)?, u32_at(&cell, 8)?);
        let is_inline = size >> 31 == 1;
        let size = usize::try_from((size & !(1 << 31)).min(VALUE_BYTES_MAX)).ok()?;
        let mut bytes = if is_inline { offset.to_le_bytes().to_vec() } else { self.cell(offset)? };
        bytes.truncate(size);
        match u32_at(&cell, 0xc)? {
            REG_SZ | REG_EXPAND_SZ => Some(Value::Text(utf16(&bytes))),
            REG_DWORD => Some(Value::Number(u32_at(&bytes, 0)?)),
            REG_MULTI_SZ => Some(Value::Text(several(&bytes))),
            _ => None,
        }
    }

    /// The lists that hold the keys: one, or those that a list of lists names.
    fn lists(&self, offset: u32) -> Vec<Vec<u8>> {
        let Some(list) = self.cell(offset) else { return Vec::new() };
        if list.starts_with(b"ri") {
            return entries(&list, 4).take(KEYS_MAX).filter_map(|offset| self.cell(offset)).collect();
        }
        vec![list]
    }

    fn key_at(&self, offset: u32) -> Option<Key> {
        self.cell(offset).filter(|cell| cell.starts_with(b"nk")).map(Key)
    }

    /// What a cell holds.
    fn cell(&self, offset: u32) -> Option<Vec<u8>> {
        if offset == NONE {
            return None;
        }
        let at = CELLS_AT.checked_add(u64::from(offset))?;
        let size = i32::from_le_bytes(self.0.bytes(at, 4).ok()?.try_into().ok()?);
        // Cells in use have their size below zero.
        let size = u64::from(size.checked_neg()?.try_into().ok().filter(|size: &u32| *size > 4)?).checked_sub(4)?;
        self.0.bytes(at.checked_add(4)?, usize::try_from(size.min(CELL_BYTES_MAX)).ok()?).ok()
    }
}

impl Key {
    /// Its name.
    pub(super) fn name(&self) -> String {
        let size = usize::from(u16_at(&self.0, 0x48).unwrap_or_default());
        let is_ascii = u16_at(&self.0, 2).is_some_and(|flags| flags & 0x20 != 0);
        name(self.0.get(0x4c..).unwrap_or_default(), size, is_ascii)
    }
}

/// The offsets that a list holds, every `step` bytes.
fn entries(list: &[u8], step: usize) -> impl Iterator<Item = u32> + '_ {
    let count = usize::from(u16_at(list, 2).unwrap_or_default());
    list.get(4..).unwrap_or_default().chunks_exact(step).take(count).filter_map(|entry| u32_at(entry, 0))
}

fn value_name(cell: &[u8]) -> Option<String> {
    let size = usize::from(cell.starts_with(b"vk").then(|| u16_at(cell, 2)).flatten()?);
    let is_ascii = u16_at(cell, 0x10)? & 1 != 0;
    Some(name(cell.get(0x14..)?, size, is_ascii))
}

fn name(bytes: &[u8], size: usize, is_ascii: bool) -> String {
    let bytes = bytes.get(..size).unwrap_or(bytes);
    if is_ascii {
        ascii(bytes).unwrap_or_default()
    } else {
        utf16(bytes)
    }
}

/// Several texts, each with its NUL, in one.
fn several(bytes: &[u8]) -> String {
    let mut texts = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.chunks_exact(2).position(|unit| unit == [0, 0]).unwrap_or(rest.len() / 2).saturating_mul(2);
        let text = utf16(rest.get(..end).unwrap_or_default());
        if !text.is_empty() {
            texts.push(text);
        }
        rest = rest.get(end.saturating_add(2)..).unwrap_or_default();
    }
    texts.join(" ")
}
