//! What the kernel says of itself: symbols, types, unwind tables, modules, and which task ran where. Each needs the one before; what
//! is missing costs a warning and what follows from it.

use super::btf::Types;
use super::kallsyms::{find_in_module, Symbols};
use super::modules::{modules, KernelModule};
use super::orc::{Entry, Form, Tables};
use super::vmcoreinfo::Vmcoreinfo;
use crate::machine::memory::Memory;
use crate::machine::modules::{Loaded, Modules};

/// Processors, at most.
const CPUS_MAX: u32 = 8192;

/// A dead kernel.
pub(super) struct Kernel<'a> {
    pub memory: &'a Memory<'a>,
    pub symbols: Symbols,
    pub types: Types,
    pub modules: Vec<KernelModule>,
    form: Option<Form>,
    tables: Option<Tables>,
}

impl<'a> Kernel<'a> {
    /// Reads what the kernel says of itself.
    pub(super) fn read(memory: &'a Memory<'a>, lines: &Vmcoreinfo, warnings: &mut Vec<String>) -> Option<Self> {
        let Some(symbols) = Symbols::read(memory, lines) else {
            let text =
                "no kallsyms (VMCOREINFO names them since 6.0): registers, frames, tasks and modules are the log's";
            warnings.push(text.to_owned());
            return None;
        };
        let Some(types) = Types::read(memory, &symbols) else {
            let text = "no BTF types in this core: registers, frames, tasks and modules are the log's";
            warnings.push(text.to_owned());
            return None;
        };
        let (modules, is_whole) = modules(memory, &symbols, &types).unwrap_or((Vec::new(), false));
        if !is_whole {
            warnings.push("the list of modules is damaged or cut: some may be missing".to_owned());
        }
        let (form, tables) = (Form::of(&types), Tables::of_kernel(&symbols));
        if form.is_none() || tables.is_none() {
            warnings.push("no ORC tables in this core: frames are found by scanning the stack".to_owned());
        }
        Some(Self { memory, symbols, types, modules, form, tables })
    }

    /// What the unwind tables say of an address.
    pub(super) fn unwind_entry(&self, address: u64) -> Option<Entry> {
        let tables = if self.symbols.is_code(address) { self.tables } else { self.module(address)?.unwind };
        tables?.find(self.memory, self.form?, address)
    }

    /// The module that an address lies in.
    pub(super) fn module(&self, address: u64) -> Option<&KernelModule> {
        self.modules.iter().find(|module| module.area(address).is_some())
    }

    /// Whether an address is in code that is known.
    pub(super) fn is_code(&self, address: u64) -> bool {
        self.symbols.is_code(address) || self.module(address).is_some()
    }

    /// The function that an address lies in, with the distance.
    pub(super) fn function(&self, address: u64) -> Option<(String, u64)> {
        if self.symbols.is_code(address) {
            return self.symbols.find(address);
        }
        let module = self.module(address)?;
        find_in_module(self.memory, module.symbols?, module.area(address)?.clone(), address)
    }

    /// `function+0x12 [module]`.
    pub(super) fn place(&self, address: u64) -> Option<String> {
        let (function, offset) = self.function(address)?;
        let module = self.module(address).map(|module| format!(" [{}]", module.name)).unwrap_or_default();
        Some(format!("{function}+{offset:#x}{module}"))
    }

    /// Modules and the kernel, as the reader of code wants them.
    pub(super) fn code(&self) -> Modules {
        let loaded = |path: &str, base: u64, end: u64| Loaded {
            path: path.to_owned(),
            base,
            size: end.saturating_sub(base),
            timestamp: None,
            checksum: None,
        };
        let kernel = self.symbols.address("_stext").zip(self.symbols.address("_etext"));
        let kernel = kernel.map(|(base, end)| loaded("kernel", base, end));
        let modules = self.modules.iter().flat_map(|module| module.areas().map(move |area| (module, area)));
        let modules = modules.map(|(module, area)| loaded(&module.name, area.start, area.end));
        Modules::new(kernel.into_iter().chain(modules).collect())
    }

    /// The processor that stopped the machine.
    pub(super) fn panic_cpu(&self) -> Option<u32> {
        self.memory.u32_at(self.symbols.address("panic_cpu")?).filter(|cpu| *cpu < CPUS_MAX)
    }

    /// The task that ran on a processor.
    pub(super) fn current(&self, cpu: u32) -> Option<u64> {
        // One variable of its own until 6.1, since 6.2 the first of those that are used most.
        let variable = self.symbols.address("current_task").or_else(|| self.symbols.address("pcpu_hot"))?;
        let bases = self.symbols.address("__per_cpu_offset")?;
        let base = self.memory.u64_at(bases.wrapping_add(u64::from(cpu).wrapping_mul(8)))?;
        self.memory.u64_at(base.wrapping_add(variable))
    }
}
