//! The kernel's own description of its types (BTF), as far as offsets of members are wanted. Two builds of one version may lay a
//! structure out differently, so no offset is assumed.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::kallsyms::Symbols;
use crate::machine::bytes::{u16_at, u32_at};
use crate::machine::memory::Memory;

/// All types and their names, at most: ten times what a kernel has.
const BYTES_MAX: u64 = 64 << 20;
/// Types, at most.
const TYPES_MAX: usize = 1 << 21;
/// How deep structures without a name lie in each other, and how many modifiers a type has.
const DEPTH_MAX: usize = 16;

/// The types.
pub(super) struct Types {
    bytes: Vec<u8>,
    names_at: usize,
    /// Where each type begins; number 1 is the first.
    places: Vec<u32>,
    /// Members that were asked for: each is looked for among all types once.
    known: RefCell<HashMap<String, Option<Member>>>,
}

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// From the structure's start.
    pub bit: u64,
    /// Bits of a bit field; 0 for any other member.
    pub bits: u32,
    kind: u32,
}

impl Member {
    /// Offset in bytes.
    pub(super) fn offset(self) -> u64 {
        self.bit / 8
    }
}

impl Types {
    /// Reads the types of the kernel itself.
    pub(super) fn read(memory: &Memory<'_>, symbols: &Symbols) -> Option<Self> {
        let (start, stop) = (symbols.address("__start_BTF")?, symbols.address("__stop_BTF")?);
        let size = stop.checked_sub(start)?.min(BYTES_MAX);
        Self::parse(memory.all(start, usize::try_from(size).ok()?)?)
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        const MAGIC: u16 = 0xeb9f;
        if u16_at(&bytes, 0) != Some(MAGIC) {
            return None;
        }
        let field = |at| u32_at(&bytes, at).and_then(|value| usize::try_from(value).ok());
        let head = field(4)?;
        let (types_at, types_size) = (head.checked_add(field(8)?)?, field(12)?);
        let names_at = head.checked_add(field(16)?)?;
        let end = types_at.checked_add(types_size)?.min(bytes.len());
        let mut places = Vec::new();
        let mut at = types_at;
        while at < end && places.len() < TYPES_MAX {
            let form = u32_at(&bytes, at.checked_add(4)?)?;
            places.push(u32::try_from(at).ok()?);
            at = at.checked_add(12)?.checked_add(extra(form)?)?;
        }
        Some(Self { bytes, names_at, places, known: RefCell::default() })
    }

    /// A member by the structure's name and the member's path: `("task_struct", "thread.sp")`.
    pub(super) fn member(&self, structure: &str, path: &str) -> Option<Member> {
        let key = format!("{structure}.{path}");
        let known = self.known.borrow().get(&key).copied();
        known.unwrap_or_else(|| {
            let found = self.find(structure, path);
            self.known.borrow_mut().insert(key, found);
            found
        })
    }

    fn find(&self, structure: &str, path: &str) -> Option<Member> {
        let mut number = self.structure(structure)?;
        let mut bit = 0_u64;
        let mut found = None;
        for name in path.split('.') {
            let member = self.member_of(number, name, 0)?;
            bit = bit.checked_add(member.bit)?;
            number = self.plain(member.kind)?;
            found = Some(Member { bit, ..member });
        }
        found
    }

    /// A member's offset in bytes.
    pub(super) fn offset(&self, structure: &str, path: &str) -> Option<u64> {
        self.member(structure, path).map(Member::offset)
    }

    /// A structure's size in bytes.
    pub(super) fn size(&self, structure: &str) -> Option<u64> {
        let at = self.place(self.structure(structure)?)?;
        u32_at(&self.bytes, at.checked_add(8)?).map(u64::from)
    }

    fn place(&self, number: u32) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.places.get(index).and_then(|at| usize::try_from(*at).ok())
    }

    fn form(&self, number: u32) -> Option<u32> {
        u32_at(&self.bytes, self.place(number)?.checked_add(4)?)
    }

    fn is_named(&self, name_at: u32, name: &str) -> bool {
        let from = usize::try_from(name_at).ok().and_then(|at| self.names_at.checked_add(at));
        let rest = from.and_then(|from| self.bytes.get(from..)).unwrap_or_default();
        rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The number of a structure or union by its name.
    fn structure(&self, name: &str) -> Option<u32> {
        let is_it = |(_, at): &(u32, &u32)| {
            let at = usize::try_from(**at).unwrap_or(usize::MAX);
            let form = u32_at(&self.bytes, at.saturating_add(4)).unwrap_or_default();
            is_structure(form) && u32_at(&self.bytes, at).is_some_and(|name_at| self.is_named(name_at, name))
        };
        (1_u32..).zip(&self.places).find(is_it).map(|(number, _)| number)
    }

    /// A member by name, also of a structure without a name in it.
    fn member_of(&self, number: u32, name: &str, depth: usize) -> Option<Member> {
        let (at, form) = (self.place(number)?, self.form(number)?);
        if !is_structure(form) || depth > DEPTH_MAX {
            return None;
        }
        let mut entered = HashSet::new();
        for index in 0..count(form) {
            let entry = at.checked_add(12)?.checked_add(index.checked_mul(12)?)?;
            let (name_at, kind) = (u32_at(&self.bytes, entry)?, u32_at(&self.bytes, entry.checked_add(4)?)?);
            let place = u32_at(&self.bytes, entry.checked_add(8)?)?;
            // With the flag a place holds a bit field's size too.
            let (bit, bits) = if form >> 31 == 1 { (place & 0xff_ffff, place >> 24) } else { (place, 0) };
            if name_at != 0 && self.is_named(name_at, name) {
                return Some(Member { bit: u64::from(bit), bits, kind });
            }
            if name_at != 0 || !entered.insert(kind) {
                continue;
            }
            let inner = self.plain(kind).and_then(|kind| self.member_of(kind, name, depth.saturating_add(1)));
            if let Some(inner) = inner {
                return Some(Member { bit: inner.bit.checked_add(u64::from(bit))?, ..inner });
            }
        }
        None
    }

    /// A type without the modifiers and names on it.
    fn plain(&self, number: u32) -> Option<u32> {
        /// Typedef, volatile, const, restrict, type tag.
        const MODIFIERS: [u32; 5] = [8, 9, 10, 11, 18];
        let mut number = number;
        for _ in 0..DEPTH_MAX {
            let Some(form) = self.form(number) else { return Some(number) };
            if !MODIFIERS.contains(&kind(form)) {
                return Some(number);
            }
            number = u32_at(&self.bytes, self.place(number)?.checked_add(8)?)?;
        }
        None
    }
}

fn kind(form: u32) -> u32 {
    form >> 24 & 0x1f
}

fn is_structure(form: u32) -> bool {
    matches!(kind(form), 4 | 5)
}

fn count(form: u32) -> usize {
    usize::from(u16::try_from(form & 0xffff).unwrap_or_default())
}

/// Bytes behind the first twelve of a type; `None` for a kind that is not known, as its size is not either.
fn extra(form: u32) -> Option<usize> {
    let each = match kind(form) {
        1 | 14 | 17 => return Some(4),
        3 => return Some(12),
        4 | 5 | 15 | 19 => 12,
        6 | 13 => 8,
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    };
    count(form).checked_mul(each)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// struct { } inner without a name, in `frob`, with a bit field behind it.
    fn types() -> Types {
        let names = b"\0frob\0depth\0flag\0outer\0in\0";
        let mut types: Vec<u32> = Vec::new();
        types.extend([1, 1 << 24, 4, 32]); // 1: an int (its name does not matter)
        types.extend([0, 4 << 24 | 1, 4, 6, 1, 32]); // 2: struct { int depth at bit 32 }
        types.extend([1, 1 << 31 | 4 << 24 | 2, 16, 0, 2, 64, 12, 1, 3 << 24 | 96]); // 3: struct frob
        types.extend([0, 10 << 24, 3]); // 4: const frob
        types.extend([17, 4 << 24 | 1, 24, 23, 4, 8]); // 5: struct outer { const frob in at bit 8 }
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small");
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, size(&types), size(&types), size(names)] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(&types);
        bytes.extend(names);
        Types::parse(bytes).expect("types")
    }

    #[test]
    fn members_are_found_in_structures_without_a_name_and_along_a_path() {
        let types = types();
        assert_eq!(types.offset("frob", "depth"), Some(12));
        let flag = types.member("frob", "flag").expect("a bit field");
        assert_eq!((flag.bit, flag.bits), (96, 3));
        assert_eq!(types.member("outer", "in.depth").map(|member| member.bit), Some(8 + 96));
        assert_eq!((types.size("frob"), types.size("outer")), (Some(16), Some(24)));
        assert!(types.offset("frob", "absent").is_none() && types.offset("absent", "x").is_none());
    }
}
