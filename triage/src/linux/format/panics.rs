//! The kernel's own decision to stop: `BUG()`, panics.

use super::{Class, Detail, Format, Pick, Step, PLAIN, POINTER_THEN_TRACE, TRACE};
use crate::linux::skip::Skip::{Has, Is, Starts};

const PANIC: Format = Format { anchor: "Kernel panic", class: Class::Is("DoS"), ..PLAIN };
const BUG: Format = Format { anchor: "kernel BUG", class: Class::Is("BUG"), ..PLAIN };

pub(super) const FORMATS: &[Format] = &[
    Format {
        headline: "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: {F}",
        title: "kernel panic: stack is corrupted in {f}",
        steps: &[Step::Said("corrupted in: ")],
        has_stack: false,
        ..PANIC
    },
    Format {
        headline: "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: [a-f0-9]+",
        title: "kernel panic: stack is corrupted in {s}",
        steps: TRACE,
        skip: &[Has("stack_chk")],
        ..PANIC
    },
    Format {
        headline: "Kernel panic - not syncing: corrupted stack end detected inside scheduler",
        title: "kernel panic: corrupted stack end in {s}",
        others: &["stack-overflow in {s}"],
        steps: TRACE,
        skip: &[Has("schedule"), Has("retint_kernel")],
        pick: Pick::Stall,
        ..PANIC
    },
    Format {
        headline: "Kernel panic - not syncing: kernel stack overflow",
        title: "kernel stack overflow in {s}",
        others: &["stack-overflow in {s}"],
        steps: TRACE,
        skip: &[Has("bad_stack")],
        pick: Pick::Stall,
        ..PANIC
    },
    Format {
        headline: "Kernel panic - not syncing: Attempted to kill init!",
        title: "kernel panic: Attempted to kill init!",
        ..PANIC
    },
    Format {
        headline: "Kernel panic - not syncing: Couldn't open N_TTY ldisc for [^ ]+ --- error -[0-9]+",
        title: "kernel panic: Couldn't open N_TTY ldisc",
        ..PANIC
    },
    // These follow a report; one that stands alone has lost it.
    Format {
        headline: "Kernel panic - not syncing: (Fatal exception|panic_on_warn set|hung_task: blocked tasks)",
        title: "kernel panic: {1}",
        is_remnant: true,
        ..PANIC
    },
    Format { headline: "Kernel panic - not syncing: (.*)", title: "kernel panic: {1}", ..PANIC },
    // Until Rust 1.73 the words stood in the same line.
    Format {
        anchor: "rust_kernel: panicked",
        headline: "rust_kernel: panicked at '(.*)',",
        title: "{1} in {s}",
        steps: TRACE,
        ..PLAIN
    },
    Format {
        anchor: "rust_kernel: panicked",
        headline: "rust_kernel: panicked",
        detail: Detail::NextLine,
        title: "{line} in {s}",
        steps: TRACE,
        skip: &[Is("__rustc::rust_begin_unwind")],
        ..PLAIN
    },
    Format {
        headline: "kernel BUG at mm/usercopy.c",
        title: "BUG: bad usercopy in {s}",
        steps: TRACE,
        skip: &[Has("usercopy"), Has("__check")],
        ..BUG
    },
    // A list that was written over; which check found it says nothing.
    Format {
        headline: "kernel BUG at lib/list_debug.c",
        title: "BUG: corrupted list in {s}",
        others: &["bad-access in {s}"],
        steps: TRACE,
        class: Class::Is("MEMORY_SAFETY_BUG"),
        ..BUG
    },
    // Wrappers of packet buffers hold many a BUG_ON; the bug is the caller's.
    Format {
        headline: "kernel BUG at (.*)",
        title: "kernel BUG in {s}",
        steps: POINTER_THEN_TRACE,
        skip: &[Starts("skb_")],
        ..BUG
    },
    // RISC-V, of a BUG() whose place it does not know.
    Format {
        anchor: "Kernel BUG",
        headline: "Kernel BUG \\[#",
        title: "kernel BUG in {s}",
        steps: POINTER_THEN_TRACE,
        ..BUG
    },
    Format {
        anchor: "Kernel BUG",
        headline: "Kernel BUG (.*)",
        title: "kernel BUG {1}",
        class: Class::Is("BUG"),
        ..PLAIN
    },
];
