//! The first 2000h bytes of a 64-bit kernel dump: which machine, what stopped it, and where the lists of its kernel lie.

use crate::machine::bytes::{array_at, u16_at, u32_at, u64_at};
use crate::machine::registers::Machine;
use crate::source::Source;
use crate::Error;

/// Size of the header.
pub(super) const HEADER_BYTES: usize = 0x2000;
/// What unused bytes of a header are filled with: a field that reads so was never written.
const FILLER: u32 = u32::from_le_bytes(*b"PAGE");
/// Runs of pages that the header has room for.
const RUNS_MAX: usize = 42;

/// How a dump holds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DumpType {
    /// All memory, as runs of pages.
    Full,
    /// A header alone.
    Summary,
    /// A small dump: the stack and pieces around what registers and stack point at.
    Small,
    /// Pages by bitmap; the kernel's or all.
    Bitmap,
    /// Pages by ranges; the kernel's, the kernel's with a process, or all.
    Ranges,
}

impl DumpType {
    /// The type of the header's number.
    pub(super) fn of(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Full,
            2 => Self::Summary,
            4 => Self::Small,
            5 | 6 => Self::Bitmap,
            8..=0xa => Self::Ranges,
            _ => return None,
        })
    }
}

/// An exception record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ExceptionRecord {
    pub code: u32,
    pub address: u64,
    pub parameters: Vec<u64>,
}

impl ExceptionRecord {
    /// Size in memory.
    pub(super) const BYTES: usize = 0x98;
    /// Parameters that a record has room for.
    const PARAMETERS_MAX: u32 = 15;

    /// Reads a record; `None` where there is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let code = u32_at(bytes, 0)?;
        let count = u32_at(bytes, 0x18)?;
        if code == 0 || code == FILLER || count > Self::PARAMETERS_MAX {
            return None;
        }
        let rest = bytes.get(0x20..)?;
        let parameters = rest.chunks_exact(8).filter_map(|word| u64_at(word, 0)).take(usize::try_from(count).ok()?);
        Some(Self { code, address: u64_at(bytes, 0x10)?, parameters: parameters.collect() })
    }
}

/// What the header says.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub machine: Machine,
    pub build: u32,
    pub directory_base: u64,
    pub module_list: u64,
    pub debugger_block: u64,
    pub processors: u32,
    pub bugcheck: u32,
    pub parameters: [u64; 4],
    pub type_number: u32,
    pub context: Vec<u8>,
    pub exception: Option<ExceptionRecord>,
    /// Runs of pages: the first and how many.
    pub runs: Vec<(u64, u64)>,
}

impl Header {
    /// Reads the header. A file cut short within it gives what is there: the bytes that are missing count as zero.
    ///
    /// # Errors
    /// When the file can't be read, or is for a machine whose registers nobody here knows.
    pub(super) fn read(source: &dyn Source, warnings: &mut Vec<String>) -> Result<Self, Error> {
        let mut bytes = source.bytes(0, HEADER_BYTES)?;
        if bytes.len() < HEADER_BYTES {
            warnings.push(format!("the file ends within its header, after {} bytes", bytes.len()));
            bytes.resize(HEADER_BYTES, 0);
        }
        let number = |at| u32_at(&bytes, at).unwrap_or_default();
        let long = |at| u64_at(&bytes, at).unwrap_or_default();
        let machine = match u16_at(&bytes, 0x30).unwrap_or_default() {
            0x8664 => Machine::X64,
            0xaa64 => Machine::Arm64,
            other => {
                let what = format!("a kernel dump of machine type {other:#x}");
                return Err(Error::Damaged { offset: 0x30, what, mend: "x64 (0x8664) and ARM64 (0xaa64) are read" });
            }
        };
        Ok(Self {
            machine,
            build: number(0xc),
            directory_base: long(0x10),
            module_list: long(0x20),
            debugger_block: long(0x80),
            processors: number(0x34),
            bugcheck: number(0x38),
            parameters: [long(0x40), long(0x48), long(0x50), long(0x58)],
            type_number: number(0xf98),
            context: bytes.get(0x348..0xf00).unwrap_or_default().to_vec(),
            exception: bytes.get(0xf00..).and_then(ExceptionRecord::read),
            runs: runs(&bytes, warnings),
        })
    }
}

/// The runs of physical pages, where the header has them.
fn runs(bytes: &[u8], warnings: &mut Vec<String>) -> Vec<(u64, u64)> {
    let count = match u32_at(bytes, 0x88) {
        None | Some(FILLER) => return Vec::new(),
        Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
    };
    if count > RUNS_MAX {
        warnings
            .push(format!("the header counts {count} runs of pages, more than the {RUNS_MAX} that it has room for"));
    }
    let table = bytes.get(0x98..).unwrap_or_default();
    let runs = table.chunks_exact(16).take(count.min(RUNS_MAX));
    runs.filter_map(|run| {
        array_at::<16>(run, 0)?;
        Some((u64_at(run, 0)?, u64_at(run, 8)?))
    })
    .collect()
}
