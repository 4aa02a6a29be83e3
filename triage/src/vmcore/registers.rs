//! Registers of x86-64, as the kernel saves them at an exception and as a core's notes hold them: both in one order.

use super::notes::{Note, NT_PRSTATUS};
use crate::machine::bytes::u64_at;
use crate::machine::registers::{Cpu, Machine};
use crate::report::Registers;

/// Words that the kernel saves.
const WORDS: usize = 21;
/// Bytes of them.
pub(super) const BYTES: usize = WORDS * 8;
/// Where they begin in a note of a processor.
const IN_NOTE: usize = 112;

/// Names in the order of memory.
const NAMES: [&str; WORDS] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax",
    "rip", "cs", "efl", "rsp", "ss",
];
/// Names in the order in which a debugger prints them.
const SHOWN: [&str; 20] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rip", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15", "cs", "ss", "efl",
];

/// Saved registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saved([u64; WORDS]);

impl Saved {
    /// Reads them as the kernel lays them on the stack.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut words = [0; WORDS];
        for (word, at) in words.iter_mut().zip((0_usize..).step_by(8)) {
            *word = u64_at(bytes, at)?;
        }
        Some(Self(words))
    }

    /// A register by name.
    pub(super) fn get(&self, name: &str) -> u64 {
        NAMES.iter().position(|one| *one == name).and_then(|at| self.0.get(at)).copied().unwrap_or_default()
    }

    /// Whether a program ran and not the kernel.
    pub(super) fn is_user(&self) -> bool {
        self.get("cs") & 3 != 0
    }

    /// As a report shows them.
    pub(super) fn shown(&self) -> Registers {
        let mut shown = Registers::default();
        SHOWN.iter().for_each(|name| shown.set(name, self.get(name), true));
        shown
    }

    /// As the reader of code wants them.
    pub(super) fn cpu(&self) -> Cpu {
        Cpu { machine: Machine::X64, registers: self.shown(), ip: self.get("rip"), sp: self.get("rsp"), flags: None }
    }
}

/// The registers of each processor, in the order of the notes.
pub(super) fn of_notes(notes: &[Note]) -> Vec<Saved> {
    let of_processor = notes.iter().filter(|note| note.name == "CORE" && note.kind == NT_PRSTATUS);
    of_processor.filter_map(|note| Saved::parse(note.bytes.get(IN_NOTE..)?)).collect()
}
