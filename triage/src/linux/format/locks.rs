//! Locks: what lockdep says, and the locks' own checks.

use super::{Class, Detail, Format, Pick, Step, PLAIN, POINTER_THEN_FRAMES, TRACE};
use crate::linux::skip::Skip::Has;

const LOCKDEP: Class = Class::Is("LOCKDEP");

/// In which of the two a message starts depends on the kernel: `INFO:` until 4.13, `WARNING:` since, `BUG:` for some before.
const WARNING: Format = Format { anchor: "WARNING:", class: LOCKDEP, ..PLAIN };
const INFO: Format = Format { anchor: "INFO:", class: LOCKDEP, ..PLAIN };
const BUG: Format = Format { anchor: "BUG:", class: LOCKDEP, ..PLAIN };

const TRIES: &[&str] = &["is trying to acquire lock"];

/// A work item's lock is taken by the workqueue's own functions; the bug is in the item.
const WORKQUEUE: &[crate::linux::skip::Skip] =
    &[Has("process_one_work"), Has("flush_workqueue"), Has("drain_workqueue"), Has("destroy_workqueue")];

const RCU: &[crate::linux::skip::Skip] = &[Has("rcu"), Has("kmem"), Has("slab")];

pub(super) const FORMATS: &[Format] = &[
    Format {
        headline: "WARNING: possible circular locking dependency detected",
        detail: Detail::Lines(TRIES),
        title: "possible deadlock in {s}",
        steps: &[Step::HeldAt, Step::HeldAt, Step::Frames],
        skip: WORKQUEUE,
        ..WARNING
    },
    Format {
        headline: "INFO: possible circular locking dependency detected",
        detail: Detail::HeldAt(TRIES),
        title: "possible deadlock in {s}",
        ..INFO
    },
    Format {
        headline: "WARNING: possible irq lock inversion dependency detected",
        detail: Detail::HeldAt(&["just changed the state of lock"]),
        title: "possible deadlock in {s}",
        ..WARNING
    },
    Format {
        headline: "INFO: possible irq lock inversion dependency detected",
        detail: Detail::HeldAt(&["just changed the state of lock"]),
        title: "possible deadlock in {s}",
        ..INFO
    },
    Format {
        headline: "WARNING: .*-safe -> .*-unsafe lock order detected",
        title: "possible deadlock in {s}",
        steps: &[Step::Line(&["which became "]), Step::Frames],
        ..WARNING
    },
    Format {
        headline: "INFO: .*-safe -> .*-unsafe lock order detected",
        detail: Detail::HeldAt(&["is trying to acquire"]),
        title: "possible deadlock in {s}",
        ..INFO
    },
    Format {
        headline: "WARNING: possible recursive locking detected",
        detail: Detail::HeldAt(TRIES),
        title: "possible deadlock in {s}",
        ..WARNING
    },
    Format {
        headline: "INFO: possible recursive locking detected",
        detail: Detail::HeldAt(TRIES),
        title: "possible deadlock in {s}",
        ..INFO
    },
    Format {
        headline: "WARNING: inconsistent lock state",
        detail: Detail::HeldAt(&["takes"]),
        title: "inconsistent lock state in {s}",
        steps: TRACE,
        ..WARNING
    },
    Format {
        headline: "INFO: inconsistent lock state",
        detail: Detail::HeldAt(&["takes"]),
        title: "inconsistent lock state in {s}",
        ..INFO
    },
    Format {
        headline: "WARNING: suspicious RCU usage",
        detail: Detail::Source,
        title: "WARNING: suspicious RCU usage in {s}",
        steps: TRACE,
        skip: RCU,
        ..WARNING
    },
    Format {
        headline: "INFO: suspicious RCU usage",
        detail: Detail::Source,
        title: "INFO: suspicious RCU usage in {s}",
        steps: TRACE,
        skip: RCU,
        class: Class::Is("UNKNOWN"),
        ..INFO
    },
    Format {
        headline: "WARNING: bad unlock balance detected!",
        title: "WARNING: bad unlock balance in {s}",
        steps: &[Step::Symbol, Step::Trace, Step::Frames],
        ..WARNING
    },
    Format {
        headline: "BUG: bad unlock balance detected!",
        title: "BUG: bad unlock balance in {s}",
        steps: &[Step::Symbol, Step::Trace, Step::Frames],
        ..BUG
    },
    Format {
        headline: "WARNING: held lock freed!",
        detail: Detail::HeldAt(&[]),
        title: "WARNING: held lock freed in {s}",
        ..WARNING
    },
    Format { headline: "BUG: held lock freed!", detail: Detail::Symbol(&[]), title: "BUG: held lock freed in {s}", ..BUG },
    Format {
        headline: "WARNING: .*still has locks held!",
        detail: Detail::HeldAt(&[]),
        title: "WARNING: still has locks held in {s}",
        ..WARNING
    },
    Format { headline: "BUG: .*still has locks held!", detail: Detail::Symbol(&[]), title: "BUG: still has locks held in {s}", ..BUG },
    Format {
        headline: "WARNING: lock held when returning to user space",
        detail: Detail::HeldAt(&["leaving the kernel with locks still held"]),
        title: "WARNING: lock held when returning to user space in {s}",
        has_stack: false,
        ..WARNING
    },
    Format {
        headline: "BUG: lock held when returning to user space",
        detail: Detail::HeldAt(&["leaving the kernel with locks still held"]),
        title: "BUG: lock held when returning to user space in {s}",
        has_stack: false,
        class: Class::Is("UNKNOWN"),
        ..BUG
    },
    Format {
        headline: "WARNING: Nested lock was not taken",
        title: "WARNING: nested lock was not taken in {s}",
        steps: POINTER_THEN_FRAMES,
        otherwise: TRACE,
        ..WARNING
    },
    // arm and arm64 print as a BUG what x86 prints as a warning of lockdep; it is the same bug.
    Format {
        headline: "BUG: Invalid wait context",
        title: "WARNING: locking bug in {s}",
        steps: TRACE,
        skip: &[Has("lock_sock"), Has("release_sock")],
        ..BUG
    },
    Format {
        headline: "BUG: (spinlock|rwlock) (lockup(?: suspected)?|already unlocked|recursion|cpu recursion|bad magic|wrong owner|wrong CPU|trylock failure on UP)",
        title: "BUG: {1} {2} in {s}",
        steps: TRACE,
        skip: &[Has("spin_"), Has("_lock"), Has("_unlock")],
        ..BUG
    },
    Format {
        headline: "BUG: using ([a-z_]+)\\(\\) in preemptible",
        title: "BUG: using {1}() in preemptible code in {s}",
        steps: TRACE,
        skip: &[Has("preemption"), Has("preempt"), Has("debug_"), Has("processor_id"), Has("this_cpu")],
        ..BUG
    },
    Format {
        headline: "BUG: sleeping function called from invalid context at ",
        title: "BUG: sleeping function called from invalid context in {s}",
        steps: TRACE,
        class: Class::Is("ATOMIC_SLEEP"),
        ..BUG
    },
    Format {
        headline: "BUG: scheduling while atomic",
        title: "BUG: scheduling while atomic in {s}",
        steps: TRACE,
        skip: &[Has("schedule")],
        class: Class::Is("ATOMIC_SLEEP"),
        ..BUG
    },
    Format {
        headline: "BUG: workqueue leaked lock or atomic",
        detail: Detail::Word("last function: "),
        title: "BUG: workqueue leaked lock or atomic in {s}",
        has_stack: false,
        class: Class::Is("UNKNOWN"),
        ..BUG
    },
    // Since 6.8.
    Format {
        headline: "BUG: workqueue leaked (atomic, lock or RCU)",
        detail: Detail::Word("workfn="),
        title: "BUG: workqueue leaked {1} in {s}",
        has_stack: false,
        class: Class::Is("UNKNOWN"),
        ..BUG
    },
    Format {
        headline: "INFO: trying to register non-static key",
        title: "INFO: trying to register non-static key in {s}",
        steps: TRACE,
        skip: &[Has("stack"), Has("lock"), Has("IRQ")],
        pick: Pick::First,
        class: Class::Is("UNKNOWN"),
        ..INFO
    },
];
