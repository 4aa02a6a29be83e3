//! What the kernel prints when something is wrong, as tables: the headline, what else belongs to it, how the report is named.
//!
//! A format is read off the kernel's own `printk`; nothing in it knows a single log. A new message is a new line in a table.

mod faults;
mod locks;
mod memory;
mod panics;
mod sanitizers;
mod slab;
mod stalls;
mod warnings;

use super::skip::Skip;

pub(super) use slab::{ALLOCATED, FREED};
pub(super) use stalls::INTERRUPTS;

/// A kind of message.
#[derive(Debug)]
pub(super) struct Format {
    /// The words that every such headline holds, by which it is found in a log.
    pub(super) anchor: &'static str,
    /// The headline from the anchor on, as a regular expression. `{F}` is a function with its offset, in the group `f`.
    pub(super) headline: &'static str,
    /// What else the message must hold.
    pub(super) detail: Detail,
    /// Its title: `{1}` are groups of the headline, `{f}` is its function, `{s}` is the subject, `{o}` the subject of a second stack, `{access}` and
    /// `{line}` come from the detail.
    pub(super) title: &'static str,
    /// Other titles by which the same bug may go, when a different check finds it.
    pub(super) others: &'static [&'static str],
    /// Where the subject is looked for.
    pub(super) steps: &'static [Step],
    /// Where it is looked for when the first way finds none.
    pub(super) otherwise: &'static [Step],
    /// Where it is looked for when that finds none either, and the report shows what stood still: `shows_the_stalled`.
    pub(super) finally: &'static [Step],
    /// Functions that are no subject of this message, besides those that never are.
    pub(super) skip: &'static [Skip],
    pub(super) pick: Pick,
    pub(super) class: Class,
    /// Whether the message comes with a stack, so that one without is cut or mixed with others.
    pub(super) has_stack: bool,
    /// The message by itself says that the real one is missing.
    pub(super) is_remnant: bool,
}

/// What a message must hold besides its headline.
#[derive(Clone, Copy, Debug)]
pub(super) enum Detail {
    Nothing,
    /// `Read of size 8` or `Write at addr`: gives `{access}`.
    Access,
    /// A line with each of these, in that order.
    Lines(&'static [&'static str]),
    /// After these lines, one with `at: function`: gives `{s}`.
    HeldAt(&'static [&'static str]),
    /// After these lines, one with `[address] function`: gives `{s}`.
    Symbol(&'static [&'static str]),
    /// A line with a source file and a line number.
    Source,
    /// A word that follows these: gives `{s}`.
    Word(&'static str),
    /// The line after the headline: gives `{line}`.
    NextLine,
}

/// A step on the way to the subject. Each goes on where the one before stopped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The function that the headline names.
    Headline,
    /// The next line with an instruction pointer, and the function in it.
    Pointer,
    /// The next line that starts a stack.
    Trace,
    /// The next line that says where a lock was taken: `at: function`.
    HeldAt,
    /// The next line with `[address] function`.
    Symbol,
    /// The next line with one of these.
    Line(&'static [&'static str]),
    /// The next line with these words and a function behind them.
    Said(&'static str),
    /// The functions of a stack, up to where another one starts.
    Frames,
}

/// Which of the functions found is the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// The innermost.
    First,
    /// The one that was called by the innermost dispatcher: a loop is seen at any place in it, its entry stays the same.
    Stall,
    /// The innermost that is not itself about waiting: whoever waits is the victim, not the cause.
    Hang,
}

/// The class of the fault, which is the report's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Is(&'static str),
    /// By the kind of access and the state of the memory, which the headline and the detail tell.
    Kasan,
    Kfence,
    Kmsan,
}

/// What most formats have in common.
const PLAIN: Format = Format {
    anchor: "",
    headline: "",
    detail: Detail::Nothing,
    title: "",
    others: &[],
    steps: &[],
    otherwise: &[],
    finally: &[],
    skip: &[],
    pick: Pick::First,
    class: Class::Is("UNKNOWN"),
    has_stack: true,
    is_remnant: false,
};

/// A stack below `Call Trace:`.
const TRACE: &[Step] = &[Step::Trace, Step::Frames];

/// The instruction pointer, then a stack below `Call Trace:`.
const POINTER_THEN_TRACE: &[Step] = &[Step::Pointer, Step::Trace, Step::Frames];

/// The instruction pointer, then the stack right below. A warning's trap frame is printed in the middle of the stack, and what is
/// above it is the trap's own.
const POINTER_THEN_FRAMES: &[Step] = &[Step::Pointer, Step::Frames];

/// All formats. Of those with the same anchor the first that fits is taken, so the special stand before the general.
pub(super) fn all() -> impl Iterator<Item = &'static Format> {
    [
        sanitizers::FORMATS,
        faults::FORMATS,
        locks::FORMATS,
        stalls::FORMATS,
        memory::FORMATS,
        slab::FORMATS,
        warnings::FORMATS,
        panics::FORMATS,
    ]
    .into_iter()
    .flatten()
}

/// Headlines that can stand in the middle of a report about the same fault, and begin none there.
pub(super) const FOLLOW_UPS: &[&str] = &[
    "invalid opcode: 0000",
    "Kernel panic",
    "unregister_netdevice: waiting for",
    "PANIC: double fault",
    "double fault: ",
    "Internal error:",
    "Oops",
    "Hard LOCKUP",
    // SLUB about the object of a report, until 5.13.
    "INFO: Allocated in ",
    "INFO: Freed in ",
    "INFO: Slab 0x",
    "INFO: Object 0x",
    "INFO: 0x",
];

/// The same behind one headline only: the second words belong to a report that begins with the first.
pub(super) const FOLLOW_UPS_OF: &[(&str, &str)] = &[
    ("CFI failure at ", "WARNING:"),
    ("rust_kernel: panicked at ", "kernel BUG at rust/"),
    ("kernel BUG at ", "Kernel BUG [#"),
    ("kernel BUG at ", "illegal operation: "),
    ("kernel BUG at ", "Oops - "),
    ("BUG: Dentry ", "WARNING:"),
];

/// Anchors that say nothing by themselves: a line that has no format is no headline.
pub(super) const WITHOUT_WORDS: &[&str] = &["BUG "];

/// Messages with a stack that tell of no fault. One of them amid a report mixes two stacks.
pub(super) const BYSTANDERS: &[&str] =
    &["vmalloc: allocation failure:", "FAULT_INJECTION: forcing a failure", "FAULT_FLAG_ALLOW_RETRY missing"];

/// What looks like a headline and is none. What stands in the middle of a message, or has no stack below it, is left out already.
pub(super) const HARMLESS: &[&str] = &[
    // Part of another report, or its end.
    "INFO: lockdep is turned off",
    "INFO: Stall ended before state dump start",
    // Slow, not stuck.
    "INFO: NMI handler",
    "took too long",
    // A machine's configuration, and advice about it.
    "INFO: recovery required on readonly filesystem",
    "WARNING: workqueue cpumask: online intersect > possible intersect",
    "WARNING: Unprivileged eBPF is enabled with eIBRS",
    "mitigation options",
    "kernel not compiled with",
    // Advice to users and to authors of programs and drivers.
    "mand mount option",
    "does not exist, using fixed modulus",
    "WARNING: fbcon: Driver",
    "uses deprecated v2 capabilities",
    "uses wireless extensions",
    // SLUB's part of a report of KASAN.
    "): kasan: bad access detected",
    // A dump of a program's memory.
    "Unsupported flag value(s) of 0x%x in DT_FLAGS_1",
];
