//! ORC: the kernel's own tables for unwinding. For each piece of code they say where, from a register, the caller's stack begins,
//! and whether a call or an exception led here.
//!
//! An entry has six bytes, and what the last two mean changed in 6.3 and 6.4; the kernel's types tell which form it is.

use super::btf::Types;
use super::kallsyms::Symbols;
use crate::machine::bytes::{array_at, u16_at};
use crate::machine::memory::Memory;

/// Bytes of an entry.
const ENTRY_BYTES: u64 = 6;
/// Entries of a table, at most.
const ENTRIES_MAX: u64 = 1 << 24;

/// A table: addresses, each relative to its own place, and as many entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    pub addresses: u64,
    pub entries: u64,
    pub count: u64,
}

/// How a kernel writes its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Bits of the kind of frame: 2 until 6.3, 3 since.
    kind_bits: u32,
    kind_shift: u32,
    /// The bit that says that the stack ends here, where there is one.
    end_shift: Option<u32>,
}

/// The register that an offset is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Undefined,
    PreviousSp,
    Dx,
    Di,
    Bp,
    Sp,
    R10,
    R13,
    BpIndirect,
    SpIndirect,
}

/// How the code was come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By a call.
    Call,
    /// By an exception, all registers saved.
    Registers,
    /// By an exception, only what the processor itself saves.
    Partial,
    /// It is the first code of its stack.
    End,
    /// It can't be told.
    Undefined,
}

/// What the tables say of a place in code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub sp_offset: i16,
    pub bp_offset: i16,
    pub sp: Base,
    pub bp: Base,
    pub kind: Kind,
}

impl Form {
    /// The form as the kernel's types tell it.
    pub(super) fn of(types: &Types) -> Option<Self> {
        let kind = types.member("orc_entry", "type")?;
        let start = types.member("orc_entry", "sp_reg")?.bit;
        let shift = |bit: u64| u32::try_from(bit.checked_sub(start)?).ok().filter(|shift| *shift < 16);
        Some(Self {
            kind_bits: kind.bits,
            kind_shift: shift(kind.bit)?,
            end_shift: types.member("orc_entry", "end").and_then(|end| shift(end.bit)),
        })
    }

    fn entry(self, bytes: &[u8]) -> Option<Entry> {
        let bits = u32::from(u16_at(bytes, 4)?);
        let number = bits >> self.kind_shift & 1_u32.checked_shl(self.kind_bits)?.wrapping_sub(1);
        let ends = self.end_shift.is_some_and(|shift| bits >> shift & 1 == 1);
        let kind = match (self.kind_bits, number) {
            _ if ends => Kind::End,
            (2, 0) | (3, 2) => Kind::Call,
            (2, 1) | (3, 3) => Kind::Registers,
            (2, 2) | (3, 4) => Kind::Partial,
            (3, 1) => Kind::End,
            _ => Kind::Undefined,
        };
        Some(Entry {
            sp_offset: array_at(bytes, 0).map(i16::from_le_bytes)?,
            bp_offset: array_at(bytes, 2).map(i16::from_le_bytes)?,
            sp: base(bits & 0xf),
            bp: base(bits >> 4 & 0xf),
            kind,
        })
    }
}

fn base(number: u32) -> Base {
    match number {
        1 => Base::PreviousSp,
        2 => Base::Dx,
        3 => Base::Di,
        4 => Base::Bp,
        5 => Base::Sp,
        6 => Base::R10,
        7 => Base::R13,
        8 => Base::BpIndirect,
        9 => Base::SpIndirect,
        _ => Base::Undefined,
    }
}

impl Tables {
    /// The kernel's own.
    pub(super) fn of_kernel(symbols: &Symbols) -> Option<Self> {
        let addresses = symbols.address("__start_orc_unwind_ip")?;
        let end = symbols.address("__stop_orc_unwind_ip")?;
        Some(Self {
            addresses,
            entries: symbols.address("__start_orc_unwind")?,
            count: end.checked_sub(addresses)?.checked_div(4)?.min(ENTRIES_MAX),
        })
    }

    /// The entry of an address: that of the last place at or before it.
    pub(super) fn find(&self, memory: &Memory<'_>, form: Form, address: u64) -> Option<Entry> {
        let place = |index: u64| {
            let at = self.addresses.wrapping_add(index.wrapping_mul(4));
            let relative = i64::from(memory.u32_at(at)?.cast_signed());
            Some(at.wrapping_add_signed(relative))
        };
        let (mut low, mut high) = (0_u64, self.count.min(ENTRIES_MAX));
        while low < high {
            let middle = low.midpoint(high);
            if place(middle)? <= address {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        let at = self.entries.wrapping_add(low.checked_sub(1)?.wrapping_mul(ENTRY_BYTES));
        form.entry(&memory.all(at, usize::try_from(ENTRY_BYTES).ok()?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_entry_are_read() {
        let old = Form { kind_bits: 2, kind_shift: 8, end_shift: Some(10) };
        let new = Form { kind_bits: 3, kind_shift: 8, end_shift: None };
        let bytes = |bits: u16| [16_i16.to_le_bytes(), (-16_i16).to_le_bytes(), bits.to_le_bytes()].concat();
        let entry = old.entry(&bytes(0x0015)).expect("six bytes");
        assert_eq!((entry.sp, entry.bp, entry.kind), (Base::Sp, Base::PreviousSp, Kind::Call));
        assert_eq!((entry.sp_offset, entry.bp_offset), (16, -16));
        assert_eq!(old.entry(&bytes(0x0105)).map(|entry| entry.kind), Some(Kind::Registers));
        assert_eq!(old.entry(&bytes(0x0405)).map(|entry| entry.kind), Some(Kind::End));
        for (bits, kind) in [
            (0x000, Kind::Undefined),
            (0x100, Kind::End),
            (0x200, Kind::Call),
            (0x300, Kind::Registers),
            (0x400, Kind::Partial),
        ] {
            assert_eq!(new.entry(&bytes(bits)).map(|entry| entry.kind), Some(kind));
        }
        assert_eq!(new.entry(&[0; 5]), None);
    }
}
