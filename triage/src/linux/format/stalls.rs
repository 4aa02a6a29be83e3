//! What does not go on: lockups, stalls, hung tasks.

use super::{Class, Format, Pick, Step, PLAIN, POINTER_THEN_TRACE, TRACE};
use crate::linux::skip::Skip::Has;

const HANG: Class = Class::Is("HANG");

/// A stall is told by the timer's interrupt, whose frames come first; what was interrupted stands below its registers.
const INTERRUPTED: &[Step] = &[Step::Line(&["apic_timer_interrupt"]), Step::Pointer, Step::Frames];
const INTERRUPTED_ELSEWHERE: &[Step] = &[Step::Line(INTERRUPTS), Step::Frames];
/// Lines of the timer's interrupt, on x86, ARM and arm64.
pub(in crate::linux) const INTERRUPTS: &[&str] = &["apic_timer_interrupt", "Exception stack", "el1h_64_irq"];

const HARD_LOCKUP: Format = Format {
    title: "hard lockup in {s}",
    others: &["stall in {s}"],
    steps: POINTER_THEN_TRACE,
    pick: Pick::Stall,
    class: HANG,
    ..PLAIN
};

pub(super) const FORMATS: &[Format] = &[
    Format {
        anchor: "BUG:",
        headline: "BUG: soft lockup",
        title: "BUG: soft lockup in {s}",
        others: &["stall in {s}"],
        steps: POINTER_THEN_TRACE,
        pick: Pick::Stall,
        class: HANG,
        ..PLAIN
    },
    Format { anchor: "Watchdog detected hard LOCKUP", headline: "Watchdog detected hard LOCKUP", ..HARD_LOCKUP },
    // PowerPC's own watchdog: `watchdog: CPU 1 Hard LOCKUP`.
    Format { anchor: "Hard LOCKUP", headline: "Hard LOCKUP", ..HARD_LOCKUP },
    Format {
        anchor: "BUG:",
        headline: "BUG: workqueue lockup",
        title: "BUG: workqueue lockup",
        has_stack: false,
        ..PLAIN
    },
    // Tasks that keep a grace period of RCU's own kind up are shown themselves.
    Format {
        anchor: "INFO:",
        headline: "INFO: rcu_tasks[a-z_]* detected stalls on tasks",
        title: "INFO: rcu detected stall in {s}",
        others: &["stall in {s}"],
        steps: TRACE,
        skip: &[Has("schedule"), Has("rcu")],
        pick: Pick::Stall,
        class: HANG,
        ..PLAIN
    },
    Format {
        anchor: "INFO:",
        headline: "INFO: rcu_(?:preempt|sched|bh|tasks)[a-z_]* (?:self-)?detected(?: expedited)? stall",
        title: "INFO: rcu detected stall in {s}",
        others: &["stall in {s}"],
        steps: INTERRUPTED,
        otherwise: INTERRUPTED_ELSEWHERE,
        // Since 6.0 the stack begins at what was interrupted, and an NMI backtrace shows that of another processor.
        finally: POINTER_THEN_TRACE,
        skip: &[Has("apic_timer_interrupt"), Has("rcu")],
        pick: Pick::Stall,
        class: HANG,
        ..PLAIN
    },
    Format {
        anchor: "INFO:",
        headline: "INFO: task .* blocked (?:in I/O wait )?for more than [0-9]+ seconds",
        title: "INFO: task hung in {s}",
        others: &["hang in {s}"],
        steps: TRACE,
        pick: Pick::Hang,
        class: HANG,
        ..PLAIN
    },
    Format {
        anchor: "INFO:",
        headline: "INFO: task .* can't die for more than .* seconds",
        title: "INFO: task can't die in {s}",
        others: &["hang in {s}"],
        steps: TRACE,
        skip: &[Has("schedule")],
        class: HANG,
        ..PLAIN
    },
    Format {
        anchor: "unregister_netdevice: waiting for",
        headline: "unregister_netdevice: waiting for .* to become free",
        title: "unregister_netdevice: waiting for DEV to become free",
        has_stack: false,
        class: Class::Is("DoS"),
        ..PLAIN
    },
];
