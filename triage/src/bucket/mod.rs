//! By what crashes are counted: one bug, one bucket, on every machine, build and processor.
//!
//! The key is made of what stays the same when the kernel is built again: kind of fault, kind of access, module, function. Callers are
//! not: a compiler inlines them or not, and one bug is reached in several ways. Only where nobody is blamed title and innermost calls
//! stand in the key. Versions are left out on purpose: with them in the key every release would split every bug, and what a crash is
//! associated with could not be told any more. They are columns of the store.
//!
//! `b1` names the rules that made a key. Other rules get another name, and the store keeps old ids as aliases.

mod names;
mod similar;

use sha2::{Digest as _, Sha256};

use crate::linux;
use crate::report::{Bucket, Frame, Kind, Report, Trust};

pub use names::steady_name;
pub use similar::{similarity, MERGE_MIN};

/// The rules by which keys are made here.
pub const VERSION: &str = "b1";

/// Calls in the key of a crash for which no function is blamed. More would split a bug by how it was reached.
const FRAMES: usize = 3;

/// Letters of an id. 64 bits: a fleet would need billions of buckets before two share one.
const ID_LETTERS: usize = 16;

/// Gives the report its bucket; one without a crash has none.
pub fn assign(report: &mut Report) {
    if report.kind == Kind::None {
        return;
    }
    let fault = fault(report);
    let access = access(report);
    let module =
        report.blamed.as_ref().and_then(|blamed| blamed.module.clone()).unwrap_or_else(|| "unknown".to_owned());
    let code = place_of_blame(report).unwrap_or_else(|| without_place(report));
    let key = [VERSION, platform(report.kind), &fault, &access, &module, &code].join(" | ");
    let family = [VERSION, platform(report.kind), &fault, &module].join(" | ");
    let exact = format!("{key} | {}", place(report));
    report.bucket =
        Some(Bucket { version: VERSION.to_owned(), id: id(&key), key, family: id(&family), exact: id(&exact) });
}

/// A short digest.
#[must_use]
pub fn id(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut id: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    id.truncate(ID_LETTERS);
    id
}

fn platform(kind: Kind) -> &'static str {
    match kind {
        Kind::LinuxOops | Kind::LinuxVmcore => "linux",
        Kind::WindowsKernel => "windows",
        Kind::Minidump | Kind::ElfCore => "process",
        Kind::None => "none",
    }
}

/// Classes that name no kind of fault: the message's own words tell it.
const WITHOUT_KIND: [&str; 2] = ["DoS", "UNKNOWN"];

/// Kind of the fault: the type, with the message's words where the type says little, as of `general protection fault` and `divide error`; for
/// dumps that have no type the stop code or the exception.
fn fault(report: &Report) -> String {
    if let Some(words) = words(report) {
        return format!("{}: {words}", report.type_.as_deref().unwrap_or_default());
    }
    let code = || report.bugcheck.as_ref().map(|bugcheck| bugcheck.code.to_string());
    let exception = || report.exception.as_ref().map(|exception| exception.code.to_string());
    report.type_.clone().or_else(code).or_else(exception).unwrap_or_else(|| "unknown".to_owned())
}

/// The words of a message of Linux whose type names no kind of fault: its title without the function, which the key has anyway.
fn words(report: &Report) -> Option<&str> {
    let class = report.type_.as_deref().filter(|class| WITHOUT_KIND.contains(class))?;
    let function = report.blamed.as_ref()?.function.as_deref()?;
    let title = report.title.as_deref().filter(|_| platform(report.kind) == "linux")?;
    title.strip_suffix(function)?.strip_suffix(" in ").filter(|words| *words != class)
}

/// What was done to what kind of address. A sanitizer's type says it already, and the address it prints is any.
fn access(report: &Report) -> String {
    let says_it_already = report.type_.as_deref().is_some_and(|class| class.starts_with('K'));
    match &report.access {
        Some(access) if !says_it_already => match &access.class {
            Some(class) => format!("{} {}", access.operation, class_for_all(class)),
            None => access.operation.to_string(),
        },
        _ => String::new(),
    }
}

/// A kind of address that every dump of a crash tells alike: where the pools, the stack and the images lie, a small one may not know.
fn class_for_all(class: &str) -> &str {
    match class {
        "paged pool" | "nonpaged pool" | "stack" => "kernel",
        _ if class.starts_with("image ") => "kernel",
        _ => class,
    }
}

/// The function that is blamed; one without a name is its offset in its module.
fn place_of_blame(report: &Report) -> Option<String> {
    let function = report.blamed.as_ref().and_then(|blamed| blamed.function.as_deref()).map(steady_name);
    let offset = || origin(report).and_then(|at| Some(format!("+{}", report.frames.get(at)?.offset?)));
    function.or_else(offset)
}

/// Where nobody is blamed the title tells crashes apart, and outside of Linux, where the kernel's own words are the title, the calls too.
fn without_place(report: &Report) -> String {
    let title = report.title.clone().unwrap_or_default();
    if platform(report.kind) == "linux" {
        return title;
    }
    let trusted = report.frames.iter().filter(|frame| frame.trust > Trust::Scan);
    let calls: Vec<String> = trusted.map(name).take(FRAMES).collect();
    format!("{title} | {}", calls.join(" < "))
}

/// Where the blamed code is on the stack, when its function has no name: the fault, else the blamed module's innermost frame.
fn origin(report: &Report) -> Option<usize> {
    let module = report.blamed.as_ref().and_then(|blamed| blamed.module.as_ref());
    let fault = report.frames.iter().position(|frame| frame.is_fault);
    let is_own = |frame: &Frame| module.is_some() && frame.module.as_ref() == module && frame.trust > Trust::Scan;
    let is_fault_own = fault.and_then(|at| report.frames.get(at)).is_some_and(is_own);
    let innermost = report.frames.iter().position(is_own);
    if is_fault_own {
        fault
    } else {
        innermost.or(fault)
    }
}

/// A frame's name for the key.
fn name(frame: &Frame) -> String {
    match (&frame.function, &frame.module, frame.offset) {
        (Some(function), _, _) => steady_name(function),
        (None, Some(module), Some(offset)) => format!("{module}+{offset}"),
        (None, Some(module), None) => module.clone(),
        (None, None, _) => "?".to_owned(),
    }
}

/// One build's one place: where the blamed function was, else where the fault was.
fn place(report: &Report) -> String {
    let blamed = report.blamed.as_ref().and_then(|blamed| blamed.function.as_deref()).map(steady_name);
    let is_blamed = |frame: &&Frame| {
        blamed.is_some() && frame.function.as_deref().map(steady_name) == blamed && frame.trust > Trust::Scan
    };
    let frame = report.frames.iter().find(is_blamed).or_else(|| report.frames.iter().find(|frame| frame.is_fault));
    // A log shows how it was printed, a core how the machine was stopped: neither is where it was.
    let is_own = |frame: &&Frame| frame.function.as_deref().is_some_and(|name| !linux::is_plumbing(&steady_name(name)));
    let own = || report.frames.iter().find(is_own).filter(|_| platform(report.kind) == "linux");
    let frame = frame.or_else(own).or_else(|| report.frames.first());
    // A log of Linux knows no module's base, and a core of the same crash is the same place. Elsewhere names hang on symbol files.
    let offset = |frame: &Frame| match platform(report.kind) {
        "linux" => frame.function_offset.or(frame.offset),
        _ => frame.offset.or(frame.function_offset),
    };
    let offset = frame.and_then(offset).map(|offset| offset.to_string());
    format!("{} {}", report.os_build.as_deref().unwrap_or_default(), offset.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Hex;

    const OOPS: &str = "[    1.000000] BUG: unable to handle page fault for address: ffffc90000001000
[    1.000000] CPU: 1 PID: 77 Comm: frobd Not tainted 6.1.0-56-cloud-amd64 #1
[    1.000000] RIP: 0010:frob_open+0x10/0x20 [frob]
[    1.000000] Call Trace:
[    1.000000]  frob_attach+0x40/0x80 [frob]
[    1.000000]  frob_probe+0x12/0x34 [frob]
[    1.000000]  vfs_open+0x12/0x34
";

    fn bucket(text: &str) -> Bucket {
        let mut found = None;
        crate::linux::read(text, &mut |report| found = Some(report));
        let mut report = found.expect("a crash");
        assign(&mut report);
        report.bucket.expect("a bucket")
    }

    #[test]
    fn one_bug_has_one_bucket_on_every_machine_build_and_processor() {
        let one = bucket(OOPS);
        assert_eq!(one.key, "b1 | linux | MEMORY_SAFETY_BUG | read kernel | frob | frob_open");
        for (from, to) in [
            ("CPU: 1 PID: 77", "CPU: 3 PID: 1201"),
            ("frobd", "other"),
            ("+0x10/0x20", "+0x18/0x28"),
            ("frob_attach+", "frob_attach.isra.0.cold+"),
            ("frob_probe+", "frob_probe.constprop.3+"),
            // The compiler inlined a caller.
            ("[    1.000000]  frob_attach+0x40/0x80 [frob]\n", ""),
            ("ffffc90000001000", "ffffc9000000f000"),
            ("6.1.0-56", "6.1.0-57"),
        ] {
            assert_eq!(bucket(&OOPS.replace(from, to)).id, one.id, "{from} -> {to}");
        }
        assert_ne!(
            bucket(&OOPS.replace("6.1.0-56", "6.1.0-57")).exact,
            one.exact,
            "a build is told apart by the exact id"
        );
    }

    #[test]
    fn two_exceptions_of_one_function_are_two_buckets() {
        let oops = |words: &str| {
            format!(
                "[    1.000000] {words}
[    1.000000] CPU: 1 PID: 77 Comm: frobd Not tainted 6.1.0-56-cloud-amd64 #1
[    1.000000] RIP: 0010:frob_open+0x10/0x20 [frob]
[    1.000000] Call Trace:
[    1.000000]  vfs_open+0x12/0x34
"
            )
        };
        let protection =
            oops("general protection fault, probably for non-canonical address 0xdead000000000122: 0000 [#1] SMP");
        let one = bucket(&protection);
        assert_eq!(one.key, "b1 | linux | DoS: general protection fault |  | frob | frob_open");
        let division = bucket(&oops("divide error: 0000 [#1] PREEMPT SMP"));
        assert_eq!(division.key, "b1 | linux | DoS: divide error |  | frob | frob_open");
        assert_ne!((&one.id, &one.family), (&division.id, &division.family));
        // The same exception with other options of the processor, and of another address.
        assert_eq!(bucket(&protection.replace("SMP", "PREEMPT SMP KASAN NOPTI").replace("122", "133")).id, one.id);
    }

    #[test]
    fn a_core_and_a_log_of_one_place_have_one_exact_id() {
        let exact = |report: &mut Report| {
            assign(report);
            report.bucket.clone().expect("a bucket").exact
        };
        let read = |text: &str| {
            let mut found = None;
            crate::linux::read(text, &mut |report| found = Some(report));
            found.expect("a crash")
        };
        // A core knows where modules lie, what compilers made of names, and how the machine was stopped.
        let stop =
            |name: &str| Frame { function: Some(name.to_owned()), function_offset: Some(Hex(7)), ..Frame::default() };
        let as_core = |log: &Report, inner: &str| {
            let mut core = Report { kind: Kind::LinuxVmcore, ..log.clone() };
            core.frames.insert(0, stop(inner));
            for frame in &mut core.frames {
                frame.offset = Some(Hex(0x2000));
                frame.function = frame.function.as_ref().map(|name| format!("{name}.constprop.0"));
                frame.trust = Trust::Unwind;
            }
            core
        };
        let sysrq = "[    1.000000] Kernel panic - not syncing: sysrq triggered crash
[    1.000000] Call Trace:
[    1.000000]  dump_stack_lvl+0x40/0x80
[    1.000000]  panic+0x40/0x80
[    1.000000]  sysrq_handle_crash+0x16/0x20
";
        for text in [OOPS, sysrq] {
            let mut log = read(text);
            let mut core = as_core(&log, "panic");
            assert_eq!(exact(&mut core), exact(&mut log), "{text}");
        }
        let other = OOPS.replace("frob_open+0x10", "frob_open+0x18");
        assert_ne!(exact(&mut read(&other)), exact(&mut read(OOPS)));
    }

    #[test]
    fn two_bugs_have_two_buckets_and_may_share_a_family() {
        let one = bucket(OOPS);
        let other = bucket(&OOPS.replace("frob_open", "frob_close"));
        assert_ne!(one.id, other.id);
        assert_eq!(one.family, other.family);
        assert_ne!(bucket(&OOPS.replace("[frob]", "[quux]")).family, one.family);
    }
}
