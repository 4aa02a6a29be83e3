//! Cores of a Linux kernel: what the machine printed, which task ran, through which calls it came to the fault. No debug package is
//! needed: the kernel carries its symbols, types and unwind tables in its own memory.
//!
//! 1. `elf` or `kdump` (in makedumpfile's flattened form through `flattened`) give physical memory and notes; `notes` are read for
//!    VMCOREINFO (`vmcoreinfo`), the few numbers that the kernel leaves for whoever reads its core. `core` puts that together.
//! 2. `printk` reads the log. The reader of crash text names the fault in it, so that a core and a serial log of one crash agree.
//! 3. `kernel` reads what the kernel says of itself: symbols (`kallsyms`), types (`btf`), `modules`, unwind tables (`orc`). With these
//!    `stack` walks from where the processor stopped, or a task slept, through the fault; `tasks` lists who was there; `describe` adds
//!    it to the report.
//!
//! Entry: `read`.

mod btf;
mod core;
mod describe;
mod elf;
mod flattened;
mod kallsyms;
mod kdump;
mod kernel;
mod log;
mod modules;
mod notes;
mod orc;
mod printk;
mod registers;
mod stack;
mod tasks;
mod vmcoreinfo;

use crate::report::{Kind, Report};
use crate::source::Source;
use crate::Error;

pub use elf::is_kernel;

/// Reads a core of a Linux kernel.
///
/// # Errors
/// When the file can't be read, its structure can't be followed, or it is of a machine that is not known.
pub fn read(source: &dyn Source) -> Result<Report, Error> {
    let core = core::Core::open(source)?;
    let mut report = Report::of(Kind::LinuxVmcore);
    let mut warnings = core.warnings.clone();
    let memory = core.memory(&mut warnings);
    if let Some(memory) = &memory {
        let log = printk::log(memory, &core.vmcoreinfo, &mut warnings);
        log::fill(&mut report, &log, &mut warnings);
        describe::facts(&mut report, &core.vmcoreinfo);
        let hung = log::hung(&report, &log);
        if let Some(kernel) = kernel::Kernel::read(memory, &core.vmcoreinfo, &mut warnings) {
            describe::fill(&mut report, &kernel, &core.notes, hung.as_ref(), &mut warnings);
        }
    }
    if report.os_build.is_none() {
        report.os_build = core.vmcoreinfo.text("OSRELEASE").map(str::to_owned);
    }
    if memory.as_ref().is_some_and(crate::machine::memory::Memory::is_spent) {
        warnings.push("reading was cut off: the core asks for more work than any real one".to_owned());
    }
    report.warnings.append(&mut warnings);
    Ok(report)
}

/// The kernel's log in a core, a line a record.
///
/// # Errors
/// As [`read`].
pub fn dmesg(source: &dyn Source) -> Result<String, Error> {
    let core = core::Core::open(source)?;
    let mut warnings = Vec::new();
    let memory = core.memory(&mut warnings);
    Ok(memory.map(|memory| printk::log(&memory, &core.vmcoreinfo, &mut warnings)).unwrap_or_default())
}
