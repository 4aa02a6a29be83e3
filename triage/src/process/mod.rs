//! Dumps of processes: minidumps of Linux, Windows and macOS, ELF cores. Each reader makes a [`Crash`] of its file, and from there on
//! all are told the same way.
//!
//! 1. `minidump` and `elf_core` read a file's structure: exception, registers, modules, memory; `annotations` what was left beside it.
//! 2. `stack` walks the crashed thread's stack, within bounds, with names from local symbol files and, on Linux, from the programs and
//!    libraries themselves (`binary`).
//! 3. `fault` says what the instruction wanted of which address, `blame` whose code it was, `describe` puts it in words.
//!
//! Entries: `minidump`, `elf_core`.

mod annotations;
mod binary;
mod blame;
mod describe;
mod elf_core;
mod fault;
mod memory;
mod minidump;
mod stack;

use std::sync::Arc;

use ::minidump::system_info::{Cpu, Os};
use ::minidump::{MinidumpContext, MinidumpModuleList, Module as _};

use self::binary::Binaries;
use self::memory::Memory;
use crate::call::Isa;
use crate::report::{Exception, Fact, Hex, Kind, Module, Operation, Report};
use crate::source::Source;
use crate::symbols::SymbolFiles;
use crate::Error;

/// Most modules that a report lists.
const MODULES_MAX: usize = 4096;

/// Reads a minidump. Functions get names from `symbols`.
///
/// # Errors
/// When the file can't be read or has no directory of streams.
pub fn minidump(source: &dyn Source, symbols: &Arc<dyn SymbolFiles>) -> Result<Report, Error> {
    minidump::read(source, symbols)
}

/// Reads an ELF core of a process. Functions get names from `symbols`.
///
/// # Errors
/// When the file can't be read or has no notes.
pub fn elf_core(source: &dyn Source, symbols: &Arc<dyn SymbolFiles>) -> Result<Report, Error> {
    elf_core::read(source, symbols)
}

/// A process that crashed, whatever its dump looked like.
struct Crash<'d> {
    kind: Kind,
    os: Os,
    cpu: Cpu,
    os_build: Option<String>,
    process: Option<String>,
    pid: Option<u64>,
    thread: Option<String>,
    exception: Option<Exception>,
    /// The fault in the system's words: `SIGSEGV / SEGV_MAPERR`.
    reason: Option<String>,
    /// Why the thread stopped is an access to memory, of this address as far as the system knows it.
    access: Option<u64>,
    /// The system does not know the address: the processor tells none of a general protection fault.
    is_address_unknown: bool,
    /// What the system says that the access wanted.
    operation: Option<Operation>,
    /// Registers of the crashed thread.
    context: Option<MinidumpContext>,
    memory: &'d dyn Memory,
    /// Its programs and libraries, where it is one of Linux.
    binaries: Option<&'d Binaries>,
    modules: MinidumpModuleList,
    unloaded: Vec<Module>,
    facts: Vec<Fact>,
    warnings: Vec<String>,
}

impl Crash<'_> {
    /// A register by name; `None` where it is not known.
    fn register(&self, name: &str) -> Option<u64> {
        let context = self.context.as_ref()?;
        context.registers().find(|(one, _)| *one == name).map(|(_, value)| value)
    }

    fn instruction_pointer(&self) -> Option<u64> {
        self.context.as_ref().map(MinidumpContext::get_instruction_pointer)
    }

    fn stack_pointer(&self) -> Option<u64> {
        self.context.as_ref().map(MinidumpContext::get_stack_pointer)
    }

    /// Instructions of its processor, where they can be read.
    fn isa(&self) -> Option<Isa> {
        match self.cpu {
            Cpu::X86 => Some(Isa::X86),
            Cpu::X86_64 => Some(Isa::X64),
            Cpu::Arm64 => Some(Isa::Arm64),
            _ => None,
        }
    }

    /// The module that an address lies in, and the offset from its base.
    fn place(&self, address: u64) -> Option<(String, u64)> {
        let module = self.modules.module_at_address(address)?;
        Some((self.module_name(&module.code_file()), address.checked_sub(module.base_address())?))
    }

    /// A module's name: its file's; on Windows without what follows the last dot, as debuggers there do.
    fn module_name(&self, path: &str) -> String {
        let file = path.rsplit(['\\', '/']).next().unwrap_or(path);
        let file = if file.is_empty() { "(no name)" } else { file };
        match self.os {
            Os::Windows => file.rsplit_once('.').map_or(file, |(stem, _)| stem),
            _ => file,
        }
        .to_owned()
    }

    /// The loaded modules as a report lists them, by address.
    fn listed(&self) -> Vec<Module> {
        let stamp = |number: u32| (self.os == Os::Windows && number != 0).then(|| Hex(u64::from(number)));
        let modules = self.modules.by_addr().take(MODULES_MAX).map(|module| {
            let path = module.code_file().into_owned();
            Module {
                name: self.module_name(&path),
                base: Some(Hex(module.base_address())),
                size: Some(Hex(module.size())),
                timestamp: stamp(module.raw.time_date_stamp),
                checksum: stamp(module.raw.checksum),
                path: Some(path),
                taint: None,
            }
        });
        modules.collect()
    }

    fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push(Fact { name: name.to_owned(), value: value.into() });
    }
}

/// What a reader found becomes a report.
fn report(mut crash: Crash<'_>, symbols: &Arc<dyn SymbolFiles>) -> Report {
    let frames = stack::walk(&mut crash, symbols);
    let fault = fault::find(&mut crash);
    describe::report(crash, frames, fault)
}
