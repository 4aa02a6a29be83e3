//! Unwinding x64 by the tables that every image carries (`.pdata`), read from the dead kernel's memory.
//!
//! Ours and not a library's: the tables come from a hostile file, and what exists trusts them with its loops and its slices.
//! Only the pages on the way are read: a binary search through the table, one record of unwind codes.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::image;
use crate::machine::bytes::{u16_at, u32_at};
use crate::machine::memory::Memory;
use crate::machine::modules::Loaded;
use crate::machine::registers::Cpu;

/// Registers in the order in which unwind codes number them.
const NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
/// Number of rsp among them.
const RSP: usize = 4;
/// Registers that a call leaves as they were.
const KEPT: [usize; 8] = [3, 5, 6, 7, 12, 13, 14, 15];
/// Parts that a function's unwind record may be chained from.
const CHAIN_MAX: usize = 32;
/// Instructions of an epilogue.
const EPILOGUE_MAX: usize = 16;

/// Registers on the way up the stack; what is not known stays so.
#[derive(Clone, Debug, Default)]
pub(super) struct Registers([Option<u64>; 16]);

impl Registers {
    /// The registers of a processor, the valid ones only.
    pub(super) fn of(cpu: &Cpu) -> Self {
        let mut registers = Self::default();
        for (slot, name) in registers.0.iter_mut().zip(NAMES) {
            *slot = cpu.valid(name);
        }
        registers
    }

    /// Nothing known but the stack pointer.
    pub(super) fn at(sp: u64) -> Self {
        let mut registers = Self::default();
        registers.set(RSP, sp);
        registers
    }

    /// The stack pointer.
    pub(super) fn sp(&self) -> Option<u64> {
        self.get(RSP)
    }

    /// The registers that survive calls, by name, as far as they are known.
    pub(super) fn kept(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        KEPT.iter().filter_map(|number| Some((*NAMES.get(*number)?, self.get(*number)?)))
    }

    fn get(&self, number: usize) -> Option<u64> {
        self.0.get(number).copied().flatten()
    }

    fn set(&mut self, number: usize, value: impl Into<Option<u64>>) {
        if let Some(slot) = self.0.get_mut(number) {
            *slot = value.into();
        }
    }

    /// Takes a word off the stack.
    fn pop(&mut self, memory: &Memory<'_>) -> Option<u64> {
        let sp = self.sp()?;
        let word = memory.u64_at(sp)?;
        self.set(RSP, sp.checked_add(8)?);
        Some(word)
    }
}

/// The caller of a frame.
#[derive(Debug)]
pub(super) struct Caller {
    pub ip: u64,
    pub registers: Registers,
    /// The processor itself made this frame at an exception, so `ip` is an instruction and no return address.
    pub is_machine_frame: bool,
}

/// A record of the table of functions.
#[derive(Clone, Copy, Debug)]
struct Function {
    begin: u32,
    end: u32,
    unwind: u32,
}

/// Finds the caller of the frame at `ip`; `None` where what is needed is not in the dump or makes no sense.
/// `is_return` says that `ip` is a return address: the call is before it, and it is in no prologue or epilogue.
pub(super) fn caller(
    memory: &Memory<'_>,
    module: &Loaded,
    ip: u64,
    is_return: bool,
    mut registers: Registers,
) -> Option<Caller> {
    let offset = u32::try_from(module.offset_of(ip)?).ok()?;
    let sought = if is_return { offset.checked_sub(1)? } else { offset };
    let Some(mut function) = find(memory, module.base, sought)? else {
        // A function without a record has no frame: the return address is on top.
        let ip = registers.pop(memory)?;
        return Some(Caller { ip, registers, is_machine_frame: false });
    };
    if !is_return {
        if let Some(after) = epilogue(memory, ip, function.end.checked_sub(offset)?, &registers) {
            return Some(after);
        }
    }
    let mut reached = offset.checked_sub(function.begin);
    for _ in 0..CHAIN_MAX {
        let record = Record::read(memory, module.base, function.unwind)?;
        let in_prologue = reached.filter(|reached| !is_return && *reached < u32::from(record.prologue_bytes));
        if let Some(ip) = record.undo(memory, in_prologue, &mut registers)? {
            return Some(Caller { ip, registers, is_machine_frame: true });
        }
        match record.chained {
            Some(parent) => function = parent,
            None => {
                let ip = registers.pop(memory)?;
                return Some(Caller { ip, registers, is_machine_frame: false });
            }
        }
        // The parent's prologue is behind us as a whole.
        reached = None;
    }
    None
}

/// The function that holds an offset; `Some(None)` if the table is there and none does.
fn find(memory: &Memory<'_>, base: u64, sought: u32) -> Option<Option<Function>> {
    let (table, size) = image::headers(memory, base)?.functions;
    if table == 0 || size == 0 {
        return None;
    }
    let at = |index: u32| read_function(memory, base, table.checked_add(index.checked_mul(12)?)?);
    let (mut low, mut high) = (0_u32, size / 12);
    while low < high {
        let middle = low.checked_add(high.checked_sub(low)? / 2)?;
        let function = at(middle)?;
        if sought < function.begin {
            high = middle;
        } else if sought >= function.end {
            low = middle.checked_add(1)?;
        } else {
            return Some(Some(function));
        }
    }
    Some(None)
}

fn read_function(memory: &Memory<'_>, base: u64, offset: u32) -> Option<Function> {
    let bytes = memory.all(base.checked_add(u64::from(offset))?, 12)?;
    let (begin, end, unwind) = (u32_at(&bytes, 0)?, u32_at(&bytes, 4)?, u32_at(&bytes, 8)?);
    if end < begin {
        return None;
    }
    // An odd record number points at another function's record.
    if unwind & 1 == 1 {
        let other = memory.all(base.checked_add(u64::from(unwind & !1))?, 12)?;
        return Some(Function { begin, end, unwind: u32_at(&other, 8)? & !1 });
    }
    Some(Function { begin, end, unwind })
}

/// A function's unwind record.
struct Record {
    version: u8,
    prologue_bytes: u8,
    frame_register: usize,
    frame_offset: u64,
    codes: Vec<u8>,
    chained: Option<Function>,
}

impl Record {
    fn read(memory: &Memory<'_>, base: u64, offset: u32) -> Option<Self> {
        /// The record goes on with the function that it belongs to.
        const CHAINED: u8 = 4;
        let at = base.checked_add(u64::from(offset))?;
        let head = memory.all(at, 4)?;
        let &[first, prologue_bytes, count, frame] = head.as_slice() else {
            return None;
        };
        let size = usize::from(count).saturating_mul(2);
        let codes = memory.all(at.checked_add(4)?, size)?;
        let chained = if first >> 3 & CHAINED == 0 {
            None
        } else {
            let behind = u32::try_from(size.next_multiple_of(4)).ok()?.checked_add(4)?;
            Some(read_function(memory, base, offset.checked_add(behind)?)?)
        };
        Some(Self {
            version: first & 7,
            prologue_bytes,
            frame_register: usize::from(frame & 0xf),
            frame_offset: u64::from(frame >> 4).saturating_mul(16),
            codes,
            chained,
        })
        .filter(|record| matches!(record.version, 1 | 2))
    }

    /// Undoes what the prologue did, or the part of it that was done. `Some(Some(ip))` at a frame of the processor's own.
    fn undo(&self, memory: &Memory<'_>, in_prologue: Option<u32>, registers: &mut Registers) -> Option<Option<u64>> {
        let mut at = 0_usize;
        let frame = self.frame(in_prologue, registers);
        while let (Some(done), Some(code)) = (self.codes.get(at), self.codes.get(at.saturating_add(1))) {
            let (operation, number) = (code & 0xf, usize::from(code >> 4));
            let slots = self.slots(operation, number)?;
            let operand = at.saturating_add(2);
            at = at.saturating_add(slots.saturating_mul(2));
            if in_prologue.is_some_and(|reached| u32::from(*done) > reached) {
                continue;
            }
            let short = || u16_at(&self.codes, operand).map(u64::from);
            let long = || u32_at(&self.codes, operand).map(u64::from);
            match operation {
                0 => {
                    let value = registers.pop(memory)?;
                    registers.set(number, value);
                }
                1 => {
                    let size = if number == 0 { short()?.checked_mul(8)? } else { long()? };
                    registers.set(RSP, registers.sp()?.checked_add(size)?);
                }
                2 => {
                    let size = u64::try_from(number).ok()?.checked_mul(8)?.checked_add(8)?;
                    registers.set(RSP, registers.sp()?.checked_add(size)?);
                }
                3 => registers.set(RSP, Some(frame?)),
                4 => registers.set(number, memory.u64_at(frame?.checked_add(short()?.checked_mul(8)?)?)?),
                5 => registers.set(number, memory.u64_at(frame?.checked_add(long()?)?)?),
                10 => {
                    if number == 1 {
                        registers.pop(memory)?;
                    }
                    let sp = registers.sp()?;
                    let ip = memory.u64_at(sp)?;
                    registers.set(RSP, memory.u64_at(sp.checked_add(0x18)?)?);
                    return Some(Some(ip));
                }
                _ => {}
            }
        }
        Some(None)
    }

    /// Where the function's fixed part begins: by its frame register once that is set, else by the stack pointer.
    fn frame(&self, in_prologue: Option<u32>, registers: &Registers) -> Option<u64> {
        const SET_FRAME: u8 = 3;
        let is_set = |reached: u32| {
            let pairs = self.codes.chunks_exact(2);
            pairs
                .filter_map(|pair| Some((*pair.first()?, *pair.get(1)?)))
                .any(|(done, code)| code & 0xf == SET_FRAME && u32::from(done) <= reached)
        };
        if self.frame_register == 0 || !in_prologue.is_none_or(is_set) {
            return registers.sp();
        }
        registers.get(self.frame_register)?.checked_sub(self.frame_offset)
    }

    /// Slots that an operation takes; `None` for one that does not exist.
    fn slots(&self, operation: u8, number: usize) -> Option<usize> {
        Some(match (operation, number, self.version) {
            (0 | 2 | 3 | 10, _, _) | (6, _, 2) => 1,
            (1, 0, _) | (4 | 8, _, _) | (6, _, 1) | (7, _, 2) => 2,
            (1, 1, _) | (5 | 9, _, _) | (7, _, 1) => 3,
            _ => return None,
        })
    }
}

/// Whether the address of an operand is a 64-bit register and a displacement.
fn is_plain_base(instruction: &Instruction) -> bool {
    instruction.memory_index() == Register::None && instruction.memory_base().is_gpr64()
}

/// If `ip` lies in an epilogue, goes through what is left of it: an addition to rsp, pops, and the return.
fn epilogue(memory: &Memory<'_>, ip: u64, left_bytes: u32, registers: &Registers) -> Option<Caller> {
    /// An epilogue's instructions are short; more of the function need not be read.
    const EPILOGUE_BYTES_MAX: u32 = 64;
    let bytes = memory.some(ip, usize::try_from(left_bytes.min(EPILOGUE_BYTES_MAX)).ok()?);
    let mut decoder = Decoder::with_ip(64, &bytes, ip, DecoderOptions::NONE);
    let mut registers = registers.clone();
    for step in 0..EPILOGUE_MAX {
        let instruction = decoder.decode();
        let is_rsp = instruction.op0_register() == Register::RSP;
        match instruction.mnemonic() {
            Mnemonic::Add if is_rsp && step == 0 && instruction.op1_kind() != OpKind::Register => {
                registers.set(RSP, registers.sp()?.checked_add(instruction.immediate(1))?);
            }
            Mnemonic::Lea if is_rsp && step == 0 && is_plain_base(&instruction) => {
                let base = instruction.memory_base().number();
                registers.set(RSP, registers.get(base)?.wrapping_add(instruction.memory_displacement64()));
            }
            Mnemonic::Pop if instruction.op0_register().is_gpr64() => {
                let value = registers.pop(memory)?;
                registers.set(instruction.op0_register().number(), value);
            }
            Mnemonic::Ret => {
                let ip = registers.pop(memory)?;
                return Some(Caller { ip, registers, is_machine_frame: false });
            }
            _ => return None,
        }
    }
    None
}
