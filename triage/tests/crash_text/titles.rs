//! What a fault is called: title, type and whose code it was.

use super::{assert_named, reports};

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
fn a_report_without_a_usable_stack_says_so() {
    let text = "general protection fault, probably for non-canonical address 0xdead000000000110: 0000 [#1] SMP\n";
    assert_named(text, "general protection fault in corrupted", "DoS");
    assert!(reports(text)[0].corrupted);
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
fn faults_that_name_nobody_in_words_are_named_after_their_stack() {
    const CPU: &str = "CPU: 0 PID: 77 Comm: frobd Not tainted 6.12.0 #1";
    let bad_page = format!(
        "BUG: Bad page state in process frobd  pfn:103a1b
page:ffffea00040e86c0 refcount:-1 mapcount:0 mapping:0000000000000000 index:0x0
{CPU}
Call Trace:
 <TASK>
 dump_stack_lvl+0x48/0x70
 bad_page+0x48/0x70
 get_page_from_freelist+0x48/0x70
 frob_getpage+0x48/0x70 [frob]
 </TASK>
"
    );
    let race = format!(
        "BUG: KCSAN: data-race in frob_inc / frob_read

write to 0xffff888103a1b000 of 8 bytes by task 400 on cpu 0:
 frob_inc+0x30/0x60 [frob]
 do_syscall_64+0x4a/0xb0

read to 0xffff888103a1b000 of 8 bytes by task 401 on cpu 1:
 frob_read+0x30/0x60 [frob]
 do_syscall_64+0x4a/0xb0

value changed: 0x0000000000000001 -> 0x0000000000000002
{CPU}
"
    );
    // PowerPC's and s390's warnings are traps that know no function.
    let warning = format!(
        "WARNING: at /build/drivers/frob.c:12
{CPU}
NIP [c000000008068dfc] .frob_fill+0x27c/0x390 [frob]
Call Trace:
[c000000010f930b0] [c000000008068df8] .frob_fill+0x278/0x390 [frob] (unreliable)
[c000000010f93150] [c000000008028668] .frob_read+0x128/0x170 [frob]
"
    );
    // And where a panic follows at once, the stack alone says where the trap was.
    let panicked = format!(
        "WARNING: CPU: 1 PID: 77 at /build/drivers/frob.c:12 frob_fill+0x2c/0x70
Kernel panic - not syncing: panic_on_warn set ...
{CPU}
Call Trace:
[c00000003ae5b9a0] [c00000000135a500] report_bug+0x150/0x270
[c00000003ae5ba40] [c0000000000392d4] program_check_exception+0x344/0x4f0
--- interrupt: 700 at frob_fill+0x2c/0x70 [frob]
    LR = quux_insert+0x19c/0x2d0 [frob]
[c00000003ae5bdf0] [c00000000009651c] frob_read+0x10c/0x250 [frob]
"
    );
    // 32-bit x86 names the function in the line behind the address.
    let plain = format!(
        "kernel BUG at include/net/frob.h:2473!
invalid opcode: 0000 [#1] SMP
{CPU}
EIP: 0060:[<f8e40765>] EFLAGS: 00210246 CPU: 1
EIP is at frob_fill.part.8+0x3/0x5 [frob]
Call Trace:
 [<f8e3dde1>] frob_read+0x411/0x4a0 [frob]
"
    );
    let lock = "BUG: spinlock lockup on CPU#0, frobd/77
 lock: c398cb2c, .magic: dead4ead, .owner: frobd/77, .owner_cpu: 0
[<c0014bd0>] (unwind_backtrace+0x0/0xf4) from [<c01ddb1c>] (do_raw_spin_lock+0xf0/0x144)
[<c01ddb1c>] (do_raw_spin_lock+0xf0/0x144) from [<bf26ea3c>] (frob_fill+0x18/0xd4 [frob])
[<bf26ea3c>] (frob_fill+0x18/0xd4 [frob]) from [<bf26f7fc>] (frob_read+0xd4/0xe8 [frob])
";
    for (text, title, class, guilty) in [
        (bad_page.as_str(), "BUG: Bad page state in frob_getpage", "UNKNOWN", "frob_getpage"),
        (&race, "KCSAN: data-race in frob_inc / frob_read", "KCSAN-DATARACE", "frob_inc"),
        (&warning, "WARNING in frob_fill", "WARNING", "frob_fill"),
        (&panicked, "WARNING in frob_fill", "WARNING", "frob_fill"),
        (&plain, "kernel BUG in frob_fill", "BUG", "frob_fill"),
    ] {
        assert_named(text, title, class);
        let report = &reports(text)[0];
        assert!(!report.corrupted, "{text}{:?}", report.warnings);
        let blamed = report.blamed.as_ref().expect("blamed");
        assert_eq!((blamed.module.as_deref(), blamed.function.as_deref()), (Some("frob"), Some(guilty)), "{text}");
    }
    let stamped: String = lock.lines().map(|line| format!("[    1.000000] {line}\n")).collect();
    assert_eq!(reports(&stamped)[0].guilty.as_deref(), Some("frob_fill"));
}
