//! A core opened: physical memory, notes, VMCOREINFO, and from these the kernel's virtual memory.

use std::time::{Duration, Instant};

use super::elf::Elf;
use super::flattened::Flattened;
use super::kdump::Kdump;
use super::notes::{self, Note};
use super::vmcoreinfo::Vmcoreinfo;
use crate::format::{Format, HEAD_BYTES};
use crate::machine::memory::Memory;
use crate::machine::paging::Paging;
use crate::machine::physical::{Pages, PAGE_BYTES};
use crate::machine::registers::Machine;
use crate::source::Source;
use crate::Error;

/// Where the kernel's image is mapped, before it is moved at random together with its physical place.
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;

/// Pages in which VMCOREINFO is looked for where no note has it: 32 GiB of memory.
const SEARCH_PAGES_MAX: u64 = 8 << 20;
/// How long that may take.
const SEARCH_MAX: Duration = Duration::from_secs(3);
/// Pages between two looks at the clock.
const SEARCH_PAGES_PER_LOOK: u64 = 4096;

/// An opened core.
pub(super) struct Core<'a> {
    physical: Box<dyn Source + 'a>,
    /// Runs of physical memory: address and size.
    present: Vec<(u64, u64)>,
    pub notes: Vec<Note>,
    pub vmcoreinfo: Vmcoreinfo,
    pub warnings: Vec<String>,
}

impl<'a> Core<'a> {
    pub(super) fn open(source: &'a dyn Source) -> Result<Self, Error> {
        let head = source.bytes(0, HEAD_BYTES)?;
        let mut core = if head.starts_with(b"makedumpfile\0") {
            Self::of_kdump(Kdump::open(Box::new(Flattened::open(source)?))?)?
        } else if Format::of(&head) == Format::Kdump {
            Self::of_kdump(Kdump::open(Box::new(source))?)?
        } else {
            let elf = Elf::open(source)?;
            let text = notes::vmcoreinfo(&elf.notes);
            Self { present: elf.present, ..Self::of(Box::new(elf.memory), elf.notes, text, elf.warnings) }
        };
        if core.vmcoreinfo.is_empty() {
            core.vmcoreinfo = core.search();
            let text = if core.vmcoreinfo.is_empty() {
                "no VMCOREINFO: nothing says how the kernel's addresses are translated (in QEMU add -device vmcoreinfo and load \
                 qemu_fw_cfg in the guest)"
            } else {
                "no note has VMCOREINFO: a page in memory that looks like the kernel's own was taken for it"
            };
            core.warnings.push(text.to_owned());
        }
        Ok(core)
    }

    fn of_kdump(mut kdump: Kdump<'a>) -> Result<Self, Error> {
        if let Some(method) = kdump.refused() {
            return Err(Error::Compression { method });
        }
        let notes = std::mem::take(&mut kdump.notes);
        let text = kdump.vmcoreinfo.take().or_else(|| notes::vmcoreinfo(&notes));
        let warnings = std::mem::take(&mut kdump.warnings);
        Ok(Self::of(Box::new(kdump), notes, text, warnings))
    }

    fn of(physical: Box<dyn Source + 'a>, notes: Vec<Note>, text: Option<String>, warnings: Vec<String>) -> Self {
        let present = vec![(0, physical.size_bytes())];
        Self { physical, present, notes, vmcoreinfo: Vmcoreinfo::parse(&text.unwrap_or_default()), warnings }
    }

    /// Looks for the kernel's own page of VMCOREINFO, which whoever writes a core from outside does not know of.
    fn search(&self) -> Vmcoreinfo {
        const BEGINS: &[u8] = b"OSRELEASE=";
        let page_bytes = usize::try_from(PAGE_BYTES).unwrap_or(1 << 12);
        let deadline = Instant::now().checked_add(SEARCH_MAX).unwrap_or_else(Instant::now);
        let of_run = |(start, size): &(u64, u64)| (*start..start.saturating_add(*size)).step_by(page_bytes);
        let places = self.present.iter().flat_map(of_run).zip(0..SEARCH_PAGES_MAX);
        let mut page = vec![0; page_bytes];
        for (at, number) in places {
            if number.is_multiple_of(SEARCH_PAGES_PER_LOOK) && Instant::now() > deadline {
                break;
            }
            let mut head = [0; BEGINS.len()];
            if !self.physical.read_at(at, &mut head).is_ok_and(|_| head == *BEGINS) {
                continue;
            }
            let size = self.physical.read_at(at, &mut page).unwrap_or_default();
            let text = String::from_utf8_lossy(page.get(..size).unwrap_or_default()).into_owned();
            let found = Vmcoreinfo::parse(text.trim_end_matches('\0'));
            if found.number("phys_base").is_some() && found.symbol("prb").or_else(|| found.symbol("log_buf")).is_some()
            {
                return found;
            }
        }
        Vmcoreinfo::default()
    }

    /// The kernel's memory by virtual address.
    pub(super) fn memory(&self, warnings: &mut Vec<String>) -> Option<Memory<'_>> {
        if self.vmcoreinfo.is_empty() {
            return None;
        }
        let table = self.vmcoreinfo.symbol("swapper_pg_dir").or_else(|| self.vmcoreinfo.symbol("init_top_pgt"));
        let (Some(table), Some(base)) = (table, self.vmcoreinfo.number("phys_base")) else {
            warnings.push("VMCOREINFO has no swapper_pg_dir or no phys_base: memory can't be read".to_owned());
            return None;
        };
        let is_wide = self.vmcoreinfo.number("pgtable_l5_enabled").is_some_and(|number| number != 0);
        let root = table.wrapping_sub(KERNEL_MAP).wrapping_add(base);
        let levels = if is_wide { 5 } else { 4 };
        let paging = Paging { machine: Machine::X64, root, levels, self_map: None };
        // Offsets of the source are physical addresses.
        let pages = Pages::Runs(vec![(0, self.physical.size_bytes().div_ceil(PAGE_BYTES), 0)]);
        Some(Memory::of_pages(&*self.physical, pages, paging))
    }
}
