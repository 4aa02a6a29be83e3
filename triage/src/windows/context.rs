//! Registers: out of a CONTEXT record, or out of the trap frame that the kernel makes when a processor faults.

use crate::machine::bytes::{u16_at, u32_at, u64_at};
use crate::machine::registers::{Cpu, Machine};
use crate::report::Registers;

/// Size of a CONTEXT record as far as it is read.
pub(crate) const CONTEXT_BYTES: usize = 0x200;
/// Size of the trap frame of x64.
pub(crate) const TRAP_FRAME_BYTES: u64 = 0x190;

/// General registers of x64 in a CONTEXT, in the order in which a debugger prints them.
const CONTEXT_X64: [(&str, usize); 17] = [
    ("rax", 0x78),
    ("rbx", 0x90),
    ("rcx", 0x80),
    ("rdx", 0x88),
    ("rsi", 0xa8),
    ("rdi", 0xb0),
    ("rip", 0xf8),
    ("rsp", 0x98),
    ("rbp", 0xa0),
    ("r8", 0xb8),
    ("r9", 0xc0),
    ("r10", 0xc8),
    ("r11", 0xd0),
    ("r12", 0xd8),
    ("r13", 0xe0),
    ("r14", 0xe8),
    ("r15", 0xf0),
];

/// Registers in a trap frame of x64; `None` for those that it does not hold. The kernel's handler saves what a call may change
/// and leaves the rest to the functions it calls. `rbx`, `rsi` and `rdi` have a place that a page fault leaves as it was.
const TRAP_X64: [(&str, Option<usize>, bool); 17] = [
    ("rax", Some(0x30), true),
    ("rbx", Some(0x140), false),
    ("rcx", Some(0x38), true),
    ("rdx", Some(0x40), true),
    ("rsi", Some(0x150), false),
    ("rdi", Some(0x148), false),
    ("rip", Some(0x168), true),
    ("rsp", Some(0x180), true),
    ("rbp", Some(0x158), true),
    ("r8", Some(0x48), true),
    ("r9", Some(0x50), true),
    ("r10", Some(0x58), true),
    ("r11", Some(0x60), true),
    ("r12", None, false),
    ("r13", None, false),
    ("r14", None, false),
    ("r15", None, false),
];

impl Cpu {
    /// Reads a CONTEXT record; `None` where there is none.
    pub(crate) fn of_context(machine: Machine, bytes: &[u8]) -> Option<Self> {
        match machine {
            Machine::X64 => Self::of_context_x64(bytes),
            Machine::Arm64 => Self::of_context_arm64(bytes),
        }
    }

    fn of_context_x64(bytes: &[u8]) -> Option<Self> {
        const ARCHITECTURE: u32 = 0x10_0000;
        let parts = u32_at(bytes, 0x30)?;
        if parts & ARCHITECTURE == 0 || parts & 0x00c0_0000 != 0 {
            return None;
        }
        let has_control = parts & 1 != 0;
        let has_integers = parts & 2 != 0;
        let mut registers = Registers::default();
        for (name, at) in CONTEXT_X64 {
            let is_valid = if matches!(name, "rip" | "rsp") { has_control } else { has_integers };
            registers.set(name, u64_at(bytes, at)?, is_valid);
        }
        for (name, at) in [("cs", 0x38), ("ss", 0x42), ("ds", 0x3a), ("es", 0x3c), ("fs", 0x3e), ("gs", 0x40)] {
            let is_valid = if matches!(name, "cs" | "ss") { has_control } else { parts & 4 != 0 };
            registers.set(name, u64::from(u16_at(bytes, at)?), is_valid);
        }
        let flags = u32_at(bytes, 0x44)?;
        registers.set("efl", u64::from(flags), has_control);
        Some(Self {
            machine: Machine::X64,
            registers,
            ip: u64_at(bytes, 0xf8)?,
            sp: u64_at(bytes, 0x98)?,
            flags: has_control.then_some(flags),
        })
    }

    fn of_context_arm64(bytes: &[u8]) -> Option<Self> {
        const ARCHITECTURE: u32 = 0x40_0000;
        /// x0 to x30, of which x29 is the frame pointer and x30 the link register.
        const GENERAL: usize = 31;
        let parts = u32_at(bytes, 0)?;
        if parts & ARCHITECTURE == 0 {
            return None;
        }
        let (has_control, has_integers) = (parts & 1 != 0, parts & 2 != 0);
        let mut registers = Registers::default();
        let general = bytes.get(8..)?.chunks_exact(8).filter_map(|word| u64_at(word, 0)).take(GENERAL);
        for (number, value) in general.enumerate() {
            let (name, is_valid) = match number {
                29 => ("fp".to_owned(), has_control),
                30 => ("lr".to_owned(), has_control),
                _ => (format!("x{number}"), has_integers),
            };
            registers.set(&name, value, is_valid);
        }
        let (sp, ip) = (u64_at(bytes, 0x100)?, u64_at(bytes, 0x108)?);
        let flags = u32_at(bytes, 4)?;
        registers.set("sp", sp, has_control);
        registers.set("pc", ip, has_control);
        registers.set("cpsr", u64::from(flags), has_control);
        Some(Self { machine: Machine::Arm64, registers, ip, sp, flags: None })
    }

    /// Reads a trap frame of x64.
    pub(crate) fn of_trap_frame(bytes: &[u8]) -> Option<Self> {
        let mut registers = Registers::default();
        for (name, at, is_valid) in TRAP_X64 {
            registers.set(name, at.map_or(Some(0), |at| u64_at(bytes, at))?, is_valid);
        }
        registers.set("cs", u64::from(u16_at(bytes, 0x170)?), true);
        registers.set("ss", u64::from(u16_at(bytes, 0x188)?), true);
        let flags = u32_at(bytes, 0x178)?;
        registers.set("efl", u64::from(flags), true);
        Some(Self {
            machine: Machine::X64,
            registers,
            ip: u64_at(bytes, 0x168)?,
            sp: u64_at(bytes, 0x180)?,
            flags: Some(flags),
        })
    }
}

/// Whether bytes look like a trap frame of x64 that the kernel made for code at `ip` (any, if not known).
pub(crate) fn is_trap_frame(bytes: &[u8], ip: Option<u64>, is_stack: impl Fn(u64) -> bool) -> bool {
    /// Bits of EFLAGS that are never set, and the one that always is.
    const FLAGS_ZERO: u64 = 0xffff_ffff_ffc0_8028;
    const FLAGS_ONE: u64 = 2;
    let word = |at| u64_at(bytes, at).unwrap_or_default();
    let segment = |at| u16_at(bytes, at).unwrap_or_default();
    let flags = word(0x178) & 0xffff_ffff;
    let from_kernel = segment(0x170) == 0x10 && matches!(segment(0x188), 0 | 0x18);
    ip.is_none_or(|ip| word(0x168) == ip)
        && from_kernel
        && flags & FLAGS_ONE != 0
        && flags & FLAGS_ZERO == 0
        && is_stack(word(0x180))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_printed_as_a_debugger_does() {
        let mut frame = vec![0_u8; 0x190];
        frame[0x178..0x17c].copy_from_slice(&0x50282_u32.to_le_bytes());
        let cpu = Cpu::of_trap_frame(&frame).expect("a frame");
        assert_eq!(cpu.flags_text().as_deref(), Some("iopl=0         nv up ei ng nz na po nc"));
        assert!(!cpu.registers.get("r12").expect("named").valid && cpu.registers.get("r8").expect("named").valid);
    }

    #[test]
    fn filler_is_no_context() {
        let filler = b"PAGE".repeat(CONTEXT_BYTES / 4);
        assert!(Cpu::of_context(Machine::X64, &filler).is_none());
        assert!(Cpu::of_context(Machine::Arm64, &[0; CONTEXT_BYTES]).is_none());
        assert!(Cpu::of_context(Machine::X64, &[0; 8]).is_none());
    }
}
