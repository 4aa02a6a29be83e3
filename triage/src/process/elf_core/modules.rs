//! The modules of a process: files that were mapped with code in them, each with its build id where the core holds its first page.

use minidump::format::{MINIDUMP_LOCATION_DESCRIPTOR, MINIDUMP_MODULE};
use minidump::{Endian, MinidumpModule, MinidumpModuleList};

use super::notes::{Mapped, Notes};
use super::segments::{Fields, Segments};
use crate::process::memory::Memory as _;
use crate::process::MODULES_MAX;

/// What a record with a build id begins with.
const BUILD_ID_RECORD: u32 = 0x4270_454c;
/// Longest build id, and how much of a module's start is looked at for it.
const BUILD_ID_BYTES_MAX: usize = 64;
const HEAD_BYTES: usize = 4_096;
/// What a program or a library begins with.
const ELF: &[u8] = b"\x7fELF";
const PT_NOTE: u32 = 4;
const NT_GNU_BUILD_ID: u32 = 3;
/// The kernel's shared object has at most that many bytes.
const VDSO_BYTES: u64 = 0x2000;

/// Lists them.
pub(super) fn list(notes: &Notes, segments: &Segments<'_>) -> MinidumpModuleList {
    let mut modules: Vec<Mapped> = Vec::new();
    for file in notes.files.iter().filter(|file| file.start < file.end) {
        match modules.last_mut() {
            Some(last) if last.path == file.path && file.start >= last.end => last.end = file.end,
            _ => modules.push(file.clone()),
        }
    }
    let has_code = |module: &Mapped| {
        segments.loads.iter().any(|load| load.is_code && (module.start..module.end).contains(&load.address))
    };
    // gdb leaves out of a core what a file has unchanged, without a header for it: code more than anything.
    let is_left_out = |file: &&Mapped| {
        !segments
            .loads
            .iter()
            .any(|load| load.address < file.end && file.start < load.address.saturating_add(load.memory_bytes))
    };
    let left_out: Vec<&Mapped> = notes.files.iter().filter(is_left_out).collect();
    let lacks_code = |module: &Mapped| {
        left_out.iter().any(|file| file.path == module.path && (module.start..module.end).contains(&file.start))
            && segments.some(module.start, ELF.len()) == ELF
    };
    modules.retain(|module| has_code(module) || lacks_code(module));
    modules.extend(notes.vdso.map(|start| Mapped {
        start,
        end: start.saturating_add(VDSO_BYTES),
        path: "[vdso]".to_owned(),
    }));
    let made = modules.iter().take(MODULES_MAX).filter_map(|module| made(module, segments));
    MinidumpModuleList::from_modules(made.collect())
}

/// As the walker takes it: from a record of a minidump's, with the name and the build id behind it.
fn made(module: &Mapped, segments: &Segments<'_>) -> Option<MinidumpModule> {
    let name: Vec<u8> = module.path.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut bytes = u32::try_from(name.len()).ok()?.to_le_bytes().to_vec();
    bytes.extend_from_slice(&name);
    let mut raw = MINIDUMP_MODULE {
        base_of_image: module.start,
        size_of_image: u32::try_from(module.end.saturating_sub(module.start)).unwrap_or(u32::MAX),
        ..MINIDUMP_MODULE::default()
    };
    if let Some(id) = build_id(module.start, segments) {
        let rva = u32::try_from(bytes.len()).ok()?;
        bytes.extend_from_slice(&BUILD_ID_RECORD.to_le_bytes());
        bytes.extend_from_slice(&id);
        let data_size = u32::try_from(bytes.len()).ok()?.checked_sub(rva)?;
        raw.cv_record = MINIDUMP_LOCATION_DESCRIPTOR { data_size, rva };
    }
    MinidumpModule::read(raw, &bytes, Endian::Little, None).ok()
}

/// The build id in the notes of a module, as far as they are in its first page.
fn build_id(base: u64, segments: &Segments<'_>) -> Option<Vec<u8>> {
    let head = segments.some(base, HEAD_BYTES);
    if !head.starts_with(ELF) {
        return None;
    }
    let is_64 = segments.is_64;
    let fields = Fields { bytes: &head, is_64 };
    let start = usize::try_from(fields.word(32, 28)?).ok()?;
    let (size, count) = (usize::from(fields.u16(54, 42)?), usize::from(fields.u16(56, 44)?));
    let table = head.get(start..).filter(|_| size > 0)?;
    let notes = table.chunks_exact(size).take(count).filter_map(|header| {
        let fields = Fields { bytes: header, is_64 };
        let place = fields.word(8, 4).zip(fields.word(32, 16)).filter(|_| fields.u32(0, 0) == Some(PT_NOTE))?;
        let (offset, size) = (usize::try_from(place.0).ok()?, usize::try_from(place.1).ok()?);
        head.get(offset..offset.checked_add(size)?)
    });
    notes.into_iter().find_map(|note| {
        let mut rest = note;
        while let Some((kind, payload, behind)) = super::notes::next(rest) {
            if kind == NT_GNU_BUILD_ID && !payload.is_empty() && payload.len() <= BUILD_ID_BYTES_MAX {
                return Some(payload.to_vec());
            }
            rest = behind;
        }
        None
    })
}
