//! The kernel's list of modules, and of each what names and unwinds its code.

use std::collections::HashSet;
use std::ops::Range;

use super::btf::Types;
use super::kallsyms::Symbols;
use super::orc::Tables;
use crate::machine::bytes::ascii;
use crate::machine::memory::Memory;
use crate::report::{Hex, Module};

/// Modules, at most.
const MODULES_MAX: usize = 4096;
/// Longest name.
const NAME_BYTES_MAX: usize = 56;
/// Kinds of memory of a module since 6.4: text, three of data, and the same for its start.
const AREAS: u64 = 7;
/// The areas of code among them.
const TEXT_AREAS: [u64; 2] = [0, 4];

/// Letters of a module's own taint, by bit.
const TAINT: [(u32, char); 7] = [(0, 'P'), (10, 'C'), (12, 'O'), (13, 'E'), (15, 'K'), (16, 'X'), (18, 'N')];

/// A module.
#[derive(Clone, Debug)]
pub(super) struct KernelModule {
    pub name: String,
    /// Memory of the module, code first.
    areas: Vec<Range<u64>>,
    taint: String,
    pub unwind: Option<Tables>,
    /// ELF symbols: where, how many, and where their names are.
    pub symbols: Option<(u64, u32, u64)>,
}

impl KernelModule {
    /// Where its code begins.
    pub(super) fn base(&self) -> u64 {
        self.areas.first().map(|area| area.start).unwrap_or_default()
    }

    /// Bytes from its code on that belong together.
    fn size(&self) -> u64 {
        self.areas.first().map(|area| area.end.saturating_sub(area.start)).unwrap_or_default()
    }

    /// Its areas of memory.
    pub(super) fn areas(&self) -> impl Iterator<Item = &Range<u64>> {
        self.areas.iter()
    }

    /// The area that an address lies in.
    pub(super) fn area(&self, address: u64) -> Option<&Range<u64>> {
        self.areas.iter().find(|area| area.contains(&address))
    }

    /// As a report shows it.
    pub(super) fn shown(&self) -> Module {
        Module {
            name: self.name.clone(),
            base: Some(Hex(self.base())),
            size: Some(Hex(self.size())),
            taint: Some(self.taint.clone()).filter(|taint| !taint.is_empty()),
            ..Module::default()
        }
    }
}

/// Reads the list, in the kernel's order: the one that came last is first. Says too whether it is whole.
pub(super) fn modules(memory: &Memory<'_>, symbols: &Symbols, types: &Types) -> Option<(Vec<KernelModule>, bool)> {
    let head = symbols.address("modules")?;
    let link = types.offset("module", "list")?;
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut next = memory.u64_at(head)?;
    while next != head {
        if !seen.insert(next) || found.len() >= MODULES_MAX {
            return Some((found, false));
        }
        let Some(module) = module(memory, types, next.wrapping_sub(link)) else { return Some((found, false)) };
        found.push(module);
        let Some(after) = memory.u64_at(next) else { return Some((found, false)) };
        next = after;
    }
    Some((found, true))
}

fn module(memory: &Memory<'_>, types: &Types, at: u64) -> Option<KernelModule> {
    let place = |member: &str| types.offset("module", member).map(|offset| at.wrapping_add(offset));
    let name = ascii(&memory.some(place("name")?, NAME_BYTES_MAX))?;
    let taints = place("taints").and_then(|at| memory.u64_at(at)).unwrap_or_default();
    let taint = TAINT.iter().filter(|(bit, _)| taints >> bit & 1 == 1).map(|(_, letter)| *letter).collect();
    let pointer = |member: &str| memory.u64_at(place(member)?).filter(|address| *address != 0);
    let unwind = || {
        Some(Tables {
            addresses: pointer("arch.orc_unwind_ip")?,
            entries: pointer("arch.orc_unwind")?,
            count: u64::from(memory.u32_at(place("arch.num_orcs")?)?),
        })
    };
    let elf = || {
        let table = pointer("kallsyms")?;
        let part = |member: &str| types.offset("mod_kallsyms", member).map(|offset| table.wrapping_add(offset));
        Some((memory.u64_at(part("symtab")?)?, memory.u32_at(part("num_symtab")?)?, memory.u64_at(part("strtab")?)?))
    };
    Some(KernelModule { name, areas: areas(memory, types, at), taint, unwind: unwind(), symbols: elf() })
}

/// The memory of a module: one area for its life and one for its start until 6.3, several of each since.
fn areas(memory: &Memory<'_>, types: &Types, at: u64) -> Vec<Range<u64>> {
    let area = |base: u64, size: u64| {
        let start = memory.u64_at(base).filter(|start| *start != 0)?;
        Some(start..start.checked_add(u64::from(memory.u32_at(size)?))?)
    };
    let member = |path: &str| types.offset("module", path).map(|offset| at.wrapping_add(offset));
    if let (Some(first), Some(step)) = (member("mem"), types.size("module_memory")) {
        let (base, size) = (types.offset("module_memory", "base"), types.offset("module_memory", "size"));
        let (Some(base), Some(size)) = (base, size) else { return Vec::new() };
        let others = (0..AREAS).filter(|number| !TEXT_AREAS.contains(number));
        let place = |number: u64| first.wrapping_add(number.wrapping_mul(step));
        return TEXT_AREAS
            .into_iter()
            .chain(others)
            .filter_map(|number| area(place(number).wrapping_add(base), place(number).wrapping_add(size)))
            .collect();
    }
    let layout = |name: &str| area(member(&format!("{name}.base"))?, member(&format!("{name}.size"))?);
    ["core_layout", "init_layout"].into_iter().filter_map(layout).collect()
}
