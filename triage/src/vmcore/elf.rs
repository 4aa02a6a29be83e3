//! ELF cores of a kernel: each loadable segment is a run of physical memory. Virtual addresses of segments are not believed, the
//! page tables have the last word: what QEMU writes has none, what kexec writes has only some.

use std::io;

use super::notes::{notes, Note, NOTES_BYTES_MAX};
use crate::machine::bytes::{u16_at, u32_at, u64_at};
use crate::source::Source;
use crate::Error;

/// Segments, at most: a machine has some dozens of runs of memory.
const SEGMENTS_MAX: u64 = 1 << 16;
/// Bytes of a program header.
const SEGMENT_BYTES: u64 = 56;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// The number of segments stands in the first section header then.
const PN_XNUM: u16 = 0xffff;
const EM_X86_64: u16 = 62;

/// A run of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    physical: u64,
    size: u64,
    offset: u64,
}

/// An ELF core.
pub(super) struct Elf<'a> {
    pub memory: Runs<'a>,
    pub notes: Vec<Note>,
    /// Physical address and size of each run, as far as it is in the file.
    pub present: Vec<(u64, u64)>,
    pub warnings: Vec<String>,
}

/// Physical memory by address, as a source whose offsets are physical addresses.
pub(super) struct Runs<'a> {
    source: &'a dyn Source,
    segments: Vec<Segment>,
    end: u64,
}

/// Whether an ELF core is of a kernel and not of a process.
///
/// # Errors
/// When the file can't be read.
pub fn is_kernel(source: &dyn Source) -> Result<bool, Error> {
    let Ok(headers) = Headers::read(source) else { return Ok(false) };
    let notes = headers.notes(source)?;
    Ok(notes.iter().any(|note| matches!(note.name.as_str(), "VMCOREINFO" | "QEMU")))
}

impl<'a> Elf<'a> {
    pub(super) fn open(source: &'a dyn Source) -> Result<Self, Error> {
        let headers = Headers::read(source)?;
        let notes = headers.notes(source)?;
        let mut warnings = headers.warnings;
        let mut segments = headers.loads;
        segments.retain(|segment| segment.size > 0 && segment.physical.checked_add(segment.size).is_some());
        segments.sort_unstable();
        let end_of = |segment: &Segment| segment.offset.saturating_add(segment.size);
        let missing: u64 = segments
            .iter()
            .map(|segment| end_of(segment).saturating_sub(source.size_bytes()).min(segment.size))
            .fold(0, u64::saturating_add);
        if missing > 0 {
            warnings.push(format!("the file is cut: {missing} bytes of memory that its header names are missing"));
        }
        let end = segments.iter().map(|segment| segment.physical.saturating_add(segment.size)).max().unwrap_or(0);
        let segments = disjoint(segments);
        let in_file = |segment: &Segment| {
            let size = segment.size.min(source.size_bytes().saturating_sub(segment.offset));
            (segment.physical, size)
        };
        let present = segments.iter().map(in_file).collect();
        Ok(Self { memory: Runs { source, segments, end }, notes, present, warnings })
    }
}

/// The segments, sorted, each without what one before it has already. What kexec writes has the kernel's own code and data twice: as a
/// segment of their own, and in that of the memory around them.
fn disjoint(segments: Vec<Segment>) -> Vec<Segment> {
    let mut kept: Vec<Segment> = Vec::new();
    let mut end = 0_u64;
    for segment in segments {
        let known = end.saturating_sub(segment.physical);
        if known >= segment.size {
            continue;
        }
        end = segment.physical.saturating_add(segment.size);
        kept.push(Segment {
            physical: segment.physical.saturating_add(known),
            size: segment.size.saturating_sub(known),
            offset: segment.offset.saturating_add(known),
        });
    }
    kept
}

/// What the program headers say.
struct Headers {
    loads: Vec<Segment>,
    /// (file offset, size)
    note_places: Vec<(u64, u64)>,
    warnings: Vec<String>,
}

impl Headers {
    fn read(source: &dyn Source) -> Result<Self, Error> {
        let damaged = |offset: u64, what: &str| Error::Damaged {
            offset,
            what: what.to_owned(),
            mend: "copy the core again, or make another",
        };
        let head = source.bytes(0, 64)?;
        if head.get(4..6) != Some(&[2, 1]) || u16_at(&head, 18) != Some(EM_X86_64) {
            return Err(Error::OtherMachine { what: "the core is of another machine than x86-64" });
        }
        let field = |value: Option<u64>| value.ok_or_else(|| damaged(0, "the ELF header is cut"));
        let at = field(u64_at(&head, 32))?;
        let mut count = field(u16_at(&head, 56).map(u64::from))?;
        if count == u64::from(PN_XNUM) {
            let section = source.bytes(field(u64_at(&head, 40))?, 64)?;
            count = field(u32_at(&section, 44).map(u64::from))?;
        }
        let mut warnings = Vec::new();
        if count > SEGMENTS_MAX {
            warnings.push(format!("the header names {count} segments; only {SEGMENTS_MAX} are read"));
            count = SEGMENTS_MAX;
        }
        let size = usize::try_from(count.saturating_mul(SEGMENT_BYTES)).unwrap_or(0);
        let table = source.bytes(at, size)?;
        if table.len() < size {
            warnings.push("the file ends within its list of segments".to_owned());
        }
        let (mut loads, mut note_places) = (Vec::new(), Vec::new());
        for entry in table.chunks_exact(usize::try_from(SEGMENT_BYTES).unwrap_or(1)) {
            let field = |at| u64_at(entry, at).unwrap_or_default();
            match u32_at(entry, 0) {
                Some(PT_LOAD) => loads.push(Segment { offset: field(8), physical: field(24), size: field(32) }),
                Some(PT_NOTE) => note_places.push((field(8), field(32))),
                _ => {}
            }
        }
        Ok(Self { loads, note_places, warnings })
    }

    fn notes(&self, source: &dyn Source) -> Result<Vec<Note>, Error> {
        let mut left = NOTES_BYTES_MAX;
        let mut found = Vec::new();
        for (offset, size) in &self.note_places {
            let size = (*size).min(left);
            left = left.saturating_sub(size);
            found.extend(notes(&source.bytes(*offset, usize::try_from(size).unwrap_or(0))?));
        }
        Ok(found)
    }
}

impl Source for Runs<'_> {
    fn size_bytes(&self) -> u64 {
        self.end
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let before = self.segments.partition_point(|segment| segment.physical <= offset);
        let found = before.checked_sub(1).and_then(|at| self.segments.get(at));
        let Some((segment, within)) = found.and_then(|segment| Some((segment, offset.checked_sub(segment.physical)?)))
        else {
            return Ok(0);
        };
        let left = usize::try_from(segment.size.saturating_sub(within)).unwrap_or(usize::MAX).min(buffer.len());
        match buffer.get_mut(..left) {
            Some(buffer) if left > 0 => self.source.read_at(segment.offset.saturating_add(within), buffer),
            _ => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_behind_a_segment_that_lies_within_another_is_read() {
        let segment = |physical, size, offset| Segment { physical, size, offset };
        let file: Vec<u8> = (0..200).collect();
        // The kernel's code at 20 to 30, and the memory from 0 to 100 around it.
        let segments =
            disjoint(vec![segment(0, 100, 50), segment(20, 10, 5), segment(90, 30, 150), segment(120, 5, 0)]);
        let memory = Runs { source: &file, segments, end: 125 };
        for (at, expected) in [(0, 50), (25, 75), (40, 90), (99, 149), (100, 160), (119, 179), (120, 0)] {
            let mut byte = [0];
            assert_eq!(memory.read_at(at, &mut byte).expect("memory"), 1, "{at}");
            assert_eq!(byte, [expected], "{at}");
        }
    }
}
