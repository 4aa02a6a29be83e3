//! What the kernel's own records tell without symbols: the processor that crashed, its thread and its process.
//!
//! The debugger's block (KDBG) leads there. A machine that never had a debugger may keep it encoded; then its owner's tag does
//! not read KDBG, the report says so, and the stack is scanned instead.

use crate::machine::bytes::{ascii, u64_at};
use crate::machine::memory::Memory;

/// Most processors that are asked.
const PROCESSORS_MAX: u32 = 2048;
/// What is read of an EPROCESS to find its name.
const PROCESS_BYTES: usize = 0x600;

/// The debugger's block, when it can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DebuggerBlock {
    pub kernel_base: u64,
    pub module_list: u64,
    pub processor_block: u64,
    pub unloaded_drivers: u64,
    pub last_unloaded_driver: u64,
    /// Bounds of pools, where this build still fills them.
    pub nonpaged_pool: Option<(u64, u64)>,
    pub paged_pool: Option<(u64, u64)>,
}

/// The processor that crashed, and what ran on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Running {
    pub cpu: Option<u32>,
    pub thread: Option<u64>,
    pub process: Option<u64>,
    /// Lowest and first address beyond the thread's stack.
    pub stack: Option<(u64, u64)>,
}

impl DebuggerBlock {
    /// Reads the block at an address; `Err` says why it can't be used.
    pub(super) fn read(memory: &Memory<'_>, address: u64) -> Result<Self, String> {
        let bytes = memory.some(address, 0x380);
        let Some(tag) = bytes.get(0x10..0x14) else {
            return Err(format!("the debugger's block (KDBG) at {address:#x} is not in the dump"));
        };
        if tag != b"KDBG" {
            return Err(format!("the debugger's block (KDBG) at {address:#x} is encoded or damaged: not used"));
        }
        let field = |at| u64_at(&bytes, at).unwrap_or_default();
        // Most fields are addresses of the kernel's variables; some builds of dumps hold the values themselves.
        let bounds = |at: usize| {
            let (start, end) = (field(at), field(at.saturating_add(8)));
            if start == 0 || end == 0 {
                return None;
            }
            let direct = (start, end);
            let through = || memory.u64_at(start).zip(memory.u64_at(end));
            let is_range = |range: &(u64, u64)| range.0 < range.1 && range.1.wrapping_sub(range.0) >= 0x1000;
            through().filter(is_range).or(Some(direct).filter(is_range))
        };
        Ok(Self {
            kernel_base: field(0x18),
            module_list: field(0x48),
            processor_block: field(0x218),
            unloaded_drivers: field(0x220),
            last_unloaded_driver: field(0x228),
            nonpaged_pool: bounds(0x110),
            paged_pool: bounds(0x120),
        })
    }
}

/// Finds the processor whose thread's stack holds the stack pointer at the crash.
pub(super) fn running(memory: &Memory<'_>, block: &DebuggerBlock, processors: u32, sp: u64) -> Option<Running> {
    for slot in 0..u64::from(processors.clamp(1, PROCESSORS_MAX)) {
        let entry = block.processor_block.checked_add(slot.checked_mul(8)?)?;
        let Some(prcb) = memory.u64_at(entry).filter(|at| *at != 0) else {
            continue;
        };
        let Some(thread) = memory.u64_at(prcb.wrapping_add(8)).filter(|at| *at != 0) else {
            continue;
        };
        let bounds = stack_of(memory, thread);
        if bounds.is_some_and(|(low, high)| (low..high).contains(&sp)) {
            return Some(Running {
                cpu: memory.u32_at(prcb.wrapping_add(0x24)),
                thread: Some(thread),
                process: memory.u64_at(thread.wrapping_add(0xb8)).filter(|process| *process != 0),
                stack: bounds,
            });
        }
    }
    None
}

/// The bounds of a thread's stack.
pub(super) fn stack_of(memory: &Memory<'_>, thread: u64) -> Option<(u64, u64)> {
    let low = memory.u64_at(thread.wrapping_add(0x30))?;
    let high = memory.u64_at(thread.wrapping_add(0x38))?;
    (low < high).then_some((low, high))
}

/// The name that a process is known by: 15 letters at an offset that moves between builds.
pub(super) fn process_name(memory: &Memory<'_>, process: u64, build: u32) -> Option<String> {
    /// First build with an offset of ImageFileName, the newest first.
    const OFFSETS: [(u32, usize); 7] =
        [(26100, 0x338), (19041, 0x5a8), (10586, 0x450), (10240, 0x448), (9200, 0x438), (7600, 0x2e0), (6000, 0x238)];
    let record = memory.some(process, PROCESS_BYTES);
    let name_at = |at: usize| {
        let name = ascii(record.get(at..at.checked_add(15)?)?)?;
        (name.len() >= 2).then_some(name)
    };
    let expected = OFFSETS.iter().find(|(first, _)| build >= *first).and_then(|(_, at)| name_at(*at));
    expected.or_else(|| {
        let mut others = OFFSETS.iter().filter_map(|(_, at)| name_at(*at));
        others.find(|name| name == "System" || name.to_ascii_lowercase().ends_with(".exe"))
    })
}
