//! Faults that the processor raises: page faults, general protection, bad instructions.

use super::{Class, Format, Step, PLAIN, POINTER_THEN_TRACE};

const OTHERS: &[&str] = &["bad-access in {s}"];
const POINTER: &[Step] = &[Step::Pointer];
const DOS: Class = Class::Is("DoS");
const NULL: Class = Class::Is("NULL-POINTER-DEREFERENCE");
const PAGING: Class = Class::Is("MEMORY_SAFETY_BUG");

const FAULT: Format = Format { steps: POINTER_THEN_TRACE, others: OTHERS, class: DOS, ..PLAIN };

/// An exception that is named after itself and stands at the message's start, as its architecture's `die()` prints it.
const fn exception(anchor: &'static str, headline: &'static str) -> Format {
    Format { anchor, headline, title: "{1} in {s}", others: &[], ..FAULT }
}

pub(super) const FORMATS: &[Format] = &[
    Format {
        anchor: "BUG:",
        headline: "BUG: (?:unable to handle kernel paging request|unable to handle page fault for address: [0-9a-f]{8,}|Unable to handle kernel (?:data access|instruction fetch|unaligned access))",
        title: "BUG: unable to handle kernel paging request in {s}",
        class: PAGING,
        ..FAULT
    },
    Format {
        anchor: "BUG:",
        headline: "BUG: (?:unable to handle kernel NULL|kernel NULL|Kernel NULL) pointer dereference",
        title: "BUG: unable to handle kernel NULL pointer dereference in {s}",
        class: NULL,
        ..FAULT
    },
    // The address is printed by a second call, which may be lost or mixed with other lines.
    Format {
        anchor: "BUG:",
        headline: "BUG: (?:unable|Unable) to handle kernel",
        title: "BUG: unable to handle kernel",
        class: Class::Is("UNKNOWN"),
        steps: &[],
        others: &[],
        is_remnant: true,
        ..FAULT
    },
    // arm, arm64, MIPS, RISC-V, s390
    Format {
        anchor: "Unable to handle kernel",
        headline: "Unable to handle kernel (NULL pointer dereference)",
        title: "BUG: unable to handle kernel {1} in {s}",
        class: NULL,
        ..FAULT
    },
    Format {
        anchor: "Unable to handle kernel",
        headline: "Unable to handle kernel (paging request)",
        title: "BUG: unable to handle kernel {1} in {s}",
        class: PAGING,
        ..FAULT
    },
    Format {
        anchor: "Unable to handle kernel",
        headline: "Unable to handle kernel (access to user memory)",
        title: "BUG: unable to handle kernel {1} in {s}",
        class: Class::Is("UNKNOWN"),
        ..FAULT
    },
    Format {
        anchor: "Unable to handle kernel",
        headline: "Unable to handle kernel (?:pointer dereference|data access|instruction fetch)",
        title: "BUG: unable to handle kernel paging request in {s}",
        class: PAGING,
        ..FAULT
    },
    // arm64 and RISC-V say what the page's rights forbade: `write to read-only memory`, `execute from non-executable memory`.
    Format {
        anchor: "Unable to handle kernel",
        headline: "Unable to handle kernel ([a-z -]+?)(?: at virtual address| outside | without |$)",
        title: "BUG: unable to handle kernel {1} in {s}",
        class: PAGING,
        ..FAULT
    },
    Format {
        anchor: "general protection fault",
        headline: "general protection fault.*:",
        title: "general protection fault in {s}",
        ..FAULT
    },
    Format { anchor: "stack segment: ", headline: "stack segment: ", title: "stack segment fault in {s}", others: &[], ..FAULT },
    Format { anchor: "PANIC: double fault", headline: "PANIC: double fault", title: "PANIC: double fault in {s}", others: &[], steps: POINTER, ..FAULT },
    Format { anchor: "double fault: ", headline: "double fault: ", title: "PANIC: double fault in {s}", others: &[], steps: POINTER, ..FAULT },
    Format { anchor: "divide error:", headline: "divide error: ", title: "divide error in {s}", others: &[], steps: POINTER, ..FAULT },
    Format { anchor: "divide_error:", headline: "divide_error: ", title: "divide error in {s}", others: &[], steps: POINTER, ..FAULT },
    Format { anchor: "invalid opcode:", headline: "invalid opcode: ", title: "invalid opcode in {s}", others: &[], steps: POINTER, ..FAULT },
    Format { anchor: "alignment check:", headline: "alignment check: 0", title: "alignment check in {s}", others: &[], ..FAULT },
    // Clang's check of calls through pointers. A warning or an invalid opcode follows, which is the same fault.
    Format {
        anchor: "CFI failure at ",
        headline: "CFI failure at {F}",
        title: "CFI failure in {s}",
        others: &[],
        steps: &[Step::Said("CFI failure at "), Step::Frames],
        class: PAGING,
        ..FAULT
    },
    Format { anchor: "Internal error:", headline: "Internal error: .*\\[#[0-9]+\\]", title: "Internal error in {s}", ..FAULT },
    Format { anchor: "Unhandled fault:", headline: "Unhandled fault:", title: "Unhandled fault in {s}", ..FAULT },
    Format { anchor: "Alignment trap:", headline: "Alignment trap:", title: "Alignment trap in {s}", others: &[], ..FAULT },
    // s390 and PowerPC name the exception, MIPS the instruction; so do rarer ones of x86, which until 6.9 stand without `Oops:`.
    Format {
        anchor: "Oops:",
        headline: "Oops: Kernel access of bad area",
        title: "BUG: unable to handle kernel paging request in {s}",
        class: PAGING,
        ..FAULT
    },
    exception("Oops:", "Oops: (control protection|int3|split lock|bounds|invalid TSS|segment not present|fpu exception|simd exception): [0-9a-f]{4} "),
    exception("Oops:", "Oops: ([A-Z][A-Za-z /-]+?)(?: [0-9a-f]+)?, sig: [0-9]+ \\[#[0-9]+"),
    exception("control protection: 0", "(control protection): [0-9a-f]{4} \\[#"),
    exception("int3: 0", "(int3): [0-9a-f]{4} \\[#"),
    exception("specification exception: ", S390),
    exception("addressing exception: ", S390),
    exception("protection exception: ", S390),
    exception("illegal operation: ", S390),
    exception("privileged operation: ", S390),
    exception("operand exception: ", S390),
    exception("data exception: ", S390),
    exception("fixpoint divide exception: ", S390),
    exception("translation exception: ", S390),
    exception("Oops - ", "Oops - ([A-Za-z() -]+) \\[#[0-9]+\\]"),
    exception("Unhandled kernel unaligned access[", "Unhandled kernel (unaligned access)\\[#"),
    exception("Reserved instruction in kernel code[", MIPS),
    exception("Break instruction in kernel code[", MIPS),
    exception("Trap instruction in kernel code[", MIPS),
    exception("Data bus error, ", "(Data bus error), epc =="),
    exception("Instruction bus error, ", "(Instruction bus error), epc =="),
    exception("Integer overflow[", MIPS),
    Format {
        anchor: "Kernel bug detected",
        headline: "Kernel bug detected\\[#",
        title: "kernel BUG in {s}",
        others: &[],
        class: Class::Is("BUG"),
        ..FAULT
    },
];

/// `specification exception: 0006 ilc:2 [#1] SMP`: the exception, its code, and since 3.14 the length of the instruction.
const S390: &str = "^((?:[a-z]+ )+[a-z]+): [0-9a-f]{4} (?:ilc:[0-9] )?\\[#[0-9]+\\]";

/// `Reserved instruction in kernel code[#1]:`.
const MIPS: &str = "^([A-Za-z ]+?)(?: in kernel code)?\\[#[0-9]+\\]:";
