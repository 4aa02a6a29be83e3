//! Writes a dead machine as a dump of every type.

use std::collections::BTreeMap;

use super::machine::{Machine, PAGE};

/// Writes at an offset, growing the file.
fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn put_u32(file: &mut Vec<u8>, at: usize, number: u32) {
    put(file, at, &number.to_le_bytes());
}

fn put_u64(file: &mut Vec<u8>, at: usize, number: u64) {
    put(file, at, &number.to_le_bytes());
}

fn header(machine: &Machine, kind: u32, root: u64) -> Vec<u8> {
    let mut file = b"PAGE".repeat(0x2000 / 4);
    put(&mut file, 4, b"DU64");
    put_u32(&mut file, 8, 0xf);
    put_u32(&mut file, 0xc, machine.build);
    put_u64(&mut file, 0x10, root);
    put_u64(&mut file, 0x18, 0);
    put_u64(&mut file, 0x20, machine.module_list);
    put_u32(&mut file, 0x30, if machine.is_arm64 { 0xaa64 } else { 0x8664 });
    put_u32(&mut file, 0x34, machine.processors);
    put_u32(&mut file, 0x38, machine.bugcheck);
    for (number, parameter) in machine.parameters.iter().enumerate() {
        put_u64(&mut file, 0x40 + number * 8, *parameter);
    }
    put_u64(&mut file, 0x80, machine.debugger_block);
    put(&mut file, 0x348, &machine.context);
    put(&mut file, 0xf00, &[0; 0x98]);
    put_u32(&mut file, 0xf00, machine.exception.0);
    put_u64(&mut file, 0xf10, machine.exception.1);
    put_u32(&mut file, 0xf98, kind);
    file
}

/// Runs of frames that follow each other.
fn runs(pages: &BTreeMap<u64, Vec<u8>>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for frame in pages.keys() {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == *frame => *count += 1,
            _ => runs.push((*frame, 1)),
        }
    }
    runs
}

/// Type 1: runs in the header. It has room for 42, so gaps are filled until they fit.
pub fn full(machine: &Machine) -> Vec<u8> {
    let (root, mut pages) = machine.physical();
    let low = *pages.keys().next().expect("a page");
    let (near, far): (Vec<u64>, Vec<u64>) = pages.keys().partition(|frame| **frame < 0x10_0000);
    for frame in low..=*near.last().expect("a page") {
        pages.entry(frame).or_insert_with(|| vec![0; PAGE as usize]);
    }
    assert!(far.len() < 40, "too many runs");
    let mut file = header(machine, 1, root);
    let runs = runs(&pages);
    put_u32(&mut file, 0x88, runs.len() as u32);
    put_u64(&mut file, 0x90, pages.len() as u64);
    for (number, (first, count)) in runs.iter().enumerate() {
        put_u64(&mut file, 0x98 + number * 16, *first);
        put_u64(&mut file, 0xa0 + number * 16, *count);
    }
    pages.values().for_each(|page| file.extend(page));
    file
}

/// Types 5 and 6: a bitmap.
pub fn bitmap(machine: &Machine, kind: u32) -> Vec<u8> {
    let (root, pages) = machine.physical();
    let mut file = header(machine, kind, root);
    let bits = pages.keys().last().expect("a page") + 1;
    let mut map = vec![0_u8; bits.div_ceil(8) as usize];
    for frame in pages.keys() {
        map[(frame / 8) as usize] |= 1 << (frame % 8);
    }
    let first_page = (0x2038 + map.len()).next_multiple_of(PAGE as usize);
    put(&mut file, 0x2000, b"SDMPDUMP");
    put_u64(&mut file, 0x2020, first_page as u64);
    put_u64(&mut file, 0x2028, pages.len() as u64);
    put_u64(&mut file, 0x2030, bits);
    put(&mut file, 0x2038, &map);
    file.resize(first_page, 0);
    pages.values().for_each(|page| file.extend(page));
    file
}

/// Types 8, 9 and A: ranges.
pub fn ranges(machine: &Machine, kind: u32) -> Vec<u8> {
    let (root, pages) = machine.physical();
    let mut file = header(machine, kind, root);
    let runs = runs(&pages);
    let first_page = (0x2030 + runs.len() * 16 + 16).next_multiple_of(PAGE as usize);
    put_u32(&mut file, 0x2000, 0x40);
    put(&mut file, 0x2004, b"RDMPDUMP");
    put_u64(&mut file, 0x2010, first_page as u64 - 0x2020);
    put_u64(&mut file, 0x2018, first_page as u64);
    put_u32(&mut file, 0x2020, runs.len() as u32);
    put_u64(&mut file, 0x2028, pages.len() as u64);
    for (number, (first, count)) in runs.iter().enumerate() {
        put_u64(&mut file, 0x2030 + number * 16, *first);
        put_u64(&mut file, 0x2038 + number * 16, *count);
    }
    file.resize(first_page, 0);
    pages.values().for_each(|page| file.extend(page));
    file
}

/// Type 2: a header and nothing else.
pub fn summary(machine: &Machine) -> Vec<u8> {
    header(machine, 2, 0x1ad000)
}

/// Type 4: the stack, the drivers, copies of the kernel's records, and the given pieces of memory.
pub fn small(machine: &Machine, pieces: &[(u64, usize)]) -> Vec<u8> {
    let mut file = header(machine, 4, 0x1ad000);
    file.resize(0x2100, 0);
    let mut field = Vec::new();
    let mut append = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        file.resize(file.len().next_multiple_of(8), 0);
        field.push((at, file.len() as u32));
        file.extend(bytes);
    };
    let record = |address: u64, size: usize| machine.get(address, size).expect("a record");
    append(&mut file, 0x1c, &record(machine.prcb, 0x400));
    append(&mut file, 0x20, &record(machine.process, 0x600));
    append(&mut file, 0x24, &record(machine.thread, 0x600));
    let (low, high) = machine.stack;
    append(&mut file, 0x28, &record(low, (high - low) as usize));
    append(&mut file, 0x70, &record(machine.debugger_block, 0x380));
    let mut unloaded = (machine.unloaded.len() as u64).to_le_bytes().to_vec();
    for driver in &machine.unloaded {
        let start = unloaded.len();
        let name: Vec<u8> = driver.name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        unloaded.resize(start + 0x38, 0);
        unloaded[start..start + 2].copy_from_slice(&(name.len() as u16).to_le_bytes());
        unloaded[start + 0x10..start + 0x10 + name.len().min(24)].copy_from_slice(&name[..name.len().min(24)]);
        unloaded[start + 0x28..start + 0x30].copy_from_slice(&driver.start.to_le_bytes());
        unloaded[start + 0x30..start + 0x38].copy_from_slice(&driver.end.to_le_bytes());
    }
    append(&mut file, 0x18, &unloaded);
    let names: Vec<u32> = machine.modules.iter().map(|module| pool_name(&mut file, module.path)).collect();
    let mut drivers = vec![0; machine.modules.len() * 0x90];
    for (number, (module, name)) in machine.modules.iter().zip(names).enumerate() {
        let at = number * 0x90;
        drivers[at..at + 4].copy_from_slice(&name.to_le_bytes());
        drivers[at + 0x38..at + 0x40].copy_from_slice(&module.base.to_le_bytes());
        drivers[at + 0x48..at + 0x4c].copy_from_slice(&module.size.to_le_bytes());
        drivers[at + 0x80..at + 0x84].copy_from_slice(&module.checksum.to_le_bytes());
        drivers[at + 0x88..at + 0x8c].copy_from_slice(&module.timestamp.to_le_bytes());
    }
    append(&mut file, 0x30, &drivers);
    let mut blocks = Vec::new();
    for (address, size) in pieces {
        let offset = file.len() as u32;
        file.extend(record(*address, *size));
        blocks.extend(address.to_le_bytes());
        blocks.extend(offset.to_le_bytes());
        blocks.extend((*size as u32).to_le_bytes());
    }
    append(&mut file, 0x78, &blocks);
    append(&mut file, 0x08, b"TRGD");
    let size = file.len() as u32;
    for (at, offset) in field {
        put_u32(&mut file, 0x2000 + at, offset);
    }
    put_u32(&mut file, 0x2004, size);
    put_u32(&mut file, 0x200c, 0x348);
    put_u32(&mut file, 0x2010, 0xf00);
    put_u32(&mut file, 0x202c, (high - low) as u32);
    put_u32(&mut file, 0x2034, machine.modules.len() as u32);
    put_u64(&mut file, 0x2048, low);
    put_u32(&mut file, 0x2074, 0x380);
    put_u32(&mut file, 0x207c, pieces.len() as u32);
    file
}

/// A name of the string pool: a count of characters, then UTF-16.
fn pool_name(file: &mut Vec<u8>, name: &str) -> u32 {
    file.resize(file.len().next_multiple_of(8), 0);
    let at = file.len() as u32;
    let units: Vec<u16> = name.encode_utf16().collect();
    file.extend((units.len() as u32).to_le_bytes());
    file.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    file.extend([0, 0]);
    at
}
