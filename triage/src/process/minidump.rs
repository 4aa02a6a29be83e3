//! Reading a minidump: Linux, Windows and macOS write it, and whoever wrote this one may have meant harm. A stream that can't be read
//! costs a warning and not the rest.

use std::sync::Arc;

use minidump::system_info::{Cpu, Os};
use minidump::{
    CrashReason, Error as Unread, Minidump, MinidumpContext, MinidumpException, MinidumpLinuxMaps,
    MinidumpMemoryInfoList, MinidumpMiscInfo, MinidumpModuleList, MinidumpStream, MinidumpSystemInfo, MinidumpThread,
    MinidumpThreadList, MinidumpThreadNames, MinidumpUnloadedModuleList, Module as _, UnifiedMemoryInfoList,
};

use super::annotations;
use super::binary::{Backed, Binaries};
use super::memory::Streams;
use super::Crash;
use crate::report::{Exception, Hex, Kind, Module, Operation, Report};
use crate::source::Source;
use crate::symbols::SymbolFiles;
use crate::Error;

/// How much of a file is read: 256 MiB. What lies behind it is memory that only full dumps have.
const FILE_BYTES_MAX: usize = 256 << 20;
/// Parameters of an exception record.
const PARAMETERS_MAX: u32 = 15;
/// Unloaded modules that a report lists.
const UNLOADED_MAX: usize = 256;
/// Code of a Linux signal that the kernel sent by itself: of a fault whose address it does not know.
const SI_KERNEL: u32 = 0x80;
/// `si_code` of kill(2); other ways to send a signal are below it (`uapi/asm-generic/siginfo.h`).
const SI_USER: i32 = 0;
/// Exception codes that writers leave that were asked for a dump, without a crash.
const ASKED_LINUX: u32 = u32::MAX;
const ASKED_MAC: u32 = 0x4350_7378;
const ASKED_WINDOWS: u32 = 0x0517_a7ed;

/// What a minidump must have, and what tells of the crash.
struct Parts<'d> {
    os: Os,
    cpu: Cpu,
    system: Option<MinidumpSystemInfo>,
    misc: Option<MinidumpMiscInfo>,
    modules: MinidumpModuleList,
    exception: Option<MinidumpException<'d>>,
    threads: Option<MinidumpThreadList<'d>>,
}

/// Reads it.
pub(super) fn read(source: &dyn Source, symbols: &Arc<dyn SymbolFiles>) -> Result<Report, Error> {
    let bytes = source.bytes(0, FILE_BYTES_MAX)?;
    let dump = Minidump::read(bytes.as_slice())
        .map_err(|error| damaged(format!("a minidump that can't be read ({error})")))?;
    let mut warnings = Vec::new();
    if source.size_bytes() > u64::try_from(bytes.len()).unwrap_or(u64::MAX) {
        warnings.push(format!("only the first {FILE_BYTES_MAX} bytes were read: memory behind them is left out"));
    }
    let parts = Parts::read(&dump, &mut warnings)?;
    let dumped = memory(&dump);
    let binaries = Binaries::new(&parts.modules, symbols);
    let is_linux = matches!(parts.os, Os::Linux | Os::Android);
    let backed = Backed { dumped: &dumped, binaries: &binaries };
    let thread = parts.thread_id();
    let mut crash = Crash {
        kind: Kind::Minidump,
        os: parts.os,
        cpu: parts.cpu,
        os_build: parts.system.as_ref().map(|system| os_build(parts.os, system)),
        process: None,
        pid: parts.misc.as_ref().and_then(|misc| misc.raw.process_id().copied()).map(u64::from),
        thread: thread.map(|id| thread_words(&dump, id)),
        exception: None,
        reason: None,
        access: None,
        is_address_unknown: false,
        operation: None,
        context: parts.context(),
        memory: if is_linux { &backed } else { &dumped },
        binaries: is_linux.then_some(&binaries),
        modules: parts.modules,
        unloaded: Vec::new(),
        facts: Vec::new(),
        warnings,
    };
    let main = crash.modules.main_module().map(|module| module.code_file().into_owned());
    // Of Windows the file's name with its end: that is what tasks are called there.
    crash.process = main.and_then(|path| path.rsplit(['\\', '/']).next().map(str::to_owned));
    crash.unloaded = unloaded(&dump, &crash);
    if let Some(exception) = &parts.exception {
        tell_exception(&mut crash, exception);
    }
    annotations::tell(&dump, &mut crash);
    Ok(super::report(crash, symbols))
}

impl<'d> Parts<'d> {
    fn read(dump: &'d Minidump<'d, &'d [u8]>, warnings: &mut Vec<String>) -> Result<Self, Error> {
        let system = dump.get_stream::<MinidumpSystemInfo>();
        let (os, cpu) = system.as_ref().map_or((Os::Unknown(0), Cpu::Unknown(0)), |system| (system.os, system.cpu));
        if let Err(error) = &system {
            warnings.push(format!("of which system it is can't be told ({error}): there are no registers"));
        }
        let modules: Option<MinidumpModuleList> = stream(dump, "modules", warnings);
        if system.is_err() && modules.is_none() {
            return Err(damaged("a minidump without system and modules".to_owned()));
        }
        Ok(Self {
            os,
            cpu,
            system: system.ok(),
            misc: dump.get_stream::<MinidumpMiscInfo>().ok(),
            modules: modules.unwrap_or_default(),
            exception: stream(dump, "exception", warnings),
            threads: stream(dump, "threads", warnings),
        })
    }

    /// The thread that crashed. A dump that was asked for names none: the first one is as good as any.
    fn thread(&self) -> Option<&MinidumpThread<'d>> {
        let threads = self.threads.as_ref()?;
        match &self.exception {
            Some(exception) => threads.get_thread(exception.get_crashing_thread_id()),
            None => threads.threads.first(),
        }
    }

    fn thread_id(&self) -> Option<u32> {
        let named = self.exception.as_ref().map(MinidumpException::get_crashing_thread_id);
        named.or_else(|| self.thread().map(|thread| thread.raw.thread_id))
    }

    /// Registers at the fault, else those that the thread had when the dump was written.
    fn context(&self) -> Option<MinidumpContext> {
        let (system, misc) = (self.system.as_ref()?, self.misc.as_ref());
        let of_exception = self.exception.as_ref().and_then(|exception| exception.context(system, misc));
        let context = of_exception.or_else(|| self.thread()?.context(system, misc));
        context.map(std::borrow::Cow::into_owned)
    }
}

fn damaged(what: String) -> Error {
    Error::Damaged { offset: 0, what, mend: "get it from where it was written once more, and whole" }
}

fn memory<'d>(dump: &'d Minidump<'d, &'d [u8]>) -> Streams<'d> {
    let (info, maps) =
        (dump.get_stream::<MinidumpMemoryInfoList<'_>>().ok(), dump.get_stream::<MinidumpLinuxMaps<'_>>().ok());
    Streams {
        memory: dump.get_memory().unwrap_or_default(),
        maps: UnifiedMemoryInfoList::new(info, maps).unwrap_or_default(),
    }
}

/// A stream; one that is there and can't be read is warned of.
fn stream<'d, S: MinidumpStream<'d>>(
    dump: &'d Minidump<'d, &'d [u8]>,
    name: &str,
    warnings: &mut Vec<String>,
) -> Option<S> {
    match dump.get_stream::<S>() {
        Ok(stream) => Some(stream),
        Err(Unread::StreamNotFound) => None,
        Err(error) => {
            warnings.push(format!("the stream of {name} can't be read: {error}"));
            None
        }
    }
}

fn thread_words<'d>(dump: &'d Minidump<'d, &'d [u8]>, id: u32) -> String {
    let names = dump.get_stream::<MinidumpThreadNames>().ok();
    match names.as_ref().and_then(|names| names.get_name(id)) {
        Some(name) => format!("{id} {name}"),
        None => id.to_string(),
    }
}

fn os_build(os: Os, system: &MinidumpSystemInfo) -> String {
    let (version, build) = system.os_parts();
    let build = build.map(|build| format!(" {build}")).unwrap_or_default();
    format!("{os} {version}{build} {}", system.cpu)
}

fn unloaded<'d>(dump: &'d Minidump<'d, &'d [u8]>, crash: &Crash<'_>) -> Vec<Module> {
    let list = dump.get_stream::<MinidumpUnloadedModuleList>().unwrap_or_default();
    let modules = list.iter().take(UNLOADED_MAX).map(|module| Module {
        name: crash.module_name(&module.code_file()),
        path: Some(module.code_file().into_owned()),
        base: Some(Hex(module.base_address())),
        size: Some(Hex(module.size())),
        timestamp: Some(Hex(u64::from(module.raw.time_date_stamp))),
        checksum: Some(Hex(u64::from(module.raw.checksum))),
        taint: None,
    });
    modules.collect()
}

/// The exception record, and what it says of an access.
fn tell_exception(crash: &mut Crash<'_>, exception: &MinidumpException<'_>) {
    use minidump_common::errors::{ExceptionCodeLinux as Linux, ExceptionCodeMac as Mac};
    let record = &exception.raw.exception_record;
    let count = usize::try_from(record.number_parameters.min(PARAMETERS_MAX)).unwrap_or_default();
    let parameters: Vec<u64> = record.exception_information.iter().copied().take(count).collect();
    crash.exception = Some(Exception {
        code: Hex(u64::from(record.exception_code)),
        address: Some(Hex(record.exception_address)),
        parameters: parameters.iter().copied().map(Hex).collect(),
    });
    let is_asked = match crash.os {
        Os::Windows => record.exception_code == ASKED_WINDOWS,
        Os::MacOs | Os::Ios => matches!(record.exception_code, 0 | ASKED_MAC),
        _ => matches!(record.exception_code, 0 | ASKED_LINUX),
    };
    if is_asked {
        return;
    }
    let reason = exception.get_crash_reason(crash.os, crash.cpu);
    crash.reason = Some(reason.to_string());
    // What somebody has sent has no address. Zero may also be a writer that knows no codes.
    if matches!(crash.os, Os::Linux | Os::Android) && record.exception_flags.cast_signed() < SI_USER {
        return;
    }
    let is_access = match reason {
        CrashReason::WindowsAccessViolation(_) | CrashReason::WindowsInPageError(..) => {
            crash.operation = parameters.first().and_then(|wanted| match wanted {
                0 => Some(Operation::Read),
                1 => Some(Operation::Write),
                8 => Some(Operation::Execute),
                _ => None,
            });
            // A general protection fault is told as a read of the highest address.
            crash.is_address_unknown = parameters.get(1) == Some(&u64::MAX);
            true
        }
        CrashReason::LinuxSigsegv(_) | CrashReason::LinuxSigbus(_) | CrashReason::LinuxGeneral(Linux::SIGSEGV, _) => {
            crash.is_address_unknown = record.exception_flags == SI_KERNEL;
            true
        }
        CrashReason::MacBadAccessX86(_) => {
            crash.is_address_unknown = true;
            true
        }
        CrashReason::MacBadAccessKern(_) | CrashReason::MacBadAccessArm(_) | CrashReason::MacBadAccessPpc(_) => true,
        CrashReason::MacGeneral(Mac::EXC_BAD_ACCESS, _) => true,
        _ => false,
    };
    crash.access = is_access.then(|| exception.get_crash_address(crash.os, crash.cpu));
}
