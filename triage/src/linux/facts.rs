//! What a report says besides its title: `who.rs` tells processor, process, release and taint, `stack.rs` the frames; registers, the access,
//! modules and code are told here.

use crate::report::{Access, Hex, Module, Operation, Report};

use super::region::Region;
use super::{stack, who};

/// Modules of a report, at most.
const MODULES_MAX: usize = 2048;

/// Registers of a report, at most.
const REGISTERS_MAX: usize = 64;

/// Fills in what the lines say.
pub(super) fn fill(report: &mut Report, region: &Region<'_>) {
    let mut lines = region.whole.iter().copied().peekable();
    // Below a stack that began in a program stand the program's own registers and code: nothing of the fault.
    let (mut is_program, mut of_kernel) = (false, Vec::new());
    let hangs = region.whole.first().is_some_and(|first| first.contains(who::HUNG));
    while let Some(text) = lines.next() {
        if text.trim_start().starts_with("RIP: ") {
            is_program = text.contains("RIP: 0033:");
        }
        who::process(report, text);
        if hangs {
            who::hung_task(report, text);
        }
        if !is_program {
            registers(report, text);
            of_kernel.push(text);
        }
        address(report, text);
        fault_code(report, text);
        if let Some(rest) = text.trim_start().strip_prefix("Modules linked in:") {
            modules(report, rest);
            // A long list goes on in the next lines, which begin with a space.
            while let Some(more) = lines.next_if(|text| is_module_list(text)) {
                modules(report, more);
            }
        }
    }
    report.frames = stack::frames(region);
    super::code::fill(report, &of_kernel);
}

/// Registers of x86 (`RAX: 0000000000000000`), arm64 (`x29: ffff`), ARM (`r10: c0010000`), s390 and PowerPC (`GPR00:` in fours).
fn registers(report: &mut Report, text: &str) {
    if report.registers.iter().count() >= REGISTERS_MAX {
        return;
    }
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        // arm64 pads short names: `x8 : 0000000000000000`.
        let is_padded = words.peek() == Some(&":");
        let Some(name) = word.strip_suffix(':').or_else(|| (is_padded || matches!(word, "sp" | "pc")).then_some(word))
        else {
            continue;
        };
        let mut value = words.peek().copied();
        if value == Some(":") {
            words.next();
            value = words.peek().copied();
        }
        let Some(value) = value else { return };
        let digits = value.split_once(':').map_or(value, |(_, digits)| digits);
        let is_value = matches!(digits.len(), 8 | 16) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_value || !is_register(name) {
            continue;
        }
        if let Ok(value) = u64::from_str_radix(digits, 16) {
            let name = name.to_ascii_lowercase();
            // Of several sets the first is the fault's; the last may be a program's.
            if report.registers.get(&name).is_none() {
                report.registers.set(&name, value, true);
            }
        }
        words.next();
    }
}

/// Whether it is a register's name.
fn is_register(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let number = lower
        .strip_prefix(['r', 'x', 'a', 's', 't'])
        .is_some_and(|rest| (1..=2).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_digit()));
    number
        || matches!(
            lower.as_str(),
            "rax"
                | "rbx"
                | "rcx"
                | "rdx"
                | "rsi"
                | "rdi"
                | "rbp"
                | "rsp"
                | "rip"
                | "eax"
                | "ebx"
                | "ecx"
                | "edx"
                | "esi"
                | "edi"
                | "ebp"
                | "esp"
                | "eip"
                | "cr0"
                | "cr2"
                | "cr3"
                | "cr4"
                | "sp"
                | "pc"
                | "lr"
                | "fp"
                | "ip"
                | "epc"
                | "ra"
                | "gp"
                | "tp"
                | "badaddr"
                | "cause"
                | "status"
                | "pstate"
        )
}

fn is_hex(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The address that was used: of a page fault, or of a sanitizer's report.
fn address(report: &mut Report, text: &str) {
    if report.access.is_some() {
        return;
    }
    let number = |word: &str| {
        let digits = word.trim_end_matches([',', ']', '.']).trim_start_matches("0x");
        (digits.len() >= 4 && is_hex(digits)).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    };
    let following = |words: &str| text.split_once(words).and_then(|(_, rest)| number(rest.split_whitespace().next()?));
    let found = [
        "for address: ",
        "virtual address ",
        "dereference, address: ",
        "dereference at ",
        "request at ",
        "on read at ",
        "on write at ",
        " at addr ",
    ]
    .iter()
    .find_map(|words| following(words));
    let Some(address) = found else { return };
    // ARM says it behind the address, PowerPC and arm64 before it: `when write`, `on write at`, `write to read-only memory`.
    let is_write = ["Write", "when write", "on write at", "kernel write to"].iter().any(|words| text.contains(words));
    let is_execute =
        ["when execute", "kernel execute from", "kernel execution of"].iter().any(|words| text.contains(words));
    let operation = match (is_write, is_execute) {
        (true, _) => Operation::Write,
        (_, true) => Operation::Execute,
        _ => Operation::Read,
    };
    report.access = Some(Access {
        operation,
        address: Hex(address),
        class: class_of(address).map(str::to_owned),
        ..Access::default()
    });
}

/// What the processor said that it wanted: `#PF: supervisor write access in kernel mode`, of arm64 `CM = 0, WnR = 1` (write, not read).
fn fault_code(report: &mut Report, text: &str) {
    let Some(access) = &mut report.access else { return };
    if text.contains(", WnR = 1") && access.operation == Operation::Read {
        access.operation = Operation::Write;
    }
    let Some(rest) = text.trim_start().strip_prefix("#PF: ") else { return };
    if rest.contains(" write access in ") {
        access.operation = Operation::Write;
    } else if rest.contains(" instruction fetch in ") {
        access.operation = Operation::Execute;
    }
    // `error_code(0x0002) - not-present page`; with any other words but these it may be either.
    if rest.ends_with(" - not-present page") {
        access.mapped = Some(false);
    } else if rest.ends_with(" - permissions violation") {
        access.mapped = Some(true);
    }
}

/// What kind of address it is.
fn class_of(address: u64) -> Option<&'static str> {
    const PAGE_BYTES: u64 = 4096;
    const USER_MAX: u64 = 0x0000_7fff_ffff_ffff;
    const KERNEL_MIN: u64 = 0xff00_0000_0000_0000;
    match address {
        0..PAGE_BYTES => Some("null page"),
        0x5a5a_5a5a_5a5a_5a5a | 0x6b6b_6b6b_6b6b_6b6b => Some("freed memory's pattern"),
        0xdead_0000_0000_0000..=0xdead_0000_0000_ffff => Some("poisoned list"),
        PAGE_BYTES..=0xffff_ffff => None, // on a 32-bit machine it may be either
        0x1_0000_0000..=USER_MAX => Some("user"),
        _ if address < KERNEL_MIN => Some("non-canonical"),
        _ => Some("kernel"),
    }
}

/// Names of `Modules linked in:`, each with what taints in parentheses.
fn modules(report: &mut Report, text: &str) {
    for word in text.split_whitespace().take_while(|word| !word.starts_with("[last")) {
        if report.modules.len() >= MODULES_MAX {
            return;
        }
        let (name, taint) =
            word.split_once('(').map_or((word, None), |(name, taint)| (name, Some(taint.trim_end_matches(')'))));
        if is_module(name) {
            report.modules.push(Module { name: name.to_owned(), taint: taint.map(str::to_owned), ..Module::default() });
        }
    }
    if let Some((_, last)) = text.split_once("[last unloaded: ") {
        let name = last.split([']', ' ', '(']).next().unwrap_or_default();
        if is_module(name) {
            report.unloaded.push(Module { name: name.to_owned(), ..Module::default() });
        }
    }
}

fn is_module(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Whether a line holds nothing but modules, and begins with a space as the rest of a list does.
fn is_module_list(text: &str) -> bool {
    text.starts_with(' ')
        && text
            .split_whitespace()
            .take_while(|word| !word.starts_with("[last"))
            .all(|word| is_module(word.split('(').next().unwrap_or_default()))
}
