//! Crash texts written for these tests in the kernel's formats, with the title, type and subject that each must get.

use watertight_triage::report::{Kind, Operation, Report, Trust};

fn reports(text: &str) -> Vec<Report> {
    let mut reports = Vec::new();
    watertight_triage::linux::read(text, &mut |report| reports.push(report));
    reports
}

/// Asserts the title and type of the first report; `text` is a log without timestamps.
fn assert_named(text: &str, title: &str, class: &str) {
    let stamped: String = text.lines().map(|line| format!("[   12.345678] {line}\n")).collect();
    let called: String = text.lines().map(|line| format!("[   12.345678][  T77] {line}\n")).collect();
    let journal: String = text.lines().map(|line| format!("Nov 22 08:45:24 host kernel: {line}\n")).collect();
    let pstore: String = text.lines().map(|line| format!("<4>[   12.345678] {line}\r\n")).collect();
    let human: String = text.lines().map(|line| format!("[Sun Nov 22 10:00:00 2026] {line}\n")).collect();
    let decoded: String = text.lines().map(|line| format!("kern  :alert : [   12.345678] {line}\n")).collect();
    let monotonic: String = text.lines().map(|line| format!("[   12.345678] web-1 kernel: {line}\n")).collect();
    for form in [text, &stamped, &called, &journal, &pstore, &human, &decoded, &monotonic] {
        let found = reports(form);
        assert!(!found.is_empty(), "no report in\n{form}");
        let first = &found[0];
        assert_eq!(first.title.as_deref(), Some(title), "{form}");
        assert_eq!(first.type_.as_deref(), Some(class), "{form}");
        assert_eq!(first.kind, Kind::LinuxOops);
    }
}

#[test]
fn a_use_after_free_is_named_after_the_caller_of_memcpy() {
    let text = "BUG: KASAN: slab-use-after-free in memcpy+0x3c/0x50
Read of size 8 at addr ffff888012345678 by task frobd/77

CPU: 1 PID: 77 Comm: frobd Tainted: G    B   W  O       6.1.0-56-cloud-amd64 #1
Call Trace:
 <TASK>
 dump_stack_lvl+0x45/0x59
 kasan_report+0xad/0xe0
 memcpy+0x3c/0x50
 frob_fill+0x12/0x90 [frob]
 frob_read+0x40/0x100 [frob]
 vfs_read+0x100/0x300
 </TASK>
Allocated by task 70:
 kasan_save_stack+0x1e/0x40
 frob_open+0x20/0x40 [frob]
";
    assert_named(text, "KASAN: slab-use-after-free Read in frob_fill", "KASAN-USE-AFTER-FREE-READ");
    let report = &reports(text)[0];
    assert!(!report.corrupted, "{:?}", report.warnings);
    assert_eq!(report.taint, ["bad page", "warned before", "module out of tree"]);
    assert_eq!((report.process.as_deref(), report.pid, report.cpu), (Some("frobd"), Some(77), Some(1)));
    assert_eq!(report.os_build.as_deref(), Some("6.1.0-56-cloud-amd64 #1"));
    let blamed = report.blamed.as_ref().expect("blamed");
    assert_eq!((blamed.module.as_deref(), blamed.function.as_deref()), (Some("frob"), Some("frob_fill")));
    assert_eq!(report.frames.len(), 6);
}

#[test]
fn faults_of_every_architecture_are_named_alike() {
    for text in [
        "BUG: kernel NULL pointer dereference, address: 0000000000000010
#PF: supervisor read access in kernel mode
RIP: 0010:frob_open+0x10/0x20 [frob]
Call Trace:
 vfs_open+0x20/0x40
",
        "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010
Internal error: Oops: 96000004 [#1] SMP
pc : frob_open+0x10/0x20 [frob]
lr : vfs_open+0x20/0x40
Call trace:
 frob_open+0x10/0x20 [frob]
 vfs_open+0x20/0x40
",
        "Unable to handle kernel NULL pointer dereference at virtual address 00000010
Internal error: Oops: 5 [#1] SMP ARM
PC is at frob_open+0x10/0x20 [frob]
LR is at vfs_open+0x20/0x40
Backtrace:
[<bf000010>] (frob_open) from [<c0110020>] (vfs_open+0x20/0x40)
",
        "BUG: Kernel NULL pointer dereference on read at 0x00000010
NIP [c008000000a30010] frob_open+0x10/0x20 [frob]
Call Trace:
[c000000008cb7b30] [c0000000004f0020] vfs_open+0x20/0x40
",
    ] {
        assert_named(
            text,
            "BUG: unable to handle kernel NULL pointer dereference in frob_open",
            "NULL-POINTER-DEREFERENCE",
        );
    }
}

#[test]
fn a_stall_is_named_after_what_the_dispatcher_called_wherever_it_was_interrupted() {
    for inner in [" frob_hash+0x10/0x20\n frob_walk+0x30/0x80\n", " frob_walk+0x38/0x80\n", ""] {
        let text = format!(
            "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [frobd:77]
CPU: 1 PID: 77 Comm: frobd Not tainted 6.1.0 #1
RIP: 0010:frob_next+0x10/0x20
Call Trace:
{inner} frob_ioctl+0x30/0x80
 vfs_ioctl+0x10/0x20
 __x64_sys_ioctl+0x10/0x20
 do_syscall_64+0x10/0x20
"
        );
        assert_named(&text, "BUG: soft lockup in frob_ioctl", "HANG");
    }
}

#[test]
fn tasks_that_hang_on_rcu_or_rtnl_are_one_bug_each() {
    for (inner, subject) in [
        (" synchronize_rcu_expedited+0x10/0x20\n frob_close+0x10/0x20\n", "synchronize_rcu"),
        (" rtnl_lock+0x10/0x20\n frob_close+0x10/0x20\n", "rtnl_lock"),
        (" schedule_timeout+0x10/0x20\n __wait_for_common+0x10/0x20\n frob_drain+0x10/0x20\n", "frob_drain"),
    ] {
        let text = format!(
            "INFO: task frobd:77 blocked for more than 143 seconds.
      Not tainted 6.1.0 #1
task:frobd state:D stack:    0 pid:   77 ppid:     1 flags:0x00004000
Call Trace:
 __schedule+0x10/0x20
 schedule+0x10/0x20
{inner} do_syscall_64+0x10/0x20
"
        );
        assert_named(&text, &format!("INFO: task hung in {subject}"), "HANG");
    }
}

#[test]
fn a_report_without_a_usable_stack_says_so() {
    let text = "general protection fault, probably for non-canonical address 0xdead000000000110: 0000 [#1] SMP\n";
    assert_named(text, "general protection fault in corrupted", "DoS");
    assert!(reports(text)[0].corrupted);
}

#[test]
fn reports_of_two_tasks_that_are_mixed_line_by_line_are_told_apart() {
    let one = "WARNING: CPU: 0 PID: 1 at fs/frob.c:12 frob_open+0x10/0x20
RIP: 0010:frob_open+0x10/0x20
Call Trace:
 frob_attach+0x10/0x20
 vfs_open+0x10/0x20";
    let other = "WARNING: CPU: 1 PID: 2 at net/quux.c:34 quux_send+0x10/0x20
RIP: 0010:quux_send+0x10/0x20
Call Trace:
 quux_queue+0x10/0x20
 sock_sendmsg+0x10/0x20";
    let mixed: String = one
        .lines()
        .zip(other.lines())
        .map(|(one, other)| format!("[   12.300000][    T1] {one}\n[   12.300000][    T2] {other}\n"))
        .collect();
    let found = reports(&mixed);
    let titles: Vec<_> = found.iter().map(|report| report.title.as_deref().unwrap_or_default()).collect();
    assert_eq!(titles, ["WARNING in frob_open", "WARNING in quux_send"]);
    assert_eq!(
        found[0].frames.iter().map(|frame| frame.function.as_deref().unwrap_or_default()).collect::<Vec<_>>(),
        ["frob_open", "frob_attach", "vfs_open"]
    );
}

#[test]
fn parsing_from_a_report_on_finds_it_again_and_from_its_end_does_not() {
    let report = "BUG: scheduling while atomic: frobd/77/0x00000002
Call Trace:
 dump_stack+0x10/0x20
 __schedule_bug+0x10/0x20
 schedule+0x10/0x20
 frob_wait+0x10/0x20
";
    let text: String = format!("frob0: link up\n{report}frob0: link down\n")
        .lines()
        .map(|line| format!("[    1.000000] {line}\n"))
        .collect();
    let found = reports(&text);
    assert_eq!(found.len(), 1);
    let span = found[0].span.expect("a span");
    let (start, end) = (usize::try_from(span.start).expect("small"), usize::try_from(span.end).expect("small"));
    assert_eq!(reports(&text[start..])[0].title, found[0].title);
    assert!(reports(&text[end..]).is_empty());
    assert_eq!(found[0].title.as_deref(), Some("BUG: scheduling while atomic in frob_wait"));
}

#[test]
fn an_ordinary_log_has_no_crash() {
    let text = "[    0.000000] Linux version 6.1.0 (frob@host)
[    0.100000] Kernel command line: panic=10 oops=panic
[    1.000000] EXT4-fs (vda1): warning: mounting fs with errors
[    1.100000] frob0: WARNING: cable unplugged
[    1.200000] INFO: NMI handler (perf) took too long to run: 1.2 msecs
[    1.300000] systemd[1]: Started BUG: tracker.
[    1.400000] warning: `frobd' uses wireless extensions which will stop working
[    1.500000] traps: frobd[77] general protection fault ip:7f00 sp:7f00 error:0 in libfrob.so[7f00+1000]
[    1.600000] WARNING: The mand mount option has been deprecated and
";
    assert!(reports(text).is_empty(), "{:?}", reports(text));
}

#[test]
fn leftovers_on_the_stack_are_kept_with_less_trust_and_never_name_a_report() {
    let text = "[    1.000000] WARNING: CPU: 0 PID: 1 at fs/frob.c:12 frob_warn+0x10/0x20
[    1.000000] Call Trace:
[    1.000000]  ? frob_stale+0x10/0x20
[    1.000000]  frob_warn+0x10/0x20
[    1.000000]  vfs_open+0x10/0x20
";
    let report = &reports(text)[0];
    assert_eq!(report.title.as_deref(), Some("WARNING in frob_warn"));
    assert_eq!(report.frames[0].trust, Trust::Scan);
    assert_eq!(report.frames[1].trust, Trust::Unwind);
}

const FATAL: &str = "WARNING: CPU: 0 PID: 7 at fs/frob.c:12 frob_open+0x10/0x20
Modules linked in:
CPU: 0 PID: 7 Comm: frobd Not tainted 6.1.0 #1
RIP: 0010:frob_open+0x10/0x20
Call Trace:
 <TASK>
 vfs_frob+0x10/0x20
 do_syscall_64+0x10/0x20
 </TASK>
---[ end trace 0000000000000000 ]---
";

#[test]
fn a_panic_that_only_says_that_something_was_fatal_is_no_crash_of_its_own() {
    let panic = "Kernel panic - not syncing: panic_on_warn set ...\nCPU: 0 PID: 7 Comm: frobd Not tainted 6.1.0 #1\nCall Trace:\n \
        panic+0x1/0x2\n __warn+0x1/0x2\n frob_open+0x10/0x20\n vfs_frob+0x10/0x20\n";
    let found = reports(&format!("{FATAL}{panic}"));
    let told: Vec<bool> = found.iter().map(|report| report.suppressed).collect();
    assert!(!told[0] && told[1..].iter().all(|is_suppressed| *is_suppressed), "{found:?}");
    // Alone it is all that is known.
    assert_eq!(reports(panic).iter().map(|report| report.suppressed).collect::<Vec<_>>(), [false]);
    // A panic for a reason of its own counts.
    let own = panic.replace("panic_on_warn set ...", "frob is gone");
    assert!(reports(&format!("{FATAL}{own}")).iter().all(|report| !report.suppressed));
}

/// A report of SLUB with the stacks of an object's life; `info` is what kernels up to 5.12 put in front of some lines.
fn slab(reason: &str, info: &str) -> String {
    format!(
        "=============================================================================
BUG frob_cache (Tainted: G    B   W        ): {reason}
-----------------------------------------------------------------------------

{info}0xffff888012345678-0xffff88801234567f @offset=1656. First byte 0x0 instead of 0x6b
{info}Allocated in frob_open+0x20/0x40 [frob] age=123 cpu=1 pid=70
	__slab_alloc.constprop.0+0x4e/0x90
	kmem_cache_alloc+0x2e1/0x330
	frob_open+0x20/0x40 [frob]
	vfs_open+0x2d/0x40
{info}Freed in frob_release+0x31/0x50 [frob] age=7 cpu=0 pid=71
	kmem_cache_free+0x2e1/0x330
	frob_release+0x31/0x50 [frob]
	__fput+0x9e/0x250
{info}Slab 0xffffea0000048d00 objects=16 used=3 fp=0xffff888012345678 flags=0x200
{info}Object 0xffff888012345640 @offset=1600 fp=0x0000000000000000

Redzone  ffff888012345600: bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb  ................
Object   ffff888012345640: 6b 6b 6b 6b 6b 6b 6b 6b 00 00 00 00 00 00 00 00  kkkkkkkk........
CPU: 1 PID: 77 Comm: frobd Tainted: G    B   W         6.1.0-56-cloud-amd64 #1
Call Trace:
 <TASK>
 dump_stack_lvl+0x45/0x59
 check_bytes_and_report.cold+0x6c/0x9e
 check_object+0x1f5/0x290
 free_debug_processing+0x1a0/0x2a0
 __slab_free+0x1f0/0x310
 quux_write+0x30/0x80 [quux]
 vfs_write+0x100/0x300
 </TASK>
FIX frob_cache: Restoring Poison 0xffff888012345678-0xffff88801234567f=0x6b
"
    )
}

#[test]
fn memory_that_was_overwritten_is_named_after_who_had_it_and_not_after_who_looked() {
    for info in ["", "INFO: "] {
        for (reason, title, class, guilty, module) in [
            (
                "Poison overwritten",
                "BUG: Poison overwritten in frob_release",
                "MEMORY_SAFETY_BUG",
                "frob_release",
                "frob",
            ),
            (
                "Freepointer corrupt",
                "BUG: Freepointer corrupt in frob_release",
                "MEMORY_SAFETY_BUG",
                "frob_release",
                "frob",
            ),
            ("Redzone overwritten", "BUG: Redzone overwritten in frob_open", "MEMORY_SAFETY_BUG", "frob_open", "frob"),
            (
                "Left Redzone overwritten",
                "BUG: Left Redzone overwritten in frob_open",
                "MEMORY_SAFETY_BUG",
                "frob_open",
                "frob",
            ),
            (
                "kmalloc Redzone overwritten",
                "BUG: kmalloc Redzone overwritten in frob_open",
                "MEMORY_SAFETY_BUG",
                "frob_open",
                "frob",
            ),
            (
                "Object padding overwritten",
                "BUG: Object padding overwritten in frob_open",
                "MEMORY_SAFETY_BUG",
                "frob_open",
                "frob",
            ),
            ("Object already free", "BUG: Object already free", "DoS", "quux_write", "quux"),
            (
                "Invalid object pointer 0xffff888012345679",
                "BUG: Invalid object pointer in quux_write",
                "MEMORY_SAFETY_BUG",
                "quux_write",
                "quux",
            ),
            (
                "Wrong object count. Counter is 3 but counted were 4",
                "BUG: Wrong object count in quux_write",
                "MEMORY_SAFETY_BUG",
                "quux_write",
                "quux",
            ),
            (
                "Objects remaining in frob_cache on __kmem_cache_shutdown()",
                "BUG: Objects remaining in frob_cache on __kmem_cache_shutdown",
                "LEAK",
                "quux_write",
                "quux",
            ),
        ] {
            let text = slab(reason, info);
            assert_named(&text, title, class);
            let found = reports(&text);
            assert_eq!(found.len(), 1, "{reason}: {:?}", found.iter().map(|one| &one.title).collect::<Vec<_>>());
            assert!(!found[0].corrupted, "{reason}: {:?}", found[0].warnings);
            let blamed = found[0].blamed.as_ref().expect("blamed");
            assert_eq!(
                (blamed.module.as_deref(), blamed.function.as_deref()),
                (Some(module), Some(guilty)),
                "{reason}"
            );
        }
    }
}

#[test]
fn memory_of_which_nobody_was_recorded_is_named_after_who_looked() {
    let whole = slab("Poison overwritten", "");
    let text: String = whole
        .lines()
        .filter(|line| !line.starts_with('\t') && !line.starts_with("Allocated in") && !line.starts_with("Freed in"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_named(&text, "BUG: Poison overwritten in quux_write", "MEMORY_SAFETY_BUG");
    let why = |text: &str| reports(text)[0].blamed.as_ref().map(|blamed| blamed.why.clone()).expect("blamed");
    assert!(why(&whole).starts_with("the one that gave the memory back"), "{}", why(&whole));
    assert!(why(&text).starts_with("the innermost function"), "{}", why(&text));
}

#[test]
fn faults_are_named_in_the_words_of_later_kernels_and_of_rarer_machines_too() {
    const CPU: &str = "CPU: 1 PID: 77 Comm: frobd Not tainted 6.12.0 #1";
    const REST: &str = "RIP: 0010:frob_fill+0x12/0x90 [frob]
Call Trace:
 <TASK>
 frob_read+0x40/0x100 [frob]
 vfs_read+0x100/0x300
 do_syscall_64+0x3b/0x90
 </TASK>
";
    let x86 = |first: &str| format!("{first}\n{CPU}\n{REST}");
    for (text, title, class) in [
        (x86("Oops: divide error: 0000 [#1] PREEMPT SMP"), "divide error in frob_fill", "DoS"),
        (
            x86("Oops: general protection fault, probably for non-canonical address 0xdffffc0000000003: 0000 [#1] SMP KASAN"),
            "general protection fault in frob_fill",
            "DoS",
        ),
        (
            x86("traps: PANIC: double fault, error_code: 0x0\nOops: double fault: 0000 [#1] SMP"),
            "PANIC: double fault in frob_fill",
            "DoS",
        ),
        (x86("watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 1"), "hard lockup in frob_read", "HANG"),
        (x86("WARNING: CPU: 1 PID: 77 at frob_fill+0x12/0x90 [frob]"), "WARNING in frob_fill", "WARNING"),
        (
            x86("CFI failure at frob_fill+0x12/0x90 [frob] (target: quux+0x0/0x10; expected type: 0x12345678)
WARNING: CPU: 1 PID: 77 at frob_fill+0x12/0x90 [frob]"),
            "CFI failure in frob_fill",
            "MEMORY_SAFETY_BUG",
        ),
        (
            format!("CPU 0 Unable to handle kernel paging request at virtual address 00000010, epc == 80123456, ra == 80123460
Oops[#1]:
{CPU}
epc   : 80123456 frob_fill+0x10/0x20
ra    : 80123460 frob_read+0x10/0x20
Call Trace:
[<80123456>] frob_fill+0x10/0x20
[<80123460>] frob_read+0x10/0x20
"),
            "BUG: unable to handle kernel paging request in frob_fill",
            "MEMORY_SAFETY_BUG",
        ),
        (
            format!("CPU 0 Unable to handle kernel paging request at virtual address 0000000000000010, era == 9000000000123456, ra == 9000000000123460
Oops[#1]:
{CPU}
   ra: 9000000000123460 frob_read+0x10/0x20
  ERA: 9000000000123456 frob_fill+0x10/0x20
Call Trace:
[<9000000000123456>] frob_fill+0x10/0x20
[<9000000000123460>] frob_read+0x10/0x20
"),
            "BUG: unable to handle kernel paging request in frob_fill",
            "MEMORY_SAFETY_BUG",
        ),
        (
            format!("Unable to handle kernel pointer dereference in virtual kernel address space
Failing address: 0000000000000000 TEID: 0000000000000483
Oops: 0004 ilc:2 [#1] SMP
{CPU}
Krnl PSW : 0704c00180000000 000003ff8001234a (frob_fill+0x2a/0x50 [frob])
Call Trace:
 [<000003ff8001234a>] frob_fill+0x2a/0x50 [frob]
 [<000003ff80012345>] frob_read+0x25/0x50 [frob]
"),
            "BUG: unable to handle kernel paging request in frob_fill",
            "MEMORY_SAFETY_BUG",
        ),
        (
            format!("BUG: Unable to handle kernel instruction fetch
Faulting instruction address: 0xc008000000a30010
{CPU}
NIP [c008000000a30010] frob_fill+0x10/0x20 [frob]
Call Trace:
[c000000008cb7b30] [c0000000004f0020] frob_read+0x20/0x40 [frob]
"),
            "BUG: unable to handle kernel paging request in frob_fill",
            "MEMORY_SAFETY_BUG",
        ),
        (
            format!("8<--- cut here ---
Unable to handle kernel NULL pointer dereference at virtual address 00000010 when read
Internal error: Oops: 5 [#1] SMP ARM
{CPU}
PC is at frob_fill+0x10/0x20 [frob]
Call trace:
 frob_fill [frob] from frob_read+0x20/0x40 [frob]
 frob_read [frob] from vfs_read+0x20/0x40
"),
            "BUG: unable to handle kernel NULL pointer dereference in frob_fill",
            "NULL-POINTER-DEREFERENCE",
        ),
        (
            format!("BUG: KFENCE: use-after-free read in frob_fill+0x12/0x90 [frob]

Use-after-free read at 0x00000000a0b0c0d0 (in kfence-#24):
 frob_fill+0x12/0x90 [frob]
 frob_read+0x40/0x100 [frob]

{CPU}
"),
            "KFENCE: use-after-free read in frob_fill",
            "KFENCE-USE-AFTER-FREE-READ",
        ),
        (
            format!("Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: frob_fill+0x12/0x90 [frob]
{CPU}
Call Trace:
 <TASK>
 dump_stack_lvl+0x45/0x59
 panic+0x100/0x200
 __stack_chk_fail+0x10/0x20
 frob_fill+0x12/0x90 [frob]
 </TASK>
"),
            "kernel panic: stack is corrupted in frob_fill",
            "DoS",
        ),
    ] {
        assert_named(&text, title, class);
        let found = reports(&text);
        assert_eq!(found.len(), 1, "{text}{:?}", found.iter().map(|one| &one.title).collect::<Vec<_>>());
        assert!(!found[0].corrupted, "{text}{:?}", found[0].warnings);
        assert!(found[0].blamed.is_some(), "{text}");
    }
}

#[test]
fn a_panic_of_rust_is_named_after_the_caller_of_what_panics() {
    for first in [
        "rust_kernel: panicked at 'frob failed', drivers/frob.rs:12:5",
        "rust_kernel: panicked at drivers/frob.rs:12:5:\nfrob failed",
    ] {
        let text = format!(
            "{first}
------------[ cut here ]------------
kernel BUG at rust/helpers.c:34!
invalid opcode: 0000 [#1] SMP
CPU: 1 PID: 77 Comm: frobd Not tainted 6.12.0 #1
RIP: 0010:rust_helper_BUG+0x8/0x10
Call Trace:
 <TASK>
 rust_begin_unwind+0x66/0x70
 _RNvNtCs3yuwAp0waWO_4core9panicking9panic_fmt+0x2a/0x30
 frob_fill+0x1/0x2 [frob]
 frob_read+0x40/0x100 [frob]
 </TASK>
"
        );
        let found = reports(&text);
        assert_eq!(found.len(), 1, "{:?}", found.iter().map(|one| &one.title).collect::<Vec<_>>());
        assert_eq!(found[0].title.as_deref(), Some("frob failed in frob_fill"));
    }
}

#[test]
fn a_page_fault_and_its_panic_are_one_crash_with_and_without_the_caller() {
    let mut text = String::from(
        "BUG: kernel NULL pointer dereference, address: 0000000000000018
#PF: supervisor read access in kernel mode
Oops: 0000 [#1] PREEMPT SMP NOPTI
CPU: 3 PID: 77 Comm: frobd Not tainted 6.1.0 #1
RIP: 0010:frob_show+0x1a/0x60 [frob]
Call Trace:
 <TASK>
",
    );
    (0..20).for_each(|number| text.push_str(&format!(" frob_{number}+0x10/0x20\n")));
    text.push_str(" </TASK>\nModules linked in: frob\n---[ end trace 0000000000000000 ]---\n");
    text.push_str("RIP: 0010:frob_show+0x1a/0x60 [frob]\nKernel panic - not syncing: Fatal exception\n");
    for front in ["[   12.345678] ", "[   12.345678][   T77] ", "[   12.345678][    C3] ", "6,1,2,-,caller=T77;"] {
        // Twice: the second crash is one of its own.
        let form: String =
            [text.as_str(), text.as_str()].concat().lines().map(|line| format!("{front}{line}\n")).collect();
        let found = reports(&form);
        let own: Vec<&Report> = found.iter().filter(|one| !one.suppressed).collect();
        assert_eq!(own.len(), 2, "{front}: {:?}", found.iter().map(|one| &one.title).collect::<Vec<_>>());
        for one in own {
            let title = one.title.as_deref();
            assert_eq!(title, Some("BUG: unable to handle kernel NULL pointer dereference in frob_show"), "{front}");
            assert_eq!((one.frames.len(), one.modules.len()), (21, 1), "{front}");
        }
    }
}

#[test]
fn what_another_task_meets_while_a_crash_is_printed_is_told_too() {
    let text = "[    1.000000][   T77] BUG: kernel NULL pointer dereference, address: 0000000000000018
[    1.000000][   T78] WARNING: CPU: 0 PID: 78 at fs/frob.c:12 frob_open+0x10/0x20
[    1.000000][   T77] Oops: 0000 [#1] PREEMPT SMP NOPTI
[    1.000000][   T78] RIP: 0010:frob_open+0x10/0x20
[    1.000000][   T77] RIP: 0010:frob_show+0x1a/0x60 [frob]
[    1.000000][   T78] Call Trace:
[    1.000000][   T77] Call Trace:
[    1.000000][   T78]  vfs_open+0x10/0x20
[    1.000000][   T77]  vfs_read+0x10/0x20
";
    let titles: Vec<_> = reports(text).into_iter().filter_map(|one| one.title).collect();
    assert_eq!(titles, ["BUG: unable to handle kernel NULL pointer dereference in frob_show", "WARNING in frob_open"]);
}

#[test]
fn what_the_machine_wanted_is_read_in_the_words_of_each_architecture() {
    for (line, operation) in [
        ("Unable to handle kernel NULL pointer dereference at virtual address 00000014 when write", Operation::Write),
        ("Unable to handle kernel NULL pointer dereference at virtual address 00000014 when read", Operation::Read),
        (
            "Unable to handle kernel NULL pointer dereference at virtual address 00000014 when execute",
            Operation::Execute,
        ),
        ("BUG: Kernel NULL pointer dereference on read at 0x00000014", Operation::Read),
        ("BUG: Kernel NULL pointer dereference on write at 0x00000014", Operation::Write),
    ] {
        let text = format!("[    1.000000] {line}\n[    1.000000] pc : frob_open+0x10/0x20 [frob]\n");
        let access = reports(&text)[0].access.clone().expect("an access");
        assert_eq!((access.operation, access.address.0), (operation, 0x14), "{line}");
    }
}

#[test]
fn those_who_had_the_memory_are_not_on_the_stack_of_who_used_it() {
    let text = "BUG: KFENCE: use-after-free read in frob_get+0x20/0x60 [frob]

Use-after-free read at 0x00000000abcdef12 (in kfence-#77):
 frob_get+0x20/0x60 [frob]
 frob_ioctl+0x20/0x60 [frob]

allocated by task 99 on cpu 1 at 20.001s:
 frob_alloc+0x20/0x60 [frob]

freed by task 99 on cpu 1 at 20.002s:
 frob_free+0x20/0x60 [frob]
";
    let stamped: String = text.lines().map(|line| format!("[    1.000000] {line}\n")).collect();
    let names: Vec<_> = reports(&stamped)[0].frames.iter().filter_map(|frame| frame.function.clone()).collect();
    assert_eq!(names, ["frob_get", "frob_ioctl"]);
}

#[test]
fn a_stack_of_arm_needs_no_words_before_it() {
    let text = "Unable to handle kernel NULL pointer dereference at virtual address 00000004 when write
Internal error: Oops: 805 [#1] SMP ARM
PC is at frob_store+0x14/0x40 [frob]
Stack: (0xd0a05ee0 to 0xd0a06000)
 frob_store [frob] from vfs_write+0x2b0/0x3f0
 vfs_write from ksys_write+0x6c/0xec
";
    let stamped: String = text.lines().map(|line| format!("[    1.000000] {line}\n")).collect();
    assert!(!reports(&stamped)[0].corrupted);
}
