//! The notes of an ELF core: threads with their registers, the process, the signal, the files that were mapped.

use super::segments::{Fields, Segments};
use crate::source::Source;

/// Most bytes of notes that are read, and most notes and threads.
const NOTES_BYTES_MAX: usize = 16 << 20;
const NOTES_MAX: usize = 100_000;
const THREADS_MAX: usize = 65_536;
/// Mapped files that are listed: what the kernel's limit of mappings allows by far.
const FILES_MAX: usize = 65_536;
/// Longest path that is kept.
const PATH_BYTES_MAX: usize = 4_096;

/// Whose the notes are that tell of the process, and where a note has that name. Others number theirs from 1 too.
const CORE: &[u8] = b"CORE\0";
const NAME_AT: usize = 12;

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_SIGINFO: u32 = 0x5349_4749;
const NT_FILE: u32 = 0x4649_4c45;
/// Where the kernel put its own shared object.
const AT_SYSINFO_EHDR: u64 = 33;

/// Whose registers and structures they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    X86,
    X64,
    Arm64,
    Other(u16),
}

impl Machine {
    /// By the number in the header.
    pub(super) fn of(number: u16, is_64: bool) -> Self {
        match (number, is_64) {
            (3, false) => Self::X86,
            (62, true) => Self::X64,
            (183, true) => Self::Arm64,
            _ => Self::Other(number),
        }
    }

    /// General registers in a thread's note.
    fn registers(self) -> usize {
        match self {
            Self::X86 => 17,
            Self::X64 => 27,
            Self::Arm64 => 34,
            Self::Other(_) => 0,
        }
    }
}

/// A thread.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    pub id: u32,
    pub signal: u32,
    pub registers: Vec<u64>,
}

/// The signal that ended the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signal {
    pub number: u32,
    pub code: i32,
    pub address: Option<u64>,
}

/// A part of a file that was mapped.
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    pub start: u64,
    pub end: u64,
    pub path: String,
}

/// What the notes tell.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub threads: Vec<Thread>,
    pub process: Option<String>,
    pub arguments: Option<String>,
    pub pid: Option<u32>,
    pub signal: Option<Signal>,
    pub files: Vec<Mapped>,
    /// The kernel's shared object.
    pub vdso: Option<u64>,
}

impl Notes {
    /// Whether they tell of no process at all.
    pub(super) fn is_empty(&self) -> bool {
        self.threads.is_empty() && self.signal.is_none() && self.process.is_none()
    }

    /// Reads them all.
    pub(super) fn read(source: &dyn Source, segments: &Segments<'_>, warnings: &mut Vec<String>) -> Self {
        let mut notes = Self::default();
        let (mut count, mut left) = (0_usize, NOTES_BYTES_MAX);
        for segment in &segments.notes {
            let size = usize::try_from(segment.file_bytes).unwrap_or(usize::MAX).min(left);
            left = left.saturating_sub(size);
            let bytes = source.bytes(segment.offset, size).unwrap_or_default();
            let mut rest = bytes.as_slice();
            while let Some((kind, payload, behind)) = next(rest) {
                let is_core = rest.get(NAME_AT..).is_some_and(|name| name.starts_with(CORE));
                rest = behind;
                count = count.saturating_add(1);
                if count > NOTES_MAX {
                    warnings.push(format!("there are more than {NOTES_MAX} notes: the rest is left out"));
                    return notes;
                }
                if is_core {
                    notes.take(kind, payload, segments);
                }
            }
        }
        if notes.threads.is_empty() {
            warnings.push("no thread's registers are in the core".to_owned());
        }
        notes
    }

    fn take(&mut self, kind: u32, payload: &[u8], segments: &Segments<'_>) {
        let fields = Fields { bytes: payload, is_64: segments.is_64 };
        match kind {
            NT_PRSTATUS if self.threads.len() < THREADS_MAX => {
                let (first, width) = if segments.is_64 { (112_usize, 8_usize) } else { (72, 4) };
                let at = |index: usize| {
                    let at = first.saturating_add(index.saturating_mul(width));
                    fields.word(at, at)
                };
                self.threads.extend(fields.u32(32, 24).map(|id| Thread {
                    id,
                    signal: fields.u16(12, 12).map_or(0, u32::from),
                    registers: (0..segments.machine.registers()).map_while(at).collect(),
                }));
            }
            NT_PRPSINFO if self.process.is_none() => {
                let (name, arguments) = if segments.is_64 { (40_usize, 56_usize) } else { (28, 44) };
                let text = |at: usize, size: usize| payload.get(at..at.saturating_add(size)).map(text);
                self.pid = fields.u32(24, 12);
                self.process = text(name, 16).filter(|name| !name.is_empty());
                self.arguments = text(arguments, 80).map(|line| line.trim_end().to_owned());
            }
            NT_SIGINFO if self.signal.is_none() => {
                let number = fields.u32(0, 0);
                let code = fields.u32(8, 8).map(u32::cast_signed);
                self.signal =
                    number.zip(code).map(|(number, code)| Signal { number, code, address: fields.word(16, 12) });
            }
            NT_FILE if self.files.is_empty() => self.files = files(payload, segments.is_64),
            NT_AUXV if self.vdso.is_none() => {
                let width = if segments.is_64 { 16 } else { 8 };
                let value = |pair: &[u8]| {
                    let fields = Fields { bytes: pair, is_64: segments.is_64 };
                    fields.word(0, 0).zip(fields.word(8, 4))
                };
                let pairs = payload.chunks_exact(width).filter_map(value);
                self.vdso =
                    pairs.take_while(|(key, _)| *key != 0).find(|(key, _)| *key == AT_SYSINFO_EHDR).map(|(_, at)| at);
            }
            _ => {}
        }
    }
}

/// The first note: its kind, what is in it, and the bytes behind it.
pub(in crate::process) fn next(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let fields = Fields { bytes, is_64: true };
    let size = |at: usize| fields.u32(at, at).and_then(|size| usize::try_from(size).ok());
    let (name, payload) = (size(0)?, size(4)?);
    let aligned = |size: usize| size.checked_next_multiple_of(4);
    let start = aligned(name)?.checked_add(12)?;
    let end = start.checked_add(payload)?;
    let behind = bytes.get(aligned(end)?..).unwrap_or_default();
    Some((fields.u32(8, 8)?, bytes.get(start..end)?, behind))
}

/// The mapped files: a count, the page size, three numbers for each, and their names one behind the other.
fn files(payload: &[u8], is_64: bool) -> Vec<Mapped> {
    let width: usize = if is_64 { 8 } else { 4 };
    let fields = Fields { bytes: payload, is_64 };
    let word = |index: usize| {
        let at = index.checked_mul(width)?;
        fields.word(at, at)
    };
    let count = word(0).and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    let names = count.checked_mul(3).and_then(|words| words.checked_add(2)?.checked_mul(width));
    let names = names.and_then(|at| payload.get(at..)).unwrap_or_default().split(|byte| *byte == 0);
    let of = |(index, name): (usize, &[u8])| {
        let first = index.checked_mul(3)?.checked_add(2)?;
        let path = text(name.get(..name.len().min(PATH_BYTES_MAX))?);
        Some(Mapped { start: word(first)?, end: word(first.checked_add(1)?)?, path })
    };
    names.take(count.min(FILES_MAX)).enumerate().filter_map(of).collect()
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}
