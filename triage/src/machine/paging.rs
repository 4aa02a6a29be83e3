//! From a virtual address to a physical one, with every step kept: a page walk is evidence, not only a translation.
//!
//! Windows maps its page tables into themselves by one slot of the top table, chosen at boot. The slot whose entry names the
//! top table itself is found by looking, so that no symbol is needed to say where a debugger sees an entry.
//! ARM64 Windows uses 4 KB pages and one top table for both halves of the address space, so its walk has the same shape.

use super::bytes::u64_at;
use super::physical::PAGE_BYTES;
use super::registers::Machine;
use crate::report::{Hex, WalkLevel};

/// Entries of a table.
const ENTRIES: u64 = 512;
/// Physical address bits of an entry.
const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;
/// Level names from the last one up.
const NAMES: [&str; 5] = ["PTE", "PDE", "PPE", "PXE", "P5E"];

/// How addresses are translated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paging {
    pub machine: Machine,
    /// Physical address of the top table.
    pub root: u64,
    /// 4, or 5 with LA57.
    pub levels: u32,
    /// The slot of the top table that names itself.
    pub self_map: Option<u64>,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// At this physical address.
    Mapped(u64),
    /// At an entry that is not valid.
    NotMapped,
    /// At a table that is not in the dump.
    Unknown,
    /// Before it began: no address of that form can be mapped.
    NonCanonical,
}

impl Paging {
    /// Finds the slot of the self-map in the top table's bytes.
    pub(crate) fn find_self_map(&mut self, table: &[u8]) {
        let entries = table.chunks_exact(8).filter_map(|entry| u64_at(entry, 0)).zip(0..ENTRIES);
        let own = entries.filter(|(entry, _)| entry & 1 == 1 && entry & FRAME_MASK == self.root & FRAME_MASK);
        self.self_map = own.map(|(_, slot)| slot).next();
    }

    /// Bits of a virtual address that are translated.
    fn bits(&self) -> u32 {
        12_u32.saturating_add(self.levels.saturating_mul(9))
    }

    /// Whether an address has the form that the processor demands.
    pub(crate) fn is_canonical(&self, address: u64) -> bool {
        sign_extended(address, self.bits()) == address
    }

    /// The physical address alone.
    pub(crate) fn translate(&self, address: u64, read: &dyn Fn(u64) -> Option<u64>) -> Option<u64> {
        match self.walk(address, read, &mut |_, _, _| {}) {
            Outcome::Mapped(physical) => Some(physical),
            _ => None,
        }
    }

    /// The walk with its entries, top first. Levels below an entry that is not valid have an address and no value.
    pub(crate) fn evidence(&self, address: u64, read: &dyn Fn(u64) -> Option<u64>) -> (Vec<WalkLevel>, Outcome) {
        let mut seen: Vec<(u32, u64, bool)> = Vec::new();
        let outcome = self.walk(address, read, &mut |level, value, is_page| seen.push((level, value, is_page)));
        if outcome == Outcome::NonCanonical {
            return (Vec::new(), outcome);
        }
        let mut levels = Vec::new();
        for level in (0..self.levels).rev() {
            let entry = seen.iter().find(|(one, _, _)| *one == level);
            let mut line = WalkLevel {
                name: usize::try_from(level).ok().and_then(|at| NAMES.get(at)).copied().unwrap_or_default().to_owned(),
                address: self.entry_address(address, level).map(Hex),
                ..WalkLevel::default()
            };
            if let Some((_, value, is_page)) = entry {
                line.value = Some(Hex(*value));
                if value & 1 == 1 {
                    line.pfn = Some(Hex((value & FRAME_MASK) / PAGE_BYTES));
                    line.flags = Some(self.flags(*value));
                    line.state = Some(if *is_page && level > 0 { "large page" } else { "valid" }.to_owned());
                } else {
                    let (state, pfn) = self.software_state(*value);
                    line.state = Some(state.to_owned());
                    line.pfn = pfn.map(Hex);
                }
            } else if seen.last().is_none_or(|(_, value, _)| value & 1 == 1) && outcome == Outcome::Unknown {
                line.state = Some("not in this dump".to_owned());
            }
            let is_page = entry.is_some_and(|(_, value, is_page)| *is_page && value & 1 == 1);
            levels.push(line);
            if is_page {
                break;
            }
        }
        (levels, outcome)
    }

    /// Walks, telling every entry that was read: its level (0 is the last), its value, whether it maps a page.
    fn walk(&self, address: u64, read: &dyn Fn(u64) -> Option<u64>, seen: &mut dyn FnMut(u32, u64, bool)) -> Outcome {
        if !self.is_canonical(address) {
            return Outcome::NonCanonical;
        }
        let mut table = self.root & FRAME_MASK;
        for level in (0..self.levels).rev() {
            let shift = 12_u32.saturating_add(level.saturating_mul(9));
            let slot = (address >> shift) % ENTRIES;
            let Some(entry) = read(table | slot.wrapping_mul(8)) else {
                return Outcome::Unknown;
            };
            let is_page = self.maps_page(entry, level);
            seen(level, entry, is_page);
            if entry & 1 == 0 {
                return Outcome::NotMapped;
            }
            if is_page {
                let within = (1_u64 << shift).wrapping_sub(1);
                return Outcome::Mapped((entry & FRAME_MASK & !within) | (address & within));
            }
            table = entry & FRAME_MASK;
        }
        Outcome::Unknown
    }

    /// Whether a valid entry of that level maps a page and not a table.
    fn maps_page(&self, entry: u64, level: u32) -> bool {
        match (level, self.machine) {
            (0, _) => true,
            (1 | 2, Machine::X64) => entry & 0x80 != 0,
            (1 | 2, Machine::Arm64) => entry & 2 == 0,
            _ => false,
        }
    }

    /// Where the self-map shows the entry of a level.
    fn entry_address(&self, address: u64, level: u32) -> Option<u64> {
        let bits = self.bits();
        let base = sign_extended(self.self_map? << bits.checked_sub(9)?, bits);
        let mask = (1_u64 << bits.checked_sub(9)?).wrapping_sub(8);
        // The entry of a table's entry is the entry of the address at which the self-map shows the first.
        (0..=level).try_fold(address, |seen, _| Some(base | ((seen >> 9) & mask)))
    }

    /// The flags of a valid entry, in the letters of a debugger.
    fn flags(&self, entry: u64) -> String {
        let is = |bit: u32| entry >> bit & 1 == 1;
        let letters = match self.machine {
            Machine::X64 => [
                (is(9), 'C', '-'),
                (is(8), 'G', '-'),
                (is(7), 'L', '-'),
                (is(6), 'D', '-'),
                (is(5), 'A', '-'),
                (is(4), 'N', '-'),
                (is(3), 'T', '-'),
                (is(2), 'U', 'K'),
                (is(1) || is(11), 'W', 'R'),
                (!is(63), 'E', '-'),
                (is(0), 'V', '-'),
            ],
            Machine::Arm64 => [
                (false, 'C', '-'),
                (!is(11), 'G', '-'),
                (!is(1), 'L', '-'),
                (is(51) && !is(7), 'D', '-'),
                (is(10), 'A', '-'),
                (false, 'N', '-'),
                (false, 'T', '-'),
                (is(6), 'U', 'K'),
                (!is(7), 'W', 'R'),
                (!is(53) || !is(54), 'E', '-'),
                (is(0), 'V', '-'),
            ],
        };
        letters.iter().map(|(is_set, set, unset)| if *is_set { *set } else { *unset }).collect()
    }

    /// What Windows noted in an entry that the processor refuses, and the page frame where it still has one.
    fn software_state(&self, entry: u64) -> (&'static str, Option<u64>) {
        const PROTOTYPE: u64 = 1 << 10;
        const TRANSITION: u64 = 1 << 11;
        const PAGE_FILE: u64 = 0xf000 | 0xffff_ffff_0000_0000;
        const PROTECTION: u64 = 0x1f << 5;
        if entry == 0 {
            ("not valid", None)
        } else if self.machine == Machine::Arm64 {
            // Its software layout differs between builds, so only what the processor sees is told.
            ("not valid (software entry)", None)
        } else if entry & PROTOTYPE != 0 {
            ("prototype", None)
        } else if entry & TRANSITION != 0 {
            ("transition", Some((entry & FRAME_MASK) / PAGE_BYTES))
        } else if entry & PAGE_FILE != 0 {
            ("page file", None)
        } else if entry & PROTECTION != 0 {
            ("demand zero", None)
        } else {
            ("not valid (software entry)", None)
        }
    }
}

/// The address with its upper bits as the highest translated one.
fn sign_extended(address: u64, bits: u32) -> u64 {
    let unused = 64_u32.saturating_sub(bits).min(63);
    let shifted = i64::from_le_bytes((address << unused).to_le_bytes()) >> unused;
    u64::from_le_bytes(shifted.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGING: Paging = Paging { machine: Machine::X64, root: 0x1ad000, levels: 4, self_map: Some(0x157) };

    #[test]
    fn a_walk_shows_every_level_through_the_self_map() {
        let read = |physical: u64| match physical {
            at if at == 0x1ad000 + 0x108 * 8 => Some(0x0a00_0002_7720_0863),
            at if at & !0xfff == 0x2_7720_0000 => Some(0),
            _ => None,
        };
        let (levels, outcome) = PAGING.evidence(0xffff_8405_0000_0074, &read);
        assert_eq!(outcome, Outcome::NotMapped);
        let addresses: Vec<u64> = levels.iter().map(|level| level.address.expect("a self-map").0).collect();
        let seen = [0xffff_abd5_eaf5_7840, 0xffff_abd5_eaf0_80a0, 0xffff_abd5_e101_4000, 0xffff_abc2_0280_0000];
        assert_eq!(addresses, seen);
        assert_eq!(levels[0].pfn, Some(Hex(0x277200)));
        assert_eq!(levels[0].flags.as_deref(), Some("---DA--KWEV"));
        assert_eq!(levels[1].state.as_deref(), Some("not valid"));
        assert_eq!((levels[2].value, levels[2].state.as_deref()), (None, None));
    }

    #[test]
    fn a_table_that_is_not_in_the_dump_is_unknown_and_not_unmapped() {
        let (levels, outcome) = PAGING.evidence(0xffff_8405_0000_0074, &|_| None);
        assert_eq!(outcome, Outcome::Unknown);
        assert_eq!(levels[0].state.as_deref(), Some("not in this dump"));
    }

    #[test]
    fn large_pages_five_levels_and_software_entries_are_told() {
        assert_eq!(PAGING.translate(0xffff_8000_0012_3456, &|_| Some(0x4000_00e3)), Some(0x4012_3456));
        let wide = Paging { levels: 5, ..PAGING };
        assert!(wide.is_canonical(0xff11_0000_0000_0000) && !PAGING.is_canonical(0xff11_0000_0000_0000));
        assert_eq!(wide.translate(0xff11_0000_0000_0008, &|_| Some(0x5003)), Some(0x5008));
        for (entry, state) in [
            (0, "not valid"),
            (0x400, "prototype"),
            (0x1234_5880, "transition"),
            (0x5_0000_0080, "page file"),
            (0x80, "demand zero"),
        ] {
            assert_eq!(PAGING.software_state(entry).0, state, "{entry:#x}");
        }
        assert_eq!(PAGING.evidence(0x1234_5678_9abc_def0, &|_| None), (vec![], Outcome::NonCanonical));
    }
}
