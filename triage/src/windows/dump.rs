//! A dump opened: its header, its memory, its modules, and what ran when it was made. Each part that is missing costs a warning
//! and not the rest.

use super::header::{DumpType, Header};
use super::kernel::{self, DebuggerBlock, Running};
use super::modules;
use super::physical;
use super::small::Small;
use crate::machine::memory::Memory;
use crate::machine::modules::{Loaded, Modules};
use crate::machine::paging::Paging;
use crate::machine::registers::Cpu;
use crate::source::Source;
use crate::Error;

/// An opened dump.
pub(super) struct Dump<'a> {
    pub header: Header,
    pub memory: Memory<'a>,
    pub modules: Modules,
    pub unloaded: Vec<Loaded>,
    pub running: Running,
    pub block: Option<DebuggerBlock>,
    pub process: Option<String>,
    /// The registers that the header holds: where the kernel stopped.
    pub stop: Option<Cpu>,
    pub broken_driver: Option<String>,
    pub warnings: Vec<String>,
}

impl<'a> Dump<'a> {
    /// Opens a dump.
    ///
    /// # Errors
    /// When its header can't be read or names a machine that is not known.
    pub(super) fn open(source: &'a dyn Source) -> Result<Self, Error> {
        let mut warnings = Vec::new();
        let header = Header::read(source, &mut warnings)?;
        let kind = DumpType::of(header.type_number);
        let small = match kind {
            Some(DumpType::Small) => Some(Small::read(source, header.debugger_block, &mut warnings)),
            _ => None,
        };
        let memory = match kind {
            Some(DumpType::Full | DumpType::Bitmap | DumpType::Ranges) => paged(source, &header, kind, &mut warnings),
            _ => None,
        };
        match kind {
            Some(DumpType::Summary) => {
                warnings.push("a summary dump holds no memory: only what its header says can be told".to_owned());
            }
            None => warnings.push(format!(
                "dump type {:#x} is not known (1, 2, 4, 5, 6, 8, 9 and A are): only its header is read",
                header.type_number
            )),
            Some(_) => {}
        }
        let mut small = small.unwrap_or_default();
        let memory = memory.unwrap_or_else(|| Memory::of_blocks(source, std::mem::take(&mut small.blocks)));
        let stop = Cpu::of_context(header.machine, &header.context);
        if stop.is_none() {
            warnings.push("the header holds no registers".to_owned());
        }
        let mut dump = Self {
            header,
            memory,
            modules: Modules::default(),
            unloaded: std::mem::take(&mut small.unloaded),
            running: Running { cpu: small.cpu, thread: small.thread, process: small.process, stack: small.stack },
            block: None,
            process: None,
            stop,
            broken_driver: small.broken_driver.take(),
            warnings,
        };
        dump.read_kernel(small.drivers, kind);
        Ok(dump)
    }

    /// Reads what the kernel's own records tell.
    fn read_kernel(&mut self, drivers: Vec<Loaded>, kind: Option<DumpType>) {
        let has_memory = !matches!(kind, None | Some(DumpType::Summary));
        if !has_memory {
            return;
        }
        match DebuggerBlock::read(&self.memory, self.header.debugger_block) {
            Ok(block) => self.block = Some(block),
            Err(why) => self.warnings.push(why),
        }
        let list = if self.memory.is_paged() {
            let head = match self.header.module_list {
                0 => self.block.map(|block| block.module_list).unwrap_or_default(),
                head => head,
            };
            modules::loaded(&self.memory, head, &mut self.warnings)
        } else {
            drivers
        };
        self.modules = Modules::new(list);
        let sp = self.stop.as_ref().map(|stop| stop.sp).unwrap_or_default();
        if let (Some(block), true) = (self.block, self.memory.is_paged()) {
            self.unloaded = modules::unloaded(&self.memory, block.unloaded_drivers, block.last_unloaded_driver);
            match kernel::running(&self.memory, &block, self.header.processors, sp) {
                Some(running) => self.running = running,
                None => self.warnings.push("no processor's thread has the stack of the crash".to_owned()),
            }
        }
        let process = self.running.process;
        self.process = process.and_then(|at| kernel::process_name(&self.memory, at, self.header.build));
    }
}

/// Memory of a dump with pages. The depth of the page tables is not in the header: the one that finds the list of modules counts.
fn paged<'a>(
    source: &'a dyn Source,
    header: &Header,
    kind: Option<DumpType>,
    warnings: &mut Vec<String>,
) -> Option<Memory<'a>> {
    let pages = physical::read(source, header, kind?, warnings)?;
    if pages.end() > source.size_bytes() {
        let size = source.size_bytes();
        warnings
            .push(format!("the file is cut short: {size} bytes of {}; pages behind its end are missing", pages.end()));
    }
    // The lower bits say which address space it is, not where.
    let root = header.directory_base & !0xfff;
    let paging = Paging { machine: header.machine, root, levels: 4, self_map: None };
    let mut memory = Memory::of_pages(source, pages, paging);
    for levels in [4, 5] {
        memory.set_levels(levels);
        let next = memory.u64_at(header.module_list).filter(|next| *next >> 63 == 1);
        let back = next.and_then(|next| memory.u64_at(next.wrapping_add(8)));
        if back == Some(header.module_list) || (levels == 4 && next.is_some()) {
            return Some(memory);
        }
    }
    memory.set_levels(4);
    Some(memory)
}
