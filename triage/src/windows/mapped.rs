//! Files of the blamed driver's folder that were mapped when the machine stopped: what content a driver had read is often the cause, and
//! its name is the version.
//!
//! Without symbols nothing leads to them, so memory is searched for the kernel's file objects. One counts when its section's control
//! area points back at it: two structures, each with the other's address, are no accident. The layouts have been the same on 64-bit
//! Windows since version 8 (`_FILE_OBJECT`, `_SECTION_OBJECT_POINTERS`, `_CONTROL_AREA` of its public symbols).

use memchr::memmem;

use super::modules::folder;
use crate::machine::bytes::u64_at;
use crate::machine::memory::Memory;
use crate::machine::modules::Loaded;
use crate::report::Fact;

/// How a file object begins: its type, 5, and its size.
const FILE_OBJECT: [u8; 4] = [5, 0, 0xd8, 0];
/// Where it holds its section pointers, and its name.
const SECTIONS_AT: usize = 0x28;
const NAME_AT: u64 = 0x58;
/// Section pointers: data, and 16 bytes on the image's.
const IMAGE_AT: u64 = 0x10;
/// Where a control area holds the file object; the low bits of it count references.
const FILE_POINTER_AT: u64 = 0x40;
const COUNT_BITS: u64 = 0xf;
/// Files that are told.
const TOLD_MAX: usize = 16;

/// The mapped files beside the driver, with the addresses that an analyst would ask for.
pub(super) fn facts(memory: &Memory<'_>, driver: &Loaded, warnings: &mut Vec<String>) -> Vec<Fact> {
    let Some(own) = folder(&driver.path) else { return Vec::new() };
    let finder = memmem::Finder::new(&FILE_OBJECT);
    let mut found: Vec<Mapped> = Vec::new();
    let is_whole = memory.search(&mut |piece, offset| {
        for at in finder.find_iter(piece) {
            let mapped = mapped(memory, piece, at, offset);
            let is_new = |mapped: &Mapped| found.iter().all(|other| other.file != mapped.file);
            found.extend(mapped.filter(|mapped| folder(&mapped.path).as_ref() == Some(&own) && is_new(mapped)));
        }
        found.len() < TOLD_MAX
    });
    if !is_whole && found.len() < TOLD_MAX {
        warnings.push("only a part of the memory was searched for mapped files: the dump is too large".to_owned());
    }
    found.iter().take(TOLD_MAX).map(Mapped::fact).collect()
}

/// A file and its control area.
struct Mapped {
    path: String,
    file: u64,
    area: u64,
}

/// What lies at this place of the piece, which begins at this offset of the dump, if it is a mapped file.
fn mapped(memory: &Memory<'_>, piece: &[u8], at: usize, offset: u64) -> Option<Mapped> {
    let sections = u64_at(piece, at.checked_add(SECTIONS_AT)?).filter(|address| is_kernel(*address))?;
    let own_offset = offset.checked_add(u64::try_from(at).ok()?)?;
    let areas = [0, IMAGE_AT].into_iter().filter_map(|at| memory.u64_at(sections.checked_add(at)?));
    let (area, file) = areas.filter(|area| is_kernel(*area)).find_map(|area| {
        let file = memory.u64_at(area.checked_add(FILE_POINTER_AT)?)? & !COUNT_BITS;
        (memory.file_offset(file) == Some(own_offset)).then_some((area, file))
    })?;
    Some(Mapped { path: memory.name_at(file.checked_add(NAME_AT)?)?, file, area })
}

fn is_kernel(address: u64) -> bool {
    address >> 48 == 0xffff
}

impl Mapped {
    fn fact(&self) -> Fact {
        let value = format!("control area {:016x} -> file object {:016x} -> {}", self.area, self.file, self.path);
        Fact { name: "MAPPED_FILE".to_owned(), value }
    }
}
