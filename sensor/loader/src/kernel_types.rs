//! The running kernel's types, cut down to those that our programs name.
//!
//! libbpf looks for every type that a program reads among all that the kernel has, 100,000 and more, one type after the other,
//! and anew for each object: that is most of what a load costs in user mode. So the types are gone through once, and libbpf is
//! given the few that have a name it may ask for, with what is embedded in them. What they merely point to is left out: a
//! relocation never follows a pointer.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};

use libbpf_rs::btf::{Btf, BtfType, TypeId};
use rustix::fs::{memfd_create, MemfdFlags};

use crate::objects::KernelObject;

/// The running kernel's types, whole.
pub const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";
/// include/uapi/linux/btf.h.
pub const BTF_MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_header` and of `struct btf_type`.
const HEADER_BYTES: usize = 24;
const TYPE_BYTES: usize = 12;
/// Where a type's second reference lies: an array's element, then its index; a member's type within the member.
const ARRAY_ELEMENT: usize = 12;
const ARRAY_INDEX: usize = 16;
const MEMBER_BYTES: usize = 12;
const MEMBER_TYPE: usize = 4;
/// `BTF_KIND_...`, as the types are encoded.
mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Types for one object, for as long as libbpf needs them.
pub struct Cut {
    file: File,
}

impl Cut {
    /// Those that the object names. `None` where the kernel's can't be read or are not understood: libbpf then takes the whole.
    pub fn of(object: &KernelObject) -> Option<Self> {
        static WHOLE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
        let whole = WHOLE.get_or_init(|| std::fs::read(KERNEL_TYPES).ok()).as_ref()?;
        let types = cut(whole, &names(object).ok()?)?;
        let mut file = File::from(memfd_create("kernel-types", MemfdFlags::CLOEXEC).ok()?);
        file.write_all(&types).ok()?;
        Some(Self { file })
    }

    /// Where libbpf finds them.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

/// What an object calls its types, as libbpf looks for them: `task_struct___old` is a form of `task_struct`.
fn names(object: &KernelObject) -> Result<BTreeSet<Vec<u8>>> {
    let types = Btf::from_raw(object.name, object.verified()?)?.context("the object does not describe its types")?;
    let mut names = BTreeSet::new();
    for id in 1..u32::try_from(types.len())? {
        let name = types.type_by_id::<BtfType<'_>>(TypeId::from(id)).and_then(|found| found.name());
        if let Some(name) = name {
            names.insert(essential(name.as_encoded_bytes()).to_vec());
        }
    }
    Ok(names)
}

/// A type's name without the mark of a form.
fn essential(name: &[u8]) -> &[u8] {
    let mark = name.windows(3).rposition(|part| part == b"___").filter(|at| *at > 0);
    mark.and_then(|at| name.get(..at)).unwrap_or(name)
}

/// One type's place and what its head says.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    bytes: usize,
    kind: u32,
    name_at: usize,
}

struct Types<'b> {
    bytes: &'b [u8],
    strings: &'b [u8],
    /// The first has number 1.
    all: Vec<Type>,
}

/// The types with these names and what they embed, numbered anew. `None` if the bytes are no BTF that is understood.
fn cut(whole: &[u8], names: &BTreeSet<Vec<u8>>) -> Option<Vec<u8>> {
    let types = Types::read(whole)?;
    let mut number_of = vec![0_u32; types.all.len().checked_add(1)?];
    let mut to_visit: Vec<u32> = types.named(names);
    while let Some(id) = to_visit.pop() {
        let slot = number_of.get_mut(usize::try_from(id).ok()?)?;
        if std::mem::replace(slot, u32::MAX) == 0 {
            for at in types.references(types.get(id)?) {
                let to = word(types.bytes, at)?;
                if to != 0 && types.get(to)?.kind != kind::FUNC_PROTO {
                    to_visit.push(to);
                }
            }
        }
    }
    let kept = number_of.iter_mut().filter(|number| **number != 0);
    kept.zip(1..).for_each(|(number, new)| *number = new);
    types.write(&number_of)
}

impl<'b> Types<'b> {
    fn read(whole: &'b [u8]) -> Option<Self> {
        let magic = whole.first_chunk::<2>().map(|bytes| u16::from_ne_bytes(*bytes))?;
        if magic != BTF_MAGIC {
            return None;
        }
        // struct btf_header: magic, version, flags, then hdr_len, type_off, type_len, str_off, str_len.
        let number = |at: usize| usize::try_from(word(whole, at)?).ok();
        let header = number(4)?;
        let section = |at: usize, bytes: usize| {
            let start = header.checked_add(number(at)?)?;
            whole.get(start..start.checked_add(number(bytes)?)?)
        };
        let (bytes, strings) = (section(8, 12)?, section(16, 20)?);
        let mut all = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let info = word(bytes, at.checked_add(4)?)?;
            let kind = info >> 24 & 0x1f;
            let name_at = usize::try_from(word(bytes, at)?).ok()?;
            let length = TYPE_BYTES.checked_add(more_bytes(kind, usize::try_from(info & 0xffff).ok()?)?)?;
            all.push(Type { at, bytes: length, kind, name_at });
            at = at.checked_add(length)?;
        }
        Some(Self { bytes, strings, all })
    }

    fn get(&self, id: u32) -> Option<Type> {
        self.all.get(usize::try_from(id).ok()?.checked_sub(1)?).copied()
    }

    /// Numbers of the types with these names.
    fn named(&self, names: &BTreeSet<Vec<u8>>) -> Vec<u32> {
        let has_name = |found: &Type| {
            let is_sought = matches!(
                found.kind,
                kind::STRUCT | kind::UNION | kind::ENUM | kind::FWD | kind::TYPEDEF | kind::ENUM64
            );
            let rest = if is_sought { self.strings.get(found.name_at..) } else { None };
            let name = rest.and_then(|rest| rest.split(|byte| *byte == 0).next()).unwrap_or_default();
            names.contains(essential(name))
        };
        (1..).zip(&self.all).filter(|(_, found)| has_name(found)).map(|(id, _)| id).collect()
    }

    /// Where, in the bytes of all types, a type refers to what it is made of.
    fn references(&self, of: Type) -> Vec<usize> {
        let own = of.at.saturating_add(8);
        match of.kind {
            kind::ARRAY => [ARRAY_ELEMENT, ARRAY_INDEX].map(|at| of.at.saturating_add(at)).to_vec(),
            kind::STRUCT | kind::UNION => {
                let members = of.at.saturating_add(TYPE_BYTES)..of.at.saturating_add(of.bytes);
                members.step_by(MEMBER_BYTES).map(|member| member.saturating_add(MEMBER_TYPE)).collect()
            }
            kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => vec![own],
            _ => Vec::new(),
        }
    }

    /// The types that have a new number, with references by new numbers and none from pointers.
    fn write(&self, number_of: &[u32]) -> Option<Vec<u8>> {
        let mut out = vec![0; HEADER_BYTES];
        for (found, number) in self.all.iter().zip(number_of.get(1..)?) {
            if *number == 0 {
                continue;
            }
            let begin = out.len();
            out.extend_from_slice(self.bytes.get(found.at..found.at.checked_add(found.bytes)?)?);
            let mut put = |at: usize, number: u32| {
                let at = begin.checked_add(at.checked_sub(found.at)?)?;
                out.get_mut(at..at.checked_add(4)?).map(|bytes| bytes.copy_from_slice(&number.to_ne_bytes()))
            };
            if found.kind == kind::PTR {
                put(found.at.checked_add(8)?, 0)?;
            }
            for at in self.references(*found) {
                let to = usize::try_from(word(self.bytes, at)?).ok()?;
                put(at, *number_of.get(to)?)?;
            }
        }
        let type_bytes = out.len().checked_sub(HEADER_BYTES)?;
        out.extend_from_slice(self.strings);
        let mut header = BTF_MAGIC.to_ne_bytes().to_vec();
        header.extend([1, 0]); // version, flags
        for number in [HEADER_BYTES, 0, type_bytes, type_bytes, self.strings.len()] {
            header.extend(u32::try_from(number).ok()?.to_ne_bytes());
        }
        out.get_mut(..HEADER_BYTES)?.copy_from_slice(&header);
        Some(out)
    }
}

/// What follows the head of a type of this kind with so many parts; `None` for a kind that is not known.
fn more_bytes(kind: u32, parts: usize) -> Option<usize> {
    match kind {
        kind::PTR | kind::FWD..=kind::FUNC | kind::FLOAT | kind::TYPE_TAG => Some(0),
        kind::INT | kind::VAR | kind::DECL_TAG => Some(4), // an integer's bits, a variable's linkage, a tag's place
        kind::ARRAY => Some(12),
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => parts.checked_mul(12),
        kind::ENUM | kind::FUNC_PROTO => parts.checked_mul(8),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{GUARD, IDENTIFY, PROBE, SNAPSHOT, TELEMETRY};

    #[test]
    fn a_form_of_a_type_is_known_by_the_types_name() {
        assert_eq!(essential(b"cred___cap"), b"cred");
        assert_eq!(essential(b"task_struct"), b"task_struct");
        assert_eq!(essential(b"___odd"), b"___odd");
    }

    #[test]
    fn bytes_that_are_no_btf_are_left_to_libbpf() {
        assert!(cut(&[0; 64], &BTreeSet::new()).is_none());
        assert!(cut(&[], &BTreeSet::new()).is_none());
        let Ok(whole) = std::fs::read(KERNEL_TYPES) else { return };
        assert!(cut(&whole[..whole.len() / 2], &BTreeSet::new()).is_none(), "cut off");
    }

    #[test]
    fn the_kernels_types_are_cut_to_a_fraction_and_every_object_finds_what_it_names() {
        let Ok(whole) = std::fs::read(KERNEL_TYPES) else { return };
        let of = |bytes: &[u8], name: &[u8]| {
            let types = Types::read(bytes).expect("a BTF");
            let found = types.named(&BTreeSet::from([name.to_vec()]));
            found.iter().map(|id| types.get(*id).map(|found| (found.kind, found.bytes))).collect::<Vec<_>>()
        };
        let all = Types::read(&whole).expect("the kernel's own types are BTF").all.len();
        for object in [&TELEMETRY, &GUARD, &SNAPSHOT, &IDENTIFY, &PROBE] {
            let names = names(object).expect("our objects have types");
            let small = cut(&whole, &names).expect("they can be cut");
            let kept = Types::read(&small).expect("what was written is BTF").all.len();
            assert!(kept * 5 < all, "{} types of {all} are kept for {}", kept, object.name);
            for name in &names {
                assert_eq!(of(&small, name), of(&whole, name), "{}", String::from_utf8_lossy(name));
            }
        }
    }
}
