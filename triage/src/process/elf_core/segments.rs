//! The headers of an ELF core, and the process's memory by them. Memory is read where it lies in the file: a core may be larger than what
//! is to be held at once.

use super::notes::Machine;
use crate::process::memory::Memory;
use crate::source::Source;
use crate::Error;

/// Most program headers: as many as the field counts.
const SEGMENTS_MAX: usize = 65_535;
/// Segments that one read may run through.
const SEGMENTS_A_READ_MAX: usize = 64;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;

/// A part of the file, and of the memory where it is that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub offset: u64,
    pub address: u64,
    /// Bytes in the file, and in memory.
    pub file_bytes: u64,
    pub memory_bytes: u64,
    pub is_code: bool,
}

/// The headers.
pub(super) struct Segments<'s> {
    source: &'s dyn Source,
    pub machine: Machine,
    pub is_64: bool,
    pub notes: Vec<Segment>,
    /// By address.
    pub loads: Vec<Segment>,
}

impl<'s> Segments<'s> {
    /// Reads the headers; gives warnings too.
    pub(super) fn read(source: &'s dyn Source) -> Result<(Self, Vec<String>), Error> {
        let damaged = |what: &str| Error::Damaged {
            offset: 0,
            what: what.to_owned(),
            mend: "get it from where it was written once more, and whole",
        };
        let head = source.bytes(0, 64)?;
        let is_64 = head.get(4) == Some(&2);
        if head.get(5) != Some(&1) {
            return Err(damaged("an ELF core of a big-endian machine, which can't be read"));
        }
        let fields = Fields { bytes: &head, is_64 };
        let machine = Machine::of(fields.u16(18, 18).unwrap_or_default(), is_64);
        let place = fields.word(32, 28).zip(fields.u16(54, 42)).zip(fields.u16(56, 44));
        let ((start, size), count) = place.ok_or_else(|| damaged("an ELF core that ends in its header"))?;
        let (size, count) = (usize::from(size), usize::from(count).min(SEGMENTS_MAX));
        if size < if is_64 { 56 } else { 32 } {
            return Err(damaged("an ELF core with program headers that are too short"));
        }
        let table = source.bytes(start, size.saturating_mul(count))?;
        let mut segments = Self { source, machine, is_64, notes: Vec::new(), loads: Vec::new() };
        let mut warnings = Vec::new();
        for header in table.chunks_exact(size) {
            let fields = Fields { bytes: header, is_64 };
            let parts = [fields.word(8, 4), fields.word(16, 8), fields.word(32, 16), fields.word(40, 20)];
            let [Some(offset), Some(address), Some(file_bytes), Some(memory_bytes)] = parts else { continue };
            let is_code = fields.u32(4, 24).is_some_and(|flags| flags & PF_X != 0);
            let segment = Segment { offset, address, file_bytes, memory_bytes, is_code };
            match fields.u32(0, 0) {
                Some(PT_LOAD) => segments.loads.push(segment),
                Some(PT_NOTE) => segments.notes.push(segment),
                _ => {}
            }
        }
        segments.loads.sort_by_key(|segment| segment.address);
        let end = |segment: &Segment| segment.offset.saturating_add(segment.file_bytes);
        let cut = segments.loads.iter().filter(|segment| end(segment) > source.size_bytes()).count();
        if cut > 0 || table.len() < size.saturating_mul(count) {
            warnings.push(format!("the core is cut: {cut} pieces of memory are not whole"));
        }
        if segments.notes.is_empty() {
            return Err(damaged("an ELF core without notes"));
        }
        Ok((segments, warnings))
    }

    /// The segment that an address lies in.
    pub(super) fn find(&self, address: u64) -> Option<&Segment> {
        let before = self.loads.partition_point(|segment| segment.address <= address);
        let segment = self.loads.get(before.checked_sub(1)?)?;
        (address.wrapping_sub(segment.address) < segment.memory_bytes).then_some(segment)
    }
}

impl Memory for Segments<'_> {
    fn some(&self, address: u64, size_max: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..SEGMENTS_A_READ_MAX {
            let left = size_max.saturating_sub(bytes.len());
            let at = u64::try_from(bytes.len()).ok().and_then(|done| address.checked_add(done));
            let Some((at, segment)) = at.filter(|_| left > 0).and_then(|at| Some((at, self.find(at)?))) else { break };
            let within = at.saturating_sub(segment.address);
            let there = usize::try_from(segment.file_bytes.saturating_sub(within)).unwrap_or(usize::MAX);
            let piece = self.source.bytes(segment.offset.saturating_add(within), left.min(there)).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
        }
        bytes
    }

    fn is_mapped(&self, address: u64) -> Option<bool> {
        Some(self.find(address).is_some())
    }
}

/// Fields of a header, little-endian, each at its place in the 64-bit and in the 32-bit form.
pub(super) struct Fields<'b> {
    pub bytes: &'b [u8],
    pub is_64: bool,
}

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn place(&self, at_64: usize, at_32: usize) -> usize {
        if self.is_64 {
            at_64
        } else {
            at_32
        }
    }

    pub(super) fn u16(&self, at_64: usize, at_32: usize) -> Option<u16> {
        self.array(self.place(at_64, at_32)).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&self, at_64: usize, at_32: usize) -> Option<u32> {
        self.array(self.place(at_64, at_32)).map(u32::from_le_bytes)
    }

    /// A number as wide as an address.
    pub(super) fn word(&self, at_64: usize, at_32: usize) -> Option<u64> {
        if self.is_64 {
            self.array(at_64).map(u64::from_le_bytes)
        } else {
            self.array(at_32).map(u32::from_le_bytes).map(u64::from)
        }
    }
}
