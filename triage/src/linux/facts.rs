//! What a report says besides its stack: processor, process, release, taint, registers, modules, code.

use crate::report::{Access, Frame, Hex, Module, Operation, Report, Trust};

use super::frame::{calls, pointer, without_name, Pointer};
use super::region::Region;
use super::subject::{is_trace, starts_stack};

/// Frames of a report, at most.
const FRAMES_MAX: usize = 512;

/// Modules of a report, at most.
const MODULES_MAX: usize = 2048;

/// Registers of a report, at most.
const REGISTERS_MAX: usize = 64;

/// Fills in what the lines say.
pub(super) fn fill(report: &mut Report, region: &Region<'_>) {
    let mut lines = region.whole.iter().copied().peekable();
    // Below a stack that began in a program stand the program's own registers and code: nothing of the fault.
    let (mut is_program, mut of_kernel) = (false, Vec::new());
    while let Some(text) = lines.next() {
        if text.trim_start().starts_with("RIP: ") {
            is_program = text.contains("RIP: 0033:");
        }
        process(report, text);
        hung_task(report, text);
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
    report.frames = frames(region);
    super::code::fill(report, &of_kernel);
}

/// Special stacks, by what the kernel prints around their frames.
const STACKS: &[(&str, &str, &str)] = &[
    ("<IRQ>", "</IRQ>", "IRQ"),
    ("<NMI>", "</NMI>", "NMI"),
    ("<#DF>", "</#DF>", "#DF"),
    ("<IRQ>", "<EOI>", "IRQ"),
    ("<NMI>", "<<EOE>>", "NMI"),
];

/// The stack at the fault: the instruction pointer where one is printed before the stack, then the stack.
fn frames(region: &Region<'_>) -> Vec<Frame> {
    let texts = region.whole.as_slice();
    let start = stack_start(texts);
    let before = texts.get(1..start.unwrap_or(texts.len())).unwrap_or_default();
    let mut frames: Vec<Frame> = Vec::new();
    if let Some(Pointer::At(call)) = before.iter().find_map(|text| pointer(text)) {
        frames.push(Frame { is_fault: true, ..call.frame(0, Trust::Context) });
    }
    // Some print a stack without saying so; then every frame is of it.
    let below = texts.get(start.map_or(1, |start| start.saturating_add(1))..).unwrap_or_default();
    let mut stack: Option<&str> = None;
    let has_frames = |frames: &[Frame]| frames.iter().any(|frame| frame.trust != Trust::Context);
    for text in below {
        let is_other = starts_stack(text) || is_history(text);
        if is_other && has_frames(&frames) || frames.len() >= FRAMES_MAX {
            break;
        }
        for (open, close, name) in STACKS {
            if text.contains(open) {
                stack = Some(name);
            } else if text.contains(close) && stack == Some(name) {
                stack = None;
            }
        }
        let Some(frame) = frame(text, frames.len()) else { continue };
        // ARM's stack has no offset where the fault is.
        let repeats = frames.last().is_some_and(|last| {
            last.trust == Trust::Context
                && frame.function.is_some()
                && last.function == frame.function
                && (last.function_offset == frame.function_offset || frame.function_offset == Some(Hex(0)))
        });
        if !repeats {
            frames.push(Frame { stack: stack.map(str::to_owned), ..frame });
        }
    }
    frames
}

/// The line's frame, with that number.
fn frame(text: &str, n: usize) -> Option<Frame> {
    if let Some(call) = calls(text).next() {
        return Some(call.frame(n, Trust::Unwind));
    }
    let (address, is_leftover) = without_name(text)?;
    let trust = if is_leftover { Trust::Scan } else { Trust::Unwind };
    Some(Frame { n: u32::try_from(n).unwrap_or(u32::MAX), ip: Some(Hex(address)), trust, ..Frame::default() })
}

/// Whether a stack begins that is not the fault's: KFENCE's of earlier times, `allocated by task 99 on cpu 1 at 20.001s:`, or KCSAN's of an access,
/// `read to 0xffff888103a1b000 of 8 bytes by task 401 on cpu 1:`, of which the first is the fault's.
fn is_history(text: &str) -> bool {
    ["allocated by task ", "freed by task "].iter().any(|words| text.starts_with(words))
        || text.ends_with(':') && [" bytes by task ", " bytes by interrupt "].iter().any(|words| text.contains(words))
}

/// Where the stack at the fault begins. What checks locks prints others before it, of where locks were taken.
fn stack_start(texts: &[&str]) -> Option<usize> {
    let backtrace = texts.iter().position(|text| text.contains("stack backtrace:"));
    let from = backtrace.unwrap_or(0);
    let trace = texts.iter().skip(from).position(|text| is_trace(text)).map(|at| from.saturating_add(at));
    trace
        .or(backtrace)
        .or_else(|| texts.iter().position(|text| text.contains(" backtrace:") || text.contains(" backtrace (crc")))
}

/// `CPU: 1 UID: 0 PID: 2148 Comm: frob Tainted: G W 6.12.23-frob #1`.
fn process(report: &mut Report, text: &str) {
    // Until 3.10 it was `Pid: 1, comm: frob Not tainted 3.4.0 #1`.
    let Some((front, rest)) = text.split_once("Comm: ").or_else(|| text.split_once("comm: ")) else {
        // What checks locks names release and taint alone: `3.5.0-rc5 #2 Tainted: G        W`.
        if let (true, Some((_, tail))) = (report.taint.is_empty(), text.split_once(" Tainted: ")) {
            tainted(report, tail);
        }
        return;
    };
    if !(front.contains("PID:") || front.contains("Pid:")) || report.os_build.is_some() {
        return;
    }
    let number = |name: &str| {
        front
            .split_once(name)
            .and_then(|(_, rest)| rest.split_whitespace().next()?.trim_end_matches(',').parse::<u64>().ok())
    };
    report.cpu = number("CPU: ").and_then(|cpu| u32::try_from(cpu).ok());
    report.pid = number(" PID: ").or_else(|| number("PID: ")).or_else(|| number("Pid: "));
    report.thread = report.pid.map(|pid| pid.to_string());
    let (comm, rest) = match (rest.split_once(" Not tainted "), rest.split_once(" Tainted: ")) {
        (Some((comm, build)), _) => (comm, Some(build)),
        (None, Some((comm, tail))) => (comm, Some(tainted(report, tail))),
        (None, None) => (rest, None),
    };
    report.process = Some(comm.trim().to_owned());
    // That older line goes on with the machine's model, which is no part of the build.
    let build = rest.map(|build| if front.contains("Pid:") { release(build) } else { build });
    report.os_build =
        build.map(|build| build.trim_end_matches([' ', ']']).trim().to_owned()).filter(|build| !build.is_empty());
}

/// Release and number of the build: `3.6.1-1.fc17.i686.PAE #1` of what goes on behind it.
fn release(text: &str) -> &str {
    let number = text.find(" #").map(|at| at.saturating_add(1));
    let end = number.and_then(|at| Some(at.saturating_add(text.get(at..)?.find(' ')?)));
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// A task that hangs is named in the headline, and the release stands alone in the next line: `      Not tainted 6.1.0 #1`.
fn hung_task(report: &mut Report, text: &str) {
    let task = text.split_once("INFO: task ").and_then(|(_, rest)| rest.split_once(" blocked "));
    if let (None, Some((name, pid))) = (&report.process, task.and_then(|(task, _)| task.rsplit_once(':'))) {
        report.process = Some(name.to_owned());
        report.pid = pid.parse().ok();
        report.thread = Some(pid.to_owned());
        return;
    }
    let line = text.trim_start();
    if report.process.is_none() || report.os_build.is_some() || line.len() == text.len() {
        return;
    }
    let build = match line.strip_prefix("Not tainted ") {
        Some(build) => Some(build),
        None => line.strip_prefix("Tainted: ").map(|tail| tainted(report, tail)),
    };
    report.os_build = build.map(|build| build.trim().to_owned()).filter(|build| !build.is_empty());
}

/// Flags of `Tainted:`, up to the release behind them.
fn tainted<'a>(report: &mut Report, tail: &'a str) -> &'a str {
    let mut rest = tail.trim_start();
    // Later kernels name the flags: `Tainted: [W]=WARN, [O]=OOT_MODULE`.
    while let Some((word, after)) = rest.split_once([' ', ',']).or(Some((rest, ""))) {
        let letters = word.trim_start_matches('[').split(']').next().unwrap_or_default().trim_end_matches('-');
        let is_flags = !word.is_empty() && letters.bytes().all(|byte| byte.is_ascii_uppercase()) && letters.len() <= 20;
        if !is_flags {
            break;
        }
        for flag in letters.chars() {
            let name = TAINT
                .iter()
                .find(|(letter, _)| *letter == flag)
                .map_or_else(|| flag.to_string(), |(_, name)| (*name).to_owned());
            // `G` says that nothing proprietary is loaded: the opposite of taint.
            if flag != 'G' && !report.taint.contains(&name) {
                report.taint.push(name);
            }
        }
        rest = after.trim_start_matches([' ', ',']);
        if rest.is_empty() {
            break;
        }
    }
    rest
}

/// Letters of taint.
const TAINT: &[(char, &str)] = &[
    ('P', "proprietary module"),
    ('F', "module loaded by force"),
    ('S', "processor out of specification"),
    ('R', "module unloaded by force"),
    ('M', "machine check"),
    ('B', "bad page"),
    ('U', "asked for by a user"),
    ('D', "died before"),
    ('A', "ACPI table overridden"),
    ('W', "warned before"),
    ('C', "staging driver"),
    ('I', "firmware workaround"),
    ('O', "module out of tree"),
    ('E', "module without signature"),
    ('L', "soft lockup before"),
    ('K', "live patched"),
    ('X', "auxiliary"),
    ('T', "structure layout randomised"),
    ('N', "in-kernel test"),
];

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
    // ARM says it behind the address, PowerPC before it: `when write`, `on write at`.
    let is_write = ["Write", "when write", "on write at"].iter().any(|words| text.contains(words));
    let is_execute = text.contains("when execute");
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

/// What the processor said that it wanted: `#PF: supervisor write access in kernel mode`.
fn fault_code(report: &mut Report, text: &str) {
    let (Some(access), Some(rest)) = (&mut report.access, text.trim_start().strip_prefix("#PF: ")) else { return };
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
