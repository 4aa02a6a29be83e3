//! From what was found to the report: title, cause, facts, and whose code it was.

use crate::symbols::SymbolFiles;

use super::bugcheck;
use super::dump::Dump;
use super::fault::Fault;
use super::hive::Hive;
use super::mapped;
use super::services;
use super::stack;
use super::symbols;
use crate::machine::code;
use crate::machine::modules::Loaded;
use crate::machine::paging::Outcome;
use crate::machine::registers::{Cpu, Machine};
use crate::report::{
    Access, Blamed, Bugcheck, Exception, Fact, Frame, Hex, Instruction, Kind, MemoryLine, Operation, Report, Trust,
    WalkLevel,
};
use crate::source::Source;

/// Lines of memory at the address of the access, as a debugger's `db` shows.
const MEMORY_LINES: u64 = 8;
/// Bytes of such a line.
const LINE_BYTES: u64 = 16;
/// Addresses below this are a null pointer with an offset.
const NULL_BYTES: u64 = 0x1_0000;
/// Modules in which the fault shows but seldom begins: blame goes past them to who called.
const TRANSPARENT: [&str; 6] = ["nt", "hal", "Wdf01000", "VerifierExt", "ntdll", "CI"];

/// Makes the report.
pub(super) fn report(
    mut dump: Dump<'_>,
    mut fault: Fault,
    folders: &dyn SymbolFiles,
    hive: Option<&dyn Source>,
) -> Report {
    let mut stack = stack::walk(&dump, &fault);
    stack.warnings.extend(symbols::name_frames(&dump, folders, &mut stack.frames));
    dump.warnings.extend(stack.warnings);
    if let Some(cpu) = &mut fault.cpu {
        for (name, value) in stack.recovered {
            if cpu.valid(name).is_none() {
                cpu.registers.set(name, value, true);
            }
        }
    }
    let mut report = Report::of(Kind::WindowsKernel);
    report.frames = stack.frames;
    report.os_build = Some(format!("Windows build {} ({})", dump.header.build, machine_name(dump.header.machine)));
    report.cpu = dump.running.cpu;
    report.thread = dump.running.thread.map(|thread| format!("{thread:#x}"));
    report.process.clone_from(&dump.process);
    report.access = access(&dump, &fault);
    report.memory = report.access.as_ref().map(|access| memory(&dump, access)).unwrap_or_default();
    if let Some(ip) = fault.ip {
        (report.listing, report.instruction) =
            code::at_fault(&dump.memory, &dump.modules, fault.cpu.as_ref(), ip, dump.header.machine);
    }
    report.blamed = blamed(&dump, &fault, &report.frames);
    let (name, _) = bugcheck::known(dump.header.bugcheck);
    let words = Words { dump: &dump, fault: &fault, access: report.access.as_ref(), name: name.as_deref() };
    report.title = Some(words.title(report.blamed.as_ref()));
    report.type_ = Some(words.kind());
    report.cause = Some(words.cause(report.instruction.as_ref()));
    report.facts = facts(&dump, &fault, report.blamed.as_ref());
    report.facts.extend(evidence(&mut dump, report.blamed.as_ref(), hive));
    let parameters = dump.header.parameters.map(Hex).to_vec();
    report.bugcheck = Some(Bugcheck { code: Hex(u64::from(dump.header.bugcheck)), name, parameters });
    report.exception = fault.exception.as_ref().map(|record| Exception {
        code: Hex(u64::from(record.code)),
        address: Some(Hex(record.address)),
        parameters: record.parameters.iter().copied().map(Hex).collect(),
    });
    if dump.memory.is_spent() {
        dump.warnings
            .push("the dump asked for more reading than is allowed; what was found by then is told".to_owned());
        report.corrupted = true;
    }
    if let Some(cpu) = fault.cpu.take().or_else(|| dump.stop.take()) {
        report.registers = cpu.registers;
    }
    report.modules = dump.modules.list.iter().map(|module| module.shown(true)).collect();
    report.unloaded = dump.unloaded.iter().map(|module| module.shown(false)).collect();
    report.warnings = dump.warnings;
    report
}

fn machine_name(machine: Machine) -> &'static str {
    match machine {
        Machine::X64 => "x64",
        Machine::Arm64 => "ARM64",
    }
}

/// The access that failed, with the walk to it.
fn access(dump: &Dump<'_>, fault: &Fault) -> Option<Access> {
    let (operation, address) = fault.access?;
    if fault.is_general_protection() {
        let class = Some("not recorded (general protection)".to_owned());
        return Some(Access { operation, address: Hex(address), class, ..Access::default() });
    }
    let (walk, mapped) = match dump.memory.walk(address) {
        Some((walk, Outcome::Mapped(_))) => (walk, Some(true)),
        Some((walk, Outcome::NotMapped | Outcome::NonCanonical)) => (walk, Some(false)),
        Some((walk, Outcome::Unknown)) => (walk, None),
        // Of a small dump only what is there can be told, and what no address can be.
        None if !is_canonical(address) => (Vec::new(), Some(false)),
        None => (Vec::new(), dump.memory.all(address, 1).map(|_| true)),
    };
    let class = Some(class(dump, address, &walk));
    Some(Access { operation, address: Hex(address), class, mapped, walk })
}

fn is_canonical(address: u64) -> bool {
    matches!(address >> 47, 0 | 0x1_ffff)
}

/// What kind of address it is.
fn class(dump: &Dump<'_>, address: u64, walk: &[WalkLevel]) -> String {
    /// Below a stack lies a page that is never mapped.
    const GUARD_BYTES: u64 = 0x1000;
    let is_in = |bounds: Option<(u64, u64)>| bounds.is_some_and(|(low, high)| (low..high).contains(&address));
    let pools = dump.block.map(|block| (block.paged_pool, block.nonpaged_pool)).unwrap_or_default();
    let guard = dump.running.stack.map(|(low, _)| (low.saturating_sub(GUARD_BYTES), low));
    let is_wide = walk.len() > 4;
    if address < NULL_BYTES {
        "null page".to_owned()
    } else if !is_canonical(address) && !is_wide {
        "non-canonical".to_owned()
    } else if address >> 63 == 0 {
        "user".to_owned()
    } else if is_in(pools.0) {
        "paged pool".to_owned()
    } else if is_in(pools.1) {
        "nonpaged pool".to_owned()
    } else if is_in(guard) && dump.memory.is_paged() {
        "stack guard".to_owned()
    } else if is_in(dump.running.stack) {
        "stack".to_owned()
    } else if let Some((module, _)) = dump.modules.find(address) {
        format!("image {}", module.name())
    } else if let Some(module) = dump.unloaded.iter().find(|module| module.offset_of(address).is_some()) {
        format!("unloaded image {}", module.file())
    } else {
        "kernel".to_owned()
    }
}

/// Memory at the address of the access, as far as it is there.
fn memory(dump: &Dump<'_>, access: &Access) -> Vec<MemoryLine> {
    let lines = (0..MEMORY_LINES).filter_map(|line| access.address.0.checked_add(line.checked_mul(LINE_BYTES)?));
    let line = |address: u64| {
        let bytes = (0..LINE_BYTES).map(|byte| {
            let at = address.checked_add(byte)?;
            dump.memory.all(at, 1)?.first().copied()
        });
        let bytes: Vec<String> = bytes.map(|byte| byte.map_or("??".to_owned(), |byte| format!("{byte:02x}"))).collect();
        MemoryLine { address: Hex(address), bytes: bytes.join(" ") }
    };
    lines.map(line).collect()
}

/// Whose code it was: the kernel's own word, or the first frame from the fault on that is not the kernel's plumbing.
fn blamed(dump: &Dump<'_>, fault: &Fault, frames: &[Frame]) -> Option<Blamed> {
    if let Some(driver) = &dump.broken_driver {
        let stem = driver.rsplit_once('.').map_or(driver.as_str(), |(stem, _)| stem);
        let why = "the kernel named it when it stopped the machine".to_owned();
        return Some(Blamed { module: Some(stem.to_owned()), function: None, why });
    }
    let is_opaque = |module: &str| !TRANSPARENT.iter().any(|name| name.eq_ignore_ascii_case(module));
    if let Some((module, _)) = fault.ip.and_then(|ip| dump.modules.find(ip)) {
        if is_opaque(module.name()) {
            let why = "the instruction that faulted is its own".to_owned();
            let function = frames.iter().find(|frame| frame.is_fault).and_then(|frame| frame.function.clone());
            return Some(Blamed { module: Some(module.name().to_owned()), function, why });
        }
    }
    let from = frames.iter().position(|frame| frame.is_fault).unwrap_or(0);
    let trusted = frames.iter().skip(from).filter(|frame| frame.trust > Trust::Scan);
    let named = trusted.filter_map(|frame| Some((frame, frame.module.as_deref()?)));
    let mut named = named.collect::<Vec<_>>().into_iter();
    let first = named.clone().next();
    if let Some((frame, module)) = named.find(|(_, module)| is_opaque(module)) {
        let why = format!("frame {} is the first from the fault on outside the kernel's own plumbing", frame.n);
        return Some(Blamed { module: Some(module.to_owned()), function: frame.function.clone(), why });
    }
    let (_, module) = first?;
    let why = "no other module is on the part of the stack that can be trusted".to_owned();
    Some(Blamed { module: Some(module.to_owned()), function: None, why })
}

/// What only these dumps have, in the words of their debuggers.
fn facts(dump: &Dump<'_>, fault: &Fault, blamed: Option<&Blamed>) -> Vec<Fact> {
    let address = |at: u64| format!("{at:016x}");
    let module = blamed.and_then(|blamed| blamed.module.as_deref());
    let module: Option<&Loaded> = dump.modules.list.iter().find(|loaded| Some(loaded.name()) == module);
    let exception = fault.exception.as_ref().and_then(|record| bugcheck::exception_name(record.code));
    let flags = fault.cpu.as_ref().or(dump.stop.as_ref()).and_then(Cpu::flags_text);
    let facts = [
        ("EXCEPTION_NAME", exception.map(str::to_owned)),
        ("IRQL", fault.irql.map(|irql| irql.to_string())),
        ("MM_INTERNAL_CODE", fault.mm_code.map(|code| format!("{code:x}"))),
        ("IMAGE_NAME", module.map(|module| module.file().to_owned())),
        ("FAULTING_MODULE", module.map(|module| format!("{} {}", address(module.base), module.name()))),
        ("FAULTING_IP", fault.ip.map(|ip| dump.modules.place(ip))),
        ("TRAP_FRAME", fault.trap_frame_at.map(address)),
        ("EXCEPTION_RECORD", fault.record_at.map(address)),
        ("CONTEXT", fault.context_at.map(address)),
        ("FLAGS", flags),
        ("DUMP_TYPE", Some(dump_type(dump.header.type_number).to_owned())),
    ];
    facts.into_iter().filter_map(|(name, value)| Some(Fact { name: name.to_owned(), value: value? })).collect()
}

/// What ties the crash to the blamed driver's content: how the system starts it, and which files it had mapped.
fn evidence(dump: &mut Dump<'_>, blamed: Option<&Blamed>, hive: Option<&dyn Source>) -> Vec<Fact> {
    let module = blamed.and_then(|blamed| blamed.module.as_deref());
    let is_blamed = |loaded: &&Loaded| Some(loaded.name()) == module && loaded.name() != "nt";
    let Some(driver) = dump.modules.list.iter().find(is_blamed) else { return Vec::new() };
    let mut facts = hive.and_then(Hive::open).map(|hive| services::facts(&hive, driver)).unwrap_or_default();
    facts.extend(mapped::facts(&dump.memory, driver, &mut dump.warnings));
    facts
}

fn dump_type(number: u32) -> &'static str {
    match number {
        1 => "1 (full)",
        2 => "2 (summary)",
        4 => "4 (small)",
        5 => "5 (bitmap)",
        6 => "6 (bitmap of a live kernel)",
        8 => "8 (kernel)",
        9 => "9 (kernel and user)",
        0xa => "A (complete)",
        _ => "not known",
    }
}

/// The fault in words.
struct Words<'a> {
    dump: &'a Dump<'a>,
    fault: &'a Fault,
    access: Option<&'a Access>,
    name: Option<&'a str>,
}

impl Words<'_> {
    /// One short line that is the same for every crash of the same bug: no address, no version.
    fn title(&self, blamed: Option<&Blamed>) -> String {
        let stop = self.name.map_or_else(|| format!("BUGCHECK_{:X}", self.dump.header.bugcheck), str::to_owned);
        let module = blamed.and_then(|blamed| blamed.module.as_deref()).map(|module| format!(" in {module}"));
        format!("{stop}: {}{}", self.what(), module.unwrap_or_default())
    }

    /// The fault without its place.
    fn what(&self) -> String {
        if let Some(access) = self.access {
            let operation = access.operation;
            if self.fault.is_general_protection() {
                return format!("general protection fault on {operation}");
            }
            let class = access.class.as_deref().unwrap_or("unknown");
            // The image's name is a place; the kind of address is not.
            let class = class.split(' ').next().filter(|first| matches!(*first, "image" | "unloaded")).unwrap_or(class);
            return format!("{operation} of an invalid address ({class})");
        }
        if let Some(record) = &self.fault.exception {
            return match bugcheck::exception_name(record.code) {
                Some(name) => name.to_owned(),
                None => format!("exception {:#x}", record.code),
            };
        }
        match self.trap() {
            Some(trap) => trap.split(',').next().unwrap_or(trap).to_owned(),
            None => "stop".to_owned(),
        }
    }

    fn trap(&self) -> Option<&'static str> {
        let (_, meaning) = bugcheck::known(self.dump.header.bugcheck);
        let number = *self.dump.header.parameters.first()?;
        (meaning == bugcheck::Meaning::Trap).then(|| bugcheck::trap_name(number)).flatten()
    }

    /// The class of the fault.
    fn kind(&self) -> String {
        match (self.access.map(|access| access.operation), &self.fault.exception) {
            (Some(operation), _) => {
                let what = if self.fault.is_general_protection() { "GENERAL-PROTECTION" } else { "INVALID" };
                format!("{what}-{}", operation.to_string().to_ascii_uppercase())
            }
            (None, Some(record)) => {
                let name = bugcheck::exception_name(record.code).map(|name| name.trim_start_matches("STATUS_"));
                name.map_or_else(|| format!("EXCEPTION-{:X}", record.code), |name| name.replace('_', "-"))
            }
            (None, None) if self.trap().is_some() => "TRAP".to_owned(),
            // With the code, because stops of different kinds would else be counted as one.
            (None, None) => format!("BUGCHECK-{:X}", self.dump.header.bugcheck & !bugcheck::M_BIT),
        }
    }

    /// What happened, in one plain sentence.
    fn cause(&self, instruction: Option<&Instruction>) -> String {
        let place = self.fault.ip.map(|ip| self.dump.modules.place(ip));
        let place = place.as_deref().unwrap_or("code at an address that the dump does not tell");
        let text = instruction.and_then(|instruction| instruction.text.as_deref());
        let text = text.map(|text| format!(" ({})", text.split_whitespace().collect::<Vec<_>>().join(" ")));
        let text = text.unwrap_or_default();
        if let Some(access) = self.access {
            let did = match access.operation {
                Operation::Read => "read",
                Operation::Write => "wrote to",
                Operation::Execute => "executed",
            };
            if self.fault.is_general_protection() {
                let did = if access.operation == Operation::Write { "writing" } else { "reading" };
                return format!(
                    "{place} was refused by the processor while {did}, which did not say which address{text}."
                );
            }
            let class = access.class.as_deref().map(|class| format!(" ({class})")).unwrap_or_default();
            let state = match access.mapped {
                Some(false) => ", which is not mapped",
                Some(true) => ", which is mapped but may not be used so, or was mapped since",
                None => ", which the kernel could not resolve",
            };
            return format!("{place} {did} {}{class}{state}{text}.", access.address);
        }
        if let Some(record) = &self.fault.exception {
            let name = bugcheck::exception_name(record.code).unwrap_or("an exception");
            return format!("{place} raised {name} ({:#x}){text}.", record.code);
        }
        if let Some(trap) = self.trap() {
            return format!("The processor met {trap}, at {place}.");
        }
        let name = self.name.unwrap_or("a stop code without a name");
        format!("The kernel stopped itself: {name} ({:#x}).", self.dump.header.bugcheck)
    }
}
