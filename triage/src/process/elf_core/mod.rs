//! Reading an ELF core of a process: what the kernel writes when a signal ends it. The first thread in the notes is the one that got the
//! signal.

mod modules;
mod notes;
mod segments;

pub(super) use self::notes::next as next_note;

use std::sync::Arc;

use minidump::format::{
    CONTEXT_AMD64, CONTEXT_ARM64, CONTEXT_X86, MINIDUMP_EXCEPTION, MINIDUMP_EXCEPTION_STREAM,
    MINIDUMP_LOCATION_DESCRIPTOR,
};
use minidump::system_info::{Cpu, Os};
use minidump::{CrashReason, MinidumpContext, MinidumpRawContext};

use self::notes::{Machine, Notes};
use self::segments::Segments;
use super::binary::{Backed, Binaries};
use super::Crash;
use crate::report::{Exception, Hex, Kind, Report};
use crate::source::Source;
use crate::symbols::SymbolFiles;
use crate::Error;

/// Signals of Linux that name an address of memory.
const SIGBUS: u32 = 7;
const SIGSEGV: u32 = 11;
/// Code of a signal that the kernel sent by itself: of a fault whose address it does not know.
const SI_KERNEL: u32 = 0x80;

/// Reads it.
pub(super) fn read(source: &dyn Source, symbols: &Arc<dyn SymbolFiles>) -> Result<Report, Error> {
    let (segments, mut warnings) = Segments::read(source)?;
    let notes = Notes::read(source, &segments, &mut warnings);
    if notes.is_empty() {
        return Err(Error::Damaged {
            offset: segments.notes.first().map_or(0, |note| note.offset),
            what: "notes that tell of no thread, no signal and no process".to_owned(),
            mend: "get the core from where it was written once more, and whole",
        });
    }
    let modules = modules::list(&notes, &segments);
    let binaries = Binaries::new(&modules, symbols);
    let memory = Backed { dumped: &segments, binaries: &binaries };
    let cpu = match segments.machine {
        Machine::X86 => Cpu::X86,
        Machine::X64 => Cpu::X86_64,
        Machine::Arm64 => Cpu::Arm64,
        Machine::Other(number) => {
            warnings.push(format!("registers of machine {number} can't be read: there is no stack"));
            Cpu::Unknown(number)
        }
    };
    let mut crash = Crash {
        kind: Kind::ElfCore,
        os: Os::Linux,
        cpu,
        os_build: None,
        process: notes.process.clone(),
        pid: notes.pid.map(u64::from),
        thread: notes.threads.first().map(|thread| thread.id.to_string()),
        exception: None,
        reason: None,
        access: None,
        is_address_unknown: false,
        operation: None,
        context: notes.threads.first().and_then(|thread| context(segments.machine, &thread.registers)),
        memory: &memory,
        binaries: Some(&binaries),
        modules,
        unloaded: Vec::new(),
        facts: Vec::new(),
        warnings,
    };
    if let Some(line) = notes.arguments.as_ref().filter(|line| !line.is_empty()) {
        crash.fact("COMMAND_LINE", line.clone());
    }
    if notes.threads.len() > 1 {
        crash.fact("THREADS", notes.threads.len().to_string());
    }
    tell_signal(&mut crash, &notes);
    Ok(super::report(crash, symbols))
}

/// The signal, in the words that minidumps have for it.
fn tell_signal(crash: &mut Crash<'_>, notes: &Notes) {
    let of_thread = notes.threads.first().map(|thread| thread.signal);
    let Some(number) = notes.signal.map(|signal| signal.number).or(of_thread).filter(|number| *number != 0) else {
        return;
    };
    let (code, address) = notes.signal.map_or((0, None), |signal| (signal.code, signal.address));
    // Codes of signals that a process sent are below 0 and say nothing of the fault.
    let code = u32::try_from(code).unwrap_or_default();
    let raw = MINIDUMP_EXCEPTION_STREAM {
        thread_id: 0,
        __align: 0,
        exception_record: MINIDUMP_EXCEPTION {
            exception_code: number,
            exception_flags: code,
            ..MINIDUMP_EXCEPTION::default()
        },
        thread_context: MINIDUMP_LOCATION_DESCRIPTOR::default(),
    };
    let reason = CrashReason::from_linux_exception(&raw, crash.cpu);
    crash.reason = Some(reason.map_or_else(|| format!("signal {number}"), |reason| reason.to_string()));
    let is_fault = matches!(number, SIGSEGV | SIGBUS) && code != 0;
    let address = address.filter(|_| is_fault);
    crash.exception =
        Some(Exception { code: Hex(u64::from(number)), address: address.map(Hex), parameters: Vec::new() });
    crash.access = address;
    crash.is_address_unknown = code == SI_KERNEL;
}

/// Registers as the walker takes them, from the general ones in the kernel's order.
fn context(machine: Machine, registers: &[u64]) -> Option<MinidumpContext> {
    let at = |index: usize| registers.get(index).copied();
    let raw = match machine {
        Machine::X64 => MinidumpRawContext::Amd64(CONTEXT_AMD64 {
            r15: at(0)?,
            r14: at(1)?,
            r13: at(2)?,
            r12: at(3)?,
            rbp: at(4)?,
            rbx: at(5)?,
            r11: at(6)?,
            r10: at(7)?,
            r9: at(8)?,
            r8: at(9)?,
            rax: at(10)?,
            rcx: at(11)?,
            rdx: at(12)?,
            rsi: at(13)?,
            rdi: at(14)?,
            rip: at(16)?,
            rsp: at(19)?,
            ..CONTEXT_AMD64::default()
        }),
        Machine::X86 => {
            let at = |index: usize| at(index).and_then(|value| u32::try_from(value).ok());
            MinidumpRawContext::X86(CONTEXT_X86 {
                ebx: at(0)?,
                ecx: at(1)?,
                edx: at(2)?,
                esi: at(3)?,
                edi: at(4)?,
                ebp: at(5)?,
                eax: at(6)?,
                eip: at(12)?,
                eflags: at(14)?,
                esp: at(15)?,
                ..CONTEXT_X86::default()
            })
        }
        Machine::Arm64 => MinidumpRawContext::Arm64(CONTEXT_ARM64 {
            iregs: registers.get(..31)?.try_into().ok()?,
            sp: at(31)?,
            pc: at(32)?,
            ..CONTEXT_ARM64::default()
        }),
        Machine::Other(_) => return None,
    };
    Some(MinidumpContext::from_raw(raw))
}
