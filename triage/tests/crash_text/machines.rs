//! Exceptions as each architecture's `die()` prints them: every one has a name, a function, and one report.

use watertight_triage::report::Operation;

use super::{assert_named, reports};

const CPU: &str = "Modules linked in: frob
CPU: 0 PID: 77 Comm: frobd Not tainted 6.12.0 #1";

fn x86(first: &str) -> String {
    format!("{first}\n{CPU}\nRIP: 0010:frob_fill+0x12/0x90 [frob]\nCall Trace:\n <TASK>\n frob_read+0x40/0x100 [frob]\n vfs_read+0x100/0x300\n </TASK>\n")
}

fn arm64(what: &str) -> String {
    format!(
        "Unable to handle kernel {what} at virtual address ffff800081234560
Mem abort info:
  ESR = 0x000000009600004f
Internal error: Oops: 000000009600004f [#1] PREEMPT SMP
{CPU}
pc : frob_fill+0x10/0x40 [frob]
lr : frob_read+0x18/0x40 [frob]
Call trace:
 frob_fill+0x10/0x40 [frob]
 frob_read+0x18/0x40 [frob]
"
    )
}

fn riscv(first: &str) -> String {
    format!(
        "{first}
{CPU}
epc : frob_fill+0x10/0x40 [frob]
 ra : frob_read+0x10/0x40 [frob]
epc : ffffffff80012345 ra : ffffffff80012349 sp : ff20000000343d50
status: 0000000200000120 badaddr: 0000000000000008 cause: 000000000000000d
[<ffffffff80012345>] frob_fill+0x10/0x40 [frob]
[<ffffffff80012349>] frob_read+0x10/0x40 [frob]
"
    )
}

fn s390(first: &str) -> String {
    format!(
        "{first}
{CPU}
Krnl PSW : 0704c00180000000 000003ff8001234a (frob_fill+0x2a/0x50 [frob])
Call Trace:
 [<000003ff8001234a>] frob_fill+0x2a/0x50 [frob]
 [<000003ff80012400>] frob_read+0x20/0x50 [frob]
Kernel panic - not syncing: Fatal exception: panic_on_oops
"
    )
}

fn powerpc(first: &str) -> String {
    format!(
        "{first}
LE PAGE_SIZE=64K MMU=Radix SMP NR_CPUS=2048 NUMA pSeries
{CPU}
NIP [c008000000012345] frob_fill+0x2a/0x50 [frob]
LR [c008000000012349] frob_read+0x20/0x50 [frob]
Call Trace:
[c000000012345910] [c008000000012349] frob_read+0x20/0x50 [frob] (unreliable)
[c000000012345940] [c0000000004fd2c8] vfs_read+0x20/0x50
"
    )
}

fn mips(first: &str) -> String {
    format!(
        "{first}
{CPU}
epc   : c0a1b2c4 frob_fill+0x24/0x80 [frob]
ra    : c0a1b300 frob_read+0x24/0x80 [frob]
Call Trace:
[<c0a1b2c4>] frob_fill+0x24/0x80 [frob]
[<c0a1b300>] frob_read+0x24/0x80 [frob]
"
    )
}

#[test]
fn every_exception_has_a_name_a_function_and_one_report() {
    for (text, title, class) in [
        (x86("Oops: control protection: 0000 [#1] PREEMPT SMP"), "control protection", "DoS"),
        (x86("Oops: int3: 0000 [#1] PREEMPT SMP NOPTI"), "int3", "DoS"),
        (x86("int3: 0000 [#1] PREEMPT SMP"), "int3", "DoS"),
        (arm64("write to read-only memory"), "BUG: unable to handle kernel write to read-only memory", "MEMORY_SAFETY_BUG"),
        (
            arm64("execute from non-executable memory"),
            "BUG: unable to handle kernel execute from non-executable memory",
            "MEMORY_SAFETY_BUG",
        ),
        (arm64("read from unreadable memory"), "BUG: unable to handle kernel read from unreadable memory", "MEMORY_SAFETY_BUG"),
        (riscv("Oops - illegal instruction [#1]"), "illegal instruction", "DoS"),
        (riscv("Oops - store (or AMO) access fault [#1]"), "store (or AMO) access fault", "DoS"),
        (riscv("kernel BUG at drivers/frob.c:12!\nKernel BUG [#1]"), "kernel BUG", "BUG"),
        (riscv("Kernel BUG [#1]"), "kernel BUG", "BUG"),
        (s390("specification exception: 0006 ilc:2 [#1] SMP "), "specification exception", "DoS"),
        (s390("fixpoint divide exception: 0009 ilc:2 [#1] SMP "), "fixpoint divide exception", "DoS"),
        (s390("illegal operation: 0001 ilc:1 [#1] SMP "), "illegal operation", "DoS"),
        (s390("kernel BUG at drivers/frob.c:12!\nillegal operation: 0001 [#1] SMP"), "kernel BUG", "BUG"),
        (s390("kernel BUG at drivers/frob.c:12!\nmonitor event: 0040 ilc:2 [#1] SMP"), "kernel BUG", "BUG"),
        (powerpc("Oops: Exception in kernel mode, sig: 4 [#1]"), "Exception in kernel mode", "DoS"),
        (powerpc("Oops: Machine check, sig: 7 [#1]"), "Machine check", "DoS"),
        (
            powerpc("Unrecoverable VSX Unavailable Exception f40 at c008000000012345\nOops: Unrecoverable VSX Unavailable Exception, sig: 6 [#1]"),
            "Unrecoverable VSX Unavailable Exception",
            "DoS",
        ),
        (mips("Kernel bug detected[#1]:"), "kernel BUG", "BUG"),
        (mips("Unhandled kernel unaligned access[#1]:"), "unaligned access", "DoS"),
        (mips("Reserved instruction in kernel code[#1]:"), "Reserved instruction", "DoS"),
        (mips("Data bus error, epc == c0a1b2c4, ra == c0a1b300\nOops[#1]:"), "Data bus error", "DoS"),
    ] {
        // What stands before the headline in a text is no part of it.
        let text = if text.starts_with("Unrecoverable") { text.split_once('\n').expect("two lines").1 } else { &text };
        assert_named(text, &format!("{title} in frob_fill"), class);
        let found = reports(text);
        assert_eq!(found.len(), 1, "{text}{:?}", found.iter().map(|one| &one.title).collect::<Vec<_>>());
        assert!(!found[0].corrupted, "{text}{:?}", found[0].warnings);
        let blamed = found[0].blamed.as_ref().expect("blamed");
        assert_eq!(blamed.module.as_deref(), Some("frob"), "{text}");
    }
}

#[test]
fn what_arm64_was_refused_is_the_access_that_is_told() {
    for (what, operation) in [
        ("write to read-only memory", Operation::Write),
        ("execute from non-executable memory", Operation::Execute),
        ("read from unreadable memory", Operation::Read),
        ("paging request", Operation::Read),
    ] {
        let access = reports(&arm64(what))[0].access.clone().expect("an access");
        assert_eq!(access.operation, operation, "{what}");
    }
    let written = arm64("paging request")
        .replace("Mem abort info:", "Data abort info:\n  CM = 0, WnR = 1, TnD = 0, TagAccess = 0");
    assert_eq!(reports(&written)[0].access.as_ref().expect("an access").operation, Operation::Write);
}

#[test]
fn what_follows_from_a_fault_is_no_crash_of_its_own() {
    let dentry = "BUG: Dentry ffff888012345678{i=1234,n=file0}  still in use (1) [unmount of ext4 loop0]
------------[ cut here ]------------
WARNING: CPU: 1 PID: 77 at fs/dcache.c:1628 umount_check+0x12/0x90
";
    let dentry = format!("{dentry}{CPU}\nRIP: 0010:umount_check+0x12/0x90\nCall Trace:\n d_walk+0x1/0x2\n");
    let titles: Vec<_> = reports(&dentry).into_iter().filter_map(|one| one.title).collect();
    assert_eq!(titles, ["BUG: Dentry still in use in unmount"]);
    let warning = x86("WARNING: CPU: 0 PID: 77 at drivers/frob.c:12 frob_fill+0x12/0x90 [frob]");
    for words in ["panic_on_kmsan set ...", "RCU Stall", "Hard LOCKUP", "kasan.fault=panic set ..."] {
        let found = reports(&format!("{}---[ end trace 0000000000000000 ]---\nKernel panic - not syncing: {words}\nCall Trace:\n panic+0x1/0x2\n", warning.repeat(3)));
        let own = found.iter().filter(|one| !one.suppressed).count();
        assert_eq!(own, 3, "{words}: {found:?}");
    }
}

#[test]
fn a_stall_of_rcus_tasks_and_a_lockup_of_powerpc_are_named() {
    let stall = "INFO: rcu_tasks detected stalls on tasks:
0000000012345678: .. nvcsw: 2/2 holdout: 1 idle_cpu: -1/1
task:frobd           state:R  running task     stack:0     pid:77    ppid:1      flags:0x00004000
Call Trace:
 <TASK>
 __schedule+0x10/0x40
 frob_spin+0x10/0x40 [frob]
 frob_ioctl+0x10/0x40 [frob]
 __x64_sys_ioctl+0x10/0x40
 do_syscall_64+0x10/0x40
 </TASK>
";
    assert_named(stall, "INFO: rcu detected stall in frob_ioctl", "HANG");
    let lockup = powerpc("watchdog: CPU 1 Hard LOCKUP").replace(
        "vfs_read+0x20/0x50",
        "ksys_read+0x20/0x50\n[c000000012345970] [c0000000004fd300] invoke_syscall+0x20/0x50",
    );
    assert_named(&lockup, "hard lockup in read", "HANG");
}

#[test]
fn a_worker_that_leaks_a_lock_is_not_in_the_name_and_its_work_is() {
    let text = format!(
        "BUG: workqueue leaked atomic, lock or RCU: kworker/0:1[12]
     preempt=0x00000000 lock=0->1 RCU=0->0 workfn=frob_work
{CPU}
Call Trace:
 <TASK>
 dump_stack_lvl+0x45/0x59
 process_one_work+0x40/0x100
 </TASK>
"
    );
    assert_named(&text, "BUG: workqueue leaked atomic, lock or RCU in frob_work", "UNKNOWN");
}

#[test]
fn a_hung_task_with_an_end_of_line_in_its_name_is_found() {
    let text = "INFO: task frob\n bd:77 blocked for more than 143 seconds.
      Not tainted 6.12.0 #1
Call Trace:
 <TASK>
 __schedule+0x10/0x40
 schedule+0x10/0x40
 frob_wait_for+0x10/0x40 [frob]
 frob_close+0x10/0x40 [frob]
 </TASK>
";
    assert_named(text, "INFO: task hung in frob_close", "HANG");
}
