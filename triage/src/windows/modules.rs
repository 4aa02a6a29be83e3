//! The kernel's lists of loaded and unloaded modules.

use std::collections::HashSet;

use crate::machine::bytes::{u32_at, u64_at};
use crate::machine::memory::{number, Memory};
use crate::machine::modules::Loaded;

/// Most modules that are read from the kernel's list.
const MODULES_MAX: usize = 4096;
/// Unloaded drivers that the kernel remembers.
const UNLOADED_MAX: u32 = 50;

/// The folder of a file as the kernel may name it, without the drive and in small letters: `\??\C:\Windows\x.sys`,
/// `\SystemRoot\x.sys` and `\Windows\x.sys` are in one.
pub(super) fn folder(path: &str) -> Option<String> {
    let path = path.to_ascii_lowercase();
    let path = path.strip_prefix("\\??\\").unwrap_or(&path);
    let path = path.split_once(':').map_or(path, |(_, path)| path);
    let (folder, _) = path.rsplit_once('\\')?;
    let relative = folder.strip_prefix("\\systemroot\\").or_else(|| folder.strip_prefix("system32\\").map(|_| folder));
    Some(relative.map_or_else(|| folder.to_owned(), |relative| format!("\\windows\\{relative}")))
}

/// Walks the kernel's ring of loaded modules. A ring that does not close, closes too early or leads out of the dump is told.
pub(crate) fn loaded(memory: &Memory<'_>, head: u64, warnings: &mut Vec<String>) -> Vec<Loaded> {
    let mut modules = Vec::new();
    let mut seen = HashSet::new();
    let Some(mut entry) = memory.u64_at(head) else {
        warnings.push(format!("the list of modules at {head:#x} is not in the dump"));
        return modules;
    };
    while entry != head {
        if !seen.insert(entry) {
            warnings.push(format!("the list of modules runs in a circle at {entry:#x} that misses its head"));
            break;
        }
        if seen.len() > MODULES_MAX {
            warnings.push(format!("the list of modules has more than {MODULES_MAX} entries"));
            break;
        }
        // As much of it as there is up to the name of the file.
        let record = memory.some(entry, 0xa0);
        let Some(next) = u64_at(&record, 0) else {
            warnings.push(format!("the list of modules leads out of the dump at {entry:#x}"));
            break;
        };
        if let Some(base) = u64_at(&record, 0x30).filter(|base| *base != 0) {
            let name = |at: u64| entry.checked_add(at).and_then(|at| memory.name_at(at));
            let (full, short) = (name(0x48), name(0x58));
            modules.push(Loaded {
                path: full.or(short).unwrap_or_else(|| "(no name)".to_owned()),
                base,
                size: number(&record, 0x40),
                timestamp: u32_at(&record, 0x9c),
                checksum: u32_at(&record, 0x78),
            });
        }
        entry = next;
    }
    // What the loader noted may be paged out; the image's own header knows.
    for module in &mut modules {
        if let Some((timestamp, checksum)) = super::image::stamp(memory, module.base) {
            module.timestamp = Some(timestamp);
            module.checksum = Some(checksum);
        }
    }
    modules
}

/// Reads the kernel's table of unloaded drivers; `table` and `last` are addresses of its variables.
pub(crate) fn unloaded(memory: &Memory<'_>, table: u64, last: u64) -> Vec<Loaded> {
    /// Size of an entry.
    const ENTRY_BYTES: u64 = 0x28;
    let Some(entries) = memory.u64_at(table).filter(|at| *at != 0) else {
        return Vec::new();
    };
    // The number counts on for ever while the table wraps; the newest is the one before it.
    let newest = memory.u32_at(last).unwrap_or(UNLOADED_MAX);
    let mut found = Vec::new();
    for back in 1..=UNLOADED_MAX {
        let slot = newest.wrapping_add(UNLOADED_MAX.saturating_mul(2)).wrapping_sub(back) % UNLOADED_MAX;
        let at = entries.saturating_add(u64::from(slot).saturating_mul(ENTRY_BYTES));
        let (Some(name), Some(record)) = (memory.name_at(at), memory.all(at, 0x20)) else {
            continue;
        };
        let (start, end) = (u64_at(&record, 0x10).unwrap_or_default(), u64_at(&record, 0x18).unwrap_or_default());
        if start != 0 && end > start {
            let size = end.saturating_sub(start);
            found.push(Loaded { path: name, base: start, size, timestamp: None, checksum: None });
        }
    }
    found
}
