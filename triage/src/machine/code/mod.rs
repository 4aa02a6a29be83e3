//! Code around the fault, as an analyst's listing has it: eight instructions before the fault, eight from it on, and what the one at the
//! fault uses of memory.

pub(crate) mod arm64;
pub(crate) mod x64;

use super::bytes::hex;
use super::memory::Memory;
use super::modules::Modules;
use super::registers::{Cpu, Machine};
pub(crate) use crate::call::Before;
use crate::call::{self, Isa};
use crate::report::{Instruction, Listed};

/// Lines before the fault, and from it on, as an analyst's listing has them.
pub(crate) const LINES_BEFORE: usize = 8;
pub(crate) const LINES_FROM: usize = 8;

/// Code that can be read, and what is known of where it runs.
pub(crate) struct Code<'c> {
    /// Whether addresses are the real ones; a log may tell only how far code is from the fault.
    pub is_located: bool,
    /// As many bytes from an address on as follow each other, at most so many.
    pub some: &'c dyn Fn(u64, usize) -> Vec<u8>,
    /// An address as `module+0x12`, if it lies in a module.
    pub place: &'c dyn Fn(u64) -> Option<String>,
    /// A register's value by lower-case name, if it is the one at the fault.
    pub register: &'c dyn Fn(&str) -> Option<u64>,
}

impl Code<'_> {
    pub(crate) fn all(&self, address: u64, size: usize) -> Option<Vec<u8>> {
        Some((self.some)(address, size)).filter(|bytes| bytes.len() == size)
    }

    /// Lines before the fault and from it on; empty where its bytes are not there.
    pub(crate) fn listing(&self, address: u64, machine: Machine) -> Vec<Listed> {
        match machine {
            Machine::X64 => x64::listing(self, address),
            Machine::Arm64 => arm64::listing(self, address),
        }
    }

    /// The instruction at an address.
    pub(crate) fn instruction(&self, address: u64, machine: Machine) -> Option<Instruction> {
        match machine {
            Machine::X64 => x64::instruction(self, address),
            Machine::Arm64 => arm64::instruction(self, address),
        }
    }

    /// What lies at an operand's address, the highest byte first as a number is read; question marks where it is not there.
    pub(crate) fn value(&self, address: u64, size: usize) -> String {
        let size = size.min(8);
        match self.all(address, size) {
            Some(mut bytes) => {
                bytes.reverse();
                hex(&bytes)
            }
            None => "??".repeat(size),
        }
    }
}

/// Whether the bytes before an address are a call.
pub(crate) fn before(memory: &Memory<'_>, address: u64, machine: Machine) -> Before {
    let isa = match machine {
        Machine::X64 => Isa::X64,
        Machine::Arm64 => Isa::Arm64,
    };
    call::before(&|address, size| memory.all(address, size), address, isa)
}

/// The listing and the instruction at the fault of a machine whose memory is there.
pub(crate) fn at_fault(
    memory: &Memory<'_>,
    modules: &Modules,
    cpu: Option<&Cpu>,
    address: u64,
    machine: Machine,
) -> (Vec<Listed>, Option<Instruction>) {
    let code = Code {
        is_located: true,
        some: &|address, size| memory.some(address, size),
        place: &|address| modules.find(address).map(|_| modules.place(address)),
        register: &|name| cpu.and_then(|cpu| cpu.valid(name)),
    };
    (code.listing(address, machine), code.instruction(address, machine))
}
