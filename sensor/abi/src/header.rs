//! The C side of the definitions, printed from the Rust side. The loader's build writes it beside the compiled objects.

use std::fmt::Write as _;

use crate::guard::{self, GUARD_HOOKS, GUARD_LAYOUTS};
use crate::hook::{HookClass, HOOKS};
use crate::layout::{self, FieldKind, FilterKind, Layout, Phase, RecordType, Role, Tag, LAYOUTS};

/// `abi.h`: constants, enumerations and structs, each struct's size and offsets asserted.
#[must_use]
pub fn c_header() -> String {
    let mut text = String::from("/* Made from the sensor's ABI definition by the build. */\n#pragma once\n\n");
    for (name, value) in constants() {
        let _ = writeln!(text, "#define {name} {value}u");
    }
    for (name, number) in RecordType::C_NAMES
        .iter()
        .chain(Tag::C_NAMES)
        .chain(Role::C_NAMES)
        .chain(FilterKind::C_NAMES)
        .chain(Phase::C_NAMES)
    {
        let _ = writeln!(text, "#define {name} {number}u");
    }
    for (name, value) in guard::C_CONSTANTS {
        let _ = writeln!(text, "#define {name} {value:#x}ull");
    }
    for hook in GUARD_HOOKS {
        let _ = writeln!(text, "#define GUARD_{} {}u", hook.program().to_uppercase(), *hook as u16);
    }
    let tracepoints = HOOKS.iter().filter(|hook| hook.class() == HookClass::Tracepoint);
    let bits = tracepoints.fold(0_u64, |bits, hook| bits | 1 << (*hook as u16));
    let _ = writeln!(text, "#define TRACEPOINT_HOOKS {bits:#x}ull");
    for hook in HOOKS {
        let _ = writeln!(text, "#define HOOK_{} {}u", hook.program().to_uppercase(), *hook as u16);
    }
    for layout in LAYOUTS.iter().chain(GUARD_LAYOUTS) {
        write_struct(&mut text, layout);
    }
    text
}

/// Sizes, limits and flags.
fn constants() -> Vec<(&'static str, u32)> {
    vec![
        ("ABI_VERSION", u32::from(layout::ABI_VERSION)),
        ("RECORD_BYTES_MAX", layout::RECORD_BYTES_MAX),
        ("ARGV_BYTES_MAX", layout::ARGV_BYTES_MAX),
        ("PATH_BYTES_MAX", layout::PATH_BYTES_MAX),
        ("PATH_STEPS_MAX", layout::PATH_STEPS_MAX),
        ("NAME_BYTES_MAX", layout::NAME_BYTES_MAX),
        ("STRING_BYTES_MAX", layout::STRING_BYTES_MAX),
        ("SCRATCH_SLOTS", layout::SCRATCH_SLOTS),
        ("WAKE_BYTES", layout::WAKE_BYTES),
        ("IDENTITY_BITS", layout::IDENTITY_BITS as u32),
        ("FLAG_HAS_PROCESS", u32::from(layout::FLAG_HAS_PROCESS)),
        ("FLAG_WAS_THERE", u32::from(layout::FLAG_WAS_THERE)),
        ("ATTACHMENT_CUT", u32::from(layout::ATTACHMENT_CUT)),
        ("ATTACHMENT_UNREADABLE", u32::from(layout::ATTACHMENT_UNREADABLE)),
        ("ATTACHMENT_DETACHED", u32::from(layout::ATTACHMENT_DETACHED)),
        ("CLASS_FILE", layout::CLASS_FILE),
        ("CLASS_NET", layout::CLASS_NET),
        ("FILTERS_MAX", layout::FILTERS_MAX),
        ("USER_RANGES_MAX", layout::USER_RANGES_MAX),
        ("RING_CRITICAL_BYTES", layout::RING_CRITICAL_BYTES),
        ("RING_FILE_BYTES", layout::RING_FILE_BYTES),
        ("RING_NET_BYTES", layout::RING_NET_BYTES),
        ("AGGREGATES_MAX", layout::AGGREGATES_MAX),
        ("HOOK_COUNT", u32::try_from(HOOKS.len()).unwrap_or(u32::MAX)),
    ]
}

/// A struct, with its size and offsets asserted.
fn write_struct(text: &mut String, layout: &Layout) {
    let _ = writeln!(text, "\nstruct {} {{", layout.c_name);
    for (name, kind) in layout.fields {
        let _ = match kind {
            FieldKind::U8 => writeln!(text, "\t__u8 {name};"),
            FieldKind::U16 => writeln!(text, "\t__u16 {name};"),
            FieldKind::U32 => writeln!(text, "\t__u32 {name};"),
            FieldKind::U64 => writeln!(text, "\t__u64 {name};"),
            FieldKind::Bytes(bytes) => writeln!(text, "\t__u8 {name}[{bytes}];"),
        };
    }
    text.push_str("};\n");
    let name = layout.c_name;
    let _ = writeln!(text, "_Static_assert(sizeof(struct {name}) == {}, \"{name}: size\");", layout.size());
    let mut offset = 0;
    for (field, kind) in layout.fields {
        let _ = writeln!(
            text,
            "_Static_assert(__builtin_offsetof(struct {name}, {field}) == {offset}, \"{name}.{field}: offset\");"
        );
        offset += kind.size();
    }
}
